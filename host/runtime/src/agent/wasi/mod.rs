//! The part of WASI 0.2 that agents get: clocks, randomness, standard streams that end in the log, and an environment that is always empty.
//! Of filesystem, sockets and HTTP agents get stubs, which refuse every call ([`stubs`]): toolchains of other languages import them whether an
//! agent uses them or not.
//!
//! Waiting is the only thing in it that could outlast a deadline, since a guest that waits uses no fuel and is not interrupted by epochs. Therefore
//! a timer fires at the invocation's deadline at the latest, and the guest is ended when it gets control back.

mod context;
mod link;
mod stubs;

pub(super) use context::build_context;
pub(super) use link::link_wasi;
pub(super) use stubs::link_stubs;
