//! Events go out: to a stream, and to the channels of pub/sub.
//!
//! Invariants:
//! * An entry's id is the position of its event in the host's log, as in `/v1/events`. In one transaction the stream is compared with where it
//!   was expected to end, and the next events are appended and published: so no event is in the stream twice, whatever is repeated, and
//!   none is left out.
//! * Where the stream ends says where the sending resumes, if its last entry is of this host's log. The database says it where the stream was
//!   lost. A stream of another log is not touched.
//! * At most a page of events is in memory. Reading, rendering and sending come behind decisions: the thread has a lower priority, and rests for
//!   as long as a page took.
//!
//! Reading order: [`outlet`] (the stream), [`sender`] (the loop), [`status`]. What is sent is [`crate::outgoing_events`].

mod config;
mod error;
mod outlet;
mod sender;
mod status;

pub use config::EventsConfig;
pub use sender::EventSender;
pub use status::EventsStatus;
