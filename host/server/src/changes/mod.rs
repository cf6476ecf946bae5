//! What changes of agents and changes of operator policies share.
//!
//! Both keep numbered versions of components in the store, run one change at a time, write an audit row for each, and remember the last
//! refused upload of each name. Those steps are stated here once; what a version is and how it takes effect is up to [`crate::agents`] and
//! [`crate::policies`].
//!
//! Must not know: HTTP, SQL, the router, the HRM.

mod change_request;
mod component_file;
mod declaration;
mod log;
mod permit;
mod signers;
mod stored_version;

pub use change_request::{ChangeKey, ChangeRequest};
pub use component_file::{ComponentFileError, list_manifests, read_component_file};
pub use declaration::record_action_types;
pub use log::{ChangeLog, ChangeTarget, ChangesSeen, UploadRefusal};
pub use permit::{Permit, PermitEnded};
pub use signers::{Signers, UnsignedError};
pub use stored_version::{StoredVersionError, check_stored_component, describe_kept_versions};
