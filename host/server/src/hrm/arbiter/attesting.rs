//! What operators attest: the lists and the account that facts come from. Each is recorded with who said it and why.

use serde_json::json;

use ark_model::ids::{AuditId, Millis};
use ark_store::{AccountChange, AuditEntry, AuditKind, ListChange, Unit};

use super::super::handle::Reply;
use super::super::proposal::{Attestation, AttestationReceipt, AttestedFact, HrmError};
use super::Arbiter;

impl Arbiter {
    /// Takes an attestation in: it is a fact for everything judged from here on.
    pub(super) fn record_attestation(
        &mut self,
        attestation: Attestation,
        reply: Reply<AttestationReceipt>,
    ) {
        let scope = format!("attest:{}", attestation.by);
        let key = attestation.idempotency.as_ref();
        let Some(reply) = self.check_idempotency(&scope, key, reply, super::parse_stored_answer)
        else {
            return;
        };
        let now = Millis::now();
        let mut unit = Unit {
            ledger: self.ledger.advance_to(now),
            chained: true,
            ..Unit::default()
        };
        let Attestation {
            fact: what,
            trace_id,
            by,
            reason,
            idempotency,
        } = attestation;
        let mut account = AccountChange {
            capital: None,
            realised: None,
            fraction: None,
            by: by.clone(),
            reason: reason.clone(),
            at: now,
        };
        let (name, mut body) = match what {
            AttestedFact::ConfiguredLists(entries) => {
                self.ledger.set_configured_lists(entries.clone());
                let body = json!({"entries": entries.len()});
                unit.configured_lists = Some(entries);
                ("lists.configure", body)
            }
            AttestedFact::List { list, key, entry } => {
                self.ledger.set_attested_entry(list, &key, entry.clone());
                let name = if entry.is_some() {
                    "list.put"
                } else {
                    "list.delete"
                };
                let body = json!({"list": list, "key": key, "entry": entry});
                unit.lists.push(ListChange {
                    list,
                    key,
                    entry,
                    by: by.clone(),
                    reason: reason.clone(),
                    at: now,
                });
                (name, body)
            }
            AttestedFact::Capital(amount) => {
                self.ledger.set_capital(amount);
                account.capital = Some(amount);
                unit.account.push(account);
                ("account.capital", json!({"amount": amount}))
            }
            AttestedFact::Result(amount) => {
                let Some(capital) = self.ledger.capital() else {
                    return reply(Err(HrmError::UnknownCapital));
                };
                let fraction = amount / capital;
                unit.ledger.push(self.ledger.record_result(fraction, now));
                account.realised = Some(amount);
                account.fraction = Some(fraction);
                unit.account.push(account);
                let body = json!({"amount": amount, "fraction": fraction});
                ("account.result", body)
            }
        };
        tracing::warn!(what = name, by, reason, "attested");
        body["by"] = json!(by);
        body["reason"] = json!(reason);
        unit.audit.push(AuditEntry {
            kind: AuditKind::Operator,
            id: AuditId::fresh(),
            trace_id: Some(trace_id),
            agent: None,
            action_type: Some(name.to_owned()),
            outcome: None,
            at: now,
            body: body.to_string(),
        });
        let receipt = AttestationReceipt {
            trace_id,
            at: now,
            daily_loss: self.ledger.daily_loss(),
        };
        if let Some(key) = idempotency {
            let answer = serde_json::to_string(&receipt).unwrap_or_default();
            self.stage_answer(&scope, key, answer, &mut unit);
        }
        self.submit_unit(unit, reply, move |_| receipt);
    }
}
