//! Talking to a running host over its HTTP API.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use ark_host::config::{Config, Layers, Overrides};

/// How long the host may take to answer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Which host, and who calls.
#[derive(Debug, Args)]
pub(super) struct Remote {
    /// The running host's API [default: the address in ark.toml, else <http://127.0.0.1:8000>].
    #[arg(long, global = true, env = "ARK_URL", value_name = "URL")]
    url: Option<String>,
    /// The bearer token; in the environment other users do not see it.
    #[arg(long, global = true, env = "ARK_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A file that holds the bearer token.
    #[arg(long, global = true, env = "ARK_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The authority whose certificates are trusted, PEM [default: the public ones].
    #[arg(long, global = true, env = "ARK_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Remote {
    /// Sends a GET.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send("GET", path, None)
    }

    /// Sends a POST of JSON.
    pub(super) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send("POST", path, Some(body.to_string()))
    }

    /// Whether there is a token to be shown: then it says who calls.
    pub(super) const fn has_token(&self) -> bool {
        self.token.is_some() || self.token_file.is_some()
    }

    /// Sends any request; `body` is JSON.
    pub(super) fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<String>,
    ) -> anyhow::Result<Value> {
        self.send_with_key(method, path, body, None)
    }

    /// As [`Remote::send`]; sent again with the same `Idempotency-Key`, it is done once.
    pub(super) fn send_with_key(
        &self,
        method: &str,
        path: &str,
        body: Option<String>,
        key: Option<&str>,
    ) -> anyhow::Result<Value> {
        let url = match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => configured_url()?,
        };
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{url}{path}"))
            .header("Content-Type", "application/json");
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(token) = self.bearer_token()? {
            if !is_confidential(&url) {
                bail!(
                    "{url} is another machine without TLS, where the token would travel in clear; use https"
                );
            }
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let request = request
            .body(body.unwrap_or_default())
            .context("the request cannot be made; check --url, --token and keys")?;
        read_response(&url, self.build_client()?.run(request))
    }

    fn bearer_token(&self) -> anyhow::Result<Option<String>> {
        // The more particular one first: a flag before what the environment holds for all commands.
        match (&self.token, &self.token_file) {
            (Some(token), _) => Ok(Some(token.trim().to_owned())),
            (None, Some(file)) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("--token-file {}", file.display()))?;
                Ok(Some(text.trim().to_owned()))
            }
            (None, None) => Ok(None),
        }
    }

    fn build_client(&self) -> anyhow::Result<ureq::Agent> {
        let mut tls = TlsConfig::builder();
        if let Some(file) = &self.ca {
            let pem = std::fs::read(file).with_context(|| format!("--ca {}", file.display()))?;
            let mut authorities = Vec::new();
            for item in parse_pem(&pem) {
                let item = item.with_context(|| format!("--ca {}: is no PEM", file.display()))?;
                if let PemItem::Certificate(certificate) = item {
                    authorities.push(certificate);
                }
            }
            if authorities.is_empty() {
                bail!(
                    "--ca {}: holds no certificate; give a PEM file",
                    file.display()
                );
            }
            tls = tls.root_certs(RootCerts::new_with_certs(&authorities));
        }
        Ok(ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(RESPONSE_TIMEOUT))
            // A token is for the host it is shown to.
            .max_redirects(0)
            .tls_config(tls.build())
            .build()
            .into())
    }
}

/// Where the configuration says that the host listens.
fn configured_url() -> anyhow::Result<String> {
    let config = Config::from_layers(&Layers::read(None, &Overrides::default())?)?;
    let scheme = if config.access.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let mut listen = config.listen;
    if listen.ip().is_unspecified() {
        listen.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    Ok(format!("{scheme}://{listen}"))
}

/// Whether nobody on the way can read what is sent.
fn is_confidential(url: &str) -> bool {
    let Ok(uri) = url.parse::<ureq::http::Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or("").trim_matches(['[', ']']);
    uri.scheme_str() == Some("https")
        || host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn read_response(
    url: &str,
    response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> anyhow::Result<Value> {
    let mut response = response.with_context(|| {
        format!("no host answers at {url}; is `ark serve` running there? (--url, ARK_URL)")
    })?;
    let status = response.status();
    let text = response
        .body_mut()
        .read_to_string()
        .context("the answer was cut off")?;
    let body: Value = serde_json::from_str(&text)
        .with_context(|| format!("{url} answers no JSON; is it a host of ARK?"))?;
    if !status.is_success() {
        let said = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or("");
        match said("remedy") {
            "" => bail!("{} ({status})", said("detail")),
            remedy => bail!("{}; {remedy} ({status})", said("detail")),
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::is_confidential;

    #[test]
    fn a_token_leaves_this_machine_only_under_tls() {
        for (url, safe) in [
            ("https://ark.example:8000", true),
            ("http://127.0.0.1:8000", true),
            ("http://localhost:8000", true),
            ("http://[::1]:8000", true),
            ("http://ark.example:8000", false),
            ("http://192.0.2.7:8000", false),
            ("http://localhost.example:8000", false),
            ("http://127.0.0.1@ark.example", false),
            ("ark.example", false),
        ] {
            assert_eq!(is_confidential(url), safe, "{url}");
        }
    }
}
