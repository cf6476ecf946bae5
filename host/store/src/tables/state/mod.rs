//! What agents and operators keep: agents' state with its history, memories, truths and configuration values.

mod config_entries;
mod history;
mod live;
mod memories;
mod revisioned;
mod truths;

pub use config_entries::ConfigEntry;
pub(crate) use config_entries::{NewConfigEntry, write_config_entry};
pub(crate) use history::{NewRevision, UPDATE_LIVE_SECRETS, append_revision, read_state_head};
pub(crate) use live::{StateWriter, WrittenRevision};
pub use memories::{MemoryFilter, MemoryRow};
pub(crate) use memories::{delete_expired_memories, delete_memory, write_memory};
pub use truths::TruthRow;
pub(crate) use truths::{TruthOrigin, write_truth};
