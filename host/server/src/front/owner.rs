//! The host that owns the data: the connection to it, and whether it is there.
//!
//! The front asks for `/readyz` all the time. A request that cannot be sent, or whose connection breaks, has it asked at once. An owner that has
//! not answered for [`LOST_TIME`] is taken for lost: nothing waits for its answers any more, though its connections may still stand.
//!
//! What answers otherwise than a host, as another front or a web server does, is no owner: nothing is sent to it. A front that has had no host there since
//! it started is configured wrongly: it is not ready, and parks nothing. One that has had its owner parks requests as for any owner that is away, and a
//! proxy that answers for a host that is away (502, 503, 504) tells nothing of the configuration: otherwise an exchange of the host's version behind
//! such a proxy would have every front taken out.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::http::uri::PathAndQuery;
use axum::http::{Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Notify, watch};

use ark_model::meters::FrontMeters;

use crate::readiness::NO_BEAT;
use crate::telemetry::is_telemetry_readiness;

use super::config::{FrontConfig, OwnerAddress};
use super::connection::OwnerAccess;
use super::error::FrontError;

/// How often a ready owner is asked.
const READY_PAUSE: Duration = Duration::from_millis(500);
/// How often an owner is asked that is not ready.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the owner may take to answer whether it is ready.
const READINESS_TIME: Duration = Duration::from_secs(2);
/// How long an owner may not answer before what was sent to it is given up.
const LOST_TIME: Duration = Duration::from_secs(8);
/// How long the front's own requests may take, the largest component included.
const READ_TIME: Duration = Duration::from_secs(30);
/// How long an owner that was away may answer that it is not ready yet. After that time requests are passed on all the same, so
/// that a halted host can be told to resume.
const START_TIME: Duration = Duration::from_secs(5);
/// The most bytes of an answer to whether the owner is ready.
const MAX_READINESS: usize = 1024 * 1024;
/// The most bytes of any other answer that the front itself asks for.
const MAX_OWN_ANSWER: usize = 64 * 1024 * 1024;
/// A call that needs a token wherever there is one.
const GUARDED_PATH: PathAndQuery = PathAndQuery::from_static("/v1/graveyard");
/// Whether the owner may judge.
const READY_PATH: PathAndQuery = PathAndQuery::from_static("/readyz");

/// Whether requests can be sent to the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OwnerPhase {
    /// It does not answer, or what answers is no host.
    Away,
    /// It was away, answers again, and is not ready yet.
    Starting,
    /// It answers that it is not ready.
    NotReady,
    /// It has no tokens, and other machines can reach the front: nothing is passed on.
    Unguarded,
    /// It answers that it is ready.
    Ready,
}

impl OwnerPhase {
    /// Whether requests are sent to it.
    pub(super) const fn takes_requests(self) -> bool {
        matches!(self, Self::NotReady | Self::Ready)
    }
}

/// What is known of the owner.
#[derive(Debug, Clone)]
pub(super) struct OwnerStatus {
    pub(super) phase: OwnerPhase,
    /// Why it is not ready, or not there.
    pub(super) problems: Vec<String>,
    /// When this phase began.
    pub(super) since: Instant,
    /// When it was first heard again after it was away.
    answers_since: Option<Instant>,
    /// What the log has of an owner that is no host, until a host answers.
    logged: Option<String>,
    /// Whether a host has answered since the front started.
    had_host: bool,
    /// Whether what answers is no host, and the front is configured wrongly.
    pub(super) is_foreign: bool,
}

#[cfg(test)]
impl OwnerStatus {
    /// A status for tests.
    pub(super) fn for_test(phase: OwnerPhase) -> Self {
        Self {
            phase,
            problems: Vec::new(),
            since: Instant::now(),
            answers_since: None,
            logged: None,
            had_host: false,
            is_foreign: false,
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// There is no connection: nothing was sent.
    #[error("{0}")]
    Unsent(String),
    /// The connection broke before there was an answer.
    #[error("{0}")]
    Broken(String),
}

impl SendError {
    /// What was sent to an owner that is lost.
    pub(super) fn lost() -> Self {
        Self::Broken("the owner does not answer any more".to_owned())
    }
}

/// Why it is not known whether the owner is ready.
#[derive(Debug, thiserror::Error)]
enum ReadinessError {
    /// There is no answer.
    #[error("{0}")]
    Unanswered(String),
    /// A front answers, this one perhaps.
    #[error("it is a front, not the host that owns the data; correct front.owner (--owner)")]
    Front,
    /// A host's port for telemetry answers.
    #[error("it is the telemetry port of a host, not its API; correct front.owner (--owner)")]
    Telemetry,
    /// Something else answers.
    #[error(
        "it answers {0} to /readyz, but not as a host does, which says whether it is `ready` and how many `graveyard_vectors` passed; if no host is there, correct front.owner (--owner)"
    )]
    NoHost(StatusCode),
}

impl ReadinessError {
    /// Whether something answers that is no host, nor a proxy whose host is away.
    const fn is_foreign(&self) -> bool {
        match self {
            Self::Unanswered(_) => false,
            Self::Front | Self::Telemetry => true,
            Self::NoHost(status) => !matches!(status.as_u16(), 502..=504),
        }
    }
}

/// The host that owns the data.
pub(super) struct Owner {
    access: ArcSwap<OwnerAccess>,
    address: OwnerAddress,
    status: watch::Sender<OwnerStatus>,
    /// Wakes the task that asks the owner, so that it asks at once.
    lost: Notify,
    meters: Arc<FrontMeters>,
}

impl Owner {
    /// Makes the client. Nothing is sent yet.
    ///
    /// # Errors
    /// A file cannot be used.
    pub(super) fn new(config: &FrontConfig, meters: Arc<FrontMeters>) -> Result<Self, FrontError> {
        let status = OwnerStatus {
            phase: OwnerPhase::Away,
            problems: vec!["it was not asked yet".to_owned()],
            since: Instant::now(),
            answers_since: None,
            logged: None,
            had_host: false,
            is_foreign: false,
        };
        Ok(Self {
            access: ArcSwap::from_pointee(OwnerAccess::read(config)?),
            address: config.owner.clone(),
            status: watch::Sender::new(status),
            lost: Notify::new(),
            meters,
        })
    }

    /// Reaches it from now on with another token and other authorities. What was sent already goes on.
    pub(super) fn replace_access(&self, access: OwnerAccess) {
        self.access.store(Arc::new(access));
    }

    /// Returns a receiver of the owner's status, which wakes at each change.
    pub(super) fn watch_status(&self) -> watch::Receiver<OwnerStatus> {
        self.status.subscribe()
    }

    /// Sends a request whose target is a path. It is given up when the owner is lost.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) async fn send(
        &self,
        request: Request<Body>,
        path: PathAndQuery,
    ) -> Result<Response<Incoming>, SendError> {
        tokio::select! {
            answer = self.ask_owner(request, path) => answer,
            () = wait_until_lost(self.watch_status()) => Err(SendError::lost()),
        }
    }

    /// Sends a request, however long the owner takes.
    async fn ask_owner(
        &self,
        mut request: Request<Body>,
        path: PathAndQuery,
    ) -> Result<Response<Incoming>, SendError> {
        let Some(uri) = self.address.at(path) else {
            return Err(SendError::Unsent("the path cannot be sent".to_owned()));
        };
        *request.uri_mut() = uri;
        let client = self.access.load().client.clone();
        client.request(request).await.map_err(|error| {
            let text = describe_error(&error);
            if error.is_connect() {
                SendError::Unsent(text)
            } else {
                SendError::Broken(text)
            }
        })
    }

    /// Reads something with the front's own token: status and body.
    ///
    /// # Errors
    /// There is no whole answer.
    pub(super) async fn read(&self, path: PathAndQuery) -> Result<(StatusCode, Bytes), String> {
        let mut request = Request::new(Body::empty());
        if let Some(authorization) = &self.access.load().authorization {
            let headers = request.headers_mut();
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        let reading = async {
            let response = self.send(request, path).await;
            collect_answer(response.map_err(|error| error.to_string())?).await
        };
        tokio::time::timeout(READ_TIME, reading)
            .await
            .unwrap_or_else(|_| Err("the owner does not answer in time".to_owned()))
    }

    /// Has requests parked until the owner answers again: one could not be sent, or its connection broke.
    pub(super) fn report_lost(&self, problem: &str) {
        self.set_phase(OwnerPhase::Away, vec![problem.to_owned()]);
        self.lost.notify_one();
    }

    /// Asks the owner whether it is ready, again and again; never returns. `is_exposed`: other machines can reach the front.
    pub(super) async fn follow_readiness(self: Arc<Self>, is_exposed: bool) {
        // What the front took to load its policies is no time that the owner was away.
        self.status
            .send_modify(|status| status.since = Instant::now());
        loop {
            self.check_readiness(is_exposed).await;
            let is_ready = self.status.borrow().phase == OwnerPhase::Ready;
            let pause = if is_ready { READY_PAUSE } else { PAUSE };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.lost.notified() => {}
            }
        }
    }

    async fn check_readiness(&self, is_exposed: bool) {
        let asked = tokio::time::timeout(READINESS_TIME, self.ask_readiness()).await;
        let late = || ReadinessError::Unanswered("it does not answer in time".to_owned());
        let (is_ready, problems) = match asked.unwrap_or_else(|_| Err(late())) {
            Ok(answer) => answer,
            Err(error) => return self.set_away(&error),
        };
        let (before, answers_since) = {
            let status = self.status.borrow();
            (status.phase, status.answers_since)
        };
        let must_ask = is_exposed && !before.takes_requests();
        if must_ask {
            match self.needs_tokens().await {
                Ok(true) => {}
                Ok(false) => {
                    let problem = "it serves callers without a token, and other machines can reach this front; make tokens (`ark token create`), or set behind_proxy on the owner";
                    return self.set_phase(OwnerPhase::Unguarded, vec![problem.to_owned()]);
                }
                Err(problem) => return self.set_phase(OwnerPhase::Away, vec![problem]),
            }
        }
        if is_ready {
            return self.set_phase(OwnerPhase::Ready, problems);
        }
        // A host that was started again between two questions: it has not been missed.
        let is_young = before == OwnerPhase::Ready && problems.iter().all(|it| it == NO_BEAT);
        let has_started = !is_young
            && (matches!(before, OwnerPhase::NotReady | OwnerPhase::Ready)
                || answers_since.is_some_and(|since| since.elapsed() > START_TIME));
        let phase = if has_started {
            OwnerPhase::NotReady
        } else {
            OwnerPhase::Starting
        };
        self.set_phase(phase, problems);
    }

    /// Asks the owner whether it is ready, and if it is not, why.
    async fn ask_readiness(&self) -> Result<(bool, Vec<String>), ReadinessError> {
        #[derive(Deserialize)]
        struct OwnerReadiness {
            ready: bool,
            #[serde(default)]
            problems: Vec<String>,
            /// No other server has it.
            #[serde(rename = "graveyard_vectors")]
            _graveyard_vectors: u64,
            instance: Option<String>,
        }
        let request = Request::new(Body::empty());
        let response = self.ask_owner(request, READY_PATH).await;
        let response = response.map_err(|error| ReadinessError::Unanswered(error.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_READINESS);
        let body = body.collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                ReadinessError::NoHost(status)
            } else {
                ReadinessError::Unanswered(error.to_string())
            }
        })?;
        let answer: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        if is_front_readiness(&answer) {
            return Err(ReadinessError::Front);
        }
        if is_telemetry_readiness(&answer) {
            return Err(ReadinessError::Telemetry);
        }
        let answer: OwnerReadiness = Some(answer)
            .filter(Value::is_object)
            .and_then(|answer| serde_json::from_value(answer).ok())
            .ok_or(ReadinessError::NoHost(status))?;
        let process = answer.instance.filter(|name| is_process_name(name));
        self.meters.owner_process.note_name(process);
        if status == StatusCode::OK && answer.ready {
            return Ok((true, Vec::new()));
        }
        let mut problems = answer.problems;
        if problems.is_empty() {
            problems.push(format!("it answers {status} to /readyz"));
        }
        Ok((false, problems))
    }

    /// Whether the owner refuses callers without a token.
    ///
    /// # Errors
    /// The owner does not answer, or has no capacity.
    async fn needs_tokens(&self) -> Result<bool, String> {
        let request = Request::new(Body::empty());
        let asked =
            tokio::time::timeout(READINESS_TIME, self.ask_owner(request, GUARDED_PATH)).await;
        let answer = asked.map_err(|_| "it does not answer in time".to_owned())?;
        let status = answer.map_err(|error| error.to_string())?.status();
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            return Err(format!("it answers {status} to {GUARDED_PATH}"));
        }
        Ok(status == StatusCode::UNAUTHORIZED)
    }

    /// Has requests parked, since it is not known whether the owner is ready.
    fn set_away(&self, error: &ReadinessError) {
        let problem = error.to_string();
        let answers = !matches!(error, ReadinessError::Unanswered(_));
        let is_logged = self.status.borrow().logged.as_ref() == Some(&problem);
        // What is no host may have been there from the start, so that the phase does not change.
        if answers && !is_logged {
            tracing::warn!(owner = %self.address, problem, "the owner is no host");
            self.status
                .send_modify(|status| status.logged = Some(problem.clone()));
        }
        let is_foreign = error.is_foreign() && !self.status.borrow().had_host;
        self.set_status(OwnerPhase::Away, vec![problem], is_foreign);
    }

    fn set_phase(&self, phase: OwnerPhase, problems: Vec<String>) {
        self.set_status(phase, problems, false);
    }

    fn set_status(&self, phase: OwnerPhase, problems: Vec<String>, is_foreign: bool) {
        let now = Instant::now();
        let before = self.status.borrow().phase;
        if before != phase {
            let problem = problems.join("; ");
            match phase {
                OwnerPhase::Ready => tracing::info!(owner = %self.address, "the owner is ready"),
                OwnerPhase::Starting => {
                    tracing::info!(owner = %self.address, problem, "the owner starts");
                }
                OwnerPhase::Away | OwnerPhase::NotReady | OwnerPhase::Unguarded => {
                    tracing::warn!(owner = %self.address, ?phase, problem, "the owner is not ready");
                }
            }
        }
        if phase == OwnerPhase::Away {
            self.meters.owner_process.note_name(None);
        }
        self.meters
            .owner_up
            .set(u64::from(phase != OwnerPhase::Away));
        self.meters
            .owner_ready
            .set(u64::from(phase == OwnerPhase::Ready));
        self.status.send_modify(|status| {
            if status.phase != phase {
                status.since = now;
            }
            status.answers_since = match phase {
                OwnerPhase::Away => None,
                // Started again without having been missed: its start counts from here on.
                OwnerPhase::Starting if status.phase == OwnerPhase::Ready => Some(now),
                _ => status.answers_since.or(Some(now)),
            };
            if phase != OwnerPhase::Away {
                status.logged = None;
                status.had_host = true;
            }
            status.is_foreign = is_foreign;
            status.phase = phase;
            status.problems = problems;
        });
    }
}

/// Whether an answer to `/readyz` is that of a front: it tells of its owner, and how many requests it holds. One that does not say the latter names the
/// process of its owner.
#[must_use]
pub fn is_front_readiness(answer: &Value) -> bool {
    let tells_of_owner = answer.get("owner").is_some() && answer.get("holding").is_some();
    tells_of_owner || answer.get("owner_instance").is_some()
}

/// Whether a text may be the name of a process, which becomes the label of a metric.
fn is_process_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Waits until the owner has not answered for [`LOST_TIME`].
pub(super) async fn wait_until_lost(mut status: watch::Receiver<OwnerStatus>) {
    loop {
        let lost_at = {
            let status = status.borrow_and_update();
            (status.phase == OwnerPhase::Away).then(|| status.since + LOST_TIME)
        };
        let lost = async {
            match lost_at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = lost => return,
            changed = status.changed() => if changed.is_err() {
                // The front ends.
                return std::future::pending().await;
            }
        }
    }
}

/// Reads an answer that the front itself asked for.
async fn collect_answer(response: Response<Incoming>) -> Result<(StatusCode, Bytes), String> {
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_OWN_ANSWER);
    match body.collect().await {
        Ok(collected) => Ok((status, collected.to_bytes())),
        Err(error) => Err(error.to_string()),
    }
}

/// An error with its causes: the client's own says only in which step it failed.
fn describe_error(error: &hyper_util::client::legacy::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
