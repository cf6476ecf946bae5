//! What an agent or an API consumer proposes: the Rust side of `ark:types/actions`.
//!
//! An [`Action`] has an action type, [`Parameters`] typed by the [`Family`] of that action type, and statements of the proposer about it. A
//! family and a case of [`Parameters`] correspond one to one; [`crate::check::check_action`] refuses an action in which they differ.

mod family;
mod parameters;
mod proposal;

pub use family::Family;
pub use parameters::{
    Change, ClosePosition, Custom, DataHandling, DataOperation, ExecuteCode, FileOperation,
    FileVerb, Message, Parameters, Sensitivity, Side, SystemChange, Trade,
};
pub use proposal::{Action, Criticality};
