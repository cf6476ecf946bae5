//! The loop of a webhook: it reads events behind its cursor and sends one after the other.

mod progress;
mod redelivery;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tokio::sync::watch;

use ark_model::ids::Millis;
use ark_runtime::lower_thread_priority;
use ark_store::{CommitError, EventCursor, ReadError, Store, Unit, WebhookChange, WebhookProgress};

use super::client::{AttemptResult, WebhookClient};
use super::config::WebhookConfig;
use super::status::{FailureKind, WebhookStatus};
use crate::outgoing_events::{
    EventSource, EventSourceError, HostNameError, OutgoingEvent, find_host_name, render_cloud_event,
};

/// The thread's priority: that of the thread that reads events for `/v1/events`.
const NICE: i32 = 5;
/// How long a thread with nothing to send waits until it looks again.
const GATHER: Duration = Duration::from_millis(100);
/// How long it waits after a failure on this side: of the database, a record, or the file of secrets.
const STANDING_PAUSE: Duration = Duration::from_secs(2);
/// How often it is recorded how far events were sent. What was sent since then is sent again after a kill.
const RECORD_INTERVAL: Duration = Duration::from_secs(1);
/// How long the end of the host may take for what was committed last.
const FINISH_TIME: Duration = Duration::from_secs(1);

/// Why nothing is sent now.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Source(#[from] EventSourceError),
    #[error(transparent)]
    HostName(#[from] HostNameError),
    #[error("an event cannot be encoded: {0}")]
    Encode(#[from] serde_json::Error),
    #[error("{0}")]
    Unsent(String),
}

/// The result of one step.
enum WebhookStep {
    /// There is nothing to send now.
    Idle,
    /// There may be more.
    Moved,
    /// The next attempt is so long away.
    Waits(Duration),
}

/// An event that is ready to be sent.
struct Prepared {
    id: String,
    event_type: String,
    at: Millis,
    body: String,
    /// How far the webhook has come when the event is delivered or a dead letter.
    position: EventCursor,
}

pub(super) struct WebhookSender {
    config: WebhookConfig,
    client: WebhookClient,
    store: Store,
    commits: watch::Receiver<u64>,
    source: Box<dyn EventSource>,
    status: Arc<WebhookStatus>,
    /// The `source` of the events, once it is known.
    host: Option<String>,
    /// How far the webhook has come; `None`: that is not known yet.
    progress: Option<WebhookProgress>,
    /// The progress that the database has.
    recorded: Option<WebhookProgress>,
    recorded_at: Instant,
    is_disabled: bool,
    /// Whether the database may say something new: an operator has enabled the webhook or asked for a redelivery.
    must_load: bool,
    /// Whether a dead letter may be waiting for one more attempt.
    may_redeliver: bool,
    /// Whether it is the turn of dead letters. Events take every other one, so that many dead letters hold up no event.
    is_redelivery_turn: bool,
    current: Option<Prepared>,
    /// Events that were read and not looked at yet, and the position behind them.
    page: VecDeque<OutgoingEvent>,
    page_end: Option<EventCursor>,
    /// Whether everything was read that was committed before the last change of `commits` that was seen.
    is_idle: bool,
    /// Why the last attempt at the current event failed.
    last_reason: String,
    /// The time from which on the host itself cannot make an attempt, e.g. for want of the secret; `None`: it can.
    unable_since: Option<Millis>,
}

impl WebhookSender {
    /// Makes the loop of a webhook. Where it has never sent an event, it begins with what is committed from now on.
    pub(super) fn new(
        config: &WebhookConfig,
        client: WebhookClient,
        store: &Store,
        source: Box<dyn EventSource>,
        status: &Arc<WebhookStatus>,
    ) -> Self {
        let mut sending = Self {
            config: config.clone(),
            client,
            commits: store.subscribe_commits(),
            store: store.clone(),
            source,
            status: Arc::clone(status),
            host: None,
            progress: None,
            recorded: None,
            recorded_at: Instant::now(),
            is_disabled: false,
            must_load: true,
            may_redeliver: false,
            is_redelivery_turn: true,
            current: None,
            page: VecDeque::new(),
            page_end: None,
            is_idle: false,
            last_reason: String::new(),
            unable_since: None,
        };
        if let Err(error) = sending.load_progress() {
            tracing::warn!(webhook = %config.name, %error, "it is not recorded yet where a webhook begins");
        }
        sending
    }

    pub(super) fn run(mut self, stopped: &Receiver<()>) {
        lower_thread_priority(NICE);
        let mut wait = Duration::ZERO;
        while stopped.recv_timeout(wait.min(GATHER)) == Err(RecvTimeoutError::Timeout) {
            let has_changed = self.status.take_change();
            // A pause longer than a look around is waited for in parts, so that an operator's change ends it.
            if !has_changed && wait > GATHER {
                wait -= GATHER;
                continue;
            }
            self.must_load |= has_changed;
            wait = match self.send_next() {
                Ok(WebhookStep::Idle) => {
                    self.note_ability();
                    GATHER
                }
                Ok(WebhookStep::Moved) => Duration::ZERO,
                Ok(WebhookStep::Waits(wait)) => {
                    self.note_ability();
                    wait
                }
                Err(error) => {
                    self.note_inability(&error.to_string());
                    STANDING_PAUSE
                }
            };
            if self.recorded_at.elapsed() >= RECORD_INTERVAL {
                self.record_progress();
            }
        }
        let began = Instant::now();
        while began.elapsed() < FINISH_TIME && matches!(self.send_next(), Ok(WebhookStep::Moved)) {}
        self.record_progress();
    }

    /// Reads what the database has of the webhook. The first time it begins where the log ends.
    fn load_progress(&mut self) -> Result<(), StepError> {
        let name = &self.config.name;
        let (recorded, disabled) = match self.store.webhook(name)? {
            Some(row) => (row.progress, row.disabled),
            None => {
                let progress = WebhookProgress {
                    cursor: self.store.last_event_cursor()?,
                    ..WebhookProgress::default()
                };
                let change = WebhookChange::Progress(name.clone(), progress.clone());
                self.commit_changes(vec![change])?;
                (progress, None)
            }
        };
        let mut progress = self.progress.take().unwrap_or_else(|| recorded.clone());
        if self.is_disabled && disabled.is_none() {
            // An operator has enabled it, which begins the attempts again.
            progress.attempts = 0;
            progress.retry_at = None;
            progress.failing_since = None;
            self.status.update(|state| state.problem = None);
        }
        self.is_disabled = disabled.is_some();
        self.must_load = false;
        self.may_redeliver = true;
        self.recorded = Some(recorded);
        self.status.update(|state| state.disabled = disabled);
        self.keep_progress(progress);
        Ok(())
    }

    fn send_next(&mut self) -> Result<WebhookStep, StepError> {
        if self.must_load {
            self.load_progress()?;
        }
        if self.is_disabled {
            return Ok(WebhookStep::Idle);
        }
        let is_redelivery_turn = std::mem::replace(&mut self.is_redelivery_turn, true);
        if self.may_redeliver && is_redelivery_turn {
            if let Some(letter) = self.store.next_webhook_redelivery(&self.config.name)? {
                self.is_redelivery_turn = false;
                self.redeliver(&letter)?;
                return Ok(WebhookStep::Moved);
            }
            self.may_redeliver = false;
        }
        let step = self.step_events()?;
        Ok(if self.may_redeliver {
            WebhookStep::Moved
        } else {
            step
        })
    }

    /// Tries the next event, if its time has come.
    fn step_events(&mut self) -> Result<WebhookStep, StepError> {
        let Some(mut progress) = self.progress.clone() else {
            return Ok(WebhookStep::Idle);
        };
        let is_ready = self.prepare_next_event(&mut progress);
        self.keep_progress(progress.clone());
        if !is_ready? {
            return Ok(WebhookStep::Idle);
        }
        if progress.attempts >= self.config.retry.attempts {
            self.write_dead_letter(progress)?;
            return Ok(WebhookStep::Moved);
        }
        if let Some(at) = progress.retry_at {
            let now = Millis::now();
            let at = bound_retry(at, now, self.config.retry.max_delay);
            if progress.retry_at != Some(at) {
                progress.retry_at = Some(at);
                self.keep_progress(progress.clone());
            }
            let left = Duration::from_millis(at.0.saturating_sub(now.0));
            if !left.is_zero() {
                return Ok(WebhookStep::Waits(left));
            }
        }
        self.attempt_delivery(progress)?;
        Ok(WebhookStep::Moved)
    }

    /// Makes the next event ready that is one for this webhook, and moves past the others. Returns whether there is one.
    fn prepare_next_event(&mut self, progress: &mut WebhookProgress) -> Result<bool, StepError> {
        let host = self.find_host()?;
        while self.current.is_none() {
            let Some(event) = self.page.front() else {
                progress.cursor = self.page_end.take().unwrap_or(progress.cursor);
                if self.is_idle && !self.commits.has_changed().unwrap_or(false) {
                    return Ok(false);
                }
                // Seen before the database is read: what is committed meanwhile is noticed.
                self.commits.mark_unchanged();
                let page = self.source.read_behind(progress.cursor)?;
                if page.missed > 0 {
                    self.status.missed.add(page.missed);
                    tracing::warn!(webhook = %self.config.name, missed = page.missed, "audit rows went into an archive before they were sent to a webhook");
                }
                self.is_idle = page.is_last;
                self.page = page.events.into();
                self.page_end = Some(page.end);
                continue;
            };
            if !self.config.events.matches(&event.class.event_type) {
                progress.cursor = event.position;
                self.page.pop_front();
                continue;
            }
            let id = event.stable_id();
            let body = render_cloud_event(event, &id, &host)?;
            if progress.event_id.as_ref() != Some(&id) {
                progress.event_id = Some(id.clone());
                progress.attempts = 0;
                progress.retry_at = None;
            }
            self.current = Some(Prepared {
                id,
                event_type: event.class.event_type.clone(),
                at: event.at,
                body,
                position: event.position,
            });
            self.page.pop_front();
        }
        Ok(true)
    }

    fn find_host(&mut self) -> Result<String, StepError> {
        if let Some(host) = &self.host {
            return Ok(host.clone());
        }
        let host = format!("/hosts/{}", find_host_name(&self.store)?);
        self.host = Some(host.clone());
        Ok(host)
    }

    /// Tries the current event once.
    fn attempt_delivery(&mut self, mut progress: WebhookProgress) -> Result<(), StepError> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        match self.client.send(&current.id, &current.body) {
            AttemptResult::Delivered => {
                self.status.delivered.increment();
                self.note_delivery();
                self.move_past_current(&mut progress);
                progress.failing_since = None;
                self.keep_progress(progress);
                Ok(())
            }
            AttemptResult::Gone => self.disable_webhook(),
            AttemptResult::Unsent(problem) => Err(StepError::Unsent(problem)),
            AttemptResult::Failed {
                kind,
                reason,
                retry_after,
            } => {
                let now = Millis::now();
                progress.attempts = progress.attempts.saturating_add(1);
                progress.failing_since.get_or_insert(now);
                let chance = rand::random::<f64>();
                let delay = self
                    .config
                    .retry
                    .delay_after(progress.attempts, retry_after, chance);
                let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                progress.retry_at = Some(Millis(now.0.saturating_add(millis)));
                tracing::debug!(webhook = %self.config.name, event = current.id, attempt = progress.attempts, reason, "an event was not delivered to a webhook");
                self.note_failure(kind, reason);
                self.keep_progress(progress);
                // A restart continues with these attempts and this pause. If they cannot be recorded now, this process still has them.
                self.record_progress();
                Ok(())
            }
        }
    }

    /// Ends sending until an operator enables the webhook.
    fn disable_webhook(&mut self) -> Result<(), StepError> {
        const REASON: &str = "the receiver answered 410: it wants no more events";
        self.status.failed(FailureKind::Refused).increment();
        self.record_progress();
        let name = self.config.name.clone();
        let change = WebhookChange::Disable(name.clone(), REASON.to_owned());
        self.commit_changes(vec![change])?;
        self.is_disabled = true;
        let disabled = Some((Millis::now(), REASON.to_owned()));
        self.status.update(|state| state.disabled = disabled);
        tracing::warn!(webhook = %name, reason = REASON, "a webhook is disabled");
        Ok(())
    }

    /// Moves behind the current event.
    fn move_past_current(&mut self, progress: &mut WebhookProgress) {
        if let Some(current) = self.current.take() {
            progress.cursor = current.position;
        }
        progress.event_id = None;
        progress.attempts = 0;
        progress.retry_at = None;
        self.last_reason.clear();
    }

    fn commit_changes(&self, webhooks: Vec<WebhookChange>) -> Result<(), StepError> {
        self.store.commit(Unit {
            at: Millis::now(),
            webhooks,
            ..Unit::default()
        })?;
        Ok(())
    }
}

/// When an event is tried again: at `at`, but no later than the longest pause from now. A clock that was set back would put it off for as long.
fn bound_retry(at: Millis, now: Millis, longest: Duration) -> Millis {
    let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
    at.min(Millis(now.0.saturating_add(longest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_puts_an_attempt_off_by_the_longest_pause_alone() {
        let longest = Duration::from_millis(500);
        for (at, now, expected) in [
            (1_000, 900, 1_000),
            (1_000, 1_000, 1_000),
            (1_000, 2_000, 1_000),
            (1_400, 900, 1_400),
            (90_000, 900, 1_400),
            (u64::MAX, u64::MAX - 1, u64::MAX),
        ] {
            let bound = bound_retry(Millis(at), Millis(now), longest);
            assert_eq!(bound, Millis(expected), "{at} at {now}");
        }
    }
}
