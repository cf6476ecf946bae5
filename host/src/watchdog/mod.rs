//! The watchdog's beat: is the Graveyard still what was pinned?
//!
//! It writes the [`Guards`] that the HRM attests with every action. Without a beat nothing is approved (rule 20), and a broken pin halts
//! (rules 14 and 19).
//!
//! Must not know: proposals, agents, SQL.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender};

use crate::hrm::guards::Guards;
use crate::model::ids::Millis;
use crate::runtime::{GraveyardSource, Pin};

/// How often the Graveyard's bytes are hashed anew.
const BEAT: Duration = Duration::from_secs(10);

/// The watchdog; it ends when it is dropped.
pub struct Watchdog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Beats once, then starts the thread `ark-watchdog`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(guards: Arc<Guards>, source: GraveyardSource, pin: Pin) -> std::io::Result<Self> {
        beat(&guards, &source, pin);
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        let thread = std::thread::Builder::new()
            .name("ark-watchdog".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                    beat(&guards, &source, pin);
                }
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn beat(guards: &Guards, source: &GraveyardSource, pin: Pin) {
    let holds = match pin.check(source) {
        Ok(_) => true,
        Err(error) => {
            tracing::error!(%error, "the Graveyard's pin is broken: everything is halted");
            false
        }
    };
    guards.beat(Millis::now(), holds);
}
