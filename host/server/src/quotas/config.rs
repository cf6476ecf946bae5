//! The quotas that the operator sets.

use ark_model::usage::QuotaHolder;
use ark_runtime::{QuotaKind, Quotas, QuotasTable};

/// What one token may use over time; callers of a host without tokens may together use as much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenQuotas {
    /// Bytes that are kept of what was written with it.
    pub stored_bytes: u64,
    /// Bytes that it may add to those within a minute.
    pub stored_bytes_per_minute: u64,
    /// Bytes of the audit log about its proposals and changes within a minute.
    pub audit_bytes_per_minute: u64,
}

/// The quotas of agents and tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaConfig {
    /// Those of each agent. A manifest can only tighten them.
    pub agents: Quotas,
    /// Those of each token.
    pub tokens: TokenQuotas,
}

impl QuotaConfig {
    /// Returns these quotas with what is kept for one agent bounded by a quarter of the database's limit, so that no agent alone can fill it.
    #[must_use]
    pub fn within_database(&self, max_database_bytes: u64) -> Self {
        let mut quotas = self.clone();
        let quarter = (max_database_bytes / 4).max(1);
        quotas.agents.stored_bytes = quotas.agents.stored_bytes.min(quarter);
        quotas
    }

    /// Returns what a holder may use; `None`: this is not limited for it. `tighter`: the quotas of an agent's manifest.
    #[must_use]
    pub fn limit_of(
        &self,
        holder: &QuotaHolder,
        kind: QuotaKind,
        tighter: &QuotasTable,
    ) -> Option<u64> {
        if matches!(holder, QuotaHolder::Agent(_)) {
            return Some(self.agents.bounded_by(tighter).get(kind));
        }
        match kind {
            QuotaKind::StoredBytes => Some(self.tokens.stored_bytes),
            QuotaKind::StoredBytesPerMinute => Some(self.tokens.stored_bytes_per_minute),
            QuotaKind::AuditBytesPerMinute => Some(self.tokens.audit_bytes_per_minute),
            QuotaKind::Keys
            | QuotaKind::Memories
            | QuotaKind::LogBytesPerMinute
            | QuotaKind::MessagesPerMinute => None,
        }
    }
}
