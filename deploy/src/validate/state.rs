//! Category `state`: what agents keep has a history without gaps, and can be taken back.

use ark_client::members::text_field;
use ark_client::{Answer, ClientError, ListRows, join_path};
use serde_json::{Value, json};

use super::probe::PROBE;
use super::{CaseFailure, TestContext, TestOutcome};

/// How many pages of a history are read at most: the probe's history stays at the host and grows with each validation.
const MAX_PAGES: u32 = 20;

/// The revisions of a key, the first one first; of a long history the last ones.
fn read_history(bench: &TestContext<'_>, key: &str) -> Result<ListRows, ClientError> {
    let path = join_path(&["v1", "state", PROBE, key, "history"]);
    let mut history = bench.client.read_list(&path, "revisions", MAX_PAGES)?;
    history.rows.reverse();
    Ok(history)
}

fn number_of(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// Finds a revision that does not follow the one before it, or a whole history that does not begin with revision 1.
fn find_gap(history: &ListRows) -> Option<String> {
    for pair in history.rows.windows(2) {
        if let [one, next] = pair {
            let (one, next) = (number_of(one, "revision"), number_of(next, "revision"));
            if next != one + 1 {
                return Some(format!("after revision {one} comes revision {next}"));
            }
        }
    }
    let first = history
        .rows
        .first()
        .map_or(0, |first| number_of(first, "revision"));
    (first != 1 && (history.is_whole || first == 0))
        .then(|| format!("the history begins with revision {first}"))
}

/// Numbers its revisions from 1 on without a gap.
pub(super) fn test_history(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    let mut given = Vec::new();
    for value in 1..=3 {
        let changed = bench.probe.set_key("history", &json!(value))?;
        given.push(number_of(&changed, "revision"));
    }
    let history = read_history(bench, "history")?;
    if let Some(gap) = find_gap(&history) {
        return Err(gap.into());
    }
    let last = history
        .rows
        .last()
        .map_or(0, |last| number_of(last, "revision"));
    if given.last() != Some(&last) || given.windows(2).any(|pair| pair[1] != pair[0] + 1) {
        return Err(format!(
            "the changes were numbered {given:?}, and the history ends with {last}"
        )
        .into());
    }
    let first = history
        .rows
        .first()
        .map_or(0, |first| number_of(first, "revision"));
    Ok(TestOutcome::Passed(format!(
        "{} revisions of the probe's key from {first} on",
        history.rows.len()
    )))
}

/// Takes a value back to an earlier revision, by a new one.
pub(super) fn test_rollback(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    let first = bench.probe.set_key("rollback", &json!("before"))?;
    let first = number_of(&first, "revision");
    bench.probe.set_key("rollback", &json!("after"))?;
    let path = join_path(&["v1", "state", PROBE, "rollback", "rollback"]);
    let body = json!({"to_revision": first});
    let changed = bench
        .client
        .send_json("POST", &path, &[], &body)
        .and_then(Answer::into_success);
    let made = number_of(&changed?, "revision");
    let found = bench.probe.read_key("rollback")?.unwrap_or_default();
    if found.get("value") != Some(&json!("before")) {
        return Err(format!(
            "rolled back to {first}, and the value is {}",
            found.get("value").unwrap_or(&Value::Null)
        )
        .into());
    }
    if made != first + 2 || number_of(&found, "revision") != made {
        return Err(format!(
            "the rollback made revision {made}, and {} was next",
            first + 2
        )
        .into());
    }
    Ok(TestOutcome::Passed(format!(
        "revision {made} has the value of revision {first}"
    )))
}

/// Every change, a deletion too, is a revision with its value, its author and its moment.
pub(super) fn test_versions(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    bench.probe.set_key("versions", &json!({"n": 1}))?;
    bench.probe.delete_key("versions")?;
    bench.probe.set_key("versions", &json!({"n": 2}))?;
    let revisions = read_history(bench, "versions")?.rows;
    let last: Vec<(Value, bool)> = revisions
        .iter()
        .rev()
        .take(3)
        .map(|one| {
            let deleted = one.get("deleted") == Some(&Value::Bool(true));
            (one.get("value").cloned().unwrap_or_default(), deleted)
        })
        .collect();
    let expected = [
        (json!({"n": 2}), false),
        (Value::Null, true),
        (json!({"n": 1}), false),
    ];
    if last != expected {
        return Err(format!("set, deleted and set again, and the history has {last:?}").into());
    }
    if revisions
        .iter()
        .any(|one| text_field(one, "written_by").is_empty() || number_of(one, "at_ms") == 0)
    {
        return Err("a revision lacks its author or its moment".into());
    }
    Ok(TestOutcome::Passed(format!(
        "{} revisions, each with value, author and moment",
        revisions.len()
    )))
}
