//! Talking to a running host over its HTTP API.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

use crate::config::{Config, Overrides};

/// How long the host may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which host.
#[derive(Debug, Args)]
pub(super) struct Remote {
    /// The running host's API [default: the address in ark.toml, else <http://127.0.0.1:8000>].
    #[arg(long, global = true, env = "ARK_URL", value_name = "URL")]
    url: Option<String>,
    /// The bearer token, where the host asks for one; better in the environment than here.
    #[arg(
        long,
        global = true,
        env = "ARK_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// The certificates to trust, PEM, where the host's is not signed by one the system knows.
    #[arg(long, global = true, env = "ARK_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// A part of a path or a query.
pub(super) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

impl Remote {
    /// Whether a token says who calls.
    pub(super) const fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Sends a GET.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send("GET", path, None)
    }

    /// Sends a POST of JSON.
    pub(super) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send("POST", path, Some(body.to_string()))
    }

    /// Sends any request; `body` is JSON.
    pub(super) fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<String>,
    ) -> anyhow::Result<Value> {
        let url = if let Some(url) = &self.url {
            url.trim_end_matches('/').to_owned()
        } else {
            let config = Config::read(None, Overrides::default())?;
            let scheme = if config.tls.is_some() {
                "https"
            } else {
                "http"
            };
            format!("{scheme}://{}", config.listen)
        };
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{url}{path}"))
            .header("Content-Type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let request = request
            .body(body.unwrap_or_default())
            .context("the request cannot be made; check --url")?;
        read(&url, self.client()?.run(request))
    }
}

impl Remote {
    fn client(&self) -> anyhow::Result<ureq::Agent> {
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE));
        if let Some(path) = &self.ca {
            let pem = std::fs::read(path).with_context(|| path.display().to_string())?;
            let certificates = ureq::tls::parse_pem(&pem)
                .filter_map(|item| match item {
                    Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(Ok(certificate)),
                    Ok(_) => None,
                    Err(error) => Some(Err(error)),
                })
                .collect::<Result<Vec<_>, _>>()
                .with_context(|| format!("{} holds no certificate", path.display()))?;
            let roots = ureq::tls::RootCerts::new_with_certs(&certificates);
            let tls = ureq::tls::TlsConfig::builder().root_certs(roots).build();
            config = config.tls_config(tls);
        }
        Ok(config.build().into())
    }
}

fn read(
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
