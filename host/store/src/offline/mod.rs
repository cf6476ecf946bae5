//! What is done to a store directly, mostly while no host runs on it: verification, snapshots and their restore, archives of the audit log,
//! pruning and a change of the encryption key.

mod any_schema;
mod archive;
mod begin_anew;
mod error;
mod exclusive;
mod give_up_secrets;
mod inspect;
mod paced_check;
mod prune;
mod read_only;
mod rekey;
mod replacing;
mod restore;
mod restore_note;
mod revocations;
mod snapshot;
mod verify_access;
mod verify_audit;
mod verify_state;

pub use any_schema::{
    SnapshotOrigin, check_known_schema, count_decisions_after, find_origin, is_restore_pending,
    read_schema,
};
pub use archive::{
    ARCHIVE_FORMAT, ArchiveHeader, ArchiveReport, ArchivedRows, archive_audit, check_archive,
};
pub use begin_anew::{NewBeginning, begin_anew};
pub use error::MaintenanceError;
pub(crate) use exclusive::begin_halt;
pub use give_up_secrets::{GivenUpSecrets, give_up_secrets};
pub use inspect::{
    check_directory, find_host_instance, find_host_process, find_running_host, last_host_moment,
};
pub(crate) use paced_check::check_recent_rows;
pub use paced_check::{PacedReport, check_beside_host};
pub use prune::{PrunedRows, prune_signals};
pub use read_only::ReadOnlyStore;
pub use rekey::rekey_secrets;
pub use restore::{
    RestoreReport, check_restorable, restore_snapshot, restore_snapshot_dropping,
    restore_snapshot_keeping,
};
pub use restore_note::find_finished_restore;
pub(crate) use snapshot::rescue_database;
pub use snapshot::{SnapshotFile, SnapshotManifest, check_snapshot, create_snapshot};
pub use verify_access::AccessDifferences;
pub use verify_audit::ChainReport;
pub use verify_state::StateReport;
