//! The event stream: what was decided, executed, ordered, changed and noticed, from the audit log and the alerts.
//!
//! Invariants: an event's id says how far the stream has come, so that a client that comes back with `Last-Event-ID` gets everything
//! behind it, in order, nothing twice and nothing left out.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use ark_model::check::{FieldError, clip_for_error};
use ark_model::ids::{Millis, Name};
use ark_store::{EventCursor, TokenSecret};

use crate::api::auth::{Caller, LongAnswer, TICKET_LIFETIME, TicketRefusal};
use crate::api::events::{EventFilter, EventStream, KINDS};
use crate::api::http::extract::{ApiHeaders, ApiQuery, NoQuery, header_fields};
use crate::api::http::fields::{field_schema, text_field, text_schema};
use crate::api::http::problem::Problem;
use crate::api::http::respond::json_response;
use crate::api::state::{DescribedRoutes, Shared};

/// After how many seconds a caller that has too many tickets may try again: when the oldest has ended.
const TICKET_SECONDS: u32 = 30;

/// A comma-separated list of some of [`KINDS`].
const KINDS_PATTERN: &str = "^(decision|failure|execution|control|operator|approval|amendment|deployment|alert)(,(decision|failure|execution|control|operator|approval|amendment|deployment|alert))*$";

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
    /// A ticket of `POST /v1/events/tickets`, in place of a token: an `EventSource` cannot send one.
    #[param(inline)]
    #[expect(dead_code, reason = "the gate has used it up")]
    ticket: Option<TicketText>,
}

text_field! {
    /// A ticket for an event stream.
    TicketText("a ticket of POST /v1/events/tickets", bytes: 1..=128, pattern: Some("^[!-~]{1,128}$"), accepts: |text| text.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// A ticket for one event stream.
#[derive(Serialize, ToSchema)]
struct TicketIssued {
    /// The ticket, for `GET /v1/events?ticket=…`: once, and in time.
    ticket: String,
    /// When the ticket ends.
    expires_at_ms: Millis,
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

header_fields!(LastEvent);

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(follow_events))
        .routes(routes!(issue_ticket))
}

/// Follows the events of decisions, executions, orders, changes and alerts
///
/// A stream of server-sent events. The id of an event says how far the stream has come: a client that comes back with `Last-Event-ID` gets
/// everything behind it, in order, nothing twice and nothing left out. `data` is JSON: of a `decision` the decision with its action, of an
/// `alert` the alert, of any other kind its row of the audit log.
#[utoipa::path(get, path = "/v1/events", operation_id = "follow_events", tag = "events",
    params(EventsQuery, LastEvent),
    responses(
        (status = 200, description = "The events.", content_type = "text/event-stream", body = String),
        (status = 410, description = "The events behind this id are archived."),
        (status = 429, description = "The token has sent too many requests, or has too many streams open; see Retry-After."),
        (status = 503, description = "Too many streams are open; see Retry-After."),
    ))]
async fn follow_events(
    State(api): Shared,
    caller: Caller,
    ApiQuery(query): ApiQuery<EventsQuery>,
    ApiHeaders(last): ApiHeaders<LastEvent>,
) -> Result<Response, Problem> {
    let from = match (last.id, query.since) {
        // A browser's EventSource sends the header when it comes back to the same address.
        (Some(id), _) => Some(("Last-Event-ID", id)),
        (None, Some(id)) => Some(("since", id)),
        (None, None) => None,
    };
    let place = api.places.take_place(&caller.principal.name)?;
    let log = api.feed.find_extent().await?;
    let cursor = match from {
        None => log.latest,
        Some((field, id)) => check_cursor(field, id.as_ref(), log.latest, log.first_audit_seq)?,
    };
    #[cfg(feature = "faults")]
    let cursor = if crate::faults::has_fault(crate::faults::Fault::RepeatsEvents) {
        EventCursor::default()
    } else {
        cursor
    };
    let filter = EventFilter::new(query.kinds.map(|kinds| kinds.0).as_deref(), query.agent);
    let stream = EventStream::new(api.feed.clone(), filter, cursor, place, api.closing.clone());
    let mut response = Body::from_stream(stream.into_chunks()).into_response();
    response.extensions_mut().insert(LongAnswer::Endless);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// Issues a ticket for one event stream
///
/// A browser's `EventSource` cannot send a token. A page asks for a ticket with its token and opens `/v1/events?ticket=…` with it within 30 s. The stream
/// is then the caller's: it ends with the token. A ticket is used up by the stream it opens, so a page that comes back asks for another one and
/// goes on with `since`.
#[utoipa::path(post, path = "/v1/events/tickets", operation_id = "issue_ticket", tag = "events",
    responses(
        (status = 200, description = "The ticket.", body = TicketIssued),
    ))]
async fn issue_ticket(State(api): Shared, caller: Caller, _: NoQuery) -> Result<Response, Problem> {
    let secret = TokenSecret::generate()
        .map_err(|error| Problem::unavailable(format!("no random bytes: {error}")))?;
    let refused = |refusal| {
        let remedy = "use those that were issued, or wait until they end";
        match refusal {
            TicketRefusal::OfCaller(open) => {
                let detail = format!("the caller has {open} tickets that are not used");
                Problem::too_many(detail, TICKET_SECONDS).at("Authorization", remedy)
            }
            TicketRefusal::InAll(open) => {
                let detail = format!("{open} tickets are not used, as many as this host keeps");
                Problem::busy_for(detail, TICKET_SECONDS).at("path", remedy)
            }
        }
    };
    api.auth
        .tickets
        .issue(secret.hash(), caller.token)
        .map_err(refused)?;
    let issued = TicketIssued {
        ticket: secret.reveal().to_owned(),
        expires_at_ms: Millis::now().saturating_add(TICKET_LIFETIME),
    };
    let mut response = json_response(StatusCode::OK, None, &issued);
    let uncached = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, uncached);
    Ok(response)
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
