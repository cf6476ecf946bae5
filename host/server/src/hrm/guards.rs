//! The state of the host's own guards, attested as facts of every action: pin, watchdog, halt; and the agents in quarantine.
//!
//! The watchdog writes the pin and the heartbeat. Only the arbiter's thread begins and ends halts and quarantines, in the order in which it judges, so
//! that whatever is judged after an order is judged under it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use ark_model::control::{Halt, Quarantine};
use ark_model::ids::{Millis, Name};

/// Time after its last heartbeat within which the watchdog still counts as alive.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(30);

/// The guards. Until the watchdog's first heartbeat, the facts say that the pin is broken and the watchdog silent.
#[derive(Debug, Default)]
pub struct Guards {
    pin_holds: AtomicBool,
    last_heartbeat: AtomicU64,
    halted: AtomicBool,
    halt: RwLock<Option<Halt>>,
    /// How many orders are in force and not on disk yet.
    unrecorded: AtomicUsize,
    quarantined: AtomicUsize,
    quarantines: RwLock<BTreeMap<Name, Quarantine>>,
}

impl Guards {
    /// Makes guards with the orders that were in force when the host ended.
    #[must_use]
    pub fn from_orders(halt: Option<Halt>, quarantines: Vec<Quarantine>) -> Self {
        let guards = Self::default();
        if let Some(halt) = halt {
            guards.begin_halt(halt);
        }
        for quarantine in quarantines {
            guards.begin_quarantine(quarantine);
        }
        guards
    }

    /// Records a heartbeat of the watchdog, and whether the Graveyard's bytes still match their pin.
    ///
    /// A broken pin halts the host at once. The watchdog also orders the halt, which makes it durable.
    pub fn record_heartbeat(&self, now: Millis, pin_holds: bool) {
        self.pin_holds.store(pin_holds, Ordering::Release);
        if !pin_holds {
            self.halted.store(true, Ordering::Release);
        }
        self.last_heartbeat.store(now.0, Ordering::Release);
    }

    /// Returns the halt in force. A broken pin halts without one.
    #[must_use]
    pub fn current_halt(&self) -> Option<Halt> {
        self.halt.read().clone()
    }

    pub(super) fn begin_halt(&self, halt: Halt) {
        self.halt.write().get_or_insert(halt);
        self.halted.store(true, Ordering::Release);
    }

    pub(super) fn end_halt(&self) {
        *self.halt.write() = None;
        // A pin that broke meanwhile keeps the host halted.
        self.halted.store(!self.pin_holds(), Ordering::Release);
    }

    /// Returns how many halts and quarantines are in force and not on disk yet.
    #[must_use]
    pub fn unrecorded_orders(&self) -> usize {
        self.unrecorded.load(Ordering::Acquire)
    }

    pub(super) fn set_unrecorded_orders(&self, count: usize) {
        self.unrecorded.store(count, Ordering::Release);
    }

    /// Returns the quarantine of an agent, if it is in one.
    #[must_use]
    pub fn find_quarantine(&self, agent: &Name) -> Option<Quarantine> {
        if self.quarantined.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.quarantines.read().get(agent).cloned()
    }

    /// Returns whether an agent is in quarantine.
    #[must_use]
    pub fn is_quarantined(&self, agent: &Name) -> bool {
        self.quarantined.load(Ordering::Acquire) > 0 && self.quarantines.read().contains_key(agent)
    }

    /// Returns the quarantines in force, sorted by agent.
    #[must_use]
    pub fn list_quarantines(&self) -> Vec<Quarantine> {
        self.quarantines.read().values().cloned().collect()
    }

    pub(super) fn begin_quarantine(&self, quarantine: Quarantine) {
        let mut quarantines = self.quarantines.write();
        quarantines
            .entry(quarantine.agent.clone())
            .or_insert(quarantine);
        self.quarantined.store(quarantines.len(), Ordering::Release);
    }

    pub(super) fn end_quarantine(&self, agent: &Name) {
        let mut quarantines = self.quarantines.write();
        quarantines.remove(agent);
        self.quarantined.store(quarantines.len(), Ordering::Release);
    }

    /// Returns whether the Graveyard's bytes matched their pin at the last heartbeat.
    #[must_use]
    pub fn pin_holds(&self) -> bool {
        self.pin_holds.load(Ordering::Acquire)
    }

    /// Returns whether the host is halted, by an order or by a broken pin.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }

    /// Returns whether the watchdog gave a heartbeat within [`HEARTBEAT_TIMEOUT`].
    #[must_use]
    pub fn watchdog_beating(&self, now: Millis) -> bool {
        let last = self.last_heartbeat.load(Ordering::Acquire);
        last != 0 && u128::from(now.0.saturating_sub(last)) <= HEARTBEAT_TIMEOUT.as_millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_attested_before_the_first_heartbeat_and_a_broken_pin_halts_for_good() {
        let guards = Guards::default();
        assert!(!guards.pin_holds() && !guards.watchdog_beating(Millis(1)));
        guards.record_heartbeat(Millis(1000), true);
        assert!(guards.pin_holds() && !guards.is_halted());
        assert!(
            guards.watchdog_beating(Millis(31_000)) && !guards.watchdog_beating(Millis(31_001))
        );
        guards.record_heartbeat(Millis(2000), false);
        guards.record_heartbeat(Millis(3000), true);
        assert!(guards.pin_holds() && guards.is_halted());
    }

    #[test]
    fn an_order_stands_until_it_is_taken_back_and_a_broken_pin_is_not_taken_back_by_a_resume() {
        let halt = Halt {
            reason: "a drill".to_owned(),
            by: "ana".to_owned(),
            at_ms: Millis(1),
        };
        let agent: Name = "kyle".parse().unwrap();
        let quarantine = Quarantine {
            agent: agent.clone(),
            cause: ark_model::control::QuarantineCause::Operator,
            reason: "a drill".to_owned(),
            by: "ana".to_owned(),
            at_ms: Millis(1),
        };
        let guards = Guards::from_orders(Some(halt.clone()), vec![quarantine.clone()]);
        guards.record_heartbeat(Millis(1), true);
        assert_eq!(guards.current_halt(), Some(halt));
        assert!(guards.is_halted() && guards.is_quarantined(&agent));
        assert_eq!(guards.find_quarantine(&agent), Some(quarantine));
        guards.end_quarantine(&agent);
        guards.end_halt();
        assert!(!guards.is_halted() && !guards.is_quarantined(&agent));
        guards.record_heartbeat(Millis(2), false);
        guards.end_halt();
        assert!(guards.is_halted(), "the pin is still broken");
    }
}
