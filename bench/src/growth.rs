//! How the cost of a decision grows: with the decisions in the log, the agents in whose names they are proposed, the operator policies, and the
//! open reservations.
//!
//! Each row is a host of its own with one of these quantities changed. Data are made by the store, from the record of a decision that the host has
//! made, since a million of them over HTTP would take most of the time.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ark_model::action::Side;
use ark_model::decision::Outcome;
use ark_model::ids::{AuditId, DecisionId, Digest, Millis, Name, TraceId};
use ark_model::size::Size;
use ark_store::{
    AuditEntry, AuditKind, AuditRow, IndexedFields, LedgerChange, MarketOrder, MarketOrderPurpose,
    MarketOrderState, OrderNumber, Store, StoreConfig, Unit,
};

use crate::load::{self, Mix};
use crate::process::{ServerProcess, get_text, post_json};
use crate::report::{BenchReport, Figure, Load, MeasuredQuantity};

/// The rows of a transaction while data are made.
const FILL_ROWS: u64 = 1_000;
/// How long the check of a database may take: ten million rows take minutes.
const CHECK_PATIENCE: Duration = Duration::from_mins(20);
/// The operator policy that is asked, under many names, and the settings with which it lets everything pass.
const POLICY: &str = "symbol-allowlist";
const POLICY_SETTINGS: &str = r#"{ allowed = ["*"] }"#;
/// A day: reservations outlive the measurement, and decisions are of before.
const DAY_MS: u64 = 24 * 3600 * 1000;

/// A quantity that grows, and how much of it there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grown {
    /// Decisions in the log before the measurement.
    Log(u64),
    /// Agents in whose names actions are proposed in turn.
    Agents(u64),
    /// Operator policies that are asked for each decision.
    Policies(u64),
    /// Reservations that are open before the measurement.
    Reservations(u64),
}

/// What is measured, and with what.
pub struct GrowthBenchmark<'a> {
    /// The host's program.
    pub ark: &'a Path,
    /// The directory with the operator policy.
    pub policies: &'a Path,
    /// The directory for the data of the hosts.
    pub dir: &'a Path,
    /// How long a load is measured.
    pub time: Duration,
    /// How many times.
    pub rounds: usize,
    /// The number of connections.
    pub connections: u64,
    /// The quantities.
    pub grown: &'a [Grown],
    /// The loads, each with the mix for one agent and that for many.
    pub loads: &'a [(Load, Mix, Mix)],
}

impl GrowthBenchmark<'_> {
    /// Measures each quantity in each round.
    ///
    /// # Errors
    /// Data cannot be made, a host does not start, or an answer is not as the mix expects.
    pub fn measure(&self, report: &mut BenchReport) -> Result<()> {
        let template = self.record_template()?;
        let mut places = Vec::new();
        for &grown in self.grown {
            places.push((grown, self.prepare(grown, &template)?));
        }
        for round in 0..self.rounds {
            for (grown, place) in &places {
                self.measure_one(*grown, place, report)
                    .with_context(|| format!("{grown:?}"))?;
            }
            eprintln!("round {} of the growth of cost is over", round + 1);
        }
        Ok(())
    }

    fn measure_one(&self, grown: Grown, place: &GrownData, report: &mut BenchReport) -> Result<()> {
        let warm_up = (self.time / 5).min(Duration::from_secs(1));
        let host =
            ServerProcess::start_ark_with(self.ark, &place.data, None, place.config.as_deref())?;
        if matches!(grown, Grown::Log(_) | Grown::Reservations(_)) {
            wait_for_check(host.address)?;
        }
        for &(load, one, many) in self.loads {
            let mix = match grown {
                Grown::Agents(agents) => Mix { agents, ..many },
                _ => one,
            };
            let measured = load::run_load(host.address, mix, self.connections, warm_up, self.time)?;
            let sample = |figure| MeasuredQuantity::Growth(grown, load, figure);
            report.add_sample(sample(Figure::Rate), measured.rate);
            report.add_latency(&measured.latency, sample);
        }
        host.stop()
    }

    /// Has a host deny an action, and returns the row of its record.
    fn record_template(&self) -> Result<AuditRow> {
        let data = self.dir.join("growth-template");
        fs::create_dir_all(&data)?;
        let host = ServerProcess::start_ark(self.ark, &data, None)?;
        let body = r#"{"agent":"api","action_type":"buy","parameters":{"symbol":"S000000000000","position_size_pct":0.5,"leverage":4.0,"entry_price":100.0,"take_profit":110.0},"reasoning":"the benchmark asks for it"}"#;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(post_json(
            host.address,
            "/v1/actions",
            &serde_json::from_str(body)?,
        ))?;
        host.stop()?;
        let store = Store::open(&StoreConfig::in_dir(&data))?;
        let row = store.last_decisions(1)?.pop().context("a decision")?;
        store.close();
        Ok(row)
    }

    fn prepare(&self, grown: Grown, template: &AuditRow) -> Result<GrownData> {
        let name = match grown {
            Grown::Log(n) => format!("growth-log-{n}"),
            Grown::Agents(n) => format!("growth-agents-{n}"),
            Grown::Policies(n) => format!("growth-policies-{n}"),
            Grown::Reservations(n) => format!("growth-reservations-{n}"),
        };
        let data = self.dir.join(name);
        let agent: Name = "api".parse()?;
        fs::create_dir_all(&data)?;
        let mut config = None;
        match grown {
            Grown::Log(rows) => fill_store(&data, rows, |number| Unit {
                audit: vec![copy_record(template, number)],
                ..Unit::default()
            })?,
            Grown::Reservations(orders) => fill_store(&data, orders, |number| Unit {
                ledger: vec![LedgerChange::NewOrder(Arc::new(make_reservation(
                    &agent, number,
                )))],
                ..Unit::default()
            })?,
            Grown::Policies(policies) => config = Some(self.declare_policies(&data, policies)?),
            Grown::Agents(agents) => {
                // Who proposes over HTTP is named in the configuration.
                let names: Vec<String> = (0..agents).map(|n| format!("\"many-{n:04}\"")).collect();
                let path = data.with_extension("toml");
                fs::write(&path, format!("submitters = [{}]\n", names.join(", ")))?;
                config = Some(path);
            }
        }
        Ok(GrownData { data, config })
    }

    /// Writes copies of the policy under names of their own, and a configuration that declares them.
    fn declare_policies(&self, data: &Path, policies: u64) -> Result<PathBuf> {
        let file = self.policies.join(format!("{POLICY}.wasm"));
        let component = fs::read(&file).with_context(|| file.display().to_string())?;
        let mut config = String::new();
        for number in 0..policies {
            let name = format!("{}{number:02}", &POLICY[..POLICY.len() - 2]);
            let mut copy = component.clone();
            let places: Vec<usize> = component
                .windows(POLICY.len())
                .enumerate()
                .filter(|(_, window)| *window == POLICY.as_bytes())
                .map(|(place, _)| place)
                .collect();
            for place in places {
                copy[place..place + name.len()].copy_from_slice(name.as_bytes());
            }
            let file = data.with_extension(format!("{number:02}.wasm"));
            fs::write(&file, &copy)?;
            let _ = write!(
                config,
                "[[policies]]\nfile = {:?}\nsha256 = \"{}\"\nsettings = {POLICY_SETTINGS}\n",
                file.display().to_string(),
                Digest::hash_bytes(&copy)
            );
        }
        let path = data.with_extension("toml");
        fs::write(&path, config)?;
        Ok(path)
    }
}

/// A host's data, and its configuration if it has one.
struct GrownData {
    data: PathBuf,
    config: Option<PathBuf>,
}

/// Waits until the host has checked its database, which it does beside serving after each start.
fn wait_for_check(address: SocketAddr) -> Result<()> {
    let started = Instant::now();
    while !get_text(address, "/readyz")?.contains(r#""store_check":{"#) {
        ensure!(
            started.elapsed() < CHECK_PATIENCE,
            "the host does not finish the check of its database"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Commits a number of units to a store.
fn fill_store(data: &Path, units: u64, make: impl Fn(u64) -> Unit) -> Result<()> {
    let store = Store::open(&StoreConfig::in_dir(data))?;
    let mut number = 0;
    while number < units {
        let end = (number + FILL_ROWS).min(units);
        let mut batch = Unit::default();
        for number in number..end {
            let mut unit = make(number);
            batch.audit.append(&mut unit.audit);
            batch.ledger.append(&mut unit.ledger);
        }
        store.commit(batch)?;
        number = end;
    }
    store.close();
    Ok(())
}

/// A copy of a recorded decision, about another instrument.
fn copy_record(template: &AuditRow, number: u64) -> AuditEntry {
    let symbol = format!("L{number:012}");
    AuditEntry {
        kind: AuditKind::Decision,
        id: AuditId::fresh(),
        trace_id: Some(TraceId::fresh()),
        agent: template.agent.clone(),
        action_type: template.action_type.clone(),
        outcome: Some(Outcome::Denied),
        // Of the decisions of the last minute a start reads the actions: that is no part of what is measured.
        at: Millis(template.at.0.saturating_sub(DAY_MS)),
        body: template.body.replace("S000000000000", &symbol),
        subject: Some(Arc::new(IndexedFields {
            symbol: Some(symbol),
            size: Some(0.5),
            fired: Vec::new(),
        })),
    }
}

/// A trade that was approved and of which nothing has been reported.
fn make_reservation(agent: &Name, number: u64) -> MarketOrder {
    let now = Millis::now();
    MarketOrder {
        number: OrderNumber(number + 1),
        decision_id: DecisionId::fresh(),
        agent: agent.clone(),
        symbol: format!("R{number:012}").into(),
        purpose: MarketOrderPurpose::Open,
        side: Side::Buy,
        size: Size::from_units(1),
        leverage: 1.0,
        state: MarketOrderState::New,
        filled: Size::ZERO,
        opened: Size::ZERO,
        closed: Size::ZERO,
        entry_price: None,
        realised: 0.0,
        last_realised: None,
        since: now,
        expires_at: Some(Millis(now.0 + DAY_MS)),
    }
}
