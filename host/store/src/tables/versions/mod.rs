//! Versions of agents and of operator policies: their components, and which version is in use.

mod agents;
mod policies;

pub(crate) use agents::write_agent_change;
pub use agents::{
    AGENT_DELETED, AgentChange, AgentVersion, CanaryVersion, NewAgentVersion, Rollout,
};
pub use policies::{NewPolicyVersion, PolicyChange, PolicyRecord, PolicySlot, PolicyVersion};
pub(crate) use policies::{read_policy_records, write_policy_change, write_policy_record};
