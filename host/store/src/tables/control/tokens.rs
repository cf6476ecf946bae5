//! Bearer tokens: who may call the API.
//!
//! Invariants: only the SHA-256 of a secret is stored; a name is given once and never again, so that a name in the audit log always means the same
//! token; the first token is an administrator's; creation and revocation are audit rows of the same transaction.

use std::fmt;

use ark_model::ids::{Digest, Millis, Name};
use ark_model::principal::{ActionGrant, Role};
use rusqlite::{Connection, Row, params};

use crate::error::{MissingItem, ReadError, TokenRefusal, WriteError};
use crate::operator_change::{NewToken, TokenChange};
use crate::query::{
    digest_column, execute_cached, malformed_column, millis_column, optional_millis,
    parse_required, select_row, select_value,
};
use crate::reader::Reader;

/// The beginning of every token, so that a token is recognised wherever it turns up.
pub const TOKEN_PREFIX: &str = "ark_";
/// How many tokens are kept, revoked ones included: all of them are held in memory.
const MAX_TOKENS: u64 = 10_000;

/// The secret of a token: the prefix and 256 random bits as 64 hexadecimal digits. It is shown once, when the token is created.
pub struct TokenSecret(String);

impl TokenSecret {
    /// Generates a secret with the system's generator.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(format!("{TOKEN_PREFIX}{}", Digest::from_bytes(bytes))))
    }

    /// The SHA-256 of the secret, which is stored.
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

/// A token as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// The name.
    pub name: Name,
    /// The SHA-256 of the secret.
    pub hash: Digest,
    /// What its holder may do.
    pub role: Role,
    /// The agents in whose names a submitter may propose.
    pub agents: Vec<Name>,
    /// The actions that a submitter may propose.
    pub actions: Vec<ActionGrant>,
    /// Who created it.
    pub created_by: String,
    /// When it was created.
    pub created_at: Millis,
    /// When it expires; `None`: never.
    pub expires_at: Option<Millis>,
    /// Who revoked it.
    pub revoked_by: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<Millis>,
}

impl TokenRow {
    /// The status at a moment: `live`, `expired` or `revoked`.
    #[must_use]
    pub fn status(&self, now: Millis) -> &'static str {
        match (self.revoked_at, self.expires_at) {
            (Some(_), _) => "revoked",
            (None, Some(end)) if end <= now => "expired",
            (None, _) => "live",
        }
    }
}

/// Creates or revokes a token. Returns the number of the operation: 1 for a creation, 2 for a revocation.
pub(crate) fn write_token_change(
    connection: &Connection,
    change: &TokenChange,
    by: &str,
    at: Millis,
) -> Result<u64, WriteError> {
    match change {
        TokenChange::Create(new) => create_token(connection, new, by, at).map(|()| 1),
        TokenChange::Revoke(name) => revoke_token(connection, name, by, at).map(|()| 2),
    }
}

fn create_token(
    connection: &Connection,
    new: &NewToken,
    by: &str,
    at: Millis,
) -> Result<(), WriteError> {
    let count: u64 = select_value(connection, "SELECT count(*) FROM tokens", [])?;
    if new.unproved && count > 0 {
        return Err(WriteError::refuse(TokenRefusal::NotFirst));
    }
    if count == 0 && new.role != Role::Admin {
        return Err(WriteError::refuse(TokenRefusal::FirstMustBeAdmin));
    }
    if count >= MAX_TOKENS {
        return Err(WriteError::refuse(TokenRefusal::TooMany {
            limit: MAX_TOKENS,
        }));
    }
    let agents: Vec<&str> = new.agents.iter().map(Name::as_str).collect();
    let actions: Vec<String> = new.actions.iter().map(ToString::to_string).collect();
    let created = execute_cached(
        connection,
        "INSERT INTO tokens (name, hash, role, agents, actions, created_by, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        params![
            new.name.as_str(),
            new.hash.as_bytes(),
            new.role.as_str(),
            agents.join(" "),
            actions.join(" "),
            by,
            at.0,
            new.expires_at.map(|end| end.0),
        ],
    )?;
    if created == 0 {
        return Err(WriteError::refuse(TokenRefusal::NameTaken(
            new.name.clone(),
        )));
    }
    Ok(())
}

/// Revokes a token. The first revocation counts; another one changes nothing.
fn revoke_token(
    connection: &Connection,
    name: &Name,
    by: &str,
    at: Millis,
) -> Result<(), WriteError> {
    let known = select_row(
        connection,
        "SELECT 1 FROM tokens WHERE name = ?1",
        [name.as_str()],
        |_| Ok(()),
    )?;
    if known.is_none() {
        return Err(WriteError::refuse(MissingItem::Token {
            name: name.clone(),
        }));
    }
    execute_cached(
        connection,
        "UPDATE tokens SET revoked_by = ?2, revoked_at = ?3 WHERE name = ?1 AND revoked_at IS NULL",
        params![name.as_str(), by, at.0],
    )?;
    Ok(())
}

fn read_token_row(row: &Row<'_>) -> rusqlite::Result<TokenRow> {
    let role: String = row.get(2)?;
    let agents: String = row.get(3)?;
    let actions: String = row.get(9)?;
    Ok(TokenRow {
        name: parse_required(row, 0)?,
        hash: digest_column(row, 1)?,
        role: Role::parse(&role).ok_or_else(|| malformed_column(2, &role))?,
        agents: agents
            .split_whitespace()
            .map(|name| name.parse().map_err(|_| malformed_column(3, name)))
            .collect::<rusqlite::Result<_>>()?,
        actions: actions
            .split_whitespace()
            .map(|grant| grant.parse().map_err(|_| malformed_column(9, grant)))
            .collect::<rusqlite::Result<_>>()?,
        created_by: row.get(4)?,
        created_at: millis_column(row, 5)?,
        expires_at: optional_millis(row, 6)?,
        revoked_by: row.get(7)?,
        revoked_at: optional_millis(row, 8)?,
    })
}

impl Reader {
    /// Every token, expired and revoked ones included, oldest first.
    ///
    /// # Errors
    /// The database cannot be read, or has an earlier schema.
    pub fn all_tokens(&self) -> Result<Vec<TokenRow>, ReadError> {
        self.require_current_schema()?;
        self.select_rows(
            "SELECT name, hash, role, agents, created_by, created_at, expires_at, revoked_by, revoked_at, actions
             FROM tokens ORDER BY created_at, name",
            [],
            read_token_row,
        )
    }
}
