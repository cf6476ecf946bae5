//! How much each holder uses. The writer counts what it writes, in the order of commits; the totals are rows of `quota_usage`, written in the
//! transaction that they are about.
//!
//! What counts as stored, in bytes of text and [`ROW_BYTES`] for each row:
//! * a revision of a key, for its writer, permanently, since the history stays; and the live value once more, for the agent whose key
//!   it is, until it is replaced or deleted;
//! * a memory, for its agent, until it expires or is deleted; its text twice, since it is indexed;
//! * a revision of a truth or of a setting, for whoever wrote it, permanently;
//! * a message or a signal with its deliveries, for who sent it; of an agent until it is pruned (`offline/prune.rs`), of a token permanently.
//!
//! The audit log is counted by the minute only: its rows are archived.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ark_model::MinuteWindow;
use ark_model::ids::Name;
use ark_model::state::{Memory, TruthWrite};
use ark_model::usage::{QuotaHolder, Totals, Usage};
use parking_lot::Mutex;
use rusqlite::{Connection, params};

use crate::query::{execute_cached, select_rows, select_value};

/// What a row counts beside its texts: ids, times, hashes and its entries in indexes.
pub const ROW_BYTES: u64 = 128;

/// The bytes that an expired or deleted memory gives back, in SQL: those of [`count_memory`].
pub(crate) const MEMORY_BYTES_SQL: &str =
    "octet_length(kind) + 2 * octet_length(content) + octet_length(metadata) + 128";

const fn text_bytes(text: &str) -> u64 {
    text.len() as u64
}

/// The stored bytes of a revision of a key, without its live value.
#[must_use]
pub fn count_revision(key: &str, value: Option<&str>) -> u64 {
    ROW_BYTES + text_bytes(key) + value.map_or(0, text_bytes)
}

/// The stored bytes of a memory.
#[must_use]
pub fn count_memory(memory: &Memory) -> u64 {
    ROW_BYTES
        + text_bytes(&memory.kind)
        + 2 * text_bytes(&memory.content)
        + text_bytes(&memory.metadata_json)
}

/// The stored bytes of a revision of a truth.
#[must_use]
pub fn count_truth(write: &TruthWrite) -> u64 {
    let sources = serde_json::to_string(&write.truth.sources).unwrap_or_default();
    ROW_BYTES + text_bytes(&write.key) + text_bytes(&write.truth.value_json) + text_bytes(&sources)
}

/// The stored bytes of a message or a signal, without its deliveries.
#[must_use]
pub fn count_message(topic: &str, payload_json: &str) -> u64 {
    ROW_BYTES + text_bytes(topic) + text_bytes(payload_json)
}

/// What a unit changes for a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct UsageGrowth {
    /// Stored bytes that are kept, less those that are given back.
    pub(crate) stored: i64,
    pub(crate) keys: i64,
    pub(crate) memories: i64,
    /// Stored bytes that were written, whatever was given back.
    pub(crate) written: u64,
    pub(crate) audit: u64,
    pub(crate) messages: u64,
}

impl UsageGrowth {
    const fn changes_totals(&self) -> bool {
        self.stored != 0 || self.keys != 0 || self.memories != 0
    }
}

/// What a unit changes, by holder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnitUsage(Vec<(QuotaHolder, UsageGrowth)>);

impl UnitUsage {
    /// The growth of a holder, to be added to.
    pub(crate) fn of_holder(&mut self, holder: &QuotaHolder) -> &mut UsageGrowth {
        let place = self.0.iter().position(|(known, _)| known == holder);
        let place = place.unwrap_or_else(|| {
            self.0.push((holder.clone(), UsageGrowth::default()));
            self.0.len() - 1
        });
        &mut self.0[place].1
    }

    /// Counts bytes that `writer` stored and that stay its own.
    pub(crate) fn add_stored(&mut self, writer: Option<&QuotaHolder>, bytes: u64) {
        if let Some(writer) = writer {
            let growth = self.of_holder(writer);
            growth.stored = growth.stored.saturating_add(to_signed(bytes));
            growth.written = growth.written.saturating_add(bytes);
        }
    }

    /// Counts bytes that are kept for an agent (negative: given back to it), and that `writer` wrote.
    pub(crate) fn add_kept(&mut self, agent: &Name, kept: i64, writer: Option<&QuotaHolder>) {
        let owner = QuotaHolder::Agent(agent.clone());
        let growth = self.of_holder(&owner);
        growth.stored = growth.stored.saturating_add(kept);
        let writer = writer.unwrap_or(&owner);
        let written = u64::try_from(kept).unwrap_or(0);
        let growth = self.of_holder(writer);
        growth.written = growth.written.saturating_add(written);
    }

    /// Counts a row of the audit log with this body.
    pub(crate) fn add_audit_row(&mut self, writer: Option<&QuotaHolder>, body: &str) {
        if let Some(writer) = writer {
            let growth = self.of_holder(writer);
            // The row has two lines: one in the audit log, one in the session log.
            let bytes = text_bytes(body) + 2 * ROW_BYTES;
            growth.audit = growth.audit.saturating_add(bytes);
        }
    }
}

pub(crate) fn to_signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

const fn add_signed(total: u64, change: i64) -> u64 {
    total.saturating_add_signed(change)
}

/// How much each holder uses. The writer changes it after each commit; everybody may read it.
#[derive(Debug, Default)]
pub(crate) struct UsageBook {
    holders: Mutex<HashMap<QuotaHolder, HolderBook>>,
    /// Messages in the outbox.
    waiting_messages: AtomicUsize,
}

#[derive(Debug, Clone)]
struct HolderBook {
    totals: Totals,
    written: MinuteWindow,
    audit: MinuteWindow,
    messages: MinuteWindow,
}

impl HolderBook {
    const fn new(totals: Totals, now: Instant) -> Self {
        Self {
            totals,
            written: MinuteWindow::new(now),
            audit: MinuteWindow::new(now),
            messages: MinuteWindow::new(now),
        }
    }
}

impl UsageBook {
    /// Reads the totals of all holders.
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let now = Instant::now();
        let rows = select_rows(
            connection,
            "SELECT consumer, stored_bytes, keys, memories FROM quota_usage",
            [],
            |row| {
                let totals = Totals {
                    stored_bytes: row.get(1)?,
                    keys: row.get(2)?,
                    memories: row.get(3)?,
                };
                Ok((row.get::<_, String>(0)?, totals))
            },
        )?;
        let holders = rows.into_iter().filter_map(|(text, totals)| {
            Some((QuotaHolder::parse(&text)?, HolderBook::new(totals, now)))
        });
        Ok(Self {
            holders: Mutex::new(holders.collect()),
            waiting_messages: AtomicUsize::new(select_value(
                connection,
                "SELECT count(*) FROM outbox",
                [],
            )?),
        })
    }

    /// How many messages are in the outbox.
    pub(crate) fn waiting_messages(&self) -> usize {
        self.waiting_messages.load(Ordering::Acquire)
    }

    /// How much a holder uses now.
    pub(crate) fn read_usage(&self, holder: &QuotaHolder, now: Instant) -> Usage {
        let mut holders = self.holders.lock();
        let Some(book) = holders.get_mut(holder) else {
            return Usage::default();
        };
        Usage {
            totals: book.totals,
            stored_bytes_per_minute: book.written.sum(now),
            audit_bytes_per_minute: book.audit.sum(now),
            messages_per_minute: book.messages.sum(now),
        }
    }

    /// Writes the totals as they are after these units, within the caller's transaction.
    pub(crate) fn save_totals<'a>(
        &self,
        connection: &Connection,
        units: impl IntoIterator<Item = &'a UnitUsage>,
    ) -> rusqlite::Result<()> {
        let mut changed: HashMap<&QuotaHolder, Totals> = HashMap::new();
        let holders = self.holders.lock();
        for (holder, growth) in units.into_iter().flat_map(|usage| &usage.0) {
            if growth.changes_totals() {
                let totals = changed.entry(holder).or_insert_with(|| {
                    holders
                        .get(holder)
                        .map_or_else(Totals::default, |book| book.totals)
                });
                *totals = grow_totals(*totals, growth);
            }
        }
        drop(holders);
        for (holder, totals) in changed {
            execute_cached(
                connection,
                "INSERT INTO quota_usage (consumer, stored_bytes, keys, memories) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (consumer) DO UPDATE SET stored_bytes = ?2, keys = ?3, memories = ?4",
                params![
                    holder.to_string(),
                    to_signed(totals.stored_bytes),
                    to_signed(totals.keys),
                    to_signed(totals.memories)
                ],
            )?;
        }
        Ok(())
    }

    /// Counts a unit that is committed.
    ///
    /// `put` and `taken`: how many messages it put into the outbox and took from it.
    pub(crate) fn apply_unit(&self, usage: &UnitUsage, (put, taken): (usize, usize), now: Instant) {
        // The writer alone changes the number.
        let waiting = self.waiting_messages();
        self.waiting_messages
            .store((waiting + put).saturating_sub(taken), Ordering::Release);
        self.apply_usage(usage, now);
    }

    /// Counts what was changed without a unit.
    pub(crate) fn apply_usage(&self, usage: &UnitUsage, now: Instant) {
        if usage.0.is_empty() {
            return;
        }
        let mut holders = self.holders.lock();
        for (holder, growth) in &usage.0 {
            let book = holders
                .entry(holder.clone())
                .or_insert_with(|| HolderBook::new(Totals::default(), now));
            book.totals = grow_totals(book.totals, growth);
            for (window, amount) in [
                (&mut book.written, growth.written),
                (&mut book.audit, growth.audit),
                (&mut book.messages, growth.messages),
            ] {
                if amount > 0 {
                    window.add(amount, now);
                }
            }
        }
    }
}

const fn grow_totals(totals: Totals, growth: &UsageGrowth) -> Totals {
    Totals {
        stored_bytes: add_signed(totals.stored_bytes, growth.stored),
        keys: add_signed(totals.keys, growth.keys),
        memories: add_signed(totals.memories, growth.memories),
    }
}
