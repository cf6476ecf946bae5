//! The handle to the webhooks: their start and end, and how they do.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use parking_lot::Mutex;

use ark_authorities::AuthorityError;
use ark_model::ids::Name;
use ark_store::Store;

use super::client::WebhookClient;
use super::config::WebhookConfig;
use super::sender::WebhookSender;
use super::status::WebhookStatus;
use crate::outgoing_events::EventSource;

/// How long the end of the host waits for attempts that are under way. What is not delivered then is sent again by the next start.
const FINISH_TIME: Duration = Duration::from_secs(2);

/// Why webhooks cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartWebhookError {
    /// The authorities of a receiver cannot be used.
    #[error("the webhook {name}: ca_file {cause}")]
    Authority {
        /// The webhook.
        name: Name,
        /// What is wrong with the file.
        cause: AuthorityError,
    },
    /// A thread cannot be started.
    #[error("a thread for webhooks cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// The handle to the webhooks. Cheap to clone; their threads end on [`Webhooks::close`].
#[derive(Clone)]
pub struct Webhooks {
    store: Store,
    statuses: Arc<[Arc<WebhookStatus>]>,
    senders: Arc<Mutex<Vec<RunningSender>>>,
}

/// A thread that sends events. It ends when `stop` is dropped.
struct RunningSender {
    stop: Sender<()>,
    /// Disconnected once the thread has ended.
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Webhooks {
    /// Returns the webhooks that are configured. Nothing is sent yet.
    #[must_use]
    pub fn new(configs: &[WebhookConfig], store: &Store) -> Self {
        let statuses = configs.iter().map(|it| Arc::new(WebhookStatus::new(it)));
        Self {
            store: store.clone(),
            statuses: statuses.collect(),
            senders: Arc::default(),
        }
    }

    /// Starts a thread for each. Where a webhook has never sent an event, it begins with what is committed from now on.
    ///
    /// # Errors
    /// See [`StartWebhookError`].
    pub fn start(
        &self,
        configs: &[WebhookConfig],
        source: impl Fn() -> Box<dyn EventSource>,
    ) -> Result<(), StartWebhookError> {
        for (config, status) in configs.iter().zip(self.statuses.iter()) {
            let client =
                WebhookClient::new(config).map_err(|cause| StartWebhookError::Authority {
                    name: config.name.clone(),
                    cause,
                })?;
            let sending = WebhookSender::new(config, client, &self.store, source(), status);
            let (stop, stopped) = crossbeam_channel::bounded(0);
            let (is_alive, ended) = crossbeam_channel::bounded(0);
            let thread = std::thread::Builder::new()
                .name("ark-webhooks".to_owned())
                .spawn(move || {
                    sending.run(&stopped);
                    drop::<Sender<()>>(is_alive);
                })?;
            self.senders.lock().push(RunningSender {
                stop,
                ended,
                thread,
            });
        }
        Ok(())
    }

    pub(super) const fn store(&self) -> &Store {
        &self.store
    }

    /// Returns how each webhook does, in the order of the configuration.
    #[must_use]
    pub fn statuses(&self) -> &[Arc<WebhookStatus>] {
        &self.statuses
    }

    /// Ends the threads, after a short time for what is under way.
    pub fn close(&self) {
        let (stops, threads): (Vec<_>, Vec<_>) = self
            .senders
            .lock()
            .drain(..)
            .map(|it| (it.stop, (it.ended, it.thread)))
            .unzip();
        drop(stops);
        let until = Instant::now() + FINISH_TIME;
        for (ended, thread) in threads {
            if ended.recv_deadline(until) == Err(RecvTimeoutError::Timeout) {
                // It waits for a receiver, for a bounded time, and can commit nothing any more.
                tracing::info!("an event is under way to a webhook; the next start sends it again");
                continue;
            }
            if thread.join().is_err() {
                tracing::error!("a thread that sends events to a webhook ended in a panic");
            }
        }
    }
}
