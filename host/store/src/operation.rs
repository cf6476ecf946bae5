//! What operators change directly. Each operation is checked and carried out by the writer and recorded in the audit log, in one
//! transaction: who, what, the resulting revision and the digest of the new value, never a value.

use serde_json::json;

use ark_model::ids::{DecisionId, Digest, Millis, Name};
use ark_model::state::{NewMemory, TruthWrite};

use super::audit::{AuditEntry, AuditKind};
use super::state::{RollbackTarget, StateWriter, WrittenRevision};
use super::tokens::{NewToken, TokenChange};
use super::writer::WriteError;
use super::{memory, settings, tokens, truth};

/// A change and who makes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// Who.
    pub by: String,
    /// What.
    pub change: OperatorChange,
}

/// A change by an operator. Where a revision is expected, another one refuses it.
#[derive(Debug, Clone, PartialEq)]
pub enum OperatorChange {
    /// Sets a key of an agent's state, or deletes it (`None`).
    State {
        /// Whose.
        agent: Name,
        /// Which.
        key: String,
        /// The new value.
        value_json: Option<String>,
        /// The revision it must be at; 0: there is none.
        expected: Option<u64>,
    },
    /// Makes an earlier revision's value hold again, as a new revision.
    Rollback {
        /// Whose.
        agent: Name,
        /// Which.
        key: String,
        /// The revision to go back to.
        target: RollbackTarget,
        /// The revision it must be at.
        expected: Option<u64>,
    },
    /// Gives an agent a memory.
    Remember {
        /// Whose.
        agent: Name,
        /// What.
        memory: NewMemory,
    },
    /// Takes a memory away.
    Forget {
        /// Whose.
        agent: Name,
        /// Which.
        id: i64,
    },
    /// Sets a setting, or deletes it (`None`).
    Config {
        /// Which.
        key: String,
        /// The new value.
        value_json: Option<String>,
        /// What it is for; `None`: as before.
        description: Option<String>,
        /// The revision it must be at; 0: there is none.
        expected: Option<u64>,
    },
    /// Writes the truth map in an agent's name.
    Truth {
        /// Whose.
        agent: Name,
        /// What.
        write: TruthWrite,
        /// The revision it must be at; 0: there is none.
        expected: Option<u64>,
    },
    /// Makes or revokes a bearer token.
    Token(TokenChange),
}

impl OperatorChange {
    const fn action_type(&self) -> &'static str {
        match self {
            Self::State {
                value_json: Some(_),
                ..
            } => "state.set",
            Self::State { .. } => "state.delete",
            Self::Rollback { .. } => "state.rollback",
            Self::Remember { .. } => "memory.add",
            Self::Forget { .. } => "memory.delete",
            Self::Config {
                value_json: Some(_),
                ..
            } => "config.set",
            Self::Config { .. } => "config.delete",
            Self::Truth { .. } => "truth.set",
            Self::Token(TokenChange::Create(_)) => "token.create",
            Self::Token(TokenChange::Revoke(_)) => "token.revoke",
        }
    }
}

/// Carries an operation out. Its number (the new revision; for a memory its id) and the audit row that tells of it.
pub(super) fn apply_operation(
    writer: &mut StateWriter<'_>,
    operation: &Operation,
    trace_id: Option<ark_model::ids::TraceId>,
) -> Result<(u64, AuditEntry), WriteError> {
    let connection = writer.connection;
    let at: Millis = writer.at;
    let digest_of = |json: &str| Some(Digest::hash_bytes(json.as_bytes()));
    let (agent, key, number, digest) = match &operation.change {
        OperatorChange::State {
            agent,
            key,
            value_json,
            expected,
        } => {
            let WrittenRevision { revision, digest } =
                writer.write_value(agent, key, value_json.as_deref(), *expected, &operation.by)?;
            (Some(agent), key.clone(), revision, digest)
        }
        OperatorChange::Rollback {
            agent,
            key,
            target,
            expected,
        } => {
            let WrittenRevision { revision, digest } =
                writer.roll_back(agent, key, *target, *expected)?;
            (Some(agent), key.clone(), revision, digest)
        }
        OperatorChange::Remember { agent, memory } => {
            let id = memory::write_memory(connection, agent, memory, at)?;
            let digest = digest_of(&memory.memory.content);
            (Some(agent), id.to_string(), id.unsigned_abs(), digest)
        }
        OperatorChange::Forget { agent, id } => {
            memory::delete_memory(connection, agent, *id)?;
            (Some(agent), id.to_string(), id.unsigned_abs(), None)
        }
        OperatorChange::Config {
            key,
            value_json,
            description,
            expected,
        } => {
            let revision = settings::write_setting(
                connection,
                &settings::NewSetting {
                    key,
                    value_json: value_json.as_deref(),
                    description: description.as_deref(),
                    updated_by: &operation.by,
                    expected: *expected,
                    at,
                },
            )?;
            let digest = value_json.as_deref().and_then(digest_of);
            (None, key.clone(), revision, digest)
        }
        OperatorChange::Truth {
            agent,
            write,
            expected,
        } => {
            let revision =
                truth::write_truth(connection, agent, write, *expected, at, writer.trace_id)?;
            let digest = digest_of(&write.truth.value_json);
            (Some(agent), write.key.clone(), revision, digest)
        }
        OperatorChange::Token(change) => {
            let number = tokens::write_token_change(connection, change, &operation.by, at)?;
            let (TokenChange::Create(NewToken { name, .. }) | TokenChange::Revoke(name)) = change;
            (None, name.to_string(), number, None)
        }
    };
    let mut body = json!({"by": operation.by, "key": key, "number": number, "digest": digest});
    if let OperatorChange::Token(TokenChange::Create(new)) = &operation.change {
        body["role"] = json!(new.role);
        body["agents"] = json!(new.agents);
        body["expires_at_ms"] = json!(new.expires_at);
    }
    let entry = AuditEntry {
        kind: AuditKind::Operator,
        id: DecisionId::fresh().to_string(),
        trace_id,
        agent: agent.cloned(),
        action_type: Some(operation.change.action_type().to_owned()),
        outcome: None,
        at,
        body: body.to_string(),
    };
    Ok((number, entry))
}
