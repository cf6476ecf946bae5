//! Attestations of operators: the lists and the account, from which facts are made. Each is recorded with its author and its reason.

use serde_json::json;

use crate::hrm::error::HrmError;
use crate::hrm::request::{Attestation, AttestationReceipt, AttestedFact, HrmReply};
use ark_model::ids::{AuditId, Millis};
use ark_store::{AccountChange, AuditEntry, AuditKind, ListChange, ListEntry, Unit};

use super::idempotency::{format_receipt, parse_receipt};
use super::state::Arbiter;

impl Arbiter {
    /// Records an attestation. It is a fact for everything judged from here on.
    pub(super) fn record_attestation(
        &mut self,
        attestation: Attestation,
        reply: HrmReply<AttestationReceipt>,
    ) {
        let scope = format!("attest:{}", attestation.by);
        let key = attestation.idempotency.clone();
        let Some(reply) = self.check_idempotency(&scope, key.as_ref(), reply, parse_receipt) else {
            return;
        };
        let now = Millis::now();
        let mut unit = self.begin_unit(now);
        let other_spellings = match &attestation.fact {
            AttestedFact::List { list, key, .. } => {
                let mut keys = self.ledger.find_entry_keys(*list, key);
                keys.retain(|other| other != key);
                keys
            }
            AttestedFact::Capital(_) | AttestedFact::Result(_) => Vec::new(),
        };
        let (action, mut body) =
            match self.stage_attested_fact(&attestation, &other_spellings, now, &mut unit) {
                Ok(staged) => staged,
                Err(error) => {
                    self.abandon_unit(unit);
                    return reply(Err(error));
                }
            };
        let Attestation {
            trace_id,
            by,
            reason,
            ..
        } = attestation;
        tracing::warn!(action, by, reason, "an operator attested a fact");
        body["by"] = json!(by);
        body["reason"] = json!(reason);
        unit.audit.push(AuditEntry {
            kind: AuditKind::Operator,
            id: AuditId::fresh(),
            trace_id: Some(trace_id),
            agent: None,
            action_type: Some(action.to_owned()),
            outcome: None,
            at: now,
            body: body.to_string(),
            subject: None,
        });
        let receipt = AttestationReceipt {
            trace_id,
            at: now,
            daily_loss: self.ledger.daily_loss(now),
            other_spellings,
        };
        self.stage_answer(&scope, key, || format_receipt(&receipt), &mut unit);
        self.submit_unit(unit, reply, move || receipt);
    }

    /// Changes the ledger and adds the change to the unit. Returns the type and the body of the audit row.
    ///
    /// # Errors
    /// [`HrmError::UnknownCapital`] for a result before the capital is known. Nothing is changed then.
    fn stage_attested_fact(
        &mut self,
        attestation: &Attestation,
        other_spellings: &[String],
        now: Millis,
        unit: &mut Unit,
    ) -> Result<(&'static str, serde_json::Value), HrmError> {
        let account_change = AccountChange {
            capital: None,
            realised: None,
            fraction: None,
            by: attestation.by.clone(),
            reason: attestation.reason.clone(),
            at: now,
        };
        Ok(match &attestation.fact {
            AttestedFact::List { list, key, entry } => {
                let is_listed = self.ledger.find_entry_keys(*list, key).contains(key);
                let mut change_entry = |key: &String, entry: Option<&ListEntry>| {
                    self.ledger.set_attested_entry(*list, key, entry.cloned());
                    unit.lists.push(ListChange {
                        list: *list,
                        key: key.clone(),
                        entry: entry.cloned(),
                        by: attestation.by.clone(),
                        reason: attestation.reason.clone(),
                        at: now,
                    });
                };
                for other in other_spellings {
                    change_entry(other, None);
                }
                // Where only another spelling is listed, taking that off is all there is to do.
                if entry.is_some() || is_listed || other_spellings.is_empty() {
                    change_entry(key, entry.as_ref());
                }
                let action = match entry {
                    Some(_) => "list.put",
                    None => "list.delete",
                };
                let mut body = json!({"list": list, "key": key, "entry": entry});
                if !other_spellings.is_empty() {
                    body["other_spellings"] = json!(other_spellings);
                }
                (action, body)
            }
            AttestedFact::Capital(amount) => {
                self.ledger.set_capital(*amount);
                unit.account.push(AccountChange {
                    capital: Some(*amount),
                    ..account_change
                });
                ("account.capital", json!({"amount": amount}))
            }
            AttestedFact::Result(amount) => {
                let capital = self.ledger.capital().ok_or(HrmError::UnknownCapital)?;
                let fraction = amount / capital;
                unit.ledger.push(self.ledger.record_result(fraction, now));
                unit.account.push(AccountChange {
                    realised: Some(*amount),
                    fraction: Some(fraction),
                    ..account_change
                });
                let body = json!({"amount": amount, "fraction": fraction});
                ("account.result", body)
            }
        })
    }
}
