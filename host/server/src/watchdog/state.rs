//! What the watchdog's handle and its loops share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use parking_lot::Mutex;

use ark_model::ids::Name;
use ark_runtime::Agent;

use super::alert_rules::RecentWarnings;
use super::capsule_directory::CapsuleDirectory;
use super::config::{WatchdogConfig, WatchdogDeps};
use super::fleet::FleetStatus;
use super::health::{Breach, HealthWindow, Thresholds};
use super::redis_meter::RedisMeasurement;
use super::store_check::StoreCheckStatus;

/// The health of each agent that serves.
pub(super) type HealthByAgent = HashMap<Name, Arc<Mutex<HealthWindow>>>;

pub(super) struct WatchdogState {
    pub(super) config: WatchdogConfig,
    pub(super) deps: WatchdogDeps,
    pub(super) thresholds: ArcSwap<Thresholds>,
    pub(super) agents: ArcSwap<Vec<Arc<Agent>>>,
    pub(super) health: ArcSwap<HealthByAgent>,
    pub(super) capsules: CapsuleDirectory,
    /// The last measurement; `None`: there was none yet, or no Redis is configured.
    pub(super) redis: Mutex<Option<RedisMeasurement>>,
    /// `None`: this host is in no fleet.
    pub(super) fleet: Mutex<Option<FleetStatus>>,
    /// What is known of the checks of the database.
    pub(super) store_check: Mutex<StoreCheckStatus>,
    /// The alerts about the host that were raised lately.
    pub(super) host_warnings: Mutex<RecentWarnings>,
    /// Quarantines that are in force and whose order could not be recorded yet.
    pub(super) unrecorded_quarantines: Mutex<BTreeMap<Name, Breach>>,
    /// Held by the thread that records them.
    pub(super) recording_lock: Mutex<()>,
    /// Whether the halt for a broken pin could not be recorded yet.
    pub(super) halt_unrecorded: AtomicBool,
    /// The loops: dropping the sender ends the thread.
    pub(super) threads: Mutex<Vec<(Sender<()>, JoinHandle<()>)>>,
}

impl WatchdogState {
    /// Runs `work` every `interval` on a thread of its own until the watchdog is closed.
    pub(super) fn spawn_loop(
        self: &Arc<Self>,
        name: &str,
        interval: Duration,
        mut work: impl FnMut(&Self) + Send + 'static,
    ) -> std::io::Result<()> {
        let (stop, stopped): (Sender<()>, Receiver<()>) = crossbeam_channel::bounded(0);
        let inner = Arc::downgrade(self);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                    match inner.upgrade() {
                        Some(inner) => work(&inner),
                        None => break,
                    }
                }
            })?;
        self.threads.lock().push((stop, thread));
        Ok(())
    }

    pub(super) fn health_of(&self, agent: &Name) -> Option<Arc<Mutex<HealthWindow>>> {
        self.health.load().get(agent).cloned()
    }

    /// Forgets how an agent did, so that it starts from zero after a restore.
    pub(super) fn reset_health(&self, agent: &Name) {
        if let Some(health) = self.health_of(agent) {
            *health.lock() = HealthWindow::default();
        }
        self.unrecorded_quarantines.lock().remove(agent);
    }

    /// Returns whether every limit held when it was probed.
    pub(super) fn limits_hold(&self) -> bool {
        self.deps.probes.hold()
    }
}
