//! Sends events: the loop of the thread `ark-redis-out`.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use parking_lot::Mutex;
use tokio::sync::watch;

use ark_model::ids::Millis;
use ark_runtime::lower_thread_priority;
use ark_store::{EventCursor, RedisChange, Store, Unit};

use super::config::EventsConfig;
use super::error::SendingError;
use super::outlet::{ResumePoint, find_resume_point, unwatch_stream, watch_end};
use super::status::EventsStatus;
use crate::outgoing_events::{EventSource, find_host_name};
use crate::redis::connection::{RedisLink, RedisSettings};

/// The thread's priority: that of the thread that reads events for `/v1/events`.
const NICE: i32 = 5;
/// How long the Redis may take for one command.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long commits are gathered before they are read.
const GATHER: Duration = Duration::from_millis(50);
/// The longest rest after a page.
const MAX_REST: Duration = Duration::from_millis(20);
/// How long the sending waits at least after a failure.
const FAILURE_PAUSE: Duration = Duration::from_millis(200);
/// How long it waits at least after a failure that only an operator can end, e.g. a stream of another host.
const STANDING_PAUSE: Duration = Duration::from_secs(2);
/// How often it is recorded how far events were sent. What is behind it is known from the stream, unless that is lost.
const RECORD_INTERVAL: Duration = Duration::from_secs(5);
/// How long the end of the host waits for what was committed last.
const FINISH_TIME: Duration = Duration::from_secs(2);

/// The thread that sends events. It ends on [`EventSender::close`].
pub struct EventSender {
    thread: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

impl EventSender {
    /// Starts the thread. Where no event was ever sent, it begins with what is committed from now on.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        settings: &Arc<RedisSettings>,
        config: &EventsConfig,
        store: &Store,
        source: Box<dyn EventSource>,
        status: &Arc<EventsStatus>,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let mut sending = RedisSender {
            config: config.clone(),
            link: RedisLink::new(Arc::clone(settings), TIMEOUT),
            commits: store.subscribe_commits(),
            store: store.clone(),
            source,
            status: Arc::clone(status),
            name: config.source.clone(),
            recorded: None,
            recorded_at: Instant::now(),
            resume_point: None,
            is_idle: false,
        };
        if let Err(error) = sending.find_recorded() {
            tracing::warn!(%error, "it is not recorded yet where the sending of events begins");
        }
        let thread = std::thread::Builder::new()
            .name("ark-redis-out".to_owned())
            .spawn(move || sending.run(&stopped))?;
        Ok(Self {
            thread: Mutex::new(Some((stop, thread))),
        })
    }

    /// Ends the thread, after a short time for what was committed last. What is not sent then is sent by the next start.
    pub fn close(&self) {
        let Some((stop, thread)) = self.thread.lock().take() else {
            return;
        };
        drop(stop);
        if thread.join().is_err() {
            tracing::error!("the thread that sends events ended in a panic");
        }
    }
}

struct RedisSender {
    config: EventsConfig,
    link: RedisLink,
    commits: watch::Receiver<u64>,
    store: Store,
    source: Box<dyn EventSource>,
    status: Arc<EventsStatus>,
    /// The `source` of the events, once it is known.
    name: Option<String>,
    /// How far events were sent, as the database has it.
    recorded: Option<EventCursor>,
    recorded_at: Instant,
    /// Where the stream was left; `None`: it must be looked at.
    resume_point: Option<ResumePoint>,
    /// Whether everything was sent that was committed before the last change of `commits` that was seen.
    is_idle: bool,
}

/// The result of one step.
enum RedisStep {
    /// Everything that is committed is sent.
    Idle,
    /// A page was sent, or the stream is looked at again; there may be more.
    Moved,
}

impl RedisSender {
    fn run(&mut self, stopped: &Receiver<()>) {
        lower_thread_priority(NICE);
        let mut pause = Duration::ZERO;
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let began = Instant::now();
            pause = match self.send_page() {
                Ok(RedisStep::Idle) => GATHER,
                Ok(RedisStep::Moved) => began.elapsed().min(MAX_REST),
                Err(error) => {
                    self.record_failure(&error);
                    let least = match error {
                        SendingError::Link(_) => FAILURE_PAUSE,
                        _ => STANDING_PAUSE,
                    };
                    self.link.retry_delay().max(least)
                }
            };
            if self.recorded_at.elapsed() >= RECORD_INTERVAL {
                self.record_position();
            }
        }
        let began = Instant::now();
        while began.elapsed() < FINISH_TIME && matches!(self.send_page(), Ok(RedisStep::Moved)) {}
        self.record_position();
    }

    fn record_failure(&mut self, error: &SendingError) {
        // Whether the last events are in the stream is looked up.
        self.resume_point = None;
        if let SendingError::Link(error) = error {
            self.link.record_failure(error);
            self.status.failures.increment();
        }
        let problem = error.to_string();
        if self.status.problem().as_ref() != Some(&problem) {
            tracing::warn!(stream = self.config.stream, %error, "events are not sent for now");
        }
        self.status.set_problem(Some(problem));
    }

    /// Sends a page.
    fn send_page(&mut self) -> Result<RedisStep, SendingError> {
        if self.is_idle
            && self.resume_point.is_some()
            && !self.commits.has_changed().unwrap_or(false)
        {
            return Ok(RedisStep::Idle);
        }
        self.is_idle = false;
        let recorded = self.find_recorded()?;
        let name = self.find_name()?;
        let mut point = match self.resume_point {
            Some(point) => point,
            None => self.look_up_resume_point(recorded)?,
        };
        // Seen before the database is read: what is committed meanwhile is noticed.
        self.commits.mark_unchanged();
        let page = self.source.read_behind(point.position)?;
        if page.events.is_empty() {
            point.skip_to(page.end);
        } else {
            let connection = self.link.connect()?;
            let end = watch_end(connection, &self.config.stream)?;
            if !point.is_end(&end) {
                self.resume_point = None;
                unwatch_stream(connection)?;
                return Ok(RedisStep::Moved);
            }
            if !point.append(connection, &self.config, &name, &page.events)? {
                self.resume_point = None;
                return Ok(RedisStep::Moved);
            }
            self.status.sent.add(page.events.len() as u64);
            self.status.note_answer();
        }
        // Once for each page: one that could not be appended is read again.
        if page.missed > 0 {
            self.status.missed.add(page.missed);
            tracing::warn!(
                missed = page.missed,
                "audit rows went into an archive before they were sent as events"
            );
        }
        self.resume_point = Some(point);
        self.status.set_position(point.position);
        self.link.record_success();
        if self.status.problem().is_some() {
            self.status.set_problem(None);
            tracing::info!(stream = self.config.stream, "events are sent again");
        }
        self.is_idle = page.is_last;
        Ok(if page.is_last {
            RedisStep::Idle
        } else {
            RedisStep::Moved
        })
    }

    fn look_up_resume_point(&mut self, recorded: EventCursor) -> Result<ResumePoint, SendingError> {
        let connection = self.link.connect()?;
        let end = watch_end(connection, &self.config.stream)?;
        unwatch_stream(connection)?;
        self.status.note_answer();
        let point = find_resume_point(&end, &self.store, recorded)?;
        tracing::debug!(
            stream = self.config.stream,
            audit_seq = point.position.audit_seq,
            alert_seq = point.position.alert_seq,
            "events are sent from here on"
        );
        self.status.set_position(point.position);
        Ok(point)
    }

    /// How far events were sent, as the database has it. The first time it is how far the log has come.
    fn find_recorded(&mut self) -> Result<EventCursor, SendingError> {
        if let Some(recorded) = self.recorded {
            return Ok(recorded);
        }
        let recorded = match self.store.sent_events()? {
            Some(recorded) => recorded,
            None => {
                let head = self.store.last_event_cursor()?;
                self.commit_position(head)?;
                head
            }
        };
        self.recorded = Some(recorded);
        Ok(recorded)
    }

    fn find_name(&mut self) -> Result<String, SendingError> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let name = format!("/hosts/{}", find_host_name(&self.store)?);
        self.name = Some(name.clone());
        Ok(name)
    }

    /// Records how far events were sent, if that changed. When it cannot be, the next time does it.
    fn record_position(&mut self) {
        self.recorded_at = Instant::now();
        let Some(position) = self.resume_point.map(|point| point.position) else {
            return;
        };
        if self.recorded == Some(position) {
            return;
        }
        match self.commit_position(position) {
            Ok(()) => self.recorded = Some(position),
            Err(error) => tracing::debug!(%error, "how far events were sent is not recorded"),
        }
    }

    fn commit_position(&self, position: EventCursor) -> Result<(), SendingError> {
        self.store.commit(Unit {
            at: Millis::now(),
            redis: vec![RedisChange::Send(position)],
            ..Unit::default()
        })?;
        Ok(())
    }
}
