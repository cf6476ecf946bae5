//! What operator policies say: those on trial change nothing, those that are enforced only tighten.

use ark_tests::policies::{moody_component, moody_name, put, send};
use ark_tests::{Client, TestDir, trade};
use serde_json::{Value, json};

use super::exchange::{part, propose, replay, show};

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario whose steps depend on each other"
)]
fn what_is_on_trial_is_recorded_and_compared_and_changes_no_outcome() {
    let place = TestDir::new("");
    let host = place.start();
    let mut client = Client::new(&host);
    let name = moody_name(0);
    let denying = json!({"mode": "shadow", "settings": {"mood": "deny", "symbol": "BAD"}});
    let answer = put(&mut client, &name, &moody_component(0, 1), &denying);
    assert_eq!(
        (&answer["enforced"], &answer["shadow"]),
        (&Value::Null, &json!(1)),
        "{answer}"
    );
    let good = propose(&mut client, "GOOD");
    let bad = propose(&mut client, "BAD");
    for (decision, would_be) in [(&good, "approved"), (&bad, "denied")] {
        assert_eq!(decision["outcome"], "approved", "{decision}");
        assert_eq!(
            decision["policies"].as_array().map(Vec::len),
            Some(1),
            "{decision}"
        );
        let shadow = &decision["shadows"][0];
        assert_eq!(
            (&shadow["outcome"], &shadow["differs"], &shadow["policy"]),
            (
                &json!(would_be),
                &json!(would_be != "approved"),
                &json!(name)
            ),
            "{decision}"
        );
    }
    let shown = show(&mut client, &name);
    let trial = &shown["shadow"];
    assert_eq!(
        (
            &trial["decisions"],
            &trial["compared"],
            &trial["would_differ"],
            &trial["failures"]
        ),
        (&json!(2), &json!(2), &json!(1), &json!(0)),
        "{shown}"
    );
    assert_eq!(
        trial["latest_differing"][0]["decision_id"], bad["decision_id"],
        "{shown}"
    );
    assert_eq!(
        trial["settings"],
        json!({"mood": "deny", "symbol": "BAD"}),
        "{shown}"
    );
    // An enforced version beside it: it is compared in that one's place.
    put(
        &mut client,
        &name,
        &moody_component(0, 2),
        &json!({"settings": {"mood": "hold"}}),
    );
    let held = propose(&mut client, "OTHER");
    assert_eq!(
        (&held["outcome"], &held["shadows"][0]["outcome"]),
        (&json!("held"), &json!("approved")),
        "{held}"
    );
    // A version that fails on trial denies nothing, and is not asked for ever.
    let trapping = json!({"mode": "shadow", "settings": {"mood": "loop", "symbol": "BOOM"}});
    let changes = [json!({"settings": null}), trapping];
    for change in changes {
        let (status, answer) = send(&mut client, "PATCH", &name, &change);
        assert_eq!(status, 200, "{answer}");
    }
    for number in 0..12 {
        let mut action = trade("BOOM", 0.001);
        action["parameters"]["number"] = json!(number);
        let (_, decision) = client.post("/v1/actions", &action);
        assert_eq!(decision["outcome"], "approved", "{decision}");
        let failed = decision["shadows"][0]["failure"].is_string();
        assert_eq!(failed, number < 8, "{decision}");
    }
    let shown = show(&mut client, &name);
    assert_eq!(
        (&shown["shadow"]["gave_up"], &shown["shadow"]["failures"]),
        (&json!(true), &json!(8)),
        "{shown}"
    );
    // What was tried is enforced: from then on it counts.
    let (status, answer) = send(&mut client, "PATCH", &name, &json!({"mode": "enforce"}));
    assert_eq!((status, &answer["shadow"]), (200, &Value::Null), "{answer}");
    // Asked for once more it changes nothing, and says so.
    let revision = answer["revision"].clone();
    for again in [
        json!({"mode": "enforce"}),
        json!({"order": answer["order"]}),
    ] {
        let (status, answer) = send(&mut client, "PATCH", &name, &again);
        assert_eq!((status, &answer["revision"]), (200, &revision), "{answer}");
        let remark = answer["remarks"][0].as_str().unwrap_or_default();
        let is_said = remark.contains(" already") && remark.ends_with("nothing has changed");
        assert!(is_said, "{answer}");
    }
    let decision = propose(&mut client, "BOOM");
    assert_eq!(decision["outcome"], "denied", "{decision}");
    let reason = decision["reasons"][0].as_str().unwrap_or_default();
    assert!(
        reason.contains(&name) && reason.contains("limit of fuel"),
        "{decision}"
    );
    // Putting on trial what is enforced is asked for by its own name only.
    let again = json!({"mode": "shadow", "settings": {"mood": "loop", "symbol": "BOOM"}});
    let (status, answer) = send(&mut client, "PATCH", &name, &again);
    assert_eq!(
        (status, &answer["field"]),
        (409, &json!("mode")),
        "{answer}"
    );
    let (status, answer) = send(&mut client, "PATCH", &name, &json!({"mode": "shadow"}));
    assert_eq!(
        (status, &answer["enforced"]),
        (200, &Value::Null),
        "{answer}"
    );
    assert!(
        answer["remarks"][0]
            .as_str()
            .unwrap_or_default()
            .contains("nothing of"),
        "{answer}"
    );
    assert_eq!(propose(&mut client, "BOOM")["outcome"], "approved");
    let metrics = Client::of_telemetry(&host).get_text("/metrics");
    for row in [
        format!("ark_policy_shadow_decisions_total{{policy=\"{name}\",result=\"different\"}} 2"),
        format!("ark_policy_shadow_decisions_total{{policy=\"{name}\",result=\"failed\"}} 9"),
        "ark_policies_in_force{kind=\"shadow\"} 1".to_owned(),
    ] {
        assert!(metrics.contains(&row), "{row}:\n{metrics}");
    }
    assert_eq!(host.terminate(), Some(0));
    let report = replay(&place);
    assert_eq!(report["failures"], 1, "{report}");
    assert_eq!(report["decisions"], 17, "{report}");
}

#[test]
fn a_policy_can_only_tighten_the_outcome() {
    let place = TestDir::new("");
    let host = place.start();
    let mut client = Client::new(&host);
    let name = moody_name(0);
    put(&mut client, &name, &moody_component(0, 1), &json!({}));
    let mut actions: Vec<Value> = [0.0, 0.05, 0.1, 0.2]
        .iter()
        .map(|size| trade("BTC-USD", *size))
        .collect();
    for (action_type, parameters) in [
        ("delete", json!({"path": "/srv/x"})),
        ("execute_code", json!({"code": "1"})),
        ("report", json!({"text": "all is well"})),
        ("modify_graveyard", json!({})),
        ("paint_fence", json!({"colour": 1})),
        ("close_position", json!({"symbol": "BTC-USD"})),
    ] {
        actions.push(json!({"agent": "api", "action_type": action_type, "parameters": parameters}));
    }
    let strictness = |decision: &Value| {
        let outcomes = ["approved", "held", "denied"];
        let place = outcomes.iter().position(|one| decision["outcome"] == **one);
        place.expect("an outcome")
    };
    let mut seen = [0; 3];
    for mood in ["pass", "warn", "hold", "deny", "trap", "loop", "grow"] {
        // Its trial is about another symbol; what it judges here it judges in this mood.
        let symbol = if matches!(mood, "trap" | "loop" | "grow") {
            json!({"mood": mood, "symbol": "ETH-USD"})
        } else {
            json!({"mood": mood})
        };
        let (status, answer) = send(&mut client, "PATCH", &name, &json!({"settings": symbol}));
        assert_eq!(status, 200, "{answer}");
        for action in &actions {
            let mut action = action.clone();
            if action["parameters"]["symbol"].is_string() {
                action["parameters"]["symbol"] = json!("ETH-USD");
            }
            let (status, with) = client.post("/v1/actions?dry_run=true", &action);
            assert_eq!(status, 200, "{with}");
            // The Graveyard's own part is what there would be without.
            let alone = &with["policies"][0];
            let answers = alone["rules"].as_array().expect("rules");
            let any = |wanted: &[&str]| {
                let mut answers = answers.iter();
                answers.any(|rule| wanted.iter().any(|answer| rule["answer"] == **answer))
            };
            let without = if any(&["violation", "error"]) {
                2
            } else {
                usize::from(any(&["hold"]))
            };
            assert!(strictness(&with) >= without, "{mood}: {with}");
            assert!(
                with["compliance_score"].as_f64() <= alone["compliance_score"].as_f64(),
                "{mood}: {with}"
            );
            let failed = part(&with, &name)["failure"].is_string();
            assert!(!failed || strictness(&with) == 2, "{mood}: {with}");
            seen[strictness(&with)] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count > 3), "not mixed: {seen:?}");
}
