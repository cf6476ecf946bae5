//! Uploads: a new version is checked, stored, and rolled out if that is asked for.

use std::sync::Arc;

use serde_json::json;

use crate::changes::{ChangeTarget, Requester};
use ark_model::ids::{Millis, Name};
use ark_runtime::Manifest;
use ark_store::NewAgentVersion;

use super::error::AgentChangeError;
use super::load::{load_component, warn_of_undeclared_types};
use super::rollout::{AgentChangeReceipt, RolloutChange};
use super::versions::Agents;

impl Agents {
    /// Stores a version and, if `rollout`, lets it serve. The same component with the same manifest keeps the number it had.
    ///
    /// # Errors
    /// See [`AgentChangeError`]. A refusal for which the upload is at fault is recorded with its reason; the agent serves as before.
    pub fn upload_version(
        &self,
        agent: &Name,
        manifest: Manifest,
        component: Vec<u8>,
        rollout: bool,
        requester: &Requester,
    ) -> Result<AgentChangeReceipt, AgentChangeError> {
        let stated = manifest.sha256;
        let changes = &self.inner.changes;
        let _change = changes.begin_change();
        let result = self.verify_and_store(agent, manifest, component, rollout, requester);
        if let Err(error) = &result
            && error.is_upload_fault()
        {
            let target = ChangeTarget::Agent(agent);
            changes.record_refusal(target, Some(stated), error.to_string(), requester);
        }
        result
    }

    /// Records that an upload was refused before its component could be read.
    pub fn refuse_upload(&self, agent: &Name, reason: String, requester: &Requester) {
        let reason = AgentChangeError::Manifest(reason).to_string();
        let target = ChangeTarget::Agent(agent);
        self.inner
            .changes
            .record_refusal(target, None, reason, requester);
    }

    fn verify_and_store(
        &self,
        agent: &Name,
        manifest: Manifest,
        component: Vec<u8>,
        rollout: bool,
        requester: &Requester,
    ) -> Result<AgentChangeReceipt, AgentChangeError> {
        manifest
            .check_fields()
            .map_err(AgentChangeError::Manifest)?;
        if manifest.name != *agent {
            return Err(AgentChangeError::NameMismatch {
                expected: agent.clone(),
                found: manifest.name,
            });
        }
        let manifest_json = serde_json::to_string(&manifest)
            .map_err(|error| AgentChangeError::Manifest(error.to_string()))?;
        let deps = &self.inner.deps;
        let version = Arc::new(load_component(
            &deps.engine,
            &component,
            manifest,
            &self.ceiling(),
        )?);
        self.check_heartbeat(&version)?;
        warn_of_undeclared_types(version.manifest(), &deps.hrm.action_types());
        let status = self.read_status(agent)?;
        let sha256 = version.digest();
        let known = status
            .versions
            .iter()
            .find(|known| known.sha256 == sha256 && known.manifest_json == manifest_json);
        let number = known.map_or(status.last_number() + 1, |known| known.number);
        let new = known.is_none().then(|| NewAgentVersion {
            agent: agent.clone(),
            number,
            sha256,
            component,
            manifest_json,
            by: requester.by.clone(),
            at: Millis::now(),
            keep: deps.versions_kept,
        });
        if rollout {
            return self.commit_rollout(&version, number, new, "agent.upload", &status, requester);
        }
        let serving = self.serving_version(agent, &status);
        let change = RolloutChange {
            agent,
            number,
            sha256,
            serving,
            previous: status.previous(),
            trial: status.rollout.as_ref().and_then(|it| it.trial),
            new,
            audit_body: json!({
                "order": "agent.upload", "number": number, "version": version.manifest().version,
                "sha256": sha256, "serving": serving,
            }),
        };
        let committed = self.commit_once(change, &status, requester)?;
        Ok(AgentChangeReceipt {
            // Nothing was replaced, so nothing has to end.
            drained: true,
            ..committed.into_receipt()
        })
    }
}
