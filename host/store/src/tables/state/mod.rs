//! What agents and operators keep: agents' state with its history, memories, truths and settings.

mod history;
mod live;
mod memories;
mod revisioned;
mod settings;
mod truths;

pub(crate) use history::{NewRevision, UPDATE_LIVE_SECRETS, append_revision, read_state_head};
pub(crate) use live::{StateWriter, WrittenRevision};
pub use memories::{MemoryFilter, MemoryRow};
pub(crate) use memories::{delete_expired_memories, delete_memory, write_memory};
pub use settings::Setting;
pub(crate) use settings::{NewSetting, write_setting};
pub use truths::TruthRow;
pub(crate) use truths::{TruthOrigin, write_truth};
