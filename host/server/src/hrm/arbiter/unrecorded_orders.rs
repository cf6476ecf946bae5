//! Orders that are in force and could not be made durable: a halt, quarantines. They are recorded as soon as the database can be written, and
//! until then the host says that they are not on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::hrm::guards::Guards;
use ark_model::ids::Name;
use ark_store::{ControlChange, Unit};

/// The orders whose commits failed.
pub(in crate::hrm) struct UnrecordedOrders {
    state: Mutex<UnrecordedState>,
    guards: Arc<Guards>,
}

#[derive(Default)]
struct UnrecordedState {
    /// What is committed for each of them, by the agent in quarantine; `None`: the halt. A later order about the same replaces an earlier one.
    units: BTreeMap<Option<Name>, Unit>,
    /// How many are being committed again.
    in_flight: usize,
}

impl UnrecordedOrders {
    pub(super) fn new(guards: Arc<Guards>) -> Self {
        Self {
            state: Mutex::default(),
            guards,
        }
    }

    /// Keeps the unit of an order whose commit failed.
    pub(super) fn keep_order(&self, unit: Unit) {
        self.change_state(|state| {
            if let Some(subject) = unit.control.first().map(order_subject) {
                state.units.insert(subject, unit);
            }
        });
    }

    /// Forgets the order about a subject: a later one is on disk.
    pub(super) fn forget_order(&self, change: &ControlChange) {
        self.change_state(|state| drop(state.units.remove(&order_subject(change))));
    }

    /// Takes the units to commit them again. Each must be given back with [`UnrecordedOrders::finish`].
    pub(super) fn take(&self) -> Vec<Unit> {
        let mut taken = Vec::new();
        self.change_state(|state| {
            taken = std::mem::take(&mut state.units).into_values().collect();
            state.in_flight += taken.len();
        });
        taken
    }

    /// Ends the try to commit a unit; `failed`: the unit, if it is still not on disk.
    pub(super) fn finish_recording(&self, failed: Option<Unit>) {
        self.change_state(|state| state.in_flight -= 1);
        if let Some(unit) = failed {
            self.keep_order(unit);
        }
    }

    fn change_state(&self, change: impl FnOnce(&mut UnrecordedState)) {
        let mut state = self.state.lock();
        change(&mut state);
        self.guards
            .set_unrecorded_orders(state.units.len() + state.in_flight);
    }
}

/// What an order is about: an agent, or the host.
fn order_subject(change: &ControlChange) -> Option<Name> {
    match change {
        ControlChange::Halt(_) | ControlChange::Resume => None,
        ControlChange::Quarantine(quarantine) => Some(quarantine.agent.clone()),
        ControlChange::Restore(agent) => Some(agent.clone()),
    }
}
