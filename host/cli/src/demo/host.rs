//! The running host of the demo: signals and proposals go in, and what it records is printed as it happens.

use std::fmt;
use std::time::{Duration, Instant};

use ark_host::api::view::read_decision;
use ark_host::app::App;
use ark_host::hrm::{ExecutionReport, Proposal, ProposalAnswer};
use ark_host::reply::ask_blocking;
use ark_host::router::IncomingSignal;
use ark_model::action::Action;
use ark_model::decision::{Decision, Outcome};
use ark_model::form::parse_action;
use ark_model::ids::{Name, TraceId};
use ark_model::printable::format_count;
use ark_model::usage::QuotaHolder;
use ark_store::{AuditFilter, AuditKind, AuditRow};
use serde_json::Value;

use super::narration::{print_decision, print_failure};

/// How long the host may take until nothing waits any more.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Learns of every decision.
pub(super) trait DecisionObserver {
    /// Learns of a decision that is on disk.
    fn observe_decision(&mut self, decision: &Decision);
}

/// How many decisions and failures there were.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    approved: u64,
    held: u64,
    denied: u64,
    failed: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} approved, {} held, {} denied; {} ended by a limit",
            format_count(self.approved, "action", "actions"),
            self.held,
            self.denied,
            format_count(self.failed, "invocation", "invocations")
        )
    }
}

pub(super) struct DemoHost<'a> {
    app: &'a App,
    /// The last row of the audit log that was printed.
    last_seq: u64,
    counts: Counts,
}

impl<'a> DemoHost<'a> {
    pub(super) fn new(app: &'a App) -> Self {
        Self {
            app,
            last_seq: 0,
            counts: Counts::default(),
        }
    }

    pub(super) const fn app(&self) -> &'a App {
        self.app
    }

    pub(super) const fn into_counts(self) -> Counts {
        self.counts
    }

    fn agent_names(&self) -> Vec<Name> {
        self.app
            .router
            .list_serving()
            .iter()
            .map(|slot| slot.agent.manifest().name.clone())
            .collect()
    }

    pub(super) fn has_agent(&self, name: &str) -> bool {
        self.agent_names()
            .iter()
            .any(|agent| agent.as_str() == name)
    }

    /// Sends a signal and waits until it is stored.
    pub(super) fn send_signal(&self, topic: &str, payload_json: String) -> anyhow::Result<()> {
        let incoming = IncomingSignal {
            by: None,
            ttl_ms: None,
            topic: topic.to_owned(),
            payload_json,
            trace_id: TraceId::fresh(),
            key: None,
        };
        ask_blocking(|reply| self.app.router.accept_signal(incoming, reply))?;
        Ok(())
    }

    /// Proposes an action as `POST /v1/actions` takes it.
    pub(super) fn propose_json(&self, request: Value) -> anyhow::Result<()> {
        let request = parse_action(request)?;
        self.propose(request.agent, request.action)?;
        Ok(())
    }

    /// Proposes an action and returns the answer.
    pub(super) fn propose(&self, agent: Name, action: Action) -> anyhow::Result<ProposalAnswer> {
        let proposal = Proposal {
            charged_to: QuotaHolder::Local,
            submitter: agent.to_string(),
            deadline: None,
            agent,
            trace_id: TraceId::fresh(),
            action,
            refusal: None,
            causal_depth: 0,
            idempotency: None,
        };
        Ok(ask_blocking(|reply| {
            self.app.hrm.propose_action(proposal, reply);
        })?)
    }

    /// Reports an execution and waits until it is recorded.
    pub(super) fn report_execution(&self, report: ExecutionReport) -> anyhow::Result<()> {
        ask_blocking(|reply| self.app.hrm.report_execution(report, reply))?;
        Ok(())
    }

    /// Waits until nothing waits any more, prints what is recorded meanwhile, and returns how long that took.
    pub(super) fn wait_until_idle(
        &mut self,
        observer: &mut impl DecisionObserver,
    ) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let names = self.agent_names();
        loop {
            self.app.router.wake_outbox();
            let mut idle = self.app.store.pending_outbox(1)?.is_empty();
            for name in &names {
                idle = idle && self.app.store.pending_count(name)? == 0;
            }
            self.print_new_rows(observer)?;
            if idle && self.app.store.pending_outbox(1)?.is_empty() {
                return Ok(started.elapsed());
            }
            anyhow::ensure!(
                started.elapsed() < IDLE_TIMEOUT,
                "signals still wait after {} s",
                IDLE_TIMEOUT.as_secs()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Prints the decisions and failures recorded since the last call, oldest first.
    fn print_new_rows(&mut self, observer: &mut impl DecisionObserver) -> anyhow::Result<()> {
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
                    let decision = read_decision(&self.app.store, row.id.parse()?)
                        .map_err(anyhow::Error::msg)?;
                    let Some(decision) = decision else { continue };
                    let count = match decision.outcome {
                        Outcome::Approved => &mut self.counts.approved,
                        Outcome::Held => &mut self.counts.held,
                        Outcome::Denied => &mut self.counts.denied,
                    };
                    *count += 1;
                    observer.observe_decision(&decision);
                    print_decision(&decision);
                }
                AuditKind::Failure => {
                    self.counts.failed += 1;
                    print_failure(&row)?;
                }
                AuditKind::Execution
                | AuditKind::Control
                | AuditKind::Operator
                | AuditKind::Approval
                | AuditKind::Amendment
                | AuditKind::Deployment => {}
            }
        }
        Ok(())
    }
}
