//! What the writer leaves beside the database, so that a loss of the database or of its end shows: anchors from time to time, and an
//! attestation in the lock's file after every commit.

use std::time::Instant;

use crate::anchors::{ANCHORS_FILE, count_anchor_bytes, write_anchor};
use crate::directory::{AccessMarks, DatabaseAttestation};
use crate::tables::control::{ControlChange, write_control_change};

use super::alerts::ANCHORS_LOST;
use super::thread::{QueuedUnit, Writer};

impl Writer {
    /// Reads again what keeps the host closed, after a commit that may have changed it.
    pub(super) fn refresh_access(&mut self) {
        match AccessMarks::read(&self.connection) {
            Ok(access) => self.access = access,
            Err(error) => {
                tracing::warn!(%error, "the tokens and the halt cannot be read; the lock goes on attesting those before");
            }
        }
    }

    /// Attests in the lock's file how far the database got. A failure does not hold up anything: the anchors attest most of it.
    pub(super) fn attest_heads(&mut self) {
        let written = self.options.lock.attest(&DatabaseAttestation {
            audit: self.heads.audit,
            state: self.heads.state,
            access: self.access,
        });
        if let Err(error) = &written
            && self.attests
        {
            tracing::warn!(%error, "what was committed cannot be attested in ark.lock; only the anchors attest it");
        }
        self.attests = written.is_ok();
    }

    /// Attests a halt or a quarantine that could not be recorded, so that the next start halts all the same. Where files are lost, the database that is still
    /// open gets what is in force too: it may be the one that the next start finds.
    pub(super) fn attest_orders(&mut self, units: &[QueuedUnit]) {
        let orders = units
            .iter()
            .filter(|queued| queued.unit.tightens())
            .flat_map(|queued| &queued.unit.control);
        for order in orders {
            if self.options.health.loss().is_some()
                && let Err(error) = write_control_change(&self.connection, order)
            {
                tracing::warn!(%error, "an order in force cannot be written into the files that were lost");
            }
            let before = self.access;
            match order {
                ControlChange::Halt(_) => self.access.is_halted = true,
                ControlChange::Quarantine(_) => self.access.has_unrecorded_quarantine = true,
                ControlChange::Resume | ControlChange::Restore(_) => {}
            }
            if self.access != before {
                self.attest_heads();
            }
        }
    }

    /// How many rows both chains have got since they were anchored.
    pub(super) const fn rows_since_anchor(&self) -> u64 {
        self.heads.audit.seq - self.anchored.audit.seq + self.heads.state.seq
            - self.anchored.state.seq
    }

    /// Anchors the heads, if a row was written since they were anchored last.
    pub(super) fn anchor_heads(&mut self) {
        self.anchored_at = Instant::now();
        if self.rows_since_anchor() > 0 {
            self.write_anchor();
        }
    }

    fn write_anchor(&mut self) {
        match write_anchor(&self.options.dir, self.heads.audit, self.heads.state) {
            Ok(bytes) => {
                self.anchored = self.heads;
                self.anchors_bytes = bytes;
            }
            Err(error) => {
                tracing::warn!(%error, "the audit log could not be anchored; it is tried again later");
            }
        }
    }

    /// Raises an alert if anchors that were written are gone, and anchors the heads again. To be called outside a transaction.
    pub(super) fn check_anchors(&mut self) {
        let found = match count_anchor_bytes(&self.options.dir) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the anchors cannot be looked at");
                return;
            }
        };
        let Some(lost) = self
            .anchors_bytes
            .checked_sub(found)
            .filter(|lost| *lost > 0)
        else {
            return;
        };
        self.anchors_bytes = found;
        let path = self.options.dir.join(ANCHORS_FILE);
        let message = format!(
            "{lost} bytes of {path} are gone: somebody removed or cut the file while the host runs; its anchors no longer show whether the audit log was cut. Compare the log with the anchors in a snapshot or in the host's log lines, and find out who did it",
            path = path.display()
        );
        self.raise_alert(ANCHORS_LOST, message, Some(lost));
        self.write_anchor();
    }
}
