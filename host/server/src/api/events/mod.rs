//! Events: what was decided, executed, ordered, changed and noticed, for many clients at once, and for a Redis ([`outgoing`]).
//!
//! Invariants: a stream gets everything behind its position, in order, nothing twice and nothing left out. It holds one page of bounded size at a
//! time, and asks for the next when its client has taken it: one that is not read costs no more. All reading of the database and all rendering is
//! done by the thread of [`feed`], whose priority is the lowest.
//!
//! Must not know: requests, tokens.

mod feed;
mod filter;
mod limits;
mod outgoing;
mod render;
mod ring;
mod stream;

pub(super) use feed::EventFeed;
pub use feed::StartFeedError;
pub(super) use filter::{EventFilter, KINDS};
pub use limits::StreamLimits;
pub(super) use limits::{StreamPlace, StreamPlaces};
pub use outgoing::EventReader;
pub(super) use stream::EventStream;
