//! Writing: one thread, one connection, one transaction for everything that waits.

mod metering;
mod operations;
mod thread;
mod unit;

pub(crate) use thread::{QueuedUnit, WriterMessage, WriterOptions, start_writer};
