//! `ark synthetic`: a steady load on a live host, with injected violations in known proportion, and the proof that the host did what it must.
//!
//! Each tick sends a signal and proposes an action in the signal's trace. Most proposals are valid trades, which are reported as cancelled at
//! once; every n-th breaks one rule on purpose. Meanwhile each trace is read until it is complete, and the stream of events is followed.
//!
//! Invariants: the command has a requester and instruments of its own, and leaves no position open: what it is about to propose is in its
//! journal first, with its trace, so that the next run finds and takes back what a killed one left, whatever token it has: it cancels what was
//! approved, and rejects what was held. A run ends soon after its time, also where the host answers nothing.
//!
//! Reading order: [`run_synthetic`], [`plan`] (what is proposed), [`channel`] (how signals get to the host), [`requests`] (how long answers are waited
//! for), [`calls`], [`orders`] (what must be taken back), [`traces`], [`positions`], [`report`].
//!
//! Must not know: the host's own types, SQL, how anything is printed.

mod calls;
mod channel;
mod orders;
mod plan;
mod positions;
mod report;
mod requests;
mod traces;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use ark_client::members::text_field;
use ark_client::{ClientError, HostClient};
use ark_model::problem::UNKNOWN_AGENT;
use serde_json::Value;

use crate::journal::JournalError;
use crate::proposal::SyntheticProposal;
use crate::quarantines::{QuarantineMark, VALIDATION_PROBE, read_quarantines};

pub use channel::{HttpSignals, SentSignal, SignalChannel, TickSignal};
pub use report::{Latencies, Proof, SyntheticFailure, SyntheticReport};

use calls::{ANSWER_TIME, LOOK_TIME, propose_action, take_back};
use orders::MarketOrders;
use plan::Plan;
use positions::PositionWatch;
use report::Observations;
use requests::{Abandoned, RequestThread, TimedAnswer};
use traces::{SentTick, TraceReader};

/// How a host is driven.
#[derive(Debug, Clone)]
pub struct SyntheticOptions {
    /// The requester in whose name actions are proposed.
    pub agent: String,
    /// The topic of the signals.
    pub topic: String,
    /// How long it is driven.
    pub duration: Duration,
    /// Ticks a second; more than 0.
    pub hz: f64,
    /// Every how many ticks a violation is injected; at least 2.
    pub violation_every: u64,
    /// Where the journal is.
    pub journal: PathBuf,
}

impl SyntheticOptions {
    /// Checks that a run injects at least one violation of each kind.
    ///
    /// # Errors
    /// [`SyntheticError::TooShort`].
    pub fn check_options(&self) -> Result<(), SyntheticError> {
        let plan = Plan::new(self);
        let (ticks, needed) = (plan.count_ticks(), plan.needed_ticks());
        if ticks < needed {
            return Err(SyntheticError::TooShort {
                ticks,
                needed,
                kinds: plan::VIOLATION_KINDS,
                every: self.violation_every,
            });
        }
        Ok(())
    }
}

/// What a run tells while it goes on.
#[derive(Debug, Clone, Copy)]
pub enum RunEvent {
    /// Proposals may still be decided by the host, of which it is not known whether it got them. They are waited for, so that none stays open.
    Waits {
        /// How many there are.
        proposals: usize,
        /// For how long they are waited for at most.
        longest: Duration,
    },
    /// A tick is over.
    Tick(RunProgress),
}

/// How far a run has come.
#[derive(Debug, Clone, Copy)]
pub struct RunProgress {
    /// Ticks that were sent.
    pub sent: u64,
    /// Ticks in all.
    pub ticks: u64,
    /// Ticks that failed so far.
    pub failures: usize,
    /// How long the last proposal took.
    pub latency: Duration,
}

/// Why a host cannot be driven. What may be open is in the journal.
#[derive(Debug, thiserror::Error)]
pub enum SyntheticError {
    /// The run is too short for one violation of each kind.
    #[error(
        "a run of {ticks} ticks has too few: {needed} are needed for one violation of each of the {kinds} kinds, one every {every} ticks; give a longer --duration, more --hz, or a smaller --violation-every"
    )]
    TooShort {
        /// The ticks that the run would have.
        ticks: u64,
        /// The ticks that it needs.
        needed: u64,
        /// How many kinds of violations there are.
        kinds: u64,
        /// Every how many ticks one is injected.
        every: u64,
    },
    /// A request failed before the run began.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What an earlier run proposed cannot be taken back.
    #[error(
        "the journal {journal} names a proposal of {proposal} of an earlier run, which cannot be taken back: {problem}; run the command again with a token that may take it back, or take it back by hand and move the journal away", journal = journal.display()
    )]
    Left {
        /// The journal.
        journal: PathBuf,
        /// In whose name it was proposed, and its trace.
        proposal: String,
        /// What the host says.
        problem: String,
    },
    /// The run was to stop while proposals of an earlier one were waited for.
    #[error(
        "interrupted before the load began: of the proposals of an earlier run {proposals} may still be open; run the command again, it goes on by its journal"
    )]
    Interrupted {
        /// How many proposals may be open.
        proposals: usize,
    },
    /// The system gives no thread.
    #[error(
        "no thread can be started: {0}; raise the limit of processes (ulimit -u) or end other programs"
    )]
    Thread(std::io::Error),
    /// The host may not judge now.
    #[error("the host is not ready: {0}; `ark watchdog status` says more")]
    NotReady(String),
    /// The host takes no signals from the channel.
    #[error("the signals cannot go through {channel}: {problem}")]
    Channel {
        /// The channel.
        channel: String,
        /// What is wrong.
        problem: String,
    },
    /// The token may not report executions, so trades would stay open.
    #[error(
        "the token may not report executions, so its trades would stay open: {0}; use an administrator's token"
    )]
    CannotCancel(String),
    /// The host does not know the requester, or the token may not propose in its name.
    #[error(
        "nothing can be proposed in the name {agent}: {problem}; add it to `submitters` in ark.toml (or start with --submitter {agent}), or give another one with --agent"
    )]
    Requester {
        /// The name.
        agent: String,
        /// What the host says.
        problem: String,
    },
    /// The host judges an example otherwise than the run needs it.
    #[error("a dry run of the proposal `{kind}` was {outcome}, not {expected}: {reasons}")]
    Judgement {
        /// What was proposed.
        kind: &'static str,
        /// How it was judged.
        outcome: String,
        /// How it must be judged.
        expected: &'static str,
        /// The host's reasons.
        reasons: String,
    },
}

/// Asks the host whether everything is as the run needs it, without an effect: it is ready, the token may cancel, and each kind of proposal is
/// judged as expected. Returns what was found, a line each.
///
/// # Errors
/// See [`SyntheticError`].
pub fn rehearse_run(
    client: &HostClient,
    options: &SyntheticOptions,
    channel: &mut dyn SignalChannel,
) -> Result<Vec<String>, SyntheticError> {
    options.check_options()?;
    let mut steps = Vec::new();
    let ready = client.get("/readyz")?;
    if !ready.is_ready() {
        return Err(SyntheticError::NotReady(ready.body.to_string()));
    }
    steps.push(format!("the host at {} is ready", client.url()));
    calls::check_right_to_cancel(client)?;
    steps.push("trades can be reported as cancelled".to_owned());
    channel.check().map_err(|problem| SyntheticError::Channel {
        channel: channel.describe(),
        problem,
    })?;
    steps.push(format!("signals go through {}", channel.describe()));
    let plan = Plan::new(options);
    for proposal in plan.list_examples() {
        let answer = client.send_json("POST", "/v1/actions?dry_run=true", &[], &proposal.action)?;
        if answer.status != 200 {
            let problem = match answer.into_success() {
                // The remedy for a name that the host does not know is this error's own.
                Err(ClientError::Problem { kind, detail, .. }) if kind == UNKNOWN_AGENT => detail,
                Err(error) => error.to_string(),
                Ok(_) => String::new(),
            };
            return Err(SyntheticError::Requester {
                agent: options.agent.clone(),
                problem,
            });
        }
        if let Some(problem) = proposal.find_difference(&answer.body) {
            return Err(SyntheticError::Judgement {
                kind: proposal.kind,
                outcome: text_field(&answer.body, "outcome").to_owned(),
                expected: proposal.expected_outcome(),
                reasons: problem,
            });
        }
        steps.push(format!(
            "the proposal `{}` would be {}",
            proposal.kind,
            proposal.expected_outcome()
        ));
    }
    steps.push(format!(
        "to do: {} ticks in {:.0} s, each a signal on {} and a proposal of {}, one in {} a violation",
        plan.count_ticks(),
        options.duration.as_secs_f64(),
        options.topic,
        options.agent,
        options.violation_every
    ));
    Ok(steps)
}

/// Drives a host until the time is over or `stop` is set, and says whether it did what it must. `channel` takes the signals. What an earlier run
/// left open is taken back first.
///
/// # Errors
/// The run cannot begin, see [`SyntheticError`]. What goes wrong during the run is part of the report.
pub fn run_synthetic(
    client: &HostClient,
    options: &SyntheticOptions,
    mut channel: Box<dyn SignalChannel + Send>,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(RunEvent),
) -> Result<SyntheticReport, SyntheticError> {
    options.check_options()?;
    let mut orders = MarketOrders::open(client, &options.journal, &options.agent)?;
    orders.settle_open(client, stop, &mut |proposals, longest| {
        tell(RunEvent::Waits { proposals, longest });
    })?;
    match orders.count_open() {
        0 => {}
        proposals => return Err(SyntheticError::Interrupted { proposals }),
    }
    rehearse_run(client, options, &mut *channel)?;
    let signals_through = channel.describe();
    let before = QuarantineMark::read_host(client)?;
    let positions = PositionWatch::start_watch(client, options)?;
    let traces = TraceReader::start_reader(client.clone());
    let plan = Plan::new(options);
    let mut observed = Observations {
        ticks: plan.count_ticks(),
        period: plan.due_after(1),
        hz: options.hz,
        ..Observations::default()
    };
    let started = Instant::now();
    let until = started + options.duration + ANSWER_TIME;
    let requests =
        RequestThread::start_thread(channel, stop, until).map_err(SyntheticError::Thread)?;
    let load = Load {
        client,
        options,
        requests,
        plan: &plan,
    };
    let ended = load.send_ticks(started, &mut orders, &traces, &mut observed, tell);
    observed.elapsed = started.elapsed();
    observed.ended_by = ended.err();
    // A host that had not answered in time is asked once whether it answers now: if not, there is nothing more to find out.
    let is_answering = ended.is_ok() || client.get_within("/readyz", LOOK_TIME).is_ok();
    if is_answering {
        orders.settle_decided(client);
    }
    traces.finish_reader(&mut observed);
    if is_answering {
        positions.finish_watch(client, options, &mut orders, &mut observed);
        // What fails is counted.
        let _ = orders.settle_open(client, stop, &mut |proposals, longest| {
            tell(RunEvent::Waits { proposals, longest });
        });
        // The load breaks rules on purpose, and a validation beside it puts its probe into quarantine.
        let left_out = [options.agent.clone(), VALIDATION_PROBE.to_owned()];
        observed.new_quarantines = Some(read_quarantines(client, &before, None, &left_out));
    } else {
        let problem = "the end of the run could not be marked: the host does not answer";
        observed.position_problem = Some(problem.to_owned());
    }
    observed.left_open = orders.count_open();
    Ok(SyntheticReport::from_observations(
        observed,
        options,
        signals_through,
    ))
}

/// What sends the ticks of a run.
struct Load<'a> {
    client: &'a HostClient,
    options: &'a SyntheticOptions,
    requests: RequestThread<'a>,
    plan: &'a Plan<'a>,
}

impl Load<'_> {
    /// Sends each tick when it is due.
    ///
    /// # Errors
    /// Why the last ones were not sent.
    fn send_ticks(
        &self,
        started: Instant,
        orders: &mut MarketOrders,
        traces: &TraceReader,
        observed: &mut Observations,
        tell: &mut dyn FnMut(RunEvent),
    ) -> Result<(), Abandoned> {
        let mut first_sent = None;
        for tick in 0..self.plan.count_ticks() {
            let due = started + self.plan.due_after(tick);
            self.requests.wait_until(due)?;
            observed.lateness.push(due.elapsed());
            let first_sent = *first_sent.get_or_insert_with(Instant::now);
            observed.sending = first_sent.elapsed();
            let sent = self.send_tick(tick, orders, observed)?;
            let latency = observed.proposals.last().copied().unwrap_or_default();
            if let Some(sent) = sent {
                traces.follow_tick(sent);
            }
            tell(RunEvent::Tick(RunProgress {
                sent: tick + 1,
                ticks: self.plan.count_ticks(),
                failures: observed.failures.len(),
                latency,
            }));
        }
        Ok(())
    }

    /// Sends the signal of a tick, and proposes its action in the trace of the signal. Returns what must be found in the trace; `None`: there is nothing
    /// to look for.
    ///
    /// # Errors
    /// The host has not answered when the run had to end.
    fn send_tick(
        &self,
        tick: u64,
        orders: &mut MarketOrders,
        observed: &mut Observations,
    ) -> Result<Option<SentTick>, Abandoned> {
        let proposal = self.plan.build_proposal(tick);
        let (topic, kind) = (self.options.topic.clone(), proposal.kind);
        let TimedAnswer { answer, took } = self.requests.run_request(move |channel| {
            let topic = &topic;
            channel.send(&TickSignal { topic, tick, kind })
        });
        observed.signals.push(took);
        match answer {
            Ok(Ok(signal)) => self.propose_in_trace(&proposal, tick, signal, orders, observed),
            Ok(Err(error)) => {
                let problem = format!("the signal was not accepted: {error}");
                observed.add_failure(tick, "", problem);
                Ok(None)
            }
            Err(why) => {
                observed.add_failure(tick, "", format!("the signal was not accepted: {why}"));
                Err(why)
            }
        }
    }

    /// Proposes the action of a tick, and takes back at once what is approved or held.
    ///
    /// # Errors
    /// As [`Self::send_tick`].
    fn propose_in_trace(
        &self,
        proposal: &SyntheticProposal,
        tick: u64,
        signal: SentSignal,
        orders: &mut MarketOrders,
        observed: &mut Observations,
    ) -> Result<Option<SentTick>, Abandoned> {
        let trace = signal.trace_id;
        let mut action = proposal.action.clone();
        action["trace_id"] = Value::from(trace.as_str());
        let key = match orders.announce_order(&tick.to_string(), &action) {
            Ok(key) => key,
            Err(error) => {
                observed.add_failure(tick, &trace, error.to_string());
                return Ok(None);
            }
        };
        let client = self.client.clone();
        let own_key = key.clone();
        let TimedAnswer { answer, took } = self
            .requests
            .run_request(move |_| propose_action(&client, &own_key, &action));
        observed.proposals.push(took);
        let decision = match answer {
            Ok(Ok(decision)) => decision,
            Ok(Err(error)) => {
                let problem = format!("the proposal was not judged: {error}");
                observed.add_failure(tick, &trace, problem);
                return Ok(None);
            }
            Err(why) => {
                let problem = format!("the proposal was not judged: {why}");
                observed.add_failure(tick, &trace, problem);
                return Err(why);
            }
        };
        if text_field(&decision, "trace_id") != trace {
            observed.add_failure(
                tick,
                &trace,
                format!(
                    "the decision is in another trace, {}",
                    text_field(&decision, "trace_id")
                ),
            );
        }
        observed.count_decision(proposal, &decision);
        if let Some(problem) = proposal.find_difference(&decision) {
            observed.add_failure(tick, &trace, problem);
        }
        let decision_id = text_field(&decision, "decision_id").to_owned();
        observed
            .decisions
            .push((tick, trace.clone(), decision_id.clone()));
        let reported = self.settle_decision(&key, &decision, orders);
        if let Err(error) = &reported {
            let outcome = text_field(&decision, "outcome");
            observed.untaken += 1;
            observed.add_failure(
                tick,
                &trace,
                format!("the {outcome} trade could not be taken back: {error}"),
            );
        }
        if let Err(UntakenError::Abandoned(why)) = reported {
            return Err(why);
        }
        Ok(Some(SentTick {
            tick,
            trace,
            signal_id: signal.signal_id,
            decision_id,
            reported: reported.unwrap_or_default(),
        }))
    }

    /// Takes back what a decision left open, and notes that nothing of the proposal is. Returns whether an execution was reported.
    fn settle_decision(
        &self,
        key: &str,
        decision: &Value,
        orders: &mut MarketOrders,
    ) -> Result<bool, UntakenError> {
        let outcome = text_field(decision, "outcome").to_owned();
        let mut reported = false;
        if matches!(outcome.as_str(), "approved" | "held") {
            let id = text_field(decision, "decision_id").to_owned();
            let client = self.client.clone();
            reported = self
                .requests
                .run_request(move |_| take_back(&client, &id, &outcome))
                .answer??;
        }
        orders.note_settled(key)?;
        Ok(reported)
    }
}

/// Why a trade was not taken back in its tick. It is tried again at the end of the run.
#[derive(Debug, thiserror::Error)]
enum UntakenError {
    #[error("{0}")]
    Abandoned(Abandoned),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl From<Abandoned> for UntakenError {
    fn from(why: Abandoned) -> Self {
        Self::Abandoned(why)
    }
}
