//! What a custom action, a file operation or a piece of code disguises is judged as what it is, over HTTP and from an agent. On the real binary.

use ark_tests::{Client, TestDir, WAYS, Way};
use serde_json::{Value, json};

/// Custom types of the operator, harmless by their declaration.
const TYPES: [&str; 8] = [
    "tune",
    "watchdog_stop",
    "audit_log_delete",
    "halt_clear",
    "change_rules_now",
    "add_graveyard_shift",
    "audit_no_findings",
    "cancel_halted_orders",
];

/// Returns the numbers of the Graveyard's rules that give one of these answers.
fn rules_with(decision: &Value, answers: &[&str]) -> Vec<u64> {
    let rules = decision["policies"][0]["rules"].as_array();
    rules
        .unwrap_or_else(|| panic!("{decision}"))
        .iter()
        .filter(|rule| answers.contains(&rule["answer"].as_str().unwrap_or("")))
        .filter_map(|rule| rule["number"].as_u64())
        .collect()
}

#[test]
fn an_action_is_judged_by_what_it_carries_and_names() {
    for way in WAYS {
        check_carried_and_named(way);
    }
}

fn check_carried_and_named(way: Way) {
    let declared = TYPES.iter().fold(String::new(), |text, name| {
        text + &format!("[action_types.{name}]\nfamily = \"custom\"\nexternal = false\n")
    });
    let place = TestDir::new(&declared);
    way.prepare(&place);
    let host = place.start();
    let mut client = Client::new(&host);
    // Action type, parameters, and the rule that must fire; `None`: the action is approved.
    let cases: &[(&str, Value, Option<u64>)] = &[
        ("tune", json!({}), None),
        ("tune", json!({"note": "weekly"}), None),
        ("tune", json!({"leverage": 9}), Some(7)),
        ("tune", json!({"Leverage": 9}), Some(7)),
        ("tune", json!({"order": [{"LEVERAGE": "9"}]}), Some(7)),
        ("tune", json!({"position_size_pct": 0.9}), Some(5)),
        ("tune", json!({"code": "rm -rf /srv"}), Some(11)),
        (
            "tune",
            json!({"path": "/srv/x", "operation": "delete"}),
            Some(11),
        ),
        ("tune", json!({"path": "ark.db", "op": "write"}), Some(19)),
        ("tune", json!({"watchdog": {"enabled": false}}), Some(20)),
        ("watchdog_stop", json!({}), Some(20)),
        ("audit_log_delete", json!({}), Some(12)),
        ("halt_clear", json!({}), Some(14)),
        ("change_rules_now", json!({}), Some(19)),
        ("add_graveyard_shift", json!({}), None),
        ("audit_no_findings", json!({}), None),
        ("cancel_halted_orders", json!({}), None),
    ];
    for (action_type, parameters, rule) in cases {
        let action = json!({"agent": "api", "action_type": action_type, "parameters": parameters,
            "reasoning": "a test"});
        let decision = way.propose(&mut client, &action);
        let fired = rules_with(&decision, &["violation", "hold", "error"]);
        match rule {
            Some(rule) => {
                assert_ne!(decision["outcome"], "approved", "{way:?} {action}");
                assert!(fired.contains(rule), "{way:?} {action}: {fired:?}");
            }
            None => assert_eq!(
                decision["outcome"], "approved",
                "{way:?} {action}: {fired:?}"
            ),
        }
    }
}

#[test]
fn the_files_of_the_host_are_guarded_in_every_spelling() {
    for way in WAYS {
        check_files_of_the_host(way);
    }
}

fn check_files_of_the_host(way: Way) {
    let place = TestDir::new("");
    way.prepare(&place);
    let host = place.start();
    let mut client = Client::new(&host);
    for path in [
        "/srv/ark/ark.db",
        "data/ark.db-wal",
        "ARK.TOML",
        "/srv/ark%2Edb",
        "/srv/ark%252Edb",
        "/srv/ark.*",
        "/srv/a?k.db",
        "file:///srv/ark.db",
        "/srv/policies/graveyard.wasm",
    ] {
        let action = json!({"agent": "api", "action_type": "file_operation", "reasoning": "a test",
            "parameters": {"operation": "write", "path": path}});
        let decision = way.propose(&mut client, &action);
        assert_eq!(decision["outcome"], "denied", "{way:?} {path}");
        let fired = rules_with(&decision, &["violation", "error"]);
        assert!(fired.contains(&19), "{way:?} {path}: {fired:?}");
    }
    for path in ["/srv/report.txt", "/srv/mark.database", "/srv/larks/db"] {
        let action = json!({"agent": "api", "action_type": "file_operation", "reasoning": "a test",
            "parameters": {"operation": "write", "path": path}});
        let decision = way.propose(&mut client, &action);
        let fired = rules_with(&decision, &["violation", "error"]);
        assert!(!fired.contains(&19), "{way:?} {path}: {fired:?}");
    }
}
