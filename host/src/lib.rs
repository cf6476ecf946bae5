//! The ARK host.

pub mod model;
pub mod store;
