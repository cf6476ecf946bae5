//! `ark synthetic`: a steady load on a live host, with injected violations in known proportion, and the proof that the host did what it must.
//!
//! Each tick sends a signal and proposes an action in the signal's trace. Most proposals are valid trades, which are reported as cancelled at
//! once; every n-th breaks one rule on purpose. Meanwhile each trace is read until it is complete, and the stream of events is followed.
//!
//! Invariants: the command has a requester and instruments of its own, and leaves no position open: what it is about to propose is in its
//! journal first, under an idempotency key, so that the next run finds and takes back what a killed one left: it cancels what was approved, and
//! rejects what was held.
//!
//! Reading order: [`run_synthetic`], [`plan`] (what is proposed), [`channel`] (how signals get to the host), [`orders`] (what must be cancelled), [`traces`], [`positions`], [`report`].
//!
//! Must not know: the host's own types, SQL, how anything is printed.

mod channel;
mod orders;
mod plan;
mod positions;
mod report;
mod traces;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
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

use orders::MarketOrders;
use plan::Plan;
use positions::PositionWatch;
use report::Observations;
use traces::{SentTick, TraceReader};

/// The longest time until a request to stop the run is noticed.
const STOP_TICK: Duration = Duration::from_millis(50);

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

/// Why a host cannot be driven. Nothing stays open.
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
    orders::check_right_to_cancel(client)?;
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
/// left open is cancelled first.
///
/// # Errors
/// The run cannot begin, see [`SyntheticError`]. What goes wrong during the run is part of the report.
pub fn run_synthetic(
    client: &HostClient,
    options: &SyntheticOptions,
    channel: &mut dyn SignalChannel,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(RunProgress),
) -> Result<SyntheticReport, SyntheticError> {
    options.check_options()?;
    let mut orders = MarketOrders::open(client, &options.journal, &options.agent)?;
    rehearse_run(client, options, channel)?;
    let before = QuarantineMark::read_host(client)?;
    let positions = PositionWatch::start_watch(client, options.duration)?;
    let traces = TraceReader::start_reader(client.clone());
    let mut observed = Observations::default();
    let plan = Plan::new(options);
    let started = Instant::now();
    let mut first_sent = None;
    for tick in 0..plan.count_ticks() {
        let due = started + plan.due_after(tick);
        if !wait_until(due, stop) {
            observed.interrupted = true;
            break;
        }
        observed.lateness.push(due.elapsed());
        let first_sent = *first_sent.get_or_insert_with(Instant::now);
        observed.sending = first_sent.elapsed();
        let proposal = plan.build_proposal(tick);
        let signal = send_signal(channel, &options.topic, &proposal, tick, &mut observed);
        let sent = signal.and_then(|signal| {
            propose_in_trace(client, &proposal, tick, signal, &mut orders, &mut observed)
        });
        let latency = observed.proposals.last().copied().unwrap_or_default();
        if let Some(sent) = sent {
            traces.follow_tick(sent);
        }
        progress(RunProgress {
            sent: tick + 1,
            ticks: plan.count_ticks(),
            failures: observed.failures.len(),
            latency,
        });
    }
    observed.elapsed = started.elapsed();
    observed.ticks = plan.count_ticks();
    observed.period = plan.due_after(1);
    // What could not be taken back in its tick is tried again now, at the end, and by the next run.
    orders.cancel_all(client);
    traces.finish_reader(&mut observed);
    positions.finish_watch(client, options, &mut orders, &mut observed);
    observed.left_open = orders.cancel_all(client);
    // The load breaks rules on purpose, and a validation beside it puts its probe into quarantine.
    let left_out = [options.agent.clone(), VALIDATION_PROBE.to_owned()];
    observed.new_quarantines = Some(read_quarantines(client, &before, None, &left_out));
    Ok(SyntheticReport::from_observations(
        observed,
        options,
        channel.describe(),
    ))
}

/// Waits for a moment; `false`: the run is to stop.
fn wait_until(due: Instant, stop: &AtomicBool) -> bool {
    loop {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(STOP_TICK));
    }
}

/// Sends the signal of a tick. `None`: it failed.
fn send_signal(
    channel: &mut dyn SignalChannel,
    topic: &str,
    proposal: &SyntheticProposal,
    tick: u64,
    observed: &mut Observations,
) -> Option<SentSignal> {
    let kind = proposal.kind;
    let started = Instant::now();
    let sent = channel.send(&TickSignal { topic, tick, kind });
    observed.signals.push(started.elapsed());
    sent.map_err(|error| {
        observed.add_failure(tick, "", format!("the signal was not accepted: {error}"));
    })
    .ok()
}

/// Proposes the action of a tick in the trace of its signal. Returns what must be found in the trace; `None`: there is nothing to look for.
fn propose_in_trace(
    client: &HostClient,
    proposal: &SyntheticProposal,
    tick: u64,
    signal: SentSignal,
    orders: &mut MarketOrders,
    observed: &mut Observations,
) -> Option<SentTick> {
    let trace = signal.trace_id;
    let mut action = proposal.action.clone();
    action["trace_id"] = Value::from(trace.as_str());
    let key = match orders.announce_order(&tick.to_string(), &action) {
        Ok(key) => key,
        Err(error) => {
            observed.add_failure(tick, &trace, error.to_string());
            return None;
        }
    };
    let started = Instant::now();
    let answer = client
        .send_json("POST", "/v1/actions", &[("Idempotency-Key", &key)], &action)
        .and_then(ark_client::Answer::into_success);
    observed.proposals.push(started.elapsed());
    let decision = match answer {
        Ok(decision) => decision,
        Err(error) => {
            observed.add_failure(
                tick,
                &trace,
                format!("the proposal was not judged: {error}"),
            );
            return None;
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
    let reported = orders.settle_order(client, &key, &decision);
    if let Err(error) = &reported {
        let outcome = text_field(&decision, "outcome").to_owned();
        observed.untaken += 1;
        observed.add_failure(
            tick,
            &trace,
            format!("the {outcome} trade could not be taken back: {error}"),
        );
    }
    let decision_id = text_field(&decision, "decision_id").to_owned();
    observed
        .decisions
        .push((tick, trace.clone(), decision_id.clone()));
    Some(SentTick {
        tick,
        trace,
        signal_id: signal.signal_id,
        decision_id,
        reported: reported.unwrap_or_default(),
    })
}
