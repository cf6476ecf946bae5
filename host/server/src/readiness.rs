//! Whether the host may judge, and if not, why: for `/readyz` on both ports.
//!
//! Must not know: HTTP.

use std::sync::Arc;

use serde::Serialize;

use ark_model::ids::Millis;
use ark_model::printable::format_count;
use ark_store::{Store, process_instance};

use crate::hrm::guards::Guards;
use crate::policies::Policies;
use crate::redis::RedisStatus;
use crate::watchdog::{StoreCheck, Watchdog};
use crate::webhooks::Webhooks;

/// What a host says of itself until the watchdog has beaten for the first time.
pub const NO_BEAT: &str = "the watchdog does not beat";

/// The parts that readiness depends on. Cheap to clone.
#[derive(Clone)]
pub struct Readiness {
    /// Whether the pin holds, the watchdog beats and the host is not halted.
    pub guards: Arc<Guards>,
    /// Whether the audit log can be written.
    pub store: Store,
    /// Whether the limits held when they were probed.
    pub watchdog: Watchdog,
    /// How many of the Graveyard's test vectors were run at the start.
    pub graveyard_vectors: usize,
    /// Whether every operator policy can judge.
    pub policies: Policies,
    /// Whether streams are read and events are sent.
    pub redis: Arc<RedisStatus>,
    /// How many secrets the database held at the start that no agent can read, since their key was not given.
    pub locked_secrets: u64,
    /// Whether events are delivered to webhooks.
    pub webhooks: Webhooks,
}

/// What a host says of itself that was started without the key of its secrets.
#[must_use]
pub fn describe_locked_secrets(count: u64) -> String {
    let secrets = format_count(count, "secret", "secrets");
    format!(
        "the database holds {secrets} that no agent can read: the host was started without their key; restart it with ARK_SECRET_KEY_FILE naming the file of the key"
    )
}

impl Readiness {
    /// Returns why the host may not judge now; empty: it may.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.guards.pin_holds() {
            problems.push("the Graveyard's pin is broken");
        }
        if !self.guards.watchdog_beating(Millis::now()) {
            problems.push(NO_BEAT);
        }
        if self.store.is_reserve_only() {
            problems.push("the database is full but for the host's reserve; archive the audit log (`ark audit archive`) or raise capacity.max_database_bytes");
        }
        if !self.watchdog.limits_hold() {
            problems.push("a limit did not hold when it was probed; GET /v1/watchdog says which");
        }
        if self.guards.is_halted() {
            problems.push("everything is halted");
        }
        let mut problems: Vec<String> = problems.into_iter().map(str::to_owned).collect();
        if let Some(failure) = self.store.describe_failure() {
            problems.push(format!("the audit log cannot be written: {failure}"));
        }
        match self.guards.unrecorded_orders() {
            0 => {}
            count => problems.push(format!(
                "{count} halts or quarantines are in force and not on disk yet; they are recorded as soon as the database can be written"
            )),
        }
        let check = self.watchdog.store_check().last;
        if let Some(fault) = check.and_then(|check| check.fault) {
            let dir = self.store.dir().display();
            problems.push(format!(
                "the database is damaged: {fault}; stop the host and restore a snapshot: `ark state restore SNAPSHOT --replace --data-dir {dir}`"
            ));
        }
        let problems = self.store.describe_loss().into_iter().chain(problems);
        problems.chain(self.policies.list_problems()).collect()
    }

    /// Returns what does not work now, though the host may judge; empty: everything works.
    #[must_use]
    pub fn degradations(&self) -> Vec<String> {
        let mut degraded = Vec::new();
        if self.locked_secrets > 0 {
            degraded.push(describe_locked_secrets(self.locked_secrets));
        }
        let measured = self.watchdog.redis_measurement();
        if let Some(problem) = measured.and_then(|measured| measured.problem) {
            degraded.push(format!(
                "the Redis does not answer: {problem}; signals over HTTP go on"
            ));
        }
        for stream in &self.redis.streams {
            if let Some(problem) = stream.problem() {
                let name = &stream.stream;
                degraded.push(format!("the stream {name} is not read: {problem}"));
            }
        }
        let events = self.redis.events.as_ref();
        if let Some(problem) = events.and_then(|events| events.problem()) {
            degraded.push(format!(
                "events are not sent: {problem}; GET /v1/events goes on"
            ));
        }
        for status in self.webhooks.statuses() {
            if let Some(problem) = status.describe_problem() {
                let name = &status.name;
                degraded.push(format!(
                    "events are not delivered to the webhook {name}: {problem}; GET /v1/events goes on"
                ));
            }
        }
        let fleet = self.watchdog.fleet_status();
        if let Some(problem) = fleet.and_then(|fleet| fleet.problem) {
            degraded.push(format!(
                "orders are not exchanged with the fleet: {problem}"
            ));
        }
        degraded.extend(self.watchdog.critical_of_redis());
        degraded
    }

    /// Returns the answer of `/readyz`. `agents`: how many serve.
    #[must_use]
    pub fn to_report(&self, agents: usize) -> ReadinessReport {
        let problems = self.problems();
        ReadinessReport {
            ready: problems.is_empty(),
            instance: process_instance(),
            problems,
            degraded: self.degradations(),
            graveyard_vectors: self.graveyard_vectors,
            agents,
            store_check: self.watchdog.store_check().last.map(StoreCheckReport::from),
        }
    }
}

/// Whether the host may judge now: the answer of `/readyz`.
#[derive(Debug, Clone, Serialize)]
pub struct ReadinessReport {
    /// Whether the host may judge.
    pub ready: bool,
    /// The name of the host's process.
    pub instance: &'static str,
    /// The reasons why it may not.
    pub problems: Vec<String>,
    /// What does not work, though it may judge.
    pub degraded: Vec<String>,
    /// How many test vectors the Graveyard passed at the start.
    pub graveyard_vectors: usize,
    /// How many agents serve.
    pub agents: usize,
    /// What the last check of the whole database found; absent until the first one has ended.
    pub store_check: Option<StoreCheckReport>,
}

/// What a check of the whole database found.
#[derive(Debug, Clone, Serialize)]
pub struct StoreCheckReport {
    /// When it ended.
    pub at_ms: Millis,
    /// How many rows of the audit log it checked.
    pub rows: u64,
    /// How many revisions of the state it checked.
    pub revisions: u64,
    /// What it left out, since it would have held up the host for too long.
    pub skipped: Vec<String>,
    /// What is wrong; absent: the database is as it was written.
    pub fault: Option<String>,
}

impl From<StoreCheck> for StoreCheckReport {
    fn from(check: StoreCheck) -> Self {
        Self {
            at_ms: check.ended_at,
            rows: check.rows,
            revisions: check.revisions,
            skipped: check.skipped,
            fault: check.fault,
        }
    }
}

/// The process runs: the answer of `/healthz`.
#[derive(Debug, Clone, Serialize)]
pub struct Liveness {
    /// Always `alive`.
    pub status: &'static str,
}

/// Returns the answer of `/healthz`.
#[must_use]
pub const fn report_liveness() -> Liveness {
    Liveness { status: "alive" }
}
