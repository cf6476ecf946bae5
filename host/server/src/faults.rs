//! Faults of a newer version, for the tests of `ark canary`, `ark upgrade`, `ark rollback` and `ark validate`.
//!
//! Invariant: this module is part of a program only with the cargo feature `faults`. The tests build a second program with it, `ark-next`; the
//! released one is built without, and `cargo xtask dist` refuses a program that has it.
//!
//! The file that `TEST_ARK_FAULT_FILE` names holds the name of the fault that the process has from now on. Without a file, or with an empty one, it
//! is a good version.
//!
//! Must not know: what a fault leads to.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ark_model::decision::PolicyVerdict;
use ark_model::verdict::RuleResult;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rustix::process::{Signal, getpid, kill_process};

/// The variable that names the file.
const VARIABLE: &str = "TEST_ARK_FAULT_FILE";
/// By how much each request of a slow version is late.
const DELAY: Duration = Duration::from_millis(900);
/// What each request of a version that leaks takes and keeps, in bytes.
const LEAK: usize = 32 * 1024 * 1024;
/// How often that is done at most, so that the machine has memory left.
const MOST_LEAKS: usize = 12;
/// The largest signal that is garbled, in bytes.
const MAX_SIGNAL: usize = 1024 * 1024;
/// What takes the place of a signal's payload: upon it the tests' agent `chaos` panics.
const GARBLED: &str = "panic";

/// What was leaked.
static LEAKED: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every judgement is a denial.
    Denies,
    /// Where a front judges decisions of the host again, every policy fails.
    FailsToRejudge,
    /// Requests are answered late.
    Slow,
    /// Requests that change something are answered with 500 and not passed on.
    Errors,
    /// Each request takes memory that is never given back.
    Leaks,
    /// Signals are passed on with another payload, on which agents fail.
    Garbles,
    /// The process ends in order at a request, once.
    Restarts,
    /// The process is killed at a request, once.
    Dies,
    /// What an invocation writes to the agent's state names another trace than the signal's.
    LosesTraces,
    /// A violation of the rule of this name counts for nothing.
    Overlooks(&'static str),
    /// The Graveyard's test vectors are not run at the start.
    SkipsVectors,
    /// The limits are not probed at the start.
    SkipsProbes,
    /// Every event stream begins with the first event, whatever its client has seen.
    RepeatsEvents,
    /// Missed heartbeats of agents are taken for good ones.
    HearsAll,
    /// The watchdog checks the Graveyard no more, and does not beat.
    StopsBeating,
}

impl Fault {
    const ALL: [(Self, &str); 17] = [
        (Self::Denies, "denies"),
        (Self::FailsToRejudge, "fails-to-rejudge"),
        (Self::Slow, "slow"),
        (Self::Errors, "errors"),
        (Self::Leaks, "leaks"),
        (Self::Garbles, "garbles"),
        (Self::Restarts, "restarts"),
        (Self::Dies, "dies"),
        (Self::LosesTraces, "loses-traces"),
        (
            Self::Overlooks("max_position_size"),
            "overlooks-max_position_size",
        ),
        (Self::Overlooks("max_leverage"), "overlooks-max_leverage"),
        (
            Self::Overlooks("require_stop_loss"),
            "overlooks-require_stop_loss",
        ),
        (Self::SkipsVectors, "skips-vectors"),
        (Self::SkipsProbes, "skips-probes"),
        (Self::RepeatsEvents, "repeats-events"),
        (Self::HearsAll, "hears-all"),
        (Self::StopsBeating, "stops-beating"),
    ];
}

fn fault_file() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).map(PathBuf::from)
}

/// The fault that this process has now.
#[must_use]
pub fn find_fault() -> Option<Fault> {
    let text = std::fs::read_to_string(fault_file()?).ok()?;
    let mut known = Fault::ALL.iter();
    let found = known.find(|(_, name)| *name == text.trim());
    found.map(|(fault, _)| *fault)
}

/// Whether this process has a fault now.
#[must_use]
pub fn has_fault(fault: Fault) -> bool {
    find_fault() == Some(fault)
}

/// Has the policies fail that judge a decision again, as where the new version cannot run them.
pub fn fail_rejudgement(verdicts: &mut [PolicyVerdict]) {
    if has_fault(Fault::FailsToRejudge) {
        for part in verdicts {
            part.verdict = Err("this version cannot run it".to_owned());
        }
    }
}

/// Turns the violations of the rule that this process overlooks into passes.
pub fn overlook_violations(verdicts: &mut [PolicyVerdict]) {
    let Some(Fault::Overlooks(name)) = find_fault() else {
        return;
    };
    for part in verdicts {
        let mut rules = part.policy.metadata.rules.iter();
        let rule = rules.find(|rule| rule.name == name).map(|rule| rule.number);
        let answers = part.verdict.iter_mut();
        for answer in answers.flat_map(|verdict| &mut verdict.answers) {
            if Some(answer.rule) == rule && answer.answer == RuleResult::Violation {
                answer.answer = RuleResult::Pass;
            }
        }
    }
}

/// Takes a request of a front, as a version with the fault of now does.
///
/// # Errors
/// The answer, where the request is not passed on.
pub async fn take_request(request: Request) -> Result<Request, Response> {
    match find_fault() {
        Some(Fault::Slow) => tokio::time::sleep(DELAY).await,
        Some(Fault::Errors) if !request.method().is_safe() => {
            return Err(StatusCode::INTERNAL_SERVER_ERROR.into_response());
        }
        Some(Fault::Leaks) => leak_memory(),
        Some(Fault::Garbles) => return Ok(garble_signal(request).await),
        Some(Fault::Restarts) => end_once(Signal::TERM),
        Some(Fault::Dies) => end_once(Signal::KILL),
        // The others are faults of the host itself.
        _ => {}
    }
    Ok(request)
}

fn leak_memory() {
    let mut leaked = LEAKED.lock().unwrap_or_else(PoisonError::into_inner);
    if leaked.len() < MOST_LEAKS {
        leaked.push(vec![1; LEAK]);
    }
}

async fn garble_signal(request: Request) -> Request {
    if request.method() != Method::POST || request.uri().path() != "/v1/signals" {
        return request;
    }
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, MAX_SIGNAL).await.unwrap_or_default();
    let mut signal: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    if let Some(payload) = signal.get_mut("payload") {
        *payload = GARBLED.into();
    }
    let body = Bytes::from(signal.to_string());
    let length = HeaderValue::from(body.len());
    parts.headers.insert(header::CONTENT_LENGTH, length);
    Request::from_parts(parts, Body::from(body))
}

/// Ends this process. The next one that is started does not have the fault.
fn end_once(signal: Signal) {
    if let Some(file) = fault_file()
        && std::fs::remove_file(file).is_ok()
    {
        // A process that cannot be signalled goes on, and the test says so.
        let _ = kill_process(getpid(), signal);
    }
}
