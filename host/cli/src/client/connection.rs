//! The connection to a running host: its address, the token, TLS.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use ark_host::config::{Config, Layers, Overrides};
use ark_model::loopback::is_loopback_host;
use clap::Args;
use serde_json::Value;
use ureq::http::{Request, Response, Uri, request};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Proxy, SendBody, Timeout};

use super::progress::UploadProgress;

/// How long it may take to reach the host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the host does before it answers, which decides how long it is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AwaitedWork {
    /// What takes no time that a person would notice.
    Answer,
    /// It compiles a component.
    Compilation,
}

impl AwaitedWork {
    /// How long a request may take in all.
    const fn timeout(self) -> Duration {
        match self {
            Self::Answer => Duration::from_secs(30),
            Self::Compilation => Duration::from_mins(15),
        }
    }
}

/// Which host is called, and with which token.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// The API of the running host [default: the address in ark.toml, else <http://127.0.0.1:8000>].
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

impl Connection {
    /// Whether requests carry a token, whose name the host then records.
    pub(crate) const fn has_token(&self) -> bool {
        self.token.is_some() || self.token_file.is_some()
    }

    /// Sends a request and returns the JSON of the answer. `body` is JSON.
    ///
    /// A token leaves this machine only under TLS. The host of this machine is reached directly, whatever proxies the environment names.
    ///
    /// # Errors
    /// The host does not answer, or answers with a problem; the error has the problem's detail and remedy.
    pub(crate) fn send(
        &self,
        request: request::Builder,
        path: &str,
        body: Option<String>,
        work: AwaitedWork,
    ) -> anyhow::Result<Value> {
        let url = match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => configured_url()?,
        };
        let mut request = request
            .uri(format!("{url}{path}"))
            .header("Content-Type", "application/json");
        if let Some(token) = self.bearer_token()? {
            if !is_confidential(&url) {
                bail!(
                    "{url} is on another machine and not under TLS, so the token would travel unencrypted; give a URL with https://"
                );
            }
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let request = request
            .body(body.unwrap_or_default())
            .context("the request cannot be made; check --url, --token and the names given")?;
        self.call(&url, request, work)
    }

    fn bearer_token(&self) -> anyhow::Result<Option<String>> {
        // A token comes before a token file: a flag before what the environment holds for all commands.
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

    fn call(
        &self,
        url: &str,
        request: Request<String>,
        work: AwaitedWork,
    ) -> anyhow::Result<Value> {
        let proxy = Proxy::try_from_env()
            .filter(|proxy| !is_loopback(url) && !proxy.is_no_proxy(request.uri()));
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(work.timeout()))
            // A token is only for the host that it is sent to.
            .max_redirects(0)
            .proxy(proxy.clone())
            .tls_config(self.tls_config()?)
            .build()
            .into();
        let response = match work {
            AwaitedWork::Answer => agent.run(request),
            AwaitedWork::Compilation => {
                let (mut head, body) = request.into_parts();
                head.headers.insert("Content-Length", body.len().into());
                let (progress, body) = UploadProgress::start(body.into_bytes());
                let request = Request::from_parts(head, SendBody::from_owned_reader(body));
                let response = agent.run(request);
                drop(progress);
                response
            }
        };
        let response = response.map_err(|error| {
            let failure = describe_failure(url, proxy.as_ref(), &error, work);
            anyhow::Error::new(error).context(failure)
        })?;
        read_response(url, response)
    }

    fn tls_config(&self) -> anyhow::Result<TlsConfig> {
        let mut tls = TlsConfig::builder();
        if let Some(file) = &self.ca {
            let pem = std::fs::read(file).with_context(|| format!("--ca {}", file.display()))?;
            let mut authorities = Vec::new();
            for item in parse_pem(&pem) {
                let item = item.with_context(|| format!("--ca {}: not PEM", file.display()))?;
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
        Ok(tls.build())
    }
}

/// The address of the API according to the configuration of this machine.
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

/// Whether nobody between here and the host can read what is sent: TLS, or the same machine.
fn is_confidential(url: &str) -> bool {
    let is_tls = |uri: Uri| uri.scheme_str() == Some("https");
    url.parse().is_ok_and(is_tls) || is_loopback(url)
}

/// Whether the host is on this machine, by its name or address.
fn is_loopback(url: &str) -> bool {
    url.parse::<Uri>()
        .is_ok_and(|uri| is_loopback_host(uri.host().unwrap_or_default()))
}

/// Says what is known of a request that brought no answer, and what to do next.
fn describe_failure(
    url: &str,
    proxy: Option<&Proxy>,
    error: &ureq::Error,
    work: AwaitedWork,
) -> String {
    let through = proxy.map_or_else(String::new, |proxy| {
        format!(
            ", asked through the proxy {}:{} of the environment",
            proxy.host(),
            proxy.port()
        )
    });
    let look = match work {
        AwaitedWork::Answer => "look before you send it again",
        AwaitedWork::Compilation => {
            "`ark agent show` and `ark policy show` say whether it is there; the same upload may be sent again"
        }
    };
    match error {
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed => no_host(url, &through),
        ureq::Error::Io(error) if is_before_sending(error.kind()) => no_host(url, &through),
        ureq::Error::Timeout(_) => format!(
            "the host at {url}{through} has taken the request and not answered within {} s; it may still carry it out: {look}",
            work.timeout().as_secs()
        ),
        ureq::Error::Io(_) | ureq::Error::Protocol(_) => format!(
            "the connection to {url}{through} ended before the answer was there; whether the request was carried out is not known: {look}"
        ),
        _ => format!("{url}{through} cannot be asked; check --url and --ca, and its certificate"),
    }
}

fn no_host(url: &str, through: &str) -> String {
    format!("no host answers at {url}{through}; is `ark serve` running there? (--url, ARK_URL)")
}

/// Whether an error of this kind comes before a connection is there.
fn is_before_sending(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::AddrNotAvailable
            | ErrorKind::NotFound
    )
}

fn read_response(url: &str, mut response: Response<ureq::Body>) -> anyhow::Result<Value> {
    let status = response.status();
    let text = response
        .body_mut()
        .read_to_string()
        .context("the answer was cut off")?;
    let body: Value = serde_json::from_str(&text)
        .with_context(|| format!("the answer of {url} is not JSON; is it a host of ARK?"))?;
    if !status.is_success() {
        let member = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or("");
        let detail = member("detail");
        match member("remedy") {
            remedy if detail.ends_with(remedy) => bail!("{detail} ({status})"),
            remedy => bail!("{detail}; {remedy} ({status})"),
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::is_confidential;

    #[test]
    fn a_token_leaves_this_machine_only_under_tls() {
        for (url, confidential) in [
            ("https://ark.example:8000", true),
            ("http://127.0.0.1:8000", true),
            ("http://localhost:8000", true),
            ("http://LOCALHOST:8000", true),
            ("HTTPS://ark.example", true),
            ("http://[::1]:8000", true),
            ("http://ark.example:8000", false),
            ("http://192.0.2.7:8000", false),
            ("http://localhost.example:8000", false),
            ("http://127.0.0.1@ark.example", false),
            ("ark.example", false),
        ] {
            assert_eq!(is_confidential(url), confidential, "{url}");
        }
    }
}
