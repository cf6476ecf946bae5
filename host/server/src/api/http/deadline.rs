//! What every request and every answer carries in addition to its content: a deadline and a trace.
//!
//! Invariant: a caller without the right to call gets that answer however short the deadline is; and a call whose deadline passed before it began does not begin.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use ark_model::check::FieldError;
use ark_model::ids::TraceId;
use ark_store::CommitDeadline;
use parking_lot::Mutex;

use super::head::check_head;
use super::problem::Problem;
use super::trace_context::{TRACEPARENT, format_traceparent, read_trace_id};
use super::unread::{Unread, watch_body};

/// The header with which a caller says how long it waits, in milliseconds.
pub(crate) const DEADLINE: &str = "ark-deadline-ms";
static DEADLINE_HEADER: HeaderName = HeaderName::from_static(DEADLINE);
/// The longest a caller may say it waits.
const MAX_DEADLINE_MS: u64 = 600_000;

/// How long a client may read nothing of its answer.
pub(crate) const WRITE_TIME: Duration = Duration::from_secs(30);

/// A call that is carried out as it is polled. In a box, since a future is copied as often as another one takes it in.
pub(crate) type Call = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Says what is certain about a change that is still being recorded; `None`: nothing.
type CertainAnswer = Box<dyn Fn() -> Option<Problem> + Send>;

/// The call has not begun: whether its caller may call is being checked.
const WAITING: u8 = 0;
/// The call has begun.
const BEGUN: u8 = 1;
/// The deadline passed before the call began: it does not begin any more.
const BARRED: u8 = 2;

/// The moment after which the caller waits no more, if it said so. What is not committed by then is not committed at all.
#[derive(Clone, Default)]
pub(crate) struct Deadline(Option<Arc<DeadlineState>>);

struct DeadlineState {
    /// [`WAITING`], [`BEGUN`] or [`BARRED`].
    call: AtomicU8,
    commit: CommitDeadline,
    /// Whether the handler has taken it, so that the writer claims it.
    is_taken: AtomicBool,
    certain_answer: Mutex<Option<CertainAnswer>>,
}

impl<S: Send + Sync> FromRequestParts<S> for Deadline {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let deadline = parts.extensions.get::<Self>();
        Ok(deadline.cloned().unwrap_or_default())
    }
}

impl Deadline {
    fn new(at: Option<Instant>) -> Self {
        let state = |at| DeadlineState {
            call: AtomicU8::new(WAITING),
            commit: CommitDeadline::at(at),
            is_taken: AtomicBool::new(false),
            certain_answer: Mutex::new(None),
        };
        Self(at.map(|at| Arc::new(state(at))))
    }

    /// Leaves [`WAITING`]. Returns whether the call was still in it; without a deadline it always is.
    fn leave_waiting(&self, to: u8) -> bool {
        self.0.as_ref().is_none_or(|state| {
            let left =
                state
                    .call
                    .compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire);
            left.is_ok()
        })
    }

    /// Answers the caller at the deadline with what `answer` returns, in place of an outcome that is not known. For changes that are in force before
    /// they are on disk.
    pub(crate) fn answer_with(&self, answer: impl Fn() -> Option<Problem> + Send + 'static) {
        if let Some(state) = &self.0 {
            *state.certain_answer.lock() = Some(Box::new(answer));
        }
    }

    /// The answer to a change that is still being recorded.
    fn answer_unfinished(&self) -> Problem {
        let certain = self.0.as_ref().and_then(|state| {
            let certain = state.certain_answer.lock();
            certain.as_ref().and_then(|answer| answer())
        });
        certain.unwrap_or_else(Problem::outcome_unknown)
    }

    /// Takes the deadline, for what the call commits: all of it must be committed under it.
    pub(crate) fn take(self) -> Option<CommitDeadline> {
        let state = self.0?;
        state.is_taken.store(true, Ordering::Release);
        Some(state.commit.clone())
    }

    /// The moment itself, if there is one.
    pub(crate) fn moment(&self) -> Option<Instant> {
        self.0.as_ref().map(|state| state.commit.moment())
    }

    /// Whether it is certain that nothing was committed and nothing will be.
    fn give_up(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|state| state.is_taken.load(Ordering::Acquire) && state.commit.give_up())
    }
}

/// Begins a call whose caller may call. Whoever lets [`apply_envelope`] answer calls this before anything of the call is carried out.
///
/// # Errors
/// The deadline has passed, so the call must not begin.
pub(crate) fn begin_call(request: &Request) -> Result<(), Problem> {
    let deadline = request.extensions().get::<Deadline>();
    if deadline.is_none_or(|deadline| {
        // A busy runtime may come to a call only after its deadline, and before the deadline's timer.
        let is_over = deadline
            .moment()
            .is_some_and(|moment| moment <= Instant::now());
        deadline.leave_waiting(if is_over { BARRED } else { BEGUN }) && !is_over
    }) {
        return Ok(());
    }
    let problem = Problem::deadline_exceeded();
    Err(if request.method().is_safe() {
        problem
    } else {
        problem.denied()
    })
}

/// A malformed header that every request may carry. It is reported only to a caller who may call.
#[derive(Clone)]
pub(crate) struct Malformed(pub(crate) FieldError);

/// What is around a call.
struct Envelope {
    deadline: Deadline,
    /// When the call is answered at the latest; `None`: when it is done.
    ends_at: Option<Instant>,
    is_read: bool,
    /// What a read's answer must not be, since the caller has it.
    known_tags: Vec<HeaderValue>,
    /// The trace that the caller gave.
    trace_id: Option<TraceId>,
    unread: Unread,
    /// Whether the body came in a transfer coding.
    is_coded: bool,
}

/// Reads the deadline, ends reads that take longer, and puts a trace on answers that have none.
pub(crate) async fn apply_envelope(
    request: Request,
    inner: impl FnOnce(Request) -> Call,
) -> Response {
    let (call, envelope) = match Envelope::open(request, inner) {
        Ok(opened) => opened,
        Err(problem) => return refuse_head(problem),
    };
    let response = match envelope.ends_at {
        // In boxes: most calls have no deadline, and need no room for these.
        Some(at) if envelope.is_read => {
            Box::pin(answer_read_in_time(at, &envelope.deadline, call)).await
        }
        Some(at) => Box::pin(answer_change_in_time(at, &envelope.deadline, call)).await,
        None => call.await,
    };
    envelope.close(response)
}

impl Envelope {
    /// Reads what every request may carry. Returns the call too, which is not carried out yet.
    ///
    /// # Errors
    /// See [`check_head`].
    fn open(
        mut request: Request,
        inner: impl FnOnce(Request) -> Call,
    ) -> Result<(Call, Self), Problem> {
        check_head(&request)?;
        let trace_id = read_trace_id(request.headers());
        let deadline = read_deadline(request.headers());
        let traced = trace_id.as_ref().ok().copied().flatten();
        let at = match (trace_id, deadline) {
            (Ok(_), Ok(deadline)) => deadline,
            (Err(error), _) | (_, Err(error)) => {
                request.extensions_mut().insert(Malformed(error));
                None
            }
        };
        let deadline = Deadline::new(at);
        if at.is_some() {
            request.extensions_mut().insert(deadline.clone());
        }
        let is_read = request.method().is_safe();
        let is_stream = is_read && request.uri().path() == "/v1/events";
        let known_tags = if is_read {
            let known = request.headers().get_all(header::IF_NONE_MATCH).iter();
            known.cloned().collect()
        } else {
            Vec::new()
        };
        let is_coded = request.headers().contains_key(header::TRANSFER_ENCODING);
        let (request, unread) = watch_body(request);
        let envelope = Self {
            deadline,
            ends_at: at.filter(|_| !is_stream),
            is_read,
            known_tags,
            trace_id: traced,
            unread,
            is_coded,
        };
        Ok((inner(request), envelope))
    }

    /// Puts on an answer what every answer has.
    fn close(self, mut response: Response) -> Response {
        let mut known = self.known_tags.iter();
        if known.any(|known| has_known_tag(known, &response)) {
            response = to_not_modified(response);
        }
        self.unread.close_connection(&mut response);
        let headers = response.headers_mut();
        if self.is_coded {
            // With a Content-Length beside it, hyper goes by the coding and drops the length: what follows on the connection could be
            // another message to a proxy before this host than to the host. RFC 9112, section 6.1: close it.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if !headers.contains_key(&TRACEPARENT)
            && let Some(value) = format_traceparent(self.trace_id.unwrap_or_else(TraceId::fresh))
        {
            headers.insert(&TRACEPARENT, value);
        }
        response
    }
}

/// The answer to a head that two readers could understand differently, or one that is too large. What follows on the connection is not read.
fn refuse_head(problem: Problem) -> Response {
    let mut response = problem.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    if let Some(value) = format_traceparent(TraceId::fresh()) {
        headers.insert(&TRACEPARENT, value);
    }
    response
}

/// Answers a change at its deadline at the latest, with what is certain then. What was begun is carried on.
async fn answer_change_in_time(at: Instant, deadline: &Deadline, change: Call) -> Response {
    // A task of its own: a change that is given up halfway would not finish what follows its commit.
    let mut change = tokio::spawn(change);
    let in_time = match tokio::time::timeout_at(at.into(), &mut change).await {
        // It never begins, so it is answered at once: the caller may not call, or its deadline has passed.
        Err(_) if deadline.leave_waiting(BARRED) => Ok(change.await),
        in_time => in_time,
    };
    match in_time {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            Problem::unavailable(format!("the call was given up: {error}")).into_response()
        }
        Err(_) if deadline.give_up() => Problem::deadline_exceeded().denied().into_response(),
        Err(_) => deadline.answer_unfinished().into_response(),
    }
}

async fn answer_read_in_time(at: Instant, deadline: &Deadline, mut read: Call) -> Response {
    match tokio::time::timeout_at(at.into(), &mut read).await {
        Ok(response) => response,
        Err(_) if deadline.leave_waiting(BARRED) => read.await,
        Err(_) => Problem::deadline_exceeded().into_response(),
    }
}

/// Whether a read's answer has an `ETag` that `If-None-Match` names (RFC 9110, section 13.1.2).
fn has_known_tag(known: &HeaderValue, response: &Response) -> bool {
    let Some(tag) = response.headers().get(header::ETAG) else {
        return false;
    };
    let (Ok(known), Ok(tag)) = (known.to_str(), tag.to_str()) else {
        return false;
    };
    let named = |one: &str| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag;
    response.status() == StatusCode::OK && known.split(',').any(|one| named(one.trim()))
}

/// An answer without the body that the caller has already.
fn to_not_modified(mut response: Response) -> Response {
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    *response.body_mut() = axum::body::Body::empty();
    response.headers_mut().remove(header::CONTENT_TYPE);
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}

fn read_deadline(headers: &HeaderMap) -> Result<Option<Instant>, FieldError> {
    let Some(value) = headers.get(&DEADLINE_HEADER) else {
        return Ok(None);
    };
    let millis = value
        .to_str()
        .ok()
        .and_then(|text| text.parse::<u64>().ok())
        .filter(|millis| (1..=MAX_DEADLINE_MS).contains(millis))
        .ok_or_else(|| {
            FieldError::new(
                "Ark-Deadline-Ms",
                "is no number of milliseconds",
                format!("give a whole number from 1 to {MAX_DEADLINE_MS}, or leave it out"),
            )
        })?;
    Ok(Some(Instant::now() + Duration::from_millis(millis)))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Method;

    use super::*;

    /// How a call runs beyond its deadline.
    enum LateCall {
        /// The gate is late, and refuses the caller.
        RefusedLate,
        /// The gate is late, and admits the caller.
        AdmittedLate,
        /// The gate is in time, and the call has no end.
        Endless,
    }

    /// Returns the status and whether the call was carried out.
    fn answer_late(method: Method, course: LateCall) -> (StatusCode, bool) {
        let carried_out = Arc::new(AtomicBool::new(false));
        let carrying_out = Arc::clone(&carried_out);
        let is_late = !matches!(course, LateCall::Endless);
        let call = move |request: Request| -> Call {
            Box::pin(async move {
                let deadline = request.extensions().get::<Deadline>().cloned();
                let state = deadline.and_then(|deadline| deadline.0);
                let call = || state.as_ref().map(|it| it.call.load(Ordering::Acquire));
                while is_late && call() == Some(WAITING) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                if matches!(course, LateCall::RefusedLate) {
                    return StatusCode::UNAUTHORIZED.into_response();
                }
                if let Err(problem) = begin_call(&request) {
                    return problem.into_response();
                }
                carrying_out.store(true, Ordering::Release);
                std::future::pending().await
            })
        };
        let request = Request::builder()
            .method(method)
            .uri("/v1/lists")
            .header(header::HOST, "localhost")
            .header(DEADLINE, if is_late { "1" } else { "1500" });
        let request = request.body(Body::empty()).expect("a request");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let response = runtime.block_on(apply_envelope(request, call));
        (response.status(), carried_out.load(Ordering::Acquire))
    }

    #[test]
    fn a_call_begins_before_its_deadline_or_not_at_all_and_a_refused_caller_is_told_so() {
        for method in [Method::GET, Method::POST] {
            let refused = answer_late(method.clone(), LateCall::RefusedLate);
            assert_eq!(refused, (StatusCode::UNAUTHORIZED, false), "{method}");
            let barred = answer_late(method.clone(), LateCall::AdmittedLate);
            assert_eq!(barred, (StatusCode::GATEWAY_TIMEOUT, false), "{method}");
            let late = answer_late(method.clone(), LateCall::Endless);
            assert_eq!(late, (StatusCode::GATEWAY_TIMEOUT, true), "{method}");
        }
    }
}
