//! Measures what hostile agents do to the others: six agents and an API consumer at a steady load, then ten hostile agents join.
//!
//! The load is open: a request is sent at its time whether or not the one before is answered, since waiting would hide delays. An
//! agent's latency is from the acceptance of its signal to the commit of its decision, as the host has recorded both (in whole
//! milliseconds); the consumer's is from the first byte sent to the last received.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ark_tests::copy_numbered;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::load::new_histogram;
use crate::process::{ServerProcess, get_text, post_json};

/// The number of agents that behave.
const GOOD: u32 = 6;
/// Signals a second, for all of them together.
const SIGNALS: f64 = 120.0;
/// The consumer's proposals a second.
const PROPOSALS: f64 = 60.0;
/// Signals a second for each hostile agent.
const ATTACKS: f64 = 5.0;
/// The faults of the hostile agents, one each.
const FAULTS: [&str; 10] = [
    "loop",
    "memory",
    "panic",
    "fail",
    "stack",
    "sleep",
    "call-flood",
    "write-flood",
    "log-flood-and-panic",
    "actions",
];

/// How long a hostile agent may take until it is stopped. One that sleeps up to its deadline needs more than five seconds, however short the
/// phases are.
const LONGEST_STOP: Duration = Duration::from_secs(60);

/// A watchdog that stops no agent, so that the isolation alone is measured.
const NOBODY_IS_STOPPED: &str =
    "[watchdog]\nconsecutive_failures = 1000000\nfailure_rate = 1.0\nmissed_heartbeats = 1000000\n";

/// The parameters of the measurement.
pub struct Isolation<'a> {
    /// The host's program.
    pub ark: &'a Path,
    /// The directory with the hostile guests.
    pub hostile: &'a Path,
    /// The directory for data.
    pub dir: &'a Path,
    /// The duration of each phase.
    pub time: Duration,
}

struct Phase {
    proposals: Histogram<u64>,
    signals: Histogram<u64>,
}

impl Isolation<'_> {
    /// Runs all phases. Returns the table as text.
    ///
    /// # Errors
    /// The host fails, a good agent fails, or a hostile one is not stopped.
    pub fn run(&self) -> Result<String> {
        let agents = self.dir.join("isolation-agents");
        let good = copy_agents(self.hostile, "good", 0, GOOD, &agents);
        let count = u32::try_from(FAULTS.len())?;
        let bad = copy_agents(self.hostile, "bad", 50, count, &agents);
        let mut table = String::from(
            "| phase | consumer p50 / p99, ms | agents p50 / p99, ms | signals | failed |\n|---|---|---|---|---|\n",
        );
        let mut stopped = String::new();
        for (round, config) in [("stopping", ""), ("not-stopping", NOBODY_IS_STOPPED)] {
            let server = self.start_host(round, config, &agents)?;
            let quiet = run_phase(server.address, &good, self.time)?;
            let mut times = vec![None; bad.len()];
            let started = Instant::now();
            let over = AtomicBool::new(false);
            let hostile = std::thread::scope(|scope| -> Result<Phase> {
                let attack = scope.spawn(|| send_attacks(server.address, &bad, &over));
                let watch = scope.spawn(|| watch_quarantines(server.address, &bad, started, &over));
                let phase = run_phase(server.address, &good, self.time);
                while round == "stopping"
                    && phase.is_ok()
                    && !watch.is_finished()
                    && started.elapsed() < LONGEST_STOP
                {
                    std::thread::sleep(Duration::from_millis(50));
                }
                over.store(true, Ordering::Relaxed);
                attack
                    .join()
                    .map_err(|_| anyhow::anyhow!("the attack panicked"))??;
                times = watch
                    .join()
                    .map_err(|_| anyhow::anyhow!("the watch panicked"))??;
                phase
            })?;
            let failed = count_failures(server.address, &good)?;
            ensure!(failed == 0, "{failed} invocations of good agents failed");
            let names = match round {
                "stopping" => ["six agents alone", "ten hostile ones join and are stopped"],
                _ => [
                    "six agents alone, again",
                    "ten hostile ones join and nobody stops them",
                ],
            };
            for (name, phase) in names.into_iter().zip([&quiet, &hostile]) {
                write_row(&mut table, name, phase, failed)?;
            }
            let ratio = |pick: fn(&Phase) -> &Histogram<u64>| {
                divide_counts(
                    pick(&hostile).value_at_quantile(0.99),
                    pick(&quiet).value_at_quantile(0.99),
                )
            };
            writeln!(
                table,
                "| p99 with them / without | {:.2} | {:.2} | | |",
                ratio(|phase| &phase.proposals),
                ratio(|phase| &phase.signals)
            )?;
            if round == "stopping" {
                stopped.push_str("\n| hostile agent | quarantined after, s |\n|---|---|\n");
                for (fault, time) in FAULTS.iter().zip(&times) {
                    let time = time.with_context(|| format!("`{fault}` was not stopped"))?;
                    writeln!(stopped, "| {fault} | {time:.2} |")?;
                }
            }
            server.stop()?;
        }
        Ok(format!("{table}{stopped}"))
    }

    fn start_host(&self, round: &str, config: &str, agents: &Path) -> Result<ServerProcess> {
        let data: PathBuf = self.dir.join(format!("isolation-{round}"));
        std::fs::create_dir_all(self.dir)?;
        let file = self.dir.join(format!("isolation-{round}.toml"));
        std::fs::write(&file, config)?;
        ServerProcess::start_ark_with(self.ark, &data, Some(agents), Some(&file))
    }
}

/// Writes numbered copies of the hostile agent, each on a topic of its own. Returns topics with names.
fn copy_agents(
    hostile: &Path,
    kind: &str,
    from: u32,
    count: u32,
    agents: &Path,
) -> Vec<(String, String)> {
    (from..from + count)
        .map(|number| {
            let topic = format!("{kind}.n{number}");
            let name = copy_numbered(hostile, "mob", number, &topic, agents);
            (topic, name)
        })
        .collect()
}

fn run_phase(address: SocketAddr, good: &[(String, String)], time: Duration) -> Result<Phase> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let goes_on = move |since: Duration| since < time;
    let (proposals, traces) = runtime.block_on(async {
        let consumer = tokio::spawn(open_loop(address, PROPOSALS, goes_on, |number| {
            let body = json!({
                "agent": "api", "action_type": "buy", "reasoning": "the benchmark asks for it",
                "parameters": {"symbol": format!("P{number}-{}", std::process::id()), "position_size_pct": 0.001,
                    "entry_price": 100.0, "stop_loss": 95.0, "take_profit": 110.0},
            });
            ("/v1/actions".to_owned(), body)
        }));
        let topics: Vec<String> = good.iter().map(|(topic, _)| topic.clone()).collect();
        let sender = tokio::spawn(open_loop(address, SIGNALS, goes_on, move |number| {
            let topic = &topics[usize::try_from(number).unwrap_or(0) % topics.len()];
            ("/v1/signals".to_owned(), json!({"topic": topic, "payload": "behave"}))
        }));
        anyhow::Ok((consumer.await??, sender.await??))
    })?;
    let mut phase = Phase {
        proposals: new_histogram()?,
        signals: new_histogram()?,
    };
    for (nanos, answer) in proposals {
        ensure!(answer["outcome"] == json!("approved"), "{answer}");
        phase.proposals.record(nanos)?;
    }
    for (_, answer) in traces {
        let trace = answer["trace_id"]
            .as_str()
            .with_context(|| answer.to_string())?;
        phase.signals.record(read_latency(address, trace)?)?;
    }
    Ok(phase)
}

/// Returns the time from the acceptance of a trace's signal to the commit of its delivery, in nanoseconds.
fn read_latency(address: SocketAddr, trace: &str) -> Result<u64> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let trace: Value = get_json(address, &format!("/v1/traces/{trace}"))?;
        let step = &trace["steps"][0];
        let delivery = &step["deliveries"][0];
        if let (Some(settled), Some(accepted)) =
            (delivery["settled_at"].as_u64(), step["at_ms"].as_u64())
        {
            ensure!(delivery["status"] == json!("done"), "{trace}");
            // A whole millisecond is the least that can be told apart.
            return Ok(settled.saturating_sub(accepted).max(1) * 1_000_000);
        }
        ensure!(Instant::now() < until, "{trace} does not come to rest");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends each request at its time, over as many connections as that takes, while `goes_on` says so of the time since the first. Returns nanoseconds
/// and answers.
async fn open_loop(
    address: SocketAddr,
    rate: f64,
    goes_on: impl Fn(Duration) -> bool,
    request: impl Fn(u64) -> (String, Value),
) -> Result<Vec<(u64, Value)>> {
    let started = tokio::time::Instant::now();
    let mut under_way = Vec::new();
    for number in 0_u32.. {
        let since = Duration::from_secs_f64(f64::from(number) / rate);
        if !goes_on(since) {
            break;
        }
        let due = started + since;
        tokio::time::sleep_until(due).await;
        let (path, body) = request(u64::from(number));
        under_way.push(tokio::spawn(async move {
            let answer = post_json(address, &path, &body).await?;
            let nanos = u64::try_from(due.elapsed().as_nanos())?;
            anyhow::Ok((nanos, answer))
        }));
    }
    let mut answers = Vec::with_capacity(under_way.len());
    for task in under_way {
        answers.push(task.await??);
    }
    Ok(answers)
}

/// Attacks until it is over.
fn send_attacks(address: SocketAddr, bad: &[(String, String)], over: &AtomicBool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let topics: Vec<String> = bad.iter().map(|(topic, _)| topic.clone()).collect();
    let rate = ATTACKS * topics.len() as f64;
    let goes_on = |_| !over.load(Ordering::Relaxed);
    let answers = runtime.block_on(open_loop(address, rate, goes_on, move |number| {
        let index = usize::try_from(number).unwrap_or(0) % topics.len();
        let body = json!({"topic": topics[index], "payload": FAULTS[index]});
        ("/v1/signals".to_owned(), body)
    }))?;
    for (_, answer) in answers {
        ensure!(answer["signal_id"].is_string(), "{answer}");
    }
    Ok(())
}

/// Returns when each hostile agent was first seen in quarantine, in seconds from the start.
fn watch_quarantines(
    address: SocketAddr,
    bad: &[(String, String)],
    started: Instant,
    over: &AtomicBool,
) -> Result<Vec<Option<f64>>> {
    let mut times = vec![None; bad.len()];
    while !over.load(Ordering::Relaxed) && times.iter().any(Option::is_none) {
        let agents = get_json(address, "/v1/agents")?;
        for ((_, name), time) in bad.iter().zip(&mut times) {
            let quarantined = agents["agents"].as_array().is_some_and(|agents| {
                agents.iter().any(|agent| {
                    agent["name"] == json!(name) && agent["quarantined"] == json!(true)
                })
            });
            if quarantined {
                time.get_or_insert(started.elapsed().as_secs_f64());
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(times)
}

fn count_failures(address: SocketAddr, good: &[(String, String)]) -> Result<u64> {
    let agents = get_json(address, "/v1/agents")?;
    let agents = agents["agents"].as_array().context("agents")?;
    Ok(agents
        .iter()
        .filter(|agent| good.iter().any(|(_, name)| agent["name"] == json!(name)))
        .filter_map(|agent| agent["failed"].as_u64())
        .sum())
}

fn get_json(address: SocketAddr, path: &str) -> Result<Value> {
    let answer = get_text(address, path)?;
    let (_, body) = answer
        .split_once("\r\n\r\n")
        .context("an answer has a body")?;
    Ok(serde_json::from_str(body)?)
}

fn write_row(table: &mut String, name: &str, phase: &Phase, failed: u64) -> Result<()> {
    let at = |histogram: &Histogram<u64>, quantile| {
        divide_counts(histogram.value_at_quantile(quantile), 1_000_000)
    };
    writeln!(
        table,
        "| {name} | {:.2} / {:.2} | {:.0} / {:.0} | {} | {failed} |",
        at(&phase.proposals, 0.5),
        at(&phase.proposals, 0.99),
        at(&phase.signals, 0.5),
        at(&phase.signals, 0.99),
        phase.signals.len()
    )?;
    Ok(())
}
fn divide_counts(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
