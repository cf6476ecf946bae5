//! The positions of a run in the host's log: the stream of events has every row from the first to the last, none twice, and each decision once.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use ark_client::{Answer, ClientError, HostClient};
use serde_json::{Value, json};

use crate::members::text_of;

use super::SyntheticOptions;
use super::orders::cancel;
use super::report::Observations;

/// How long the stream may be behind at the end of the run.
const PATIENCE: Duration = Duration::from_secs(30);

/// An event: its place in the audit log, and the decision that it is about, if it is about one.
struct Event {
    place: u64,
    decision_id: String,
}

/// Follows the stream of events on a thread of its own.
pub(super) struct PositionWatch {
    events: Receiver<Result<Event, String>>,
}

impl PositionWatch {
    /// Opens the stream. `duration`: how long the run takes.
    pub(super) fn start(client: &HostClient, duration: Duration) -> Result<Self, ClientError> {
        let longest = duration * 2 + PATIENCE * 4;
        let stream = client.open_stream("/v1/events", &[], longest)?;
        let (sender, events) = channel();
        // The thread ends with the stream, at `longest` or when nobody takes its events any more.
        std::thread::spawn(move || {
            let (mut id, mut data) = (String::new(), String::new());
            for line in BufReader::new(stream).lines() {
                let line = match line {
                    Ok(line) => line,
                    Err(error) => {
                        let _ = sender.send(Err(error.to_string()));
                        return;
                    }
                };
                if let Some(found) = line.strip_prefix("id:") {
                    found.trim().clone_into(&mut id);
                } else if let Some(found) = line.strip_prefix("data:") {
                    data.push_str(found.trim());
                } else if line.is_empty() && !id.is_empty() {
                    let event = read_event(&id, &data);
                    id.clear();
                    data.clear();
                    if sender.send(event).is_err() {
                        return;
                    }
                }
            }
            let _ = sender.send(Err("the stream has ended".to_owned()));
        });
        Ok(Self { events })
    }

    /// Reads the stream up to a last decision, and compares it with what was sent.
    pub(super) fn finish(
        self,
        client: &HostClient,
        options: &SyntheticOptions,
        observed: &mut Observations,
    ) {
        // A last decision marks the end of what is read: it is judged after all others.
        let mark = client
            .send_json(
                "POST",
                "/v1/actions",
                &[],
                &json!({
                    "agent": options.agent,
                    "action_type": "trade",
                    "parameters": {"symbol": "SYNTHETIC-END", "position_size_pct": 1.0},
                    "reasoning": "the end of synthetic load; it must be denied",
                }),
            )
            .and_then(Answer::into_success);
        let mark = match mark {
            Ok(decision) => {
                let id = text_of(&decision, "decision_id");
                if text_of(&decision, "outcome") == "approved" {
                    // A host that approves this is broken; its order must not stay all the same.
                    observed.left_open += usize::from(cancel(client, &id).is_err());
                }
                id
            }
            Err(error) => {
                observed.position_problem =
                    Some(format!("the last decision could not be made: {error}"));
                return;
            }
        };
        match self.read_until(&mark) {
            Ok(places) => observed.position_problem = find_gap(&places, observed),
            Err(problem) => observed.position_problem = Some(problem),
        }
    }

    fn read_until(&self, mark: &str) -> Result<Vec<Event>, String> {
        let deadline = Instant::now() + PATIENCE;
        let mut found = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Ok(event)) => {
                    let is_last = event.decision_id == mark;
                    found.push(event);
                    if is_last {
                        return Ok(found);
                    }
                }
                Ok(Err(problem)) => return Err(format!("the stream of events broke: {problem}")),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(format!(
                        "the stream of events did not reach the last decision within {} s",
                        PATIENCE.as_secs()
                    ));
                }
            }
        }
    }
}

fn read_event(id: &str, data: &str) -> Result<Event, String> {
    let place = id.split('-').next().and_then(|place| place.parse().ok());
    let data: Value = serde_json::from_str(data).map_err(|error| format!("event {id}: {error}"))?;
    Ok(Event {
        place: place.ok_or_else(|| format!("{id:?} is no id of an event"))?,
        decision_id: text_of(&data, "decision_id"),
    })
}

/// Finds a place that is missing or not in order, or a decision that is not there exactly once.
fn find_gap(events: &[Event], observed: &Observations) -> Option<String> {
    for pair in events.windows(2) {
        if let [one, next] = pair
            && next.place != one.place
            && next.place != one.place + 1
        {
            return Some(format!(
                "after row {} of the log comes row {}",
                one.place, next.place
            ));
        }
    }
    let mut places: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for event in events {
        places
            .entry(&event.decision_id)
            .or_default()
            .push(event.place);
    }
    for (tick, trace, decision) in &observed.decisions {
        let mut found = places.get(decision.as_str()).cloned().unwrap_or_default();
        found.dedup();
        if found.is_empty() {
            return Some(format!(
                "tick {tick}: no event has the decision {decision} (trace {trace})"
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_lost_decisions_are_found() {
        let event = |place, id: &str| Event {
            place,
            decision_id: id.to_owned(),
        };
        let observed = Observations {
            decisions: vec![(0, "t".to_owned(), "a".to_owned())],
            ..Observations::default()
        };
        // An alert has the place of the row before it.
        let whole = [event(7, "a"), event(7, ""), event(8, "b")];
        assert_eq!(find_gap(&whole, &observed), None);
        let gap = [event(7, "a"), event(9, "b")];
        assert!(find_gap(&gap, &observed).is_some_and(|found| found.contains("row 9")));
        let lost = [event(7, "c"), event(8, "b")];
        assert!(find_gap(&lost, &observed).is_some_and(|found| found.contains("decision a")));
    }
}
