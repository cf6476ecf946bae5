//! How requests are read and answers are written. It knows no resource.

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod deadline;
pub(crate) mod extract;
pub(crate) mod fields;
pub(crate) mod form;
pub(crate) mod head;
pub(crate) mod idempotency;
pub(crate) mod pagination;
pub(crate) mod preconditions;
pub(crate) mod preference;
pub(crate) mod problem;
pub(crate) mod respond;
pub(crate) mod trace_context;
pub(crate) mod unread;
