//! What nobody declared is denied, no matter who proposes it and whatever it is called; what is declared is judged as what it is. On the real binary.

use std::path::Path;

use ark_tests::{
    Client, Host, PATIENT, TestDir, copy_agent, hostile_guests_dir, post_signal, run_ark, trade,
    wait_for_trace, wait_until,
};
use serde_json::{Value, json};

/// What the operator of these tests declares.
const DECLARED: &str = r#"
[action_types.place_order]
family = "trade"
description = "an order as the gateway takes it"
fields = { quantity = "position_size_pct", ticker = "symbol", note = "extra" }

[action_types.go_short]
family = "trade"
fixed = { side = "sell" }

[action_types.rebalance]
family = "custom"
criticality = "critical"
"#;

fn action(action_type: &str, parameters: &Value) -> Value {
    json!({"agent": "api", "action_type": action_type, "parameters": parameters, "reasoning": "a test"})
}

/// Checks that a decision is the host's own refusal with the remedy, that the policies were asked all the same, and returns its text.
fn assert_refused(decision: &Value, says: &str) {
    assert_eq!(decision["outcome"], "denied", "{decision}");
    let refusal = decision["refusal"].as_str().unwrap_or("");
    assert!(refusal.contains(says), "{says}: {decision}");
    assert_eq!(decision["compliance_score"], 0.0, "{decision}");
    assert_eq!(decision["policies"][0]["policy"], "graveyard", "{decision}");
}

fn order(quantity: f64) -> Value {
    json!({"ticker": "btc-usd", "quantity": quantity, "side": "buy", "entry_price": 100.0, "stop_loss": 95.0,
        "risk_reward_ratio": 2.5, "note": "for the desk"})
}

fn audit(command: &str, data: &Path) {
    let output = run_ark(&[
        "audit",
        command,
        "--data-dir",
        data.to_str().expect("UTF-8"),
    ]);
    assert!(output.status.success(), "{command}: {output:?}");
}

#[test]
fn undeclared_action_types_are_denied_with_the_remedy() {
    let place = TestDir::new("");
    let host = place.start();
    let mut client = Client::new(&host);
    let longest = "x".repeat(64);
    for (action_type, parameters) in [
        ("place_order", json!({"size": 0.9, "leverage": 50})),
        ("exec", json!({"command": "true"})),
        ("rm", json!({"target": "x"})),
        ("withdraw", json!({"amount": 1_000_000})),
        ("tune", json!({"watchdog": {"enabled": false}})),
        ("close.position", json!({"symbol": "X"})),
        ("buy-", json!({"symbol": "X", "position_size_pct": 0.01})),
        ("cancel", json!({})),
        (&longest, json!({})),
    ] {
        let proposed = action(action_type, &parameters);
        let (status, decision) = client.post("/v1/actions", &proposed);
        assert_eq!(status, 200, "{decision}");
        let says = format!(
            "`{action_type}` is not declared: use a built-in type or declare it under [action_types."
        );
        assert_refused(&decision, &says);
        assert!(
            decision["reasons"].to_string().contains("is not declared"),
            "{decision}"
        );
        let (_, recorded) = client.get(&format!(
            "/v1/decisions/{}",
            decision["decision_id"].as_str().expect("an id")
        ));
        assert_eq!(recorded["refusal"], decision["refusal"]);
        let (status, dry) = client.post("/v1/actions?dry_run=true", &proposed);
        assert_eq!(status, 200, "{dry}");
        assert_refused(&dry, "is not declared");
    }
    // A look-alike is no name of an action type at all.
    for action_type in [
        "Trade",
        "TRADE",
        "trаde",
        "ｔｒａｄｅ",
        "trade\u{200b}",
        "tra de",
        &"x".repeat(65),
        "",
    ] {
        let (status, problem) = client.post("/v1/actions", &action(action_type, &json!({})));
        assert_eq!(
            (status, &problem["field"]),
            (400, &json!("action_type")),
            "{action_type}: {problem}"
        );
    }
    // A custom variant does not exist over HTTP; what looks like one is a parameter.
    let disguised = action(
        "withdraw",
        &json!({"kind": "trade", "family": "trade", "symbol": "X", "position_size_pct": 0.01}),
    );
    assert_refused(
        &client.post("/v1/actions", &disguised).1,
        "`withdraw` is not declared",
    );
    let enveloped =
        json!({"agent": "api", "action_type": "withdraw", "family": "trade", "parameters": {}});
    let (status, problem) = client.post("/v1/actions", &enveloped);
    assert_eq!(
        (status, &problem["field"]),
        (400, &json!("family")),
        "{problem}"
    );

    let batch = json!({"actions": [trade("BTC-USD", 0.01), action("exec", &json!({})), trade("ETH-USD", 0.01)]});
    let (status, answer) = client.post("/v1/actions/batch", &batch);
    assert_eq!(status, 200, "{answer}");
    let outcomes: Vec<&Value> = answer["decisions"]
        .as_array()
        .expect("decisions")
        .iter()
        .map(|decision| &decision["outcome"])
        .collect();
    assert_eq!(outcomes, ["approved", "denied", "approved"]);
    assert_refused(&answer["decisions"][1], "`exec` is not declared");
    assert_eq!(host.terminate(), Some(0));
    audit("verify", &place.data());
    audit("replay", &place.data());
}

#[test]
fn a_declared_type_is_judged_as_what_it_is() {
    let place = TestDir::new(DECLARED);
    let host = place.start();
    let mut client = Client::new(&host);
    let (status, decision) = client.post("/v1/actions", &action("place_order", &order(0.02)));
    assert_eq!(status, 200, "{decision}");
    assert_eq!(decision["refusal"], Value::Null, "{decision}");
    assert_eq!(decision["outcome"], "approved", "{decision}");
    let id = decision["decision_id"].as_str().expect("an id");
    let (_, recorded) = client.get(&format!("/v1/decisions/{id}"));
    let judged = &recorded["action"];
    assert_eq!(
        (&judged["action_type"], &judged["family"]),
        (&json!("place_order"), &json!("trade")),
        "{recorded}"
    );
    assert_eq!(
        judged["parameters"]["position_size_pct"], 0.02,
        "{recorded}"
    );
    assert_eq!(
        judged["parameters"]["extra_json"], r#"{"note":"for the desk"}"#,
        "{recorded}"
    );
    let (_, account) = client.get("/v1/account");
    assert_eq!(account["open_positions"], 1, "{account}");

    // The limits of a trade hold, under whatever name.
    for (parameters, rule) in [
        (
            json!({"ticker": "ETH-USD", "quantity": 0.9, "side": "buy"}),
            "max_position_size",
        ),
        (
            json!({"ticker": "ETH-USD", "quantity": 0.01, "side": "buy", "leverage": 50}),
            "max_leverage",
        ),
    ] {
        let (_, decision) = client.post("/v1/actions", &action("place_order", &parameters));
        assert_eq!(decision["outcome"], "denied", "{decision}");
        assert!(
            decision["reasons"].to_string().contains(rule),
            "{rule}: {decision}"
        );
    }
    assert_eq!(host.terminate(), Some(0));
    // Offline tools need no declarations.
    audit("verify", &place.data());
    audit("replay", &place.data());
    let data = place.data();
    let explained = run_ark(&["explain", id, "--data-dir", data.to_str().expect("UTF-8")]);
    let text = String::from_utf8_lossy(&explained.stdout);
    assert!(
        explained.status.success() && text.contains("place_order"),
        "{explained:?}"
    );
}

#[test]
fn errors_of_declared_actions_use_the_requests_field_names() {
    let place = TestDir::new(DECLARED);
    let host = place.start();
    let mut client = Client::new(&host);
    for (action_type, parameters, field) in [
        (
            "place_order",
            json!({"ticker": "X", "side": "buy"}),
            "parameters.quantity",
        ),
        (
            "place_order",
            json!({"ticker": "X", "side": "buy", "quantity": 50}),
            "parameters.quantity",
        ),
        (
            "place_order",
            json!({"ticker": "X", "side": "buy", "quantity": 0.01, "position_size_pct": 0.9}),
            "parameters.quantity",
        ),
        (
            "place_order",
            json!({"ticker": "X", "side": "buy", "quantity": 0.01, "lev": 50}),
            "parameters.lev",
        ),
        (
            "place_order",
            json!({"ticker": "X", "quantity": 0.01}),
            "parameters.side",
        ),
        (
            "go_short",
            json!({"symbol": "X", "position_size_pct": 0.01, "side": "buy"}),
            "parameters.side",
        ),
    ] {
        let proposed = action(action_type, &parameters);
        for path in ["/v1/actions", "/v1/actions?dry_run=true"] {
            let (status, problem) = client.post(path, &proposed);
            assert_eq!(
                (status, &problem["field"]),
                (400, &json!(field)),
                "{parameters}: {problem}"
            );
        }
        let batch = json!({"actions": [trade("ETH-USD", 0.01), proposed]});
        let (status, problem) = client.post("/v1/actions/batch", &batch);
        assert_eq!(
            (status, &problem["field"]),
            (400, &json!(format!("actions[1].{field}"))),
            "{problem}"
        );
    }
}

#[test]
fn a_held_action_is_denied_once_its_type_is_no_longer_declared() {
    let place = TestDir::new(DECLARED);
    let host = place.start();
    let mut client = Client::new(&host);
    let mut hold = || {
        let (_, decision) =
            client.post("/v1/actions", &action("rebalance", &json!({"to": "cash"})));
        assert_eq!(decision["outcome"], "held", "{decision}");
        decision["decision_id"].as_str().expect("an id").to_owned()
    };
    let held: Vec<String> = (0..4).map(|_| hold()).collect();
    let approve = |host: &Host, id: &str| {
        let body = json!({"comment": "seen and understood", "by": "ada"});
        let mut client = Client::new(host);
        let (status, done) = client.post(&format!("/v1/approvals/{id}/approve"), &body);
        assert_eq!(status, 200, "{done}");
        done["decision"].clone()
    };
    let reload = |config: &str, declared: bool| {
        place.configure(config);
        host.hang_up();
        let mut client = Client::new(&host);
        wait_until("the declarations are read again", || {
            let (_, dry) =
                client.post("/v1/actions?dry_run=true", &action("rebalance", &json!({})));
            (dry["refusal"] == Value::Null) == declared
        });
    };
    assert_eq!(approve(&host, &held[0])["outcome"], "approved");
    reload("", false);
    assert_refused(&approve(&host, &held[1]), "`rebalance` is not declared");
    place.configure("[action_types.rebalance]\nfamily = \"trade\"");
    let host = place.restart_killed(&host);
    assert_refused(&approve(&host, &held[2]), "declared for the trade family");
    place.configure(DECLARED);
    let host = place.restart_killed(&host);
    assert_eq!(approve(&host, &held[3])["outcome"], "approved");
}

#[test]
fn an_agent_proposes_declared_types_only() {
    let place = TestDir::new(&format!("{PATIENT}{DECLARED}"));
    copy_agent(&hostile_guests_dir(), "forger", &place.agents());
    let host = place.start();
    let mut client = Client::new(&host);
    let mut deliver = |trick: &str| {
        let answer = post_signal(&mut client, "forger.go", &json!(trick));
        let id = answer["trace_id"].as_str().expect("a trace id");
        let trace = wait_for_trace(&mut client, id, |trace| trace["pending_deliveries"] == 0);
        let steps = trace["steps"].as_array().expect("steps").clone();
        let delivery = steps[0]["deliveries"][0].clone();
        let decisions: Vec<Value> = steps
            .iter()
            .filter_map(|step| step["decision_id"].as_str())
            .map(|id| client.get(&format!("/v1/decisions/{id}")).1)
            .collect();
        (delivery, decisions)
    };
    let (_, undeclared) = deliver("undeclared");
    assert_eq!(undeclared.len(), 2, "{undeclared:?}");
    for decision in &undeclared {
        assert_refused(decision, "`withdraw` is not declared");
    }
    let (_, declared) = deliver("declared");
    let outcomes: Vec<&Value> = declared
        .iter()
        .map(|decision| &decision["outcome"])
        .collect();
    assert_eq!(outcomes, ["approved", "approved", "denied"], "{declared:?}");
    for decision in &declared {
        assert_eq!(decision["refusal"], Value::Null, "{decision}");
        assert_eq!(decision["action"]["family"], "trade", "{decision}");
        assert_eq!(
            decision["action"]["parameters"]["symbol"], "FORGED-USD",
            "{decision}"
        );
    }
    let (_, misfits) = deliver("misfit");
    assert_eq!(misfits.len(), 4, "{misfits:?}");
    for (decision, field) in misfits.iter().zip([
        "parameters.quantity: is missing",
        "parameters.lev",
        "parameters.side",
        "declared for the trade family",
    ]) {
        assert_refused(decision, field);
    }
    for (trick, named) in [("spelling", "Leverage"), ("repeated", "twice")] {
        let (delivery, decisions) = deliver(trick);
        assert_eq!(delivery["status"], "failed", "{trick}: {delivery}");
        assert!(
            delivery["reason"].to_string().contains(named),
            "{trick}: {delivery}"
        );
        assert!(decisions.is_empty(), "{trick}: {decisions:?}");
    }
    let (_, state) = client.get("/v1/state/forger/withdraw-denied");
    assert_eq!(state["value"], json!(true), "{state}");
    assert_eq!(host.terminate(), Some(0));
    audit("replay", &place.data());
}

#[test]
fn a_veto_holds_for_what_is_done_under_every_name() {
    let place = TestDir::new(DECLARED);
    let host = place.start();
    let mut client = Client::new(&host);
    let veto = |action_type: &str, symbol: Option<&str>| json!({"reason": "asked", "words": "not today", "action_type": action_type, "symbol": symbol});
    let side = |action_type: &str, side: &str| {
        let mut proposed = trade("BTC-USD", 0.001);
        proposed["action_type"] = json!(action_type);
        proposed["parameters"]["side"] = json!(side);
        proposed["parameters"]["stop_loss"] = if side == "buy" {
            json!(95.0)
        } else {
            json!(105.0)
        };
        proposed
    };
    let deletion = action(
        "file_operation",
        &json!({"path": "x", "operation": "delete"}),
    );
    let trades = [
        side("trade", "buy"),
        side("order", "buy"),
        side("buy", "buy"),
        side("open_position", "sell"),
        side("sell", "sell"),
    ];
    let trades_and_order: Vec<Value> = trades
        .iter()
        .cloned()
        .chain([action("place_order", &order(0.001))])
        .collect();
    for (word, vetoed, left) in [
        ("trade", trades_and_order.clone(), vec![deletion.clone()]),
        (
            "buy",
            vec![side("trade", "buy"), action("place_order", &order(0.001))],
            vec![side("trade", "sell")],
        ),
        (
            "place_order",
            vec![action("place_order", &order(0.001))],
            vec![side("trade", "buy")],
        ),
        (
            "remove",
            vec![deletion.clone(), action("delete", &json!({"path": "x"}))],
            vec![side("buy", "buy")],
        ),
    ] {
        let (status, answer) = client.send("PUT", "/v1/lists/vetoes/entries/v", &veto(word, None));
        assert_eq!(status, 200, "{answer}");
        for (proposals, holds) in [(&vetoed, true), (&left, false)] {
            for proposed in proposals {
                let (_, decision) = client.post("/v1/actions?dry_run=true", proposed);
                let fired = decision["reasons"]
                    .to_string()
                    .contains("preserve_user_autonomy");
                assert_eq!(fired, holds, "a veto on {word}: {proposed}: {decision}");
            }
        }
    }
    for (entry, field) in [
        (veto("withdraw", None), "action_type"),
        (veto("Trade", None), "action_type"),
        (veto("trade ", None), "action_type"),
        (veto("execute_code", Some("BTC-USD")), "symbol"),
    ] {
        let (status, problem) = client.send("PUT", "/v1/lists/vetoes/entries/w", &entry);
        assert_eq!(
            (status, &problem["field"]),
            (422, &json!(field)),
            "{entry}: {problem}"
        );
        assert_eq!(client.get("/v1/lists/vetoes/entries/w").0, 404);
    }
    let url = format!("http://{}", host.address);
    let output = run_ark(&[
        "lists",
        "put",
        "vetoes",
        "w",
        "--action-type",
        "withdraw",
        "--words",
        "no",
        "--reason",
        "asked",
        "--url",
        &url,
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("[action_types.withdraw]"),
        "{said}"
    );
}

#[test]
fn a_manifest_that_grants_an_undeclared_type_is_named_in_the_log_with_the_remedy() {
    for (declared, is_named) in [
        ("", true),
        ("[action_types.rebalance]\nfamily = \"custom\"\n", false),
    ] {
        let place = TestDir::new(declared);
        copy_agent(&hostile_guests_dir(), "chaos", &place.agents());
        let manifest = place.agents().join("chaos.toml");
        let text = std::fs::read_to_string(&manifest).expect("a manifest");
        let granting = text.replacen("actions = [", "actions = [\"rebalance\", ", 1);
        assert_ne!(granting, text);
        std::fs::write(&manifest, granting).expect("a manifest");
        let log = place.start().terminate_for_log();
        let named = log.contains("actions[0]") && log.contains("[action_types.rebalance]");
        assert_eq!(named, is_named, "{log}");
        assert_eq!(log.contains("chaos"), is_named, "{log}");
    }
}
