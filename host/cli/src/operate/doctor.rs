//! `ark doctor`: one file with what a bug report needs, and no secret.
//!
//! Three things keep secrets out: a value whose key is secret is masked (`ark config show` does the same), the text of every secret that the
//! configuration and the environment give is replaced wherever it stands, and the detectors of the redaction go over what others wrote (log lines,
//! problems). Signals, proposals, state and capsules are not collected at all.

use std::fmt::Write as _;
use std::io::{Read, Seek, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use ark_client::{Endpoint, HostClient};
use ark_deploy::check::{CheckOptions, Scope, run_checks};
use ark_host::config::{Config, Layers};
use ark_host::hrm::redaction::redact_text;
use ark_host::telemetry::TelemetryListen;
use ark_model::ids::Millis;
use ark_model::printable::format_count;
use clap::Args;
use serde_json::Value;

use crate::args::HostArgs;
use crate::client::connection::Connection;
use crate::output::{StatusLine, print_line};
use crate::time::{format_moment, print_in_utc};

/// How much of the end of a log is taken, in bytes.
const LOG_BYTES: u64 = 256 * 1024;
/// A secret that is shorter is not looked for: replacing it would garble innocent texts.
const SHORTEST_SECRET: usize = 6;
/// What stands in the place of a secret.
const MASK: &str = "********";
/// Parts of the names of environment variables whose values, or whose files' contents, are secrets.
const SECRET_VARIABLES: [&str; 5] = ["TOKEN", "SECRET", "PASSWORD", "HEADERS", "KEY"];

/// Nothing is changed, and nothing is sent anywhere. The file is for its owner alone to read; look through it before you attach it to a report.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    host: HostArgs,
    /// A file with the host's log, the end of which is collected.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Where to write to [default: `ark-doctor-TIME.md` in the working directory].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run_command(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let env_file = args.host.files.enter_env_file()?;
    // The reader of the report is elsewhere.
    print_in_utc();
    let now = Millis::now();
    let layers = Layers::read(args.host.files.config.as_deref(), &args.host.overrides());
    let config = match &layers {
        Ok(layers) => Config::from_layers(layers).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let mut report = DoctorReport {
        text: String::new(),
        secrets: collect_secrets(layers.as_ref().ok(), &args.connection),
    };
    let mut line = StatusLine::on_terminal();
    let mut show = |what: &str| {
        if let Some(line) = &mut line {
            line.show(&format!("collecting: {what}"));
        }
    };
    report.add_line(&format!(
        "# ARK: what a report needs, {}",
        format_moment(now)
    ));
    report.add_section("Program and machine", &describe_program());
    match (&layers, &config) {
        (Ok(layers), Ok(_)) => {
            let lines: Vec<String> = layers.lines().iter().map(ToString::to_string).collect();
            report.add_section("Configuration", &lines.join("\n"));
        }
        (_, Err(error)) => report.add_foreign("Configuration", &format!("refused: {error}")),
        (Err(_), Ok(_)) => {}
    }
    if let Ok(config) = &config {
        report.add_section("Data directory", &describe_directory(&config.store.dir));
        show("the host's answers");
        let client = args.connection.client();
        for path in [
            "/healthz",
            "/readyz",
            "/v1/watchdog",
            "/v1/agents",
            "/v1/policies",
        ] {
            let answer = match &client {
                Ok(client) => describe_answer(client, path),
                Err(error) => error.to_string(),
            };
            report.add_foreign(&format!("GET {path}"), &answer);
        }
        report.add_section("Metrics", &read_metrics(config));
    }
    show("ark check");
    report.add_foreign(
        "ark check",
        &describe_checks(&args.host, env_file, &mut show),
    );
    if let Some(log) = &args.log {
        show("the log");
        let (title, text) = (format!("The end of {}", log.display()), read_end(log));
        report.add_foreign(&title, &text.unwrap_or_else(|error| format!("{error:#}")));
    }
    drop(line);
    let path = args.output.unwrap_or_else(|| {
        PathBuf::from(format!(
            "ark-doctor-{}.md",
            format_moment(now).replace(':', "")
        ))
    });
    write_report(&path, &report.text)?;
    print_line!(
        "{} has what a report needs: {} bytes, without secrets; look through it before you attach it",
        path.display(),
        report.text.len()
    );
    Ok(ExitCode::SUCCESS)
}

/// The text that is collected, and the secrets that must not be in it.
struct DoctorReport {
    text: String,
    secrets: Vec<String>,
}

impl DoctorReport {
    fn add_line(&mut self, line: &str) {
        let line = self.without_secrets(line);
        let _ = writeln!(self.text, "{line}");
    }

    /// Adds a text that this program made itself.
    fn add_section(&mut self, title: &str, text: &str) {
        let text = self.without_secrets(text);
        self.add_block(title, &text);
    }

    /// Adds a text that may quote users or guests, after redaction.
    fn add_foreign(&mut self, title: &str, text: &str) {
        // First what is known exactly: the redaction may cut a secret into pieces.
        let text = self.without_secrets(text);
        let lines: Vec<String> = text.lines().map(redact_text).collect();
        self.add_block(title, &lines.join("\n"));
    }

    fn add_block(&mut self, title: &str, text: &str) {
        // Indented by four, so that no line of it ends the block.
        let _ = writeln!(self.text, "\n## {title}\n");
        for line in text.lines() {
            let _ = writeln!(self.text, "    {}", ark_model::printable::escape_line(line));
        }
    }

    fn without_secrets(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret.as_str(), MASK);
            // As it stands in JSON.
            let escaped = Value::from(secret.as_str()).to_string();
            text = text.replace(escaped.trim_matches('"'), MASK);
        }
        text
    }
}

/// The secrets of the configuration, the environment and the command line, the longest first.
fn collect_secrets(layers: Option<&Layers>, connection: &Connection) -> Vec<String> {
    let mut secrets = layers.map(Layers::secrets).unwrap_or_default();
    secrets.extend(connection.secret());
    for (name, value) in std::env::vars() {
        if !SECRET_VARIABLES.iter().any(|part| name.contains(part)) {
            continue;
        }
        if name.ends_with("_FILE") {
            secrets.extend(std::fs::read_to_string(&value));
        }
        secrets.push(value);
    }
    let mut secrets: Vec<String> = secrets
        .iter()
        .map(|secret| secret.trim().to_owned())
        .filter(|secret| secret.len() >= SHORTEST_SECRET && !Path::new(secret).exists())
        .collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.dedup();
    secrets
}

fn describe_program() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().next().unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!(
        "ark {}\n{} {}, kernel {}\n{processors} processors\n{memory}",
        ark_host::VERSION,
        std::env::consts::OS,
        std::env::consts::ARCH,
        release.trim(),
    )
}

/// The version of the schema, and the files of a data directory with their sizes.
fn describe_directory(dir: &Path) -> String {
    let mut text = match ark_store::ReadOnlyStore::open(dir) {
        Ok(store) => format!("schema {}\n", store.schema_version()),
        Err(error) => format!("the database cannot be read: {error}\n"),
    };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            let _ = writeln!(text, "{}: {error}", dir.display());
            return text;
        }
    };
    let mut lines: Vec<String> = entries
        .flatten()
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let size = match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => {
                    let inside = std::fs::read_dir(entry.path()).map_or(0, Iterator::count);
                    format!("directory, {}", format_count(inside, "entry", "entries"))
                }
                Ok(metadata) => format!("{} bytes", metadata.len()),
                Err(error) => error.to_string(),
            };
            format!("{name:<20} {size}")
        })
        .collect();
    lines.sort();
    text.push_str(&lines.join("\n"));
    text
}

fn describe_answer(client: &HostClient, path: &str) -> String {
    match client.get(path) {
        Ok(answer) => {
            let body = serde_json::to_string_pretty(&answer.body).unwrap_or_default();
            format!("{}\n{body}", answer.status)
        }
        Err(error) => error.to_string(),
    }
}

/// The metrics of the host that has this configuration.
fn read_metrics(config: &Config) -> String {
    let TelemetryListen::At(address) = config.telemetry.listen else {
        return "telemetry is off".to_owned();
    };
    let endpoint = Endpoint {
        url: format!("http://{address}"),
        token: None,
        ca: None,
    };
    let answer = HostClient::new(&endpoint).and_then(|client| client.get("/metrics/json"));
    match answer {
        Ok(answer) => describe_metrics(&answer.body["metrics"]),
        Err(error) => error.to_string(),
    }
}

/// A line for each series: its name, its labels, its value or its count, sum and quantiles.
fn describe_metrics(metrics: &Value) -> String {
    let mut text = String::new();
    for (name, family) in metrics.as_object().into_iter().flatten() {
        for sample in family["samples"].as_array().into_iter().flatten() {
            let value = match &sample["value"] {
                Value::Null => format!(
                    "count {}, sum {}, quantiles {}",
                    sample["count"], sample["sum"], sample["quantiles"]
                ),
                value => value.to_string(),
            };
            let _ = writeln!(text, "{name} {} {value}", sample["labels"]);
        }
    }
    text
}

fn describe_checks(
    host: &HostArgs,
    env_file: Option<Result<ark_deploy::env_file::EnvFile, ark_deploy::env_file::EnvFileError>>,
    show: &mut dyn FnMut(&str),
) -> String {
    let options = CheckOptions {
        config: host.files.config.clone(),
        overrides: host.overrides(),
        env_file,
        prometheus: None,
        snapshots: None,
    };
    let mut begun = |name: &str| show(&format!("ark check: {name}"));
    let lines = run_checks(options, Scope::Everything, &mut begun, &mut |_| {});
    let mut text = String::new();
    for line in lines {
        let _ = writeln!(
            text,
            "{:<8} {:<17} {}",
            line.status.label(),
            line.check,
            line.found
        );
    }
    text
}

/// The last lines of a file, whole ones.
fn read_end(path: &Path) -> anyhow::Result<String> {
    let named = || path.display().to_string();
    let mut file = std::fs::File::open(path).with_context(named)?;
    let bytes = file.metadata().with_context(named)?.len();
    let skipped = bytes.saturating_sub(LOG_BYTES);
    file.seek(SeekFrom::Start(skipped)).with_context(named)?;
    let mut end = Vec::new();
    file.take(LOG_BYTES)
        .read_to_end(&mut end)
        .with_context(named)?;
    let text = String::from_utf8_lossy(&end).into_owned();
    Ok(match text.split_once('\n') {
        Some((_, whole)) if skipped > 0 => whole.to_owned(),
        _ => text,
    })
}

/// Writes a new file that its owner alone can read.
fn write_report(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{}: give another file with --output", path.display()))?;
    file.write_all(text.as_bytes())
        .with_context(|| path.display().to_string())
}
