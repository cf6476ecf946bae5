//! The ARK host.

pub mod model;
