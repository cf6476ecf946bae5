//! The connection to a running host: its address, the token and the authority, from flags, environment and configuration.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::ensure;
use ark_client::{AwaitedWork, Endpoint, HostClient, MAX_PAGE, OutgoingBody, join_path};
use ark_host::config::{Config, Layers, Overrides};
use clap::Args;
use serde_json::Value;
use ureq::http::{Uri, request};

use crate::files::read_text_file;

use super::progress::UploadProgress;
use super::remedies::name_commands;

/// Which host is called, and with which token.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// The API of the running host [default: the address in ark.toml, else `http://127.0.0.1:8000`].
    #[arg(long, global = true, env = "ARK_URL", value_name = "URL")]
    url: Option<String>,
    /// The bearer token. In the environment other users do not see it.
    #[arg(long, global = true, env = "ARK_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A file that holds the bearer token.
    #[arg(long, global = true, env = "ARK_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A PEM file with the certificate authority to trust [default: the public ones].
    #[arg(long, global = true, env = "ARK_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// How many pages of a list are read at most.
const MAX_LIST_PAGES: u32 = 200;
/// How many rows these have.
const MAX_ROWS: u64 = MAX_LIST_PAGES as u64 * MAX_PAGE;

/// What is exchanged with a host, which decides how long it is waited for and what is shown meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// A request that is answered at once.
    Answer,
    /// A request that is answered when a component is compiled.
    Compilation,
    /// An upload, which the host accepts and then compiles.
    Upload,
}

impl Connection {
    /// Whether requests carry a token, whose name the host then records.
    pub(crate) const fn has_token(&self) -> bool {
        self.token.is_some() || self.token_file.is_some()
    }

    /// The token, if there is one that can be read.
    pub(crate) fn secret(&self) -> Option<String> {
        self.bearer_token().ok().flatten()
    }

    /// Returns a client of the host.
    ///
    /// # Errors
    /// The token would leave this machine unencrypted, or a file that is named cannot be read.
    pub(crate) fn client(&self) -> anyhow::Result<HostClient> {
        self.client_with(self.bearer_token()?)
    }

    /// As [`Connection::client`], with the token of the file that `--submitter-token-file` names; `client` where it names none.
    ///
    /// # Errors
    /// As [`Connection::client`].
    pub(crate) fn client_with_other(
        &self,
        file: Option<&Path>,
        client: &HostClient,
    ) -> anyhow::Result<HostClient> {
        file.map_or_else(
            || Ok(client.clone()),
            |file| {
                let remedy = "give the file that holds the token which proposes in the validation, or leave the option out";
                let token = read_token("--submitter-token-file", file, remedy)?;
                self.client_with(Some(token))
            },
        )
    }

    fn client_with(&self, token: Option<String>) -> anyhow::Result<HostClient> {
        let url = match &self.url {
            Some(url) => {
                ensure!(
                    is_address(url),
                    "--url {url:?}: give the address of a host with http:// or https://, e.g. http://127.0.0.1:8000"
                );
                url.clone()
            }
            None => configured_url()?,
        };
        Ok(HostClient::new(&Endpoint {
            url,
            token,
            ca: self.ca.clone(),
        })?)
    }

    /// Sends a request and returns the JSON of the answer. `body` is JSON.
    ///
    /// # Errors
    /// The host does not answer, or answers with a problem; the error has the problem's detail and remedy.
    pub(crate) fn send(
        &self,
        request: request::Builder,
        path: &str,
        body: Option<String>,
        exchange: Exchange,
    ) -> anyhow::Result<Value> {
        let client = self.client()?;
        let text = body.unwrap_or_default();
        if exchange == Exchange::Answer {
            let body = OutgoingBody::Text(text);
            let answer = client.send(request, path, body, AwaitedWork::Answer)?;
            return Ok(answer.into_success().map_err(name_commands)?);
        }
        let length = text.len() as u64;
        let (progress, body) = UploadProgress::start(text.into_bytes());
        let body = OutgoingBody::Reader(length, Box::new(body));
        let answer = if exchange == Exchange::Upload {
            client.send_upload(request, path, body, |stage| progress.set_stage(stage))
        } else {
            client.send(request, path, body, AwaitedWork::Compilation)
        };
        drop(progress);
        Ok(answer?.into_success().map_err(name_commands)?)
    }

    /// Reads a list to its end. Returns its first page, with the rows of all pages in its member `list`.
    ///
    /// # Errors
    /// As [`Connection::send`]; or the list has more than [`MAX_ROWS`] rows.
    pub(crate) fn read_list(&self, segments: &[&str], list: &str) -> anyhow::Result<Value> {
        let path = join_path(segments);
        let answer = self
            .client()?
            .read_list_answer(&path, list, MAX_LIST_PAGES)
            .map_err(name_commands)?;
        ensure!(
            answer.get(list).is_some_and(Value::is_array),
            "the host's answer holds no list of {list}"
        );
        ensure!(
            answer.get("next_cursor").is_none_or(Value::is_null),
            "the host has more than {MAX_ROWS} {list}; read {path} page by page"
        );
        Ok(answer)
    }

    fn bearer_token(&self) -> anyhow::Result<Option<String>> {
        // A token comes before a token file: a flag before what the environment holds for all commands.
        match (&self.token, &self.token_file) {
            (Some(token), _) => Ok(Some(token.trim().to_owned())),
            (None, Some(file)) => {
                let remedy =
                    "give the file that holds the bearer token, or the token itself in ARK_TOKEN";
                read_token("--token-file", file, remedy).map(Some)
            }
            (None, None) => Ok(None),
        }
    }
}

/// Whether a URL has a scheme that hosts are reached by, and a host.
fn is_address(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
    })
}

fn read_token(option: &str, file: &Path, remedy: &str) -> anyhow::Result<String> {
    let text = read_text_file(option, file, remedy)?;
    Ok(text.trim().to_owned())
}

/// The address by which this machine reaches a listener.
pub(crate) fn format_url(scheme: &str, mut listen: SocketAddr) -> String {
    if listen.ip().is_unspecified() {
        listen.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    format!("{scheme}://{listen}")
}

/// The address of the API according to the configuration of this machine.
fn configured_url() -> anyhow::Result<String> {
    let config = Config::from_layers(&Layers::read(None, &Overrides::default())?)?;
    let scheme = if config.access.tls.is_some() {
        "https"
    } else {
        "http"
    };
    Ok(format_url(scheme, config.listen))
}

#[cfg(test)]
mod tests {
    use super::is_address;

    #[test]
    fn an_address_has_a_scheme_and_a_host() {
        for (url, expected) in [
            ("http://127.0.0.1:8000", true),
            ("https://ark.example/", true),
            ("http://[::1]:8000", true),
            ("", false),
            ("localhost:8000", false),
            ("ftp://localhost", false),
            ("http://", false),
            ("/v1/agents", false),
        ] {
            assert_eq!(is_address(url), expected, "{url}");
        }
    }
}
