//! Whether the tokens of a validation may do what it does, before it does anything.
//!
//! Invariant: nothing is changed. An empty request is refused for its form, or for its token; a dry run records nothing.

use ark_client::{ClientError, HostClient};
use serde_json::{Value, json};

use super::ValidateError;
use super::probe::PROBE;

/// What the host says that refuses a token for a call; `None`: it takes the token, or does not answer.
pub(crate) fn find_refusal(client: &HostClient, path: &str, body: &Value) -> Option<ClientError> {
    let answer = client.send_json("POST", path, &[], body).ok()?;
    if !matches!(answer.status, 401 | 403) {
        return None;
    }
    answer.into_success().err()
}

/// What the host says that refuses the token of who proposes in a validation, and what to give; `None`: it takes the token, or does not answer.
pub(crate) fn find_proposing_refusal(submitter: &HostClient) -> Option<String> {
    let in_name_of_probe = json!({
        "agent": PROBE,
        "action_type": "message",
        "parameters": {"topic": "validation.note", "text": "may this token propose?"},
        "reasoning": "a validation of the host",
    });
    let calls = [
        ("/v1/actions", json!({})),
        ("/v1/signals", json!({})),
        ("/v1/actions?dry_run=true", in_name_of_probe),
    ];
    let refusal = calls
        .iter()
        .find_map(|(path, body)| find_refusal(submitter, path, body))?;
    Some(format!(
        "the token that proposes in the validation: {refusal}; give that of a submitter for the agent {PROBE} with --submitter-token-file, or an administrator's"
    ))
}

/// Checks both tokens of a validation.
///
/// # Errors
/// [`ValidateError::Access`]: the host refuses one.
pub(super) fn check_tokens(
    client: &HostClient,
    submitter: &HostClient,
) -> Result<(), ValidateError> {
    let operating = find_refusal(client, "/v1/deployments", &json!({})).map(|refusal| {
        format!(
            "the token that uploads the probe: {refusal}; give an operator's or an administrator's with --token-file"
        )
    });
    match operating.or_else(|| find_proposing_refusal(submitter)) {
        Some(problem) => Err(ValidateError::Access(problem)),
        None => Ok(()),
    }
}
