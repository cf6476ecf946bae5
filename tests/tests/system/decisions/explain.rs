//! `ark explain`: why, in words a person can act on; from a running host and from its data directory alike.

use std::path::Path;
use std::process::Command;

use ark_tests::{Client, Host, ark_program, trade};
use serde_json::{Value, json};

fn explain_decision(args: &[&str]) -> (bool, String) {
    let output = Command::new(ark_program())
        .arg("explain")
        .args(args)
        .env_remove("ARK_DATA_DIR")
        .env_remove("ARK_URL")
        .env_remove("ARK_TOKEN")
        .output()
        .expect("ark starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

fn propose_action(client: &mut Client, action: &Value) -> String {
    let (status, answer) = client.post("/v1/actions", action);
    assert_eq!(status, 200, "{answer}");
    answer["decision_id"].as_str().expect("an id").to_owned()
}

/// What both ways say; they say the same.
fn explain_both_ways(host: &Host, data_dir: &Path, id: &str) -> String {
    let url = format!("http://{}", host.address);
    let (told, online) = explain_decision(&[id, "--url", &url]);
    assert!(told, "{online}");
    let (told, offline) = explain_decision(&[id, "--data-dir", data_dir.to_str().expect("UTF-8")]);
    assert!(told, "{offline}");
    assert_eq!(online, offline);
    online
}

#[test]
fn a_decision_is_explained_online_and_offline() {
    let dir = tempfile::tempdir().expect("a directory");
    let data_dir = dir.path().join("data");
    let host = Host::start(&data_dir, &["--submitter", "api"]);
    let mut client = Client::new(&host);

    let good = propose_action(&mut client, &trade("BTC-USD", 0.02));
    let told = explain_both_ways(&host, &data_dir, &good);
    assert!(
        told.starts_with("APPROVED: api wants to trade (buy) BTC-USD for 2 % of capital"),
        "{told}"
    );
    assert!(told.contains("Nothing has to change: it passed."), "{told}");

    let mut bad = trade("BTC-USD", 0.3);
    bad["parameters"]["leverage"] = json!(5.0);
    bad["parameters"]["hrm_approved"] = json!(true);
    bad["parameters"]["stop_loss"] = json!(120.0);
    let bad = propose_action(&mut client, &bad);
    let told = explain_both_ways(&host, &data_dir, &bad);
    for words in [
        "DENIED: api wants to trade (buy) BTC-USD for 30 % of capital, leverage 5",
        "max_position_size (graveyard 1.1.0, rule 5, high)",
        "observed    0.32",
        "it demands  ",
        "position_size_pct 0.08 or less (8 %), beside the 2 % that are held in BTC-USD already",
        "leverage 2 or less",
        "give a stop_loss below the entry price 100, and above 0",
        "Held by",
        "`hrm_approved` in the parameters is no evidence and was ignored",
        "then it would be held, and a person has to approve it",
    ] {
        assert!(told.contains(words), "{words}\n{told}");
    }

    let held = json!({"agent": "api", "action_type": "execute_code", "reasoning": "a test",
        "parameters": {"language": "sh", "code": "true"}});
    let held = propose_action(&mut client, &held);
    let told = explain_both_ways(&host, &data_dir, &held);
    let command = format!("ark approvals approve {held} --comment");
    for words in [
        "HELD: api wants to execute 4 bytes of code (sh)",
        "Approval: open",
        &command,
        "not ",
    ] {
        assert!(told.contains(words), "{words}\n{told}");
    }
    let (told, json) = explain_decision(&[
        &held,
        "--json",
        "--data-dir",
        data_dir.to_str().expect("UTF-8"),
    ]);
    assert!(told, "{json}");
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["outcome"], "held");
    assert_eq!(json["approval"]["status"], "open");
    let steps = json["to_pass"].as_array().expect("steps");
    assert!(!steps.is_empty(), "{json:#}");
    for step in steps {
        let step = step.as_str().expect("a text");
        assert!(!step.contains("reject"), "no way to pass: {step}");
    }

    let path = format!("/v1/approvals/{held}/approve");
    let (status, answer) = client.post(&path, &json!({"comment": "looked at it", "by": "ada"}));
    assert_eq!(status, 200, "{answer}");
    let again = answer["decision"]["decision_id"].as_str().expect("an id");
    let told = explain_both_ways(&host, &data_dir, &held);
    assert!(
        told.starts_with("HELD, then APPROVED: api wants to execute 4 bytes of code (sh)"),
        "{told}"
    );
    assert!(told.contains("Nothing has to change: it passed."), "{told}");
    assert!(told.contains("observed    no"), "{told}");
    assert!(told.contains("required    yes"), "{told}");
    assert!(told.contains("Approval: approved"), "{told}");
    assert!(told.contains("ada approved it (looked at it)"), "{told}");
    assert!(told.contains(&format!("ark explain {again}")), "{told}");
    let told = explain_both_ways(&host, &data_dir, again);
    assert!(
        told.contains("judged again with the approval of ada"),
        "{told}"
    );

    let nobody = "01890000-0000-7000-8000-000000000000";
    let (found, told) =
        explain_decision(&[nobody, "--data-dir", data_dir.to_str().expect("UTF-8")]);
    assert!(!found && told.contains("there is no decision"), "{told}");
    let (found, told) = explain_decision(&[nobody, "--url", &format!("http://{}", host.address)]);
    assert!(!found && told.contains("there is no decision"), "{told}");
    let (found, told) = explain_decision(&["not-an-id", "--data-dir", "."]);
    assert!(!found && told.contains("not a UUID"), "{told}");
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn a_veto_is_named_as_long_as_it_stands() {
    let dir = tempfile::tempdir().expect("a directory");
    let data_dir = dir.path().join("data");
    let host = Host::start(&data_dir, &["--submitter", "api"]);
    let mut client = Client::new(&host);
    let veto = json!({"words": "no meme coins", "symbol": "DOGE-USD", "reason": "r", "by": "ada"});
    let (status, put) = client.send("PUT", "/v1/lists/vetoes/entries/doge", &veto);
    assert_eq!(status, 200, "{put}");
    let vetoed = propose_action(&mut client, &trade("DOGE-USD", 0.01));
    let told = explain_both_ways(&host, &data_dir, &vetoed);
    assert!(
        told.contains("a user's veto forbids the action (no meme coins); only that user can have it lifted: ark lists remove vetoes doge --reason \"why\""),
        "{told}"
    );
    let path = "/v1/lists/vetoes/entries/doge?reason=r&by=ada";
    let (status, ..) = client.request("DELETE", path, &[], b"").expect("an answer");
    assert_eq!(status, 200);
    let told = explain_both_ways(&host, &data_dir, &vetoed);
    assert!(told.contains("none with these words stands now"), "{told}");
    assert_eq!(host.terminate(), Some(0));
}
