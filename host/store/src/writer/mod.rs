//! Writing: one thread, one connection, one transaction for everything that waits.

mod alerts;
mod attesting;
mod checkpoint;
mod checkpointer;
mod derived;
mod failures;
mod loss;
mod metering;
mod operator_changes;
mod thread;
mod unit;

pub use alerts::{ANCHORS_LOST, DATABASE_LOCKED, DATABASE_LOST, DISK_FULL, LOG_HELD};
pub(crate) use thread::{
    QueuedUnit, WriterConnections, WriterMessage, WriterOptions, start_writer,
};
