//! Steps of a deployment as the host records them (`POST /v1/deployments`).

use std::collections::VecDeque;

use ark_client::{Answer, ClientError, HostClient};
use ark_model::check::clip_to;
use ark_model::printable::escape_line;
use serde_json::{Value, json};

/// The most characters of a reason: what a host takes, at four bytes each at most.
const MAX_REASON: usize = 250;

/// A step.
pub(crate) struct StepRecord<'a> {
    /// The id of the deployment.
    pub(crate) deployment: &'a str,
    /// `canary`, `rollback` or `upgrade`.
    pub(crate) kind: &'a str,
    /// The version that comes, or comes back.
    pub(crate) version: &'a str,
    /// Its name.
    pub(crate) step: &'a str,
    /// The share of the requests that the version gets with it.
    pub(crate) share_pct: Option<u32>,
    /// Why the step is taken.
    pub(crate) reason: &'a str,
    /// What was measured.
    pub(crate) figures: &'a Value,
}

impl StepRecord<'_> {
    fn to_body(&self) -> Value {
        let mut body = json!({
            "deployment": self.deployment,
            "kind": self.kind,
            "version": self.version,
            "step": self.step,
            "reason": clip_to(&escape_line(self.reason), MAX_REASON),
        });
        if let Some(share) = self.share_pct {
            body["share_pct"] = share.into();
        }
        if !self.figures.is_null() {
            body["figures"] = self.figures.clone();
        }
        body
    }
}

/// Makes the host record a step, once for each key.
pub(crate) fn post_step(
    client: &HostClient,
    key: &str,
    step: &StepRecord<'_>,
) -> Result<(), ClientError> {
    post_body(client, key, &step.to_body())
}

fn post_body(client: &HostClient, key: &str, body: &Value) -> Result<(), ClientError> {
    let path = "/v1/deployments";
    client
        .send_json("POST", path, &[("Idempotency-Key", key)], body)
        .and_then(Answer::into_success)
        .map(drop)
}

/// The steps of a deployment on their way to the host. While that is away they wait for the next one, since the host is exchanged meanwhile; one that
/// the host refuses holds up no other.
#[derive(Default)]
pub(crate) struct StepQueue {
    waiting: VecDeque<WaitingStep>,
    /// What the host refused, and why.
    refused: Vec<String>,
}

struct WaitingStep {
    name: String,
    key: String,
    body: Value,
    problem: String,
}

impl StepQueue {
    /// Has the host record those that wait and this one, each once for its key.
    pub(crate) fn post_step(&mut self, client: &HostClient, key: String, step: &StepRecord<'_>) {
        self.waiting.push_back(WaitingStep {
            name: step.step.to_owned(),
            key,
            body: step.to_body(),
            problem: "it waits for the step before".to_owned(),
        });
        self.post_waiting(client);
    }

    /// Whether a step waits for the host, which does not answer or takes none.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Has the host record the steps that wait.
    pub(crate) fn post_waiting(&mut self, client: &HostClient) {
        while let Some(first) = self.waiting.front_mut() {
            match post_body(client, &first.key, &first.body) {
                Ok(()) => {}
                Err(error @ ClientError::Problem { status: ..500, .. }) => {
                    self.refused.push(format!("{}: {error}", first.name));
                }
                Err(error) => {
                    first.problem = error.to_string();
                    return;
                }
            }
            self.waiting.pop_front();
        }
    }

    /// Takes a step back that waits, since it has not come true. A host that took it and ended before it answered may have recorded it.
    pub(crate) fn withdraw_step(&mut self, name: &str) {
        self.waiting.retain(|step| step.name != name);
    }

    /// What the host has not recorded, and why.
    pub(crate) fn into_unrecorded(self) -> Vec<String> {
        let waiting = self.waiting.into_iter();
        let waiting = waiting.map(|step| format!("{}: {}", step.name, step.problem));
        self.refused.into_iter().chain(waiting).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use ark_client::Endpoint;

    use super::*;

    #[test]
    fn a_step_that_has_not_come_true_is_taken_back() {
        // Nobody listens there.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", free.local_addr().unwrap());
        drop(free);
        let client = HostClient::new(&Endpoint {
            url,
            token: None,
            ca: None,
        });
        let client = client.unwrap();
        let mut steps = StepQueue::default();
        for step in ["validation", "upgraded"] {
            let record = StepRecord {
                deployment: "u",
                kind: "upgrade",
                version: "2",
                step,
                share_pct: None,
                reason: "",
                figures: &Value::Null,
            };
            steps.post_step(&client, format!("u-{step}"), &record);
        }
        steps.withdraw_step("upgraded");
        assert!(steps.is_waiting());
        let left = steps.into_unrecorded();
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(left[0].starts_with("validation: "), "{left:?}");
    }
}
