//! What the writer leaves beside the database, so that a loss of the database or of its end shows: anchors from time to time, and an
//! attestation in the lock's file after every commit.

use std::time::Instant;

use crate::anchors::write_anchor;
use crate::directory::{AccessMarks, Attestation};
use crate::tables::control::{ControlChange, write_control_change};

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
        let written = self.options.lock.attest(&Attestation {
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

    /// Attests a halt that could not be recorded, so that the next start halts all the same. Where files are lost, the database that is still
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
            if !self.access.is_halted && matches!(order, ControlChange::Halt(_)) {
                self.access.is_halted = true;
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
        if self.rows_since_anchor() == 0 {
            return;
        }
        match write_anchor(&self.options.dir, self.heads.audit, self.heads.state) {
            Ok(()) => self.anchored = self.heads,
            Err(error) => {
                tracing::warn!(%error, "the audit log could not be anchored; it is tried again later");
            }
        }
    }
}
