//! The traces of a run: each is read until it is complete and holds what was sent.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ark_client::members::{array_field, text_field};
use ark_client::{Answer, HostClient};
use serde_json::Value;

use super::report::{Observations, SyntheticFailure};

/// How long a trace may take to be complete.
const PATIENCE: Duration = Duration::from_secs(20);
/// The pause between two looks at the traces that wait.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a second copy of a signal may take to come, where one can.
const REPETITION: Duration = Duration::from_secs(1);

/// What was sent in a tick, and must be in its trace.
pub(super) struct SentTick {
    pub(super) tick: u64,
    pub(super) trace: String,
    /// `None`: the host takes the signal later than it is sent, and must do so once.
    pub(super) signal_id: Option<String>,
    pub(super) decision_id: String,
    /// Whether an execution was reported.
    pub(super) reported: bool,
}

/// Reads traces on a thread of its own, so that they do not hold up the ticks.
pub(super) struct TraceReader {
    ticks: Sender<SentTick>,
    thread: JoinHandle<(usize, Vec<SyntheticFailure>)>,
}

impl TraceReader {
    pub(super) fn start_reader(client: HostClient) -> Self {
        let (ticks, sent) = channel();
        Self {
            ticks,
            thread: std::thread::spawn(move || read_traces(&client, &sent)),
        }
    }

    pub(super) fn follow_tick(&self, tick: SentTick) {
        // The thread reads until the sender is gone.
        let _ = self.ticks.send(tick);
    }

    /// Waits for the last trace.
    pub(super) fn finish_reader(self, observed: &mut Observations) {
        drop(self.ticks);
        match self.thread.join() {
            Ok((complete, failures)) => {
                observed.complete_traces = complete;
                observed.trace_failures = failures.len();
                observed.failures.extend(failures);
            }
            Err(_) => observed.add_failure(0, "", "the traces could not be read".to_owned()),
        }
    }
}

/// A trace that is read until it is complete.
struct Waiting {
    tick: SentTick,
    since: Instant,
    /// When it was complete first.
    complete_since: Option<Instant>,
}

impl Waiting {
    /// Whether nothing more can come: a signal that the host takes by itself could still come twice.
    fn is_settled(&self) -> bool {
        let wait = match self.tick.signal_id {
            Some(_) => Duration::ZERO,
            None => REPETITION,
        };
        self.complete_since.is_some_and(|at| at.elapsed() >= wait)
    }
}

fn read_traces(client: &HostClient, sent: &Receiver<SentTick>) -> (usize, Vec<SyntheticFailure>) {
    let mut waiting: VecDeque<Waiting> = VecDeque::new();
    let (mut complete, mut failures) = (0, Vec::new());
    let (mut is_open, mut left_in_round) = (true, 0_usize);
    while is_open || !waiting.is_empty() {
        // A pause between two rounds through all that wait, none within one.
        let pause = if left_in_round == 0 {
            left_in_round = waiting.len();
            PAUSE
        } else {
            left_in_round -= 1;
            Duration::ZERO
        };
        match sent.recv_timeout(pause) {
            Ok(tick) => waiting.push_back(Waiting {
                tick,
                since: Instant::now(),
                complete_since: None,
            }),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                is_open = false;
                std::thread::sleep(pause);
            }
        }
        let Some(mut next) = waiting.pop_front() else {
            continue;
        };
        match find_fault(client, &next.tick) {
            None => {
                next.complete_since.get_or_insert_with(Instant::now);
                if next.is_settled() {
                    complete += 1;
                } else {
                    waiting.push_back(next);
                }
            }
            Some(_) if next.complete_since.is_none() && next.since.elapsed() < PATIENCE => {
                waiting.push_back(next);
            }
            Some(problem) => failures.push(SyntheticFailure {
                tick: next.tick.tick,
                trace_id: next.tick.trace,
                problem,
            }),
        }
    }
    (complete, failures)
}

fn count_signals(steps: &[Value]) -> usize {
    let is_signal = |one: &&Value| text_field(one, "step") == "signal";
    steps.iter().filter(is_signal).count()
}

/// Reads a trace and returns what is missing in it.
fn find_fault(client: &HostClient, tick: &SentTick) -> Option<String> {
    let read = client
        .get(&format!("/v1/traces/{}", tick.trace))
        .and_then(Answer::into_success);
    let trace = match read {
        Ok(trace) => trace,
        Err(error) => return Some(format!("the trace cannot be read: {error}")),
    };
    if trace.get("complete") != Some(&Value::Bool(true)) {
        let missing = trace.get("missing").unwrap_or(&Value::Null);
        return Some(format!("the trace is not complete: {missing}"));
    }
    let steps = array_field(&trace, "steps");
    let has = |step: &str, id: &str, value: &str| {
        steps.iter().any(|one| {
            text_field(one, "step") == step && (id.is_empty() || text_field(one, id) == value)
        })
    };
    let signals = count_signals(steps);
    match &tick.signal_id {
        Some(id) if !has("signal", "signal_id", id) => {
            return Some(format!("the trace lacks the signal {id}"));
        }
        None if signals != 1 => {
            return Some(format!(
                "the trace has {signals} signals, not the one that was sent"
            ));
        }
        _ => {}
    }
    if !has("decision", "decision_id", &tick.decision_id) {
        return Some(format!("the trace lacks the decision {}", tick.decision_id));
    }
    if tick.reported && !has("execution", "", "") {
        return Some("the trace lacks the report of the execution".to_owned());
    }
    None
}
