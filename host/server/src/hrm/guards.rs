//! The state of the host's own guards, attested as facts of every action: pin, watchdog, halt; and the agents in quarantine.
//!
//! The watchdog writes the pin and the heartbeat. Only the arbiter's thread begins halts and quarantines, in the order in which it judges, so that
//! whatever is judged after an order is judged under it. They end when the commit that ends them is durable, unless they were ordered again after
//! that was decided. Whoever must act on the end of a quarantine is a listener ([`Guards::on_restore`]), so that it does not matter who ordered it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use ark_model::control::{Halt, Quarantine};
use ark_model::ids::{Millis, Name};

/// Time after its last heartbeat within which the watchdog still counts as alive.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(30);

/// Called with the agent whose quarantine has ended.
type RestoreListener = Box<dyn Fn(&Name) + Send + Sync>;

/// A halt or a quarantine in force.
struct OrderInForce<T> {
    /// The order that began it.
    order: T,
    /// The number of the last order for it, which is unique for both kinds.
    last_number: u64,
}

/// The guards. Until the watchdog's first heartbeat, the facts say that the pin is broken and the watchdog silent.
#[derive(Default)]
pub struct Guards {
    pin_holds: AtomicBool,
    last_heartbeat: AtomicU64,
    halted: AtomicBool,
    halt: RwLock<Option<OrderInForce<Halt>>>,
    /// The number of the last order that began a halt or a quarantine, or found it in force.
    last_number: AtomicU64,
    /// How many orders are in force and not on disk yet.
    unrecorded: AtomicUsize,
    quarantined: AtomicUsize,
    quarantines: RwLock<BTreeMap<Name, OrderInForce<Quarantine>>>,
    restore_listeners: RwLock<Vec<RestoreListener>>,
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
        if pin_holds {
            self.pin_holds.store(true, Ordering::Release);
        } else {
            // Under the lock of `end_halt`, which would otherwise clear the flag after having seen the pin whole.
            let _halt = self.halt.write();
            self.pin_holds.store(false, Ordering::Release);
            self.halted.store(true, Ordering::Release);
        }
        self.last_heartbeat.store(now.0, Ordering::Release);
    }

    /// Returns the halt in force. A broken pin halts without one.
    #[must_use]
    pub fn current_halt(&self) -> Option<Halt> {
        let halt = self.halt.read();
        halt.as_ref().map(|halt| halt.order.clone())
    }

    /// Begins a halt. If one is in force, it keeps its order, and what was decided before cannot end it any more.
    pub(super) fn begin_halt(&self, order: Halt) {
        let last_number = self.next_number();
        let mut halt = self.halt.write();
        match &mut *halt {
            Some(halt) => halt.last_number = last_number,
            None => *halt = Some(OrderInForce { order, last_number }),
        }
        // Under the lock, as in `end_halt`: the flag and the halt change together.
        self.halted.store(true, Ordering::Release);
    }

    /// Ends the halt, unless it was ordered again after `last_number` ([`Guards::last_number`]).
    pub(super) fn end_halt(&self, last_number: u64) {
        let mut halt = self.halt.write();
        if halt.as_ref().map_or(0, |halt| halt.last_number) != last_number {
            return;
        }
        *halt = None;
        // A pin that broke meanwhile keeps the host halted.
        self.halted.store(!self.pin_holds(), Ordering::Release);
    }

    /// Returns the number of the last order that put an agent into quarantine, or, with `None`, of the last halt. 0: none is in force.
    pub(super) fn last_number(&self, agent: Option<&Name>) -> u64 {
        match agent {
            Some(agent) => {
                let quarantines = self.quarantines.read();
                quarantines.get(agent).map_or(0, |it| it.last_number)
            }
            None => self.halt.read().as_ref().map_or(0, |it| it.last_number),
        }
    }

    fn next_number(&self) -> u64 {
        self.last_number.fetch_add(1, Ordering::AcqRel) + 1
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
        let quarantines = self.quarantines.read();
        quarantines
            .get(agent)
            .map(|quarantine| quarantine.order.clone())
    }

    /// Returns whether an agent is in quarantine.
    #[must_use]
    pub fn is_quarantined(&self, agent: &Name) -> bool {
        self.quarantined.load(Ordering::Acquire) > 0 && self.quarantines.read().contains_key(agent)
    }

    /// Returns the quarantines in force, sorted by agent.
    #[must_use]
    pub fn list_quarantines(&self) -> Vec<Quarantine> {
        let quarantines = self.quarantines.read();
        quarantines
            .values()
            .map(|quarantine| quarantine.order.clone())
            .collect()
    }

    /// Begins a quarantine. If one is in force, it keeps its order, and what was decided before cannot end it any more.
    pub(super) fn begin_quarantine(&self, order: Quarantine) {
        let last_number = self.next_number();
        let mut quarantines = self.quarantines.write();
        quarantines
            .entry(order.agent.clone())
            .and_modify(|quarantine| quarantine.last_number = last_number)
            .or_insert(OrderInForce { order, last_number });
        self.quarantined.store(quarantines.len(), Ordering::Release);
    }

    /// Ends an agent's quarantine and calls the listeners, unless it was ordered again after `last_number` ([`Guards::last_number`]).
    pub(super) fn end_quarantine(&self, agent: &Name, last_number: u64) {
        let mut quarantines = self.quarantines.write();
        if quarantines.get(agent).map(|it| it.last_number) != Some(last_number) {
            return;
        }
        quarantines.remove(agent);
        self.quarantined.store(quarantines.len(), Ordering::Release);
        drop(quarantines);
        for listener in self.restore_listeners.read().iter() {
            listener(agent);
        }
    }

    /// Registers `listener`, which is called whenever the quarantine of an agent has ended, whoever ordered that. It is called on the thread of the store's writer
    /// before the order is answered, so it must be quick. Listeners are called in the order in which they were given.
    pub fn on_restore(&self, listener: impl Fn(&Name) + Send + Sync + 'static) {
        self.restore_listeners.write().push(Box::new(listener));
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

    /// Returns how long ago the watchdog gave its last heartbeat; `None`: it gave none yet.
    #[must_use]
    pub fn last_heartbeat_age(&self, now: Millis) -> Option<Duration> {
        let last = self.last_heartbeat.load(Ordering::Acquire);
        (last != 0).then(|| Duration::from_millis(now.0.saturating_sub(last)))
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
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    fn a_halt() -> Halt {
        Halt {
            reason: "a drill".to_owned(),
            by: "ana".to_owned(),
            at_ms: Millis(1),
        }
    }

    fn a_quarantine(agent: &Name) -> Quarantine {
        Quarantine {
            agent: agent.clone(),
            cause: ark_model::control::QuarantineCause::Operator,
            reason: "a drill".to_owned(),
            by: "ana".to_owned(),
            at_ms: Millis(1),
        }
    }

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
        let halt = a_halt();
        let agent: Name = "kyle".parse().unwrap();
        let quarantine = a_quarantine(&agent);
        let guards = Guards::from_orders(Some(halt.clone()), vec![quarantine.clone()]);
        guards.record_heartbeat(Millis(1), true);
        assert_eq!(guards.current_halt(), Some(halt));
        assert!(guards.is_halted() && guards.is_quarantined(&agent));
        assert_eq!(guards.find_quarantine(&agent), Some(quarantine));
        guards.end_quarantine(&agent, guards.last_number(Some(&agent)));
        guards.end_halt(guards.last_number(None));
        assert!(!guards.is_halted() && !guards.is_quarantined(&agent));
        guards.record_heartbeat(Millis(2), false);
        guards.end_halt(guards.last_number(None));
        assert!(guards.is_halted(), "the pin is still broken");
    }

    // Found by reading: a resume that had seen the pin whole cleared the flag of one that broke meanwhile.
    #[test]
    fn a_pin_that_breaks_during_a_resume_keeps_the_host_halted() {
        let halted = || {
            let guards = Guards::from_orders(Some(a_halt()), Vec::new());
            guards.record_heartbeat(Millis(1), true);
            guards
        };
        let guards = halted();
        std::thread::scope(|scope| {
            // A resume that is at this point has seen the pin whole.
            let mut halt = guards.halt.write();
            let breaks = scope.spawn(|| guards.record_heartbeat(Millis(2), false));
            std::thread::sleep(Duration::from_millis(50));
            assert!(guards.pin_holds(), "what breaks it waits for the resume");
            *halt = None;
            guards.halted.store(!guards.pin_holds(), Ordering::Release);
            drop(halt);
            breaks.join().unwrap();
        });
        assert!(guards.is_halted());
        // In any order that two threads come to.
        for _ in 0..500 {
            let guards = halted();
            let (number, gate) = (guards.last_number(None), std::sync::Barrier::new(2));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    gate.wait();
                    guards.record_heartbeat(Millis(2), false);
                });
                scope.spawn(|| {
                    gate.wait();
                    guards.end_halt(number);
                });
            });
            assert!(guards.is_halted() && !guards.pin_holds());
        }
    }

    // Found by reading: a halt that came while a resume was being committed was answered, and ended with that commit.
    #[test]
    fn what_was_ordered_again_is_not_ended_by_what_was_decided_before() {
        let agent: Name = "kyle".parse().unwrap();
        let guards = Guards::from_orders(Some(a_halt()), vec![a_quarantine(&agent)]);
        guards.record_heartbeat(Millis(1), true);
        let restored = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&restored);
        guards.on_restore(move |agent| heard.lock().push(agent.clone()));

        // A resume and a restore are being committed; the same is ordered again before they are durable.
        let (halt, quarantine) = (guards.last_number(None), guards.last_number(Some(&agent)));
        guards.begin_halt(a_halt());
        guards.begin_quarantine(a_quarantine(&agent));
        guards.end_halt(halt);
        guards.end_quarantine(&agent, quarantine);
        assert!(guards.is_halted() && guards.is_quarantined(&agent));
        assert!(restored.lock().is_empty());

        // The next ones end both, once; a second restore, decided at the same time, ends nothing that was ordered since.
        let (halt, quarantine) = (guards.last_number(None), guards.last_number(Some(&agent)));
        guards.end_halt(halt);
        guards.end_quarantine(&agent, quarantine);
        assert!(!guards.is_halted() && !guards.is_quarantined(&agent));
        assert_eq!(*restored.lock(), std::slice::from_ref(&agent));
        guards.begin_halt(a_halt());
        guards.begin_quarantine(a_quarantine(&agent));
        guards.end_halt(halt);
        guards.end_quarantine(&agent, quarantine);
        assert!(guards.is_halted() && guards.is_quarantined(&agent));
        assert_eq!(restored.lock().len(), 1);
    }
}
