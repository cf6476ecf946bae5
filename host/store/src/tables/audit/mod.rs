//! Tables of the audit log, its archives and the session log.

mod archives;
mod audit_log;
mod blank_record;
mod decision_index;
mod derived;
mod entry;
mod events;
mod id_index;
mod packing;
mod session_log;
mod trace_index;
mod underived;

pub(crate) use archives::{ArchiveRow, archived_head, insert_archive};
pub use audit_log::{AuditFilter, audit_row_hash};
pub(crate) use audit_log::{
    PackedRows, append_entry, audit_columns, delete_rows_until, read_audit_head, read_audit_row,
    read_chained_texts,
};
pub use decision_index::{DecisionFilter, DecisionLine, IndexPage};
pub(crate) use decision_index::{delete_decision_rows_until, fill_decision_index};
pub(crate) use derived::{DerivedPart, DerivedRows, write_missing_rows, write_rows_of_last};
pub use entry::{AuditEntry, AuditKind, AuditRow, FiredRule, IndexedFields};
pub use events::{EventCursor, EventRows};
pub(crate) use id_index::{delete_id_rows_until, select_has_row};
pub(crate) use packing::{BodyPacker, delete_unused_dictionaries};
pub use session_log::{SessionLogFilter, SessionLogRow};
pub(crate) use trace_index::delete_trace_rows_until;
