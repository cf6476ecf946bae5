//! Who is behind a request: the name and the role of a bearer token.

use serde::{Deserialize, Serialize};
use strum::VariantArray;

use super::ids::Name;

/// What a token may do. Every role may read. Beyond that a role may do only what is said of it, except that `admin` may do everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// Reads.
    Reader,
    /// Sends signals, and actions in the name of the agents that its token lists.
    Submitter,
    /// Reports what became of approved actions. It proposes none, so that no proposer is its own witness.
    Executor,
    /// Approves and rejects held actions.
    Approver,
    /// Operates the host: halts, quarantines, state, lists, agents, policies.
    Operator,
    /// Does everything.
    Admin,
}

impl Role {
    /// Every role, in the order of declaration.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Returns the name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the role with this name in JSON.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// The name and role behind a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The name that is recorded with what the caller does.
    pub name: String,
    /// What the caller may do.
    pub role: Role,
    /// The agents in whose names a submitter may propose; empty: none.
    pub agents: Vec<Name>,
    /// Whether a token proved the name. On a host without tokens everybody who reaches the loopback address is an unproved administrator, and
    /// may state a name.
    pub authenticated: bool,
}

impl Principal {
    /// Returns the principal of every caller of a host without tokens.
    #[must_use]
    pub fn local_caller() -> Self {
        Self {
            name: "operator".to_owned(),
            role: Role::Admin,
            agents: Vec::new(),
            authenticated: false,
        }
    }

    /// Returns whether the caller may do what needs this role.
    #[must_use]
    pub fn can_act_as(&self, needed: Role) -> bool {
        self.role == Role::Admin || self.role == needed || needed == Role::Reader
    }

    /// Returns whether the caller may propose in an agent's name.
    #[must_use]
    pub fn can_propose_for(&self, agent: &Name) -> bool {
        self.role == Role::Admin || self.agents.contains(agent)
    }
}
