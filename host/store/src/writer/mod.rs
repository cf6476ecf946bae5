//! Writing: one thread, one connection, one transaction for everything that waits.

mod attesting;
mod checkpoint;
mod loss;
mod metering;
mod operations;
mod thread;
mod unit;

pub use loss::DATABASE_LOST;
pub(crate) use thread::{QueuedUnit, WriterMessage, WriterOptions, start_writer};
