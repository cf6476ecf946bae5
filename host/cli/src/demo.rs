//! `ark demo`: the host on real-shaped market ticks, in a temporary directory, with no other server.
//!
//! It runs the same parts as `ark serve`. Around them it plays two outsiders: the market (it sends ticks) and a broker (it executes what
//! was approved, reports back, and closes positions later).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use ark_host::api::view::read_decision;
use ark_host::app::App;
use ark_host::config::{Config, Overrides};
use ark_host::hrm::{ExecutionReport, ExecutionStatus, Proposal, ProposalAnswer};
use ark_host::router::IncomingSignal;
use ark_model::action::{Action, Parameters, Side};
use ark_model::decision::{Decision, Outcome};
use ark_model::form::parse_action;
use ark_model::ids::{DecisionId, Fraction, Name, TraceId};
use ark_runtime::{Engine, EngineConfig, GraveyardSource, Pin, PinnedGraveyard};
use ark_store::{AuditFilter, AuditKind, AuditRow};

/// Ticks of three instruments, one JSON object a line.
const TICKS: &str = include_str!("../assets/ticks.jsonl");
/// The demo's own configuration: the defaults, and the sources that its agents name.
const DEMO_CONFIG: &str = "[lists]
validated_sources = [\"market.tick\", \"kyle.score\", \"joey.pattern\", \"ark.decision\", \"ark.execution\"]
";
/// After so many ticks of its symbol the broker closes a position that reached neither stop nor target.
const MAX_HOLDING_TICKS: u32 = 40;
/// How long an idle host may take to become idle.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// The example agents [default: found beside this program's build].
    #[arg(long, value_name = "DIR")]
    agents: Option<PathBuf>,
    /// Keeps the data in this directory (which must be empty or absent).
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Tick {
    symbol: String,
    price: f64,
}

pub(super) fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    super::start_logging("error");
    let temporary;
    let dir = if let Some(dir) = args.keep {
        let empty = std::fs::read_dir(&dir).map_or(true, |mut entries| entries.next().is_none());
        anyhow::ensure!(
            empty,
            "{} is not empty; name an empty or new directory",
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
    let app = App::start(&Config::read(Some(&write_demo_config(&dir)?), &overrides)?)?;
    let mut show = DemoRun {
        app: &app,
        last_seq: 0,
        counts: HashMap::new(),
        broker: Broker::default(),
        kenny_trace: None,
    };
    show.print_opening();
    let told = show.run_scenes();
    let DemoRun {
        last_seq: _,
        counts,
        kenny_trace,
        ..
    } = show;
    told?;
    if let Some(trace_id) = kenny_trace {
        print_trace(&app, trace_id)?;
    }
    app.stop();
    print_closing(&dir, &counts)
}

/// Written out, so that no `ark.toml` of the working directory has a part in the demo.
fn write_demo_config(dir: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let path = dir.join("demo.toml");
    std::fs::write(&path, DEMO_CONFIG).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// `cargo xtask guests` puts the components into `target/guests`, an installation into `../share/ark/agents`.
fn find_agents() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("this program's own path")?;
    let beside = program.ancestors().skip(1).take(3);
    for dir in beside.flat_map(|dir| [dir.join("guests"), dir.join("share/ark/agents")]) {
        if dir.join("kyle.toml").is_file() {
            return Ok(dir);
        }
    }
    bail!(
        "the example agents are not built; run `cargo xtask demo`, or name their directory with --agents"
    )
}

struct DemoRun<'a> {
    app: &'a App,
    last_seq: u64,
    counts: HashMap<&'static str, u64>,
    broker: Broker,
    /// A trace with an approved trade in it, to be shown at the end.
    kenny_trace: Option<TraceId>,
}

impl DemoRun<'_> {
    fn print_opening(&self) {
        let identity = &self.app.graveyard_identity;
        println!(
            "ARK demo: every action is a proposal; nothing counts until the Graveyard has judged it and the judgement is on disk.\n"
        );
        println!(
            "graveyard {}: {} rules, pin {}…, {} test vectors passed",
            identity.metadata.version,
            identity.metadata.rules.len(),
            &identity.digest.to_string()[..12],
            self.app.graveyard_vectors
        );
        for seat in self.app.router.list_serving() {
            let manifest = seat.agent.manifest();
            println!(
                "agent     {:<9} {}  <- {}",
                manifest.name,
                manifest.description,
                manifest.topics.join(", ")
            );
        }
        println!();
    }

    fn run_scenes(&mut self) -> anyhow::Result<()> {
        println!("--- the market opens: ticks -> kyle -> joey -> kenny -> HRM -> aletheia, id");
        for (number, line) in TICKS.lines().enumerate() {
            let tick: Tick =
                serde_json::from_str(line).with_context(|| format!("tick {}", number + 1))?;
            self.send_signal("market.tick", line.to_owned())?;
            self.wait_until_idle()?;
            self.run_broker(&tick)?;
        }
        println!("\n--- people and programs propose over HTTP as well (POST /v1/actions)");
        for request in example_requests() {
            self.propose_json(request)?;
        }
        self.wait_until_idle()?;
        if self
            .app
            .router
            .list_serving()
            .iter()
            .any(|seat| seat.agent.manifest().name.as_str() == "runaway")
        {
            println!("\n--- an agent that never returns");
            self.send_signal("runaway.go", "{}".to_owned())?;
            let started = Instant::now();
            self.wait_until_idle()?;
            println!(
                "          the host was never blocked; the agent was ended after {} ms",
                started.elapsed().as_millis()
            );
        }
        Ok(())
    }

    fn send_signal(&self, topic: &str, payload_json: String) -> anyhow::Result<()> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let incoming = IncomingSignal {
            by: None,
            ttl_ms: None,
            topic: topic.to_owned(),
            payload_json,
            trace_id: TraceId::fresh(),
            key: None,
        };
        self.app
            .router
            .accept_signal(incoming, Box::new(move |result| drop(reply.send(result))));
        answer.recv().context("the router is gone")??;
        Ok(())
    }

    /// Waits until everything that a signal led to is done, showing it as it happens.
    fn wait_until_idle(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + IDLE_TIMEOUT;
        let names: Vec<Name> = self
            .app
            .router
            .list_serving()
            .iter()
            .map(|seat| seat.agent.manifest().name.clone())
            .collect();
        loop {
            self.app.router.wake_outbox();
            let mut idle = self.app.store.pending_outbox(1)?.is_empty();
            for name in &names {
                idle = idle && self.app.store.pending_deliveries(name, None, 1)?.is_empty();
            }
            self.print_new_rows()?;
            if idle && self.app.store.pending_outbox(1)?.is_empty() {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < until, "the agents did not come to rest");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn print_new_rows(&mut self) -> anyhow::Result<()> {
        let mut rows: Vec<AuditRow> = self
            .app
            .store
            .audit_page(&AuditFilter::default(), None, 500)?
            .into_iter()
            .take_while(|row| row.seq > self.last_seq)
            .collect();
        rows.reverse();
        for row in rows {
            self.last_seq = row.seq;
            match row.kind {
                AuditKind::Decision => {
                    let id: DecisionId = row.id.parse()?;
                    let Some(decision) =
                        read_decision(&self.app.store, id).map_err(anyhow::Error::msg)?
                    else {
                        continue;
                    };
                    self.print_decision(&decision);
                }
                AuditKind::Failure => {
                    *self.counts.entry("failed").or_default() += 1;
                    let body: Value = serde_json::from_str(&row.body)?;
                    let agent = row.agent.as_ref().map_or("?", Name::as_str);
                    println!(
                        "{:<9} {agent:<9} {}",
                        "STOPPED",
                        body["reason"].as_str().unwrap_or("?")
                    );
                }
                AuditKind::Execution
                | AuditKind::Control
                | AuditKind::Operator
                | AuditKind::Approval
                | AuditKind::Amendment => {}
            }
        }
        Ok(())
    }

    fn print_decision(&mut self, decision: &Decision) {
        *self.counts.entry(decision.outcome.as_str()).or_default() += 1;
        let what = match &decision.action.parameters {
            Parameters::Trade(trade) => {
                if decision.outcome == Outcome::Approved {
                    self.broker.open_position(decision);
                    if decision.agent.as_str() == "kenny" {
                        self.kenny_trace = Some(decision.trace_id);
                    }
                }
                format!(
                    "{:<8} {:.3} of capital, leverage {}",
                    trade.symbol, trade.position_size_pct, trade.leverage
                )
            }
            // Agents talk all the time; only what is denied is worth a line.
            Parameters::Message(message) if decision.outcome == Outcome::Approved => {
                if decision.action.action_type == "report" {
                    println!(
                        "{:<9} {:<9} {}",
                        "report",
                        decision.agent,
                        message.text.as_deref().unwrap_or("")
                    );
                }
                return;
            }
            _ => decision.action.symbol().unwrap_or("").to_owned(),
        };
        println!(
            "{:<9} {:<9} {:<14} {what}  score {:.2}",
            decision.outcome.as_str().to_uppercase(),
            decision.agent,
            decision.action.action_type,
            decision.compliance_score
        );
        if decision.outcome != Outcome::Approved {
            for reason in decision.reasons().iter().take(3) {
                println!("{:<20}{reason}", "");
            }
        }
    }

    fn propose_json(&mut self, request: Value) -> anyhow::Result<()> {
        let request = parse_action(request)?;
        self.propose(request.agent, request.action)?;
        self.print_new_rows()
    }

    fn propose(&self, agent: Name, action: Action) -> anyhow::Result<ProposalAnswer> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let proposal = Proposal {
            submitter: agent.to_string(),
            deadline: None,
            agent,
            trace_id: TraceId::fresh(),
            action,
            causal_depth: 0,
            idempotency: None,
        };
        self.app
            .hrm
            .propose_action(proposal, Box::new(move |result| drop(reply.send(result))));
        Ok(answer.recv().context("the HRM is gone")??)
    }

    fn run_broker(&mut self, tick: &Tick) -> anyhow::Result<()> {
        for report in self.broker.take_confirmations() {
            self.report_execution(report)?;
        }
        for (agent, symbol, result) in self.broker.close_due_positions(tick) {
            let close = json!({
                "agent": agent,
                "action_type": "close_position",
                "parameters": {"symbol": symbol},
                "reasoning": "stop, target or holding time reached",
            });
            let request = parse_action(close)?;
            let ProposalAnswer::Decided(decision) = self.propose(request.agent, request.action)?
            else {
                continue;
            };
            if decision.outcome == Outcome::Approved {
                self.report_execution(ExecutionReport {
                    execution_id: format!("close-{}", decision.id),
                    decision_id: decision.id,
                    status: ExecutionStatus::Filled,
                    filled: None,
                    price: Some(tick.price),
                    realised: Some(result),
                    by: None,
                })?;
                println!(
                    "{:<9} {:<9} {symbol} closed at {:.2}: {:+.2} % of capital",
                    "broker",
                    "",
                    tick.price,
                    result * 100.0
                );
            }
        }
        self.wait_until_idle()
    }

    fn report_execution(&self, report: ExecutionReport) -> anyhow::Result<()> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.app
            .hrm
            .report_execution(report, Box::new(move |result| drop(reply.send(result))));
        answer.recv().context("the HRM is gone")??;
        Ok(())
    }
}

/// The outsider who executes.
#[derive(Default)]
struct Broker {
    unconfirmed: Vec<(DecisionId, Fraction, Option<f64>)>,
    holdings: Vec<Holding>,
}

struct Holding {
    agent: Name,
    symbol: String,
    side: Side,
    size: f64,
    entry: f64,
    stop: Option<f64>,
    target: Option<f64>,
    ticks: u32,
}

impl Broker {
    fn open_position(&mut self, decision: &Decision) {
        let Parameters::Trade(trade) = &decision.action.parameters else {
            return;
        };
        let (Some(entry), Some(size)) = (trade.entry_price, Fraction::new(trade.position_size_pct))
        else {
            return;
        };
        self.unconfirmed.push((decision.id, size, Some(entry)));
        self.holdings.push(Holding {
            agent: decision.agent.clone(),
            symbol: trade.symbol.clone(),
            side: trade.side,
            size: trade.position_size_pct,
            entry,
            stop: trade.stop_loss,
            target: trade.take_profit,
            ticks: 0,
        });
    }

    fn take_confirmations(&mut self) -> Vec<ExecutionReport> {
        let reports = self
            .unconfirmed
            .drain(..)
            .map(|(decision_id, size, price)| ExecutionReport {
                execution_id: format!("open-{decision_id}"),
                decision_id,
                status: ExecutionStatus::Filled,
                filled: Some(size),
                price,
                realised: None,
                by: None,
            });
        reports.collect()
    }

    /// Positions to be closed at this tick: all of an agent's in the symbol, with the result as a fraction of capital.
    fn close_due_positions(&mut self, tick: &Tick) -> Vec<(Name, String, f64)> {
        let mut due: Vec<Name> = Vec::new();
        for holding in self
            .holdings
            .iter_mut()
            .filter(|holding| holding.symbol == tick.symbol)
        {
            holding.ticks += 1;
            let beyond = |limit: Option<f64>, up: bool| {
                limit.is_some_and(|limit| {
                    if up {
                        tick.price >= limit
                    } else {
                        tick.price <= limit
                    }
                })
            };
            let long = holding.side == Side::Buy;
            if (beyond(holding.stop, !long)
                || beyond(holding.target, long)
                || holding.ticks >= MAX_HOLDING_TICKS)
                && !due.contains(&holding.agent)
            {
                due.push(holding.agent.clone());
            }
        }
        due.into_iter()
            .map(|agent| {
                let mut result = 0.0;
                self.holdings.retain(|holding| {
                    let closes = holding.symbol == tick.symbol && holding.agent == agent;
                    if closes {
                        let change = (tick.price - holding.entry) / holding.entry;
                        result += holding.size
                            * if holding.side == Side::Buy {
                                change
                            } else {
                                -change
                            };
                    }
                    !closes
                });
                (agent, tick.symbol.clone(), result)
            })
            .collect()
    }
}

/// What somebody might send: each shows another answer.
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

fn print_trace(app: &App, trace_id: TraceId) -> anyhow::Result<()> {
    println!("\n--- one trace from end to end: {trace_id}");
    let rows = app.store.trace_rows(trace_id)?;
    let mut steps: Vec<(String, String)> = Vec::new();
    for signal in &rows.signals {
        let sender = signal
            .sender
            .as_ref()
            .map_or("outside or host", Name::as_str);
        let to: Vec<String> = rows
            .deliveries
            .iter()
            .filter(|delivery| delivery.signal_id == signal.id)
            .map(|delivery| format!("{} ({})", delivery.agent, delivery.status))
            .collect();
        steps.push((
            signal.id.to_string(),
            format!(
                "signal    {:<14} from {sender:<16} to {}",
                signal.topic,
                to.join(", ")
            ),
        ));
    }
    for row in rows
        .audit
        .iter()
        .filter(|row| row.kind == AuditKind::Decision)
    {
        let outcome = row.outcome.map_or("?", Outcome::as_str);
        let action_type = row.action_type.as_deref().unwrap_or("?");
        let agent = row.agent.as_ref().map_or("?", Name::as_str);
        steps.push((
            row.id.clone(),
            format!("decision  {action_type:<14} of   {agent:<16} {outcome}"),
        ));
    }
    // Ids are ordered by time (UUID version 7).
    steps.sort();
    for (_, step) in steps {
        println!("{step}");
    }
    Ok(())
}

fn print_closing(dir: &Path, counts: &HashMap<&'static str, u64>) -> anyhow::Result<ExitCode> {
    let count = |name| counts.get(name).copied().unwrap_or(0);
    println!(
        "\n--- {} approved, {} held, {} denied, {} stopped. Is it all on record, and can it be proved?",
        count("approved"),
        count("held"),
        count("denied"),
        count("failed")
    );
    let whole = super::audit::verify_log(dir, false)?;
    let engine = Engine::new(&EngineConfig::default())?;
    let policy =
        PinnedGraveyard::load(&engine, &GraveyardSource::Embedded, Pin::compiled_in()?)?.policy;
    let same = super::audit::replay_decisions(dir, &engine, vec![Arc::new(policy)], false)?;
    println!(
        "\nWhat next:
  ark graveyard show                     the 26 rules
  ark serve --agents target/guests       run the host; then, in another terminal:
  curl -s localhost:8000/v1/actions -H 'content-type: application/json' -d '{{\"agent\":\"api\",\"action_type\":\"trade\",
       \"parameters\":{{\"symbol\":\"BTC-USD\",\"position_size_pct\":0.05,\"stop_loss\":60000,\"risk_reward_ratio\":2.5}},\"reasoning\":\"trend\"}}'
  ark inspect target/guests/kyle.wasm    what a component imports, and whether it would be loaded"
    );
    Ok(if whole == ExitCode::SUCCESS && same == ExitCode::SUCCESS {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
