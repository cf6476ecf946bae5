//! The positions of a run in the host's log: the stream of events has every row and every alert from the first to the last, each once, and each
//! decision once.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use ark_client::members::text_field;
use ark_client::{Answer, ClientError, HostClient};
use serde_json::{Value, json};

use super::SyntheticOptions;
use super::orders::MarketOrders;
use super::report::Observations;

/// How long the stream may be behind at the end of the run.
const PATIENCE: Duration = Duration::from_secs(30);

/// How far a stream has come with an event: the last row of the audit log, and the last alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    row: u64,
    alert: u64,
}

/// An event: its position, and the decision that it is, if it is one.
struct StreamEvent {
    position: Position,
    decision_id: Option<String>,
}

/// Follows the stream of events on a thread of its own.
pub(super) struct PositionWatch {
    events: Receiver<Result<StreamEvent, String>>,
}

impl PositionWatch {
    /// Opens the stream. `duration`: how long the run takes.
    pub(super) fn start_watch(
        client: &HostClient,
        duration: Duration,
    ) -> Result<Self, ClientError> {
        let longest = duration * 2 + PATIENCE * 4;
        let stream = client.open_stream("/v1/events", &[], longest)?;
        let (sender, events) = channel();
        // The thread ends with the stream, at `longest` or when nobody takes its events any more.
        std::thread::spawn(move || {
            let (mut id, mut kind, mut data) = (String::new(), String::new(), String::new());
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
                } else if let Some(found) = line.strip_prefix("event:") {
                    found.trim().clone_into(&mut kind);
                } else if let Some(found) = line.strip_prefix("data:") {
                    data.push_str(found.trim());
                } else if line.is_empty() && !id.is_empty() {
                    let event = read_event(&id, &kind, &data);
                    for text in [&mut id, &mut kind, &mut data] {
                        text.clear();
                    }
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
    pub(super) fn finish_watch(
        self,
        client: &HostClient,
        options: &SyntheticOptions,
        orders: &mut MarketOrders,
        observed: &mut Observations,
    ) {
        let read = propose_mark(client, options, orders).and_then(|mark| {
            let events = self.read_until(&mark);
            observed.end_mark = Some(mark);
            events
        });
        observed.position_problem = match read {
            Ok(events) => find_gap(&events, observed),
            Err(problem) => Some(problem),
        };
    }

    fn read_until(&self, mark: &str) -> Result<Vec<StreamEvent>, String> {
        let deadline = Instant::now() + PATIENCE;
        let mut found = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Ok(event)) => {
                    let is_last = event.decision_id.as_deref() == Some(mark);
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

/// Proposes what must be denied, as the mark up to which events are read: it is judged after all others. Returns the id of the decision.
fn propose_mark(
    client: &HostClient,
    options: &SyntheticOptions,
    orders: &mut MarketOrders,
) -> Result<String, String> {
    let action = json!({
        "agent": options.agent,
        "action_type": "trade",
        "parameters": {"symbol": "SYNTHETIC-END", "position_size_pct": 1.0},
        "reasoning": "the end of synthetic load; it must be denied",
    });
    let key = orders
        .announce_order("end", &action)
        .map_err(|error| error.to_string())?;
    let decision = client
        .send_json("POST", "/v1/actions", &[("Idempotency-Key", &key)], &action)
        .and_then(Answer::into_success)
        .map_err(|error| format!("the last decision could not be made: {error}"))?;
    // A host that approves or holds this is broken; nothing of it may stay all the same. What fails now is tried again at the end of the run.
    let _ = orders.settle_order(client, &key, &decision);
    Ok(text_field(&decision, "decision_id").to_owned())
}

fn read_event(id: &str, kind: &str, data: &str) -> Result<StreamEvent, String> {
    let data: Value = serde_json::from_str(data).map_err(|error| format!("event {id}: {error}"))?;
    let position = id.split_once('-').and_then(|(row, alert)| {
        Some(Position {
            row: row.parse().ok()?,
            alert: alert.parse().ok()?,
        })
    });
    Ok(StreamEvent {
        position: position.ok_or_else(|| format!("{id:?} is no id of an event"))?,
        decision_id: (kind == "decision").then(|| text_field(&data, "decision_id").to_owned()),
    })
}

/// Finds a row or an alert that is missing, repeated or not in order, or a decision that is not there exactly once.
fn find_gap(events: &[StreamEvent], observed: &Observations) -> Option<String> {
    for (one, next) in events.iter().zip(events.iter().skip(1)) {
        let (Position { row, alert }, next) = (one.position, next.position);
        let is_next_row = next.row == row + 1 && next.alert == alert;
        let is_next_alert = next.row == row && next.alert == alert + 1;
        if !is_next_row && !is_next_alert {
            return Some(format!(
                "after row {row} of the log and alert {alert} come row {} and alert {}",
                next.row, next.alert
            ));
        }
    }
    let mut times_seen: BTreeMap<&str, usize> = BTreeMap::new();
    for id in events
        .iter()
        .filter_map(|event| event.decision_id.as_deref())
    {
        *times_seen.entry(id).or_default() += 1;
    }
    observed
        .decisions
        .iter()
        .find_map(|(tick, trace, decision)| {
            let times = times_seen.get(decision.as_str()).copied().unwrap_or(0);
            (times != 1).then(|| {
                format!("tick {tick}: {times} events have the decision {decision} (trace {trace})")
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_repetitions_and_lost_decisions_are_found() {
        let event = |row, alert, id: &str| StreamEvent {
            position: Position { row, alert },
            decision_id: (!id.is_empty()).then(|| id.to_owned()),
        };
        let observed = Observations {
            decisions: vec![(0, "t".to_owned(), "a".to_owned())],
            ..Observations::default()
        };
        let whole = [event(7, 3, "a"), event(7, 4, ""), event(8, 4, "b")];
        assert_eq!(find_gap(&whole, &observed), None);
        for (events, told) in [
            ([event(7, 3, "a"), event(9, 3, "b")], "row 9"),
            (
                [event(7, 3, "a"), event(7, 3, "")],
                "come row 7 and alert 3",
            ),
            ([event(7, 3, "a"), event(8, 4, "b")], "alert 4"),
            ([event(7, 3, "a"), event(6, 3, "b")], "row 6"),
            ([event(7, 3, "a"), event(7, 5, "")], "alert 5"),
            (
                [event(7, 3, "c"), event(8, 3, "b")],
                "0 events have the decision a",
            ),
            (
                [event(7, 3, "a"), event(8, 3, "a")],
                "2 events have the decision a",
            ),
        ] {
            let found = find_gap(&events, &observed);
            assert!(
                found.as_ref().is_some_and(|found| found.contains(told)),
                "{told}: {found:?}"
            );
        }
    }

    #[test]
    fn an_event_has_a_position_and_may_be_a_decision() {
        let decision = read_event("12-3", "decision", r#"{"decision_id":"a"}"#).ok();
        let decision = decision.map(|event| (event.position, event.decision_id));
        let position = Position { row: 12, alert: 3 };
        assert_eq!(decision, Some((position, Some("a".to_owned()))));
        for id in ["12", "12-", "a-3", "-"] {
            assert!(read_event(id, "decision", "{}").is_err(), "{id}");
        }
    }
}
