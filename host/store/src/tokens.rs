//! Bearer tokens: who may call the API.
//!
//! Invariants: a secret is never stored, only its SHA-256; a name is given once, for good, so that the audit log's names stay
//! unambiguous; the first token is an administrator's; creation and revocation are audit rows of the same transaction.

use std::fmt;

use rusqlite::{Connection, OptionalExtension, Row, params};

use ark_model::ids::{Digest, Millis, Name};
use ark_model::principal::Role;

use super::audit::{digest_column, parse_required};
use super::error::ReadError;
use super::writer::WriteError;
use super::{CommitError, ReadOnlyStore, Store};

/// What every token begins with, so that one is recognised wherever it turns up.
pub const TOKEN_PREFIX: &str = "ark_";
/// How many tokens there may be, revoked ones included: all of them are kept in memory.
const MAX_TOKENS: u64 = 10_000;

/// A token's secret: the prefix and 256 random bits as 64 hexadecimal digits. Shown once, when it is made.
pub struct TokenSecret(String);

impl TokenSecret {
    /// A fresh one, from the system's generator.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(format!("{TOKEN_PREFIX}{}", Digest::from_bytes(bytes))))
    }

    /// What is stored of it.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest::hash_bytes(self.0.as_bytes())
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(…)")
    }
}

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Its name: what is recorded with everything done with it.
    pub name: Name,
    /// SHA-256 of its secret.
    pub hash: Digest,
    /// What it may do.
    pub role: Role,
    /// In whose names a submitter may propose.
    pub agents: Vec<Name>,
    /// From when on it is no longer taken.
    pub expires_at: Option<Millis>,
    /// Whoever makes it showed no token: refused unless it is the first.
    pub unproved: bool,
}

/// A change of the tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenChange {
    /// Makes one.
    Create(NewToken),
    /// Takes one out of force for good.
    Revoke(Name),
}

/// A token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Its name.
    pub name: Name,
    /// SHA-256 of its secret.
    pub hash: Digest,
    /// What it may do.
    pub role: Role,
    /// In whose names a submitter may propose.
    pub agents: Vec<Name>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Millis,
    /// From when on it is no longer taken.
    pub expires_at: Option<Millis>,
    /// Who revoked it.
    pub revoked_by: Option<String>,
    /// When.
    pub revoked_at: Option<Millis>,
}

impl TokenRow {
    /// `live`, `expired` or `revoked`.
    #[must_use]
    pub fn status(&self, now: Millis) -> &'static str {
        match (self.revoked_at, self.expires_at) {
            (Some(_), _) => "revoked",
            (None, Some(end)) if end <= now => "expired",
            (None, _) => "live",
        }
    }
}

/// Why a token cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// The name was given before.
    #[error(
        "there is or was a token {0}; names are not given twice, since the audit log knows tokens by them"
    )]
    NameTaken(Name),
    /// There is a token: others are made with an administrator's.
    #[error("this host has tokens already; make others with an administrator's")]
    NotFirst,
    /// The first one must be able to make the others.
    #[error("the first token must have the role admin: the others are made with it")]
    FirstMustBeAdmin,
    /// There are too many.
    #[error("there are {MAX_TOKENS} tokens, revoked ones included, and no more are kept")]
    TooMany,
}

/// Carries a change out; the number it is recorded with: 1 for a creation, 2 for a revocation.
pub(super) fn write_token_change(
    connection: &Connection,
    change: &TokenChange,
    by: &str,
    at: Millis,
) -> Result<u64, WriteError> {
    let refused = |refusal| WriteError::Refused(CommitError::Token(refusal));
    match change {
        TokenChange::Create(new) => {
            let count: u64 = connection
                .prepare_cached("SELECT count(*) FROM tokens")?
                .query_row([], |row| row.get(0))?;
            if new.unproved && count > 0 {
                return Err(refused(TokenRefusal::NotFirst));
            }
            if count == 0 && new.role != Role::Admin {
                return Err(refused(TokenRefusal::FirstMustBeAdmin));
            }
            if count >= MAX_TOKENS {
                return Err(refused(TokenRefusal::TooMany));
            }
            let agents: Vec<&str> = new.agents.iter().map(Name::as_str).collect();
            let made = connection
                .prepare_cached(
                    "INSERT INTO tokens (name, hash, role, agents, created_by, created_at, expires_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
                )?
                .execute(params![
                    new.name.as_str(),
                    new.hash.as_bytes(),
                    new.role.as_str(),
                    agents.join(" "),
                    by,
                    at.0,
                    new.expires_at.map(|end| end.0),
                ])?;
            if made == 0 {
                return Err(refused(TokenRefusal::NameTaken(new.name.clone())));
            }
            Ok(1)
        }
        TokenChange::Revoke(name) => {
            let known = connection
                .prepare_cached("SELECT 1 FROM tokens WHERE name = ?1")?
                .query_row([name.as_str()], |_| Ok(()))
                .optional()?;
            if known.is_none() {
                let missing = format!("there is no token {name}; `ark token list` shows them");
                return Err(WriteError::Refused(CommitError::NotFound(missing)));
            }
            connection
                .prepare_cached(
                    "UPDATE tokens SET revoked_by = ?2, revoked_at = ?3 WHERE name = ?1 AND revoked_at IS NULL",
                )?
                .execute(params![name.as_str(), by, at.0])?;
            Ok(2)
        }
    }
}

fn read_tokens(connection: &Connection) -> rusqlite::Result<Vec<TokenRow>> {
    connection
        .prepare_cached(
            "SELECT name, hash, role, agents, created_by, created_at, expires_at, revoked_by, revoked_at
             FROM tokens ORDER BY created_at, name",
        )?
        .query_map([], read_token_row)?
        .collect()
}

fn read_token_row(row: &Row<'_>) -> rusqlite::Result<TokenRow> {
    let malformed = |column: usize, what: String| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, what.into())
    };
    let role: String = row.get(2)?;
    let agents: String = row.get(3)?;
    let agents = agents
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<Vec<Name>, _>>()
        .map_err(|error| malformed(3, error.to_string()))?;
    Ok(TokenRow {
        name: parse_required(row, 0)?,
        hash: digest_column(row, 1)?,
        role: Role::parse(&role).ok_or_else(|| malformed(2, format!("no role {role:?}")))?,
        agents,
        created_by: row.get(4)?,
        created_at: Millis(row.get(5)?),
        expires_at: row.get::<_, Option<u64>>(6)?.map(Millis),
        revoked_by: row.get(7)?,
        revoked_at: row.get::<_, Option<u64>>(8)?.map(Millis),
    })
}

impl Store {
    /// Every token there is or was, the oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn all_tokens(&self) -> Result<Vec<TokenRow>, ReadError> {
        self.inner.readers.with_connection(read_tokens)
    }
}

impl ReadOnlyStore {
    /// Every token there is or was, the oldest first.
    ///
    /// # Errors
    /// The database cannot be read, or is of an earlier schema.
    pub fn all_tokens(&self) -> Result<Vec<TokenRow>, ReadError> {
        self.require_current_schema()?;
        self.readers().with_connection(read_tokens)
    }
}
