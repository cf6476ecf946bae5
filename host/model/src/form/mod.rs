//! The request form of an action: the JSON that API consumers send, read into a typed [`Action`](crate::action::Action).
//!
//! The envelope is closed: an unknown field is an error, so that a misspelt `reasoning` is not lost. The parameters are open: what has no typed
//! field is kept as extra JSON for operator policies. Field names, defaults and ranges are those of the table in ARCHITECTURE.md; the ranges are
//! checked by [`crate::check`].

mod document;
mod fields;
mod request;

pub use crate::check::check_idempotency_key;
pub use document::parse_json;
pub use fields::FormFields;
pub(crate) use request::parse_parameters;
pub use request::{ActionRequest, parse_action, read_action};
