//! The two ways in which an action reaches the host: the HTTP API, and an agent. A rule must hold for both.

use serde_json::{Value, json};

use crate::artefacts::{copy_agent, hostile_guests_dir};
use crate::client::Client;
use crate::host::TestDir;
use crate::requests::{post_signal, wait_for_trace};

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `POST /v1/actions`.
    Http,
    /// The agent `proposer` of the tests, which proposes what a signal describes.
    Agent,
}

/// Both ways.
pub const WAYS: [Way; 2] = [Way::Http, Way::Agent];

impl Way {
    /// Puts into the directory of a host that is to be started what this way needs.
    pub fn prepare(self, place: &TestDir) {
        if self == Self::Agent {
            copy_agent(&hostile_guests_dir(), "proposer", &place.agents());
        }
    }

    /// Proposes an action (the request form of the API). Returns the decision as `GET /v1/decisions/{id}` shows it.
    ///
    /// # Panics
    /// The action does not come to a decision.
    #[must_use]
    pub fn propose(self, client: &mut Client, action: &Value) -> Value {
        let id = match self {
            Self::Http => {
                let (status, answer) = client.post("/v1/actions", action);
                assert_eq!(status, 200, "{action}: {answer}");
                answer["decision_id"].clone()
            }
            Self::Agent => {
                let answer = post_signal(client, "proposer.propose", action);
                let id = answer["trace_id"].as_str().unwrap_or_default();
                let trace =
                    wait_for_trace(client, id, |trace| trace["pending_deliveries"] == json!(0));
                let steps = trace["steps"].as_array().cloned().unwrap_or_default();
                steps
                    .iter()
                    .map(|step| step["decision_id"].clone())
                    .find(|id| !id.is_null())
                    .unwrap_or_else(|| panic!("{action}: no decision: {trace:#}"))
            }
        };
        let id = id.as_str().unwrap_or_else(|| panic!("{action}: no id"));
        let (status, decision) = client.get(&format!("/v1/decisions/{id}"));
        assert_eq!(status, 200, "{id}: {decision}");
        decision
    }
}
