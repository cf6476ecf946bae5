//! Operator policies: which are in force, and how they are changed while the host runs.
//!
//! Steps of a change: verify (digest, size) -> compile -> imports, name -> settings, by the policy itself -> its test vectors -> a test
//! evaluation in a scratch instance -> through the HRM's thread, which asks the new policies from there on and commits the change with its
//! audit row. Each decision is judged by one set of policies, and nothing has to drain. A failure before the commit, or of the commit, leaves
//! in force what was in force; after the commit a restart finds the new policies.
//!
//! A name has a slot: a place among the others, a version whose verdict counts (`enforce`), and a version on trial (`shadow`) whose verdict
//! is recorded and compared. A version is a component with settings. Versions are kept permanently, since decisions in the log name them.
//!
//! Names that files declare ([`declarations`]) can be changed by those files only. An uploaded policy that a start cannot load denies every
//! proposal, until an operator replaces or deletes it.
//!
//! Reading order: [`change`] (what can be asked for), [`handle`] (the calls), [`apply`] (how a change is made), [`slots`] and [`loader`]
//! (from what is kept to what judges), [`verification`], [`declarations`], [`plan`], [`start`].
//!
//! Must not know: HTTP, SQL.

mod apply;
mod change;
mod declarations;
mod error;
mod graveyard_exchange;
mod handle;
mod loader;
mod plan;
mod slots;
mod start;
mod verification;

pub use change::{
    ChangeConditions, PolicyChangeReceipt, PolicyRevision, PolicyStatus, PolicyUpload,
    SettingsReplacement,
};
pub use declarations::{Declaration, LAST_PLACE, PolicyManifest, load_declared};
pub use error::{InvalidPolicy, LoadPoliciesError, PolicyChangeError, StoredPolicyError};
pub use graveyard_exchange::{GraveyardExchangeError, record_graveyard_exchange};
pub use handle::{DeclarationChanges, ListedPolicy, Policies};
pub use loader::PolicyLoader;
pub use start::{BrokenVersion, PolicyFindings, check_policies, load_all};
