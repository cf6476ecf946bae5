//! Answers the host calls of an invocation on a live host: state, memories and truths from the store, dry runs from the HRM.

use std::sync::Arc;

use crate::reply::ask_blocking;
use ark_model::action::Action;
use ark_model::ids::{Millis, TraceId};
use ark_model::state::{Memory, StateEntry, Truth};
use ark_model::usage::QuotaHolder;
use ark_runtime::{HostServices, Manifest, Preview, ServiceError};
use ark_store::Store;

use super::handle::Hrm;
use super::request::Proposal;

/// What answers the host calls of all invocations. They share it: to clone the handles for each would cost more than most calls.
pub struct ServiceHandles {
    /// Judges dry runs.
    pub hrm: Hrm,
    /// Holds state, memories, truths and configuration values.
    pub store: Store,
}

/// The services of a live host for one invocation.
pub struct LiveServices {
    /// What answers.
    pub handles: Arc<ServiceHandles>,
    /// The manifest of the invoked agent.
    pub manifest: Arc<Manifest>,
    /// The trace of the invocation.
    pub trace_id: TraceId,
    /// Number of signals that led to it.
    pub causal_depth: u32,
}

/// Returns why the host itself denies an action: the agent's manifest does not grant its type. `None`: the policies decide.
#[must_use]
pub fn manifest_refusal(manifest: &Manifest, action: &Action) -> Option<String> {
    let granted = manifest.actions.contains(&action.action_type);
    (!granted).then(|| {
        format!(
            "the manifest of {} does not grant the action type {}; add \"{}\" to its list `actions`",
            manifest.name, action.action_type, action.action_type
        )
    })
}

fn service_error(error: impl std::fmt::Display) -> ServiceError {
    ServiceError(error.to_string())
}

impl HostServices for LiveServices {
    fn state_get(&self, key: &str) -> Result<(u64, Option<StateEntry>), ServiceError> {
        self.handles
            .store
            .get_state(&self.manifest.name, key)
            .map_err(service_error)
    }

    fn state_writable(&self, key: &str) -> Result<(), ServiceError> {
        self.handles
            .store
            .check_state_writable(key)
            .map_err(service_error)
    }

    fn state_list(&self, prefix: &str, limit: u32) -> Result<Vec<String>, ServiceError> {
        self.handles
            .store
            .list_state_keys(&self.manifest.name, prefix, limit)
            .map_err(service_error)
    }

    fn memory_recent(&self, kind: Option<&str>, limit: u32) -> Result<Vec<Memory>, ServiceError> {
        self.handles
            .store
            .recent_memories(&self.manifest.name, kind, limit, Millis::now())
            .map_err(service_error)
    }

    fn truth_get(&self, key: &str) -> Result<Option<Truth>, ServiceError> {
        self.handles.store.get_truth(key).map_err(service_error)
    }

    fn config_get(&self, key: &str) -> Result<Option<String>, ServiceError> {
        self.handles
            .store
            .latest_config_entry(&format!("agents/{}/{key}", self.manifest.name))
            .map(|entry| entry.and_then(|entry| entry.value_json))
            .map_err(service_error)
    }

    fn check_action(&self, action: Action) -> Result<Preview, ServiceError> {
        let refusal = manifest_refusal(&self.manifest, &action);
        let proposal = Proposal {
            agent: self.manifest.name.clone(),
            submitter: self.manifest.name.to_string(),
            charged_to: QuotaHolder::Agent(self.manifest.name.clone()),
            trace_id: self.trace_id,
            action,
            refusal,
            causal_depth: self.causal_depth,
            idempotency: None,
            deadline: None,
        };
        let decision = ask_blocking(|reply| self.handles.hrm.preview_action(proposal, reply))
            .map_err(service_error)?;
        Ok(Preview {
            outcome: decision.outcome,
            compliance_score: decision.compliance_score,
            verdicts: decision
                .verdicts
                .iter()
                .map(|part| {
                    let answers = part
                        .verdict
                        .as_ref()
                        .map(|verdict| verdict.answers.clone())
                        .unwrap_or_default();
                    (part.policy.metadata.name.clone(), answers)
                })
                .collect(),
        })
    }
}
