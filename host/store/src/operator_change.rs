//! Changes that operators make directly.

use ark_model::ids::{Digest, Millis, Name};
use ark_model::principal::{ActionGrant, Role};
use ark_model::state::{NewMemory, TruthWrite};

use crate::revision::RollbackTarget;

/// A change and who makes it.
#[derive(Debug, Clone, PartialEq)]
pub struct AttributedChange {
    /// The name of the operator.
    pub by: String,
    /// The change.
    pub change: OperatorChange,
}

/// A change by an operator. A change that expects a revision is refused when the key is at another one.
#[derive(Debug, Clone, PartialEq)]
pub enum OperatorChange {
    /// Sets or deletes a key of an agent's state.
    State {
        /// The agent.
        agent: Name,
        /// The key.
        key: String,
        /// The new value, as JSON text; `None` deletes the key.
        value_json: Option<String>,
        /// The revision the key must be at; 0: the key must not exist.
        expected: Option<u64>,
    },
    /// Writes the value of an earlier revision again, as a new revision.
    Rollback {
        /// The agent.
        agent: Name,
        /// The key.
        key: String,
        /// The revision to go back to.
        target: RollbackTarget,
        /// The revision the key must be at.
        expected: Option<u64>,
    },
    /// Adds a memory to an agent.
    Remember {
        /// The agent.
        agent: Name,
        /// The memory.
        memory: NewMemory,
    },
    /// Deletes a memory of an agent.
    Forget {
        /// The agent.
        agent: Name,
        /// The memory's id.
        id: i64,
    },
    /// Sets or deletes a setting.
    Config {
        /// The key.
        key: String,
        /// The new value, as JSON text; `None` deletes the setting.
        value_json: Option<String>,
        /// What the setting is for; `None` keeps the description.
        description: Option<String>,
        /// The revision the setting must be at; 0: it must not exist.
        expected: Option<u64>,
    },
    /// Writes the truth map in an agent's name.
    Truth {
        /// The agent.
        agent: Name,
        /// The truth and its key.
        write: TruthWrite,
        /// The revision the truth must be at; 0: it must not exist.
        expected: Option<u64>,
    },
    /// Creates or revokes a bearer token.
    Token(TokenChange),
}

impl OperatorChange {
    /// The action type of the change's row in the audit log.
    pub(crate) const fn action_type(&self) -> &'static str {
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

/// A change of the tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenChange {
    /// Creates a token.
    Create(NewToken),
    /// Revokes a token permanently.
    Revoke(Name),
}

/// A token to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// The name, which is recorded with everything done with the token.
    pub name: Name,
    /// The SHA-256 of its secret.
    pub hash: Digest,
    /// What its holder may do.
    pub role: Role,
    /// The agents in whose names a submitter may propose.
    pub agents: Vec<Name>,
    /// The actions that a submitter may propose.
    pub actions: Vec<ActionGrant>,
    /// When the token expires; `None`: never.
    pub expires_at: Option<Millis>,
    /// Whether the caller showed no token. Then the change is refused unless the token is the first.
    pub unproved: bool,
}
