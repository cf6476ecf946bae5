//! Redis: signals come in by streams, events go out, and what both look like to operators.
//!
//! Each stream has a thread and a connection of its own; nothing here runs on the threads of the API, the HRM or the writer. A Redis that is
//! away delays signals and events and holds up nothing else.
//!
//! Invariants:
//! * An entry is acknowledged only after the commit of its signal, or after it is in the dead-letter stream. It is accepted once, whatever
//!   is repeated: the database knows it by its id and content, or by the key that its producer gave it.
//! * The entries of a stream are accepted in their order. While a receiver's queue is full the stream is not read: nothing is shed.
//! * In memory are at most as many entries of a stream as one read returns.
//!
//! Reading order: [`address`] and [`connection`] (how a Redis is reached, for every part that uses one), [`entry`] (from an entry to a
//! signal), [`group`] (the commands of a consumer group), [`sink`] (who takes signals), [`signals`] (the loop), [`dead_letters`], [`events`]
//! (what goes out), [`status`].
//!
//! Must not know: HTTP, SQL, rules, how signals are delivered.

mod address;
mod answer;
mod config;
mod connection;
mod dead_letters;
mod entry;
mod error;
mod events;
mod group;
mod signals;
mod sink;
mod status;

pub use address::{AddressError, RedisAddress};
pub use config::{RedisConfig, SignalStream};
pub use connection::{LinkError, RedisLink, RedisSettings};
pub use entry::{EntryForm, PayloadSource};
pub use events::{EventSender, EventsConfig, EventsStatus};
pub use signals::{RedisDeps, RedisReaders};
pub use sink::{AcceptError, SignalSink, StreamSignal, Taken};
pub use status::{RedisStatus, StreamStatus};
