//! What the host calls of an agent need from the host.

use ark_model::action::Action;
use ark_model::decision::Outcome;
use ark_model::state::{Memory, StateEntry, Truth};
use ark_model::verdict::RuleAnswer;
use serde::{Deserialize, Serialize};

/// The services behind an agent's host calls. The live host answers from the store and the HRM, a replay from a recording.
///
/// Every method blocks. An error means that the service is not available now; the guest receives it as `unavailable`.
pub trait HostServices: Send + Sync {
    /// Returns the revision of a key of the agent's state (0: it was never written) and, unless it is deleted, its value.
    ///
    /// # Errors
    /// The state cannot be read now.
    fn state_get(&self, key: &str) -> Result<(u64, Option<StateEntry>), ServiceError>;

    /// Checks whether a value can be written under a key of the agent's state.
    ///
    /// # Errors
    /// The key is a secret's, and the host has no key to encrypt secrets with.
    fn state_writable(&self, _key: &str) -> Result<(), ServiceError> {
        Ok(())
    }

    /// Returns the keys of the agent's state that start with `prefix`, in order, `limit` at most.
    ///
    /// # Errors
    /// The state cannot be read now.
    fn state_list(&self, prefix: &str, limit: u32) -> Result<Vec<String>, ServiceError>;

    /// Returns the agent's latest memories, newest first, of one kind if one is given, `limit` at most.
    ///
    /// # Errors
    /// The memories cannot be read now.
    fn memory_recent(&self, kind: Option<&str>, limit: u32) -> Result<Vec<Memory>, ServiceError>;

    /// Returns an entry of the truth map.
    ///
    /// # Errors
    /// The truth map cannot be read now.
    fn truth_get(&self, key: &str) -> Result<Option<Truth>, ServiceError>;

    /// Returns a value of the configuration, as JSON text, if an operator has set one. It takes precedence over the manifest's.
    ///
    /// # Errors
    /// The configuration cannot be read now.
    fn config_get(&self, _key: &str) -> Result<Option<String>, ServiceError> {
        Ok(None)
    }

    /// Returns how the policies would judge an action of this agent now. Nothing is recorded or reserved.
    ///
    /// # Errors
    /// The policies cannot be asked now.
    fn check_action(&self, action: Action) -> Result<Preview, ServiceError>;
}

/// Why a service is not available, for the agent's author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ServiceError(pub String);

/// The result of a dry run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// The outcome that the decision would have.
    pub outcome: Outcome,
    /// The compliance score that the decision would have.
    pub compliance_score: f64,
    /// The name of each policy and its rule answers; no answers where it could not judge.
    pub verdicts: Vec<(String, Vec<RuleAnswer>)>,
}

/// The services of a component that is asked for its metadata, probed, or replayed: none is available.
pub(crate) struct OfflineServices;

impl HostServices for OfflineServices {
    fn state_get(&self, _: &str) -> Result<(u64, Option<StateEntry>), ServiceError> {
        Err(offline_error())
    }

    fn state_list(&self, _: &str, _: u32) -> Result<Vec<String>, ServiceError> {
        Err(offline_error())
    }

    fn memory_recent(&self, _: Option<&str>, _: u32) -> Result<Vec<Memory>, ServiceError> {
        Err(offline_error())
    }

    fn truth_get(&self, _: &str) -> Result<Option<Truth>, ServiceError> {
        Err(offline_error())
    }

    fn check_action(&self, _: Action) -> Result<Preview, ServiceError> {
        Err(offline_error())
    }
}

fn offline_error() -> ServiceError {
    ServiceError("the component runs without a live host".to_owned())
}
