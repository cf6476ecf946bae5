//! What an agent or an API consumer proposes: the Rust side of `ark:types/actions`.
//!
//! An [`Action`] has an action type, [`Parameters`] typed by the [`Family`] of that action type, and statements of the proposer about it. A
//! family and a case of [`Parameters`] correspond one to one. [`crate::check::check_action`] refuses an action in which the parameters are not of
//! the family of its built-in type; a type that is not built in may have the parameters of any family except system, and the host's
//! [`ActionTypes`](crate::action_types::ActionTypes) say which.

mod family;
mod fields;
mod parameters;
mod proposal;

pub use family::{BUILT_IN_TYPES, Family};
pub use fields::{FieldForm, TypedField};
pub use parameters::{
    Change, ClosePosition, Custom, DataHandling, DataOperation, ExecuteCode, FileOperation,
    FileVerb, Message, Parameters, Sensitivity, Side, SystemChange, Trade,
};
pub use proposal::{Action, Criticality};
