//! Configuration of a webhook.

use std::path::PathBuf;
use std::time::Duration;

use ark_model::ids::Name;

use super::filter::EventTypeFilter;
use super::guard::AddressGuard;

/// A webhook.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// Its name, by which its cursor is kept.
    pub name: Name,
    /// Where events are sent.
    pub url: String,
    /// Scheme, host and port of `url`: what is shown. The rest may be the receiver's secret.
    pub origin: String,
    /// The file with the secrets that sign. It is read for each attempt, so a secret can be changed while the host runs.
    pub secret_file: PathBuf,
    /// Which events are sent.
    pub events: EventTypeFilter,
    /// A PEM file with the authorities that may have signed the receiver's certificate; `None`: the public ones.
    pub ca_file: Option<PathBuf>,
    /// Which addresses may be connected to.
    pub guard: AddressGuard,
    /// How long an attempt may take in all.
    pub timeout: Duration,
    /// How often and when an event is tried again.
    pub retry: RetryLimits,
    /// How many dead letters are kept; the oldest are dropped.
    pub dead_letters: u32,
}

/// How often and when an event is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryLimits {
    /// Attempts at an event until it becomes a dead letter.
    pub attempts: u32,
    /// How long until the second attempt. Each further one waits twice as long.
    pub first_delay: Duration,
    /// How long an attempt waits at most, whatever the receiver asks for.
    pub max_delay: Duration,
}
