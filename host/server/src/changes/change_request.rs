//! The caller, reason and idempotency key of a change.

use serde_json::{Value, json};

use ark_model::ids::{AuditId, Digest, Millis, Name, TraceId};
use ark_store::{AuditEntry, AuditKind, IdempotencyRecord};

use super::permit::Permit;

/// An idempotency key and the digests of the request it came with.
#[derive(Debug, Clone)]
pub struct ChangeKey {
    /// The key.
    pub key: String,
    /// The digest of the request, as it is stored.
    pub request: Digest,
    /// The digest that an earlier version stored for the same request.
    pub legacy_request: Option<Digest>,
}

impl ChangeKey {
    /// Returns whether a record with the digest `stored` is of this request.
    #[must_use]
    pub fn matches(&self, stored: Digest) -> bool {
        stored == self.request || Some(stored) == self.legacy_request
    }
}

/// Who asks for a change of an agent or a policy, and why.
#[derive(Debug, Clone)]
pub struct ChangeRequest {
    /// The operator's name; `ark` for a change that the host makes itself.
    pub by: String,
    /// The reason as it was given. The audit row holds it.
    pub reason: String,
    /// The trace of the request.
    pub trace_id: TraceId,
    /// The idempotency key: under one key a change is made once. Only an agent's trial, rollout and rollback look at it.
    pub idempotency_key: Option<ChangeKey>,
    /// Whether who asks may still make the change. Only uploads look at it, which are made later than they are accepted.
    pub permit: Permit,
}

impl ChangeRequest {
    /// Returns the request of a change that the host makes itself, in a trace of its own.
    #[must_use]
    pub fn for_host(reason: &str) -> Self {
        Self {
            by: "ark".to_owned(),
            reason: reason.to_owned(),
            trace_id: TraceId::fresh(),
            idempotency_key: None,
            permit: Permit::default(),
        }
    }

    /// Returns the audit row of a change. `body` names the kind of change under `order`; the name and the reason are added to it. `agent` is
    /// absent in changes of policies.
    #[must_use]
    pub fn audit_entry(&self, agent: Option<&Name>, mut body: Value, at: Millis) -> AuditEntry {
        let action_type = body["order"].as_str().map(str::to_owned);
        body["by"] = json!(self.by);
        body["reason"] = json!(self.reason);
        AuditEntry {
            kind: AuditKind::Operator,
            id: AuditId::fresh(),
            trace_id: Some(self.trace_id),
            agent: agent.cloned(),
            action_type,
            outcome: None,
            at,
            body: body.to_string(),
            subject: None,
        }
    }

    /// Returns the record that lets a repetition of the request be answered with `answer`; `None` when the request has no idempotency key.
    /// `scope` and the name keep keys of different callers apart.
    #[must_use]
    pub fn idempotency_record(&self, scope: &str, answer: String) -> Option<IdempotencyRecord> {
        let key = self.idempotency_key.as_ref()?;
        Some(IdempotencyRecord {
            scope: format!("{scope}:{}", self.by),
            key: key.key.clone(),
            request: key.request,
            answer,
        })
    }
}
