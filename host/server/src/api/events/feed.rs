//! The thread `ark-events`: it reads the database and renders events for all streams, behind everything else that the host does.
//!
//! A stream asks for the page behind its position. One at the head waits here; when something is committed it is read once, rendered once, and the
//! streams are answered in slices, so that a thousand of them do not wake at one moment. One behind the ring gets its pages from the database,
//! one page in its turn. The thread has a lower priority, and rests after each page from the database for as long as it took.
//!
//! Every open stream has at most one request here, so their number bounds the queue.
//!
//! Invariant: no stream is ahead of the ring's head. A stream begins at a position that the head has reached, and what it gets is read up to the head.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use tokio::sync::{oneshot, watch};

use ark_model::meters::{EventStreamEnd, StreamMeters};
use ark_runtime::lower_thread_priority;
use ark_store::{EventCursor, EventRows, ReadError, Store};

use crate::api::http::problem::Problem;

use super::filter::EventFilter;
use super::render::{Renderer, StoredEvent};
use super::ring::{EventPage, EventRing, PageBuilder, RING_EVENTS};

/// The thread's priority: about a third of the time of another thread when all processors are busy, so that streams never stand still.
const NICE: i32 = 5;
/// How long commits are gathered before they are read.
const GATHER: Duration = Duration::from_millis(20);
/// How many streams at the head are answered at once.
const SLICE: usize = 32;
/// The time between two slices: the connections of one are written to meanwhile.
const SLICE_PAUSE: Duration = Duration::from_millis(8);
/// The longest rest after a page from the database.
const MAX_REST: Duration = Duration::from_millis(20);
/// The most rows of a page from the database.
const PAGE_ROWS: u32 = 128;
/// The most bytes of rows that are read at once, but for one row that is larger by itself.
const READ_BYTES: usize = 64 * 1024;
/// The most bytes of pages that are kept for other streams at the same position.
const KEPT_BYTES: usize = 4 * 1024 * 1024;

/// What the log holds.
pub(in crate::api) struct LogExtent {
    /// The position behind the last event.
    pub(in crate::api) latest: EventCursor,
    /// The number of the first audit row that is not in an archive.
    pub(in crate::api) first_audit_seq: Option<u64>,
}

/// What a stream asks for.
struct PageRequest {
    cursor: EventCursor,
    filter: EventFilter,
    reply: oneshot::Sender<Result<EventPage, EventStreamEnd>>,
}

enum FeedMessage {
    Extent(oneshot::Sender<Result<LogExtent, ReadError>>),
    Page(PageRequest),
    Stop,
}

/// A handle to the thread. Cheap to clone.
#[derive(Clone)]
pub(in crate::api) struct EventFeed {
    messages: Sender<FeedMessage>,
}

impl EventFeed {
    /// Starts the thread. It ends with [`Self::stop`], or when no handle is left.
    ///
    /// # Errors
    /// The database cannot be read, or the thread cannot be started.
    pub(in crate::api) fn start(
        store: Store,
        meters: Arc<StreamMeters>,
    ) -> Result<Self, StartFeedError> {
        let (messages, received) = crossbeam_channel::unbounded();
        let commits = store.subscribe_commits();
        let ring = EventRing::new(store.last_event_cursor()?);
        let worker = FeedWorker {
            messages: received,
            commits,
            ring,
            renderer: Renderer::new(store.clone()),
            store,
            meters,
            waiting: Vec::new(),
            due: VecDeque::new(),
            behind: VecDeque::new(),
            kept: KeptPages::default(),
            prune_at: SLICE,
        };
        std::thread::Builder::new()
            .name("ark-events".to_owned())
            .spawn(move || worker.run())?;
        Ok(Self { messages })
    }

    /// Ends the thread: streams end with it.
    pub(in crate::api) fn stop(&self) {
        let _ = self.messages.send(FeedMessage::Stop);
    }

    /// What the log holds now.
    ///
    /// # Errors
    /// The database cannot be read, or the host ends.
    pub(in crate::api) async fn find_extent(&self) -> Result<LogExtent, Problem> {
        let (reply, answer) = oneshot::channel();
        let _ = self.messages.send(FeedMessage::Extent(reply));
        let extent = answer
            .await
            .map_err(|_| Problem::unavailable("the host ends"))?;
        Ok(extent?)
    }

    /// Asks for the page behind a position. It has an event that the filter includes. The receiver fails when the host ends.
    pub(in crate::api) fn request_page(
        &self,
        cursor: EventCursor,
        filter: &EventFilter,
    ) -> oneshot::Receiver<Result<EventPage, EventStreamEnd>> {
        let (reply, answer) = oneshot::channel();
        let filter = filter.clone();
        let request = PageRequest {
            cursor,
            filter,
            reply,
        };
        let _ = self.messages.send(FeedMessage::Page(request));
        answer
    }
}

/// Why the thread cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartFeedError {
    /// The database cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The system starts no thread.
    #[error("the thread of event streams cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

struct FeedWorker {
    messages: Receiver<FeedMessage>,
    commits: watch::Receiver<u64>,
    store: Store,
    ring: EventRing,
    renderer: Renderer,
    meters: Arc<StreamMeters>,
    /// At the head: nothing is there for them.
    waiting: Vec<PageRequest>,
    /// In the ring: to be answered in the next slices.
    due: VecDeque<PageRequest>,
    /// Behind the ring: to be answered from the database.
    behind: VecDeque<PageRequest>,
    kept: KeptPages,
    /// The number of waiting requests at which those of closed streams are removed.
    prune_at: usize,
}

impl FeedWorker {
    fn run(mut self) {
        lower_thread_priority(NICE);
        let mut read_at = Instant::now();
        loop {
            if !self.receive_message() {
                return;
            }
            if read_at.elapsed() >= GATHER {
                read_at = Instant::now();
                self.follow_head();
            }
            self.answer_slice();
            let began = Instant::now();
            if let Some(request) = self.behind.pop_front() {
                self.answer_from_store(request);
            }
            let live = self.waiting.len() + self.due.len();
            self.meters.live.set(live as u64);
            let rest = began.elapsed().min(MAX_REST);
            let pause = if self.due.is_empty() {
                rest
            } else {
                rest.max(SLICE_PAUSE)
            };
            if !self.is_idle() {
                std::thread::sleep(pause);
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.due.is_empty() && self.behind.is_empty()
    }

    /// Takes what has come. Without anything to do it waits: until something comes, or, with streams at the head, until they may be looked after
    /// again. Returns false when the thread is to end.
    fn receive_message(&mut self) -> bool {
        let mut next = if !self.is_idle() {
            self.messages.try_recv().ok()
        } else if self.waiting.is_empty() {
            match self.messages.recv() {
                Ok(message) => Some(message),
                Err(_) => return false,
            }
        } else {
            match self.messages.recv_timeout(GATHER) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        };
        while let Some(message) = next {
            match message {
                FeedMessage::Stop => return false,
                FeedMessage::Extent(reply) => drop(reply.send(self.find_extent())),
                FeedMessage::Page(request) => self.sort_request(request),
            }
            next = self.messages.try_recv().ok();
        }
        true
    }

    /// What the log holds. The ring comes to its end before, so that no stream is ahead of the ring's head.
    fn find_extent(&mut self) -> Result<LogExtent, ReadError> {
        self.commits.mark_unchanged();
        let before = self.ring.head();
        self.extend_ring()?;
        if self.ring.head() != before {
            self.due.extend(self.waiting.drain(..));
        }
        Ok(LogExtent {
            latest: self.ring.head(),
            first_audit_seq: self.store.first_audit_seq()?,
        })
    }

    fn sort_request(&mut self, request: PageRequest) {
        if request.reply.is_closed() {
            return;
        }
        if request.cursor == self.ring.head() {
            self.waiting.push(request);
            if self.waiting.len() >= self.prune_at {
                self.waiting.retain(|request| !request.reply.is_closed());
                self.prune_at = (2 * self.waiting.len()).max(SLICE);
            }
        } else if self.ring.holds(request.cursor) {
            self.due.push_back(request);
        } else {
            self.behind.push_back(request);
        }
    }

    /// Reads what was committed behind the head.
    fn follow_head(&mut self) {
        if !self.commits.has_changed().unwrap_or(false) {
            return;
        }
        // Seen before the database is read: what is committed meanwhile is noticed.
        self.commits.mark_unchanged();
        if let Err(error) = self.extend_ring() {
            tracing::error!(%error, "event streams end: the database cannot be read");
            self.end_all(EventStreamEnd::Unreadable);
        }
        if self
            .waiting
            .first()
            .is_some_and(|it| it.cursor != self.ring.head())
        {
            self.due.extend(self.waiting.drain(..));
        }
    }

    fn extend_ring(&mut self) -> Result<(), ReadError> {
        let latest = self.store.last_event_cursor()?;
        let head = self.ring.head();
        let missing = latest.audit_seq.saturating_sub(head.audit_seq);
        let is_followed = !(self.waiting.is_empty() && self.due.is_empty());
        if missing > RING_EVENTS as u64 || (missing > 0 && !is_followed) {
            // Nobody is at the head: a stream that was there reads the database.
            self.ring = EventRing::new(latest);
            return Ok(());
        }
        while self.ring.head() != latest {
            let before = self.ring.head();
            let rows = self
                .store
                .events_between(before, latest, PAGE_ROWS, READ_BYTES)?;
            for event in into_events(rows) {
                self.ring.push(event);
            }
            if self.ring.head() == before {
                // Rows are gone into an archive meanwhile, or were removed.
                self.ring = EventRing::new(latest);
            }
        }
        Ok(())
    }

    fn end_all(&mut self, end: EventStreamEnd) {
        let all = self.waiting.drain(..).chain(self.due.drain(..));
        for request in all.chain(self.behind.drain(..)) {
            let _ = request.reply.send(Err(end));
        }
    }

    /// Answers some of the streams whose events are in the ring.
    fn answer_slice(&mut self) {
        for _ in 0..SLICE {
            let Some(mut request) = self.due.pop_front() else {
                return;
            };
            let kept = self.kept.find_page(&request);
            let page = match kept {
                Some(page) => Ok(Some(page)),
                None => self
                    .ring
                    .read_page(request.cursor, &request.filter, &mut self.renderer),
            };
            match page {
                Ok(Some(page)) => {
                    if page.text.is_empty() {
                        request.cursor = page.cursor;
                        self.sort_request(request);
                    } else {
                        self.kept.keep_page(&request, &page);
                        let _ = request.reply.send(Ok(page));
                    }
                }
                // It has fallen out of the ring while it waited for its turn.
                Ok(None) => self.behind.push_back(request),
                Err(end) => drop(request.reply.send(Err(end))),
            }
        }
    }

    /// Answers a stream from the database, or puts it at the end of the queue when it follows none of what was read.
    fn answer_from_store(&mut self, mut request: PageRequest) {
        if request.reply.is_closed() {
            return;
        }
        let page = match self.kept.find_page(&request) {
            Some(page) => Ok(page),
            None => self.read_page(&request),
        };
        match page {
            Ok(page) if page.text.is_empty() => {
                request.cursor = page.cursor;
                self.sort_request(request);
            }
            Ok(page) => {
                self.kept.keep_page(&request, &page);
                let _ = request.reply.send(Ok(page));
            }
            Err(end) => drop(request.reply.send(Err(end))),
        }
    }

    fn read_page(&mut self, request: &PageRequest) -> Result<EventPage, EventStreamEnd> {
        let until = self.ring.head();
        let cursor = request.cursor;
        let rows = self
            .store
            .events_between(cursor, until, PAGE_ROWS, READ_BYTES)
            .map_err(|error| {
                tracing::error!(%error, "an event stream ends: the database cannot be read");
                EventStreamEnd::Unreadable
            })?;
        let next = rows.rows.first().map(|row| row.seq);
        if cursor.audit_seq < until.audit_seq && next != Some(cursor.audit_seq + 1) {
            // What comes next is in an archive by now. The client comes back and is told so.
            return Err(EventStreamEnd::Archived);
        }
        let (is_whole, mut position) = (rows.is_whole, cursor);
        let mut page = PageBuilder::new(cursor);
        for event in into_events(rows) {
            event.advance(&mut position);
            if !request.filter.includes(event.kind(), event.agent()) {
                page.skip_to(position);
                continue;
            }
            let text = self.renderer.render_event(&event, position)?;
            if !page.push(&text, position) {
                return Ok(page.finish());
            }
        }
        if is_whole {
            page.skip_to(until);
        }
        Ok(page.finish())
    }
}

fn into_events(rows: EventRows) -> impl Iterator<Item = StoredEvent> {
    let alerts = rows.alerts.into_iter().map(StoredEvent::Alert);
    rows.rows.into_iter().map(StoredEvent::Row).chain(alerts)
}

/// Pages that other streams at the same position with the same filter get too. The log only grows, so a page stays true.
#[derive(Default)]
struct KeptPages {
    pages: HashMap<(u64, u64, EventFilter), EventPage>,
    order: VecDeque<(u64, u64, EventFilter)>,
    bytes: usize,
}

impl KeptPages {
    fn page_key(request: &PageRequest) -> (u64, u64, EventFilter) {
        let EventCursor {
            audit_seq,
            alert_seq,
        } = request.cursor;
        (audit_seq, alert_seq, request.filter.clone())
    }

    fn find_page(&self, request: &PageRequest) -> Option<EventPage> {
        self.pages.get(&Self::page_key(request)).cloned()
    }

    fn keep_page(&mut self, request: &PageRequest, page: &EventPage) {
        let key = Self::page_key(request);
        if self.pages.contains_key(&key) {
            return;
        }
        self.bytes += page.text.len();
        self.pages.insert(key.clone(), page.clone());
        self.order.push_back(key);
        while self.bytes > KEPT_BYTES {
            let oldest = self.order.pop_front();
            let Some(page) = oldest.and_then(|key| self.pages.remove(&key)) else {
                return;
            };
            self.bytes = self.bytes.saturating_sub(page.text.len());
        }
    }
}
