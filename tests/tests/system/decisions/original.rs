//! Nothing that the original system refuses is approved. ARK succeeds a system whose rules were one function, `validate_against_graveyard`; what
//! that function refuses is stated here a second time, independently of the Graveyard, and random actions are put to both.

use std::collections::BTreeMap;

use ark_tests::{Client, Random, TestDir};
use serde_json::{Map, Value, json};

/// Actions that are compared.
const ACTIONS: usize = 3_000;

/// The seed of the actions; another one by `ARK_ORIGINAL_SEED`.
const SEED: u64 = 26;

/// Returns the rules that the original's function names when an agent proposes this action.
fn refusals_of_the_original(
    action_type: &str,
    parameters: &Map<String, Value>,
) -> Vec<&'static str> {
    let number = |name: &str, default: f64| {
        let value = parameters.get(name).and_then(Value::as_f64);
        value.unwrap_or(default)
    };
    let is_set = |name: &str| parameters.get(name) == Some(&Value::Bool(true));
    let text = |name: &str| parameters.get(name).and_then(Value::as_str).unwrap_or("");
    let mut refused = Vec::new();
    let mut needs_approval = matches!(action_type, "delete" | "remove" | "execute_code");
    match action_type {
        "trade" | "order" | "buy" | "sell" => {
            let (size, leverage) = (number("position_size_pct", 0.0), number("leverage", 1.0));
            // It takes a stop of zero for a missing one.
            let has_stop = number("stop_loss", 0.0) != 0.0;
            let rules = [
                (is_set("manipulative_intent"), "no_market_manipulation"),
                (size > 0.10, "max_position_size"),
                (!has_stop, "require_stop_loss"),
                (leverage > 2.0, "max_leverage"),
            ];
            refused.extend(rules.iter().filter(|rule| rule.0).map(|rule| rule.1));
            needs_approval = size > 0.08 || leverage > 1.5 || !has_stop;
        }
        "file_operation" => {
            let operation = text("operation").to_lowercase();
            needs_approval = matches!(&*operation, "delete" | "remove" | "destroy");
        }
        "data_handling" | "collect_data" | "share_data" | "store_data" => {
            if parameters.get("user_consent") == Some(&Value::Bool(false)) {
                refused.push("require_consent");
            }
            if text("data_sensitivity") == "high" && !is_set("encryption") {
                refused.push("encrypt_credentials");
            }
        }
        "modify_graveyard" | "update_ethics" | "change_rules" => {
            refused.push("immutable_graveyard");
        }
        _ => {}
    }
    if needs_approval && !is_set("hrm_validated") && !is_set("hrm_approved") {
        refused.push("require_hrm_approval");
    }
    refused
}

/// Sets a parameter to one of these values; `null` leaves it out.
fn set_parameter(
    parameters: &mut Map<String, Value>,
    random: &mut Random,
    name: &str,
    values: &Value,
) {
    let values = values.as_array().expect("a list");
    let value = random.pick(values);
    if !value.is_null() {
        parameters.insert(name.to_owned(), value.clone());
    }
}

/// Returns the type and the parameters of a random action of which both systems have heard.
fn draw_action(random: &mut Random) -> (&'static str, Map<String, Value>) {
    let mut parameters = Map::new();
    let mut put = |random: &mut Random, name: &str, values: Value| {
        set_parameter(&mut parameters, random, name, &values);
    };
    let action_type = match random.below(10) {
        0..=4 => {
            put(
                random,
                "symbol",
                json!(["BTC-USD", "ETH-USD", "ACME", "M&M"]),
            );
            put(
                random,
                "position_size_pct",
                json!([
                    0.01, 0.03, 0.05, 0.0799, 0.08, 0.0801, 0.09, 0.1, 0.1001, 0.5, 1
                ]),
            );
            put(
                random,
                "leverage",
                json!([null, 1, 1.0, 1.2, 1.5, 1.5001, 2, 2.0001, 10]),
            );
            put(random, "entry_price", json!([null, 100, 100.0]));
            put(
                random,
                "stop_loss",
                json!([null, 0, 90, 95.0, 99.5, 101, 105, 95.0, 105]),
            );
            put(
                random,
                "risk_reward_ratio",
                json!([null, 1.2, 1.5, 2.5, 3, 2, 2]),
            );
            put(
                random,
                "manipulative_intent",
                json!([null, null, null, false, true]),
            );
            put(
                random,
                "hrm_validated",
                json!([null, null, null, null, null, null, true]),
            );
            *random.pick(&["trade", "order", "buy", "sell"])
        }
        5..=6 => {
            put(random, "subject", json!([null, "user-7"]));
            put(random, "contains_personal_data", json!([null, false, true]));
            put(random, "data_sensitivity", json!([null, "low", "high"]));
            put(random, "encryption", json!([null, false, true]));
            put(random, "anonymized", json!([null, true]));
            put(random, "user_consent", json!([null, null, true, false]));
            put(random, "purpose", json!([null, "a survey"]));
            *random.pick(&["data_handling", "collect_data", "share_data", "store_data"])
        }
        7 => {
            put(
                random,
                "path",
                json!(["notes/today.txt", "/srv/reports/a.csv"]),
            );
            put(
                random,
                "operation",
                json!([
                    "read", "write", "delete", "remove", "destroy", "DELETE", "Remove", "list"
                ]),
            );
            "file_operation"
        }
        8 => {
            put(
                random,
                "path",
                json!(["notes/today.txt", "/srv/reports/a.csv"]),
            );
            *random.pick(&["delete", "remove"])
        }
        _ => match random.below(3) {
            0 => {
                put(random, "language", json!(["python", "sh"]));
                put(random, "code", json!(["print(1)", "ls"]));
                "execute_code"
            }
            1 => *random.pick(&["modify_graveyard", "update_ethics", "change_rules"]),
            _ => {
                put(random, "topic", json!(["desk.notes"]));
                put(random, "text", json!(["all quiet", "the report is ready"]));
                *random.pick(&["message", "publish", "report", "log"])
            }
        },
    };
    (action_type, parameters)
}

#[test]
fn nothing_that_the_original_refuses_is_approved() {
    let seed =
        std::env::var("ARK_ORIGINAL_SEED").map_or(SEED, |seed| seed.parse().expect("a number"));
    let mut random = Random::from_seed(seed);
    let place = TestDir::new("");
    let host = place.start();
    let mut client = Client::new(&host);
    let mut by_rule: BTreeMap<&str, u64> = BTreeMap::new();
    // How ARK ends (an outcome, or the refusal of the request) and whether the original approves.
    let mut ends: BTreeMap<(String, bool), u64> = BTreeMap::new();
    let mut loosened = Vec::new();
    for _ in 0..ACTIONS {
        let (action_type, parameters) = draw_action(&mut random);
        let refused = refusals_of_the_original(action_type, &parameters);
        let action = json!({"agent": "api", "action_type": action_type, "parameters": parameters,
            "reasoning": "a comparison with the original"});
        // Judged by an empty account each, so that no earlier action is why this one is denied.
        let (status, answer) = client.post("/v1/actions?dry_run=true", &action);
        let end = match status {
            200 => answer["outcome"].as_str().expect("an outcome").to_owned(),
            400 | 422 => "refused as a request".to_owned(),
            _ => panic!("{action}: {status} {answer}"),
        };
        for rule in &refused {
            *by_rule.entry(rule).or_default() += 1;
        }
        if end == "approved" && !refused.is_empty() {
            loosened.push(format!("{action}: the original names {refused:?}"));
        }
        *ends.entry((end, refused.is_empty())).or_default() += 1;
    }
    println!("{ACTIONS} actions, seed {seed}; refused by the original: {by_rule:?}");
    for ((end, approves), count) in &ends {
        let original = if *approves { "approves" } else { "refuses" };
        println!("{end}, the original {original}: {count}");
    }
    assert!(loosened.is_empty(), "{loosened:#?}");
    // The run says something: every rule of the original was met, and what both approve is not rare.
    assert_eq!(by_rule.len(), 8, "{by_rule:?}");
    assert!(by_rule.values().all(|count| *count >= 30), "{by_rule:?}");
    let both_approve = ends.get(&("approved".to_owned(), true)).copied();
    assert!(both_approve.unwrap_or_default() >= 100, "{ends:?}");
}
