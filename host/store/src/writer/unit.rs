//! How one unit is written.
//!
//! The order of the steps matters: those that can refuse the unit come first, see [`Unit::needs_savepoint`].

use ark_model::ids::AuditId;
use ark_model::usage::QuotaHolder;
use rusqlite::Connection;

use crate::chain::ChainHead;
use crate::error::{CommitError, WriteError};
use crate::secrets::SecretKey;
use crate::tables::audit::{
    AuditEntry, AuditKind, BodyPacker, DerivedRows, PackedRows, append_entry,
};
use crate::tables::control::{
    write_alert, write_control_change, write_fleet_cursor, write_redis_change, write_webhook_change,
};
use crate::tables::ledger::{
    NewTrades, find_idempotency, replace_configured, write_account_change, write_approval_change,
    write_idempotency, write_ledger_change, write_list_change,
};
use crate::tables::signals::{
    NewSignal, SignalReceipt, complete_delivery, delete_outbox_row, insert_outbox_message,
    write_redelivery, write_signal,
};
use crate::tables::state::{StateWriter, TruthOrigin, write_memory, write_truth};
use crate::tables::versions::{write_agent_change, write_policy_change, write_policy_record};
use crate::unit::{Receipt, Unit};
use crate::usage::{ROW_BYTES, UnitUsage, count_message, count_truth};

use super::operator_changes::apply_operator_change;

/// The heads of both chains.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    /// The head of the audit log.
    pub(super) audit: ChainHead,
    /// The head of the state's history.
    pub(super) state: ChainHead,
}

/// What the units of a transaction write into the tables that nearly every decision writes into: it is kept, since one statement writes the rows of many.
#[derive(Default)]
pub(super) struct KeptRows<'a> {
    /// Rows of the audit log.
    decisions: PackedRows<'a>,
    /// Rows of the ledger.
    trades: NewTrades<'a>,
}

impl KeptRows<'_> {
    /// Writes the rows. They must be written before the transaction ends, and before a savepoint begins.
    pub(super) fn write(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.decisions.write(connection)?;
        self.trades.write(connection)
    }

    /// Forgets the rows, all of which are of a unit that is rolled back.
    pub(super) fn forget(&mut self) {
        self.decisions.forget();
        self.trades.forget();
    }
}

/// Where audit rows are appended.
struct AuditLog<'a, 'u> {
    /// The head of the log.
    head: &'a mut ChainHead,
    /// Packs the bodies of decisions.
    packer: &'a mut BodyPacker,
    /// Takes what is derived from the rows.
    derived: &'a mut DerivedRows,
    /// Takes the rows of decisions.
    decisions: &'a mut PackedRows<'u>,
}

/// Writes a unit within the caller's transaction but for the rows that `kept` takes, and moves the heads on.
///
/// After an error the caller must roll back what was written and restore the heads.
pub(super) fn write_unit<'u>(
    connection: &Connection,
    secret_key: Option<&SecretKey>,
    heads: &mut Heads,
    (packer, derived, kept): (&mut BodyPacker, &mut DerivedRows, &mut KeptRows<'u>),
    unit: &'u Unit,
) -> Result<Receipt, WriteError> {
    check_unit(connection, unit)?;
    let mut log = AuditLog {
        head: &mut heads.audit,
        packer,
        derived,
        decisions: &mut kept.decisions,
    };
    let mut receipt = Receipt::default();
    let mut usage = UnitUsage::default();
    let agent = unit.agent.clone().map(QuotaHolder::Agent);
    let charged_to = unit.charged_to.as_ref().or(agent.as_ref());
    let mut trace_id = [0; 32];
    let trace_id = unit.trace_id.map(|trace| trace.write_text(&mut trace_id));
    let mut state = StateWriter {
        connection,
        secret_key,
        head: &mut heads.state,
        at: unit.at,
        trace_id,
        charged_to,
        usage: &mut usage,
    };
    for change in &unit.operator_changes {
        let (number, entry) = apply_operator_change(&mut state, change, unit.trace_id)?;
        let counted = (state.charged_to, &mut *state.usage);
        let seq = record_entry(connection, &mut log, &entry, counted)?;
        receipt.audit_seqs.push(seq);
        receipt.operator_changes.push(number);
    }
    if let Some(completion) = &unit.delivery {
        complete_delivery(connection, completion)?;
    }
    for redelivery in &unit.redeliveries {
        write_redelivery(connection, redelivery)?;
    }
    for change in &unit.approvals {
        write_approval_change(connection, change)?;
    }
    for change in &unit.lists {
        write_list_change(connection, change)?;
    }
    write_agent_data(&mut state, unit, &mut receipt)?;
    let counted = (charged_to, &mut usage);
    write_signals(connection, &mut log, unit, &mut receipt, counted)?;
    if let Some(completion) = &unit.delivery {
        log.derived.add_invocation(completion, unit.trace_id);
    }
    for entry in &unit.audit {
        let counted = (charged_to, &mut usage);
        let seq = record_unit_entry(connection, &mut log, entry, counted)?;
        receipt.audit_seqs.push(seq);
    }
    write_plain_changes(connection, unit, &mut receipt, &mut kept.trades)?;
    count_messages(charged_to, unit, &receipt, &mut usage);
    receipt.usage = usage;
    Ok(receipt)
}

/// Counts the unit's messages, and its signals with their deliveries. A signal that was a message was counted as
/// such; its deliveries are its sender's.
fn count_messages(
    charged_to: Option<&QuotaHolder>,
    unit: &Unit,
    receipt: &Receipt,
    usage: &mut UnitUsage,
) {
    for message in &unit.outbox {
        usage.add_stored(
            charged_to,
            count_message(&message.topic, &message.payload_json),
        );
        if let Some(sender) = charged_to.filter(|_| message.sender.is_some()) {
            usage.of_holder(sender).messages += 1;
        }
    }
    for (new, written) in unit.signals.iter().zip(&receipt.signals) {
        if *written != SignalReceipt::Accepted {
            continue;
        }
        let signal = &new.signal;
        let sender = signal.sender.clone().map(QuotaHolder::Agent);
        if sender.is_none() {
            let key = new.key.as_ref().map_or(0, |key| key.key.len() as u64);
            let bytes = count_message(&signal.topic, &signal.payload_json) + key;
            usage.add_stored(charged_to, bytes);
        }
        let deliveries = (new.deliver_to.len() + new.shed.len()) as u64;
        usage.add_stored(sender.as_ref().or(charged_to), deliveries * ROW_BYTES);
    }
}

/// Refuses a unit whose deadline has passed or whose idempotency key was used before.
fn check_unit(connection: &Connection, unit: &Unit) -> Result<(), WriteError> {
    if unit
        .deadline
        .as_ref()
        .is_some_and(|deadline| !deadline.claim())
    {
        return Err(WriteError::refuse(CommitError::DeadlineExceeded));
    }
    // The HRM has compared the keys of its units already, also with units that are not committed yet.
    if let Some(record) = unit.idempotency.as_ref().filter(|_| !unit.chained)
        && let Some(seen) = find_idempotency(connection, &record.scope, &record.key)?
    {
        return Err(WriteError::refuse(CommitError::AlreadyAnswered(seen)));
    }
    Ok(())
}

/// Appends an entry to the audit log, notes what is derived from it, and counts it. Returns its number.
fn record_entry(
    connection: &Connection,
    log: &mut AuditLog<'_, '_>,
    entry: &AuditEntry,
    (charged_to, usage): (Option<&QuotaHolder>, &mut UnitUsage),
) -> rusqlite::Result<u64> {
    usage.add_audit_row(charged_to, &entry.body);
    log.decisions.write(connection)?;
    let seq = append_entry(connection, log.head, entry)?;
    log.derived.add_entry(seq, entry);
    Ok(seq)
}

/// As [`record_entry`], for an entry that the unit has. The row of a decision is kept.
fn record_unit_entry<'u>(
    connection: &Connection,
    log: &mut AuditLog<'_, 'u>,
    entry: &'u AuditEntry,
    (charged_to, usage): (Option<&QuotaHolder>, &mut UnitUsage),
) -> rusqlite::Result<u64> {
    let Some(seq) = log.decisions.append(log.head, entry, log.packer) else {
        return record_entry(connection, log, entry, (charged_to, usage));
    };
    usage.add_audit_row(charged_to, &entry.body);
    log.derived.add_entry(seq, entry);
    Ok(seq)
}

/// Writes the state, the memories and the truths of the unit's agent.
fn write_agent_data(
    state: &mut StateWriter<'_>,
    unit: &Unit,
    receipt: &mut Receipt,
) -> Result<(), WriteError> {
    let Some(agent) = &unit.agent else {
        return Ok(());
    };
    for write in &unit.state {
        let value = write.value_json.as_deref();
        let revision = state.write_exact(agent, &write.key, value, write.expected)?;
        receipt.revisions.push(revision);
    }
    for new in &unit.memories {
        let counted = (state.charged_to, &mut *state.usage);
        write_memory(state.connection, agent, new, unit.at, counted)?;
    }
    let origin = TruthOrigin {
        agent,
        at: unit.at,
        trace_id: state.trace_id,
    };
    for write in &unit.truths {
        write_truth(state.connection, origin, write, None)?;
        state.usage.add_stored(state.charged_to, count_truth(write));
    }
    Ok(())
}

/// Stores the unit's signals and deletes the outbox rows they carry out.
fn write_signals(
    connection: &Connection,
    log: &mut AuditLog<'_, '_>,
    unit: &Unit,
    receipt: &mut Receipt,
    (charged_to, usage): (Option<&QuotaHolder>, &mut UnitUsage),
) -> Result<(), WriteError> {
    for signal in &unit.signals {
        let written = write_signal(connection, signal)?;
        if written == SignalReceipt::Accepted
            && let Some(entry) = sender_entry(signal)
        {
            record_entry(connection, log, &entry, (charged_to, &mut *usage))?;
        }
        receipt.signals.push(written);
    }
    for seq in &unit.outbox_done {
        delete_outbox_row(connection, *seq)?;
    }
    Ok(())
}

/// The audit row that names the token a signal came with.
fn sender_entry(new: &NewSignal) -> Option<AuditEntry> {
    let signal = &new.signal;
    let body = serde_json::json!({
        "by": new.by.as_ref()?,
        "signal_id": signal.id,
        "topic": signal.topic,
    });
    Some(AuditEntry {
        kind: AuditKind::Operator,
        id: AuditId::fresh(),
        trace_id: Some(signal.trace_id),
        agent: None,
        action_type: Some("signal.send".to_owned()),
        outcome: None,
        at: signal.accepted_at,
        body: body.to_string(),
        subject: None,
    })
}

/// Writes the changes that only the database can refuse.
fn write_plain_changes<'u>(
    connection: &Connection,
    unit: &'u Unit,
    receipt: &mut Receipt,
    trades: &mut NewTrades<'u>,
) -> Result<(), WriteError> {
    for change in &unit.ledger {
        write_ledger_change(connection, change, trades)?;
    }
    for message in &unit.outbox {
        insert_outbox_message(connection, message)?;
    }
    if let Some(record) = &unit.idempotency {
        write_idempotency(
            connection,
            record,
            receipt.operator_changes.first().copied(),
        )?;
    }
    for policy in &unit.policies {
        write_policy_record(connection, policy)?;
    }
    for change in &unit.policy_changes {
        write_policy_change(connection, change)?;
    }
    for change in &unit.control {
        write_control_change(connection, change)?;
    }
    for change in &unit.agents {
        receipt.closed_deliveries += write_agent_change(connection, change)?;
    }
    if let Some(cursor) = &unit.fleet {
        write_fleet_cursor(connection, cursor)?;
    }
    for change in &unit.redis {
        write_redis_change(connection, change, unit.at)?;
    }
    for change in &unit.webhooks {
        write_webhook_change(connection, change, unit.at)?;
    }
    for alert in &unit.alerts {
        write_alert(connection, alert)?;
    }
    for change in &unit.account {
        write_account_change(connection, change)?;
    }
    if let Some(entries) = &unit.configured_lists {
        replace_configured(connection, entries)?;
    }
    Ok(())
}
