//! Measures ARK against its goals and prints a table. `cargo xtask bench` builds what it needs and starts it.
//!
//! Figures that are compared are measured in the same run, in turns, and reported as medians of the rounds, since the speed of a machine
//! changes from minute to minute.

mod agents;
mod echo;
mod growth;
mod isolation;
mod load;
mod overhead;
mod process;
mod report;
mod sandbox;
mod soak;
mod store;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use growth::{Grown, GrowthBenchmark};
use load::Mix;
use process::ServerProcess;
use report::{BenchReport, Load, MeasuredQuantity};

/// How many starts of a host are timed.
const STARTS: usize = 5;

const APPROVED: Mix = Mix {
    path: "/v1/actions",
    body: r#"{"agent":"api","action_type":"buy","parameters":{"symbol":"S@","position_size_pct":0.001,"entry_price":100.0,"stop_loss":95.0,"take_profit":110.0},"reasoning":"the benchmark asks for it"}"#,
    agents: 1,
    status: "HTTP/1.1 200",
    expect: r#""outcome":"approved""#,
};
/// As [`APPROVED`] and [`DENIED`], in the names of many agents.
const APPROVED_OF_MANY: Mix = Mix {
    body: r#"{"agent":"many-#","action_type":"buy","parameters":{"symbol":"S@","position_size_pct":0.001,"entry_price":100.0,"stop_loss":95.0,"take_profit":110.0},"reasoning":"the benchmark asks for it"}"#,
    ..APPROVED
};
const DENIED_OF_MANY: Mix = Mix {
    body: r#"{"agent":"many-#","action_type":"buy","parameters":{"symbol":"S@","position_size_pct":0.5,"leverage":4.0,"entry_price":100.0,"take_profit":110.0},"reasoning":"the benchmark asks for it"}"#,
    ..DENIED
};
const DENIED: Mix = Mix {
    body: r#"{"agent":"api","action_type":"buy","parameters":{"symbol":"S@","position_size_pct":0.5,"leverage":4.0,"entry_price":100.0,"take_profit":110.0},"reasoning":"the benchmark asks for it"}"#,
    expect: r#""outcome":"denied""#,
    ..APPROVED
};
const ECHO: Mix = Mix {
    expect: r#""symbol":"S"#,
    ..APPROVED
};

#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// The host's program.
    #[arg(long, value_name = "FILE", default_value = "target/release/ark")]
    ark: PathBuf,
    /// The example agents, for the start and for the memory.
    #[arg(long, value_name = "DIR", default_value = "target/guests")]
    guests: PathBuf,
    /// The hostile agents.
    #[arg(long, value_name = "DIR", default_value = "target/guests-hostile")]
    hostile: PathBuf,
    /// The operator policies.
    #[arg(long, value_name = "DIR", default_value = "target/policies")]
    policies: PathBuf,
    /// The benchmark's own agent.
    #[arg(long, value_name = "FILE", default_value = "target/bench/agent.wasm")]
    agent: PathBuf,
    /// The directory for the data of the hosts, on a disk like the one in operation.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    dir: PathBuf,
    /// Duration of a measurement, in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Number of rounds, of which the medians are reported.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// One round of one second each: shows whether everything works, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// Numbers of connections, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    connections: Vec<u64>,
    /// The most decisions in the log when it is measured how the cost grows.
    #[arg(long, default_value_t = 1_000_000)]
    largest_log: u64,
    /// Measures only this part.
    #[arg(long)]
    only: Option<BenchmarkPart>,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the echo that the host is compared with.
    Echo,
    /// Runs a full load with agents that fail at random for a long time, and fails when memory, descriptors or threads grow.
    Soak {
        /// How long it runs, in minutes.
        #[arg(long, default_value_t = 10.0)]
        minutes: f64,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum BenchmarkPart {
    /// Decisions over HTTP, beside the echo.
    Http,
    /// Evaluations and invocations in one process.
    Sandbox,
    /// Durable invocations.
    Agents,
    /// Start and memory.
    Start,
    /// Good agents beside hostile ones.
    Isolation,
    /// Decisions with telemetry and without.
    Telemetry,
    /// How the cost of a decision grows with the log, agents, policies and reservations.
    Growth,
    /// The store's writes, reads and history, beside bare `SQLite`.
    Store,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    if matches!(cli.command, Some(Command::Echo)) {
        return echo::serve_echo();
    }
    std::fs::create_dir_all(&cli.dir)?;
    let dir = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(&cli.dir)?;
    let bench = Benchmark {
        ark: cli
            .ark
            .canonicalize()
            .with_context(|| cli.ark.display().to_string())?,
        guests: cli
            .guests
            .canonicalize()
            .with_context(|| cli.guests.display().to_string())?,
        hostile: cli
            .hostile
            .canonicalize()
            .with_context(|| cli.hostile.display().to_string())?,
        policies: cli
            .policies
            .canonicalize()
            .with_context(|| cli.policies.display().to_string())?,
        agent: cli.agent,
        dir: dir.path().canonicalize()?,
        time: Duration::from_secs_f64(if cli.quick { 1.0 } else { cli.seconds }),
        connections: cli.connections,
        largest_log: if cli.quick { 10_000 } else { cli.largest_log },
        quick: cli.quick,
        largest_history: if cli.quick { 10_000 } else { 1_000_000 },
        rounds: if cli.quick { 1 } else { cli.rounds.max(1) },
    };
    if let Some(Command::Soak { minutes }) = cli.command {
        let time = Duration::from_secs_f64(minutes * 60.0);
        print!(
            "{}",
            soak::run_soak(&bench.ark, &bench.hostile, &bench.dir, time)?
        );
        return Ok(());
    }
    let wanted = |part| cli.only.is_none_or(|only| only == part);
    let mut report = BenchReport::default();
    if wanted(BenchmarkPart::Http) {
        bench.measure_http(&mut report)?;
    }
    if wanted(BenchmarkPart::Sandbox) {
        bench.measure_sandbox(&mut report)?;
    }
    if wanted(BenchmarkPart::Agents) {
        bench.measure_agents(&mut report)?;
    }
    if wanted(BenchmarkPart::Start) {
        bench.measure_start(&mut report)?;
    }
    if wanted(BenchmarkPart::Telemetry) {
        bench.measure_telemetry(&mut report)?;
    }
    if wanted(BenchmarkPart::Store) {
        bench.measure_store(&mut report)?;
    }
    if wanted(BenchmarkPart::Growth) {
        bench.measure_growth(&mut report)?;
    }
    if cli.only != Some(BenchmarkPart::Isolation) {
        print!("{report}");
    }
    if wanted(BenchmarkPart::Isolation) {
        let isolation = isolation::Isolation {
            ark: &bench.ark,
            hostile: &bench.hostile,
            dir: &bench.dir,
            time: bench.time * 4,
        };
        print!("\n{}", isolation.run()?);
    }
    Ok(())
}

struct Benchmark {
    ark: PathBuf,
    guests: PathBuf,
    hostile: PathBuf,
    policies: PathBuf,
    agent: PathBuf,
    dir: PathBuf,
    time: Duration,
    connections: Vec<u64>,
    largest_log: u64,
    quick: bool,
    largest_history: u64,
    rounds: usize,
}

impl Benchmark {
    fn measure_http(&self, report: &mut BenchReport) -> Result<()> {
        let warm_up = (self.time / 5).min(Duration::from_secs(1));
        for round in 0..self.rounds {
            let echo = ServerProcess::start_echo()?;
            let ark = ServerProcess::start_ark(
                &self.ark,
                &self.make_data_dir(&format!("http-{round}"))?,
                None,
            )?;
            for &connections in &self.connections {
                let baseline = load::run_load(echo.address, ECHO, connections, warm_up, self.time)?;
                let before = ark.written_bytes()?;
                let approved =
                    load::run_load(ark.address, APPROVED, connections, warm_up, self.time)?;
                let written = ark.written_bytes()? - before;
                report.add_sample(
                    MeasuredQuantity::Written(connections),
                    written / approved.answers as f64,
                );
                let denied = load::run_load(ark.address, DENIED, connections, warm_up, self.time)?;
                report.add_http(connections, &baseline, &approved, &denied);
                eprintln!(
                    "round {}: {connections} connections: echo {:.0}/s, approved {:.0}/s, denied {:.0}/s",
                    round + 1,
                    baseline.rate,
                    approved.rate,
                    denied.rate
                );
            }
            ark.stop()?;
        }
        Ok(())
    }

    fn measure_sandbox(&self, report: &mut BenchReport) -> Result<()> {
        let manifest = agents::write_copies(&self.agent, &self.dir.join("agents"))?;
        let body = APPROVED.body.replace('@', "1");
        for _ in 0..self.rounds {
            report.add_sandbox(&sandbox::measure_sandbox(
                &self.dir.join("cache"),
                &manifest,
                &body,
                self.time / 2,
            )?);
        }
        Ok(())
    }

    fn measure_agents(&self, report: &mut BenchReport) -> Result<()> {
        let agents = self.dir.join("agents");
        agents::write_copies(&self.agent, &agents)?;
        for round in 0..self.rounds {
            let ark = ServerProcess::start_ark(
                &self.ark,
                &self.make_data_dir(&format!("agents-{round}"))?,
                Some(&agents),
            )?;
            let rate = agents::measure_invocations(ark.address, self.time)?;
            eprintln!("round {}: {rate:.0} durable invocations/s", round + 1);
            report.add_sample(MeasuredQuantity::Invocations, rate);
            ark.stop()?;
        }
        Ok(())
    }

    fn measure_start(&self, report: &mut BenchReport) -> Result<()> {
        for start in 0..STARTS.min(2 * self.rounds) {
            let data = self.make_data_dir(&format!("start-{start}"))?;
            let cold = ServerProcess::start_ark(&self.ark, &data, Some(&self.guests))?;
            report.add_sample(
                MeasuredQuantity::ColdStart,
                cold.ready_after.as_secs_f64() * 1e3,
            );
            cold.stop()?;
            let warm = ServerProcess::start_ark(&self.ark, &data, Some(&self.guests))?;
            report.add_sample(
                MeasuredQuantity::WarmStart,
                warm.ready_after.as_secs_f64() * 1e3,
            );
            std::thread::sleep(Duration::from_secs(2));
            report.add_sample(MeasuredQuantity::Resident, warm.resident_mib()?);
            warm.stop()?;
        }
        Ok(())
    }

    fn measure_telemetry(&self, report: &mut BenchReport) -> Result<()> {
        for round in 0..self.rounds {
            for &connections in &self.connections {
                let data = |which: &str| {
                    self.make_data_dir(&format!("telemetry-{round}-{connections}-{which}"))
                };
                overhead::measure_round(
                    &self.ark,
                    &data,
                    APPROVED,
                    connections,
                    self.time,
                    report,
                )?;
            }
        }
        Ok(())
    }

    fn measure_store(&self, report: &mut BenchReport) -> Result<()> {
        for round in 0..self.rounds {
            let dir = self.make_data_dir(&format!("store-{round}"))?;
            for &writers in &self.connections {
                store::measure_writes(
                    &dir.join(format!("writes-{writers}")),
                    writers,
                    self.time,
                    report,
                )?;
            }
            store::measure_reads(&dir.join("reads"), self.time, report)?;
        }
        store::measure_history(
            &self.make_data_dir("history")?,
            self.largest_history,
            report,
        )
    }

    fn measure_growth(&self, report: &mut BenchReport) -> Result<()> {
        let reservations = if self.quick { 1_000 } else { 100_000 };
        let small_log = (self.largest_log / 100).max(1);
        let growth = GrowthBenchmark {
            ark: &self.ark,
            policies: &self.policies,
            dir: &self.dir,
            // Of a quick run, the sixteen loads of this part would be the longest.
            time: if self.quick { self.time / 4 } else { self.time },
            rounds: self.rounds,
            connections: 64,
            grown: &[
                Grown::Log(small_log),
                Grown::Log(self.largest_log),
                Grown::Agents(1),
                Grown::Agents(1_000),
                Grown::Policies(1),
                Grown::Policies(16),
                Grown::Reservations(1),
                Grown::Reservations(reservations),
            ],
            loads: &[
                (Load::Denied, DENIED, DENIED_OF_MANY),
                (Load::Approved, APPROVED, APPROVED_OF_MANY),
            ],
        };
        growth.measure(report)
    }

    fn make_data_dir(&self, name: &str) -> Result<PathBuf> {
        let path: &Path = &self.dir;
        let data = path.join(name);
        std::fs::create_dir_all(path)?;
        Ok(data)
    }
}
