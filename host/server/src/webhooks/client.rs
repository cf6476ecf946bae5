//! One attempt to send an event.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ark_authorities::{AuthorityError, read_authorities};
use ureq::http::{Request, Response, StatusCode, header};
use ureq::tls::TlsConfig;
use ureq::unversioned::transport::{ConnectionDetails, Connector, DefaultConnector, Transport};
use ureq::{Agent, Body, Error, Timeout};

use super::backoff::parse_retry_after;
use super::config::WebhookConfig;
use super::guard::{ClosedAddress, GuardedResolver};
use super::secrets::WebhookSecrets;
use super::status::FailureKind;

/// The most bytes that are read of an answer: it is only emptied, so that the connection can be used again.
const MAX_ANSWER_BYTES: u64 = 4 * 1024;
/// The most bytes of the head of an answer.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// How long connecting may take of an attempt's time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection is kept for the next event. Receivers close idle ones, mostly after 5 s or more.
const MAX_IDLE: Duration = Duration::from_secs(3);

/// What became of an attempt.
#[derive(Debug)]
pub(super) enum AttemptResult {
    /// The receiver has the event.
    Delivered,
    /// The receiver wants no more events (410).
    Gone,
    /// The receiver does not have it, or it is not known.
    Failed {
        /// How it failed.
        kind: FailureKind,
        /// Why, without a text of the receiver.
        reason: String,
        /// How long the receiver asks to wait.
        retry_after: Option<Duration>,
    },
    /// Nothing could be sent, for a reason on this side.
    Unsent(String),
}

/// Sends events of one webhook.
pub(super) struct WebhookClient {
    url: String,
    secret_file: PathBuf,
    agent: Agent,
}

impl WebhookClient {
    /// # Errors
    /// The authorities cannot be read.
    pub(super) fn new(config: &WebhookConfig) -> Result<Self, AuthorityError> {
        Ok(Self {
            url: config.url.clone(),
            secret_file: config.secret_file.clone(),
            agent: build_agent(config, config.timeout, DefaultConnector::default())?,
        })
    }

    /// Sends an event once and reads what the receiver answers, in bounded time.
    pub(super) fn send(&self, event_id: &str, body: &str) -> AttemptResult {
        let secrets = match WebhookSecrets::read(&self.secret_file) {
            Ok(secrets) => secrets,
            Err(error) => return AttemptResult::Unsent(error.to_string()),
        };
        let now = SystemTime::now();
        let timestamp = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let request = Request::post(&self.url)
            .header(header::CONTENT_TYPE, "application/cloudevents+json")
            .header("webhook-id", event_id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", secrets.sign(event_id, timestamp, body))
            .body(body.to_owned());
        let request = match request {
            Ok(request) => request,
            Err(error) => {
                return AttemptResult::Unsent(format!("the request cannot be made: {error}"));
            }
        };
        match self.agent.run(request) {
            Ok(response) => judge_answer(response, now),
            Err(error) => judge_failure(&error),
        }
    }
}

/// Makes what sends requests to the receiver of a webhook, each within this time in all.
fn build_agent(
    config: &WebhookConfig,
    timeout: Duration,
    connector: impl Connector,
) -> Result<Agent, AuthorityError> {
    let mut tls = TlsConfig::builder();
    if let Some(path) = &config.ca_file {
        tls = tls.root_certs(read_authorities(path)?);
    }
    let settings = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        // A proxy would connect in the host's place, past the guard.
        .proxy(None)
        .tls_config(tls.build())
        .timeout_global(Some(timeout))
        .timeout_connect(Some(CONNECT_TIMEOUT.min(timeout)))
        .max_response_header_size(MAX_HEAD_BYTES)
        .max_idle_connections(1)
        .max_idle_connections_per_host(1)
        .max_idle_age(MAX_IDLE)
        .user_agent(concat!("ark/", env!("CARGO_PKG_VERSION")))
        .build();
    let resolver = GuardedResolver::new(config.guard.clone());
    Ok(Agent::with_parts(settings, connector, resolver))
}

/// Why there is no connection to the receiver of a webhook.
#[derive(Debug, thiserror::Error)]
pub enum WebhookConnectionError {
    /// The file of authorities cannot be used.
    #[error("ca_file {0}")]
    Authority(#[from] AuthorityError),
    /// An attempt would fail, for this reason.
    #[error("{reason}")]
    Failed {
        /// Why, without a text of the receiver.
        reason: String,
    },
}

/// Makes a connection to the receiver of a webhook as an attempt would, under TLS where its address says so, and ends it: no byte of a request is sent. It takes
/// as long as an attempt may take to connect, at most.
///
/// # Errors
/// There is no connection: see [`WebhookConnectionError`].
pub fn try_connection(config: &WebhookConfig) -> Result<(), WebhookConnectionError> {
    let connector = DefaultConnector::default().chain(EndingConnector);
    let agent = build_agent(config, CONNECT_TIMEOUT.min(config.timeout), connector)?;
    let failure = match agent.head(config.url.as_str()).call() {
        // No connector hands out a connection, so no request was made.
        Ok(_) => return Ok(()),
        Err(Error::Other(cause)) if cause.is::<EndedConnection>() => return Ok(()),
        Err(Error::Timeout(_)) => Error::Timeout(Timeout::Connect),
        Err(error) => error,
    };
    let (_, reason) = describe_failure(&failure);
    Err(WebhookConnectionError::Failed { reason })
}

/// Ends each connection once it is there, before anything is sent over it.
#[derive(Debug)]
struct EndingConnector;

/// A connection was there, and was ended.
#[derive(Debug, thiserror::Error)]
#[error("the connection was ended before a request")]
struct EndedConnection;

impl<In: Transport> Connector<In> for EndingConnector {
    type Out = In;

    fn connect(
        &self,
        _details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<In>, Error> {
        match chained {
            Some(_) => Err(Error::Other(Box::new(EndedConnection))),
            None => Ok(None),
        }
    }
}

/// Checks the file of authorities of a webhook, if it has one, as a start would.
///
/// # Errors
/// The file cannot be used.
pub fn check_authorities(config: &WebhookConfig) -> Result<(), AuthorityError> {
    match &config.ca_file {
        Some(path) => read_authorities(path).map(drop),
        None => Ok(()),
    }
}

fn judge_answer(response: Response<Body>, now: SystemTime) -> AttemptResult {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| parse_retry_after(value.to_str().ok()?, now));
    let mut answer = response.into_body().into_reader().take(MAX_ANSWER_BYTES);
    // What is not read here ends with the connection; whether it breaks off changes nothing.
    let _ = std::io::copy(&mut answer, &mut std::io::sink());
    if status.is_success() {
        return AttemptResult::Delivered;
    }
    if status == StatusCode::GONE {
        return AttemptResult::Gone;
    }
    let note = if status.is_redirection() {
        ", a redirect, which is not followed"
    } else {
        ""
    };
    AttemptResult::Failed {
        kind: FailureKind::Refused,
        reason: format!("the receiver answered {}{note}", status.as_u16()),
        retry_after,
    }
}

fn judge_failure(error: &Error) -> AttemptResult {
    let (kind, reason) = describe_failure(error);
    AttemptResult::Failed {
        kind,
        reason,
        retry_after: None,
    }
}

/// How an attempt failed, and why.
fn describe_failure(error: &Error) -> (FailureKind, String) {
    match error {
        Error::Other(cause) if cause.is::<ClosedAddress>() => {
            (FailureKind::Blocked, cause.to_string())
        }
        Error::Timeout(Timeout::Resolve | Timeout::Connect) => (
            FailureKind::Unreachable,
            "there was no connection in time".to_owned(),
        ),
        Error::Timeout(_) => (
            FailureKind::Timeout,
            "the receiver did not answer in time".to_owned(),
        ),
        Error::HostNotFound => (
            FailureKind::Unreachable,
            "the name of the receiver has no address".to_owned(),
        ),
        Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => (
            FailureKind::Timeout,
            "the receiver did not answer in time".to_owned(),
        ),
        Error::Io(error) => (FailureKind::Unreachable, format!("the connection: {error}")),
        Error::LargeResponseHeader(..) => (
            FailureKind::Refused,
            format!("the head of the answer has more than {MAX_HEAD_BYTES} bytes"),
        ),
        Error::Protocol(error) => (
            FailureKind::Refused,
            format!("the answer cannot be read as HTTP: {error}"),
        ),
        error => (FailureKind::Unreachable, error.to_string()),
    }
}
