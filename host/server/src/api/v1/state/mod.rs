//! What agents and operators keep: state, memories, configuration values and truths.

pub(crate) mod agent_state;
pub(crate) mod config_entries;
pub(crate) mod key_changes;
pub(crate) mod memories;
pub(crate) mod truths;
