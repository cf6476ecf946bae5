//! Who calls: the name and the role that a bearer token stands for.

use serde::{Deserialize, Serialize};

use super::ids::Name;

/// What a caller may do. Each role may do what is said of it and read; only `admin` may do everything.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Reader,
    /// Sends signals, actions and execution reports in the name of the agents it is bound to.
    Submitter,
    /// Approves and rejects what is held.
    Approver,
    /// Runs the host: halts, quarantines, state, lists, agents, policies.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// Every role, the weakest first.
    pub const ALL: [Self; 5] = [
        Self::Reader,
        Self::Submitter,
        Self::Approver,
        Self::Operator,
        Self::Admin,
    ];

    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Submitter => "submitter",
            Self::Approver => "approver",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// From its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The name that is recorded with what the caller does.
    pub name: String,
    /// What the caller may do.
    pub role: Role,
    /// In whose names a submitter may propose; empty: in none.
    pub agents: Vec<Name>,
    /// Whether a token proved it. Without one the caller is whoever reaches the loopback address, and may give a name.
    pub authenticated: bool,
}

impl Principal {
    /// Whoever reaches a host without tokens.
    #[must_use]
    pub fn local_caller() -> Self {
        Self {
            name: "operator".to_owned(),
            role: Role::Admin,
            agents: Vec::new(),
            authenticated: false,
        }
    }

    /// Whether it may do what this role may: its own, reading, and everything for an administrator.
    #[must_use]
    pub fn can_act_as(&self, needed: Role) -> bool {
        self.role == Role::Admin || self.role == needed || needed == Role::Reader
    }

    /// Whether it may propose and report in an agent's name.
    #[must_use]
    pub fn can_propose_for(&self, agent: &Name) -> bool {
        self.role == Role::Admin || self.agents.contains(agent)
    }
}
