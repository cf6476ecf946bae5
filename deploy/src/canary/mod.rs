//! `ark canary`: a new version of the host in front of real traffic, with one ledger and one chain.
//!
//! An `HAProxy` gives the front of the new version a growing share of the requests. Each check compares what that front did with the time before
//! and with bounds; a tripwire gives all requests back to the stable fronts. At the whole share, the new version takes the data over.
//!
//! Invariants: every change is in the journal before it is made, so that a run that was killed can go on ([`HostCanary::resume`]) or be undone
//! ([`HostCanary::abort`]); a measurement that says too little is never a success.
//!
//! Reading order: [`plan`], [`journal`], [`analysis`] (figures, and what they mean), [`prepare`] (what is there before), [`requests`] (what others ask of the run), [`orders`] (the files in which they do), [`run`], [`run_note`] (what it says of itself), [`stable_host`] (how it comes back).
//!
//! Must not know: arguments, how anything is printed.

mod analysis;
mod error;
mod given;
mod journal;
mod orders;
mod plan;
mod prepare;
mod rehearsal;
mod report;
mod requests;
mod run;
mod run_note;
mod stable_host;

pub use analysis::{Figures, Measurement, MeasurementResult, Tripwire};
pub use error::{CanaryEnd, CanaryError};
pub use journal::{CanaryState, TakeOverStep};
pub use orders::{CanaryOrder, OrderAnswer};
pub use plan::{
    Baseline, BaselineSource, CanaryPlan, ExcludedJournals, HealthBounds, TakeOverPlan,
};
pub use rehearsal::{rehearse_canary, rehearse_order};
pub use report::{CanaryReport, TakeOver};
pub(crate) use requests::end_silent;
pub use requests::{has_runner, read_state, send_request};
pub use run::HostCanary;
