//! Tokens that were revoked after a snapshot was made: its restore does not bring them back to life.
//!
//! Invariants: what the replaced database says of its tokens is on disk, in `restore.pending`, before that database is moved aside, so that a
//! restore that is repeated after an interruption uses it, too. Tokens are identified by their hash, since another database may have given
//! the same name to another token.

use std::collections::HashSet;
use std::path::Path;

use ark_model::ids::{Digest, Millis, Name};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::error::OpenError;
use crate::operator_change::TokenChange;
use crate::query::{digest_column, parse_required, select_rows, select_value};
use crate::schema::open_any_schema;
use crate::tables::audit::read_audit_head;
use crate::tables::control::write_token_change;

use super::error::MaintenanceError;

/// What a database that is replaced says of its tokens.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct EarlierTokens {
    /// The hashes of the tokens that are revoked, and of the others; `None`: there was no database, it could not be read, or it never had a token.
    tokens: Option<TokenHashes>,
    /// Whether it was the latest database of the host that ran here, so that no revocation is missing in it.
    is_latest: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct TokenHashes {
    revoked: HashSet<Digest>,
    unrevoked: HashSet<Digest>,
}

impl EarlierTokens {
    /// Reads them from a database of any schema. `attested`: how many rows of the audit log the last host attests.
    pub(super) fn read(database: &Path, attested: Option<u64>) -> Self {
        if !database.is_file() {
            return Self::default();
        }
        match read_hashes(database) {
            Ok((tokens, _)) if tokens.is_empty() => Self::default(),
            Ok((tokens, rows)) => {
                let mut hashes = TokenHashes::default();
                for (hash, is_revoked) in tokens {
                    let of_kind = if is_revoked {
                        &mut hashes.revoked
                    } else {
                        &mut hashes.unrevoked
                    };
                    of_kind.insert(hash);
                }
                Self {
                    tokens: Some(hashes),
                    is_latest: attested.is_none_or(|attested| attested <= rows),
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the tokens of the database that is replaced cannot be read");
                Self::default()
            }
        }
    }

    /// Returns the live tokens that may have been revoked in the replaced database, as far as it does not tell.
    pub(super) fn list_doubtful(
        &self,
        connection: &Connection,
        now: Millis,
    ) -> rusqlite::Result<Vec<Name>> {
        let is_known = |hash: &Digest| {
            let known = self.tokens.as_ref().filter(|_| self.is_latest);
            known.is_some_and(|known| known.unrevoked.contains(hash))
        };
        let live = list_live(connection, now)?;
        let doubtful = live.into_iter().filter(|(_, hash)| !is_known(hash));
        Ok(doubtful.map(|(name, _)| name).collect())
    }

    /// Revokes the live tokens that are revoked in the replaced database, within the caller's transaction. Returns their names.
    pub(super) fn carry_over(
        &self,
        connection: &Connection,
        by: &str,
        now: Millis,
    ) -> Result<Vec<Name>, MaintenanceError> {
        let Some(tokens) = &self.tokens else {
            return Ok(Vec::new());
        };
        let mut revoked = Vec::new();
        for (name, hash) in list_live(connection, now)? {
            if tokens.revoked.contains(&hash) {
                write_token_change(connection, &TokenChange::Revoke(name.clone()), by, now)?;
                revoked.push(name);
            }
        }
        Ok(revoked)
    }
}

/// The tokens of a database, each with whether it is revoked, and the number of rows of its audit log.
fn read_hashes(database: &Path) -> Result<(Vec<(Digest, bool)>, u64), OpenError> {
    let failed = |error| OpenError::from_sqlite(database, error);
    let connection = open_any_schema(database)?;
    let tokens = select_rows(
        &connection,
        "SELECT hash, revoked_at IS NOT NULL FROM tokens",
        [],
        |row| Ok((digest_column(row, 0)?, row.get(1)?)),
    )
    .map_err(failed)?;
    let head = read_audit_head(&connection).map_err(failed)?;
    Ok((tokens, head.seq))
}

/// The tokens that are neither revoked nor expired, by name.
fn list_live(connection: &Connection, now: Millis) -> rusqlite::Result<Vec<(Name, Digest)>> {
    select_rows(
        connection,
        "SELECT name, hash FROM tokens
         WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?1) ORDER BY name",
        [now.0],
        |row| Ok((parse_required(row, 0)?, digest_column(row, 1)?)),
    )
}

/// Whether an administrator's token is live.
pub(super) fn has_live_admin(connection: &Connection, now: Millis) -> rusqlite::Result<bool> {
    select_value(
        connection,
        "SELECT EXISTS (SELECT 1 FROM tokens
         WHERE role = 'admin' AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?1))",
        [now.0],
    )
}
