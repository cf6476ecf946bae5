//! Bearer tokens: making them, and telling whom one stands for.
//!
//! A token is `ark_ID_SECRET`: 16 hexadecimal digits by which it is found, and 48 (192 bits of the system's randomness) that prove it. Only the
//! secret's SHA-256 is kept; nothing slower is needed for a secret that cannot be guessed.
//!
//! Invariants: wrong, expired, revoked and unknown tokens are refused alike, after the same work; once there was a token, nobody is let in
//! without one.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::json;
use subtle::ConstantTimeEq;

use crate::model::ids::{DecisionId, Digest, Millis, Name};
use crate::model::principal::{Principal, Role};
use crate::store::{
    AuditEntry, AuditKind, CommitError, ReadError, Store, Token, TokenChange, Unit,
};

/// The most bytes of a token's name.
const NAME_BYTES: usize = 64;

/// Why a token cannot be made or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A field is at fault.
    #[error("{field} {problem}; {remedy}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
        /// What would be right.
        remedy: &'static str,
    },
    /// It cannot be recorded.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The database cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// A token to be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// The name that is recorded with what its bearer does.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// In whose names a submitter may propose.
    pub agents: Vec<Name>,
    /// Until when it is good.
    pub expires_at: Option<Millis>,
}

/// The tokens of a running host. Cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    store: Store,
    known: Arc<ArcSwap<HashMap<String, Token>>>,
}

impl Tokens {
    /// Reads them.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn load(store: Store) -> Result<Self, ReadError> {
        let known = by_id(store.tokens()?);
        Ok(Self {
            store,
            known: Arc::new(ArcSwap::from_pointee(known)),
        })
    }

    /// Whether a token is asked for: there is or was one.
    #[must_use]
    pub fn required(&self) -> bool {
        !self.known.load().is_empty()
    }

    /// Every token there is or was, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Token> {
        let mut tokens: Vec<Token> = self.known.load().values().cloned().collect();
        tokens.sort_by(|a, b| a.name.cmp(&b.name));
        tokens
    }

    /// Whom a token stands for, with its id; `None`: for nobody.
    #[must_use]
    pub fn bearer(&self, text: &str) -> Option<(Principal, String)> {
        let (id, secret) = text
            .strip_prefix("ark_")
            .and_then(|rest| rest.split_once('_'))
            .unwrap_or(("", ""));
        let given = Digest::of(secret.as_bytes());
        let known = self.known.load();
        let token = known.get(id);
        // Compared in any case, so that an id that is known takes no longer than one that is not.
        let nobody = Digest::of(b"");
        let kept = token.map_or(nobody, |token| token.digest);
        let same = bool::from(given.as_bytes().ct_eq(kept.as_bytes()));
        let good = token.is_some_and(|token| token.good(Millis::now()));
        if !(same && good) || secret.is_empty() {
            return None;
        }
        let token = token?;
        let principal = Principal {
            name: token.name.clone(),
            role: token.role,
            agents: token.agents.clone(),
            proved: true,
        };
        Some((principal, token.id.clone()))
    }

    /// Makes a token: its text, which is shown this once, and what is kept of it. Blocks until it is on disk.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn create(&self, new: NewToken, by: &str) -> Result<(String, Token), TokenError> {
        let now = Millis::now();
        self.check(&new, now)?;
        let (text, id, digest) = fresh()?;
        let token = Token {
            name: new.name,
            id,
            digest,
            role: new.role,
            agents: new.agents,
            created_at_ms: now,
            created_by: by.to_owned(),
            expires_at_ms: new.expires_at,
            revoked_at_ms: None,
            revoked_by: None,
        };
        let body = json!({
            "by": by,
            "token": token.name,
            "id": token.id,
            "role": token.role,
            "agents": token.agents,
            "expires_at_ms": token.expires_at_ms,
        });
        let change = TokenChange::Create(Box::new(token.clone()));
        self.change(change, "token.create", &body, now)?;
        Ok((text, token))
    }

    /// Revokes a token. Blocks until that is on disk; from then on nobody is let in with it.
    ///
    /// # Errors
    /// There is none of that name; or it cannot be recorded.
    pub fn revoke(&self, name: &str, by: &str) -> Result<(), TokenError> {
        let now = Millis::now();
        let change = TokenChange::Revoke {
            name: name.to_owned(),
            by: by.to_owned(),
            at: now,
        };
        let body = json!({"by": by, "token": name});
        self.change(change, "token.revoke", &body, now)
    }

    fn change(
        &self,
        change: TokenChange,
        what: &str,
        body: &serde_json::Value,
        now: Millis,
    ) -> Result<(), TokenError> {
        let unit = Unit {
            tokens: vec![change],
            audit: vec![AuditEntry {
                kind: AuditKind::Operator,
                id: DecisionId::fresh().to_string(),
                trace_id: None,
                agent: None,
                action_type: Some(what.to_owned()),
                outcome: None,
                at: now,
                body: body.to_string(),
            }],
            ..Unit::default()
        };
        self.store.commit(unit)?;
        self.known.store(Arc::new(by_id(self.store.tokens()?)));
        Ok(())
    }

    fn check(&self, new: &NewToken, now: Millis) -> Result<(), TokenError> {
        let at = |field, problem: String, remedy| TokenError::Field {
            field,
            problem,
            remedy,
        };
        let plain = |text: &str| {
            let mut bytes = text.bytes();
            (1..=NAME_BYTES).contains(&text.len())
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte))
        };
        if !plain(&new.name) || matches!(new.name.as_str(), "watchdog" | "ark" | "operator") {
            let remedy =
                "give 1 to 64 letters, digits and -_.@; watchdog, ark and operator are taken";
            return Err(at("name", format!("is {:?}", new.name), remedy));
        }
        match (new.role, new.agents.is_empty()) {
            (Role::Submitter, true) => {
                let remedy = "name those in whose names it may propose";
                return Err(at("agents", "is empty".to_owned(), remedy));
            }
            (Role::Submitter, false) | (_, true) => {}
            (_, false) => {
                let remedy = "only a submitter is bound to agents";
                return Err(at("agents", "is given".to_owned(), remedy));
            }
        }
        if new.expires_at.is_some_and(|until| until <= now) {
            let remedy = "give a moment that is still to come";
            return Err(at("expires", "is over".to_owned(), remedy));
        }
        if !self.required() && new.role != Role::Admin {
            let remedy = "make an admin's first: with the first token everybody else is shut out";
            return Err(at("role", format!("is {}", new.role.as_str()), remedy));
        }
        Ok(())
    }
}

fn by_id(tokens: Vec<Token>) -> HashMap<String, Token> {
    tokens
        .into_iter()
        .map(|token| (token.id.clone(), token))
        .collect()
}

/// The text of a new token, its id, and its secret's digest.
fn fresh() -> Result<(String, String, Digest), TokenError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| TokenError::Random)?;
    let hex = Digest::from_bytes(bytes).to_string();
    let (id, secret) = hex.split_at(16);
    let digest = Digest::of(secret.as_bytes());
    Ok((format!("ark_{id}_{secret}"), id.to_owned(), digest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreConfig;

    fn admin(name: &str) -> NewToken {
        NewToken {
            name: name.to_owned(),
            role: Role::Admin,
            agents: Vec::new(),
            expires_at: None,
        }
    }

    #[test]
    fn only_the_text_itself_is_a_bearer_and_only_as_long_as_it_is_good() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreConfig::in_dir(dir.path())).unwrap();
        let tokens = Tokens::load(store.clone()).unwrap();
        assert!(!tokens.required());
        let (text, token) = tokens.create(admin("ada"), "operator").unwrap();
        assert!(tokens.required());
        let (bearer, _) = tokens.bearer(&text).unwrap();
        assert_eq!((bearer.name.as_str(), bearer.role), ("ada", Role::Admin));
        let id = &token.id;
        for wrong in [
            String::new(),
            "ark_".to_owned(),
            format!("ark_{id}"),
            format!("ark_{id}_"),
            format!("ark_{id}_{}", "0".repeat(48)),
            text.to_uppercase(),
            text.replace("ark_", ""),
            format!("{text}0"),
            text[..text.len() - 1].to_owned(),
        ] {
            assert!(tokens.bearer(&wrong).is_none(), "{wrong}");
        }
        assert!(tokens.create(admin("ada"), "ada").is_err());
        let soon = NewToken {
            expires_at: Some(Millis(Millis::now().0 + 30)),
            ..admin("soon")
        };
        let (soon, _) = tokens.create(soon, "ada").unwrap();
        assert!(tokens.bearer(&soon).is_some());
        std::thread::sleep(std::time::Duration::from_millis(40));
        assert!(tokens.bearer(&soon).is_none());
        tokens.revoke("ada", "ada").unwrap();
        assert!(tokens.bearer(&text).is_none());
        assert!(tokens.revoke("ada", "ada").is_err());
        // No token is good any more, and still nobody is let in without one.
        assert!(tokens.required());
        store.close();
        let files = std::fs::read(dir.path().join("ark.db")).unwrap();
        let secret = text.rsplit('_').next().unwrap();
        assert!(
            !files
                .windows(secret.len())
                .any(|part| part == secret.as_bytes())
        );
    }

    #[test]
    fn a_token_that_makes_no_sense_is_refused_by_its_field() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::load(Store::open(&StoreConfig::in_dir(dir.path())).unwrap()).unwrap();
        let reader = NewToken {
            role: Role::Reader,
            ..admin("first")
        };
        let field = |new: NewToken| match tokens.create(new, "x") {
            Err(TokenError::Field { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(field(reader), "role");
        tokens.create(admin("root"), "x").unwrap();
        let kyle: Name = "kyle".parse().unwrap();
        for (new, at) in [
            (admin(""), "name"),
            (admin("a b"), "name"),
            (admin("watchdog"), "name"),
            (admin(&"x".repeat(65)), "name"),
            (
                NewToken {
                    role: Role::Submitter,
                    ..admin("s")
                },
                "agents",
            ),
            (
                NewToken {
                    agents: vec![kyle],
                    ..admin("s")
                },
                "agents",
            ),
            (
                NewToken {
                    expires_at: Some(Millis(1)),
                    ..admin("s")
                },
                "expires",
            ),
        ] {
            assert_eq!(field(new), at);
        }
    }
}
