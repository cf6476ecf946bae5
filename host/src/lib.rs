//! The ARK host.

pub mod hrm;
pub mod model;
