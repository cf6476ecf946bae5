//! What a host wrongly approved or held of a validation's proposals: an approved trade is reported as cancelled, a held proposal is rejected.
//!
//! Invariants: what the host says is the record: nothing here relies on what this process remembers, so that a killed run's is found too. What this run
//! proposes itself is in a trace whose id is the run's, which the journal and the lease name before; what the probe proposed is found by its name.
//!
//! Must not know: why something was proposed.

use ark_client::members::{array_field, text_field};
use ark_client::{Answer, ClientError, HostClient, MAX_PAGE, join_path};
use ark_model::ids::TraceId;
use serde_json::{Value, json};

use super::probe::PROBE;

/// Why it is taken back, for the audit log.
const COMMENT: &str = "proposed by a validation of the host; it must not be carried out";
/// How often a trade that somebody approves while it is rejected is looked at again.
const MAX_APPROVALS: u32 = 3;

/// Who takes back. What the one may not do is tried with the other: only an administrator's token may do everything.
#[derive(Clone, Copy)]
pub(super) struct Withdrawal<'a> {
    pub(super) client: &'a HostClient,
    pub(super) submitter: &'a HostClient,
}

/// What became of something that was proposed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Withdrawn {
    /// Nothing of it was open.
    Nothing,
    /// It was taken back.
    TakenBack,
    /// It could not be.
    Open {
        /// The decision.
        id: String,
        /// What it is, what is wrong, and the remedy.
        problem: String,
    },
}

impl Withdrawn {
    /// What stays open; `None`: nothing does.
    pub(super) fn describe(&self) -> Option<String> {
        match self {
            Self::Nothing | Self::TakenBack => None,
            Self::Open { id, problem } => Some(format!("decision {id} stays open: {problem}")),
        }
    }

    /// The same as the end of a failure's text.
    pub(super) fn to_suffix(&self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::TakenBack => "; it was taken back".to_owned(),
            Self::Open { .. } => self
                .describe()
                .map_or_else(String::new, |text| format!("; {text}")),
        }
    }

    /// Whether a text names the decision that stays open.
    pub(super) fn is_named_in(&self, text: &str) -> bool {
        matches!(self, Self::Open { id, .. } if text.contains(id.as_str()))
    }
}

impl Withdrawal<'_> {
    /// Takes back what a decision left open, as its proposal was answered or as a trace has it.
    pub(super) fn withdraw_decision(self, decision: &Value) -> Withdrawn {
        let id = text_field(decision, "decision_id");
        let is_message = text_field(decision, "action_type") == "message";
        match text_field(decision, "outcome") {
            // A message is sent, and nothing of it is open.
            "approved" if !is_message => self.withdraw_trade(id),
            "held" => self.withdraw_held(id),
            _ => Withdrawn::Nothing,
        }
    }

    /// Takes back what a trace has.
    ///
    /// # Errors
    /// The trace cannot be read.
    pub(super) fn withdraw_trace(self, trace: &str) -> Result<Vec<Withdrawn>, ClientError> {
        // A journal or a lease may name a run otherwise.
        if trace.parse::<TraceId>().is_err() {
            return Ok(Vec::new());
        }
        let answer = self.client.get(&join_path(&["v1", "traces", trace]))?;
        if answer.status == 404 {
            return Ok(Vec::new());
        }
        let trace = answer.into_success()?;
        let steps = array_field(&trace, "steps");
        let is_reported = |id: &str| {
            steps.iter().any(|step| {
                let detail = step.get("detail").unwrap_or(&Value::Null);
                text_field(step, "step") == "execution" && text_field(detail, "decision_id") == id
            })
        };
        let own = steps.iter().filter(|step| {
            text_field(step, "step") == "decision"
                && text_field(step, "agent") == PROBE
                && !is_reported(text_field(step, "decision_id"))
        });
        Ok(own.map(|step| self.withdraw_decision(step)).collect())
    }

    /// Takes back what a trace has of a test that failed. Returns the end of the failure's text.
    pub(super) fn describe_trace(self, trace: &str) -> String {
        match self.withdraw_trace(trace) {
            Ok(withdrawn) => withdrawn.iter().map(Withdrawn::to_suffix).collect(),
            Err(error) => format!(
                "; whether the trace {trace} has something that stays open cannot be read: {error}"
            ),
        }
    }

    /// Takes back what these runs proposed, and whatever of the probe's waits for an approval. Returns what stays open.
    ///
    /// # Errors
    /// The host cannot be asked what there is.
    pub(super) fn withdraw_left<'a>(
        self,
        runs: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Withdrawn>, ClientError> {
        let mut found = Vec::new();
        for run in runs {
            found.extend(self.withdraw_trace(run)?);
        }
        let path = format!("/v1/approvals?agent={PROBE}&status=open&limit={MAX_PAGE}");
        let page = self.client.get(&path).and_then(Answer::into_success)?;
        for held in array_field(&page, "approvals") {
            let withdrawn = self.withdraw_held(text_field(held, "id"));
            // A held decision of a run is in its trace too.
            if !found.contains(&withdrawn) {
                found.push(withdrawn);
            }
        }
        found.retain(|one| matches!(one, Withdrawn::Open { .. }));
        Ok(found)
    }

    fn withdraw_trade(self, id: &str) -> Withdrawn {
        match self.cancel_order(id) {
            Ok(()) => Withdrawn::TakenBack,
            Err(error) => Withdrawn::Open {
                id: id.to_owned(),
                problem: format!(
                    "the trade was approved and cannot be reported as cancelled: {error}; report that with the token of an executor or an administrator (POST /v1/executions), or run `ark validate` again with an administrator's"
                ),
            },
        }
    }

    fn withdraw_held(self, id: &str) -> Withdrawn {
        match self.reject_approval(id) {
            Ok(()) => Withdrawn::TakenBack,
            Err(error) => Withdrawn::Open {
                id: id.to_owned(),
                problem: format!(
                    "it is held and cannot be rejected: {error}; reject it with the token of an approver or an administrator (`ark approvals reject {id}`)"
                ),
            },
        }
    }

    /// Reports an approved trade as cancelled.
    fn cancel_order(self, decision_id: &str) -> Result<(), ClientError> {
        let report = json!({
            "execution_id": format!("ark-validate-{decision_id}"),
            "decision_id": decision_id,
            "status": "cancelled",
        });
        self.send_as_either("/v1/executions", &report)?
            .into_success()
            .map(drop)
    }

    /// Rejects what is held, so that nobody approves it later. A trade that somebody approved meanwhile is cancelled.
    fn reject_approval(self, decision_id: &str) -> Result<(), ClientError> {
        let mut held = decision_id.to_owned();
        for _ in 0..MAX_APPROVALS {
            let path = join_path(&["v1", "approvals", &held]);
            let answer =
                self.send_as_either(&format!("{path}/reject"), &json!({"comment": COMMENT}))?;
            let Err(refusal) = answer.into_success() else {
                return Ok(());
            };
            let approval = self.client.get(&path)?.into_success()?;
            match text_field(&approval, "status") {
                "open" => return Err(refusal),
                "approved" => {}
                // Rejected by somebody else, or expired.
                _ => return Ok(()),
            }
            let second = text_field(&approval, "decision_id");
            let path = join_path(&["v1", "decisions", second]);
            let decision = self.client.get(&path)?.into_success()?;
            match text_field(&decision, "outcome") {
                "approved" if text_field(&decision, "action_type") != "message" => {
                    return self.cancel_order(second);
                }
                "held" => second.clone_into(&mut held),
                _ => return Ok(()),
            }
        }
        Err(ClientError::Problem {
            status: 409,
            kind: String::new(),
            detail: "it is approved and held again and again".to_owned(),
            remedy: String::new(),
        })
    }

    /// Sends something with the operator's token, else with the submitter's.
    fn send_as_either(self, path: &str, body: &Value) -> Result<Answer, ClientError> {
        let answer = self.client.send_json("POST", path, &[], body)?;
        if !matches!(answer.status, 401 | 403) {
            return Ok(answer);
        }
        self.submitter.send_json("POST", path, &[], body)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use crate::scripted_host::{Asked, start_scripted_host};

    use super::*;

    const RUN: &str = "01a224ffff0b75ce9aeab1065e600bff";

    /// A host with a trace of this run, and the requests that change something there. `status`: the answer to those.
    fn start_host(
        steps: Value,
        approvals: Value,
        status: u16,
    ) -> (HostClient, Arc<Mutex<Vec<Asked>>>) {
        let changes = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&changes);
        let client = start_scripted_host(move |asked| {
            if asked.method == "POST" {
                noted.lock().unwrap().push(asked.clone());
                return (status, json!({"detail": "its role is operator"}));
            }
            match asked.path.as_str() {
                "/v1/traces/01a224ffff0b75ce9aeab1065e600bff" => {
                    (200, json!({"steps": steps.clone()}))
                }
                path if path.starts_with("/v1/approvals?agent=validation-probe&status=open&") => {
                    (200, json!({"approvals": approvals.clone()}))
                }
                path if path.starts_with("/v1/approvals/") => (200, json!({"status": "open"})),
                _ => (404, Value::Null),
            }
        });
        (client, changes)
    }

    fn decision(id: &str, action_type: &str, outcome: &str) -> Value {
        json!({"step": "decision", "agent": PROBE, "decision_id": id, "action_type": action_type, "outcome": outcome})
    }

    #[test]
    fn what_a_killed_run_left_open_is_taken_back_and_nothing_else() {
        let mut of_another = decision("other", "trade", "approved");
        of_another["agent"] = json!("kyle");
        let steps = json!([
            decision("denied", "trade", "denied"),
            decision("sent", "message", "approved"),
            decision("open", "trade", "approved"),
            decision("held", "trade", "held"),
            decision("ended", "trade", "approved"),
            {"step": "execution", "detail": {"decision_id": "ended"}},
            of_another,
        ]);
        let (client, changes) = start_host(steps, json!([{"id": "waiting"}]), 200);
        let withdrawal = Withdrawal {
            client: &client,
            submitter: &client,
        };
        assert_eq!(withdrawal.withdraw_left([RUN, "no id"]).unwrap(), []);
        let changes = changes.lock().unwrap();
        let paths: Vec<&str> = changes.iter().map(|asked| asked.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "/v1/executions",
                "/v1/approvals/held/reject",
                "/v1/approvals/waiting/reject"
            ]
        );
        let report = &changes[0].body;
        assert_eq!(report["decision_id"], "open");
        assert_eq!(report["status"], "cancelled");
    }

    #[test]
    fn what_no_token_may_take_back_is_named_with_the_remedy() {
        let steps = json!([
            decision("open", "trade", "approved"),
            decision("held", "trade", "held"),
        ]);
        let (client, changes) = start_host(steps, json!([{"id": "held"}]), 403);
        let withdrawal = Withdrawal {
            client: &client,
            submitter: &client,
        };
        let open = withdrawal.withdraw_left([RUN]).unwrap();
        let texts: Vec<String> = open.iter().filter_map(Withdrawn::describe).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        for (text, parts) in texts.iter().zip([
            [
                "decision open stays open",
                "its role is operator",
                "POST /v1/executions",
            ],
            [
                "decision held stays open",
                "its role is operator",
                "ark approvals reject held",
            ],
        ]) {
            for part in parts {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
        assert!(open[0].is_named_in("… decision open stays …") && !open[0].is_named_in("held"));
        // With either token, for each of them and for the list of what is held.
        assert_eq!(changes.lock().unwrap().len(), 6);
    }
}
