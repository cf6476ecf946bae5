//! The connection to a running host: its address, the token, TLS, proxies.

use std::io::{Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ark_authorities::read_authorities;
use ark_model::loopback::is_loopback_host;
use serde_json::Value;
use ureq::config::ConfigBuilder;
use ureq::http::{HeaderValue, Method, Request, Response, Uri, header, request};
use ureq::tls::TlsConfig;
use ureq::typestate::HttpCrateScope;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, DefaultConnector};
use ureq::{Proxy, SendBody, Timeout};

use crate::answer::Answer;
use crate::error::ClientError;
use crate::kept::{KeptConnector, StaleConnection, find_stale};
use crate::tls_failure::{describe_tls_failure, find_tls_error};

/// How long it may take to reach the host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection is kept for the next request. A host closes an idle one after 10 s, a proxy before it perhaps sooner.
const KEPT_TIME: Duration = Duration::from_secs(5);
/// The header of a request that counts once, however often it is sent. It is given only to calls that take it.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// The header with the milliseconds within which the host may carry a request out, from when it gets it.
const DEADLINE: &str = "Ark-Deadline-Ms";
/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;

/// What the host does before it answers, which decides how long it is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AwaitedWork {
    /// An answer for which nothing is compiled.
    Answer,
    /// It compiles a component.
    Compilation,
    /// It says whether it is alive, within this time in all.
    Probe(Duration),
}

impl AwaitedWork {
    /// How long a request may take in all.
    #[must_use]
    pub const fn timeout(self) -> Duration {
        match self {
            Self::Answer => Duration::from_secs(30),
            Self::Compilation => Duration::from_mins(15),
            Self::Probe(timeout) => timeout,
        }
    }
}

/// How long a request may take.
#[derive(Debug, Clone, Copy)]
enum TimeLimit {
    /// This long in all.
    Whole(Duration),
    /// This long, for a stream. The head of its answer must come as soon as any answer to such work.
    Stream(Duration),
}

/// The body of a request, JSON.
pub enum OutgoingBody {
    /// Text that is sent at once.
    Text(String),
    /// What is read while it is sent, and how many bytes that are.
    Reader(u64, Box<dyn Read + Send + Sync>),
}

impl OutgoingBody {
    fn into_sent(self) -> SendBody<'static> {
        match self {
            Self::Text(text) => SendBody::from_owned_reader(Cursor::new(text.into_bytes())),
            Self::Reader(_, reader) => SendBody::from_owned_reader(reader),
        }
    }
}

/// A request as it is handed over to be sent.
type OutgoingRequest = Request<Option<OutgoingBody>>;

/// Which host is called, and with which token.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The address of the API.
    pub url: String,
    /// The bearer token.
    pub token: Option<String>,
    /// A PEM file with the certificate authority to trust; `None`: the public ones.
    pub ca: Option<PathBuf>,
}

/// Which server a client asks. Its errors say what to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Host,
    Prometheus,
    Alertmanager,
}

impl Server {
    const fn describe(self) -> &'static str {
        match self {
            Self::Host => "a host of ARK",
            Self::Prometheus => "a Prometheus",
            Self::Alertmanager => "an Alertmanager",
        }
    }
}

/// A client of one host, which keeps its connections open between requests. Threads can share it.
///
/// A server may close a kept connection at any time. What reads, and what has an idempotency key, is sent once more, over a new connection and within
/// the same time, when a kept one ends before a byte of the answer came (RFC 9110, 9.2.2; RFC 9112, 9.3.1). Nothing else is sent twice.
#[derive(Debug, Clone)]
pub struct HostClient {
    server: Server,
    url: String,
    authorization: Option<String>,
    proxy: Option<Proxy>,
    agent: ureq::Agent,
}

impl HostClient {
    /// Makes a client. Nothing is sent yet.
    ///
    /// # Errors
    /// The token would leave this machine unencrypted, or the file of the authority cannot be used.
    pub fn new(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let url = endpoint.url.trim_end_matches('/').to_owned();
        if endpoint.token.is_some() && !is_confidential(&url) {
            return Err(ClientError::Unencrypted { url });
        }
        let uri: Option<Uri> = url.parse().ok();
        let proxy = Proxy::try_from_env().filter(|proxy| {
            !is_loopback(&url) && !uri.as_ref().is_some_and(|uri| proxy.is_no_proxy(uri))
        });
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            // A token is only for the host that it is sent to.
            .max_redirects(0)
            .max_idle_age(KEPT_TIME)
            .proxy(proxy.clone())
            .tls_config(build_tls_config(endpoint.ca.as_deref())?)
            .build();
        let connector = DefaultConnector::default().chain(KeptConnector);
        Ok(Self {
            server: Server::Host,
            authorization: endpoint
                .token
                .as_ref()
                .map(|token| format!("Bearer {}", token.trim())),
            url,
            proxy,
            agent: ureq::Agent::with_parts(config, connector, DefaultResolver::default()),
        })
    }

    /// Makes a client of a Prometheus, whose API answers with JSON too. Nothing is sent yet.
    ///
    /// # Errors
    /// The address is none, or the system's authorities cannot be used.
    pub fn of_prometheus(url: &str) -> Result<Self, ClientError> {
        let is_web =
            |uri: Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
        if !url.parse().is_ok_and(is_web) {
            return Err(ClientError::PrometheusAddress {
                url: url.to_owned(),
            });
        }
        Self::without_token(Server::Prometheus, url)
    }

    /// Makes a client of an Alertmanager. Nothing is sent yet.
    ///
    /// # Errors
    /// The system's authorities cannot be used.
    pub fn of_alertmanager(url: &str) -> Result<Self, ClientError> {
        Self::without_token(Server::Alertmanager, url)
    }

    fn without_token(server: Server, url: &str) -> Result<Self, ClientError> {
        let client = Self::new(&Endpoint {
            url: url.to_owned(),
            token: None,
            ca: None,
        })?;
        Ok(Self { server, ..client })
    }

    /// Returns a client of the same host with another token.
    ///
    /// # Errors
    /// The token would leave this machine unencrypted.
    pub fn with_token(&self, token: &str) -> Result<Self, ClientError> {
        if !is_confidential(&self.url) {
            return Err(ClientError::Unencrypted {
                url: self.url.clone(),
            });
        }
        Ok(Self {
            authorization: Some(format!("Bearer {}", token.trim())),
            ..self.clone()
        })
    }

    /// Returns the address of the API.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request and returns the answer, whatever its status.
    ///
    /// # Errors
    /// The host does not answer, or not with JSON.
    pub fn send(
        &self,
        request: request::Builder,
        path: &str,
        body: OutgoingBody,
        work: AwaitedWork,
    ) -> Result<Answer, ClientError> {
        let mut request = self
            .prepare_request(request, path)
            .header("Content-Type", "application/json");
        let is_read = |method: &Method| matches!(*method, Method::GET | Method::DELETE);
        let length = match &body {
            OutgoingBody::Text(text)
                if text.is_empty() && request.method_ref().is_some_and(is_read) =>
            {
                None
            }
            OutgoingBody::Text(text) => Some(text.len() as u64),
            OutgoingBody::Reader(length, _) => Some(*length),
        };
        if let Some(length) = length {
            request = request.header("Content-Length", length);
        }
        let body = length.is_some().then_some(body);
        let request = request.body(body).map_err(ClientError::Request)?;
        let response = self.run_request(request, TimeLimit::Whole(work.timeout()), work)?;
        self.read_answer(response)
    }

    /// Asks for something to read.
    ///
    /// # Errors
    /// As [`HostClient::send`].
    pub fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.read(path, AwaitedWork::Answer)
    }

    /// Asks for something to read, within this time in all.
    ///
    /// # Errors
    /// As [`HostClient::send`].
    pub fn get_within(&self, path: &str, timeout: Duration) -> Result<Answer, ClientError> {
        self.read(path, AwaitedWork::Probe(timeout))
    }

    fn read(&self, path: &str, work: AwaitedWork) -> Result<Answer, ClientError> {
        let nothing = OutgoingBody::Text(String::new());
        self.send(Request::builder().method("GET"), path, nothing, work)
    }

    /// Asks for a text, within this time in all, and returns the answer's status and the text.
    ///
    /// # Errors
    /// Nothing answers.
    pub fn get_text(&self, path: &str, timeout: Duration) -> Result<(u16, String), ClientError> {
        let request = self
            .prepare_request(Request::builder().method("GET"), path)
            .body(None)
            .map_err(ClientError::Request)?;
        let limit = TimeLimit::Whole(timeout);
        let mut response = self.run_request(request, limit, AwaitedWork::Probe(timeout))?;
        let text = read_text(&mut response)?;
        Ok((response.status().as_u16(), text))
    }

    /// Asks for something, within this time in all, and returns when it was answered by the server's clock: the header `Date` as it is written, whatever
    /// the status; `None`: there is none.
    ///
    /// # Errors
    /// Nothing answers.
    pub fn get_date(&self, path: &str, timeout: Duration) -> Result<Option<String>, ClientError> {
        let request = self
            .prepare_request(Request::builder().method("GET"), path)
            .body(None)
            .map_err(ClientError::Request)?;
        let limit = TimeLimit::Whole(timeout);
        let response = self.run_request(request, limit, AwaitedWork::Probe(timeout))?;
        let date = response.headers().get(header::DATE);
        Ok(date.and_then(|date| Some(date.to_str().ok()?.to_owned())))
    }

    /// Sends JSON with a method; null: no body. `headers` are sent as well.
    ///
    /// # Errors
    /// As [`HostClient::send`].
    pub fn send_json(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.send(request, path, OutgoingBody::Text(text), AwaitedWork::Answer)
    }

    /// Opens a stream of events. It ends when it is dropped, or after `longest`. Its beginning is waited for no longer than any answer.
    ///
    /// # Errors
    /// The host does not answer, or refuses the stream.
    pub fn open_stream(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        longest: Duration,
    ) -> Result<impl Read + use<>, ClientError> {
        self.begin_stream(path, headers, longest, AwaitedWork::Answer)
    }

    fn begin_stream(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        longest: Duration,
        work: AwaitedWork,
    ) -> Result<impl Read + use<>, ClientError> {
        let mut request = self.prepare_request(Request::builder().method("GET"), path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(None).map_err(ClientError::Request)?;
        let response = self.run_request(request, TimeLimit::Stream(longest), work)?;
        if !response.status().is_success() {
            self.read_answer(response)?.into_success()?;
            return Ok(ureq::Body::builder().data(Vec::new()).into_reader());
        }
        Ok(response.into_body().into_reader())
    }

    fn prepare_request(&self, request: request::Builder, path: &str) -> request::Builder {
        let mut request = request.uri(format!("{}{path}", self.url));
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        request
    }

    /// Sends a request, once more where a kept connection ended under one that may be repeated.
    fn run_request(
        &self,
        request: OutgoingRequest,
        limit: TimeLimit,
        work: AwaitedWork,
    ) -> Result<Response<ureq::Body>, ClientError> {
        let repetition = copy_repeatable(&request);
        let began = Instant::now();
        let first = self.configure_request(request, limit, work, Duration::ZERO);
        let ran = self.agent.run(first.build()).or_else(|error| {
            let (StaleConnection(cause), repetition) = match (find_stale(error), repetition) {
                (Ok(stale), Some(repetition)) => (stale, repetition),
                (Ok(StaleConnection(cause)), None) | (Err(cause), _) => return Err(cause),
            };
            let spent = began.elapsed();
            let Some(repetition) = shorten_deadline(repetition, spent) else {
                return Err(cause);
            };
            let again = self
                .configure_request(repetition, limit, work, spent)
                // No kept connection is young enough.
                .max_idle_age(Duration::ZERO);
            self.agent.run(again.build()).map_err(|error| {
                // The first request was sent, and what became of it is all that is known.
                if is_unsent(&error) { cause } else { error }
            })
        });
        ran.map_err(|source| self.describe_error(source, work))
    }

    /// Sets how long a request may take, of whose time some is spent already.
    fn configure_request(
        &self,
        request: OutgoingRequest,
        limit: TimeLimit,
        work: AwaitedWork,
        spent: Duration,
    ) -> ConfigBuilder<HttpCrateScope<SendBody<'static>>> {
        let (head, body) = request.into_parts();
        let body = body.map_or_else(SendBody::none, OutgoingBody::into_sent);
        let request = self
            .agent
            .configure_request(Request::from_parts(head, body));
        match limit {
            TimeLimit::Whole(longest) => {
                request.timeout_global(Some(longest.saturating_sub(spent)))
            }
            TimeLimit::Stream(longest) => request
                .timeout_global(Some(longest.saturating_sub(spent)))
                .timeout_recv_response(Some(work.timeout().saturating_sub(spent))),
        }
    }

    fn describe_error(&self, source: ureq::Error, work: AwaitedWork) -> ClientError {
        let proxy = self.proxy.as_ref();
        ClientError::NoAnswer {
            failure: match self.server {
                Server::Host => describe_failure(&self.url, proxy, &source, work),
                Server::Prometheus => describe_prometheus_failure(&self.url, proxy, &source, work),
                Server::Alertmanager => {
                    format!(
                        "no Alertmanager answers at {}{}",
                        self.url,
                        describe_proxy(proxy)
                    )
                }
            },
            unsent: is_unsent(&source),
            source,
        }
    }

    fn read_answer(&self, mut response: Response<ureq::Body>) -> Result<Answer, ClientError> {
        let status = response.status().as_u16();
        let text = read_text(&mut response)?;
        let body = serde_json::from_str(&text).map_err(|source| ClientError::NotJson {
            wanted: self.server.describe(),
            url: self.url.clone(),
            source,
        })?;
        Ok(Answer { status, body })
    }
}

/// The same request once more; `None`: it must not be sent twice, or its body can be read only once.
fn copy_repeatable(request: &OutgoingRequest) -> Option<OutgoingRequest> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_read && !request.headers().contains_key(IDEMPOTENCY_KEY) {
        return None;
    }
    let body = match request.body() {
        None => None,
        Some(OutgoingBody::Text(text)) => Some(OutgoingBody::Text(text.clone())),
        Some(OutgoingBody::Reader(..)) => return None,
    };
    let mut copy = Request::new(body);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    Some(copy)
}

/// Takes the time that is spent off the time within which the host may carry a request out, if it has one; `None`: nothing is left.
fn shorten_deadline(mut request: OutgoingRequest, spent: Duration) -> Option<OutgoingRequest> {
    let Some(given) = request.headers().get(DEADLINE) else {
        return Some(request);
    };
    // The host refuses what is no number.
    let Some(given) = given.to_str().ok().and_then(|text| text.parse().ok()) else {
        return Some(request);
    };
    let left = Duration::from_millis(given).saturating_sub(spent);
    let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let headers = request.headers_mut();
    headers.insert(DEADLINE, HeaderValue::from(left));
    (left > 0).then_some(request)
}

fn build_tls_config(authority: Option<&Path>) -> Result<TlsConfig, ClientError> {
    let mut tls = TlsConfig::builder();
    if let Some(path) = authority {
        tls = tls.root_certs(read_authorities(path)?);
    }
    Ok(tls.build())
}

/// Whether nobody between here and the host can read what is sent: TLS, or the same machine.
fn is_confidential(url: &str) -> bool {
    let is_tls = |uri: Uri| uri.scheme_str() == Some("https");
    url.parse().is_ok_and(is_tls) || is_loopback(url)
}

/// Whether the host is on this machine, by its name or address.
fn is_loopback(url: &str) -> bool {
    url.parse::<Uri>()
        .is_ok_and(|uri| is_loopback_host(uri.host().unwrap_or_default()))
}

/// Says what is known of a request that brought no answer, and what to do next.
fn describe_failure(
    url: &str,
    proxy: Option<&Proxy>,
    error: &ureq::Error,
    work: AwaitedWork,
) -> String {
    let through = describe_proxy(proxy);
    let look = match work {
        AwaitedWork::Answer | AwaitedWork::Probe(_) => "look before you send it again",
        AwaitedWork::Compilation => {
            "`ark agent show` and `ark policy show` say whether it is there; the same upload may be sent again"
        }
    };
    if let Some(failure) = describe_tls_failure(url, error) {
        return failure;
    }
    match error {
        // To a client without TLS an answer under TLS is no HTTP.
        ureq::Error::Protocol(_) if !url.starts_with("https://") => format!(
            "what {url}{through} answers is not HTTP; where the host has a certificate, its address begins with https://"
        ),
        error if is_unsent(error) => format!(
            "no host answers at {url}{through}; is `ark serve` running there? (--url, ARK_URL)"
        ),
        ureq::Error::Timeout(_) if matches!(work, AwaitedWork::Probe(_)) => format!(
            "the host at {url}{through} has not answered within {} s: it is stuck, or has too much to do",
            work.timeout().as_secs()
        ),
        ureq::Error::Timeout(_) => format!(
            "the host at {url}{through} has taken the request and not answered within {} s; it may still carry it out: {look}",
            work.timeout().as_secs()
        ),
        ureq::Error::Io(_) | ureq::Error::Protocol(_) => format!(
            "the connection to {url}{through} ended before the answer was there; whether the request was carried out is not known: {look}"
        ),
        _ => format!("{url}{through} cannot be asked; check --url and --ca, and its certificate"),
    }
}

/// As [`describe_failure`], of a Prometheus, which is only read.
fn describe_prometheus_failure(
    url: &str,
    proxy: Option<&Proxy>,
    error: &ureq::Error,
    work: AwaitedWork,
) -> String {
    let through = describe_proxy(proxy);
    match error {
        ureq::Error::Timeout(Timeout::Global) => format!(
            "the Prometheus at {url}{through} has not answered within {} s: it is stuck, or has too much to do",
            work.timeout().as_secs()
        ),
        error if is_unsent(error) && find_tls_error(error).is_none() => format!(
            "nothing answers at {url}{through}; does Prometheus listen there? (--prometheus, ARK_PROMETHEUS)"
        ),
        _ => format!(
            "what answers at {url}{through} cannot be asked as a Prometheus (--prometheus, ARK_PROMETHEUS)"
        ),
    }
}

fn describe_proxy(proxy: Option<&Proxy>) -> String {
    proxy.map_or_else(String::new, |proxy| {
        format!(
            ", asked through the proxy {}:{} of the environment",
            proxy.host(),
            proxy.port()
        )
    })
}

/// Whether an error comes before a connection is there.
fn is_unsent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed => true,
        error if find_tls_error(error).is_some() => true,
        ureq::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::AddrNotAvailable
                | ErrorKind::NotFound
        ),
        _ => false,
    }
}

/// The text of an answer, of [`MAX_ANSWER_BYTES`] at most.
fn read_text(response: &mut Response<ureq::Body>) -> Result<String, ClientError> {
    response
        .body_mut()
        .with_config()
        .limit(MAX_ANSWER_BYTES)
        .read_to_string()
        .map_err(ClientError::CutOff)
}

#[cfg(test)]
mod tests;
