//! The router: it brings signals to the agents that subscribe to them, runs their invocations, and turns the outbox into signals.
//!
//! A delivery is a row of the store, pending until the commit of its invocation completes it. What is held in memory is a copy of pending rows. A host
//! that was killed therefore delivers again what was pending, and nothing that was completed.
//!
//! Invariants:
//! * An agent handles as many signals at a time as its limits allow (one by default), in the order of their acceptance.
//! * A delivery whose invocation fails is completed as failed, with the failure in the audit log, and is not tried again unless an operator
//!   asks for it ([`redelivery`]). One that could not be committed
//!   stays pending and is tried again.
//! * An agent in quarantine is handed no signal. What waits for it keeps waiting, or expires.
//!
//! Reading order: [`handle`] and [`streams`] (accepting signals), [`delivery`] (receivers and their queue places), [`dispatcher`] (whose turn it is), [`workers`] (the
//! threads), [`invocation`] (one invocation), [`slot`] and [`canary`] (the versions of an agent), [`outbox`], [`expiry`],
//! [`redelivery`].
//!
//! Must not know: HTTP, SQL, rules.

mod agent_queue;
mod backlog;
mod canary;
mod config;
mod delivery;
mod dispatcher;
mod error;
mod expiry;
mod failures;
mod handle;
mod invocation;
mod message;
mod metering;
mod outbox;
mod redelivery;
mod slot;
mod streams;
mod work_queue;
mod workers;

pub use canary::Canary;
pub use config::RouterConfig;
pub use error::RouterError;
pub use handle::{
    AcceptedSignal, HOST_TOPIC_PREFIX, IncomingSignal, Router, RouterParts, check_unique_names,
};
pub use redelivery::{RedeliveryError, RedeliveryReceipt, RedeliveryRequest};
pub use slot::{AgentSlot, ServingSlot};
