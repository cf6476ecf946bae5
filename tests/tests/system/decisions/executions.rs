//! Execution reports over HTTP: each order is a state machine, closes close what is open, and results come from closing fills.

use ark_tests::{Client, Host, TestDir, WAYS, Way, make_token, trade, wait_until};
use serde_json::{Value, json};

/// Proposes an action that must get this outcome, and returns the answer.
fn propose_expecting(client: &mut Client, action: &Value, outcome: &str) -> Value {
    let (status, answer) = client.post("/v1/actions", action);
    assert_eq!(
        (status, &answer["outcome"]),
        (200, &json!(outcome)),
        "{action}: {answer}"
    );
    answer
}

/// Has a trade approved. Returns the id of its decision.
fn propose_buy(client: &mut Client, symbol: &str, size: f64) -> String {
    decision_id(&propose_expecting(client, &trade(symbol, size), "approved"))
}

/// Has a trade approved and reported as filled at a price of 100.
fn buy_filled(client: &mut Client, symbol: &str, size: f64) -> String {
    let id = propose_buy(client, symbol, size);
    let report_id = format!("open-{id}");
    book_execution(client, &report_id, &id, "filled", json!({"price": 100.0}));
    id
}

fn decision_id(answer: &Value) -> String {
    answer["decision_id"].as_str().expect("an id").to_owned()
}

fn make_close(symbol: &str, size: Option<f64>) -> Value {
    let mut action = json!({"agent": "api", "action_type": "close_position", "parameters": {"symbol": symbol}, "reasoning": "a test"});
    if let Some(size) = size {
        action["parameters"]["position_size_pct"] = json!(size);
    }
    action
}

/// Reports on a decision. `more`: the fields besides ids and status.
fn report_execution(
    client: &mut Client,
    id: &str,
    decision: &str,
    status: &str,
    more: Value,
) -> (u16, Value) {
    let mut body = more;
    body["execution_id"] = json!(id);
    body["decision_id"] = json!(decision);
    body["status"] = json!(status);
    client.post("/v1/executions", &body)
}

/// Reports what must be booked.
fn book_execution(client: &mut Client, id: &str, decision: &str, status: &str, more: Value) {
    let (code, answer) = report_execution(client, id, decision, status, more);
    assert_eq!(code, 200, "{id} {status}: {answer}");
}

#[track_caller]
fn assert_exposure(client: &mut Client, symbol: &str, expected: f64) {
    let (_, account) = client.get("/v1/account");
    let found = account["exposure_pct"][symbol].as_f64().unwrap_or(0.0);
    assert!((found - expected).abs() < 1e-9, "{account}, not {expected}");
}

#[track_caller]
fn assert_loss(client: &mut Client, expected: f64) {
    let (_, account) = client.get("/v1/account");
    let found = account["daily_loss_pct"].as_f64().expect("a loss");
    assert!((found - expected).abs() < 1e-9, "{account}, not {expected}");
}

fn alert_kinds(client: &mut Client) -> Vec<String> {
    let (_, page) = client.get("/v1/watchdog/alerts");
    let alerts = page["alerts"].as_array().expect("alerts").iter();
    let mut kinds: Vec<String> = alerts
        .map(|alert| alert["kind"].as_str().expect("a kind").to_owned())
        .collect();
    kinds.reverse();
    kinds
}

fn start_host() -> (TestDir, Host, Client) {
    let place = TestDir::new("submitters = [\"api\", \"desk\"]\n");
    let host = place.start();
    let client = Client::new(&host);
    (place, host, client)
}

#[test]
fn a_filled_order_stays_filled_whatever_is_reported_later() {
    let (_place, _host, mut client) = start_host();
    let id = buy_filled(&mut client, "BTC-USD", 0.05);
    for (number, (status, more, code)) in [
        ("cancelled", json!({}), 409),
        ("rejected", json!({}), 409),
        ("expired", json!({}), 409),
        ("filled", json!({"filled_size_pct": 0.0001}), 409),
        ("partially_filled", json!({"filled_size_pct": 0.02}), 409),
        ("filled", json!({}), 200),
        ("filled", json!({"filled_size_pct": 0.05}), 200),
        ("filled", json!({"filled_size_pct": 0.0}), 422),
        ("partially_filled", json!({}), 422),
        ("filled", json!({"realized_pnl_pct": 0.04}), 422),
        ("rejected", json!({"filled_size_pct": 0.01}), 422),
    ]
    .into_iter()
    .enumerate()
    {
        let execution_id = format!("more-{number}");
        let (answered, problem) = report_execution(&mut client, &execution_id, &id, status, more);
        assert_eq!(answered, code, "{number} {status}: {problem}");
        if code != 200 {
            let detail = problem["detail"].as_str().expect("a detail");
            assert!(
                !detail.is_empty() && problem["field"].is_string() && problem["remedy"].is_string(),
                "{problem}"
            );
            assert!(
                code == 422 || detail.contains("filled") && detail.contains("0.05"),
                "{problem}"
            );
        }
        assert_exposure(&mut client, "BTC-USD", 0.05);
    }
    // An execution id that comes back with another report is the field at fault: executions take no other key.
    let report_id = format!("open-{id}");
    let (status, problem) = report_execution(
        &mut client,
        &report_id,
        &id,
        "filled",
        json!({"price": 1.0}),
    );
    assert_eq!(
        (status, &problem["field"]),
        (422, &json!("execution_id")),
        "{problem}"
    );
    assert!(!problem.to_string().contains("fresh key"), "{problem}");
    assert_eq!(alert_kinds(&mut client), Vec::<String>::new());
}

#[test]
fn a_partial_fill_stays_when_the_rest_is_cancelled() {
    let (place, host, mut client) = start_host();
    let id = propose_buy(&mut client, "BTC-USD", 0.05);
    book_execution(
        &mut client,
        "p1",
        &id,
        "partially_filled",
        json!({"filled_size_pct": 0.03}),
    );
    assert_exposure(&mut client, "BTC-USD", 0.05);
    book_execution(&mut client, "c1", &id, "cancelled", json!({}));
    assert_exposure(&mut client, "BTC-USD", 0.03);
    propose_buy(&mut client, "BTC-USD", 0.07);
    propose_expecting(&mut client, &trade("BTC-USD", 0.01), "denied");
    // After a kill it is as it was.
    host.kill();
    let host = place.start();
    let mut client = Client::new(&host);
    assert_exposure(&mut client, "BTC-USD", 0.10);
    assert_eq!(
        report_execution(&mut client, "r1", &id, "rejected", json!({})).0,
        409
    );
    book_execution(&mut client, "c2", &id, "cancelled", json!({}));
    assert_exposure(&mut client, "BTC-USD", 0.10);
}

#[test]
fn a_fill_repeated_under_a_new_id_opens_nothing_again() {
    let (place, host, mut client) = start_host();
    let opened = buy_filled(&mut client, "BTC-USD", 0.05);
    let closed = decision_id(&propose_expecting(
        &mut client,
        &make_close("BTC-USD", None),
        "approved",
    ));
    let result = json!({"price": 90.0, "realized_pnl_pct": -0.005});
    book_execution(&mut client, "x1", &closed, "filled", result.clone());
    assert_exposure(&mut client, "BTC-USD", 0.0);
    assert_loss(&mut client, 0.005);
    host.kill();
    let host = place.start();
    let mut client = Client::new(&host);
    book_execution(
        &mut client,
        "again-1",
        &opened,
        "filled",
        json!({"price": 100.0}),
    );
    book_execution(
        &mut client,
        "again-2",
        &opened,
        "filled",
        json!({"filled_size_pct": 0.05}),
    );
    assert_exposure(&mut client, "BTC-USD", 0.0);
    // Nor does a repeated loss count twice, and another one is no repetition.
    book_execution(&mut client, "again-3", &closed, "filled", result);
    assert_loss(&mut client, 0.005);
    let other = json!({"realized_pnl_pct": -0.004});
    let (code, problem) = report_execution(&mut client, "again-4", &closed, "filled", other);
    assert_eq!(
        (code, &problem["field"]),
        (422, &json!("realized_pnl_pct")),
        "{problem}"
    );
    assert_loss(&mut client, 0.005);
}

#[test]
fn one_approved_close_is_booked_once() {
    let (_place, _host, mut client) = start_host();
    buy_filled(&mut client, "BTC-USD", 0.08);
    let closed = decision_id(&propose_expecting(
        &mut client,
        &make_close("btc/usd", Some(0.01)),
        "approved",
    ));
    for number in 0..8 {
        book_execution(
            &mut client,
            &format!("x{number}"),
            &closed,
            "filled",
            json!({}),
        );
        assert_exposure(&mut client, "BTC-USD", 0.07);
    }
}

#[test]
fn a_partly_filled_close_keeps_its_rest_and_frees_what_it_filled() {
    let (_place, _host, mut client) = start_host();
    buy_filled(&mut client, "BTC-USD", 0.08);
    let closed = decision_id(&propose_expecting(
        &mut client,
        &make_close("BTC-USD", Some(0.06)),
        "approved",
    ));
    book_execution(
        &mut client,
        "x1",
        &closed,
        "partially_filled",
        json!({"filled_size_pct": 0.02}),
    );
    assert_exposure(&mut client, "BTC-USD", 0.06);
    let denied = propose_expecting(&mut client, &make_close("BTC-USD", Some(0.03)), "denied");
    assert!(
        denied["reasons"].to_string().contains("close 0.02 at most"),
        "{denied}"
    );
    book_execution(&mut client, "x2", &closed, "cancelled", json!({}));
    assert_exposure(&mut client, "BTC-USD", 0.06);
    propose_expecting(&mut client, &make_close("BTC-USD", Some(0.06)), "approved");
}

#[test]
fn a_close_of_more_than_is_open_is_denied() {
    let (_place, _host, mut client) = start_host();
    let refused = |client: &mut Client, action: Value, words: &str| {
        let answer = propose_expecting(client, &action, "denied");
        assert!(answer["reasons"].to_string().contains(words), "{answer}");
    };
    refused(
        &mut client,
        make_close("BTC-USD", None),
        "nothing open in BTC-USD",
    );
    let id = propose_buy(&mut client, "BTC-USD", 0.05);
    // Reserved is not open.
    refused(&mut client, make_close("BTC-USD", None), "nothing open");
    book_execution(&mut client, "f1", &id, "filled", json!({}));
    refused(
        &mut client,
        make_close("BTC-USD", Some(0.06)),
        "0.05 is open",
    );
    refused(&mut client, make_close("BTC-USD", Some(0.0)), "size of 0");
    let mut of_another = make_close("BTC-USD", None);
    of_another["agent"] = json!("desk");
    refused(&mut client, of_another, "desk has nothing open");
    // Two closes of all of it are one too many, in one batch too.
    let batch = json!({"actions": [make_close("BTC-USD", None), make_close("BTC-USD", None)]});
    let (status, answer) = client.post("/v1/actions/batch", &batch);
    assert_eq!(status, 200, "{answer}");
    let decisions = answer["decisions"].as_array().expect("decisions");
    assert_eq!(decisions[0]["outcome"], "approved", "{answer}");
    assert_eq!(decisions[1]["outcome"], "denied", "{answer}");
    assert!(
        decisions[1]["reasons"].to_string().contains("being closed"),
        "{answer}"
    );
    // What was not carried out can be closed again.
    let first = decision_id(&decisions[0]);
    book_execution(&mut client, "x1", &first, "rejected", json!({}));
    propose_expecting(&mut client, &make_close("BTC-USD", Some(0.05)), "approved");
}

#[test]
fn late_fills_overfills_and_closes_of_too_much_are_booked_and_alerted() {
    let (place, host, mut client) = start_host();
    let late = propose_buy(&mut client, "LATE-USD", 0.05);
    book_execution(&mut client, "l1", &late, "cancelled", json!({}));
    assert_exposure(&mut client, "LATE-USD", 0.0);
    book_execution(&mut client, "l2", &late, "filled", json!({}));
    assert_exposure(&mut client, "LATE-USD", 0.05);
    assert_eq!(alert_kinds(&mut client), ["late_fill"]);
    let over = propose_buy(&mut client, "OVER-USD", 0.01);
    book_execution(
        &mut client,
        "o1",
        &over,
        "filled",
        json!({"filled_size_pct": 0.5}),
    );
    assert_exposure(&mut client, "OVER-USD", 0.5);
    assert_eq!(alert_kinds(&mut client), ["late_fill", "overfill"]);
    // It counts from then on.
    let denied = propose_expecting(&mut client, &trade("OVER-USD", 0.001), "denied");
    assert!(
        denied["reasons"].to_string().contains("max_position_size"),
        "{denied}"
    );
    buy_filled(&mut client, "FLIP-USD", 0.03);
    let flip = decision_id(&propose_expecting(
        &mut client,
        &make_close("FLIP-USD", None),
        "approved",
    ));
    book_execution(
        &mut client,
        "x1",
        &flip,
        "filled",
        json!({"filled_size_pct": 0.05}),
    );
    assert_exposure(&mut client, "FLIP-USD", 0.02);
    let expected = ["late_fill", "overfill", "overfill", "unmatched_close"];
    assert_eq!(alert_kinds(&mut client), expected);
    host.kill();
    let host = place.start();
    let mut client = Client::new(&host);
    for (symbol, size) in [("LATE-USD", 0.05), ("OVER-USD", 0.5), ("FLIP-USD", 0.02)] {
        assert_exposure(&mut client, symbol, size);
        propose_expecting(&mut client, &make_close(symbol, Some(size)), "approved");
    }
    assert_eq!(alert_kinds(&mut client), expected);
}

#[test]
fn a_result_is_what_the_closed_size_can_have_realised() {
    let (_place, _host, mut client) = start_host();
    buy_filled(&mut client, "BTC-USD", 0.08);
    let first = decision_id(&propose_expecting(
        &mut client,
        &make_close("BTC-USD", Some(0.04)),
        "approved",
    ));
    book_execution(
        &mut client,
        "x1",
        &first,
        "filled",
        json!({"price": 50.0, "realized_pnl_pct": -0.02}),
    );
    assert_loss(&mut client, 0.02);
    // A profit that would lighten the loss by more than 0.04 of capital gained from 100 to 110.
    let second = decision_id(&propose_expecting(
        &mut client,
        &make_close("BTC-USD", Some(0.04)),
        "approved",
    ));
    for (claim, price) in [
        (0.02, Some(110.0)),
        (0.005, Some(90.0)),
        (0.05, None),
        (-0.05, None),
    ] {
        let mut more = json!({"realized_pnl_pct": claim});
        if let Some(price) = price {
            more["price"] = json!(price);
        }
        let (code, problem) = report_execution(&mut client, "x2", &second, "filled", more);
        assert_eq!(
            (code, &problem["field"]),
            (422, &json!("realized_pnl_pct")),
            "{problem}"
        );
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(
            detail.contains("0.04 of capital") && detail.contains(" to "),
            "{problem}"
        );
        assert_loss(&mut client, 0.02);
        assert_exposure(&mut client, "BTC-USD", 0.04);
    }
    book_execution(
        &mut client,
        "x2",
        &second,
        "filled",
        json!({"price": 110.0, "realized_pnl_pct": 0.004}),
    );
    assert_loss(&mut client, 0.016);
    assert_exposure(&mut client, "BTC-USD", 0.0);
}

/// Starts a host to which actions come by this way.
fn start_with(way: Way) -> (TestDir, Host, Client) {
    let place = TestDir::new("submitters = [\"api\", \"desk\"]\n");
    way.prepare(&place);
    let host = place.start();
    let client = Client::new(&host);
    (place, host, client)
}

/// Proposes an action that must get this outcome, by this way, and returns the decision.
fn propose_by(way: Way, client: &mut Client, action: &Value, outcome: &str) -> Value {
    let decision = way.propose(client, action);
    assert_eq!(decision["outcome"], outcome, "{way:?} {action}: {decision}");
    decision
}

/// Has a trade approved by this way and reported as filled at a price of 100.
fn buy_filled_by(way: Way, client: &mut Client, symbol: &str, size: f64) {
    let id = decision_id(&propose_by(way, client, &trade(symbol, size), "approved"));
    let report_id = format!("open-{id}");
    book_execution(client, &report_id, &id, "filled", json!({"price": 100.0}));
}

#[test]
fn a_close_is_judged_by_the_facts_of_its_instrument() {
    for way in WAYS {
        check_facts_of_a_close(way);
    }
}

fn check_facts_of_a_close(way: Way) {
    let (_place, _host, mut client) = start_with(way);
    let fires = |client: &mut Client, action: &Value, rule: &str| {
        let (_, answer) = client.post("/v1/actions?dry_run=true", action);
        answer["reasons"].to_string().contains(rule)
    };
    let why = json!({"reason": "compliance", "by": "ada"});
    for (symbol, list, rule) in [
        ("RES-USD", "restricted", "no_insider_trading"),
        ("CLI-USD", "client_orders", "no_front_running"),
    ] {
        buy_filled_by(way, &mut client, symbol, 0.02);
        assert!(!fires(&mut client, &make_close(symbol, None), rule));
        let path = format!("/v1/lists/{list}/entries/{symbol}");
        assert_eq!(client.send("PUT", &path, &why).0, 200);
        assert!(
            fires(&mut client, &make_close(symbol, None), rule),
            "{rule}"
        );
        let answer = propose_by(way, &mut client, &make_close(symbol, None), "denied");
        assert!(answer["reasons"].to_string().contains(rule), "{answer}");
    }
    // A publication of another agent, in a text and another spelling, counts for every agent that sells.
    buy_filled_by(way, &mut client, "PUMP-USD", 0.02);
    assert!(!fires(
        &mut client,
        &make_close("PUMP-USD", None),
        "no_pump_and_dump"
    ));
    let message = |action_type: &str, text: &str| json!({"agent": "desk", "action_type": action_type, "parameters": {"topic": "news", "text": text}, "reasoning": "a test"});
    propose_expecting(
        &mut client,
        &message("message", "hold PUMP-USD"),
        "approved",
    );
    assert!(!fires(
        &mut client,
        &make_close("PUMP-USD", None),
        "no_pump_and_dump"
    ));
    propose_by(
        way,
        &mut client,
        &message("publish", "Now: pump/usd!"),
        "approved",
    );
    let answer = propose_by(way, &mut client, &make_close("PUMP-USD", None), "denied");
    assert!(
        answer["reasons"].to_string().contains("no_pump_and_dump"),
        "{answer}"
    );
}

#[test]
fn a_round_trip_inside_the_wash_window_is_denied_and_a_close_is_not() {
    for way in WAYS {
        check_wash_window(way);
    }
}

fn check_wash_window(way: Way) {
    let (_place, _host, mut client) = start_with(way);
    buy_filled_by(way, &mut client, "BTC-USD", 0.05);
    // The close sells what was just bought: it only reduces.
    let closed = propose_by(way, &mut client, &make_close("BTC-USD", None), "approved");
    assert!(
        closed.to_string().contains("no_market_manipulation"),
        "{closed}"
    );
    book_execution(
        &mut client,
        "x1",
        &decision_id(&closed),
        "filled",
        json!({}),
    );
    let again = propose_by(way, &mut client, &trade("BTC_USD", 0.05), "denied");
    assert!(
        again["reasons"]
            .to_string()
            .contains("no_market_manipulation"),
        "{again}"
    );
}

#[test]
fn a_dry_run_sees_expired_reservations_as_a_judgement_does() {
    let place = TestDir::new("[capacity]\nreservation_seconds = 1\n");
    let host = place.start();
    let mut client = Client::new(&host);
    let id = propose_buy(&mut client, "BTC-USD", 0.08);
    let outcome = |client: &mut Client| {
        let (_, answer) = client.post("/v1/actions?dry_run=true", &trade("BTC-USD", 0.08));
        answer["outcome"].as_str().expect("an outcome").to_owned()
    };
    wait_until("the reservation is over", || {
        outcome(&mut client) == "approved"
    });
    // What is reported afterwards happened.
    book_execution(&mut client, "f1", &id, "filled", json!({}));
    assert_eq!(outcome(&mut client), "denied");
    assert_exposure(&mut client, "BTC-USD", 0.08);
    assert_eq!(alert_kinds(&mut client), ["late_fill"]);
}

#[test]
fn reporting_is_a_right_of_its_own_and_its_ids_are_the_reporters() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let root = make_token(&data, "root", "admin", &[]);
    let desk = make_token(
        &data,
        "desk",
        "submitter",
        &["--agent", "api", "--actions", "*"],
    );
    let brokers = ["one", "two"].map(|name| make_token(&data, name, "executor", &[]));
    let host = Host::start(&data, &[]);
    let mut proposer = Client::with_token(&host, &desk);
    let first = propose_buy(&mut proposer, "BTC-USD", 0.02);
    let second = propose_buy(&mut proposer, "ETH-USD", 0.02);
    assert_eq!(
        report_execution(&mut proposer, "e1", &first, "filled", json!({})).0,
        403
    );
    let [mut one, mut two] = brokers.map(|token| Client::with_token(&host, &token));
    assert_eq!(one.post("/v1/actions", &trade("BTC-USD", 0.01)).0, 403);
    book_execution(&mut one, "e1", &first, "filled", json!({}));
    // The same id of another reporter is another report; of the same reporter it is the same, or refused.
    book_execution(&mut two, "e1", &second, "filled", json!({}));
    book_execution(&mut one, "e1", &first, "filled", json!({}));
    assert_eq!(
        report_execution(&mut one, "e1", &second, "filled", json!({})).0,
        422
    );
    book_execution(
        &mut Client::with_token(&host, &root),
        "e1",
        &first,
        "filled",
        json!({}),
    );
    assert_exposure(&mut one, "BTC-USD", 0.02);
    assert_exposure(&mut one, "ETH-USD", 0.02);
}
