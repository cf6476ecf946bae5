//! What an earlier run left open is taken back by the next one, whatever token it has and whatever became of the requester meanwhile.

use ark_tests::{Host, TestDir, make_token};
use serde_json::{Value, json};

use super::{CONFIG, command, failed_proofs, open_orders, start_altering_requests, url_of};

/// Runs the load with a token, if there is one.
fn run_as(token: Option<&str>, url: &str, dir: &TestDir) -> (Value, std::process::Output) {
    let mut command = command(url, dir, &["--duration", "4", "--hz", "4"]);
    if let Some(token) = token {
        command.env("ARK_TOKEN", token);
    }
    let output = command.output().expect("ark starts");
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (report, output)
}

/// Makes a run leave 12 approved trades open, and its journal one of the host.
fn leave_trades_open(host: &Host, token: Option<&str>, dir: &TestDir) {
    // No report of an execution gets to the host, once the rehearsal is over.
    let url = start_altering_requests(
        &host.address,
        "POST /v1/executions",
        "POST /v1/executionx",
        1,
    );
    let (report, output) = run_as(token, &url, dir);
    assert_eq!(
        failed_proofs(&report),
        ["nothing-open"],
        "{report:#} {output:?}"
    );
    assert_eq!(open_orders(&dir.data()).0, 12);
    let journal = dir.path().join("synthetic.journal");
    let text = std::fs::read_to_string(&journal).expect("the journal");
    std::fs::write(&journal, text.replace(&url, &url_of(host))).expect("the journal");
}

#[test]
fn what_a_run_left_is_taken_back_by_one_with_another_token() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    leave_trades_open(&host, None, &dir);
    let former = url_of(&host);
    assert_eq!(host.terminate(), Some(0));
    // The first tokens of a host that had none.
    let [ada, bob] = ["ada", "bob"].map(|name| make_token(&dir.data(), name, "admin", &[]));
    let host = dir.start();
    let journal = dir.path().join("synthetic.journal");
    let text = std::fs::read_to_string(&journal).expect("the journal");
    std::fs::write(&journal, text.replace(&former, &url_of(&host))).expect("the journal");
    for (left_by, taken_by) in [(None, &ada), (Some(&ada), &bob)] {
        if let Some(token) = left_by {
            leave_trades_open(&host, Some(token), &dir);
        }
        let (report, output) = run_as(Some(taken_by), &url_of(&host), &dir);
        assert_eq!(failed_proofs(&report), [""; 0], "{report:#} {output:?}");
        assert_eq!(open_orders(&dir.data()).0, 0, "{report:#}");
        assert_eq!(std::fs::read(&journal).expect("the journal"), b"");
    }
}

#[test]
fn what_a_token_may_not_cancel_stays_in_the_journal_until_one_may() {
    let dir = TestDir::new(CONFIG);
    let admin = make_token(&dir.data(), "ada", "admin", &[]);
    // It reads traces, and reports no executions.
    let operator = make_token(&dir.data(), "ops", "operator", &[]);
    let host = dir.start();
    leave_trades_open(&host, Some(&admin), &dir);
    let journal = dir.path().join("synthetic.journal");
    let before = std::fs::read(&journal).expect("the journal");
    for _ in 0..2 {
        let (report, output) = run_as(Some(&operator), &url_of(&host), &dir);
        assert_eq!(output.status.code(), Some(1), "{report:#} {output:?}");
        let error = report["error"].as_str().expect("an error");
        assert!(error.contains("which cannot be taken back"), "{error}");
        assert_eq!(open_orders(&dir.data()).0, 12);
        assert_eq!(std::fs::read(&journal).expect("the journal"), before);
    }
    let (report, output) = run_as(Some(&admin), &url_of(&host), &dir);
    assert_eq!(failed_proofs(&report), [""; 0], "{report:#} {output:?}");
    assert_eq!(open_orders(&dir.data()).0, 0, "{report:#}");
    assert_eq!(std::fs::read(&journal).expect("the journal"), b"");
}

#[test]
fn a_journal_of_a_requester_or_a_trace_that_the_host_does_not_know_stops_no_run_without_a_remedy() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let journal = dir.path().join("synthetic.journal");
    let header = json!({"journal": "ark synthetic", "host": url_of(&host)});
    let write_journal = |action: &Value| {
        let entry =
            json!({"proposing": {"key": "ark-synthetic-ghost-1-0", "action": action, "at": 1}});
        std::fs::write(&journal, format!("{header}\n{entry}\n")).expect("the journal");
    };
    let mut action = json!({
        "agent": "ghost",
        "action_type": "trade",
        "parameters": {"symbol": "SYNTHETIC0-TEST", "position_size_pct": 0.001},
        "reasoning": "a test",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    });
    write_journal(&action);
    let (report, output) = run_as(None, &url_of(&host), &dir);
    assert_eq!(failed_proofs(&report), [""; 0], "{report:#} {output:?}");
    // The last proposal of a run of an earlier version, which had no trace.
    action
        .as_object_mut()
        .expect("an object")
        .remove("trace_id");
    write_journal(&action);
    let before = std::fs::read(&journal).expect("the journal");
    let (report, output) = run_as(None, &url_of(&host), &dir);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    let error = report["error"].as_str().expect("an error");
    for told in [
        "synthetic.journal names a proposal of `ghost` of an earlier run",
        "move the journal away",
    ] {
        assert!(error.contains(told), "{told}: {error}");
    }
    assert_eq!(std::fs::read(&journal).expect("the journal"), before);
}
