//! `ark health`: whether a host is alive, or may judge, as an exit status: for `HEALTHCHECK` of a container and for scripts.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use ark_client::members::{is_true, text_field};
use ark_client::{AwaitedWork, Endpoint, HostClient, OutgoingBody};
use ark_host::config::{Config, Layers, Overrides};
use ark_host::telemetry::TelemetryListen;
use clap::Args;
use serde_json::{Value, json};
use ureq::http::Request;

use super::connection::format_url;
use crate::args::enter_env_file;
use crate::output::{exit_code, print_json, print_line, report_failure};

/// The exit code is 0 if the host says yes within the time, 1 otherwise, also where something else than a host or a front answers. No token is needed.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// The address of the API or of telemetry [default: from the configuration: the API, or telemetry where the API has a certificate].
    #[arg(long, env = "ARK_URL", value_name = "URL")]
    url: Option<String>,
    /// The configuration file [default: `ark.toml` in the working directory, if there is one].
    #[arg(long, env = "ARK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file of environment variables, as `ark serve` takes it. A variable that the environment has already comes before it.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// A PEM file with the certificate authority to trust [default: the public ones].
    #[arg(long, env = "ARK_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Ask whether the host may judge now (/readyz), not only whether it is alive (/healthz).
    #[arg(long)]
    ready: bool,
    /// How long the answer may take, in seconds.
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=300))]
    timeout: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run_command(args: HealthArgs) -> anyhow::Result<ExitCode> {
    enter_env_file(args.env_file.as_deref())?.transpose()?;
    let url = match args.url {
        Some(url) => url,
        None => {
            let layers = Layers::read(args.config.as_deref(), &Overrides::default())?;
            let config = Config::from_layers(&layers)
                .context("the configuration names no address to ask; give one with --url")?;
            health_url(&config)
        }
    };
    let client = HostClient::new(&Endpoint {
        url,
        token: None,
        ca: args.ca,
    })?;
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let answer = client.send(
        Request::builder().method("GET"),
        path,
        OutgoingBody::Text(String::new()),
        AwaitedWork::Probe(Duration::from_secs(args.timeout)),
    );
    let answer = report_failure(args.json, answer.map_err(Into::into))?;
    let passed = answer.status == 200 && says_yes(&answer.body, args.ready);
    let url = format!("{}{path}", client.url());
    if args.json {
        print_json(
            &json!({"passed": passed, "url": url, "status": answer.status, "answer": answer.body}),
        )?;
    } else if passed {
        print_line!("{url}: ok");
    } else {
        print_line!("{url}: NOT OK ({}): {}", answer.status, answer.body);
        let said = if args.ready { "ready" } else { "status" };
        if answer.status == 200 && answer.body.get(said).is_none() {
            print_line!(
                "a host or a front says `{said}` in its answer: if none is there, correct --url, or the configured address"
            );
        }
    }
    Ok(exit_code(passed))
}

/// Whether an answer says that the host is ready, or alive: other servers too may answer 200 to any path.
fn says_yes(answer: &Value, is_ready_asked: bool) -> bool {
    if is_ready_asked {
        is_true(answer, "ready")
    } else {
        text_field(answer, "status") == "alive"
    }
}

/// Where a host of this configuration is asked. A certificate need not name the address by which this machine reaches the API; telemetry has none.
fn health_url(config: &Config) -> String {
    match config.telemetry.listen {
        TelemetryListen::At(address) if config.access.tls.is_some() => format_url("http", address),
        _ => {
            let is_encrypted = config.access.tls.is_some();
            format_url(if is_encrypted { "https" } else { "http" }, config.listen)
        }
    }
}
