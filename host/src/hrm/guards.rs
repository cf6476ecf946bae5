//! The state of the system's own guards, attested with every action: pin, watchdog, halt. The watchdog writes it, the HRM reads it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::model::ids::Millis;

/// How long after its last beat the watchdog still counts as beating.
pub const BEAT_TIMEOUT: Duration = Duration::from_secs(30);

/// The guards. Until the watchdog's first beat nothing is attested in their favour.
#[derive(Debug, Default)]
pub struct Guards {
    pin_holds: AtomicBool,
    halted: AtomicBool,
    last_beat: AtomicU64,
}

impl Guards {
    /// Notes a beat of the watchdog, and whether the Graveyard's bytes still match their pin. A broken pin halts.
    pub fn beat(&self, now: Millis, pin_holds: bool) {
        self.pin_holds.store(pin_holds, Ordering::Release);
        if !pin_holds {
            self.halted.store(true, Ordering::Release);
        }
        self.last_beat.store(now.0, Ordering::Release);
    }

    /// Whether the pin held at the last beat.
    #[must_use]
    pub fn pin_holds(&self) -> bool {
        self.pin_holds.load(Ordering::Acquire)
    }

    /// Whether everything is halted.
    #[must_use]
    pub fn halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }

    /// Whether the watchdog has beaten within [`BEAT_TIMEOUT`].
    #[must_use]
    pub fn watchdog_beating(&self, now: Millis) -> bool {
        let last = self.last_beat.load(Ordering::Acquire);
        last != 0 && u128::from(now.0.saturating_sub(last)) <= BEAT_TIMEOUT.as_millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_attested_before_the_first_beat_and_a_broken_pin_halts_for_good() {
        let guards = Guards::default();
        assert!(!guards.pin_holds() && !guards.watchdog_beating(Millis(1)));
        guards.beat(Millis(1000), true);
        assert!(guards.pin_holds() && !guards.halted());
        assert!(
            guards.watchdog_beating(Millis(31_000)) && !guards.watchdog_beating(Millis(31_001))
        );
        guards.beat(Millis(2000), false);
        guards.beat(Millis(3000), true);
        assert!(guards.pin_holds() && guards.halted());
    }
}
