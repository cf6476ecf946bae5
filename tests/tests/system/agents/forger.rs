//! Guests that try to get past the host, against the real binary: each trick ends as the table in `tests/guests/forger` says.

use ark_tests::{
    Client, Host, PATIENT, TestDir, copy_agent, guests_dir, hostile_guests_dir, post_signal,
    wait_for_trace,
};
use serde_json::{Value, json};

/// Starts a host with these hostile guests, and kenny to steal from.
fn start_with_agents(names: &[&str]) -> (TestDir, Host) {
    // A guest that tries one trick after the other must stay in service for the next.
    let dir = TestDir::new(PATIENT);
    for name in names {
        copy_agent(&hostile_guests_dir(), name, &dir.agents());
    }
    copy_agent(&guests_dir(), "kenny", &dir.agents());
    let host = dir.start();
    (dir, host)
}

/// Sends a signal and returns its trace once `done` holds.
fn trace_signal(
    client: &mut Client,
    topic: &str,
    payload: &Value,
    done: impl Fn(&Value) -> bool,
) -> Value {
    let answer = post_signal(client, topic, payload);
    wait_for_trace(
        client,
        answer["trace_id"].as_str().expect("a trace id"),
        done,
    )
}

fn is_complete(trace: &Value) -> bool {
    trace["pending_deliveries"] == 0
}

/// The first delivery's status and reason, then the outcome and the reasons of each decision.
fn read_results(trace: &Value) -> (String, Vec<(String, String)>) {
    let steps = trace["steps"].as_array().expect("steps");
    let delivery = &steps[0]["deliveries"][0];
    let decisions = steps.iter().filter_map(|step| {
        Some((
            step["outcome"].as_str()?.to_owned(),
            step["reasons"].to_string(),
        ))
    });
    let reason = delivery["reason"].as_str().unwrap_or("");
    (
        format!(
            "{} {reason}",
            delivery["status"].as_str().expect("a status")
        ),
        decisions.collect(),
    )
}

#[test]
fn forged_proposals_are_refused() {
    let (_dir, host) = start_with_agents(&["forger", "wrong-world"]);
    let mut client = Client::new(&host);
    let (_, loaded) = client.get("/v1/agents");
    let refused = loaded["refused"].as_array().expect("the refused");
    assert!(
        refused.iter().any(|agent| agent["manifest"]
            .as_str()
            .is_some_and(|path| path.ends_with("wrong-world.toml"))
            && agent["reason"]
                .as_str()
                .is_some_and(|why| why.contains("it is a policy"))),
        "{loaded}"
    );

    const HRM: &str = "require_hrm_approval";
    const SIZE: &str = "max_position_size";
    for (trick, expected) in [
        ("claims", &[("held", HRM), ("held", HRM)][..]),
        (
            "split",
            &[
                ("approved", ""),
                ("approved", ""),
                ("denied", SIZE),
                ("denied", SIZE),
                ("denied", SIZE),
            ],
        ),
        ("pump", &[("approved", ""), ("denied", "no_pump_and_dump")]),
        ("kind", &[("denied", "does not grant")]),
        ("code", &[("denied", "does not grant")]),
        ("system", &[("denied", "immutable_graveyard")]),
        ("credential", &[("denied", "encrypt_credentials")]),
        ("keys", &[]),
        ("check", &[]),
    ] {
        let (delivery, decisions) = read_results(&trace_signal(
            &mut client,
            "forger.go",
            &json!(trick),
            is_complete,
        ));
        assert!(delivery.starts_with("done"), "{trick}: {delivery}");
        assert_eq!(decisions.len(), expected.len(), "{trick}: {decisions:?}");
        for ((outcome, reasons), (right, because)) in decisions.iter().zip(expected) {
            assert!(
                outcome == right && reasons.contains(because),
                "{trick}: {decisions:?}"
            );
        }
    }
    for (trick, field) in [
        ("nan", "position_size_pct"),
        ("infinite", "position_size_pct"),
        ("negative", "position_size_pct"),
        ("whole", "position_size_pct"),
        ("leverage", "leverage"),
        ("family", "family"),
        ("side", "side"),
        ("twice", "position_size_pct"),
        ("json", "JSON"),
        ("long", "parameters.ids[1]: is the integer"),
        ("deep", "JSON"),
        ("topic", "topic"),
        ("nonsense", "no trick"),
    ] {
        let (delivery, decisions) = read_results(&trace_signal(
            &mut client,
            "forger.go",
            &json!(trick),
            is_complete,
        ));
        assert!(
            delivery.starts_with("failed") && delivery.contains(field),
            "{trick}: {delivery}"
        );
        assert_eq!(decisions, [], "{trick}");
    }

    // Nothing of it is on record as plain text, and the host is well.
    let (_, decisions) = client.get("/v1/decisions?limit=500");
    for secret in ["AKIAIOSFODNN7EXAMPLE", "bob@example.com"] {
        assert!(!decisions.to_string().contains(secret), "{secret}");
    }
    assert_eq!(client.get("/readyz").0, 200);
}

#[test]
fn an_agent_that_repeats_or_answers_itself_is_ended_by_rule_22() {
    let (_dir, host) = start_with_agents(&["spammer"]);
    let mut client = Client::new(&host);
    let outcomes: Vec<String> = (0..12)
        .flat_map(|turn| {
            read_results(&trace_signal(
                &mut client,
                "spam.go",
                &json!(turn),
                is_complete,
            ))
            .1
        })
        .map(|(outcome, reasons)| {
            let loops = reasons.contains("prevent_infinite_loops");
            assert_eq!(outcome == "denied", loops, "{reasons}");
            outcome
        })
        .collect();
    let denied = outcomes.iter().position(|outcome| outcome == "denied");
    assert!(matches!(denied, Some(10 | 11)), "{outcomes:?}");
    assert!(outcomes[11] == "denied", "{outcomes:?}");

    let ended = |trace: &Value| {
        let steps = trace["steps"].as_array();
        steps.is_some_and(|steps| steps.iter().any(|step| step["outcome"] == "denied"))
    };
    let (_, turns) = read_results(&trace_signal(&mut client, "spam.loop", &json!(0), ended));
    let (last, before) = turns.split_last().expect("turns");
    assert_eq!(before.len(), 17, "depths 0 to 16: {turns:?}");
    assert!(
        before.iter().all(|(outcome, _)| outcome == "approved"),
        "{turns:?}"
    );
    assert!(last.1.contains("prevent_infinite_loops"), "{turns:?}");
}
