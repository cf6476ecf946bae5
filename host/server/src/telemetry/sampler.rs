//! The thread that advances the objectives' windows.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{RecvTimeoutError, Sender};
use parking_lot::Mutex;

use super::error::TelemetryError;
use super::recent::{RecentDurations, SLOT_LENGTH};
use super::slo::SloTracker;

/// Takes a sample of the objectives and ends the slot of each window every [`SLOT_LENGTH`].
pub(super) struct Sampler {
    thread: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

impl Sampler {
    pub(super) fn start(
        slos: Arc<SloTracker>,
        windows: Vec<Arc<RecentDurations>>,
    ) -> Result<Self, TelemetryError> {
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        let thread = std::thread::Builder::new()
            .name("ark-telemetry".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(SLOT_LENGTH) == Err(RecvTimeoutError::Timeout) {
                    slos.record_sample();
                    for recent in &windows {
                        recent.rotate_slot();
                    }
                }
            })
            .map_err(TelemetryError::Thread)?;
        Ok(Self {
            thread: Mutex::new(Some((stop, thread))),
        })
    }

    pub(super) fn close(&self) {
        let thread = self.thread.lock().take();
        if let Some((stop, thread)) = thread {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("the telemetry thread ended in a panic");
            }
        }
    }
}
