//! Admits callers: bearer tokens, roles, rates.
//!
//! A host without tokens serves its own machine and no other. From the first token on every call but the health checks and the
//! document needs one. When the last token has expired or is revoked, no call is admitted; another token is made on the stopped host's data
//! directory.
//!
//! Invariants: wrong, expired and revoked tokens are answered alike after the same work; a revocation is in force before it is
//! acknowledged, and ends open event streams; a call that is not in the table of calls is not admitted.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use subtle::{Choice, ConstantTimeEq};
use tokio::sync::watch;
use tower_service::Service;

use ark_model::check::clip_for_error;
use ark_model::ids::{Digest, Millis, Name};
use ark_model::principal::{Principal, Role};
use ark_store::{ReadError, Store};

use crate::api::http::deadline::{Call, Malformed, begin_call};
use crate::api::http::head::RequestAuthority;
use crate::api::http::problem::Problem;

use super::access::{Lookup, find_endpoint};
use super::caller::Admission;
use super::tickets::{Tickets, TokenUsed};

/// The most bytes of a token; a longer one is refused unread.
const MAX_TOKEN_BYTES: usize = 256;

/// The call that takes a ticket in place of a token.
const TICKET_PATH: &str = "/v1/events";

/// Marks an answer that may take long. It ends when its caller may call no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LongAnswer {
    /// It has no end of its own.
    Endless,
    /// It has one: an answer that ends before must not look whole, so its connection is cut.
    Finite,
}

/// The longest sleep until a token's end, so that a clock that is set forward is noticed.
const MAX_SLEEP: Duration = Duration::from_secs(60);

/// Admits calls: holds the tokens in memory.
pub(crate) struct Auth {
    store: Store,
    tokens: ArcSwap<KnownTokens>,
    /// Held while the database is read and `tokens` is replaced: an older reading must not replace a newer one.
    change_lock: Mutex<()>,
    /// Counts the changes of `tokens`, so that event streams notice them.
    changes: watch::Sender<u64>,
    /// Requests each token may send in a second.
    rate: NonZeroU32,
    /// Whether other machines can reach the API.
    exposed: bool,
    /// Tickets for event streams.
    pub(crate) tickets: Tickets,
    /// Every caller of a host without tokens.
    local_caller: Arc<Principal>,
    /// Every caller of a call that needs no token, on a host with tokens.
    tokenless_reader: Arc<Principal>,
}

/// The tokens in memory.
struct KnownTokens {
    /// By the first eight bytes of their hashes. An attacker cannot choose a hash, so the lookup's time tells nothing about a secret.
    by_start: HashMap<u64, Vec<Arc<KnownToken>>>,
    /// Compared when no token has that start: the same work as for one that has.
    placeholder: Vec<Arc<KnownToken>>,
}

struct KnownToken {
    principal: Arc<Principal>,
    hash: Digest,
    expires_at: Option<Millis>,
    revoked: bool,
    limiter: Arc<DefaultDirectRateLimiter>,
}

/// A caller whose call is admitted.
struct Admitted {
    principal: Arc<Principal>,
    token: Option<Arc<KnownToken>>,
}

impl Admitted {
    fn without_token(principal: &Arc<Principal>) -> Self {
        Self {
            principal: Arc::clone(principal),
            token: None,
        }
    }
}

/// The secret that the `Authorization` header has, without blanks around it; `None`: there is no such header, several, or one of another form.
pub(crate) fn read_bearer_secret(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (given.next(), given.next());
    let text = first.filter(|_| second.is_none())?.to_str().ok()?;
    let (scheme, secret) = text.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer") && secret.len() <= MAX_TOKEN_BYTES;
    is_bearer.then(|| secret.trim())
}

fn hash_start(hash: &Digest) -> u64 {
    let mut start = [0; 8];
    start.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(start)
}

impl Auth {
    /// Reads the tokens from the database.
    pub(crate) fn open(store: Store, rate: NonZeroU32, exposed: bool) -> Result<Self, ReadError> {
        let local_caller = Arc::new(Principal::local_caller());
        let tokenless_reader = Principal {
            role: Role::Reader,
            ..Principal::local_caller()
        };
        let placeholder = KnownToken {
            principal: Arc::clone(&local_caller),
            hash: Digest::from_bytes([0; 32]),
            expires_at: None,
            revoked: true,
            limiter: Arc::new(RateLimiter::direct(Quota::per_second(rate))),
        };
        let auth = Self {
            store,
            tokens: ArcSwap::from_pointee(KnownTokens {
                by_start: HashMap::new(),
                placeholder: vec![Arc::new(placeholder)],
            }),
            change_lock: Mutex::new(()),
            changes: watch::Sender::new(0),
            rate,
            exposed,
            tickets: Tickets::default(),
            local_caller,
            tokenless_reader: Arc::new(tokenless_reader),
        };
        auth.reload()?;
        Ok(auth)
    }

    /// Reads the tokens again: after one was made, or a revocation was not recorded.
    pub(crate) fn reload(&self) -> Result<(), ReadError> {
        let _one = self.change_lock.lock();
        let rows = self.store.all_tokens()?;
        let before = self.tokens.load_full();
        let mut by_start: HashMap<u64, Vec<Arc<KnownToken>>> = HashMap::with_capacity(rows.len());
        for row in rows {
            let start = hash_start(&row.hash);
            // A rate goes on through changes of other tokens.
            let limiter = before
                .by_start
                .get(&start)
                .and_then(|tokens| tokens.iter().find(|token| token.hash == row.hash))
                .map_or_else(
                    || Arc::new(RateLimiter::direct(Quota::per_second(self.rate))),
                    |token| Arc::clone(&token.limiter),
                );
            by_start
                .entry(start)
                .or_default()
                .push(Arc::new(KnownToken {
                    principal: Arc::new(Principal {
                        name: row.name.to_string(),
                        role: row.role,
                        agents: row.agents,
                        actions: row.actions,
                        authenticated: true,
                    }),
                    hash: row.hash,
                    expires_at: row.expires_at,
                    revoked: row.revoked_at.is_some(),
                    limiter,
                }));
        }
        self.replace_tokens(KnownTokens {
            by_start,
            placeholder: before.placeholder.clone(),
        });
        Ok(())
    }

    /// Refuses a token from now on.
    pub(crate) fn shut_out(&self, name: &Name) {
        let _one = self.change_lock.lock();
        let before = self.tokens.load_full();
        let without = |tokens: &Vec<Arc<KnownToken>>| -> Vec<Arc<KnownToken>> {
            tokens
                .iter()
                .map(|token| {
                    if token.principal.name != name.as_str() {
                        return Arc::clone(token);
                    }
                    Arc::new(KnownToken {
                        principal: Arc::clone(&token.principal),
                        hash: token.hash,
                        expires_at: token.expires_at,
                        revoked: true,
                        limiter: Arc::clone(&token.limiter),
                    })
                })
                .collect()
        };
        self.replace_tokens(KnownTokens {
            by_start: before
                .by_start
                .iter()
                .map(|(start, tokens)| (*start, without(tokens)))
                .collect(),
            placeholder: before.placeholder.clone(),
        });
    }

    fn replace_tokens(&self, known: KnownTokens) {
        self.tokens.store(Arc::new(known));
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The token in force in the `Authorization` header.
    fn find_token(&self, headers: &HeaderMap) -> Option<Arc<KnownToken>> {
        let secret = read_bearer_secret(headers)?;
        self.find_in_force(&Digest::hash_bytes(secret.as_bytes()))
    }

    /// The token in force to which the ticket in the query was issued, of a call that takes one. It is used up.
    fn redeem_ticket(&self, request: &Request) -> Option<Arc<KnownToken>> {
        let TokenUsed(hash) = self.tickets.redeem(find_ticket(request)?)?;
        self.find_in_force(&hash?)
    }

    /// The token in force with this hash.
    fn find_in_force(&self, hash: &Digest) -> Option<Arc<KnownToken>> {
        let now = Millis::now();
        let known = self.tokens.load();
        let tokens = known.by_start.get(&hash_start(hash));
        let mut found = None;
        for token in tokens.unwrap_or(&known.placeholder) {
            let in_force = !token.revoked & token.expires_at.is_none_or(|end| now < end);
            let same = token.hash.as_bytes().ct_eq(hash.as_bytes());
            if bool::from(same & Choice::from(u8::from(in_force))) {
                found = Some(Arc::clone(token));
            }
        }
        found
    }

    /// Whether a caller with this token would still be admitted: the token is in force; without one, the host still has no tokens.
    pub(crate) fn is_in_force(&self, TokenUsed(token): TokenUsed) -> bool {
        match token {
            Some(hash) => self.find_in_force(&hash).is_some(),
            None => self.tokens.load().by_start.is_empty(),
        }
    }

    /// Resolves when the caller would no longer be admitted: its token ends, or, without a token, the first token is made.
    async fn wait_for_end(self: Arc<Self>, token: Option<Arc<KnownToken>>) {
        let mut changes = self.changes.subscribe();
        loop {
            let end = match &token {
                Some(token) if self.find_in_force(&token.hash).is_none() => return,
                Some(token) => token.expires_at,
                None if !self.tokens.load().by_start.is_empty() => return,
                None => None,
            };
            let expiry = async {
                match end {
                    Some(end) => {
                        let left = end.0.saturating_sub(Millis::now().0);
                        tokio::time::sleep(Duration::from_millis(left).min(MAX_SLEEP)).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = expiry => {}
            }
        }
    }

    /// Admits the caller of a request and begins the call. The request then says who calls. Returns the token of the call.
    ///
    /// # Errors
    /// Those of [`Self::admit_caller`]; a header of the request is malformed, or its deadline has passed.
    fn begin_admitted(&self, request: &mut Request) -> Result<Option<Arc<KnownToken>>, Problem> {
        let Admitted { principal, token } = self.admit_caller(request)?;
        if let Some(Malformed(error)) = request.extensions_mut().remove() {
            return Err(error.into());
        }
        begin_call(request)?;
        request.extensions_mut().insert(Admission {
            principal,
            token: TokenUsed(token.as_ref().map(|token| token.hash)),
        });
        Ok(token)
    }

    /// Admits the caller of a request.
    ///
    /// # Errors
    /// 401 without a token in force, 403 for a role that may not make the call, 405 for a method the path does not take, 429 for too many
    /// requests.
    fn admit_caller(&self, request: &Request) -> Result<Admitted, Problem> {
        let matched = request.extensions().get::<MatchedPath>();
        let call = matched.map(|path| find_endpoint(request.method(), path.as_str()));
        // For a path that needs no token, a wrong method is answered without one too.
        let free = match &call {
            Some(Lookup::Call(row)) => row.role.is_none(),
            Some(Lookup::OtherMethods { open, .. }) => *open,
            _ => false,
        };
        let admitted = if self.tokens.load().by_start.is_empty() {
            if self.exposed {
                return Err(Problem::unauthenticated());
            }
            check_own_machine(request.headers())?;
            Admitted::without_token(&self.local_caller)
        } else if free {
            Admitted::without_token(&self.tokenless_reader)
        } else {
            let token = self
                .find_token(request.headers())
                .or_else(|| self.redeem_ticket(request))
                .ok_or_else(|| match find_ticket(request) {
                    Some(_) => Problem::ticket_refused(),
                    None => Problem::unauthenticated(),
                })?;
            token.limiter.check().map_err(|until| {
                let wait = until.wait_time_from(DefaultClock::default().now());
                let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX - 1) + 1;
                let detail = format!(
                    "{} has sent more than {} requests a second",
                    token.principal.name, self.rate
                );
                Problem::too_many(detail, seconds)
            })?;
            Admitted {
                principal: Arc::clone(&token.principal),
                token: Some(token),
            }
        };
        let principal = &admitted.principal;
        match call {
            // The router's fallback answers that there is no such path.
            None => Ok(admitted),
            Some(Lookup::Call(row)) => match row.role {
                Some(role) if !principal.can_act_as(role) => Err(Problem::forbidden(
                    format!(
                        "{} {} needs the role {}, {} has the role {}",
                        row.method,
                        row.path,
                        role.as_str(),
                        principal.name,
                        principal.role.as_str()
                    ),
                    "Authorization",
                    &format!(
                        "use a token of the role {}; an administrator makes one: `ark token create`, and `ark token roles` prints which call needs which",
                        role.as_str()
                    ),
                )),
                _ => Ok(admitted),
            },
            Some(Lookup::OtherMethods { allow, .. }) => {
                let path = clip_for_error(request.uri().path());
                let detail = format!(
                    "{path} does not take {}; it takes {allow}",
                    request.method()
                );
                Err(Problem::other_method(detail, allow))
            }
            Some(Lookup::Unknown) => Err(Problem::forbidden(
                "no role may make this call: it is not in the table of calls",
                "path",
                "GET /docs describes every call",
            )),
        }
    }
}

/// The ticket in the query of a call that takes one and came without a token.
fn find_ticket(request: &Request) -> Option<&str> {
    let has_token = request.headers().contains_key(header::AUTHORIZATION);
    if has_token || request.uri().path() != TICKET_PATH || request.method() != Method::GET {
        return None;
    }
    let mut parameters = request.uri().query()?.split('&');
    parameters.find_map(|it| it.strip_prefix("ticket="))
}

/// Passes an admitted request on to its route, and answers any other.
pub(crate) fn pass_gate<S>(auth: Arc<Auth>, mut request: Request, mut route: S) -> Call
where
    S: Service<Request, Response = Response, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    Box::pin(async move {
        let token = match auth.begin_admitted(&mut request) {
            Ok(token) => token,
            Err(problem) => return problem.into_response(),
        };
        let Ok(response) = route.call(request).await;
        let Some(long) = response.extensions().get::<LongAnswer>().copied() else {
            return response;
        };
        let end = Box::pin(auth.wait_for_end(token));
        match long {
            LongAnswer::Endless => {
                response.map(|body| Body::from_stream(body.into_data_stream().take_until(end)))
            }
            LongAnswer::Finite => response.map(|body| cut_at(body, end)),
        }
    })
}

/// A body that fails when `end` comes before its own end.
fn cut_at(body: Body, end: impl Future<Output = ()> + Send + Unpin + 'static) -> Body {
    let state = (body.into_data_stream(), end);
    let chunks = futures_util::stream::unfold(state, |(mut chunks, mut end)| async move {
        let chunk = tokio::select! {
            biased;
            () = &mut end => Some(Err(axum::Error::new(io::Error::other("the caller may call no more")))),
            chunk = chunks.next() => chunk,
        };
        Some((chunk?, (chunks, end)))
    });
    // A body that is compressed is asked again after its end.
    Body::from_stream(chunks.fuse())
}

/// Refuses a request whose `Host` header names another machine: a page in a browser on this machine could send requests here under a name of
/// its own (DNS rebinding).
fn check_own_machine(headers: &HeaderMap) -> Result<(), Problem> {
    // That there is one at most, and that its form is right, was checked with the head. HTTP/1.0 may leave it out; a browser never does.
    let Some(host) = headers.get(header::HOST) else {
        return Ok(());
    };
    let host = String::from_utf8_lossy(host.as_bytes());
    if RequestAuthority::parse(&host).is_some_and(|authority| authority.is_own_machine()) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "foreign-host",
        "This API serves its own machine only",
        format!("the Host header is {:?}", clip_for_error(&host)),
    )
    .at("Host", "use localhost or 127.0.0.1, or make tokens"))
}
