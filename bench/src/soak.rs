//! A full load for a long time while agents fail at random, are stopped and restored. Memory, file descriptors and threads must not grow.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ark_tests::copy_numbered;
use serde_json::{Value, json};

use crate::process::{ServerProcess, get_text, post_json};

/// The number of agents. Each behaves as its signals say.
const AGENTS: u32 = 12;
/// Connections that send signals, one after the other.
const SENDERS: u64 = 8;
/// The behaviours that signals ask for: mostly good ones.
const HOWS: [&str; 16] = [
    "behave",
    "behave",
    "behave",
    "behave",
    "behave",
    "behave",
    "behave",
    "behave",
    "behave",
    "panic",
    "fail",
    "memory",
    "stack",
    "actions",
    "write-flood",
    "no such fault",
];
/// The interval at which memory and descriptors are read.
const SAMPLE: Duration = Duration::from_secs(5);

/// The readings of one moment.
struct Seen {
    second: f64,
    resident: f64,
    descriptors: usize,
}

/// Loads a host for `time`. Returns the table as text.
///
/// # Errors
/// The host fails; or memory, descriptors or threads have grown.
pub fn run_soak(ark: &Path, hostile: &Path, dir: &Path, time: Duration) -> Result<String> {
    let agents = dir.join("soak-agents");
    let topics: Vec<(String, String)> = (0..AGENTS)
        .map(|number| {
            let topic = format!("soak.n{number}");
            let name = copy_numbered(hostile, "mob", number, &topic, &agents);
            (topic, name)
        })
        .collect();
    let config = dir.join("soak.toml");
    std::fs::write(&config, "[capacity]\nagent_queue = 200\n")?;
    let server =
        ServerProcess::start_ark_with(ark, &dir.join("soak"), Some(&agents), Some(&config))?;
    let started = Instant::now();
    let over = AtomicBool::new(false);
    let (accepted, turned_away, restored) =
        (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let mut seen = Vec::new();
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..SENDERS)
            .map(|number| {
                let (topics, over) = (&topics, &over);
                let counts = (&accepted, &turned_away);
                let address = server.address;
                scope.spawn(move || send_signals(address, topics, number, over, counts))
            })
            .collect();
        let keeper = scope.spawn(|| restore_stopped(server.address, &over, &restored));
        while started.elapsed() < time {
            std::thread::sleep(SAMPLE.min(time / 20));
            seen.push(Seen {
                second: started.elapsed().as_secs_f64(),
                resident: server.resident_mib()?,
                descriptors: server.descriptor_count()?,
            });
        }
        over.store(true, Ordering::Relaxed);
        for worker in workers {
            worker
                .join()
                .map_err(|_| anyhow::anyhow!("a sender panicked"))??;
        }
        keeper
            .join()
            .map_err(|_| anyhow::anyhow!("the keeper panicked"))?
    })?;
    let agents = json_of(&get_text(server.address, "/v1/agents")?)?;
    let sum = |field: &str| -> u64 {
        let agents = agents["agents"].as_array().map_or(&[][..], Vec::as_slice);
        agents
            .iter()
            .filter_map(|agent| agent[field].as_u64())
            .sum()
    };
    let (handled, failed) = (sum("handled"), sum("failed"));
    server.stop()?;
    compare_readings(
        &seen,
        &format!(
            "{} signals accepted, {} turned away; {handled} invocations committed, {failed} failed, {} quarantines lifted",
            accepted.load(Ordering::Relaxed),
            turned_away.load(Ordering::Relaxed),
            restored.load(Ordering::Relaxed)
        ),
    )
}

/// Prints the means of the first, the second and the last tenth of the readings, and fails when the last has grown over the second.
fn compare_readings(seen: &[Seen], counts: &str) -> Result<String> {
    let part = (seen.len() / 10).max(1);
    ensure!(seen.len() >= 2 * part, "too short to compare anything");
    let mean = |part: &[Seen]| {
        let count = part.len() as f64;
        let descriptors = part.iter().map(|seen| seen.descriptors as f64).sum::<f64>();
        (
            part.iter().map(|seen| seen.resident).sum::<f64>() / count,
            descriptors / count,
        )
    };
    // The first part is the second of ten: the very first minute still fills caches.
    let (first, last) = (&seen[part..2 * part], &seen[seen.len() - part..]);
    let (before, after) = (mean(first), mean(last));
    let mut text =
        String::from("| from, s | to, s | resident, MiB | file descriptors |\n|---|---|---|---|\n");
    for (part, (resident, descriptors)) in [
        (&seen[..part], mean(&seen[..part])),
        (first, before),
        (last, after),
    ] {
        let (from, to) = (
            part.first().context("a part")?.second,
            part.last().context("a part")?.second,
        );
        writeln!(
            text,
            "| {from:.0} | {to:.0} | {resident:.1} | {descriptors:.0} |"
        )?;
    }
    writeln!(text, "\n{counts}")?;
    print!("{text}");
    ensure!(after.0 <= before.0 * 1.1 + 8.0, "resident memory has grown");
    ensure!(after.1 <= before.1 + 8.0, "file descriptors have grown");
    Ok("memory and file descriptors are flat\n".to_owned())
}

fn send_signals(
    address: SocketAddr,
    topics: &[(String, String)],
    number: u64,
    over: &AtomicBool,
    (accepted, turned_away): (&AtomicU64, &AtomicU64),
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // A generator of its own (xorshift): what each sender does is the same in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ (number + 1);
    let mut random = move |most: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % most as u64).unwrap_or(0)
    };
    while !over.load(Ordering::Relaxed) {
        let (topic, _) = &topics[random(topics.len())];
        let body = json!({"topic": topic, "payload": HOWS[random(HOWS.len())]});
        let answer = runtime.block_on(post_json(address, "/v1/signals", &body))?;
        if answer["signal_id"].is_string() {
            accepted.fetch_add(1, Ordering::Relaxed);
        } else {
            ensure!(answer["status"] == json!(503), "{answer}");
            turned_away.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

/// Restores agents that were stopped, so that the load goes on.
fn restore_stopped(address: SocketAddr, over: &AtomicBool, restored: &AtomicU64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    while !over.load(Ordering::Relaxed) {
        let status = json_of(&get_text(address, "/v1/watchdog")?)?;
        for quarantine in status["quarantines"]
            .as_array()
            .map_or(&[][..], Vec::as_slice)
        {
            let agent = quarantine["agent"].as_str().context("an agent")?;
            let path = format!("/v1/agents/{agent}/restore");
            let receipt = runtime.block_on(post_json(
                address,
                &path,
                &json!({"reason": "the soak goes on"}),
            ))?;
            ensure!(receipt["changed"] == json!(true), "{receipt}");
            restored.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    Ok(())
}

fn json_of(answer: &str) -> Result<Value> {
    let (_, body) = answer
        .split_once("\r\n\r\n")
        .context("an answer has a body")?;
    Ok(serde_json::from_str(body)?)
}
