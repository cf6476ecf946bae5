//! What a committed unit adds to the meters. It is counted here, so that the numbers are those of the tables.

use std::time::Instant;

use ark_model::meters::{EXECUTION_ALERTS, StoreMeters};

use crate::tables::ledger::LedgerChange;
use crate::tables::signals::{DeliveryResult, SignalReceipt};
use crate::unit::{Receipt, Unit};

/// Counts a unit that was committed.
pub(super) fn count_unit(meters: &StoreMeters, unit: &Unit, receipt: &Receipt, submitted: Instant) {
    meters.units.increment();
    meters.audit_rows.add(receipt.audit_seqs.len() as u64);
    for outcome in unit.audit.iter().filter_map(|entry| entry.outcome) {
        meters.decision_counter(outcome).increment();
    }
    // Signals that carry out the outbox are the host's own; those from outside come one by one.
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
            DeliveryResult::Failed { .. } => meters.deliveries_failed.increment(),
        }
    }
    for change in &unit.ledger {
        if let LedgerChange::Execution(report) = change {
            meters.execution_counter(report.status).increment();
        }
    }
    for alert in &unit.alerts {
        let index = EXECUTION_ALERTS.iter().position(|kind| *kind == alert.kind);
        if let Some(count) = index.and_then(|index| meters.execution_alerts.get(index)) {
            count.increment();
        }
    }
    let writes_state = !unit.state.is_empty()
        || !unit.memories.is_empty()
        || !unit.truths.is_empty()
        || !unit.operator_changes.is_empty();
    if writes_state {
        meters.state_write.record_since(submitted);
    }
}
