//! What a run proposed: each approved trade is cancelled and each held one rejected, whatever happens.

use std::collections::BTreeMap;
use std::path::Path;

use ark_client::members::text_field;
use ark_client::{Answer, ClientError, HostClient, join_path};
use ark_model::ids::Millis;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::journal::{Journal, JournalOwner, OWN_JOURNAL};

use super::SyntheticError;

/// A decision that no host has made: its report is refused, and only by its right if the token has none.
const NO_DECISION: &str = "00000000-0000-7000-8000-000000000000";

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OrderEntry {
    /// It is about to be proposed.
    Proposing {
        /// The idempotency key.
        key: String,
        /// The request form.
        action: Value,
    },
    /// Nothing of it is open.
    Settled {
        /// The idempotency key.
        key: String,
    },
}

/// What was proposed and may be open.
pub(super) struct MarketOrders {
    journal: Journal,
    /// The start of this run's idempotency keys.
    run: String,
    open: BTreeMap<String, Value>,
}

impl MarketOrders {
    /// Opens the journal and cancels what an earlier run left open.
    pub(super) fn open(
        client: &HostClient,
        path: &Path,
        agent: &str,
    ) -> Result<Self, SyntheticError> {
        let owner = JournalOwner {
            command: "ark synthetic",
            host: ark_client::normalize_address(client.url()),
            option: OWN_JOURNAL,
        };
        let (journal, entries) = Journal::open::<OrderEntry>(path, &owner)?;
        let mut open = BTreeMap::new();
        for entry in entries {
            match entry {
                OrderEntry::Proposing { key, action } => {
                    open.insert(key, action);
                }
                OrderEntry::Settled { key } => {
                    open.remove(&key);
                }
            }
        }
        let mut orders = Self {
            journal,
            run: format!("ark-synthetic-{agent}-{}", Millis::now().0),
            open,
        };
        for key in orders.keys() {
            orders.find_and_cancel(client, &key)?;
        }
        orders.journal.clear_entries()?;
        Ok(orders)
    }

    fn keys(&self) -> Vec<String> {
        self.open.keys().cloned().collect()
    }

    /// Notes that an action is about to be proposed. `name`: what tells it from the others of the run. Returns the idempotency key to propose it
    /// under.
    pub(super) fn announce_order(
        &mut self,
        name: &str,
        action: &Value,
    ) -> Result<String, SyntheticError> {
        let key = format!("{}-{name}", self.run);
        self.journal.record_entry(&OrderEntry::Proposing {
            key: key.clone(),
            action: action.clone(),
        })?;
        self.open.insert(key.clone(), action.clone());
        Ok(key)
    }

    /// Takes back what a decision left open, and notes that nothing of the proposal is. Returns whether an execution was reported.
    pub(super) fn settle_order(
        &mut self,
        client: &HostClient,
        key: &str,
        decision: &Value,
    ) -> Result<bool, SyntheticError> {
        let id = text_field(decision, "decision_id");
        let reported = match text_field(decision, "outcome") {
            "approved" => {
                cancel_order(client, id)?;
                true
            }
            "held" => reject_approval(client, id)?,
            _ => false,
        };
        self.journal.record_entry(&OrderEntry::Settled {
            key: key.to_owned(),
        })?;
        self.open.remove(key);
        Ok(reported)
    }

    /// Cancels everything that may be open. Returns how many proposals may still be.
    pub(super) fn cancel_all(&mut self, client: &HostClient) -> usize {
        for key in self.keys() {
            // What fails is counted below, and the next run tries again.
            let _ = self.find_and_cancel(client, &key);
        }
        if self.open.is_empty() {
            // A journal that cannot be cleared says only what is settled.
            let _ = self.journal.clear_entries();
        }
        self.open.len()
    }

    /// Asks again for what may have been proposed: the same key gets the first answer, or makes the proposal now. Then cancels it.
    fn find_and_cancel(&mut self, client: &HostClient, key: &str) -> Result<(), SyntheticError> {
        let Some(action) = self.open.get(key) else {
            return Ok(());
        };
        let decision = client
            .send_json("POST", "/v1/actions", &[("Idempotency-Key", key)], action)
            .and_then(Answer::into_success)?;
        self.settle_order(client, key, &decision).map(drop)
    }
}

/// Rejects a held trade, so that nobody approves it later. One that somebody approved meanwhile is cancelled. Returns whether an execution was
/// reported.
fn reject_approval(client: &HostClient, decision_id: &str) -> Result<bool, ClientError> {
    let path = join_path(&["v1", "approvals", decision_id]);
    let comment = json!({"comment": "synthetic load; it must not be carried out"});
    let answer = client.send_json("POST", &format!("{path}/reject"), &[], &comment)?;
    let Err(refusal) = answer.into_success() else {
        return Ok(false);
    };
    let approval = client.get(&path)?.into_success()?;
    match text_field(&approval, "status") {
        "open" => Err(refusal),
        "approved" => {
            let second = text_field(&approval, "decision_id");
            let path = join_path(&["v1", "decisions", second]);
            let decision = client.get(&path)?.into_success()?;
            match text_field(&decision, "outcome") {
                "approved" => cancel_order(client, second).map(|()| true),
                "held" => reject_approval(client, second),
                _ => Ok(false),
            }
        }
        _ => Ok(false),
    }
}

/// Reports an approved trade as cancelled.
fn cancel_order(client: &HostClient, decision_id: &str) -> Result<(), ClientError> {
    let report = json!({
        "execution_id": format!("ark-synthetic-{decision_id}"),
        "decision_id": decision_id,
        "status": "cancelled",
    });
    client
        .send_json("POST", "/v1/executions", &[], &report)?
        .into_success()
        .map(drop)
}

/// Finds out whether the token may report executions.
pub(super) fn check_right_to_cancel(client: &HostClient) -> Result<(), SyntheticError> {
    let report = json!({
        "execution_id": "ark-synthetic-rehearsal",
        "decision_id": NO_DECISION,
        "status": "cancelled",
    });
    let answer = client.send_json("POST", "/v1/executions", &[], &report)?;
    match answer.status {
        401 | 403 => Err(SyntheticError::CannotCancel(
            text_field(&answer.body, "detail").to_owned(),
        )),
        _ => Ok(()),
    }
}
