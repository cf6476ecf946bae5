//! The analysis of a canary: what is measured of the new version's front, and what that means.
//!
//! Invariants: a figure that cannot be read is absent, not 0; a measurement changes nothing.
//!
//! Reading order: [`measure`] (figures and the baseline), [`counts`] (those that grow, as the journal has them), [`recent`] (since when shares are judged, and samples taken), [`tripwires`] (how a measurement may end), [`step_watch`] (judges the checks of a step),
//! [`significance`] (denials beyond chance).
//!
//! Must not know: journals, orders, shares, what is done about a tripwire.

mod counts;
mod measure;
mod recent;
mod significance;
mod step_watch;
mod tripwires;

pub(super) use counts::Counts;
pub use measure::Figures;
pub(super) use measure::{MeasureError, Meter, ask_hold, find_other_host};
pub(super) use recent::RecentCounts;
pub(super) use step_watch::StepWatch;
pub use tripwires::{Measurement, MeasurementResult, Tripwire};
