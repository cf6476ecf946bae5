//! What operators attest over HTTP: lists and account facts reach the rules at once, and every change is kept.

use ark_tests::{Client, Host, run_ark, trade};
use serde_json::{Value, json};

pub(super) fn call(
    client: &mut Client,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> (u16, Value) {
    let text = body.map(Value::to_string).unwrap_or_default();
    let json = [("Content-Type", "application/json")];
    let (status, _, body) = client
        .request(method, path, &json, text.as_bytes())
        .expect("an answer");
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

pub(super) fn fired(decision: &Value, rule: &str) -> bool {
    decision["reasons"].to_string().contains(rule)
}

fn make_personal_data_action(subject: &str) -> Value {
    json!({"agent": "api", "action_type": "store_data", "reasoning": "r",
        "parameters": {"subject": subject, "contains_personal_data": true, "encryption": true, "destination": "internal"}})
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario whose steps depend on each other"
)]
fn each_list_reaches_its_rule_and_is_taken_off_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let mut host = Host::start(&data, &[]);
    let mut client = Client::new(&host);
    let plain = || trade("BTC-USD", 0.01);
    let sourced = || {
        let mut action = trade("BTC-USD", 0.01);
        action["sources"] = json!(["reuters"]);
        action
    };
    let reason = json!({"reason": "compliance", "by": "ada"});
    let veto = json!({"reason": "asked", "symbol": "BTC-USD", "words": "no bitcoin, please"});
    let refused = json!({"reason": "withdrawn", "granted": false});
    // List, entry, body, an action that the entry changes, the rule, whether the rule fires with the entry.
    let cases: [(&str, &str, &Value, Value, &str, bool); 5] = [
        (
            "restricted",
            "BTC-USD",
            &reason,
            plain(),
            "no_insider_trading",
            true,
        ),
        (
            "client_orders",
            "BTC-USD",
            &reason,
            plain(),
            "no_front_running",
            true,
        ),
        (
            "vetoes",
            "v1",
            &veto,
            plain(),
            "preserve_user_autonomy",
            true,
        ),
        (
            "validated_sources",
            "reuters",
            &reason,
            sourced(),
            "validate_data_sources",
            false,
        ),
        (
            "consents",
            "alice",
            &refused,
            make_personal_data_action("alice"),
            "require_consent",
            true,
        ),
    ];
    for (list, key, body, action, rule, fires) in &cases {
        let path = format!("/v1/lists/{list}/entries/{key}");
        let judge =
            |client: &mut Client| fired(&client.post("/v1/actions?dry_run=true", action).1, rule);
        if *list != "consents" {
            assert_eq!(judge(&mut client), !fires, "{list} before");
        }
        let (status, answer) = call(&mut client, "PUT", &path, Some(body));
        assert_eq!(status, 200, "{list}: {answer}");
        assert_eq!(judge(&mut client), *fires, "{list} with the entry");
        // It survives a kill.
        host.kill();
        host = Host::start(&data, &[]);
        client = Client::new(&host);
        assert_eq!(judge(&mut client), *fires, "{list} after a restart");
        let (_, row) = call(&mut client, "GET", &path, None);
        assert_eq!(row["reason"], body["reason"], "{list}: {row}");
        let (status, answer) = call(
            &mut client,
            "DELETE",
            &format!("{path}?reason=over&by=ada"),
            None,
        );
        assert_eq!(status, 200, "{list}: {answer}");
        if *list != "consents" {
            assert_eq!(judge(&mut client), !fires, "{list} without the entry");
        }
        assert_eq!(call(&mut client, "GET", &path, None).0, 404, "{list}");
        let (_, history) = call(&mut client, "GET", &format!("{path}/history"), None);
        let changes = history["changes"].as_array().expect("changes");
        assert_eq!(changes.len(), 2, "{list}: {history}");
        assert_eq!(changes[0]["entry"], Value::Null);
    }
    // Consent: none known, granted, refused.
    let judge = |client: &mut Client| {
        client
            .post(
                "/v1/actions?dry_run=true",
                &make_personal_data_action("bob"),
            )
            .1["outcome"]
            .clone()
    };
    assert_eq!(judge(&mut client), "denied");
    let granted = json!({"reason": "signed", "granted": true});
    call(
        &mut client,
        "PUT",
        "/v1/lists/consents/entries/bob",
        Some(&granted),
    );
    assert_eq!(judge(&mut client), "approved");
    assert_eq!(host.terminate(), Some(0));
    let data = data.display().to_string();
    assert!(
        run_ark(&["audit", "verify", "--data-dir", &data])
            .status
            .success()
    );
}

#[test]
fn the_consent_of_a_subject_whose_name_is_redacted_counts_after_an_approval_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let mut client = Client::new(&host);
    let subject = "carol@example.com";
    let granted = json!({"reason": "signed", "granted": true});
    let path = "/v1/lists/consents/entries/carol%40example.com";
    assert_eq!(call(&mut client, "PUT", path, Some(&granted)).0, 200);
    let mut action = make_personal_data_action(subject);
    action["criticality"] = json!("critical");
    let (_, held) = client.post("/v1/actions", &action);
    assert_eq!(held["outcome"], "held", "{held}");
    let id = held["decision_id"].as_str().expect("an id").to_owned();
    let (_, whole) = client.get(&format!("/v1/decisions/{id}"));
    assert!(!whole.to_string().contains(subject), "{whole}");
    let body = json!({"comment": "c", "by": "ada"});
    let (_, done) = client.post(&format!("/v1/approvals/{id}/approve"), &body);
    assert_eq!(done["decision"]["outcome"], "approved", "{done}");
}

#[test]
fn capital_and_results_make_the_daily_loss() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let mut client = Client::new(&host);
    let loss = json!({"amount": -60_000, "reason": "settled by hand", "by": "ada"});
    let (status, problem) = client.post("/v1/account/results", &loss);
    assert_eq!(
        (status, problem["type"].as_str()),
        (409, Some("urn:ark:problem:no-capital")),
        "{problem}"
    );
    for (amount, status) in [
        (json!(0), 400),
        (json!(-5), 400),
        (json!("x"), 400),
        (json!(1e300), 400),
        (json!(1_000_000), 200),
    ] {
        let body = json!({"amount": amount, "reason": "start"});
        assert_eq!(
            call(&mut client, "PUT", "/v1/account/capital", Some(&body)).0,
            status,
            "{body}"
        );
    }
    let (_, before) = client.post("/v1/actions?dry_run=true", &trade("BTC-USD", 0.01));
    assert_eq!(before["outcome"], "approved");
    let keyed = [
        ("Content-Type", "application/json"),
        ("Idempotency-Key", "loss-1"),
    ];
    for _ in 0..3 {
        let (status, _, _) = client
            .request(
                "POST",
                "/v1/account/results",
                &keyed,
                loss.to_string().as_bytes(),
            )
            .expect("an answer");
        assert_eq!(status, 200);
    }
    let (_, account) = client.get("/v1/account");
    assert_eq!(
        (&account["capital"], &account["daily_loss_pct"]),
        (&json!(1_000_000.0), &json!(0.06)),
        "{account}"
    );
    let (_, after) = client.post("/v1/actions?dry_run=true", &trade("BTC-USD", 0.01));
    assert!(fired(&after, "max_daily_loss"), "{after}");
    let (_, history) = client.get("/v1/account/history");
    assert_eq!(
        history["changes"].as_array().expect("changes").len(),
        2,
        "{history}"
    );
}

#[test]
fn what_the_configuration_says_stays_and_bad_input_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("ark.toml");
    std::fs::write(&config, "[lists]\nrestricted_symbols = [\"GME\"]\n").expect("a configuration");
    let host = Host::start(
        &dir.path().join("data"),
        &["--config", config.to_str().expect("UTF-8")],
    );
    let mut client = Client::new(&host);
    let (status, problem) = call(
        &mut client,
        "DELETE",
        "/v1/lists/restricted/entries/GME?reason=x",
        None,
    );
    assert_eq!(status, 404, "{problem}");
    let reason = json!({"reason": "twice"});
    let path = "/v1/lists/restricted/entries/GME";
    assert_eq!(call(&mut client, "PUT", path, Some(&reason)).0, 200);
    assert_eq!(
        call(&mut client, "DELETE", &format!("{path}?reason=x"), None).0,
        200
    );
    let (_, decision) = client.post("/v1/actions?dry_run=true", &trade("GME", 0.01));
    assert!(fired(&decision, "no_insider_trading"), "{decision}");
    let long = format!("/v1/lists/restricted/entries/{}", "x".repeat(300));
    let cases = [
        (
            "PUT",
            "/v1/lists/nonsense/entries/x",
            json!({"reason": "r"}),
            404,
        ),
        ("PUT", "/v1/lists/restricted/entries/x", json!({}), 400),
        (
            "PUT",
            "/v1/lists/restricted/entries/x",
            json!({"reason": "r", "granted": true}),
            422,
        ),
        (
            "PUT",
            "/v1/lists/consents/entries/x",
            json!({"reason": "r"}),
            422,
        ),
        (
            "PUT",
            "/v1/lists/vetoes/entries/x",
            json!({"reason": "r"}),
            422,
        ),
        (
            "PUT",
            "/v1/lists/vetoes/entries/x",
            json!({"reason": "r", "words": "w", "agent": "no such name!"}),
            400,
        ),
        ("PUT", long.as_str(), json!({"reason": "r"}), 400),
        (
            "DELETE",
            "/v1/lists/restricted/entries/GME",
            json!(null),
            400,
        ),
    ];
    for (method, path, body, status) in cases {
        let (found, problem) = call(&mut client, method, path, Some(&body));
        assert_eq!(found, status, "{method} {path} {body}: {problem}");
        assert!(problem["type"].is_string(), "{problem}");
    }
    let (_, list) = client.get("/v1/lists/restricted");
    assert_eq!(
        (
            list["entries"].as_array().map(Vec::len),
            &list["configured"]
        ),
        (Some(0), &json!([{"symbol": "GME"}]))
    );
}

#[test]
fn an_amendment_is_recorded_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let mut client = Client::new(&host);
    let (_, before) = client.get("/v1/graveyard");
    let wish = json!({"rule": "max_position_size", "proposed_value": 1.0, "justification": "YOLO", "by": "ada"});
    let (status, answer) = client.post("/v1/graveyard/amendments", &wish);
    assert_eq!(
        (status, &answer["status"]),
        (202, &json!("recorded")),
        "{answer}"
    );
    assert_eq!(client.get("/v1/graveyard").1, before);
    assert_eq!(
        client.post("/v1/actions", &trade("BTC-USD", 0.5)).1["outcome"],
        "denied"
    );
    let (_, list) = client.get("/v1/graveyard/amendments");
    assert_eq!(list["amendments"][0]["by"], "ada", "{list}");
    let unknown = json!({"rule": "no_rule", "proposed_value": 1, "justification": "x"});
    assert_eq!(client.post("/v1/graveyard/amendments", &unknown).0, 422);
}
