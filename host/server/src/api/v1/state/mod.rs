//! What agents and operators keep: state, memories, settings and truths.

pub(crate) mod agent_state;
pub(crate) mod key_changes;
pub(crate) mod memories;
pub(crate) mod settings;
pub(crate) mod truths;
