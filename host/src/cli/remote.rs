//! Talking to a running host over its HTTP API.

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
            format!("http://{}", config.listen)
        };
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{url}{path}"))
            .header("Content-Type", "application/json")
            .body(body.unwrap_or_default())
            .context("the request cannot be made; check --url")?;
        read(&url, client().run(request))
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

fn client() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .into()
}
