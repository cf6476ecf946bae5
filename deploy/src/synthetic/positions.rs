//! The positions of a run in the host's log: the stream of events has every row and every alert from the first to the last, each once, and each
//! decision once.
//!
//! Invariant: of the events of others only the position of the last one is kept, however many there are.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use ark_client::members::text_field;
use ark_client::{ClientError, HostClient};
use ark_model::ids::TraceId;
use serde_json::{Value, json};

use crate::event_lines::{ServerEvent, read_event_lines};

use super::SyntheticOptions;
use super::calls::{propose_action, take_back};
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

impl Position {
    fn parse_id(id: &str) -> Option<Self> {
        let (row, alert) = id.split_once('-')?;
        Some(Self {
            row: row.parse().ok()?,
            alert: alert.parse().ok()?,
        })
    }

    /// Checks that an event is the next one after this.
    fn check_next(self, next: Self) -> Result<(), String> {
        let Self { row, alert } = self;
        let is_next_row = row.checked_add(1) == Some(next.row) && next.alert == alert;
        let is_next_alert = next.row == row && alert.checked_add(1) == Some(next.alert);
        if is_next_row || is_next_alert {
            return Ok(());
        }
        Err(format!(
            "after row {row} of the log and alert {alert} come row {} and alert {}",
            next.row, next.alert
        ))
    }
}

/// Follows the log, event by event.
struct LogFollower {
    /// The requester of the run.
    agent: String,
    last: Option<Position>,
}

impl LogFollower {
    /// Takes the next event. Returns the decision that it is, if it is one on a proposal of the requester.
    ///
    /// # Errors
    /// A row or an alert is missing, repeated or not in order, or the event is none of a host.
    fn take_event(&mut self, event: ServerEvent<'_>) -> Result<Option<String>, String> {
        let ServerEvent { id, kind, data } = event;
        let position =
            Position::parse_id(id).ok_or_else(|| format!("{id:?} is no id of an event"))?;
        if let Some(last) = self.last.replace(position) {
            last.check_next(position)?;
        }
        let data: Value =
            serde_json::from_str(data).map_err(|error| format!("event {id}: {error}"))?;
        let is_own = kind == "decision" && text_field(&data, "agent") == self.agent;
        Ok(is_own.then(|| text_field(&data, "decision_id").to_owned()))
    }
}

/// Follows the stream of events on a thread of its own.
pub(super) struct PositionWatch {
    /// The decisions on proposals of the requester, and in the end why there are no more.
    decisions: Receiver<Result<String, String>>,
}

impl PositionWatch {
    /// Opens the stream.
    pub(super) fn start_watch(
        client: &HostClient,
        options: &SyntheticOptions,
    ) -> Result<Self, ClientError> {
        let longest = options.duration * 2 + PATIENCE * 6;
        let stream = client.open_stream("/v1/events", &[], longest)?;
        let mut follower = LogFollower {
            agent: options.agent.clone(),
            last: None,
        };
        let (sender, decisions) = channel();
        // The thread ends with the stream, at `longest` or when nobody takes its decisions any more.
        std::thread::spawn(move || {
            let read = read_event_lines(stream, |event| {
                let Some(found) = follower.take_event(event).transpose() else {
                    return ControlFlow::Continue(());
                };
                let is_end = found.is_err();
                if sender.send(found).is_err() || is_end {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            });
            // After a fault in the log this comes second, and is not read.
            let _ = sender.send(Err(match read {
                Ok(()) => "the stream of events has ended".to_owned(),
                Err(error) => format!("the stream of events broke: {error}"),
            }));
        });
        Ok(Self { decisions })
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
            let found = self.count_until(&mark);
            observed.end_mark = Some(mark);
            found
        });
        observed.position_problem = match read {
            Ok(times_seen) => find_miscounted(&times_seen, observed),
            Err(problem) => Some(problem),
        };
    }

    /// How often the stream has each decision on a proposal of the requester, up to `mark`.
    fn count_until(&self, mark: &str) -> Result<BTreeMap<String, usize>, String> {
        let deadline = Instant::now() + PATIENCE;
        let mut times_seen = BTreeMap::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.decisions.recv_timeout(left) {
                Ok(Ok(decision)) => {
                    let is_last = decision == mark;
                    *times_seen.entry(decision).or_default() += 1;
                    if is_last {
                        return Ok(times_seen);
                    }
                }
                Ok(Err(problem)) => return Err(problem),
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
        // It is found again by it.
        "trace_id": TraceId::fresh().to_string(),
    });
    let key = orders
        .announce_order("end", &action)
        .map_err(|error| error.to_string())?;
    let decision = propose_action(client, &key, &action)
        .map_err(|error| format!("the last decision could not be made: {error}"))?;
    let id = text_field(&decision, "decision_id");
    // A host that approves or holds this is broken; nothing of it may stay all the same. What fails now is tried again at the end of the run.
    if take_back(client, id, text_field(&decision, "outcome")).is_ok() {
        let _ = orders.note_settled(&key);
    }
    Ok(id.to_owned())
}

/// Finds a decision of the run that the stream does not have exactly once.
fn find_miscounted(
    times_seen: &BTreeMap<String, usize>,
    observed: &Observations,
) -> Option<String> {
    observed
        .decisions
        .iter()
        .find_map(|(tick, trace, decision)| {
            let times = times_seen.get(decision).copied().unwrap_or(0);
            (times != 1).then(|| {
                format!("tick {tick}: {times} events have the decision {decision} (trace {trace})")
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event, and whose decision it is; empty: it is none.
    fn take(
        follower: &mut LogFollower,
        id: &str,
        agent: &str,
        decision: &str,
    ) -> Result<Option<String>, String> {
        let kind = if agent.is_empty() {
            "alert"
        } else {
            "decision"
        };
        let data = json!({"agent": agent, "decision_id": decision}).to_string();
        follower.take_event(ServerEvent {
            id,
            kind,
            data: &data,
        })
    }

    fn follow() -> LogFollower {
        LogFollower {
            agent: "synthetic".to_owned(),
            last: None,
        }
    }

    #[test]
    fn gaps_and_repetitions_are_found_as_they_come_and_only_own_decisions_are_kept() {
        let mut follower = follow();
        for (id, agent, decision, kept) in [
            ("7-3", "synthetic", "a", Some("a")),
            ("7-4", "", "", None),
            ("8-4", "kyle", "b", None),
            ("9-4", "synthetic", "c", Some("c")),
        ] {
            let found = take(&mut follower, id, agent, decision);
            assert_eq!(found, Ok(kept.map(str::to_owned)), "{id}");
        }
        for (id, told) in [
            ("9-3", "come row 9 and alert 3"),
            ("7-3", "come row 7 and alert 3"),
            ("8-4", "come row 8 and alert 4"),
            ("6-3", "come row 6 and alert 3"),
            ("7-5", "come row 7 and alert 5"),
        ] {
            let mut follower = follow();
            take(&mut follower, "7-3", "kyle", "a").unwrap();
            let found = take(&mut follower, id, "", "").unwrap_err();
            assert_eq!(
                found,
                format!("after row 7 of the log and alert 3 {told}"),
                "{id}"
            );
        }
        for id in ["", "12", "12-", "a-3", "-"] {
            let found = take(&mut follow(), id, "synthetic", "a");
            assert!(found.is_err_and(|told| told.contains("no id")), "{id:?}");
        }
        let event = ServerEvent {
            id: "1-1",
            kind: "decision",
            data: "no JSON",
        };
        let found = follow().take_event(event);
        assert!(found.is_err_and(|told| told.contains("event 1-1")));
    }

    #[test]
    fn lost_and_repeated_decisions_of_the_run_are_found() {
        let observed = Observations {
            decisions: vec![(4, "t".to_owned(), "a".to_owned())],
            ..Observations::default()
        };
        let seen = |times: &[(&str, usize)]| {
            let owned = times.iter().map(|(id, times)| ((*id).to_owned(), *times));
            find_miscounted(&owned.collect(), &observed)
        };
        assert_eq!(seen(&[("a", 1), ("b", 2)]), None);
        for (times, told) in [
            (vec![("b", 1)], "tick 4: 0 events have the decision a"),
            (vec![("a", 2)], "tick 4: 2 events have the decision a"),
        ] {
            let found = seen(&times);
            assert!(
                found.as_ref().is_some_and(|found| found.starts_with(told)),
                "{found:?}"
            );
        }
    }
}
