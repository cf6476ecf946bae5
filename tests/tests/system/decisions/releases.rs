//! A database whose decisions the Graveyard of an earlier release judged (`tests/recorded`): a host starts on it, records the exchange, and its
//! decisions can still be judged again.

use std::path::Path;

use ark_tests::{Client, TestDir, artefacts::checkout_path, run_ark, trade};
use serde_json::{Value, json};

/// Decisions in the recorded database; the last is a trade with a stop and no entry price, which the earlier release approved.
const RECORDED: usize = 37;

fn copy_recorded(data: &Path) {
    std::fs::create_dir_all(data).expect("a data directory");
    for file in ["ark.db", "anchors.jsonl"] {
        let from = checkout_path("tests/recorded/graveyard-1.0.0").join(file);
        std::fs::copy(from, data.join(file)).expect("a recorded file");
    }
}

/// Runs `ark` on a data directory and returns the JSON lines that it prints.
fn read_lines(args: &[&str], data: &Path) -> Vec<Value> {
    let data = data.to_str().expect("UTF-8");
    let output = run_ark(&[args, &["--data-dir", data]].concat());
    assert!(
        output.status.success(),
        "{args:?}: {} {}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON lines"))
        .collect()
}

fn find_exchanges(data: &Path) -> Vec<Value> {
    let mut rows = read_lines(&["audit", "export"], data);
    rows.retain(|row| row["action_type"] == "graveyard.exchange");
    rows
}

#[test]
fn a_host_starts_on_decisions_of_an_earlier_graveyard_and_records_the_exchange() {
    let dir = TestDir::new("");
    copy_recorded(&dir.data());
    let host = dir.start();
    let (status, answer) = Client::new(&host).post("/v1/actions", &trade("NEW-USD", 0.01));
    assert_eq!(
        (status, &answer["outcome"]),
        (200, &json!("approved")),
        "{answer}"
    );
    assert_eq!(host.terminate(), Some(0));
    let exchanges = find_exchanges(&dir.data());
    let [exchange] = exchanges.as_slice() else {
        panic!("one exchange is on record: {exchanges:?}");
    };
    let body: Value =
        serde_json::from_str(exchange["body"].as_str().expect("a body")).expect("JSON");
    assert_eq!(
        (
            &exchange["seq"],
            &exchange["kind"],
            &body["by"],
            &body["old"]["version"]
        ),
        (
            &json!(RECORDED + 1),
            &json!("operator"),
            &json!("ark"),
            &json!("1.0.0")
        ),
        "before the first decision of the new one: {exchange}"
    );
    assert_ne!(body["old"]["sha256"], body["new"]["sha256"]);
    // Neither a start after a decision of the new one nor one without is another exchange.
    for _ in 0..2 {
        assert_eq!(dir.start().terminate(), Some(0));
    }
    assert_eq!(find_exchanges(&dir.data()), exchanges);
    assert!(
        read_lines(&["audit", "verify", "--json"], &dir.data())[0]["fault"].is_null(),
        "the chain holds"
    );
}

#[test]
fn decisions_of_an_earlier_graveyard_are_replayed_and_compared() {
    let dir = TestDir::new("");
    copy_recorded(&dir.data());
    // A start brings the database to this release's schema.
    let host = dir.start();
    let (_, answer) = Client::new(&host).post("/v1/actions", &trade("NEW-USD", 0.01));
    assert_eq!(answer["outcome"], "approved", "{answer}");
    assert_eq!(host.terminate(), Some(0));
    let report = read_lines(&["audit", "replay", "--json"], &dir.data()).remove(0);
    assert_eq!(
        (&report["decisions"], &report["identical"]),
        (&json!(RECORDED + 1), &json!(RECORDED + 1)),
        "{report}"
    );
    // From a row on, those before are not judged: of the last decision, and behind the end.
    let rows = read_lines(&["audit", "export"], &dir.data());
    let last = rows.last().expect("a row")["seq"]
        .as_u64()
        .expect("a number");
    let decision = rows.iter().rfind(|row| row["kind"] == "decision");
    let decision = decision.expect("a decision")["seq"].as_u64();
    for (from, decisions) in [
        (decision.expect("a number"), 1),
        (last + 1, 0),
        (u64::MAX, 0),
    ] {
        let from = from.to_string();
        let args = ["audit", "replay", "--json", "--from", from.as_str()];
        let rest = read_lines(&args, &dir.data()).remove(0);
        assert_eq!(
            (&rest["decisions"], &rest["identical"], &rest["last_seq"]),
            (&json!(decisions), &json!(decisions), &json!(last)),
            "{from}: {rest}"
        );
    }
    assert_eq!(report["last_seq"], last, "{report}");
    let changes = read_lines(
        &[
            "policy",
            "diff",
            "graveyard-1.0.0",
            "graveyard",
            "--since",
            "0",
            "--json",
        ],
        &dir.data(),
    );
    let blind: Vec<&Value> = changes
        .iter()
        .filter(|change| {
            change["new"]["outcome"] == "denied" && change["old"]["outcome"] == "approved"
        })
        .collect();
    let [blind] = blind.as_slice() else {
        panic!("one decision is denied now: {changes:#?}");
    };
    assert_eq!(
        (&blind["action_type"], &blind["new"]["fired"][0]["rule"]),
        (&json!("buy"), &json!("require_stop_loss")),
        "{blind}"
    );
    let summary = &changes.last().expect("a summary")["summary"];
    assert_eq!(summary["loosened"], json!(0), "{summary}");
}
