//! The traces of a run: each is read until it is complete and holds what was sent.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ark_client::members::{array_field, text_field};
use ark_client::{Answer, ClientError, HostClient};
use serde_json::Value;

use super::calls::LOOK_TIME;
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
    fn begin(tick: SentTick) -> Self {
        Self {
            tick,
            since: Instant::now(),
            complete_since: None,
        }
    }

    /// Whether nothing more can come: a signal that the host takes by itself could still come twice.
    fn is_settled(&self) -> bool {
        let wait = match self.tick.signal_id {
            Some(_) => Duration::ZERO,
            None => REPETITION,
        };
        self.complete_since.is_some_and(|at| at.elapsed() >= wait)
    }

    fn into_failure(self, problem: String) -> SyntheticFailure {
        SyntheticFailure {
            tick: self.tick.tick,
            trace_id: self.tick.trace,
            problem,
        }
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
            // All that were sent meanwhile: a look may have taken long.
            Ok(tick) => waiting.extend(
                std::iter::once(tick)
                    .chain(sent.try_iter())
                    .map(Waiting::begin),
            ),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                is_open = false;
                std::thread::sleep(pause);
            }
        }
        let Some(mut next) = waiting.pop_front() else {
            continue;
        };
        let fault = match read_fault(client, &next.tick) {
            Ok(fault) => fault,
            Err(error) => {
                let problem = format!("the trace cannot be read: {error}");
                // A host that does not answer is not asked for each of the others too.
                if !is_open && matches!(error, ClientError::NoAnswer { .. }) {
                    let is_late = |one: &Waiting| one.since.elapsed() >= PATIENCE;
                    let (late, left): (VecDeque<_>, _) = waiting.into_iter().partition(is_late);
                    waiting = left;
                    let unread = |one: Waiting| one.into_failure(problem.clone());
                    failures.extend(late.into_iter().map(unread));
                }
                Some(problem)
            }
        };
        match fault {
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
            Some(problem) => failures.push(next.into_failure(problem)),
        }
    }
    (complete, failures)
}

fn count_signals(steps: &[Value]) -> usize {
    let is_signal = |one: &&Value| text_field(one, "step") == "signal";
    steps.iter().filter(is_signal).count()
}

/// Reads a trace and returns what is missing in it.
fn read_fault(client: &HostClient, tick: &SentTick) -> Result<Option<String>, ClientError> {
    let path = format!("/v1/traces/{}", tick.trace);
    let trace = client
        .get_within(&path, LOOK_TIME)
        .and_then(Answer::into_success)?;
    Ok(find_fault(&trace, tick))
}

fn find_fault(trace: &Value, tick: &SentTick) -> Option<String> {
    if trace.get("complete") != Some(&Value::Bool(true)) {
        let missing = trace.get("missing").unwrap_or(&Value::Null);
        return Some(format!("the trace is not complete: {missing}"));
    }
    let steps = array_field(trace, "steps");
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use ark_client::Endpoint;

    use super::*;

    #[test]
    fn a_host_that_does_not_answer_is_not_waited_for_once_for_each_trace() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = HostClient::new(&Endpoint {
            url: format!("http://{}", listener.local_addr().unwrap()),
            token: None,
            ca: None,
        })
        .unwrap();
        let traces = TraceReader::start_reader(client);
        for tick in 0..1_000 {
            traces.follow_tick(SentTick {
                tick,
                trace: "0af7651916cd43dd8448eb211c80319c".to_owned(),
                signal_id: None,
                decision_id: String::new(),
                reported: false,
            });
        }
        let started = Instant::now();
        let mut observed = Observations::default();
        traces.finish_reader(&mut observed);
        // One after the other they would take hours.
        assert!(started.elapsed() < LOOK_TIME * 100);
        assert_eq!(
            (observed.complete_traces, observed.trace_failures),
            (0, 1_000)
        );
        let told = &observed.failures[999].problem;
        assert!(told.contains("has not answered within 10 s"), "{told}");
    }
}
