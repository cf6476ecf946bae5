//! Webhooks: events are sent to receivers that cannot hold an event stream, signed after Standard Webhooks.
//!
//! Each webhook has a thread, a connection and a cursor of its own; nothing here runs on the threads of the API, the HRM or the writer, and one
//! receiver that is slow or away holds up no other.
//!
//! Invariants:
//! * An event is sent until it is answered with success, becomes a dead letter, or the webhook is disabled: at least once, in the order of
//!   the log, and under one `webhook-id` whatever is repeated. Where to go on is in the database.
//! * A dead letter is stored in the commit that moves the cursor behind its event.
//! * Receivers are not trusted: connecting and answering have a bounded time, a bounded part of an answer is read, no redirect is followed,
//!   and no connection is made to an address that the operator has not allowed or the Internet does not route ([`guard`]).
//! * Secrets are in no log line, no answer and no error.
//!
//! Reading order: [`config`], [`filter`] (which events), [`secrets`] (signatures), [`guard`] (which addresses), [`client`] (one attempt),
//! [`backoff`] (when the next one is), [`sender`] (the loop), [`status`], [`handle`], [`changes`] (what operators
//! do).
//!
//! Must not know: SQL, how events are rendered, who reads the status.

mod backoff;
mod changes;
mod client;
mod config;
mod filter;
mod guard;
mod handle;
mod secrets;
mod sender;
mod status;

pub use changes::{WebhookChangeError, WebhookRedelivery};
pub use client::{WebhookConnectionError, check_authorities, try_connection};
pub use config::{RetryLimits, WebhookConfig};
pub use filter::{EventFilterError, EventTypeFilter};
pub use guard::{AddressGuard, NetworkError};
pub use handle::{StartWebhookError, Webhooks};
pub use secrets::{SecretFileError, WebhookSecrets};
pub use status::{FailureKind, WebhookState, WebhookStatus};
