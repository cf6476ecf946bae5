//! The event stream: what was decided, executed, ordered, changed and noticed, from the audit log and the alerts.
//!
//! Invariant: an event's id says how far the stream has come, so that a client that comes back with `Last-Event-ID` gets everything
//! behind it, in order, nothing twice and nothing left out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tokio::sync::watch;
use utoipa::IntoParams;
use utoipa_axum::routes;

use crate::hrm::decode_decision_row;
use ark_model::check::{FieldError, clip_for_error};
use ark_model::ids::Name;
use ark_store::{AlertRow, AuditKind, AuditRow, EventCursor, ReadError};

use crate::api::http::extract::{ApiHeaders, ApiQuery};
use crate::api::http::fields::{field_schema, text_field, text_schema};
use crate::api::http::problem::Problem;
use crate::api::state::{Api, DescribedRoutes, Shared};

use super::actions::decision_view::{DecisionView, KnownPolicies, known_policies};
use super::control::watchdog::AlertLine;
use super::state::key_changes::parse_stored_json;

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

/// A comma-separated list of some of [`KINDS`].
const KINDS_PATTERN: &str = "^(decision|failure|execution|control|operator|approval|amendment|alert)(,(decision|failure|execution|control|operator|approval|amendment|alert))*$";

text_field! {
    /// The id of an event.
    EventId("the id of an event, e.g. 17-3, or 0-0 for everything", bytes: 3..=37, pattern: Some("^[0-9]{1,18}-[0-9]{1,18}$"),
        accepts: |id| parse_cursor(id).is_some())
}

/// Kinds of events.
struct EventKinds(Vec<&'static str>);

impl<'de> Deserialize<'de> for EventKinds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.split(',')
            .map(|kind| {
                let known = KINDS.into_iter().find(|known| *known == kind);
                known.ok_or_else(|| serde::de::Error::unknown_variant(kind, &KINDS))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

field_schema! {
    /// Kinds of events, with commas between them.
    EventKinds => text_schema(1..=256, Some(KINDS_PATTERN))
}

/// Which events a client follows.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    /// The id of an event to begin behind; 0-0 for everything.
    #[param(inline)]
    since: Option<EventId>,
    /// Only these kinds, with commas between them.
    #[param(inline)]
    kinds: Option<EventKinds>,
    /// About this agent only.
    agent: Option<Name>,
}

/// Where a client goes on.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Header)]
struct LastEvent {
    /// As `since`, and before it.
    #[serde(rename = "Last-Event-ID")]
    #[param(inline, example = "0-0")]
    id: Option<EventId>,
}

/// The events that a client follows.
struct EventFilter {
    kinds: Option<EventKinds>,
    agent: Option<Name>,
}

impl EventFilter {
    fn includes(&self, kind: &str, agent: Option<&Name>) -> bool {
        self.kinds
            .as_ref()
            .is_none_or(|kinds| kinds.0.contains(&kind))
            && self
                .agent
                .as_ref()
                .is_none_or(|wanted| agent == Some(wanted))
    }
}

/// A client's stream.
struct EventStream {
    api: Arc<Api>,
    filter: EventFilter,
    /// How far the stream has come.
    cursor: EventCursor,
    ready: VecDeque<Event>,
    known: KnownPolicies,
    commits: watch::Receiver<u64>,
    closing: watch::Receiver<bool>,
}

pub(crate) fn routes() -> DescribedRoutes {
    DescribedRoutes::new().routes(routes!(follow_events))
}

/// Follows what is decided, executed, ordered, changed and noticed
///
/// A stream of server-sent events. The id of an event says how far the stream has come: a client that comes back with `Last-Event-ID` gets
/// everything behind it, in order, nothing twice and nothing left out. `data` is JSON: of a `decision` the decision with its action, of an
/// `alert` the alert, of any other kind its row of the audit log.
#[utoipa::path(get, path = "/v1/events", operation_id = "follow_events", tag = "events",
    params(EventsQuery, LastEvent),
    responses(
        (status = 200, description = "The events.", content_type = "text/event-stream", body = String),
        (status = 410, description = "The events behind this id are archived."),
    ))]
async fn follow_events(
    State(api): Shared,
    ApiQuery(query): ApiQuery<EventsQuery>,
    ApiHeaders(last): ApiHeaders<LastEvent>,
) -> Result<Response, Problem> {
    let from = match (last.id, query.since) {
        // A browser's EventSource sends the header when it comes back to the same address.
        (Some(id), _) => Some(("Last-Event-ID", id)),
        (None, Some(id)) => Some(("since", id)),
        (None, None) => None,
    };
    // Subscribed before the log is read: what is committed in between is noticed.
    let commits = api.store.subscribe_commits();
    let (latest, first) = api
        .run_blocking(|api| {
            Ok::<_, ReadError>((api.store.last_event_cursor()?, api.store.first_audit_seq()?))
        })
        .await??;
    let cursor = match from {
        None => latest,
        Some((field, id)) => check_cursor(field, id.as_ref(), latest, first)?,
    };
    let closing = api.closing.clone();
    let stream = EventStream {
        api,
        filter: EventFilter {
            kinds: query.kinds,
            agent: query.agent,
        },
        cursor,
        ready: VecDeque::new(),
        known: KnownPolicies::new(),
        commits,
        closing,
    };
    let events = futures_util::stream::unfold(stream, |mut stream| async move {
        let event = stream.next_event().await?;
        Some((Ok::<_, Infallible>(event), stream))
    });
    let alive = KeepAlive::new().interval(ALIVE);
    Ok(Sse::new(events).keep_alive(alive).into_response())
}

/// The cursor that an event's id stands for, if the log still holds everything behind it.
fn check_cursor(
    field: &str,
    id: &str,
    latest: EventCursor,
    first: Option<u64>,
) -> Result<EventCursor, Problem> {
    let cursor = parse_cursor(id).unwrap_or(latest);
    if cursor.audit_seq > latest.audit_seq || cursor.alert_seq > latest.alert_seq {
        let problem = format!("is {id:?}, which is ahead of this host's log");
        let remedy = "leave it out to begin with what comes";
        return Err(FieldError::new(field, problem, remedy).into());
    }
    if first.is_some_and(|first| cursor.audit_seq + 1 < first) {
        return Err(events_archived(id, first));
    }
    Ok(cursor)
}

fn events_archived(id: &str, first: Option<u64>) -> Problem {
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

fn parse_cursor(id: &str) -> Option<EventCursor> {
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

impl EventStream {
    /// The next event. `None` when the host ends or its database cannot be read: the client comes back by itself.
    async fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if *self.closing.borrow() {
                return None;
            }
            // Seen before the database is read: what is committed meanwhile is noticed.
            self.commits.mark_unchanged();
            let cursor = self.cursor;
            let read = self
                .api
                .run_blocking(move |api| api.store.events_since(cursor, PAGE))
                .await;
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
                self.cursor.audit_seq = row.seq;
                if self.filter.includes(row.kind.as_str(), row.agent.as_ref()) {
                    let event = self.row_event(&row).await?;
                    self.ready.push_back(event);
                }
            }
            for row in alerts {
                self.cursor.alert_seq = row.seq;
                if self.filter.includes("alert", row.alert.agent.as_ref()) {
                    self.ready.push_back(self.alert_event(&row));
                }
            }
        }
    }

    fn build_event(&self, kind: &str, data: &Value) -> Event {
        Event::default()
            .id(format!(
                "{}-{}",
                self.cursor.audit_seq, self.cursor.alert_seq
            ))
            .event(kind)
            .data(data.to_string())
    }

    async fn row_event(&mut self, row: &AuditRow) -> Option<Event> {
        if row.kind != AuditKind::Decision {
            let data = json!({
                "seq": row.seq,
                "id": row.id,
                "at_ms": row.at,
                "trace_id": row.trace_id,
                "agent": row.agent,
                "action_type": row.action_type,
                "detail": parse_stored_json(&row.body),
            });
            return Some(self.build_event(row.kind.as_str(), &data));
        }
        let mut decision = decode_decision_row(row, |digest| self.known.get(&digest).cloned());
        if decision.is_err() {
            // A policy may be new since.
            let records = self
                .api
                .run_blocking(|api| api.store.policy_records())
                .await;
            self.known = known_policies(records.ok()?.ok()?).ok()?;
            decision = decode_decision_row(row, |digest| self.known.get(&digest).cloned());
        }
        match decision {
            Ok(Some(decision)) => {
                let mut data = json!(DecisionView::acted(&decision));
                data["seq"] = json!(row.seq);
                Some(self.build_event("decision", &data))
            }
            Ok(None) => Some(self.build_event("decision", &json!({"seq": row.seq, "id": row.id}))),
            Err(error) => {
                tracing::error!(%error, seq = row.seq, "an event stream ends at a record that cannot be read");
                None
            }
        }
    }

    fn alert_event(&self, row: &AlertRow) -> Event {
        self.build_event("alert", &json!(AlertLine::from(row.clone())))
    }
}
