//! Approvals at the real host: what is held waits, is judged again, and is settled once.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use ark_tests::{Client, Host, TestDir, run_ark, trade, wait_until};
use serde_json::{Value, json};

/// Above 8 % a trade is held (rule 11).
const LARGE: f64 = 0.09;

fn hold_trade(client: &mut Client, symbol: &str) -> String {
    let (status, decision) = client.post("/v1/actions", &trade(symbol, LARGE));
    assert_eq!(
        (status, &decision["outcome"]),
        (200, &json!("held")),
        "{decision}"
    );
    decision["decision_id"].as_str().expect("an id").to_owned()
}

fn resolve_approval(client: &mut Client, id: &str, how: &str, by: &str) -> (u16, Value) {
    let body = json!({"comment": "seen and understood", "by": by});
    client.post(&format!("/v1/approvals/{id}/{how}"), &body)
}

/// Returns the approvals with their status.
fn list_approvals(client: &mut Client) -> Vec<(String, String)> {
    let (_, body) = client.get("/v1/approvals?limit=500");
    body["approvals"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|approval| {
            let text = |field: &str| approval[field].as_str().unwrap_or("?").to_owned();
            (text("id"), text("status"))
        })
        .collect()
}

#[test]
fn held_actions_are_judged_again_once_another_caller_approves() {
    let place = TestDir::new("");
    let host = place.start();
    let mut client = Client::new(&host);
    let id = hold_trade(&mut client, "BTC-USD");
    let (status, waiting) = client.get(&format!("/v1/approvals/{id}"));
    assert_eq!(status, 200);
    assert_eq!(waiting["status"], "open");
    assert_eq!(waiting["submitter"], "api");
    assert!(
        waiting["reasons"][0]
            .as_str()
            .expect("a reason")
            .contains("require_hrm_approval"),
        "{waiting}"
    );

    let (status, own) = resolve_approval(&mut client, &id, "approve", "api");
    assert_eq!(
        (status, own["type"].as_str()),
        (403, Some("urn:ark:problem:not-independent")),
        "{own}"
    );
    let (status, done) = resolve_approval(&mut client, &id, "approve", "ada");
    assert_eq!(
        (status, &done["status"]),
        (200, &json!("approved")),
        "{done}"
    );
    let decision = &done["decision"];
    assert_eq!(decision["outcome"], "approved");
    assert_eq!(decision["approval"], json!({"held": id, "by": "ada"}));
    assert_ne!(decision["decision_id"], json!(id));

    // It counts as a trade: what is left of the limit is 1 %.
    let (_, account) = client.get("/v1/account");
    assert_eq!(account["exposure_pct"]["BTC-USD"], LARGE);
    let (_, more) = client.post("/v1/actions", &trade("BTC-USD", 0.02));
    assert_eq!(more["outcome"], "denied");

    for how in ["approve", "reject"] {
        let (status, again) = resolve_approval(&mut client, &id, how, "grace");
        assert_eq!(
            (status, again["type"].as_str()),
            (409, Some("urn:ark:problem:approval-settled")),
            "{again}"
        );
        let detail = again["detail"].as_str().expect("a detail");
        let start = format!("the approval {id} was resolved before: approved by ada at 20");
        assert!(detail.starts_with(&start), "{detail}");
        let decided = decision["decision_id"].as_str().expect("an id");
        assert_eq!(
            again["remedy"],
            format!(
                "nothing is left to do; what became of the action is the decision {decided}: GET /v1/decisions/{{id}}"
            )
        );
    }
    let (_, held) = client.get(&format!("/v1/decisions/{id}"));
    assert_eq!(held["outcome"], "held");
    assert_eq!(held["waiting"]["settled_by"], "ada");
    let trace = held["trace_id"].as_str().expect("a trace");
    let (_, trace) = client.get(&format!("/v1/traces/{trace}"));
    let steps: Vec<&str> = trace["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .filter_map(|step| step["step"].as_str())
        .collect();
    assert_eq!(
        steps.iter().filter(|step| **step == "decision").count(),
        2,
        "{steps:?}"
    );
    assert!(steps.contains(&"approval"), "{steps:?}");
    assert_eq!(host.terminate(), Some(0));
    for command in ["verify", "replay"] {
        let output = run_ark(&[
            "audit",
            command,
            "--data-dir",
            &place.data().display().to_string(),
        ]);
        assert!(
            output.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn an_approval_is_judged_under_the_facts_of_now() {
    let place = TestDir::new("");
    let host = place.start();
    let mut client = Client::new(&host);
    let (full, halted) = (
        hold_trade(&mut client, "BTC-USD"),
        hold_trade(&mut client, "ETH-USD"),
    );
    let (_, taken) = client.post("/v1/actions", &trade("BTC-USD", 0.05));
    assert_eq!(taken["outcome"], "approved");
    let (status, done) = resolve_approval(&mut client, &full, "approve", "ada");
    assert_eq!(
        (status, &done["decision"]["outcome"]),
        (200, &json!("denied")),
        "{done}"
    );
    let reasons = done["decision"]["reasons"].to_string();
    assert!(reasons.contains("max_position_size"), "{reasons}");

    client.post("/v1/halt", &json!({"reason": "drill"}));
    let (_, done) = resolve_approval(&mut client, &halted, "approve", "ada");
    assert_eq!(done["decision"]["outcome"], "denied");
    assert!(
        done["decision"]["reasons"]
            .to_string()
            .contains("emergency_halt"),
        "{done}"
    );
}

#[test]
fn a_rejection_ends_it_and_bad_input_leaves_it_waiting() {
    let place = TestDir::new("");
    let host = place.start();
    let mut client = Client::new(&host);
    let id = hold_trade(&mut client, "BTC-USD");
    let path = format!("/v1/approvals/{id}/approve");
    let cases = [
        (path.as_str(), json!({}), 400, "comment"),
        (path.as_str(), json!({"comment": ""}), 400, "comment"),
        (path.as_str(), json!({"comment": "x", "by": ""}), 400, "by"),
        (
            path.as_str(),
            json!({"comment": "x", "hrm_approval": true}),
            400,
            "hrm_approval",
        ),
        (
            "/v1/approvals/nonsense/approve",
            json!({"comment": "x"}),
            400,
            "id",
        ),
    ];
    for (path, body, status, field) in cases {
        let (found, problem) = client.post(path, &body);
        assert_eq!(
            (found, problem["field"].as_str()),
            (status, Some(field)),
            "{path} {body}: {problem}"
        );
    }
    let unknown = "/v1/approvals/0190a000-0000-7000-8000-000000000000/approve";
    assert_eq!(client.post(unknown, &json!({"comment": "x"})).0, 404);
    assert_eq!(
        list_approvals(&mut client),
        [(id.clone(), "open".to_owned())]
    );
    // Anyone who proposed it may take it back.
    let (status, done) = resolve_approval(&mut client, &id, "reject", "api");
    assert_eq!(
        (status, &done["status"], &done["decision"]),
        (200, &json!("rejected"), &Value::Null)
    );
    let (_, account) = client.get("/v1/account");
    assert_eq!(account["exposure_pct"], json!({}));
}

#[test]
fn an_approval_expires() {
    let place = TestDir::new("[capacity]\napproval_seconds = 1\n[watchdog]\ngraveyard_ms = 200\n");
    let host = place.start();
    let mut client = Client::new(&host);
    let id = hold_trade(&mut client, "BTC-USD");
    // Recorded by the host itself, without anybody asking for it.
    wait_until("the expiry", || list_approvals(&mut client)[0].1 != "open");
    assert_eq!(
        list_approvals(&mut client),
        [(id.clone(), "expired".to_owned())]
    );
    let (status, late) = resolve_approval(&mut client, &id, "approve", "ada");
    assert_eq!(status, 409, "{late}");
    assert!(
        late["detail"]
            .as_str()
            .expect("a detail")
            .contains("expired"),
        "{late}"
    );
}

/// What approvers and rejecters do at the same time as the one who approves.
#[derive(Clone, Copy, PartialEq)]
enum Race {
    /// All approve.
    Approvals,
    /// Every second one rejects.
    Rejections,
    /// All approve about when the approval expires, after two seconds.
    Expiry,
}

/// Whatever the answers of a race say, one thing happened, and the log says the same.
fn assert_one_outcome(host: &Host, race: Race, round: usize) {
    const APPROVERS: usize = 6;
    let mut client = Client::new(host);
    let id = hold_trade(&mut client, &format!("SYM-{round}"));
    let held = Instant::now();
    let gate = Barrier::new(APPROVERS);
    let answers: Vec<(u16, Value)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..APPROVERS)
            .map(|number| {
                let (gate, id) = (&gate, &id);
                scope.spawn(move || {
                    let mut client = Client::new(host);
                    gate.wait();
                    if race == Race::Expiry {
                        // As near to the expiry as can be. On which side of it an approver comes may differ.
                        let wait = Duration::from_millis(1996 + number as u64);
                        std::thread::sleep(wait.saturating_sub(held.elapsed()));
                    }
                    let how = if race == Race::Rejections && number % 2 == 0 {
                        "reject"
                    } else {
                        "approve"
                    };
                    resolve_approval(&mut client, id, how, &format!("approver-{number}"))
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("an answer"))
            .collect()
    });
    let won: Vec<&Value> = answers
        .iter()
        .filter(|(status, _)| *status == 200)
        .map(|(_, body)| body)
        .collect();
    assert!(
        answers
            .iter()
            .all(|(status, _)| matches!(status, 200 | 409)),
        "{answers:?}"
    );
    let (_, row) = client.get(&format!("/v1/approvals/{id}"));
    match won.as_slice() {
        [] => {
            assert!(race == Race::Expiry, "{answers:?}");
            assert_eq!(row["status"], json!("expired"));
        }
        [one] => {
            assert_eq!(one["status"], row["status"]);
            let decision = one["decision"]["decision_id"].clone();
            assert_eq!(decision, row["decision_id"]);
        }
        more => panic!("{more:?}"),
    }
    let (_, trace) = client.get(&format!(
        "/v1/traces/{}",
        row["trace_id"].as_str().expect("a trace")
    ));
    let count = |outcome: &str| {
        let steps = trace["steps"].as_array().expect("steps").iter();
        steps.filter(|step| step["outcome"] == outcome).count()
    };
    let approved = usize::from(row["status"] == "approved");
    assert_eq!(
        (count("held"), count("approved") + count("denied")),
        (1, approved),
        "{trace}"
    );
    // The capacity that it may have reserved is free again for the next round.
    if let Some(id) = row["decision_id"].as_str() {
        let report =
            json!({"execution_id": format!("e{round}"), "decision_id": id, "status": "cancelled"});
        client.post("/v1/executions", &report);
    }
}

#[test]
fn races_of_approvers_have_one_outcome() {
    let place = TestDir::new("");
    let host = place.start();
    for round in 0..4 {
        assert_one_outcome(&host, Race::Approvals, 2 * round);
        assert_one_outcome(&host, Race::Rejections, 2 * round + 1);
    }
}

#[test]
fn races_with_the_expiry_have_one_outcome() {
    let place = TestDir::new("[capacity]\napproval_seconds = 2\n[watchdog]\ngraveyard_ms = 50\n");
    let host = place.start();
    for round in 0..4 {
        assert_one_outcome(&host, Race::Expiry, round);
    }
}

#[test]
fn a_key_gives_the_first_answer_and_a_kill_loses_nothing() {
    let place = TestDir::new("");
    let host = place.start();
    let mut client = Client::new(&host);
    let (one, two) = (
        hold_trade(&mut client, "BTC-USD"),
        hold_trade(&mut client, "ETH-USD"),
    );
    let headers = [
        ("Content-Type", "application/json"),
        ("Idempotency-Key", "k1"),
    ];
    let body = json!({"comment": "fine", "by": "ada"}).to_string();
    let path = format!("/v1/approvals/{one}/approve");
    let ask = |client: &mut Client, path: &str, body: &str| {
        let (status, headers, body) = client
            .request("POST", path, &headers, body.as_bytes())
            .expect("an answer");
        let replayed = headers
            .iter()
            .any(|(name, _)| name == "idempotent-replayed");
        (
            status,
            replayed,
            serde_json::from_slice::<Value>(&body).expect("JSON"),
        )
    };
    let first = ask(&mut client, &path, &body);
    assert_eq!((first.0, first.1), (200, false), "{first:?}");
    host.kill();

    let host = place.start();
    let mut client = Client::new(&host);
    let again = ask(&mut client, &path, &body);
    assert_eq!((again.0, again.1), (200, true));
    assert_eq!(
        again.2["decision"]["decision_id"],
        first.2["decision"]["decision_id"]
    );
    let (status, _, other) = ask(&mut client, &format!("/v1/approvals/{two}/approve"), &body);
    assert_eq!(
        (status, other["field"].as_str()),
        (422, Some("idempotency_key")),
        "{other}"
    );
    assert_eq!(
        list_approvals(&mut client),
        [
            (one, "approved".to_owned()),
            (two.clone(), "open".to_owned())
        ]
    );
    let (_, done) = resolve_approval(&mut client, &two, "approve", "ada");
    assert_eq!(done["decision"]["outcome"], "approved", "{done}");
}

#[test]
fn a_proposer_cannot_fill_the_queue_of_approvals() {
    let place = TestDir::new("[capacity]\napprovals = 20\n");
    let host = place.start();
    let mut client = Client::new(&host);
    for symbol in ["A", "B"] {
        hold_trade(&mut client, symbol);
    }
    let (_, third) = client.post("/v1/actions", &trade("C", LARGE));
    assert_eq!(third["outcome"], "denied");
    assert!(
        third["refusal"]
            .as_str()
            .expect("a refusal")
            .contains("wait for an approval"),
        "{third}"
    );
}
