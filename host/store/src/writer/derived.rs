//! When the writer writes what is derived from the audit log: the lines of the session log and the indices of ids, of decisions and of traces.

use crate::tables::audit::DerivedPart;

use super::thread::{QueuedUnit, Writer};

impl Writer {
    /// Which derived rows are written with the transaction under way. Where room is scarce only those that must be, so that they keep out nothing that
    /// still finds room, least of all an order that halts.
    pub(super) fn choose_derived(
        &self,
        units: &[QueuedUnit],
        reserve_only: bool,
    ) -> Option<DerivedPart> {
        let has_room = || {
            !reserve_only
                && self.options.health.is_writable()
                && !units.iter().any(|queued| queued.unit.tightens())
        };
        if self.derived.are_many() && has_room() {
            return Some(DerivedPart::All);
        }
        self.derived
            .are_lines_needed()
            .then_some(DerivedPart::Lines)
    }

    /// Writes what is derived from the audit log in a transaction of its own, so that neither lists nor the next start need derive it.
    pub(super) fn write_derived_rows(&mut self) {
        if self.derived.is_empty() || self.options.health.loss().is_some() {
            return;
        }
        let until = self.heads.audit.seq;
        let written = self
            .connection
            .execute_batch("BEGIN IMMEDIATE")
            .and_then(|()| {
                self.derived
                    .write(&self.connection, until, DerivedPart::All)
            })
            .and_then(|()| self.connection.execute_batch("COMMIT"));
        match written {
            Ok(()) => self.derived.forget_written(DerivedPart::All),
            Err(error) => {
                tracing::warn!(%error, "lines of the session log are not written yet; lists derive them");
                self.roll_back();
            }
        }
    }
}
