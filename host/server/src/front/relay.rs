//! A request from end to end: taken in, parked while the owner is away, sent, answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::watch;

use ark_model::meters::{FrontMeters, UnjudgedReason};
use ark_store::CommitDeadline;

use crate::api::http::deadline::Deadline;
use crate::api::http::problem::Problem;
use crate::api::repeats::KeyedCalls;
use crate::telemetry::FrontTelemetry;

use super::callers::AdmittedCallers;
use super::config::{FrontConfig, FrontPolicies};
use super::connection::OwnerAccess;
use super::error::FrontError;
use super::owner::{Owner, OwnerPhase, OwnerStatus, SendError, wait_until_lost};
use super::parking::{ParkError, Parking};
use super::request::{BodyMemory, OutgoingRequest, drop_connection_headers};
use super::verdicts::{AnswerKind, AnsweredCall, FrontJudge, VerdictQueue, VerdictTally};

/// How often a request is sent again at most after its connection broke: one that ends the owner must not end it without end.
const MAX_REPEATS: u32 = 3;
/// The largest answer that is read before it is passed on, so that it can be asked for again if it breaks off.
const MAX_WHOLE_ANSWER: u64 = 2 * 1024 * 1024;
/// Why the decisions on a streamed request are not judged again.
const STREAMED_REQUEST: &str = "the request is too large, or the memory for bodies was used up";
/// The pause after a request could not be sent, before the owner's state is looked at again.
const UNSENT_PAUSE: Duration = Duration::from_millis(10);
/// The header of an answer that the owner gives again.
const REPLAYED: &str = "idempotent-replayed";
/// The shortest pause before a repetition that the owner had no capacity for is sent again, whatever it asks for.
const MIN_REFUSED_PAUSE: Duration = Duration::from_millis(250);
/// The longest such pause.
const MAX_REFUSED_PAUSE: Duration = Duration::from_secs(2);

/// A front: what passes requests on, and judges the owner's decisions again.
pub struct Front {
    pub(super) owner: Arc<Owner>,
    pub(super) telemetry: FrontTelemetry,
    pub(super) verdicts: VerdictQueue,
    pub(super) tally: Arc<VerdictTally>,
    pub(super) judge: Arc<ArcSwap<FrontJudge>>,
    callers: AdmittedCallers,
    parking: Parking,
    calls: KeyedCalls,
    memory: BodyMemory,
    /// Becomes true when the front ends.
    pub(super) closing: watch::Sender<bool>,
}

/// How sending a request once ended.
enum SendResult {
    Answered(Response),
    /// Nothing was sent.
    Unsent(String),
    /// The connection broke.
    Broken(String),
}

impl Front {
    /// Loads the policies and makes the client of the owner. Called on a runtime, whose tasks judge decisions again; blocks while the policies
    /// are compiled.
    ///
    /// # Errors
    /// See [`FrontError`].
    pub fn start(config: &FrontConfig, policies: &FrontPolicies) -> Result<Self, FrontError> {
        let telemetry = FrontTelemetry::new()?;
        let meters = Arc::clone(&telemetry.meters);
        let owner = Arc::new(Owner::new(config, Arc::clone(&meters))?);
        let judge = Arc::new(ArcSwap::from_pointee(FrontJudge::load(policies)?));
        let tally = Arc::new(VerdictTally::new(Arc::clone(&meters)));
        let verdicts = VerdictQueue::start(
            Arc::clone(&owner),
            Arc::clone(&judge),
            Arc::clone(&tally),
            Arc::clone(&meters),
        );
        let closing = watch::Sender::new(false);
        let bounds = (config.hold_for, config.hold_limit);
        let watched = (owner.watch_status(), closing.subscribe());
        Ok(Self {
            callers: AdmittedCallers::default(),
            parking: Parking::new(bounds, watched, meters),
            owner,
            telemetry,
            verdicts,
            tally,
            judge,
            calls: KeyedCalls::from_descriptions(),
            memory: BodyMemory::default(),
            closing,
        })
    }

    /// From now on judges with other policies, and reaches the owner with another token and other authorities. Blocks while policies are compiled.
    ///
    /// # Errors
    /// They cannot be loaded; then nothing changes.
    pub fn reload(&self, config: &FrontConfig, policies: &FrontPolicies) -> Result<(), FrontError> {
        let access = OwnerAccess::read(config)?;
        self.judge.store(Arc::new(FrontJudge::load(policies)?));
        self.verdicts.forget_uploaded();
        self.owner.replace_access(access);
        Ok(())
    }

    pub(super) fn meters(&self) -> &FrontMeters {
        &self.telemetry.meters
    }

    /// Whether the owner may judge, or requests are parked until it may: status and body of `/readyz`.
    pub(super) fn check_readiness(&self) -> (StatusCode, Value) {
        let owner = self.owner.watch_status().borrow().clone();
        let can_park = self.can_park(&owner);
        let (is_ready, way) = match owner.phase {
            OwnerPhase::Ready => (true, "the owner is ready"),
            _ if can_park => (true, "the owner is away; requests are parked"),
            _ if owner.is_foreign => (
                false,
                "what answers at the owner's address is no host; nothing is passed on or parked",
            ),
            _ => (
                false,
                "requests are neither answered by a ready owner nor parked",
            ),
        };
        let body = json!({
            "ready": is_ready,
            "detail": way,
            "owner": owner.phase,
            "owner_instance": self.meters().owner_process.name(),
            "problems": owner.problems,
            "holding": self.meters().parked.get(),
        });
        (check_status(is_ready), body)
    }

    /// Whether requests are passed on, also to an owner that may not judge, or parked: status and body of `/readyz/relay`. It is what a proxy asks
    /// for, since a halted owner still reads, takes reports of executions and can be told to resume.
    pub(super) fn check_relay(&self) -> (StatusCode, Value) {
        let owner = self.owner.watch_status().borrow().clone();
        let relays = owner.phase.takes_requests() || self.can_park(&owner);
        let body = json!({
            "relays": relays,
            "owner": owner.phase,
            "problems": owner.problems,
            "holding": self.meters().parked.get(),
        });
        (check_status(relays), body)
    }

    /// Whether requests to an owner in that state are parked.
    fn can_park(&self, owner: &OwnerStatus) -> bool {
        matches!(owner.phase, OwnerPhase::Away | OwnerPhase::Starting)
            && !owner.is_foreign
            && self.parking.has_room()
            && self.parking.is_within_time()
    }

    /// Answers a request: with the owner's answer, or with why there is none.
    pub(super) async fn relay(self: Arc<Self>, request: Request) -> Response {
        let deadline = request.extensions().get::<Deadline>().cloned();
        let deadline = deadline.and_then(Deadline::take);
        let taken = OutgoingRequest::take_in(request, &self.calls, &self.memory);
        match taken.await {
            Ok(outgoing) => {
                let decision = find_answer_kind(&outgoing);
                let sent = self.send_in_time(outgoing, deadline.as_ref(), decision);
                sent.await.unwrap_or_else(|problem| {
                    let is_proposal =
                        matches!(decision, Some(AnswerKind::Action | AnswerKind::Batch));
                    let problem = if is_proposal && problem.is_certain() {
                        problem.denied()
                    } else {
                        problem
                    };
                    problem.into_response()
                })
            }
            Err(problem) => problem.into_response(),
        }
    }

    /// Sends a request until it is answered, as long as that is safe and the bounds of the parking allow it.
    async fn send_in_time(
        &self,
        mut outgoing: OutgoingRequest,
        deadline: Option<&CommitDeadline>,
        decision: Option<AnswerKind>,
    ) -> Result<Response, Problem> {
        let end = self.parking.end();
        let end = deadline.map_or(end, |deadline| end.min(deadline.moment()));
        let (mut repeats, mut was_sent) = (0, false);
        loop {
            let is_admitted = self.callers.is_admitted(outgoing.caller);
            if let Err(problem) = self.parking.wait_for_owner(end, is_admitted).await {
                return Err(unanswered_problem(was_sent, deadline, &problem));
            }
            // From here on the owner may do what it is asked for.
            if !was_sent && deadline.is_some_and(|deadline| !deadline.claim()) {
                return Err(Problem::deadline_exceeded());
            }
            let problem = match self.send_once(&mut outgoing, decision).await {
                SendResult::Answered(response) if !was_sent || is_known(&outgoing, &response) => {
                    return Ok(response);
                }
                // A refusal of the repetition says nothing of the first time.
                SendResult::Answered(response) => match find_refused_pause(&response) {
                    Some(pause) if Instant::now() + pause < end => {
                        tokio::time::sleep(pause).await;
                        continue;
                    }
                    _ => return Err(Problem::connection_broke()),
                },
                SendResult::Unsent(problem) => {
                    self.owner.report_lost(&problem);
                    tokio::time::sleep(UNSENT_PAUSE).await;
                    problem
                }
                SendResult::Broken(problem) => {
                    if let Some(failure) = outgoing.client_failure() {
                        return Err(failure);
                    }
                    self.owner.report_lost(&problem);
                    was_sent = true;
                    if !outgoing.may_repeat || repeats == MAX_REPEATS {
                        tracing::warn!(
                            method = %outgoing.method,
                            path = outgoing.path.path(),
                            problem,
                            "the connection to the owner broke: it is not known whether the request counts"
                        );
                        return Err(Problem::connection_broke());
                    }
                    repeats += 1;
                    self.meters().repeats.increment();
                    problem
                }
            };
            if !outgoing.can_be_sent() {
                let detail = format!(
                    "the host that owns the data went away when the request was to be sent ({problem}); nothing of it counts: send it again"
                );
                return Err(Problem::owner_away(detail, 1));
            }
            if Instant::now() > end {
                let expired = ParkError::Expired(self.parking.time());
                return Err(unanswered_problem(was_sent, deadline, &expired));
            }
        }
    }

    async fn send_once(
        &self,
        outgoing: &mut OutgoingRequest,
        decision: Option<AnswerKind>,
    ) -> SendResult {
        let message = outgoing.build_message();
        let answer = match self.owner.send(message, outgoing.path.clone()).await {
            Ok(answer) => answer,
            Err(SendError::Unsent(problem)) => return SendResult::Unsent(problem),
            Err(SendError::Broken(problem)) => return SendResult::Broken(problem),
        };
        let (mut head, body) = answer.into_parts();
        let asked = (&outgoing.method, outgoing.path.path());
        self.callers
            .note_answer(outgoing.caller, asked, head.status);
        drop_connection_headers_of_answer(&mut head.headers);
        let judged = decision.filter(|_| head.status == StatusCode::OK);
        let is_replayed = head.headers.contains_key(REPLAYED);
        if !is_read_whole(&head.headers, outgoing) {
            // Which decisions it has is not known, so one that is given again is taken for known.
            if judged.is_some() && !is_replayed {
                let detail = if outgoing.whole_body().is_some() {
                    "the answer is too large, or does not say its length"
                } else {
                    STREAMED_REQUEST
                };
                self.tally.count_unjudged(UnjudgedReason::NotRead, detail);
            }
            let body = self.stream_answer(&head.headers, body);
            return SendResult::Answered(Response::from_parts(head, body));
        }
        let collected = tokio::select! {
            collected = body.collect() => collected.map_err(|error| error.to_string()),
            () = wait_until_lost(self.owner.watch_status()) => Err(SendError::lost().to_string()),
        };
        let body = match collected {
            Ok(collected) => collected.to_bytes(),
            Err(problem) => return SendResult::Broken(problem),
        };
        match (judged, outgoing.whole_body()) {
            (Some(kind), Some(request)) => self.verdicts.submit(AnsweredCall {
                kind,
                is_replayed,
                request: request.clone(),
                answer: body.clone(),
            }),
            (Some(_), None) if !is_replayed => self
                .tally
                .count_unjudged(UnjudgedReason::NotRead, STREAMED_REQUEST),
            (Some(_) | None, _) => {}
        }
        SendResult::Answered(Response::from_parts(head, Body::from(body)))
    }

    /// Passes an answer on as it comes. One that breaks off breaks off for the caller too. An event stream ends with the front: it has no end of
    /// its own.
    fn stream_answer(&self, headers: &HeaderMap, body: Incoming) -> Body {
        let chunks = cut_when_lost(body, self.owner.watch_status());
        if !is_event_stream(headers) {
            return Body::from_stream(chunks);
        }
        let mut closing = self.closing.subscribe();
        let end = Box::pin(async move {
            let _ = closing.wait_for(|closing| *closing).await;
        });
        Body::from_stream(chunks.take_until(end))
    }
}

/// The chunks of an answer. They end with an error when the owner is lost.
fn cut_when_lost(
    body: Incoming,
    status: watch::Receiver<OwnerStatus>,
) -> impl Stream<Item = Result<Bytes, axum::Error>> {
    let chunks = Body::new(body).into_data_stream();
    let lost = Box::pin(wait_until_lost(status));
    futures_util::stream::unfold(Some((chunks, lost)), |state| async move {
        let (mut chunks, mut lost) = state?;
        let next = tokio::select! {
            biased;
            next = chunks.next() => next?,
            () = &mut lost => return Some((Err(axum::Error::new(SendError::lost())), None)),
        };
        Some((next, Some((chunks, lost))))
    })
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
}

/// Whether the answer to a repetition is that to the request: what it says was done, or was done the first time, or nothing can have been done.
fn is_known(outgoing: &OutgoingRequest, response: &Response) -> bool {
    outgoing.method.is_safe()
        || response.status().is_success()
        || response.headers().contains_key(REPLAYED)
}

/// The pause after which a repetition is sent again that the owner has no capacity for; `None`: it is refused for another reason.
fn find_refused_pause(response: &Response) -> Option<Duration> {
    let has_no_capacity = matches!(
        response.status(),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    );
    let seconds = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|seconds| seconds.to_str().ok()?.parse().ok())
        .unwrap_or(1);
    has_no_capacity
        .then(|| Duration::from_secs(seconds).clamp(MIN_REFUSED_PAUSE, MAX_REFUSED_PAUSE))
}

/// Takes off an answer what is for the owner's connection. Its length stays: of an answer to `HEAD` it is that of what is not sent.
fn drop_connection_headers_of_answer(headers: &mut HeaderMap) {
    let length = headers.get(header::CONTENT_LENGTH).cloned();
    drop_connection_headers(headers);
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, length);
    }
}

/// Whether an answer is read to its end before it is passed on, so that it can be asked for again: what was asked for may count and may be
/// repeated, and the answer says its length, which is not large.
fn is_read_whole(headers: &HeaderMap, outgoing: &OutgoingRequest) -> bool {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let is_needed = !outgoing.method.is_safe() && outgoing.may_repeat;
    // An answer to HEAD has no body, whatever length it says.
    outgoing.method == Method::HEAD
        || (is_needed && length.is_some_and(|length| length <= MAX_WHOLE_ANSWER))
}

/// The kind of answer that a request gets, if one with decisions.
fn find_answer_kind(outgoing: &OutgoingRequest) -> Option<AnswerKind> {
    if outgoing.method != Method::POST {
        return None;
    }
    match outgoing.path.path() {
        "/v1/actions" => Some(AnswerKind::Action),
        "/v1/actions/batch" => Some(AnswerKind::Batch),
        path if path.starts_with("/v1/approvals/") => Some(AnswerKind::Approval),
        _ => None,
    }
}

/// The problem of a request that is parked no more.
fn unanswered_problem(
    was_sent: bool,
    deadline: Option<&CommitDeadline>,
    error: &ParkError,
) -> Problem {
    if was_sent {
        Problem::connection_broke()
    } else if deadline.is_some_and(CommitDeadline::is_over) {
        Problem::deadline_exceeded()
    } else {
        parking_problem(error)
    }
}

/// Why a request was not parked until it could be sent.
fn parking_problem(error: &ParkError) -> Problem {
    let (detail, retry_after) = match error {
        ParkError::Full(_) | ParkError::StrangersFull(_) => (
            format!("{error}, and the host that owns the data is away; the request was not sent"),
            1,
        ),
        ParkError::Expired(_) => (
            format!("{error}, and the host that owns the data is still away; it was not sent"),
            5,
        ),
        ParkError::Closing => (
            format!("{error} while the host that owns the data is away; the request was not sent"),
            1,
        ),
        ParkError::Unguarded(_) | ParkError::NoHost(_) => {
            (format!("nothing is passed on: {error}"), 60)
        }
    };
    Problem::owner_away(detail, retry_after).at(
        "owner",
        "wait for Retry-After seconds; the front's /readyz says what the owner does",
    )
}

/// The status of a check.
const fn check_status(passes: bool) -> StatusCode {
    if passes {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}
