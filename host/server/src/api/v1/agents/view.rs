//! What the API shows of an agent.

use std::sync::atomic::Ordering;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::agents::{AgentChangeReceipt, AgentStatus, RefusedAgent};
use crate::api::http::answer::answer_from;
use crate::api::state::Api;
use crate::quotas::QuotaUse;
use crate::router::{Canary, ServingSlot};

use crate::api::v1::control::watchdog::{AgentHealth, HealthShown};
use crate::api::v1::uploads::RefusalView;
use ark_model::control::Quarantine;
use ark_model::ids::{Digest, Millis, Name, Share};
use ark_model::usage::QuotaHolder;
use ark_runtime::Limits;
use ark_store::{AgentVersion, CanaryVersion};

/// A page of agents that serve, by name.
#[derive(Serialize, ToSchema)]
pub(crate) struct AgentPage {
    pub(crate) agents: Vec<AgentLine>,
    /// Agents that were left out at the start.
    pub(crate) refused: Vec<RefusedAgentView>,
    /// The cursor of the next page, if there may be one.
    pub(crate) next_cursor: Option<String>,
}

/// An agent that a start left out.
#[derive(Serialize, ToSchema)]
#[schema(as = Refused)]
pub(crate) struct RefusedAgentView {
    /// The manifest's path; for an uploaded version its agent and number.
    manifest: String,
    /// Why it was refused.
    reason: String,
}

impl From<&RefusedAgent> for RefusedAgentView {
    fn from(refused: &RefusedAgent) -> Self {
        Self {
            manifest: refused.manifest.display().to_string(),
            reason: refused.reason.clone(),
        }
    }
}

/// An agent that serves.
#[derive(Serialize, ToSchema)]
pub(crate) struct AgentLine {
    pub(crate) name: Name,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) sha256: Digest,
    pub(crate) topics: Vec<String>,
    pub(crate) actions: Vec<String>,
    pub(crate) capabilities: Vec<String>,
    /// Signals it handled since the start.
    pub(crate) handled: u64,
    /// Signals it failed at since the start.
    pub(crate) failed: u64,
    /// Signals that wait for it.
    pub(crate) waiting: usize,
    pub(crate) quarantined: bool,
    /// The version on trial beside it.
    pub(crate) canary: Option<OnTrial>,
}

/// An agent: what serves, how it does, and its versions. Fields that are known only of a serving agent are left out of others.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct AgentShown {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quarantined: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<HealthShown>,
    /// Signals it handled since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) handled: Option<u64>,
    /// Signals it failed at since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<u64>,
    /// Signals that wait for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) waiting: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) topics: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) actions: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) capabilities: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limits: Option<Limits>,
    /// What it uses of its quotas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quotas: Option<Vec<QuotaShown>>,
    /// The version on trial beside it.
    pub(crate) canary: Option<OnTrial>,
    pub(crate) quarantine: Option<Quarantine>,
    /// The number of the version that serves; 0: that of the agents' directory.
    pub(crate) serving: Option<u64>,
    /// The number of the version that served before.
    pub(crate) previous: Option<u64>,
    pub(crate) rolled_out_by: Option<String>,
    pub(crate) rolled_out_at_ms: Option<Millis>,
    /// Its uploaded versions, the newest first.
    pub(crate) versions: Vec<VersionLine>,
    /// The last upload that was refused since the start.
    pub(crate) last_refused: Option<RefusalView>,
}

/// How much an agent uses of one quota.
#[derive(Serialize, ToSchema)]
pub(crate) struct QuotaShown {
    /// The quota, as in a `[quotas]` table.
    quota: &'static str,
    /// What it uses: bytes, keys, memories or messages.
    used: u64,
    /// The quota itself.
    limit: u64,
    /// The part that it uses.
    fraction: f64,
    /// Invocations that the quota refused since the start.
    refusals: u64,
}

impl From<QuotaUse> for QuotaShown {
    fn from(quota: QuotaUse) -> Self {
        Self {
            quota: quota.kind.as_str(),
            used: quota.used,
            limit: quota.limit,
            fraction: quota.fraction(),
            refusals: quota.refusals,
        }
    }
}

/// A version on trial.
#[derive(Serialize, ToSchema)]
pub(crate) struct OnTrial {
    pub(crate) number: u64,
    pub(crate) version: String,
    pub(crate) sha256: Digest,
    /// Its part of the signals.
    pub(crate) share: Share,
    pub(crate) handled: u64,
    pub(crate) failed: u64,
}

/// An uploaded version.
#[derive(Serialize, ToSchema)]
pub(crate) struct VersionLine {
    pub(crate) number: u64,
    pub(crate) version: Option<String>,
    pub(crate) sha256: Digest,
    pub(crate) bytes: u64,
    pub(crate) uploaded_by: String,
    pub(crate) uploaded_at_ms: Millis,
    pub(crate) serving: bool,
    #[schema(value_type = Manifest)]
    pub(crate) manifest: Value,
}

/// No version of an agent serves any more.
#[derive(Serialize, ToSchema)]
pub(crate) struct AgentDeleted {
    pub(crate) agent: Name,
    pub(crate) deleted: bool,
    /// Signals that waited for it and were failed.
    pub(crate) failed_signals: u64,
}

/// A change that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct AgentChanged {
    /// The agent.
    pub(crate) agent: Name,
    /// The version that the change is about.
    pub(crate) number: u64,
    /// SHA-256 of that version's component.
    pub(crate) sha256: Digest,
    /// The version that serves now; 0: that of the agents' directory.
    pub(crate) serving: Option<u64>,
    /// The version that served before.
    pub(crate) previous: Option<u64>,
    /// The version on trial now, and its share of the signals.
    pub(crate) canary: Option<TrialShare>,
    /// Whether every invocation of the replaced version has ended; false, too, in an answer that is given again.
    pub(crate) drained: bool,
}

impl From<AgentChangeReceipt> for AgentChanged {
    fn from(receipt: AgentChangeReceipt) -> Self {
        Self {
            agent: receipt.agent,
            number: receipt.number,
            sha256: receipt.sha256,
            serving: receipt.serving,
            previous: receipt.previous,
            canary: receipt.canary.map(TrialShare::from),
            drained: receipt.drained,
        }
    }
}

answer_from! { CanaryVersion =>
    /// A version on trial beside the one that serves.
    #[schema(as = Trial)]
    pub(crate) struct TrialShare {
        /// The version; 0: the version of the agents' directory.
        number: u64,
        /// Its share of the signals.
        share: Share,
    }
}

impl AgentLine {
    /// Makes the line of an agent that serves.
    pub(crate) fn from_serving(api: &Api, slot: &ServingSlot) -> Self {
        let manifest = slot.agent.manifest();
        Self {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            description: manifest.description.clone(),
            sha256: slot.agent.digest(),
            topics: manifest.topics.clone(),
            actions: manifest.actions.clone(),
            capabilities: manifest.capabilities.clone(),
            handled: slot.handled.load(Ordering::Relaxed),
            failed: slot.failed.load(Ordering::Relaxed),
            waiting: slot.waiting_deliveries(),
            quarantined: api.guards.is_quarantined(&manifest.name),
            canary: slot.canary().as_deref().map(OnTrial::from),
        }
    }
}

impl AgentShown {
    /// What the store keeps of an agent. `is_serving` tells whether one of its versions serves.
    pub(crate) fn from_kept(api: &Api, name: &Name, kept: AgentStatus, is_serving: bool) -> Self {
        let serving = match &kept.rollout {
            Some(rollout) => rollout.serving,
            // That of the agents' directory.
            None => is_serving.then_some(0),
        };
        let rollout = kept.rollout.as_ref();
        Self {
            name: name.to_string(),
            quarantine: api.guards.find_quarantine(name),
            serving,
            previous: rollout.and_then(|rollout| rollout.previous),
            rolled_out_by: rollout.map(|rollout| rollout.by.clone()),
            rolled_out_at_ms: rollout.map(|rollout| rollout.at),
            versions: kept
                .versions
                .iter()
                .map(|version| VersionLine::from_version(version, serving))
                .collect(),
            last_refused: kept.refused.map(Into::into),
            ..Self::default()
        }
    }

    /// Adds what is known of an agent that serves.
    pub(crate) fn add_serving(&mut self, api: &Api, slot: &ServingSlot) {
        let health = AgentHealth::from_serving(api, slot);
        let manifest = slot.agent.manifest();
        self.quarantined = Some(health.quarantined);
        self.health = health.health;
        self.handled = Some(health.handled);
        self.failed = Some(health.failed);
        self.waiting = Some(health.waiting);
        self.version = Some(manifest.version.clone());
        self.description = Some(manifest.description.clone());
        self.sha256 = Some(slot.agent.digest());
        self.topics = Some(manifest.topics.clone());
        self.actions = Some(manifest.actions.clone());
        self.capabilities = Some(manifest.capabilities.clone());
        self.limits = Some(slot.agent.limits().clone());
        let holder = QuotaHolder::Agent(manifest.name.clone());
        let uses = api.quotas.list_uses(&holder, &manifest.quotas);
        self.quotas = Some(uses.into_iter().map(QuotaShown::from).collect());
        self.canary = slot.canary().as_deref().map(OnTrial::from);
    }
}

impl From<&Canary> for OnTrial {
    fn from(canary: &Canary) -> Self {
        Self {
            number: canary.number,
            version: canary.agent.manifest().version.clone(),
            sha256: canary.agent.digest(),
            share: canary.share,
            handled: canary.handled.load(Ordering::Relaxed),
            failed: canary.failed.load(Ordering::Relaxed),
        }
    }
}

impl VersionLine {
    fn from_version(version: &AgentVersion, serving: Option<u64>) -> Self {
        let manifest: Value = serde_json::from_str(&version.manifest_json).unwrap_or_default();
        Self {
            number: version.number,
            version: manifest["version"].as_str().map(str::to_owned),
            sha256: version.sha256,
            bytes: version.bytes,
            uploaded_by: version.by.clone(),
            uploaded_at_ms: version.at,
            serving: serving == Some(version.number),
            manifest,
        }
    }
}
