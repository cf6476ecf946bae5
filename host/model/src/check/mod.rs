//! The checks that make an input judgeable: every number finite and in its range, every text within its length, every name in its form.
//!
//! [`check_action`] is the only way in for an action, whether it was read from a request or returned by a guest. It also normalises what rules
//! compare (paths lexically, JSON to its canonical text), so that another spelling cannot evade a rule that looks a name up. Symbols keep their
//! spelling, which executors need; they are compared by the key of their instrument ([`crate::instrument`]).

mod action;
mod error;
mod fields;
mod json;
mod path;
pub(crate) mod text;

pub use action::{MAX_SOURCES, check_action};
pub use error::FieldError;
pub use fields::{
    MAX_LABEL, MAX_OPEN_JSON, MAX_TEXT, check_action_type, check_idempotency_key, check_label,
    check_symbol, check_topic, find_resembling_field, fold_name,
};
pub use json::{canonical_json, read_json_field};
pub use path::MAX_PATH;
pub use text::{clip_for_error, clip_to, says_something, to_printable};
