//! Meters of event streams.

use super::handles::{Counter, Level};

/// Why an event stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[repr(usize)]
pub enum EventStreamEnd {
    /// The client closed it, or its token was revoked or has expired.
    Closed,
    /// The client did not read.
    Unread,
    /// The host ends.
    Stopping,
    /// What comes next went into an archive.
    Archived,
    /// The database or a record of it cannot be read.
    Unreadable,
}

impl EventStreamEnd {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 5] = [
        Self::Closed,
        Self::Unread,
        Self::Stopping,
        Self::Archived,
        Self::Unreadable,
    ];

    /// Returns the name as a label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The event streams.
#[derive(Debug, Default)]
pub struct StreamMeters {
    /// Streams that were opened.
    pub opened: Counter,
    /// Streams that were refused because their token had too many.
    pub refused_of_token: Counter,
    /// Streams that were refused because too many were open.
    pub refused_in_all: Counter,
    /// Streams that have everything and wait for what comes, or are about to get it.
    pub live: Level,
    /// Streams that ended, in the order of [`EventStreamEnd::ALL`].
    ended: [Counter; 5],
}

impl StreamMeters {
    /// Returns the counter of streams that ended for a reason.
    #[must_use]
    pub const fn ended_counter(&self, end: EventStreamEnd) -> &Counter {
        &self.ended[end as usize]
    }

    /// Returns how many streams are open.
    #[must_use]
    pub fn open(&self) -> u64 {
        let ended: u64 = self.ended.iter().map(Counter::get).sum();
        self.opened.get().saturating_sub(ended)
    }
}
