//! `ark demo`: the host at work on recorded market ticks, in a temporary directory, without any other server.
//!
//! It runs the same parts as `ark serve`. Around them it plays two outsiders: the market, which sends ticks, and a [`broker`], which
//! executes what was approved, reports it, and closes positions later. Each scene says what happens and what that proves.

mod broker;
mod host;
mod narration;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use ark_host::app::App;
use ark_host::config::{Config, Overrides};
use ark_host::telemetry::LogFormat;
use clap::Args;
use serde_json::{Value, json};

use crate::operate::audit::{replay_decisions, verify_log};
use crate::output::{exit_code, print_line, start_logging};

use broker::Broker;
use host::DemoHost;
use narration::print_scene;

/// Ticks of three instruments, one JSON object a line.
const TICKS: &str = include_str!("../../assets/ticks.jsonl");
/// The demo's own configuration: the defaults, and the sources that its agents name.
const DEMO_CONFIG: &str = "[lists]
validated_sources = [\"market.tick\", \"kyle.score\", \"joey.pattern\", \"ark.decision\", \"ark.execution\"]
";
/// The agent that never returns.
const RUNAWAY: &str = "runaway";

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The directory of the example agents [default: the one beside this program's build].
    #[arg(long, value_name = "DIR")]
    agents: Option<PathBuf>,
    /// Keep the data in this directory, which must be empty or missing [default: a temporary directory].
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

pub(crate) fn run_command(args: DemoArgs) -> anyhow::Result<ExitCode> {
    start_logging("error", LogFormat::Human)?;
    let temporary;
    let dir = if let Some(dir) = args.keep {
        let empty = std::fs::read_dir(&dir).map_or(true, |mut entries| entries.next().is_none());
        anyhow::ensure!(
            empty,
            "{} is not empty; give an empty or new directory",
            dir.display()
        );
        dir
    } else {
        temporary = tempfile::tempdir().context("no temporary directory")?;
        temporary.path().to_owned()
    };
    let agents = match args.agents {
        Some(dir) => dir,
        None => find_agents()?,
    };
    let overrides = Overrides {
        data_dir: Some(dir.clone()),
        agents_dir: Some(agents),
        ..Overrides::default()
    };
    let config = Config::read(Some(&write_demo_config(&dir)?), &overrides)?;
    narration::print_opening();
    let app = App::start(&config)?;
    let mut host = DemoHost::new(&app);
    let result = run_scenes(&mut host);
    let counts = host.into_counts();
    app.stop();
    result?;
    print_scene(
        "Is it all on record, and can it be proved?",
        "the host has ended. Its audit log is checked hash by hash, and every decision is judged again from what was recorded.",
        "nobody can change the log unseen, and a decision depends on nothing but its recorded inputs.",
    );
    print_line!("{counts}");
    let valid = verify_log(&dir, false)?;
    let same = replay_decisions(&dir, &[], 1, false)?;
    narration::print_next_steps();
    Ok(exit_code(valid && same))
}

/// Writes the demo's configuration into its data directory, so that no `ark.toml` of the working directory has an effect.
fn write_demo_config(dir: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let path = dir.join("demo.toml");
    std::fs::write(&path, DEMO_CONFIG).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// The directory of the example agents: `cargo xtask guests` builds them into `target/guests`, an installation has them in
/// `../share/ark/agents`.
fn find_agents() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("the path of this program")?;
    let parents = program.ancestors().skip(1).take(3);
    for dir in parents.flat_map(|dir| [dir.join("guests"), dir.join("share/ark/agents")]) {
        if dir.join("kyle.toml").is_file() {
            return Ok(dir);
        }
    }
    bail!(
        "the example agents are not built; run `cargo xtask demo`, or give their directory with --agents"
    )
}

fn run_scenes(host: &mut DemoHost<'_>) -> anyhow::Result<()> {
    narration::print_host(host.app());
    let mut broker = Broker::default();
    print_scene(
        "The market opens",
        "each tick goes to the agent kyle; its signals lead to joey, then to kenny, who proposes trades. The host judges each proposal. A broker outside executes what is approved.",
        "agents propose and never act: what is denied or held reaches no broker.",
    );
    for (number, line) in TICKS.lines().enumerate() {
        let tick = serde_json::from_str(line).with_context(|| format!("tick {}", number + 1))?;
        host.send_signal("market.tick", line.to_owned())?;
        host.wait_until_idle(&mut broker)?;
        broker.act_on_tick(host, &tick)?;
        host.wait_until_idle(&mut broker)?;
    }
    print_scene(
        "People and programs propose as well",
        "six requests arrive as `POST /v1/actions` would bring them. Only the first is within every limit; the others split an order, claim an approval, leak data, and try to change the rules.",
        "the same rules hold for everybody, and a claim inside a request is no evidence.",
    );
    for request in example_requests() {
        host.propose_json(request)?;
    }
    host.wait_until_idle(&mut broker)?;
    if host.has_agent(RUNAWAY) {
        print_scene(
            "An agent that never returns",
            "a signal makes the agent `runaway` loop forever.",
            "limits on fuel and time end a misbehaving agent, and the host is not blocked meanwhile.",
        );
        host.send_signal("runaway.go", "{}".to_owned())?;
        let waited = host.wait_until_idle(&mut broker)?;
        print_line!("          it was ended after {} ms", waited.as_millis());
    }
    if let Some(trace_id) = broker.traded_trace() {
        print_scene(
            "One trace from end to end",
            "every signal, delivery and decision of one tick that led to a trade is read from the database.",
            "each action can be followed back to the signal that caused it.",
        );
        narration::print_trace(host.app(), trace_id)?;
    }
    Ok(())
}

/// Requests of people and programs; each shows another answer.
fn example_requests() -> Vec<Value> {
    vec![
        json!({"agent": "api", "action_type": "trade", "parameters": {"symbol": "ADA-USD", "position_size_pct": 0.05,
            "leverage": 1.0, "stop_loss": 0.4, "entry_price": 0.5, "risk_reward_ratio": 2.5}, "reasoning": "within every limit"}),
        json!({"agent": "api", "action_type": "trade", "parameters": {"symbol": "ADA-USD", "position_size_pct": 0.06,
            "stop_loss": 0.4, "entry_price": 0.5, "risk_reward_ratio": 2.5}, "reasoning": "the second slice of a split order"}),
        json!({"agent": "api", "action_type": "delete", "parameters": {"path": "/srv/reports/old.csv", "hrm_approved": true},
            "reasoning": "clean up", "rollback_plan": "restore from the backup"}),
        json!({"agent": "api", "action_type": "share_data", "parameters": {"subject": "alice@example.com", "contains_personal_data": true,
            "destination": "ad-network"}, "reasoning": "they asked for it"}),
        json!({"agent": "api", "action_type": "report", "parameters": {"text": "key AKIAIOSFODNN7EXAMPLE, mail bob@example.com"},
            "reasoning": "daily report"}),
        json!({"agent": "api", "action_type": "modify_graveyard", "parameters": {"rule": "max_leverage", "value": 10},
            "reasoning": "markets are calm"}),
    ]
}
