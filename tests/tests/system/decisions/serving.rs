//! What the API promises, on the real binary: answers, idempotency, reservations, traces, restarts.

use ark_tests::{
    Client, Host, PATIENT, TestDir, copy_agent, guests_dir, hostile_guests_dir, run_ark, trade,
    wait_for_trace,
};
use serde_json::{Value, json};

fn propose_action(client: &mut Client, request: &Value) -> (String, Value) {
    let (status, answer) = client.post("/v1/actions", request);
    assert_eq!(status, 200, "{answer}");
    (
        answer["outcome"].as_str().expect("an outcome").to_owned(),
        answer,
    )
}

fn find_rule<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let rules = answer["policies"][0]["rules"].as_array().expect("rules");
    rules
        .iter()
        .find(|rule| rule["rule"] == name)
        .unwrap_or_else(|| panic!("no rule {name}"))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of actions")]
fn the_documented_form_is_judged_by_26_rules_and_recorded() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let mut client = Client::new(&host);
    let request = json!({"agent": "api", "action_type": "trade", "parameters": {"symbol": "BTC-USD", "position_size_pct": 0.05,
        "leverage": 1.0, "entry_price": 64000, "stop_loss": 60000, "risk_reward_ratio": 2.5}, "reasoning": "breakout"});
    let (dry, preview) = {
        let (status, answer) = client.post("/v1/actions?dry_run=true", &request);
        assert_eq!(status, 200);
        (answer["outcome"].clone(), answer)
    };
    assert_eq!(
        (dry, &preview["dry_run"]),
        (json!("approved"), &json!(true))
    );
    assert_eq!(
        client.get("/v1/decisions").1["decisions"],
        json!([]),
        "a dry run was recorded"
    );
    let (first, answer) = propose_action(&mut client, &request);
    assert_eq!(
        (first.as_str(), &answer["compliance_score"]),
        ("approved", &json!(1.0))
    );
    assert_eq!(
        answer["policies"][0]["rules"].as_array().map(Vec::len),
        Some(26)
    );
    assert_eq!(find_rule(&answer, "max_position_size")["limit"], json!(0.1));
    let id = answer["decision_id"].as_str().expect("an id");
    let (_, whole) = client.get(&format!("/v1/decisions/{id}"));
    assert_eq!(
        (
            &whole["action"]["parameters"]["symbol"],
            &whole["facts"]["symbol_exposure"]
        ),
        (&json!("BTC-USD"), &json!(0.0))
    );
    assert_eq!(whole["policies"], answer["policies"]);
    let trace = answer["trace_id"].as_str().expect("a trace");
    assert_eq!(
        client.get(&format!("/v1/traces/{trace}")).1["steps"][0]["decision_id"],
        json!(id)
    );
    // A second slice of 6 % sees the first.
    let (second, answer) = propose_action(&mut client, &trade("btc-usd", 0.06));
    assert_eq!(second, "denied");
    assert_eq!(
        find_rule(&answer, "max_position_size")["nearest_passing"],
        json!(0.05)
    );
    for (action_type, parameters, expected, fired) in [
        (
            "delete",
            json!({"path": "/srv/x", "hrm_approved": true}),
            "held",
            "require_hrm_approval",
        ),
        (
            "file_operation",
            json!({"operation": "write", "path": "policies/../policies/graveyard.wasm"}),
            "denied",
            "immutable_graveyard",
        ),
        (
            "report",
            json!({"text": "write to bob@example.com"}),
            "denied",
            "anonymize_logs",
        ),
        (
            "report",
            json!({"text": "AKIAIOSFODNN7EXAMPLE"}),
            "denied",
            "encrypt_credentials",
        ),
        ("clear_halt", json!({}), "denied", "emergency_halt_enabled"),
        (
            "share_data",
            json!({"subject": "u", "contains_personal_data": true, "destination": "x"}),
            "denied",
            "require_consent",
        ),
    ] {
        let request = json!({"agent": "api", "action_type": action_type, "parameters": parameters, "reasoning": "r", "rollback_plan": "p"});
        let (got, answer) = propose_action(&mut client, &request);
        assert_eq!(got, expected, "{action_type}: {answer}");
        let fires = find_rule(&answer, fired)["answer"]
            .as_str()
            .expect("an answer")
            .to_owned();
        assert!(
            ["violation", "hold"].contains(&fires.as_str()),
            "{action_type}: {fires}"
        );
        let stored = client
            .get(&format!(
                "/v1/decisions/{}",
                answer["decision_id"].as_str().expect("an id")
            ))
            .1
            .to_string();
        assert!(
            !stored.contains("bob@example") && !stored.contains("AKIAIOSF"),
            "{stored}"
        );
    }
}

#[test]
fn a_key_seen_before_gets_the_first_answer_and_runs_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let mut first = None;
    for _ in 0..2 {
        let host = Host::start(&data, &[]);
        let mut client = Client::new(&host);
        for _ in 0..3 {
            let headers = [
                ("Content-Type", "application/json"),
                ("Idempotency-Key", "k1"),
            ];
            let body = trade("X", 0.03).to_string();
            let (status, headers, answer) = client
                .request("POST", "/v1/actions", &headers, body.as_bytes())
                .expect("an answer");
            let answer: Value = serde_json::from_slice(&answer).expect("JSON");
            assert_eq!(
                (status, &answer["outcome"]),
                (200, &json!("approved")),
                "{answer}"
            );
            let replayed = headers
                .iter()
                .any(|(name, _)| name == "idempotent-replayed");
            assert_eq!(replayed, first.is_some());
            assert_eq!(
                first.get_or_insert(answer["decision_id"].clone()),
                &answer["decision_id"]
            );
        }
        let mut other = trade("X", 0.04);
        other["idempotency_key"] = json!("k1");
        assert_eq!(client.post("/v1/actions", &other).0, 422);
        assert_eq!(
            client.get("/v1/decisions").1["decisions"]
                .as_array()
                .map(Vec::len),
            Some(1)
        );
        assert_eq!(host.terminate(), Some(0));
    }
}

#[test]
fn approvals_that_race_cannot_break_a_limit_together_and_reservations_outlive_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let host = Host::start(&data, &[]);
    // Each with a number of its own: the identical action for the eleventh time is a loop (rule 22), whatever its reasoning.
    let slice = |number: u32| {
        let mut request = trade("RACE", 0.03);
        request["parameters"]["slice"] = json!(number);
        request
    };
    let racers: Vec<_> = (0..16)
        .map(|number| {
            let (mut client, request) = (Client::new(&host), slice(number));
            std::thread::spawn(move || client.post("/v1/actions", &request).1)
        })
        .collect();
    let answers: Vec<Value> = racers
        .into_iter()
        .map(|racer| racer.join().expect("no panic"))
        .collect();
    let approved: Vec<&Value> = answers
        .iter()
        .filter(|answer| answer["outcome"] == "approved")
        .collect();
    assert_eq!(approved.len(), 3, "3 times 3 % fit into 10 %");
    host.kill();
    let host = Host::start(&data, &[]);
    let mut client = Client::new(&host);
    assert_eq!(
        propose_action(&mut client, &slice(101)).0,
        "denied",
        "the reservations are gone"
    );
    let report = |client: &mut Client, number: usize, status: &str| {
        let body = json!({"execution_id": format!("e{number}"), "decision_id": approved[number]["decision_id"], "status": status});
        assert_eq!(client.post("/v1/executions", &body).0, 200);
        assert_eq!(
            client.post("/v1/executions", &body).0,
            200,
            "a repeated report"
        );
    };
    report(&mut client, 0, "rejected");
    assert_eq!(
        propose_action(&mut client, &slice(102)).0,
        "approved",
        "a rejected trade still holds its exposure"
    );
    report(&mut client, 1, "filled");
    assert_eq!(
        propose_action(&mut client, &slice(103)).0,
        "denied",
        "a filled trade holds its exposure"
    );
    let denied = answers
        .iter()
        .find(|answer| answer["outcome"] == "denied")
        .expect("one");
    let body =
        json!({"execution_id": "x", "decision_id": denied["decision_id"], "status": "filled"});
    assert_eq!(client.post("/v1/executions", &body).0, 409);
}

#[test]
fn the_operators_lists_are_attested() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("ark.toml");
    let lists = "[lists]\nrestricted_symbols = [\"xyz\"]\nclient_orders = [\"FRONT\"]\nvetoes = [{ symbol = \"DOGE\", words = \"no\" }]\nconsents = { ann = true }\n";
    std::fs::write(&config, lists).expect("a configuration");
    let args = ["--config", config.to_str().expect("UTF-8")];
    let host = Host::start(&dir.path().join("data"), &args);
    let mut client = Client::new(&host);
    for (symbol, fired) in [
        ("XYZ", "no_insider_trading"),
        ("FRONT", "no_front_running"),
        ("DOGE", "preserve_user_autonomy"),
    ] {
        let (got, answer) = propose_action(&mut client, &trade(symbol, 0.01));
        assert_eq!(
            (got.as_str(), &find_rule(&answer, fired)["answer"]),
            ("denied", &json!("violation")),
            "{symbol}"
        );
    }
    for (subject, expected) in [("ann", "approved"), ("bob", "denied")] {
        let request = json!({"agent": "api", "action_type": "store_data", "parameters":
            {"subject": subject, "contains_personal_data": true, "encryption": true}, "reasoning": "r"});
        assert_eq!(
            propose_action(&mut client, &request).0,
            expected,
            "{subject}"
        );
    }
}

/// Waits until a trace has no pending deliveries and `seen` holds, and returns it.
pub(super) fn wait_for_complete_trace(
    client: &mut Client,
    trace: &str,
    seen: impl Fn(&Value) -> bool,
) -> Value {
    wait_for_trace(client, trace, |body| {
        body["pending_deliveries"] == 0 && seen(body)
    })
}

#[test]
fn one_trace_runs_from_the_tick_through_the_agents_and_the_graveyard_to_aletheia() {
    let dir = tempfile::tempdir().expect("a directory");
    let agents = guests_dir();
    let host = Host::start(
        &dir.path().join("data"),
        &["--agents", agents.to_str().expect("UTF-8")],
    );
    let mut client = Client::new(&host);
    let mut last = String::new();
    for at in 0..40u64 {
        // Quiet, then a jump on heavy volume: a breakout.
        let (price, volume) = if at < 39 {
            (100.0 + (at % 3) as f64 * 0.05, 10.0)
        } else {
            (101.5, 60.0)
        };
        let payload = json!({"symbol": "BTC-USD", "price": price, "volume": volume, "at": 1_795_165_200 + at * 60});
        let (status, answer) = client.post(
            "/v1/signals",
            &json!({"topic": "market.tick", "payload": payload}),
        );
        assert_eq!((status, &answer["delivered_to"]), (202, &json!(["kyle"])));
        answer["trace_id"]
            .as_str()
            .expect("a trace")
            .clone_into(&mut last);
    }
    let announced = |body: &Value| {
        body["steps"]
            .as_array()
            .is_some_and(|steps| steps.iter().any(|step| step["topic"] == "ark.decision"))
    };
    let trace = wait_for_complete_trace(&mut client, &last, announced);
    let steps = trace["steps"].as_array().expect("steps");
    let topics: Vec<&str> = steps
        .iter()
        .filter_map(|step| step["topic"].as_str())
        .collect();
    assert_eq!(
        topics,
        ["market.tick", "kyle.score", "joey.pattern", "ark.decision"]
    );
    let decided: Vec<&str> = steps
        .iter()
        .filter(|step| step["step"] == "decision")
        .filter_map(|step| step["agent"].as_str())
        .collect();
    assert_eq!(decided, ["kyle", "joey", "kenny"]);
    let last_signal = steps
        .iter()
        .find(|step| step["topic"] == "ark.decision")
        .expect("it");
    let receivers: Vec<&str> = last_signal["deliveries"]
        .as_array()
        .expect("deliveries")
        .iter()
        .filter_map(|delivery| delivery["agent"].as_str())
        .collect();
    assert_eq!(receivers, ["aletheia", "id"]);
}

#[test]
fn a_failed_invocation_commits_nothing_but_its_failure_and_the_others_go_on() {
    let dir = TestDir::new(PATIENT);
    copy_agent(&hostile_guests_dir(), "chaos", &dir.agents());
    copy_agent(&guests_dir(), "kyle", &dir.agents());
    let host = dir.start();
    let mut client = Client::new(&host);
    let mut go = |how: &str| {
        let (_, answer) = client.post("/v1/signals", &json!({"topic": "chaos.go", "payload": how}));
        let trace = answer["trace_id"].as_str().expect("a trace").to_owned();
        wait_for_complete_trace(&mut client, &trace, |body| {
            body["steps"]
                .as_array()
                .is_some_and(|steps| steps.len() > 1)
        })
    };
    for how in ["loop", "panic", "memory", "nan", "actions"] {
        let trace = go(how);
        assert_eq!(trace["steps"][1]["step"], json!("failure"), "{trace:#}");
        assert_eq!(
            trace["steps"][0]["deliveries"][0]["status"],
            json!("failed"),
            "{how}"
        );
    }
    // Two slices in one invocation: the second sees the first. What the manifest does not grant is denied, and recorded.
    let outcomes = |trace: &Value| -> Vec<String> {
        let steps = trace["steps"].as_array().expect("steps");
        steps
            .iter()
            .filter_map(|step| step["outcome"].as_str())
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(outcomes(&go("split")), ["approved", "denied"]);
    assert_eq!(outcomes(&go("promote-and-sell")), ["approved", "denied"]);
    let ungranted = go("ungranted");
    assert_eq!(outcomes(&ungranted), ["denied"]);
    assert!(
        ungranted["steps"][1]["reasons"][0]
            .as_str()
            .is_some_and(|reason| reason.contains("manifest")),
        "{ungranted:#}"
    );
    let (status, answer) = client.post("/v1/actions", &trade("BTC-USD", 0.05));
    assert_eq!((status, &answer["outcome"]), (200, &json!("approved")));
    assert_eq!(host.terminate(), Some(0));
    let database = rusqlite::Connection::open(dir.data().join("ark.db")).expect("the database");
    let writes: u64 = database
        .query_row(
            "SELECT count(*) FROM state_history WHERE agent = 'chaos'",
            [],
            |row| row.get(0),
        )
        .expect("a count");
    assert_eq!(
        writes, 3,
        "only the invocations that ended well have written"
    );
}

#[test]
fn a_second_host_a_file_for_a_directory_and_a_broken_database_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let host = Host::start(&data, &[]);
    let refused = Host::try_start(&data, &[]).err().expect("a refusal");
    assert!(refused.contains(&host.pid().to_string()), "{refused}");
    assert_eq!(host.terminate(), Some(0));
    let file = dir.path().join("file");
    std::fs::write(&file, "x").expect("a file");
    let refused = Host::try_start(&file, &[]).err().expect("a refusal");
    assert!(refused.contains("data directory"), "{refused}");
    std::fs::write(data.join("ark.db"), "no database at all ".repeat(1000)).expect("a file");
    let refused = Host::try_start(&data, &[]).err().expect("a refusal");
    assert!(refused.contains("not a sound database"), "{refused}");
    assert!(
        !run_ark(&[
            "audit",
            "verify",
            "--data-dir",
            data.to_str().expect("UTF-8")
        ])
        .status
        .success()
    );
}

#[test]
fn a_full_database_denies_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (data, config) = (dir.path().join("data"), dir.path().join("ark.toml"));
    std::fs::write(&config, "[capacity]\nmax_database_bytes = 1_000_000\n")
        .expect("a configuration");
    let host = Host::start(&data, &["--config", config.to_str().expect("UTF-8")]);
    let mut client = Client::new(&host);
    let mut acknowledged = Vec::new();
    let refused = loop {
        assert!(acknowledged.len() < 5000, "it never became full");
        let mut request = trade(&format!("S{}", acknowledged.len()), 0.001);
        request["reasoning"] = json!("r".repeat(4000));
        let (status, answer) = client.post("/v1/actions", &request);
        if status != 200 {
            break (status, answer);
        }
        assert_eq!(answer["outcome"], "approved", "{answer}");
        acknowledged.push(answer["decision_id"].as_str().expect("an id").to_owned());
    };
    assert_eq!(
        (refused.0, &refused.1["outcome"]),
        (503, &json!("denied")),
        "{}",
        refused.1
    );
    for _ in 0..3 {
        let mut request = trade("MORE", 0.001);
        request["reasoning"] = json!("r".repeat(4000));
        assert_eq!(client.post("/v1/actions", &request).0, 503);
    }
    assert_eq!(client.get("/readyz").0, 503);
    assert_eq!(host.terminate(), Some(0));
    let host = Host::start(&data, &[]);
    let mut client = Client::new(&host);
    for id in &acknowledged {
        assert_eq!(client.get(&format!("/v1/decisions/{id}")).0, 200, "{id}");
    }
    assert_eq!(
        propose_action(&mut client, &trade("AFTER", 0.01)).0,
        "approved"
    );
}
