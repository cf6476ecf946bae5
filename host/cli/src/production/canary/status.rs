//! `ark canary status`: the canary of the host by its journal, and what the host says of its deployments and of versions on trial.
//!
//! Invariant: what the journal has is shown also where the host does not answer.
//!
//! Must not know: how a canary is run.

use std::process::ExitCode;

use ark_client::{Answer, ClientError, HostClient};
use ark_deploy::canary::{CanaryState, has_runner, read_state};
use serde_json::{Value, json};

use crate::output::{exit_code, print_json, print_line};
use crate::production::describe_step;

/// How many pages of agents, and of policies, are looked through for canaries.
const MAX_PAGES: u32 = 200;

/// What the host says of canaries.
struct HostCanaries {
    /// The last steps of deployments, newest first.
    steps: Value,
    /// The agents with a version on trial.
    agents: Vec<Value>,
    /// The policies with a version on trial.
    policies: Vec<Value>,
}

impl HostCanaries {
    fn read(client: &HostClient) -> Result<Self, ClientError> {
        let steps = client
            .get("/v1/deployments?limit=20")
            .and_then(Answer::into_success)?;
        let on_trial = |list: &str, member: &str| -> Result<Vec<Value>, ClientError> {
            let items = client.read_list(&format!("/v1/{list}"), list, MAX_PAGES)?;
            let items = items.rows.iter();
            Ok(items
                .filter(|item| item.get(member).is_some_and(|trial| !trial.is_null()))
                .map(|item| json!({"name": item.get("name"), member: item.get(member)}))
                .collect())
        };
        Ok(Self {
            steps: steps.get("steps").cloned().unwrap_or_default(),
            agents: on_trial("agents", "canary")?,
            policies: on_trial("policies", "shadow")?,
        })
    }
}

/// Shows all canaries: the host's by its journal, which needs no host, and what the host says. Without that the exit code is not 0.
pub(super) fn show_status(
    client: &HostClient,
    journal: &std::path::Path,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let state = read_state(client, journal)?;
    let is_run = state.as_ref().map(|_| has_runner(journal));
    let read = HostCanaries::read(client).map_err(|error| match error {
        ClientError::NoAnswer { .. } | ClientError::CutOff(_) => {
            format!("the host does not answer: {error}")
        }
        other => format!("the host does not say it: {other}"),
    });
    if json {
        let (found, error) = (read.as_ref().ok(), read.as_ref().err());
        let mut report = json!({
            "host": state,
            "has_runner": is_run,
            "steps": found.map(|found| &found.steps),
            "agents": found.map(|found| &found.agents),
            "policies": found.map(|found| &found.policies),
        });
        if let Some(error) = error {
            report["error"] = json!(error);
        }
        print_json(&report)?;
        return Ok(exit_code(read.is_ok()));
    }
    match &state {
        None => print_line!("host      no canary is under way"),
        Some(state) => print_line!("host      {}", describe_state(state)),
    }
    if is_run == Some(false) {
        print_line!(
            "host      no command runs it: `ark canary resume` goes on with it, `ark canary abort` ends it"
        );
    }
    let found = match &read {
        Ok(found) => found,
        Err(error) => {
            print_line!("error     {error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    for (kind, list) in [("agent", &found.agents), ("policy", &found.policies)] {
        for item in list {
            print_line!("{kind:<9} {}", describe_trial(item));
        }
    }
    for step in found.steps.as_array().into_iter().flatten() {
        print_line!(
            "step      {}",
            describe_step(step["step"].as_str().unwrap_or_default(), step)
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the host's canary stands.
fn describe_state(state: &CanaryState) -> String {
    let doing = match (&state.going_back, state.paused, state.take_over) {
        (Some(reason), ..) => format!(", and goes back: {reason}"),
        (None, true, _) => ", and keeps them: it is paused".to_owned(),
        (None, false, Some(step)) => format!(", and takes the data over ({})", step.as_str()),
        (None, false, None) => String::new(),
    };
    format!(
        "{} has {} % of the requests{doing}",
        state.version, state.share_pct
    )
}

/// An agent's or a policy's version on trial on one line.
fn describe_trial(item: &Value) -> String {
    let trial = item.get("canary").or_else(|| item.get("shadow"));
    let member = |name: &str| trial.and_then(|trial| trial.get(name));
    let text = |name: &str| match member(name) {
        None | Some(Value::Null) => "?".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let name = item.get("name").and_then(Value::as_str).unwrap_or("?");
    let mut line = format!(
        "{name}: version {} ({}) is on trial",
        text("number"),
        text("version")
    );
    if member("share").is_some() {
        line = format!(
            "{line} with a share of {}; handled {}, failed {}",
            text("share"),
            text("handled"),
            text("failed")
        );
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::describe_trial;

    #[test]
    fn a_trial_is_told_in_a_sentence() {
        for (item, told) in [
            (
                json!({"name": "scout", "canary": {"number": 1, "version": "0.2.0", "sha256": "ab", "share": 0.5, "handled": 3, "failed": 0}}),
                "scout: version 1 (0.2.0) is on trial with a share of 0.5; handled 3, failed 0",
            ),
            (
                json!({"name": "size", "shadow": {"number": 2, "version": "1.0.0", "sha256": "ab"}}),
                "size: version 2 (1.0.0) is on trial",
            ),
            (
                json!({"name": "size", "shadow": {"number": 2, "version": null}}),
                "size: version 2 (?) is on trial",
            ),
        ] {
            assert_eq!(describe_trial(&item), told);
        }
    }
}
