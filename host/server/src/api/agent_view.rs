//! What the API shows of an agent.

use std::sync::atomic::Ordering;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::agents::{Refusal, RefusedAgent};
use crate::router::Canary;
use crate::watchdog::HealthView;
use ark_model::control::Quarantine;
use ark_model::ids::{Digest, Millis, Name, Share};
use ark_runtime::{Limits, Manifest};
use ark_store::AgentVersion;

/// A page of agents that serve, by name.
#[derive(Serialize, ToSchema)]
pub(super) struct AgentPage {
    pub(super) agents: Vec<AgentLine>,
    /// Agents that were left out at the start.
    pub(super) refused: Vec<RefusedAgent>,
    /// The cursor of the page behind it, if there may be one.
    pub(super) next_cursor: Option<String>,
}

/// An agent that serves.
#[derive(Serialize, ToSchema)]
pub(super) struct AgentLine {
    pub(super) name: Name,
    pub(super) version: String,
    pub(super) description: String,
    pub(super) sha256: Digest,
    pub(super) topics: Vec<String>,
    pub(super) actions: Vec<String>,
    pub(super) capabilities: Vec<String>,
    /// Signals it handled since the start.
    pub(super) handled: u64,
    /// Signals it failed at since the start.
    pub(super) failed: u64,
    /// Signals that wait for it.
    pub(super) waiting: usize,
    pub(super) quarantined: bool,
}

/// An agent: what serves, how it does, and its versions. What is known only of one that serves is left out of others.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct AgentShown {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) quarantined: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) health: Option<HealthView>,
    /// Signals it handled since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) handled: Option<u64>,
    /// Signals it failed at since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failed: Option<u64>,
    /// Signals that wait for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) waiting: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) topics: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) actions: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) capabilities: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limits: Option<Limits>,
    /// The version on trial beside it.
    pub(super) canary: Option<OnTrial>,
    pub(super) quarantine: Option<Quarantine>,
    /// The number of the version that serves; 0: that of the agents' directory.
    pub(super) serving: Option<u64>,
    /// The number of the one that served before.
    pub(super) previous: Option<u64>,
    pub(super) rolled_out_by: Option<String>,
    pub(super) rolled_out_at_ms: Option<Millis>,
    /// Its uploaded versions, the newest first.
    pub(super) versions: Vec<VersionLine>,
    /// The last upload that was refused since the start.
    pub(super) last_refused: Option<Refusal>,
}

/// A version on trial.
#[derive(Serialize, ToSchema)]
pub(super) struct OnTrial {
    pub(super) number: u64,
    pub(super) version: String,
    pub(super) sha256: Digest,
    /// Its part of the signals.
    pub(super) share: Share,
    pub(super) handled: u64,
    pub(super) failed: u64,
}

/// An uploaded version.
#[derive(Serialize, ToSchema)]
pub(super) struct VersionLine {
    pub(super) number: u64,
    pub(super) version: Option<String>,
    pub(super) sha256: Digest,
    pub(super) bytes: u64,
    pub(super) uploaded_by: String,
    pub(super) uploaded_at_ms: Millis,
    pub(super) serving: bool,
    #[schema(value_type = Manifest)]
    pub(super) manifest: Value,
}

/// No version of an agent serves any more.
#[derive(Serialize, ToSchema)]
pub(super) struct AgentDeleted {
    pub(super) agent: Name,
    pub(super) deleted: bool,
    /// Signals that waited for it and were settled as failed.
    pub(super) failed_signals: u64,
}

pub(super) fn on_trial(canary: &Canary) -> OnTrial {
    OnTrial {
        number: canary.number,
        version: canary.agent.manifest().version.clone(),
        sha256: canary.agent.digest(),
        share: canary.share,
        handled: canary.handled.load(Ordering::Relaxed),
        failed: canary.failed.load(Ordering::Relaxed),
    }
}

pub(super) fn line(version: &AgentVersion, serving: Option<u64>) -> VersionLine {
    let manifest: Value = serde_json::from_str(&version.manifest_json).unwrap_or_default();
    VersionLine {
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
