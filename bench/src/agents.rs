//! Agents for the benchmark: one component under several names.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ark_model::ids::Digest;
use serde_json::Value;

use crate::load::{self, Mix};
use crate::process::get_text;

/// The name in the component's bytes, whose last two characters become the copy's number.
const NAME: &str = "bench-agent-that-proposes-one-trade-for-each-signal-";
/// The number of copies: as many as the host runs at the same time by default.
pub const COPIES: u64 = 16;
/// The number of connections that send signals.
const SENDERS: u64 = 8;

const SIGNAL: Mix = Mix {
    path: "/v1/signals",
    body: r#"{"topic":"bench.go","payload":{"number":"@"}}"#,
    agents: 1,
    status: "HTTP/1.1 202",
    expect: "signal_id",
};

/// Writes the copies with their manifests to `dir`. Returns the path of the first copy's manifest.
///
/// # Errors
/// The component cannot be read, or does not hold its name exactly once.
pub fn write_copies(template: &Path, dir: &Path) -> Result<PathBuf> {
    let template = fs::read(template).with_context(|| template.display().to_string())?;
    let name = format!("{NAME}00");
    let places: Vec<usize> = template
        .windows(name.len())
        .enumerate()
        .filter(|(_, window)| *window == name.as_bytes())
        .map(|(place, _)| place)
        .collect();
    ensure!(
        places.len() == 1,
        "the component holds its name {} times",
        places.len()
    );
    fs::create_dir_all(dir)?;
    for copy in 0..COPIES {
        let name = format!("{NAME}{copy:02}");
        let mut component = template.clone();
        component[places[0]..places[0] + name.len()].copy_from_slice(name.as_bytes());
        let manifest = format!(
            "name = \"{name}\"\nversion = \"{}\"\ncomponent = \"{copy:02}.wasm\"\nsha256 = \"{}\"\n\
             topics = [\"bench.go\"]\nactions = [\"trade\", \"buy\"]\n",
            env!("CARGO_PKG_VERSION"),
            Digest::hash_bytes(&component)
        );
        fs::write(dir.join(format!("{copy:02}.wasm")), component)?;
        fs::write(dir.join(format!("{copy:02}.toml")), manifest)?;
    }
    Ok(dir.join("00.toml"))
}

/// Sends signals to all copies for `time` and waits until the last is handled. Returns durable invocations a second, from the first signal
/// sent to the last invocation committed.
///
/// # Errors
/// A signal is refused, an invocation fails, or not all are handled within two minutes.
pub fn measure_invocations(address: SocketAddr, time: Duration) -> Result<f64> {
    let started = Instant::now();
    // Signals are cheaper than the invocations they lead to: a tenth of the time fills the queues.
    let sent = load::run_load(address, SIGNAL, SENDERS, Duration::ZERO, time / 10)?;
    let wanted = sent.answers * COPIES;
    loop {
        let (handled, failed) = read_counts(address)?;
        ensure!(failed == 0, "{failed} invocations failed");
        if handled >= wanted {
            ensure!(
                handled == wanted,
                "{handled} invocations for {wanted} deliveries"
            );
            return Ok(handled as f64 / started.elapsed().as_secs_f64());
        }
        ensure!(
            started.elapsed() < Duration::from_secs(120),
            "{handled} of {wanted} handled in two minutes"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn read_counts(address: SocketAddr) -> Result<(u64, u64)> {
    let answer = get_text(address, "/v1/agents")?;
    let (_, body) = answer
        .split_once("\r\n\r\n")
        .context("an answer has a body")?;
    let body: Value = serde_json::from_str(body)?;
    let agents = body["agents"].as_array().context("agents")?;
    let sum = |field: &str| {
        agents
            .iter()
            .filter_map(|agent| agent[field].as_u64())
            .sum()
    };
    Ok((sum("handled"), sum("failed")))
}
