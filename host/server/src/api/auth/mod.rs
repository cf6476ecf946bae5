//! Who calls, and whether they may.

pub mod access;
mod caller;
mod gate;
mod tickets;

pub(crate) use caller::Caller;
pub(crate) use gate::{Auth, LongAnswer, pass_gate, read_bearer_secret};
pub(crate) use tickets::{LIFETIME as TICKET_LIFETIME, TicketRefusal};
