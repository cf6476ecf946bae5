//! Reads streams: every entry becomes a signal, or a dead letter, and is then acknowledged.
//!
//! A stream has a thread. After each connection it makes the group if there is none, then reads what it was given before and has not
//! acknowledged, then what is new. It holds one batch at a time: while that waits for room in a queue, nothing more is read.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use parking_lot::Mutex;

use ark_store::{CommitError, ReadError, Store};

use super::config::{RedisConfig, SignalStream};
use super::connection::RedisLink;
use super::dead_letters::{RefusedEntry, put_aside};
use super::entry::StreamEntry;
use super::error::ReadingError;
use super::group::{BATCH, CLAIM_IDLE_MS, Group, parse_entry_id, read_run_id};
use super::sink::{AcceptError, SignalSink, StreamSignal, Taken};
use super::status::{RedisStatus, StreamStatus};
use crate::outgoing_events::find_host_name;

/// How long the Redis may take for one command. A read that waits for entries waits less.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a batch waits until it is offered again, when a receiver's queue was full.
const FULL_PAUSE: Duration = Duration::from_millis(20);
/// How long it waits when it could not be committed.
const COMMIT_PAUSE: Duration = Duration::from_millis(500);
/// How often entries of consumers that are gone are looked for.
const CLAIM_INTERVAL: Duration = Duration::from_secs(15);
/// How often a batch that waits is shown to be held still.
const KEEP_INTERVAL: Duration = Duration::from_millis(CLAIM_IDLE_MS / 4);
/// An entry that was read as often as this without an end is read alone: what is read with it must not count for it.
const SUSPICIOUS_READS: u64 = 3;

/// The parts of the host that reading streams uses.
pub struct RedisDeps {
    /// Takes the signals.
    pub sink: Arc<dyn SignalSink>,
    /// Keeps how far streams were read, and what was refused.
    pub store: Store,
    /// Where it is shown how reading goes.
    pub status: Arc<RedisStatus>,
}

/// The threads that read streams. They end on [`RedisReaders::close`].
pub struct RedisReaders {
    threads: Mutex<Vec<(Sender<()>, JoinHandle<()>)>>,
}

impl RedisReaders {
    /// Starts a thread for each stream.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(config: &RedisConfig, deps: &RedisDeps) -> std::io::Result<Self> {
        let mut threads = Vec::new();
        for (number, stream) in config.signals.iter().enumerate() {
            let (stop, stopped) = crossbeam_channel::bounded(0);
            let mut reader = StreamReader {
                stream: stream.clone(),
                number,
                link: RedisLink::new(Arc::clone(&config.settings), TIMEOUT),
                sink: Arc::clone(&deps.sink),
                store: deps.store.clone(),
                status: Arc::clone(&deps.status),
                stopped,
                consumer: None,
                run_id: String::new(),
                phase: NextRead::Own("0".to_owned()),
                has_caught_up: false,
                claim_at: Instant::now(),
            };
            let thread = std::thread::Builder::new()
                .name("ark-redis-in".to_owned())
                .spawn(move || reader.run())?;
            threads.push((stop, thread));
        }
        Ok(Self {
            threads: Mutex::new(threads),
        })
    }

    /// Ends the threads. What was read and is not a signal yet is read again by the next start.
    pub fn close(&self) {
        let threads = std::mem::take(&mut *self.threads.lock());
        let (stops, threads): (Vec<_>, Vec<_>) = threads.into_iter().unzip();
        drop(stops);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread that reads a stream ended in a panic");
            }
        }
    }
}

/// Entries that may become signals, with the signals they become.
#[derive(Default)]
struct EntryBatch<'a> {
    entries: Vec<&'a StreamEntry>,
    signals: Vec<StreamSignal>,
}

/// What is read next.
enum NextRead {
    /// What this consumer was given and has not acknowledged, behind this entry.
    Own(String),
    /// What no consumer was given.
    New,
}

struct StreamReader {
    stream: SignalStream,
    /// The place of the stream in the configuration.
    number: usize,
    link: RedisLink,
    sink: Arc<dyn SignalSink>,
    store: Store,
    status: Arc<RedisStatus>,
    stopped: Receiver<()>,
    /// This host's name in consumer groups, once it is known.
    consumer: Option<String>,
    run_id: String,
    phase: NextRead,
    /// Everything that was pending at the start of the host has been processed.
    has_caught_up: bool,
    claim_at: Instant,
}

impl StreamReader {
    fn run(&mut self) {
        while !self.is_stopped(Duration::ZERO) {
            let Err(error) = self.read_and_process() else {
                self.link.record_success();
                self.show_problem(None);
                continue;
            };
            match &error {
                ReadingError::Accept(AcceptError::Closed)
                | ReadingError::Commit(CommitError::Closed)
                | ReadingError::Read(ReadError::Closed) => return,
                ReadingError::Link(error) => self.link.record_failure(error),
                // The connection did nothing wrong.
                ReadingError::Read(_) | ReadingError::Commit(_) | ReadingError::Accept(_) => {}
            }
            self.show_problem(Some(&error));
            let pause = self.link.retry_delay().max(FULL_PAUSE);
            if self.is_stopped(pause) {
                return;
            }
        }
    }

    /// Waits for up to `pause`. Returns whether the thread is to end.
    fn is_stopped(&self, pause: Duration) -> bool {
        self.stopped.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected)
    }

    fn show_problem(&self, error: Option<&ReadingError>) {
        let Some(status) = self.status() else { return };
        let problem = error.map(ToString::to_string);
        if let Some(problem) = &problem {
            status.failures.increment();
            if status.problem().is_none() {
                tracing::warn!(stream = self.stream.stream, problem, "a stream is not read");
            }
        } else {
            status.note_answer();
            if status.problem().is_some() {
                tracing::info!(stream = self.stream.stream, "the stream is read again");
            }
        }
        status.set_problem(problem);
    }

    fn status(&self) -> Option<&StreamStatus> {
        self.status.streams.get(self.number)
    }

    fn open_group(&mut self) -> Result<Group, ReadingError> {
        let consumer = match &self.consumer {
            Some(consumer) => consumer.clone(),
            None => {
                let consumer = find_host_name(&self.store)?;
                self.consumer = Some(consumer.clone());
                consumer
            }
        };
        Ok(Group {
            stream: self.stream.stream.clone(),
            group: self.stream.group.clone(),
            consumer,
        })
    }

    /// Reads once and processes what was read.
    fn read_and_process(&mut self) -> Result<(), ReadingError> {
        let group = self.open_group()?;
        if !self.link.is_connected() {
            self.link.connect()?;
            self.open_stream(&group)?;
        }
        match &self.phase {
            NextRead::Own(after) => {
                let after = after.clone();
                self.process_own(&group, &after)
            }
            NextRead::New if Instant::now() >= self.claim_at => {
                self.claim_at = Instant::now() + CLAIM_INTERVAL;
                self.claim_entries(&group)
            }
            NextRead::New => {
                let entries = group.read_new(self.link.connect()?)?;
                self.process_entries(&group, &entries, &HashMap::new())
            }
        }
    }

    /// Makes the group if there is none, and notices a server or a stream that started again.
    fn open_stream(&mut self, group: &Group) -> Result<(), ReadingError> {
        let connection = self.link.connect()?;
        let group_made = group.create(connection)?;
        let run_id = read_run_id(connection)?.unwrap_or_default();
        let last_id = group.last_id(connection)?;
        if let Some(position) = self.store.stream_position(&group.stream)? {
            let restarted = !run_id.is_empty() && position.run_id != run_id;
            let last_id = last_id.as_deref().and_then(parse_entry_id);
            let began_anew = last_id < parse_entry_id(&position.last_entry);
            if restarted || began_anew || group_made {
                tracing::warn!(
                    stream = group.stream,
                    restarted,
                    began_anew,
                    group_made,
                    read_up_to = position.last_entry,
                    "the Redis is not as it was left; what it holds is compared with the database"
                );
            }
        }
        self.run_id = run_id;
        self.phase = NextRead::Own("0".to_owned());
        Ok(())
    }

    /// Processes what this consumer was given before, one batch of it.
    fn process_own(&mut self, group: &Group, after: &str) -> Result<(), ReadingError> {
        let connection = self.link.connect()?;
        let mut reads = group.count_reads(connection, after, BATCH)?;
        let is_suspicious = reads.values().any(|reads| *reads >= SUSPICIOUS_READS);
        let count = if is_suspicious { 1 } else { BATCH };
        let entries = group.read_own(connection, after, count)?;
        let Some(last) = entries.last().map(|entry| entry.id.clone()) else {
            self.phase = NextRead::New;
            self.has_caught_up = true;
            return Ok(());
        };
        if self.has_caught_up {
            // This process read them before and is still alive, so they did not end it: that reading is not counted.
            group.keep_entries(connection, &entry_ids(&entries))?;
            reads.clear();
        }
        self.process_entries(group, &entries, &reads)?;
        self.phase = NextRead::Own(last);
        Ok(())
    }

    /// Takes over what consumers that are gone have held.
    fn claim_entries(&mut self, group: &Group) -> Result<(), ReadingError> {
        let mut start = "0-0".to_owned();
        loop {
            let claimed = group.claim_entries(self.link.connect()?, &start)?;
            if let Some(status) = self.status() {
                status.claimed.add(claimed.entries.len() as u64);
            }
            self.process_entries(group, &claimed.entries, &HashMap::new())?;
            if claimed.next == "0-0" || self.is_stopped(Duration::ZERO) {
                return Ok(());
            }
            start = claimed.next;
        }
    }

    /// Makes signals or dead letters of entries, in their order, and acknowledges them. `reads`: how often each was read before; without a
    /// number it was not.
    fn process_entries(
        &mut self,
        group: &Group,
        entries: &[StreamEntry],
        reads: &HashMap<String, u64>,
    ) -> Result<(), ReadingError> {
        let mut batch = EntryBatch::default();
        for entry in entries {
            let reads = reads.get(&entry.id).copied().unwrap_or_default();
            if entry.fields.is_none() {
                self.submit_batch(group, &mut batch)?;
                group.acknowledge(self.link.connect()?, std::slice::from_ref(&entry.id))?;
                if let Some(status) = self.status() {
                    status.trimmed.increment();
                }
                continue;
            }
            let made = if reads >= self.stream.max_attempts {
                Err(format!(
                    "it was read {reads} times, and the host ended each time before it was a signal"
                ))
            } else {
                let made = self.stream.form.to_signal(&group.stream, entry);
                made.map_err(|error| error.to_string())
            };
            match made {
                Ok(signal) => {
                    batch.entries.push(entry);
                    batch.signals.push(signal);
                }
                Err(reason) => {
                    // What is before it in the stream comes first.
                    self.submit_batch(group, &mut batch)?;
                    self.refuse_entry(group, entry, &reason, reads + 1)?;
                }
            }
        }
        self.submit_batch(group, &mut batch)
    }

    /// Hands a batch over, waits until all of it is durable, and acknowledges it. The batch is empty then.
    fn submit_batch(
        &mut self,
        group: &Group,
        batch: &mut EntryBatch<'_>,
    ) -> Result<(), ReadingError> {
        let mut keep_at = Instant::now();
        while !batch.signals.is_empty() {
            let pause = match self.sink.take_signals(&batch.signals, &self.run_id) {
                Ok(taken) if taken.is_empty() => {
                    self.show_waiting(true);
                    FULL_PAUSE
                }
                Ok(taken) => {
                    self.acknowledge_entries(group, batch, &taken)?;
                    continue;
                }
                Err(AcceptError::Closed) => return Err(AcceptError::Closed.into()),
                Err(error) => {
                    self.show_problem(Some(&error.into()));
                    COMMIT_PAUSE
                }
            };
            if Instant::now() >= keep_at {
                keep_at = Instant::now() + KEEP_INTERVAL;
                let ids: Vec<String> = batch.entries.iter().map(|e| e.id.clone()).collect();
                group.keep_entries(self.link.connect()?, &ids)?;
            }
            if self.is_stopped(pause) {
                return Err(AcceptError::Closed.into());
            }
        }
        self.show_waiting(false);
        Ok(())
    }

    /// Acknowledges the first entries of a batch, whose results these are, and removes them from it.
    fn acknowledge_entries(
        &mut self,
        group: &Group,
        batch: &mut EntryBatch<'_>,
        taken: &[Taken],
    ) -> Result<(), ReadingError> {
        let mut done = Vec::with_capacity(taken.len());
        let mut reused = Vec::new();
        let count = taken.len().min(batch.entries.len());
        batch.signals.drain(..count);
        for (entry, taken) in batch.entries.drain(..count).zip(taken) {
            match taken {
                Taken::KeyReused => reused.push(entry),
                Taken::Accepted | Taken::Duplicate => done.push(entry.id.clone()),
            }
        }
        if let Some(status) = self.status() {
            let count = |kind| taken.iter().filter(|taken| **taken == kind).count() as u64;
            status.accepted.add(count(Taken::Accepted));
            status.duplicates.add(count(Taken::Duplicate));
        }
        group.acknowledge(self.link.connect()?, &done)?;
        for entry in reused {
            self.refuse_entry(
                group,
                entry,
                "its key was used for another signal; use a fresh key",
                1,
            )?;
        }
        Ok(())
    }

    /// Puts an entry into the dead-letter stream and acknowledges it.
    fn refuse_entry(
        &mut self,
        group: &Group,
        entry: &StreamEntry,
        reason: &str,
        attempts: u64,
    ) -> Result<(), ReadingError> {
        loop {
            let refusal = RefusedEntry {
                entry,
                reason,
                attempts,
            };
            let connection = self.link.connect()?;
            let dead_letters = &self.stream.dead_letters;
            match put_aside(&self.store, connection, group, dead_letters, &refusal) {
                Ok(()) => break,
                Err(error) if is_passing(&error) => self.show_problem(Some(&error)),
                Err(error) => return Err(error),
            }
            if self.is_stopped(COMMIT_PAUSE) {
                return Err(AcceptError::Closed.into());
            }
        }
        if let Some(status) = self.status() {
            status.refused.increment();
        }
        Ok(())
    }

    fn show_waiting(&self, waits: bool) {
        if let Some(status) = self.status() {
            status.set_waiting(waits);
        }
    }
}

/// Returns whether the database fails for now. It is waited for with the entry at hand: reading it again would count as another attempt.
fn is_passing(error: &ReadingError) -> bool {
    match error {
        ReadingError::Commit(error) => !matches!(error, CommitError::Closed),
        ReadingError::Read(error) => !matches!(error, ReadError::Closed),
        ReadingError::Link(_) | ReadingError::Accept(_) => false,
    }
}

fn entry_ids(entries: &[StreamEntry]) -> Vec<String> {
    entries.iter().map(|entry| entry.id.clone()).collect()
}
