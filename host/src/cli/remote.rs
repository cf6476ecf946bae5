//! Talking to a running host over its HTTP API.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

/// How long the host may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which host.
#[derive(Debug, Args)]
pub(super) struct Remote {
    /// The running host's API.
    #[arg(
        long,
        env = "ARK_URL",
        default_value = "http://127.0.0.1:8000",
        value_name = "URL"
    )]
    url: String,
}

impl Remote {
    /// Sends a GET.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        let url = self.at(path);
        let response = client().get(&url).call();
        self.read(response)
    }

    /// Sends a POST of JSON.
    pub(super) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = self.at(path);
        let response = client()
            .post(&url)
            .header("Content-Type", "application/json")
            .send(body.to_string());
        self.read(response)
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url.trim_end_matches('/'))
    }

    fn read(
        &self,
        response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> anyhow::Result<Value> {
        let mut response = response.with_context(|| {
            format!(
                "no host answers at {}; is `ark serve` running there? (--url, ARK_URL)",
                self.url
            )
        })?;
        let status = response.status();
        let text = response
            .body_mut()
            .read_to_string()
            .context("the answer was cut off")?;
        let body: Value = serde_json::from_str(&text)
            .with_context(|| format!("{} answers no JSON; is it a host of ARK?", self.url))?;
        if !status.is_success() {
            let said = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or("");
            match said("remedy") {
                "" => bail!("{} ({status})", said("detail")),
                remedy => bail!("{}; {remedy} ({status})", said("detail")),
            }
        }
        Ok(body)
    }
}

fn client() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .into()
}
