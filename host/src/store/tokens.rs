//! Bearer tokens as they are kept: who they stand for, and the digest of their secret.

use rusqlite::{Connection, Row, params};
use serde::Serialize;

use crate::model::ids::{Digest, Millis, Name};
use crate::model::principal::Role;

use super::Store;
use super::audit::{hash_at, malformed};
use super::error::{CommitError, ReadError};
use super::readers::Readers;
use super::writer::Failure;

/// A token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Token {
    /// The name that is recorded with what its bearer does; unique for good.
    pub name: String,
    /// Its public part, by which it is found.
    pub id: String,
    /// SHA-256 of its secret part.
    #[serde(skip)]
    pub digest: Digest,
    /// What it allows.
    pub role: Role,
    /// In whose names a submitter may propose.
    pub agents: Vec<Name>,
    /// When it was made.
    pub created_at_ms: Millis,
    /// By whom.
    pub created_by: String,
    /// Until when it is good; `None`: until it is revoked.
    pub expires_at_ms: Option<Millis>,
    /// When it was revoked.
    pub revoked_at_ms: Option<Millis>,
    /// By whom.
    pub revoked_by: Option<String>,
}

impl Token {
    /// Whether it is good now.
    #[must_use]
    pub fn good(&self, now: Millis) -> bool {
        self.revoked_at_ms.is_none() && self.expires_at_ms.is_none_or(|until| now < until)
    }
}

/// A change of the tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenChange {
    /// A new one.
    Create(Box<Token>),
    /// One is no longer good.
    Revoke {
        /// Which.
        name: String,
        /// By whom.
        by: String,
        /// When.
        at: Millis,
    },
}

pub(super) fn write(connection: &Connection, change: &TokenChange) -> Result<(), Failure> {
    let refused = |problem: String| Err(Failure::Refused(CommitError::NotPossible(problem)));
    match change {
        TokenChange::Create(token) => {
            let agents = serde_json::to_string(&token.agents)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            let made = connection
                .prepare_cached(
                    "INSERT INTO tokens (name, id, digest, role, agents, created_at, created_by, expires_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (name) DO NOTHING",
                )?
                .execute(params![
                    token.name,
                    token.id,
                    token.digest.as_bytes(),
                    token.role.as_str(),
                    agents,
                    token.created_at_ms.0,
                    token.created_by,
                    token.expires_at_ms.map(|at| at.0),
                ])?;
            if made == 0 {
                return refused(format!(
                    "there is or was a token named {:?}; names are not given twice",
                    token.name
                ));
            }
            Ok(())
        }
        TokenChange::Revoke { name, by, at } => {
            let revoked = connection
                .prepare_cached(
                    "UPDATE tokens SET revoked_at = ?2, revoked_by = ?3 WHERE name = ?1 AND revoked_at IS NULL",
                )?
                .execute(params![name, at.0, by])?;
            if revoked == 0 {
                return Err(Failure::Refused(CommitError::NotThere(format!(
                    "there is no token {name:?} that could be revoked"
                ))));
            }
            Ok(())
        }
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Token> {
    let role: String = row.get(3)?;
    let agents: String = row.get(4)?;
    Ok(Token {
        name: row.get(0)?,
        id: row.get(1)?,
        digest: hash_at(row, 2)?,
        role: Role::parse(&role).ok_or_else(|| malformed(3, &role))?,
        agents: serde_json::from_str(&agents).map_err(|_| malformed(4, &agents))?,
        created_at_ms: Millis(row.get(5)?),
        created_by: row.get(6)?,
        expires_at_ms: row.get::<_, Option<u64>>(7)?.map(Millis),
        revoked_at_ms: row.get::<_, Option<u64>>(8)?.map(Millis),
        revoked_by: row.get(9)?,
    })
}

fn all(readers: &Readers) -> Result<Vec<Token>, ReadError> {
    readers.with(|connection| {
        connection
            .prepare_cached(
                "SELECT name, id, digest, role, agents, created_at, created_by, expires_at, revoked_at, revoked_by
                 FROM tokens ORDER BY name",
            )?
            .query_map([], read)?
            .collect()
    })
}

impl Store {
    /// Every token there is or was.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn tokens(&self) -> Result<Vec<Token>, ReadError> {
        all(&self.inner.readers)
    }
}
