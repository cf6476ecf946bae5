//! Requests and receipts of policy changes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::changes::UploadRefusal;
use crate::hrm::policies_in_force::SlotInForce;
use ark_model::ids::{Digest, Name};
use ark_model::policy::PolicyMode;
use ark_model::settings::Settings;
use ark_store::{IdempotencyRecord, PolicySlot, PolicyVersion};

/// An upload.
#[derive(Debug, Clone)]
pub struct PolicyUpload {
    /// The component's bytes.
    pub component: Vec<u8>,
    /// The SHA-256 that was stated for them.
    pub sha256: Digest,
    /// The component's signature, as it stands in the file beside it; absent: there is none.
    pub signature: Option<String>,
    /// The settings; absent: the policy gets none.
    pub settings: Option<Settings>,
    /// Whether the version's verdicts are to count.
    pub mode: PolicyMode,
    /// The policy's place among the others; absent: unchanged, and for a new policy the last place.
    pub place: Option<u32>,
}

/// The settings that replace a policy's settings; `None`: the policy gets none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SettingsReplacement(pub Option<Settings>);

/// A change of a policy whose component stays. Absent fields stay as they are.
#[derive(Debug, Clone, Default)]
pub struct PolicyRevision {
    /// Other settings.
    pub settings: Option<SettingsReplacement>,
    /// Whether the version's verdicts are to count.
    pub mode: Option<PolicyMode>,
    /// The policy's place among the others.
    pub place: Option<u32>,
}

/// On what a change depends.
#[derive(Debug, Clone, Default)]
pub struct ChangeConditions {
    /// The revision the policy must be at; 0: there must be no such policy; absent: any.
    pub expected_revision: Option<u64>,
    /// The idempotency key under which the change is answered once, without the answer.
    pub idempotency: Option<IdempotencyRecord>,
    /// The digest that an earlier version stored under that key for the same request.
    pub legacy_request: Option<Digest>,
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyChangeReceipt {
    /// The policy.
    pub policy: Name,
    /// The version that the change is about; absent when it is about the policy as a whole.
    pub number: Option<u64>,
    /// SHA-256 of that version's component.
    pub sha256: Option<Digest>,
    /// SHA-256 of that version's settings.
    pub settings_sha256: Option<Digest>,
    /// How many test vectors that version carries. It passed all of them.
    pub vectors: Option<u32>,
    /// The policy's place among the others.
    #[serde(rename = "order")]
    pub place: u32,
    /// The version whose verdict counts now.
    pub enforced: Option<u64>,
    /// The version on trial now.
    pub shadow: Option<u64>,
    /// The version whose verdict counted before.
    pub previous: Option<u64>,
    /// The policy's revision now.
    pub revision: u64,
    /// What the operator should know about the change.
    pub remarks: Vec<String>,
}

/// What is kept of a policy, and what judges under its name.
#[derive(Clone)]
pub struct PolicyStatus {
    /// The slot as it is kept.
    pub row: PolicySlot,
    /// The versions, newest first.
    pub versions: Vec<PolicyVersion>,
    /// What judges; absent: nothing is in force.
    pub slot: Option<Arc<SlotInForce>>,
    /// The last refused change since the start.
    pub refused: Option<UploadRefusal>,
}
