//! Who calls, and whether they may: bearer tokens, roles, rates.
//!
//! A host without tokens serves its own machine and no other. From the first token on every call but the health checks needs one, for
//! good: when the last one has expired or is revoked nobody gets in, and another is made on the stopped host's data directory.
//!
//! Invariants: wrong, expired and revoked tokens are answered alike after the same work; a revocation is in force before it is
//! acknowledged, for event streams that are open too; what the table of calls does not know is not reached.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use subtle::{Choice, ConstantTimeEq};
use tokio::sync::watch;

use ark_model::check::clip_for_error;
use ark_model::ids::{Digest, Millis, Name};
use ark_model::principal::{Principal, Role};
use ark_store::{ReadError, Store};

use crate::api::http::deadline::Malformed;
use crate::api::http::problem::Problem;

use super::access::{Found, find};

/// The longest token that is looked at.
const TOKEN_BYTES: usize = 256;

/// The call whose answer goes on for as long as its caller may call.
const STREAM: &str = "/v1/events";
/// A token's end is looked at again after so long, whatever the clock does.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Who may call this host.
pub(crate) struct Auth {
    store: Store,
    known: ArcSwap<Known>,
    /// Reads of the database and changes of `known` happen one after the other, or an older reading could overwrite a newer one.
    changing: Mutex<()>,
    /// Counts the changes of `known`, so that what runs for long notices them.
    changes: watch::Sender<u64>,
    /// Requests each token may send in a second.
    rate: NonZeroU32,
    /// Whether others than this machine can reach the API.
    exposed: bool,
}

/// The tokens in memory.
struct Known {
    /// By the first bytes of their hashes. An attacker cannot choose a hash, so finding the place tells nothing about a secret.
    by_start: HashMap<u64, Vec<Arc<Token>>>,
    /// What is compared when there is none at that place.
    nobody: Vec<Arc<Token>>,
}

struct Token {
    principal: Principal,
    hash: Digest,
    expires_at: Option<Millis>,
    revoked: bool,
    limiter: Arc<DefaultDirectRateLimiter>,
}

/// A caller who may call.
struct Admitted {
    principal: Principal,
    token: Option<Arc<Token>>,
}

impl From<Principal> for Admitted {
    fn from(principal: Principal) -> Self {
        Self {
            principal,
            token: None,
        }
    }
}

fn start_of(hash: &Digest) -> u64 {
    let mut start = [0; 8];
    start.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(start)
}

impl Auth {
    /// Reads the tokens.
    pub(crate) fn open(store: Store, rate: NonZeroU32, exposed: bool) -> Result<Self, ReadError> {
        let nobody = Token {
            principal: Principal::local_caller(),
            hash: Digest::from_bytes([0; 32]),
            expires_at: None,
            revoked: true,
            limiter: Arc::new(RateLimiter::direct(Quota::per_second(rate))),
        };
        let auth = Self {
            store,
            known: ArcSwap::from_pointee(Known {
                by_start: HashMap::new(),
                nobody: vec![Arc::new(nobody)],
            }),
            changing: Mutex::new(()),
            changes: watch::Sender::new(0),
            rate,
            exposed,
        };
        auth.reload()?;
        Ok(auth)
    }

    /// Reads the tokens again: after one was made, or a revocation was not recorded.
    pub(crate) fn reload(&self) -> Result<(), ReadError> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = self.store.all_tokens()?;
        let before = self.known.load_full();
        let mut by_start: HashMap<u64, Vec<Arc<Token>>> = HashMap::with_capacity(rows.len());
        for row in rows {
            let start = start_of(&row.hash);
            // A rate goes on through changes of other tokens.
            let limiter = before
                .by_start
                .get(&start)
                .and_then(|tokens| tokens.iter().find(|token| token.hash == row.hash))
                .map_or_else(
                    || Arc::new(RateLimiter::direct(Quota::per_second(self.rate))),
                    |token| Arc::clone(&token.limiter),
                );
            by_start.entry(start).or_default().push(Arc::new(Token {
                principal: Principal {
                    name: row.name.to_string(),
                    role: row.role,
                    agents: row.agents,
                    authenticated: true,
                },
                hash: row.hash,
                expires_at: row.expires_at,
                revoked: row.revoked_at.is_some(),
                limiter,
            }));
        }
        self.put(Known {
            by_start,
            nobody: before.nobody.clone(),
        });
        Ok(())
    }

    /// Takes a token no more, from now on.
    pub(crate) fn shut_out(&self, name: &Name) {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.known.load_full();
        let without = |tokens: &Vec<Arc<Token>>| -> Vec<Arc<Token>> {
            tokens
                .iter()
                .map(|token| {
                    if token.principal.name != name.as_str() {
                        return Arc::clone(token);
                    }
                    Arc::new(Token {
                        principal: token.principal.clone(),
                        hash: token.hash,
                        expires_at: token.expires_at,
                        revoked: true,
                        limiter: Arc::clone(&token.limiter),
                    })
                })
                .collect()
        };
        self.put(Known {
            by_start: before
                .by_start
                .iter()
                .map(|(start, tokens)| (*start, without(tokens)))
                .collect(),
            nobody: before.nobody.clone(),
        });
    }

    fn put(&self, known: Known) {
        self.known.store(Arc::new(known));
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The token in force that a request shows.
    fn shown(&self, headers: &HeaderMap) -> Option<Arc<Token>> {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let (first, second) = (given.next(), given.next());
        let text = first.filter(|_| second.is_none())?.to_str().ok()?;
        let (scheme, secret) = text.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") || secret.len() > TOKEN_BYTES {
            return None;
        }
        self.in_force(&Digest::hash_bytes(secret.trim().as_bytes()))
    }

    /// The token in force with this hash.
    fn in_force(&self, hash: &Digest) -> Option<Arc<Token>> {
        let now = Millis::now();
        let known = self.known.load();
        let tokens = known.by_start.get(&start_of(hash));
        let mut found = None;
        for token in tokens.unwrap_or(&known.nobody) {
            let in_force = !token.revoked & token.expires_at.is_none_or(|end| now < end);
            let same = token.hash.as_bytes().ct_eq(hash.as_bytes());
            if bool::from(same & Choice::from(u8::from(in_force))) {
                found = Some(Arc::clone(token));
            }
        }
        found
    }

    /// Resolves when whoever was admitted would be admitted no more: their token ends, or, without one, the first token is made.
    async fn end_of(self: Arc<Self>, token: Option<Arc<Token>>) {
        let mut changes = self.changes.subscribe();
        loop {
            let end = match &token {
                Some(token) if self.in_force(&token.hash).is_none() => return,
                Some(token) => token.expires_at,
                None if !self.known.load().by_start.is_empty() => return,
                None => None,
            };
            let expiry = async {
                match end {
                    Some(end) => {
                        let left = end.0.saturating_sub(Millis::now().0);
                        tokio::time::sleep(Duration::from_millis(left).min(LONGEST_SLEEP)).await;
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

    /// Who calls, if they may.
    fn admit(&self, request: &Request) -> Result<Admitted, Problem> {
        let matched = request.extensions().get::<MatchedPath>();
        let call = matched.map(|path| find(request.method(), path.as_str()));
        // Who may make a call without a token may hear without one, too, that its path takes no other.
        let free = match &call {
            Some(Found::Call(row)) => row.role.is_none(),
            Some(Found::OtherMethods { open, .. }) => *open,
            _ => false,
        };
        let admitted = if self.known.load().by_start.is_empty() {
            if self.exposed {
                return Err(Problem::unauthenticated());
            }
            own_machine(request.headers())?;
            Admitted::from(Principal::local_caller())
        } else if free {
            Admitted::from(Principal {
                role: Role::Reader,
                ..Principal::local_caller()
            })
        } else {
            let token = self
                .shown(request.headers())
                .ok_or_else(Problem::unauthenticated)?;
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
                principal: token.principal.clone(),
                token: Some(token),
            }
        };
        let principal = &admitted.principal;
        match call {
            // The router's own fallback says that there is nothing.
            None => Ok(admitted),
            Some(Found::Call(row)) => match row.role {
                Some(role) if !principal.can_act_as(role) => Err(Problem::forbidden(format!(
                    "{} {} needs the role {}, {} has the role {}",
                    row.method,
                    row.path,
                    role.as_str(),
                    principal.name,
                    principal.role.as_str()
                ))),
                _ => Ok(admitted),
            },
            Some(Found::OtherMethods { allow, .. }) => {
                let path = clip_for_error(request.uri().path());
                let detail = format!(
                    "{path} does not take {}; it takes {allow}",
                    request.method()
                );
                Err(Problem::other_method(detail, allow))
            }
            Some(Found::Nothing) => Err(Problem::forbidden(
                "no role may make this call: it is not in the table of calls",
            )),
        }
    }
}

/// Lets a request pass, or answers it.
pub(crate) async fn pass_gate(auth: Arc<Auth>, mut request: Request, next: Next) -> Response {
    let coded = request.headers().contains_key(header::TRANSFER_ENCODING);
    let mut response = match auth.admit(&request) {
        Ok(_) if let Some(Malformed(error)) = request.extensions_mut().remove() => {
            Problem::from(error).into_response()
        }
        Ok(Admitted { principal, token }) => {
            request.extensions_mut().insert(principal);
            let stream = request.uri().path() == STREAM;
            let response = next.run(request).await;
            // A refusal stays a document of known length.
            if stream && response.status().is_success() {
                let end = Box::pin(Arc::clone(&auth).end_of(token));
                response.map(|body| Body::from_stream(body.into_data_stream().take_until(end)))
            } else {
                response
            }
        }
        Err(problem) => problem.into_response(),
    };
    if coded {
        // With a Content-Length beside it, hyper goes by the coding and drops the length: what follows on the connection could be
        // another message to a proxy before this host than to the host. RFC 9112, section 6.1: close it.
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A page in a browser on this machine could send requests here under a name of its own (DNS rebinding): the Host header gives it away.
fn own_machine(headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("");
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|b| b.is_ascii_digit()) {
            name
        } else {
            host
        }
    });
    if matches!(name, "localhost" | "127.0.0.1" | "[::1]" | "") {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "foreign-host",
        "This API serves its own machine only",
        format!("the Host header is {:?}", clip_for_error(host)),
    )
    .at("Host", "use localhost or 127.0.0.1, or make tokens"))
}
