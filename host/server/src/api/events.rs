//! The event stream: what was decided, executed, ordered, changed and noticed, from the audit log and the alerts.
//!
//! Invariant: an event's id says how far the stream has come, so that a client that comes back with `Last-Event-ID` gets everything
//! behind it, in order, nothing twice and nothing left out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::watch;
use utoipa_axum::routes;

use crate::hrm::decode_decision_row;
use ark_model::check::clip_for_error;
use ark_model::ids::Name;
use ark_store::{AlertRow, AuditKind, AuditRow, EventCursor};

use super::exchange::{Asked, not_a, query_of};
use super::openapi::Described;
use super::operating::{agent_of, json_of};
use super::problem::Problem;
use super::reading::off_reactor;
use super::routes::{Api, Shared};
use super::view::{DecisionView, KnownPolicies, known_policies};

/// How many rows are read at once.
const PAGE: u32 = 256;
/// How long commits are gathered before they are read.
const GATHER: Duration = Duration::from_millis(20);
/// How often a silent connection is shown to be alive.
const ALIVE: Duration = Duration::from_secs(10);
/// Names of the kinds, in `kinds=`.
const KINDS: [&str; 8] = [
    "decision",
    "failure",
    "execution",
    "control",
    "operator",
    "approval",
    "amendment",
    "alert",
];

/// Which events a client wants.
#[derive(Default)]
struct Wanted {
    kinds: Option<Vec<String>>,
    agent: Option<Name>,
}

impl Wanted {
    fn wants(&self, kind: &str, agent: Option<&Name>) -> bool {
        self.kinds
            .as_ref()
            .is_none_or(|kinds| kinds.iter().any(|wanted| wanted == kind))
            && self
                .agent
                .as_ref()
                .is_none_or(|wanted| agent == Some(wanted))
    }
}

/// A client's stream.
struct Stream {
    api: Arc<Api>,
    wanted: Wanted,
    place: EventCursor,
    ready: VecDeque<Event>,
    known: KnownPolicies,
    commits: watch::Receiver<u64>,
    closing: watch::Receiver<bool>,
}

pub(super) fn routes() -> Described {
    Described::new().routes(routes!(events))
}

/// Follows what is decided, executed, ordered, changed and noticed
///
/// A stream of server-sent events. The id of an event says how far the stream has come: a client that comes back with `Last-Event-ID` gets
/// everything behind it, in order, nothing twice and nothing left out. `data` is JSON: of a `decision` the decision with its action, of an
/// `alert` the alert, of any other kind its row of the audit log.
#[utoipa::path(get, path = "/v1/events", operation_id = "follow_events", tag = "events",
    params(
        ("since" = Option<String>, Query, description = "The id of an event to begin behind; 0-0 for everything.",
            pattern = "^[0-9]{1,18}-[0-9]{1,18}$"),
        ("kinds" = Option<String>, Query, description = "Only these kinds, with commas between them.",
            pattern = "^(decision|failure|execution|control|operator|approval|amendment|alert)(,(decision|failure|execution|control|operator|approval|amendment|alert))*$"),
        ("agent" = Option<Name>, Query, description = "About this agent only."),
        ("Last-Event-ID" = Option<String>, Header, description = "As `since`, and before it.", pattern = "^[0-9]{1,18}-[0-9]{1,18}$",
            example = "0-0"),
    ),
    responses(
        (status = 200, description = "The events.", content_type = "text/event-stream", body = String),
        (status = 410, description = "The events behind this id are archived."),
    ))]
async fn events(State(api): Shared, query: Asked, headers: HeaderMap) -> Result<Response, Problem> {
    let query = query_of(query, &["since", "kinds", "agent"])?;
    let kinds = query.get("kinds").map(|kinds| {
        kinds
            .split(',')
            .map(|kind| {
                let known = KINDS.contains(&kind).then(|| kind.to_owned());
                known.ok_or_else(|| {
                    not_a("kinds", kind, &format!("give some of {}", KINDS.join(",")))
                })
            })
            .collect::<Result<Vec<_>, Problem>>()
    });
    let wanted = Wanted {
        kinds: kinds.transpose()?,
        agent: query
            .get("agent")
            .map(|agent| agent_of(agent))
            .transpose()?,
    };
    let header = headers
        .get("last-event-id")
        .map(|value| value.to_str().unwrap_or("?").to_owned());
    let from = match (&header, query.get("since")) {
        // A browser's EventSource sends the header when it comes back to the same address.
        (Some(id), _) => Some(("Last-Event-ID", id.clone())),
        (None, Some(id)) => Some(("since", id.clone())),
        (None, None) => None,
    };
    let commits = api.store.subscribe_commits();
    let (last, first) = off_reactor(&api, |api| {
        Ok::<_, ark_store::ReadError>((
            api.store.last_event_cursor()?,
            api.store.first_audit_seq()?,
        ))
    })
    .await??;
    let place = match from {
        None => last,
        Some((field, id)) => {
            let place = parse(&id).ok_or_else(|| {
                not_a(
                    field,
                    &id,
                    "give the id of an event, e.g. 17-3, or 0-0 for everything",
                )
            })?;
            if place.audit_seq > last.audit_seq || place.alert_seq > last.alert_seq {
                let remedy =
                    "it is ahead of this host's log; leave it out to begin with what comes";
                return Err(not_a(field, &id, remedy));
            }
            if first.is_some_and(|first| place.audit_seq + 1 < first) {
                return Err(gone(&id, first));
            }
            place
        }
    };
    let closing = api.closing.clone();
    let stream = Stream {
        api,
        wanted,
        place,
        ready: VecDeque::new(),
        known: KnownPolicies::new(),
        commits,
        closing,
    };
    let events = futures_util::stream::unfold(stream, |mut stream| async move {
        stream
            .next()
            .await
            .map(|event| (Ok::<_, Infallible>(event), stream))
    });
    let alive = KeepAlive::new().interval(ALIVE);
    Ok(Sse::new(events).keep_alive(alive).into_response())
}

fn gone(id: &str, first: Option<u64>) -> Problem {
    Problem::new(
        StatusCode::GONE,
        "archived",
        "The events behind this id are archived",
        format!(
            "events behind {} are in an archive of the audit log; the first that is here has the id {}-0",
            clip_for_error(id),
            first.unwrap_or_default()
        ),
    )
    .at("Last-Event-ID", "read the archive, then begin at a later id")
}

fn parse(id: &str) -> Option<EventCursor> {
    let (audit, alert) = id.split_once('-')?;
    let number = |text: &str| {
        text.parse::<u64>()
            .ok()
            .filter(|number| i64::try_from(*number).is_ok())
    };
    Some(EventCursor {
        audit_seq: number(audit)?,
        alert_seq: number(alert)?,
    })
}

impl Stream {
    /// The next event; `None`: the host ends, or its database cannot be read. The client comes back by itself.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if *self.closing.borrow() {
                return None;
            }
            // Seen before the database is read: what is committed meanwhile rings again.
            self.commits.mark_unchanged();
            let place = self.place;
            let read = off_reactor(&self.api, move |api| api.store.events_since(place, PAGE)).await;
            let (rows, alerts) = match read {
                Ok(Ok(read)) => read,
                Ok(Err(error)) => {
                    tracing::error!(%error, "an event stream ends");
                    return None;
                }
                Err(_) => return None,
            };
            if rows.is_empty() && alerts.is_empty() {
                tokio::select! {
                    rung = self.commits.changed() => {
                        rung.ok()?;
                        tokio::time::sleep(GATHER).await;
                    }
                    _ = self.closing.changed() => return None,
                }
                continue;
            }
            for row in rows {
                self.place.audit_seq = row.seq;
                if self.wanted.wants(row.kind.as_str(), row.agent.as_ref()) {
                    let event = self.of_row(&row).await?;
                    self.ready.push_back(event);
                }
            }
            for row in alerts {
                self.place.alert_seq = row.seq;
                if self.wanted.wants("alert", row.alert.agent.as_ref()) {
                    self.ready.push_back(self.of_alert(&row));
                }
            }
        }
    }

    fn event(&self, kind: &str, data: &Value) -> Event {
        Event::default()
            .id(format!("{}-{}", self.place.audit_seq, self.place.alert_seq))
            .event(kind)
            .data(data.to_string())
    }

    async fn of_row(&mut self, row: &AuditRow) -> Option<Event> {
        if row.kind != AuditKind::Decision {
            let data = json!({
                "seq": row.seq,
                "id": row.id,
                "at_ms": row.at,
                "trace_id": row.trace_id,
                "agent": row.agent,
                "action_type": row.action_type,
                "detail": json_of(&row.body),
            });
            return Some(self.event(row.kind.as_str(), &data));
        }
        let mut decision = decode_decision_row(row, |digest| self.known.get(&digest).cloned());
        if decision.is_err() {
            // A policy may be new since.
            let records = off_reactor(&self.api, |api| api.store.policy_records()).await;
            self.known = known_policies(records.ok()?.ok()?).ok()?;
            decision = decode_decision_row(row, |digest| self.known.get(&digest).cloned());
        }
        match decision {
            Ok(Some(decision)) => {
                let mut data = json!(DecisionView::acted(&decision));
                data["seq"] = json!(row.seq);
                Some(self.event("decision", &data))
            }
            Ok(None) => Some(self.event("decision", &json!({"seq": row.seq, "id": row.id}))),
            Err(error) => {
                tracing::error!(%error, seq = row.seq, "an event stream ends at a record that cannot be read");
                None
            }
        }
    }

    fn of_alert(&self, row: &AlertRow) -> Event {
        self.event("alert", &json!(row))
    }
}
