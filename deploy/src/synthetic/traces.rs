//! The traces of a run: each is read until it is complete and holds what was sent.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ark_client::{Answer, HostClient};
use serde_json::Value;

use crate::members::{items_of, text_of};

use super::report::{Observations, SyntheticFailure};

/// How long a trace may take to be complete.
const PATIENCE: Duration = Duration::from_secs(20);
/// The pause between two looks at a trace.
const PAUSE: Duration = Duration::from_millis(100);

/// What was sent in a tick, and must be in its trace.
pub(super) struct SentTick {
    pub(super) tick: u64,
    pub(super) trace: String,
    pub(super) signal_id: String,
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
    pub(super) fn start(client: HostClient) -> Self {
        let (ticks, sent) = channel();
        Self {
            ticks,
            thread: std::thread::spawn(move || read_traces(&client, &sent)),
        }
    }

    pub(super) fn follow(&self, tick: SentTick) {
        // The thread reads until the sender is gone.
        let _ = self.ticks.send(tick);
    }

    /// Waits for the last trace.
    pub(super) fn finish(self, observed: &mut Observations) {
        drop(self.ticks);
        match self.thread.join() {
            Ok((complete, failures)) => {
                observed.complete_traces = complete;
                observed.trace_failures = failures.len();
                observed.failures.extend(failures);
            }
            Err(_) => observed.fail(0, "", "the traces could not be read".to_owned()),
        }
    }
}

fn read_traces(client: &HostClient, sent: &Receiver<SentTick>) -> (usize, Vec<SyntheticFailure>) {
    let mut waiting: VecDeque<(SentTick, Instant)> = VecDeque::new();
    let (mut complete, mut failures) = (0, Vec::new());
    let mut is_open = true;
    while is_open || !waiting.is_empty() {
        match sent.recv_timeout(PAUSE) {
            Ok(tick) => waiting.push_back((tick, Instant::now())),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                is_open = false;
                std::thread::sleep(PAUSE);
            }
        }
        let Some((tick, since)) = waiting.pop_front() else {
            continue;
        };
        match find_fault(client, &tick) {
            None => complete += 1,
            Some(_) if since.elapsed() < PATIENCE => waiting.push_back((tick, since)),
            Some(problem) => failures.push(SyntheticFailure {
                tick: tick.tick,
                trace_id: tick.trace,
                problem,
            }),
        }
    }
    (complete, failures)
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
    let steps = items_of(&trace, "steps");
    let has = |step: &str, id: &str, value: &str| {
        steps
            .iter()
            .any(|one| text_of(one, "step") == step && (id.is_empty() || text_of(one, id) == value))
    };
    if !has("signal", "signal_id", &tick.signal_id) {
        return Some(format!("the trace lacks the signal {}", tick.signal_id));
    }
    if !has("decision", "decision_id", &tick.decision_id) {
        return Some(format!("the trace lacks the decision {}", tick.decision_id));
    }
    if tick.reported && !has("execution", "", "") {
        return Some("the trace lacks the report of the execution".to_owned());
    }
    None
}
