//! Signals: accepted once, delivered once to each receiver, and the traces they belong to.

mod outbox;
mod redelivery;
mod signal;
mod trace;

pub use outbox::{OutboxMessage, OutboxRow};
pub(crate) use outbox::{delete_outbox_row, insert_outbox_message};
pub(crate) use redelivery::write_redelivery;
pub use redelivery::{FailedCounts, FailedCursor, FailedDelivery, Redelivery};
pub use signal::{
    DeliveryCompletion, DeliveryResult, ExpiredDelivery, NewSignal, SignalKey, SignalReceipt,
};
pub(crate) use signal::{close_pending_deliveries, complete_delivery, write_signal};
pub use trace::{DeliveryRow, TRACE_ROWS, TraceRows};
