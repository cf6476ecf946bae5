//! 10,000 mixed decisions, judged again: the same to the byte; and by the Graveyard of the earlier release: none that it denied is approved now.

use std::path::Path;

use ark_tests::artefacts::replay_decisions;
use ark_tests::{Client, Host, run_ark, take_turn, trade};
use serde_json::{Value, json};

const DECISIONS: usize = 10_000;
const CLIENTS: usize = 8;
/// How many closes inside the wash window are approved at least: of the 416 round trips some are refused, since no more than five positions
/// are open at a time.
const ROUND_TRIPS: u32 = 50;

/// Whether the request buys what the same client's next request closes: a round trip inside the wash window.
fn opens_round_trip(number: usize) -> bool {
    number % 24 == 8 && number + CLIENTS < DECISIONS
}

/// A request of every family, with numbers on both sides of the limits.
fn make_request(number: usize) -> Value {
    let fraction = (number % 130) as f64 / 1000.0;
    if opens_round_trip(number) {
        return trade(&format!("TRIP{number}"), 0.001);
    }
    if let Some(bought) = number.checked_sub(CLIENTS)
        && opens_round_trip(bought)
    {
        return json!({"agent": "api", "action_type": "close_position", "reasoning": "a round trip",
            "parameters": {"symbol": format!("TRIP{bought}")}});
    }
    let (action_type, mut parameters) = match number % 12 {
        0..=3 => (
            ["trade", "buy", "sell", "open_position"][number % 4],
            json!({"symbol": format!("S{}", number % 997), "position_size_pct": fraction, "leverage": 1.0 + (number % 17) as f64 / 8.0,
                "entry_price": 100.0, "stop_loss": 90.0 + (number % 21) as f64, "take_profit": 120.0, "house_note": {"n": number}}),
        ),
        4 => (
            "close_position",
            json!({"symbol": format!("S{}", number % 997)}),
        ),
        5 => (
            "share_data",
            json!({"subject": format!("u{number}"), "contains_personal_data": number.is_multiple_of(2), "destination": "x",
            "anonymized": number.is_multiple_of(3)}),
        ),
        6 => (
            "file_operation",
            json!({"operation": (["read", "write", "delete"][number % 3]), "path": format!("/srv/{number}")}),
        ),
        7 => ("execute_code", json!({"code": format!("print({number})")})),
        8 => (
            "report",
            json!({"text": format!("mail {number}@example.com")}),
        ),
        9 => (
            "message",
            json!({"topic": "desk.notes", "symbol": format!("S{}", number % 50), "payload": {"n": number as f64 / 7.0}}),
        ),
        10 => (
            ["modify_graveyard", "clear_halt", "override_user"][number % 3],
            json!({"approved": true}),
        ),
        _ => (
            "paint_fence",
            json!({"colour": number, "hrm_approved": true}),
        ),
    };
    // A stop without an entry price, which the earlier release let pass.
    if number.is_multiple_of(13)
        && let Some(parameters) = parameters.as_object_mut()
    {
        parameters.remove("entry_price");
    }
    json!({"agent": "api", "action_type": action_type, "parameters": parameters,
        "reasoning": if number.is_multiple_of(5) { Value::Null } else { json!(format!("number {number}")) },
        "reversible": !number.is_multiple_of(7), "sources": ["a", "b"]})
}

/// Reports that an approved order is filled.
fn report_filled(client: &mut Client, decision: &Value) {
    let id = decision.as_str().expect("an id");
    let body = json!({"execution_id": id, "decision_id": id, "status": "filled", "price": 100.0});
    let (status, answer) = client.post("/v1/executions", &body);
    assert_eq!(status, 200, "{answer}");
}

#[test]
fn ten_thousand_mixed_decisions_come_out_the_same() {
    let _turn = take_turn();
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let host = Host::start(&data, &[]);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|first| {
            let mut client = Client::new(&host);
            std::thread::spawn(move || {
                let mut outcomes = [0u32; 3];
                let mut round_trips = 0u32;
                for number in (first..DECISIONS).step_by(CLIENTS) {
                    let request = make_request(number);
                    let (status, answer) = client.post("/v1/actions", &request);
                    assert_eq!(status, 200, "{request}: {answer}");
                    let outcome = ["approved", "held", "denied"]
                        .iter()
                        .position(|name| answer["outcome"] == *name);
                    outcomes[outcome.expect("an outcome")] += 1;
                    if opens_round_trip(number) && answer["outcome"] == "approved" {
                        report_filled(&mut client, &answer["decision_id"]);
                    }
                    if request["reasoning"] == "a round trip" && answer["outcome"] == "approved" {
                        let told = answer.to_string();
                        assert!(told.contains("no_market_manipulation"), "{told}");
                        report_filled(&mut client, &answer["decision_id"]);
                        round_trips += 1;
                    }
                }
                (outcomes, round_trips)
            })
        })
        .collect();
    let mut outcomes = [0u32; 3];
    let mut round_trips = 0;
    for client in clients {
        let (part, closed) = client.join().expect("no panic");
        round_trips += closed;
        outcomes
            .iter_mut()
            .zip(part)
            .for_each(|(sum, part)| *sum += part);
    }
    assert!(
        outcomes.iter().all(|count| *count > 100),
        "not mixed: {outcomes:?}"
    );
    assert!(
        round_trips >= ROUND_TRIPS,
        "{round_trips} closes inside the wash window"
    );
    assert_eq!(host.terminate(), Some(0));
    let report = replay_decisions(&data);
    assert_eq!(
        (&report["decisions"], &report["identical"]),
        (&json!(DECISIONS), &json!(DECISIONS)),
        "{report}"
    );
    compare_with_the_earlier_release(&data);
    println!(
        "{outcomes:?} approved, held, denied, {round_trips} closes inside the wash window: {DECISIONS} replayed, all identical"
    );
}

/// What the earlier release denied or held and this one takes more lightly can only be a close inside the wash window: it only reduces what is
/// held, and is warned of.
fn compare_with_the_earlier_release(data: &Path) {
    let output = run_ark(&[
        "policy",
        "diff",
        "graveyard-1.0.0",
        "graveyard",
        "--since",
        "0",
        "--json",
        "--data-dir",
        data.to_str().expect("UTF-8"),
    ]);
    let told = String::from_utf8(output.stdout).expect("UTF-8");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let mut summary = None;
    for line in told.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON lines");
        if line["summary"].is_object() {
            summary = Some(line["summary"].clone());
            continue;
        }
        let rank = |side: &str| {
            ["approved", "held", "denied"]
                .iter()
                .position(|outcome| line[side]["outcome"] == *outcome)
                .expect("an outcome")
        };
        if rank("new") < rank("old") {
            let fired = line["old"]["fired"].as_array().expect("rules");
            let blocking: Vec<&Value> = fired
                .iter()
                .filter(|rule| rule["answer"] != "warn")
                .map(|rule| &rule["rule"])
                .collect();
            assert_eq!(
                (&line["action_type"], blocking.as_slice()),
                (
                    &json!("close_position"),
                    &[&json!("no_market_manipulation")][..]
                ),
                "{line}"
            );
        }
    }
    let summary = summary.expect("a summary");
    assert_eq!(
        (
            &summary["decisions"],
            &summary["unreadable"],
            &summary["new_failures"]
        ),
        (&json!(DECISIONS), &json!([]), &json!(0)),
        "{summary}"
    );
    assert!(
        summary["tightened"].as_u64() > Some(0),
        "nothing differs: {summary}"
    );
    println!("the earlier release compared: {summary}");
}
