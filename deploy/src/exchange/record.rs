//! Steps of a deployment as the host records them (`POST /v1/deployments`).

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

/// Has the host record a step, once for a key.
pub(crate) fn post_step(
    client: &HostClient,
    key: &str,
    step: &StepRecord<'_>,
) -> Result<(), ClientError> {
    let mut body = json!({
        "deployment": step.deployment,
        "kind": step.kind,
        "version": step.version,
        "step": step.step,
        "reason": clip_to(&escape_line(step.reason), MAX_REASON),
    });
    if let Some(share) = step.share_pct {
        body["share_pct"] = share.into();
    }
    if !step.figures.is_null() {
        body["figures"] = step.figures.clone();
    }
    let path = "/v1/deployments";
    client
        .send_json("POST", path, &[("Idempotency-Key", key)], &body)
        .and_then(Answer::into_success)
        .map(drop)
}
