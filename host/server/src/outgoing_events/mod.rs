//! Events on their way out of the host: what is sent to a Redis and to webhooks.
//!
//! What an event is, which type it has, how it is written, and how much waits. Who sends it, and how, is up to [`crate::redis`] and
//! [`crate::webhooks`].
//!
//! Reading order: [`source`] (what is sent, and who reads it), [`classes`] (types and channels), [`cloud_event`] (the form), [`backlog`] (what
//! waits), [`host_name`] (who sends).
//!
//! Must not know: HTTP, SQL, how records are rendered, where events go.

mod backlog;
mod classes;
mod cloud_event;
mod host_name;
mod source;

pub use backlog::{EventsBacklog, measure_backlog};
pub use classes::{EventChannel, EventClass, classify_alert, classify_row};
pub(crate) use cloud_event::render_cloud_event;
pub(crate) use host_name::{HostNameError, find_host_name};
pub use source::{EventSource, EventSourceError, OutgoingEvent, OutgoingPage};
