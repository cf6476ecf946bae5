//! What a committed unit adds to the meters: counted here, so that the numbers are those of the tables.

use std::time::Instant;

use ark_model::meters::{EXECUTION_STATUSES, StoreMeters};

use super::error::CommitError;
use super::ledger::LedgerChange;
use super::signals::{DeliveryResult, SignalReceipt};
use super::unit::{Receipt, Unit};

/// Counts a unit of a transaction that succeeded. One that was refused has no part in it.
pub(super) fn count_unit(
    meters: &StoreMeters,
    unit: &Unit,
    result: &Result<Receipt, CommitError>,
    submitted: Instant,
) {
    let Ok(receipt) = result else {
        return;
    };
    meters.units.increment();
    meters.audit_rows.add(receipt.audit_seqs.len() as u64);
    for outcome in unit.audit.iter().filter_map(|entry| entry.outcome) {
        meters.decision_counter(outcome).increment();
    }
    // What carries out the outbox is the host's own; signals from outside come one by one.
    let internal = !unit.outbox_done.is_empty();
    for (signal, receipt) in unit.signals.iter().zip(&receipt.signals) {
        match receipt {
            SignalReceipt::Duplicate { .. } => meters.signals_duplicate.increment(),
            SignalReceipt::Accepted => {
                if internal {
                    meters.signals_internal.increment();
                } else {
                    meters.signals_external.increment();
                }
                meters.deliveries_shed.add(signal.shed.len() as u64);
            }
        }
    }
    if let Some(delivery) = &unit.delivery {
        match delivery.result {
            DeliveryResult::Done => meters.deliveries_done.increment(),
            DeliveryResult::Failed(_) => meters.deliveries_failed.increment(),
        }
    }
    for change in &unit.ledger {
        if let LedgerChange::Execution { status, .. } = change {
            let place = EXECUTION_STATUSES.iter().position(|known| known == status);
            if let Some(count) = place.and_then(|place| meters.executions.get(place)) {
                count.increment();
            }
        }
    }
    let writes = !unit.state.is_empty()
        || !unit.memories.is_empty()
        || !unit.truths.is_empty()
        || !unit.operations.is_empty();
    if writes {
        meters.state_write.record_since(submitted);
    }
}
