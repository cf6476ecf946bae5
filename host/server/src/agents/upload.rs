//! Uploads: a new version is checked, stored, and rolled out if that is asked for.

use std::sync::Arc;

use serde_json::json;

use crate::changes::{ChangeRequest, ChangeTarget, ChangesSeen};
use ark_model::ids::{Digest, Millis, Name};
use ark_runtime::{Agent, Manifest};
use ark_store::NewAgentVersion;

use super::error::AgentChangeError;
use super::load::{check_before_compilation, load_component, warn_of_undeclared_types};
use super::rollout::{AgentChangeReceipt, RolloutChange, UPLOAD_ORDER};
use super::versions::Agents;

impl Agents {
    /// Checks what can be known of a version without compiling it. It takes little time.
    ///
    /// # Errors
    /// See [`AgentChangeError`]. A refusal is recorded with its reason.
    pub fn check_upload(
        &self,
        agent: &Name,
        manifest: &Manifest,
        component: &[u8],
        request: &ChangeRequest,
    ) -> Result<(), AgentChangeError> {
        let ceiling = self.ceiling();
        let result = check_manifest(agent, manifest)
            .and_then(|()| Ok(check_before_compilation(component, manifest, &ceiling)?));
        self.record_if_refused(agent, manifest.sha256, &result, request);
        result
    }

    /// Returns how many changes other than uploads were made of an agent until now: for [`Self::upload_version`].
    #[must_use]
    pub fn changes_seen(&self, agent: &Name) -> ChangesSeen {
        self.inner.changes.changes_seen(agent)
    }

    /// Compiles a version, stores it and, if `rollout` is given, lets it serve, unless another change than those in `rollout` has decided what
    /// serves. Who asked for it must be permitted to do so before and after the compilation. The same component with the same manifest keeps the number it had.
    /// Other changes are made while it is compiled.
    ///
    /// # Errors
    /// See [`AgentChangeError`]. A refusal for which the upload is at fault is recorded with its reason; the agent serves as before.
    pub fn upload_version(
        &self,
        agent: &Name,
        manifest: Manifest,
        component: Vec<u8>,
        rollout: Option<ChangesSeen>,
        request: &ChangeRequest,
    ) -> Result<AgentChangeReceipt, AgentChangeError> {
        request.permit.check()?;
        let stated = manifest.sha256;
        let result = self
            .verify(agent, manifest, &component)
            .and_then(|version| self.store_version(agent, &version, component, rollout, request));
        self.record_if_refused(agent, stated, &result, request);
        result
    }

    fn record_if_refused<T>(
        &self,
        agent: &Name,
        stated: Digest,
        result: &Result<T, AgentChangeError>,
        request: &ChangeRequest,
    ) {
        if let Err(error) = result
            && error.is_upload_fault()
        {
            let target = ChangeTarget::Agent(agent);
            let reason = error.to_string();
            self.inner
                .changes
                .record_refusal(target, Some(stated), reason, request);
        }
    }

    /// Records that an upload was refused before its component could be read.
    pub fn refuse_upload(&self, agent: &Name, reason: String, request: &ChangeRequest) {
        let reason = AgentChangeError::Manifest(reason).to_string();
        let target = ChangeTarget::Agent(agent);
        self.inner
            .changes
            .record_refusal(target, None, reason, request);
    }

    /// Compiles a version and asks it for a heartbeat.
    fn verify(
        &self,
        agent: &Name,
        manifest: Manifest,
        component: &[u8],
    ) -> Result<Arc<Agent>, AgentChangeError> {
        check_manifest(agent, &manifest)?;
        let deps = &self.inner.deps;
        let version = load_component(&deps.engine, component, manifest, &self.ceiling())?;
        let version = Arc::new(version);
        self.check_heartbeat(&version)?;
        warn_of_undeclared_types(version.manifest(), &deps.hrm.action_types());
        Ok(version)
    }

    fn store_version(
        &self,
        agent: &Name,
        version: &Arc<Agent>,
        component: Vec<u8>,
        rollout: Option<ChangesSeen>,
        request: &ChangeRequest,
    ) -> Result<AgentChangeReceipt, AgentChangeError> {
        let manifest_json = serde_json::to_string(version.manifest())
            .map_err(|error| AgentChangeError::Manifest(error.to_string()))?;
        let deps = &self.inner.deps;
        let _change = self.inner.changes.begin_change();
        request.permit.check()?;
        if rollout.is_some_and(|seen| seen != self.changes_seen(agent)) {
            return Err(AgentChangeError::ChangedMeanwhile(agent.clone()));
        }
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
            by: request.by.clone(),
            at: Millis::now(),
            keep: deps.versions_kept,
        });
        if rollout.is_some() {
            return self.commit_rollout(version, number, new, UPLOAD_ORDER, &status, request);
        }
        let serving = self.serving_version(agent, &status);
        let change = RolloutChange {
            agent,
            number,
            sha256,
            serving,
            previous: status.previous(),
            canary: status.rollout.as_ref().and_then(|it| it.canary),
            new,
            audit_body: json!({
                "order": UPLOAD_ORDER, "number": number, "version": version.manifest().version,
                "sha256": sha256, "serving": serving,
            }),
        };
        let committed = self.commit_once(change, &status, request)?;
        Ok(AgentChangeReceipt {
            // Nothing was replaced, so nothing has to end.
            drained: true,
            ..committed.into_receipt()
        })
    }
}

/// Checks the fields of a manifest, and that it is the agent's.
fn check_manifest(agent: &Name, manifest: &Manifest) -> Result<(), AgentChangeError> {
    manifest
        .check_fields()
        .map_err(AgentChangeError::Manifest)?;
    if manifest.name == *agent {
        return Ok(());
    }
    Err(AgentChangeError::NameMismatch {
        expected: agent.clone(),
        found: manifest.name.clone(),
    })
}
