//! The operator's configuration, read and checked once, at the edge.
//!
//! Precedence: command-line flag, then environment variable (`ARK_CAPACITY_WORKERS` for `capacity.workers`), then `ark.toml`, then the
//! default. Unknown keys and unknown `ARK_…` variables are refused.
//!
//! Reading order: [`file`] (every key, with its documentation, type, default and allowed values), [`layers`] (how the sources are merged;
//! [`overrides`] are those of the flags, [`describe`] says what is wrong with one),
//! [`resolve`], [`redis`] and [`webhooks`] (from the merged sources to each part's own configuration), [`show`], [`document`]; [`quantities`] (values
//! with a unit). [`keys`] is the form in which a key is
//! stated.

mod describe;
mod document;
mod error;
mod file;
mod keys;
mod layers;
mod overrides;
mod quantities;
mod redis;
mod resolve;
mod show;
#[cfg(test)]
mod tests;
mod webhooks;

pub use document::{render_documentation, render_env_file};
pub use error::{ConfigError, ValueSource};
pub use file::{
    CapacityFile, ConfigFile, ListsFile, PolicyFile, RedisFile, RedisSignalsFile, TelemetryFile,
    TlsFile, VetoFile, WatchdogFile, WebhookFile, is_reloaded, list_sections,
};
pub use keys::{Key, Section};
pub use layers::{DEFAULT_FILE, Layers};
pub use overrides::{FrontOverrides, Overrides};
pub use resolve::Config;
pub use show::ConfigLine;
