//! Measures ARK against the goals in section 9 of its design, and prints a table. Started by `cargo xtask bench`, which builds what it
//! needs.
//!
//! What is compared is measured in the same run, in turns, and reported as the median of the rounds: the machine's speed changes from
//! minute to minute.

mod agents;
mod echo;
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

use load::Mix;
use process::Server;
use report::{Report, Sample};

/// How often a host is started to find out how long it takes.
const STARTS: usize = 5;

const APPROVED: Mix = Mix {
    path: "/v1/actions",
    body: r#"{"agent":"api","action_type":"buy","parameters":{"symbol":"S@","position_size_pct":0.001,"entry_price":100.0,"stop_loss":95.0,"take_profit":110.0},"reasoning":"the benchmark asks for it"}"#,
    status: "HTTP/1.1 200",
    expect: r#""outcome":"approved""#,
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
    /// The benchmark's own agent.
    #[arg(long, value_name = "FILE", default_value = "target/bench/agent.wasm")]
    agent: PathBuf,
    /// Where the hosts keep their data meanwhile: a disk like the one in operation.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    dir: PathBuf,
    /// Seconds a measurement takes.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Rounds; medians are reported.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// One round of a second each: whether it works, not how fast.
    #[arg(long)]
    quick: bool,
    /// At how many connections, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    connections: Vec<u64>,
    /// Measures only this part.
    #[arg(long)]
    only: Option<Part>,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the echo that the host is compared to.
    Echo,
    /// Full load with agents that fail at random, for long: whether anything grows.
    Soak {
        /// Minutes.
        #[arg(long, default_value_t = 10.0)]
        minutes: f64,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
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
    /// The store's writes, reads and history, beside bare `SQLite`.
    Store,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    if matches!(cli.command, Some(Command::Echo)) {
        return echo::serve();
    }
    std::fs::create_dir_all(&cli.dir)?;
    let dir = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(&cli.dir)?;
    let bench = Bench {
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
        agent: cli.agent,
        dir: dir.path().canonicalize()?,
        time: Duration::from_secs_f64(if cli.quick { 1.0 } else { cli.seconds }),
        connections: cli.connections,
        largest_history: if cli.quick { 10_000 } else { 1_000_000 },
        rounds: if cli.quick { 1 } else { cli.rounds.max(1) },
    };
    if let Some(Command::Soak { minutes }) = cli.command {
        let time = Duration::from_secs_f64(minutes * 60.0);
        print!(
            "{}",
            soak::run(&bench.ark, &bench.hostile, &bench.dir, time)?
        );
        return Ok(());
    }
    let wanted = |part| cli.only.is_none_or(|only| only == part);
    let mut report = Report::default();
    if wanted(Part::Http) {
        bench.http(&mut report)?;
    }
    if wanted(Part::Sandbox) {
        bench.sandbox(&mut report)?;
    }
    if wanted(Part::Agents) {
        bench.agents(&mut report)?;
    }
    if wanted(Part::Start) {
        bench.start(&mut report)?;
    }
    if wanted(Part::Telemetry) {
        bench.telemetry(&mut report)?;
    }
    if wanted(Part::Store) {
        bench.store(&mut report)?;
    }
    if cli.only != Some(Part::Isolation) {
        print!("{report}");
    }
    if wanted(Part::Isolation) {
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

struct Bench {
    ark: PathBuf,
    guests: PathBuf,
    hostile: PathBuf,
    agent: PathBuf,
    dir: PathBuf,
    time: Duration,
    connections: Vec<u64>,
    largest_history: u64,
    rounds: usize,
}

impl Bench {
    fn http(&self, report: &mut Report) -> Result<()> {
        let warm_up = (self.time / 5).min(Duration::from_secs(1));
        for round in 0..self.rounds {
            let echo = Server::echo()?;
            let ark = Server::ark(&self.ark, &self.data(&format!("http-{round}"))?, None)?;
            let mut written = 0.0;
            let mut answers = 0;
            for &connections in &self.connections {
                let baseline = load::run(echo.address, ECHO, connections, warm_up, self.time)?;
                let before = ark.written()?;
                let approved = load::run(ark.address, APPROVED, connections, warm_up, self.time)?;
                written += ark.written()? - before;
                answers += approved.answers;
                let denied = load::run(ark.address, DENIED, connections, warm_up, self.time)?;
                report.http(connections, &baseline, &approved, &denied);
                eprintln!(
                    "round {}: {connections} connections: echo {:.0}/s, approved {:.0}/s, denied {:.0}/s",
                    round + 1,
                    baseline.rate,
                    approved.rate,
                    denied.rate
                );
            }
            #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
            report.add(Sample::Written, written / answers as f64);
            ark.stop()?;
        }
        Ok(())
    }

    fn sandbox(&self, report: &mut Report) -> Result<()> {
        let manifest = agents::write(&self.agent, &self.dir.join("agents"))?;
        let body = APPROVED.body.replace('@', "1");
        for _ in 0..self.rounds {
            report.sandbox(&sandbox::run(
                &self.dir.join("cache"),
                &manifest,
                &body,
                self.time / 2,
            )?);
        }
        Ok(())
    }

    fn agents(&self, report: &mut Report) -> Result<()> {
        let agents = self.dir.join("agents");
        agents::write(&self.agent, &agents)?;
        for round in 0..self.rounds {
            let ark = Server::ark(
                &self.ark,
                &self.data(&format!("agents-{round}"))?,
                Some(&agents),
            )?;
            let rate = agents::invocations(ark.address, self.time)?;
            eprintln!("round {}: {rate:.0} durable invocations/s", round + 1);
            report.add(Sample::Invocations, rate);
            ark.stop()?;
        }
        Ok(())
    }

    fn start(&self, report: &mut Report) -> Result<()> {
        for start in 0..STARTS.min(2 * self.rounds) {
            let data = self.data(&format!("start-{start}"))?;
            let cold = Server::ark(&self.ark, &data, Some(&self.guests))?;
            report.add(Sample::ColdStart, cold.ready_after.as_secs_f64() * 1e3);
            cold.stop()?;
            let warm = Server::ark(&self.ark, &data, Some(&self.guests))?;
            report.add(Sample::WarmStart, warm.ready_after.as_secs_f64() * 1e3);
            std::thread::sleep(Duration::from_secs(2));
            report.add(Sample::Resident, warm.resident()?);
            warm.stop()?;
        }
        Ok(())
    }

    fn telemetry(&self, report: &mut Report) -> Result<()> {
        for round in 0..self.rounds {
            for &connections in &self.connections {
                let data =
                    |which: &str| self.data(&format!("telemetry-{round}-{connections}-{which}"));
                overhead::round(&self.ark, &data, APPROVED, connections, self.time, report)?;
            }
        }
        Ok(())
    }

    fn store(&self, report: &mut Report) -> Result<()> {
        for round in 0..self.rounds {
            let dir = self.data(&format!("store-{round}"))?;
            for &writers in &self.connections {
                store::writes(
                    &dir.join(format!("writes-{writers}")),
                    writers,
                    self.time,
                    report,
                )?;
            }
            store::reads(&dir.join("reads"), self.time, report)?;
        }
        store::history(&self.data("history")?, self.largest_history, report)
    }

    fn data(&self, name: &str) -> Result<PathBuf> {
        let path: &Path = &self.dir;
        let data = path.join(name);
        std::fs::create_dir_all(path)?;
        Ok(data)
    }
}
