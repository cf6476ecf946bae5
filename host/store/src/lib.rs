//! The Mutable Core: everything the host must not forget, in one `SQLite` database.
//!
//! One thread (the writer) owns the only connection that writes. It drains its queue, writes all waiting units in one transaction, syncs
//! once and answers every caller. Readers have connections of their own and never block the writer. What is answered is on disk
//! (`synchronous = FULL`).
//!
//! Invariants:
//! * Audit rows form a hash chain from row 1 without a gap ([`AuditRow`]); the revisions of agents' state form another.
//! * Revisions are contiguous per (agent, key), from 1.
//! * A signal is stored once per idempotency key, and each of its deliveries is completed once.
//! * A [`Unit`] is committed as a whole or not at all, in the order of submission.
//!
//! The crate must not know wasmtime, the meaning of policies, or HTTP.

mod anchors;
mod chain;
mod config;
mod database_limit;
mod directory;
mod error;
mod health;
mod idempotency;
mod offline;
mod operator_change;
mod query;
mod reader;
mod revision;
mod schema;
mod secrets;
mod store;
mod tables;
#[cfg(test)]
mod tests;
mod unit;
mod usage;
mod writer;

pub use anchors::Anchor;
pub use chain::{ChainFault, ChainHead};
pub use config::StoreConfig;
pub use directory::{
    HostProcess, give_made, give_to_owner, has_lock_record, has_open, process_instance,
};
pub use error::{
    CommitError, FileLoss, MissingItem, OpenError, ReadError, StorageError, SubmitError,
    TokenRefusal, describe_schema_remedy,
};
pub use idempotency::IdempotencyRecord;
pub use offline::{
    ARCHIVE_FORMAT, AccessDifferences, ArchiveHeader, ArchiveReport, ArchivedRows, ChainReport,
    GivenUpSecrets, MaintenanceError, NewBeginning, PacedReport, PrunedRows, ReadOnlyStore,
    RestoreReport, SnapshotFile, SnapshotManifest, SnapshotOrigin, StateReport, archive_audit,
    begin_anew, check_archive, check_beside_host, check_directory, check_known_schema,
    check_restorable, check_snapshot, count_decisions_after, create_snapshot,
    find_finished_restore, find_host_instance, find_host_process, find_origin, find_running_host,
    give_up_secrets, is_restore_pending, last_host_moment, prune_signals, read_schema,
    rekey_secrets, restore_snapshot, restore_snapshot_dropping, restore_snapshot_keeping,
};
pub use operator_change::{AttributedChange, NewToken, OperatorChange, TokenChange};
pub use reader::Reader;
pub use revision::{Content, Revision, RollbackTarget, StateRow};
pub use schema::current_schema;
pub use secrets::{SecretError, SecretKey, SecretKeyError, check_key_file, looks_typed};
pub use store::Store;
pub use tables::audit::{
    AuditEntry, AuditFilter, AuditKind, AuditRow, DecisionFilter, DecisionLine, EventCursor,
    EventRows, FiredRule, IndexPage, IndexedFields, SessionLogFilter, SessionLogRow,
    audit_row_hash,
};
pub use tables::control::{
    AlertFilter, AlertRow, ControlChange, ControlRows, DeadLetter, FleetCursor, NewDeadLetter,
    RedisChange, StreamPosition, TOKEN_PREFIX, TokenRow, TokenSecret, WebhookChange,
    WebhookDeadLetter, WebhookProgress, WebhookRow,
};
pub use tables::ledger::{
    AccountChange, AccountRow, Approval, ApprovalChange, ApprovalFilter, ApprovalStatus, FAR_AHEAD,
    LedgerChange, LedgerRows, List, ListChange, ListEntry, ListRow, MarketOrder,
    MarketOrderPurpose, MarketOrderState, OrderNumber, Promotion, ReportedExecution,
};
pub use tables::signals::{
    DeliveryCompletion, DeliveryResult, DeliveryRow, ExpiredDelivery, FailedCounts, FailedCursor,
    FailedDelivery, NewSignal, OutboxMessage, OutboxRow, Redelivery, SignalKey, SignalReceipt,
    TRACE_ROWS, TraceRows,
};
pub use tables::state::{ConfigEntry, MemoryFilter, MemoryRow, TruthRow};
pub use tables::versions::{
    AGENT_DELETED, AgentChange, AgentVersion, CanaryVersion, NewAgentVersion, NewPolicyVersion,
    PolicyChange, PolicyRecord, PolicySlot, PolicyVersion, Rollout,
};
pub use unit::{CommitCallback, CommitDeadline, Receipt, Unit};
pub use usage::{ROW_BYTES, UnitUsage, count_memory, count_message, count_revision, count_truth};
pub use writer::{ANCHORS_LOST, DATABASE_LOCKED, DATABASE_LOST, DISK_FULL, LOG_HELD};
