//! Events arrive: signed, in order, again after a failure, and not any more after a 410.

use std::time::Duration;

use ark_tests::{Client, wait_until};
use serde_json::json;

use super::receiver::{OK, Reaction, Receiver};
use super::{Hooks, OTHER, QUICK, SECRET, is_decision, propose, propose_some};

#[test]
fn each_event_arrives_once_signed_and_in_order_at_who_wants_it() {
    let (all, some) = (Receiver::start(&[SECRET]), Receiver::start(&[SECRET]));
    let mut hooks = Hooks::new();
    hooks.add("all", all.port, "");
    let wanted = "events = [\"ark.operator.*\", \"ark.control.halt\"]\n";
    hooks.add("some", some.port, wanted);
    let host = hooks.dir.start();
    let decided = propose_some(&host, 20);
    let body = json!({"value": 1});
    let (status, answer) = Client::new(&host).send("PUT", "/v1/config/limits", &body);
    assert_eq!(status, 200, "{answer}");
    let kind = |it: &super::receiver::Received| it.event["type"] == "ark.operator.config.set";
    let at_some = some.wait_for("the change", kind);
    let at_all = all.wait_for("the change", kind);
    // A webhook of its own, the same event: the same id and body.
    assert_eq!((&at_some.id, &at_some.body), (&at_all.id, &at_all.body));
    assert_eq!(all.decisions(), decided);
    assert!(some.decisions().is_empty());
    let mut ids = Vec::new();
    for received in all.received() {
        let event = &received.event;
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["id"], received.id.as_str());
        assert!(
            event["source"]
                .as_str()
                .is_some_and(|it| it.starts_with("/hosts/"))
        );
        assert!(!ids.contains(&received.id), "{} came twice", received.id);
        if is_decision(event) {
            let place = event["data"]["seq"].as_u64().expect("a number");
            let at = event["data"]["decided_at_ms"].as_u64().expect("a time");
            assert_eq!(received.id, format!("log_{place}_{at}"));
        }
        ids.push(received.id);
    }
    assert_eq!((all.faults(), some.faults()), (vec![], vec![]));
}

#[test]
fn secrets_are_rotated_without_a_restart_and_without_an_event_that_cannot_be_verified() {
    let receiver = Receiver::start(&[SECRET]);
    let mut hooks = Hooks::new();
    hooks.add("desk", receiver.port, QUICK);
    let host = hooks.dir.start();
    let old = receiver.wait_for_decision(&propose(&host));
    assert_eq!((old.signatures, old.signed_by), (1, vec![0]));
    // Both sign while receivers change.
    hooks.write_secrets("desk", &[OTHER, SECRET]);
    let both = receiver.wait_for_decision(&propose(&host));
    assert_eq!((both.signatures, both.signed_by), (2, vec![0]));
    receiver.set_secrets(&[OTHER]);
    let both = receiver.wait_for_decision(&propose(&host));
    assert_eq!((both.signatures, both.signed_by), (2, vec![0]));
    hooks.write_secrets("desk", &[OTHER]);
    let new = receiver.wait_for_decision(&propose(&host));
    assert_eq!((new.signatures, new.signed_by), (1, vec![0]));
    assert!(receiver.faults().is_empty());
    // A file without a secret holds events up and loses none: no attempt was made.
    std::fs::remove_file(hooks.secret_file("desk")).expect("the file");
    let held_up = propose(&host);
    hooks.write_secrets("desk", &[OTHER]);
    receiver.wait_for_decision(&held_up);
    assert_eq!(
        receiver
            .received()
            .iter()
            .filter(|it| it.event["data"]["decision_id"] == held_up.as_str())
            .count(),
        1
    );
}

#[test]
fn an_event_that_failed_comes_again_under_its_id_before_the_next_one() {
    let receiver = Receiver::start(&[SECRET]);
    let mut hooks = Hooks::new();
    hooks.add(
        "desk",
        receiver.port,
        "events = [\"ark.decision.*\"]\nretry_ms = 10\nmax_retry_ms = 2000\n",
    );
    let mut failures = 3;
    receiver.react(move |_| {
        failures -= 1;
        match failures {
            2 => Reaction::Status(500, Vec::new()),
            1 => Reaction::Status(503, vec![("Retry-After", "1".to_owned())]),
            // Longer than is waited at most.
            0 => Reaction::Status(429, vec![("Retry-After", "86400".to_owned())]),
            _ => OK,
        }
    });
    let host = hooks.dir.start();
    let decided = propose_some(&host, 2);
    receiver.wait_for_decision(&decided[1]);
    let received = receiver.received();
    let ids: Vec<&str> = received
        .iter()
        .map(|it| it.event["data"]["decision_id"].as_str().expect("an id"))
        .collect();
    let (first, second) = (decided[0].as_str(), decided[1].as_str());
    assert_eq!(ids, [first, first, first, first, second]);
    for again in &received[1..4] {
        assert_eq!(
            (&again.id, &again.body),
            (&received[0].id, &received[0].body)
        );
        assert!(again.timestamp >= received[0].timestamp);
    }
    assert_ne!(received[4].id, received[0].id);
    // What the receiver asks for counts, up to the limit.
    assert!(received[2].at - received[1].at >= Duration::from_millis(900));
    assert!(received[3].at - received[2].at >= Duration::from_millis(1900));
}

#[test]
fn an_event_that_is_never_taken_becomes_a_dead_letter_and_the_next_one_goes_on() {
    let receiver = Receiver::start(&[SECRET]);
    let mut hooks = Hooks::new();
    let limits = "events = [\"ark.decision.*\"]\nmax_attempts = 3\ndead_letters = 2\n";
    hooks.add("desk", receiver.port, &format!("{limits}{QUICK}"));
    let host = hooks.dir.start();
    let decided = propose_some(&host, 5);
    let refused = decided[..4].to_vec();
    receiver.react(move |it| {
        if refused
            .iter()
            .any(|id| it.event["data"]["decision_id"] == id.as_str())
        {
            Reaction::Status(422, Vec::new())
        } else {
            OK
        }
    });
    receiver.wait_for_decision(&decided[4]);
    assert_eq!(receiver.decisions(), decided);
    // What arrived before the receiver knew what to refuse is no dead letter.
    let tries = |id: &str| {
        receiver
            .received()
            .iter()
            .filter(|it| it.event["data"]["decision_id"] == id)
            .count()
    };
    let buried: Vec<&String> = decided.iter().filter(|id| tries(id) > 1).collect();
    assert!(buried.len() >= 2, "{buried:?}");
    assert!(buried.iter().all(|id| tries(id) == 3), "{buried:?}");
    // The newest are kept, as they were sent.
    wait_until("two dead letters", || {
        hooks.query::<u64>("SELECT count(*) FROM webhook_dead_letters") == 2
    });
    let kept: String = hooks.query(
        "SELECT group_concat(json_extract(body, '$.data.decision_id') || ' ' || attempts || ' ' || reason, '|') FROM webhook_dead_letters ORDER BY seq",
    );
    let newest = buried[buried.len() - 2..].iter();
    let expected: Vec<String> = newest
        .map(|id| format!("{id} 3 the receiver answered 422"))
        .collect();
    assert_eq!(kept, expected.join("|"));
}

#[test]
fn a_receiver_that_wants_no_more_gets_none_after_a_restart_either() {
    let (gone, other) = (Receiver::start(&[SECRET]), Receiver::start(&[SECRET]));
    gone.react(|_| Reaction::Status(410, Vec::new()));
    let mut hooks = Hooks::new();
    hooks.add("gone", gone.port, QUICK);
    hooks.add("other", other.port, QUICK);
    let host = hooks.dir.start();
    let first = propose(&host);
    other.wait_for_decision(&first);
    wait_until("the webhook is disabled", || {
        hooks.query::<u64>(
            "SELECT count(*) FROM webhooks WHERE name = 'gone' AND disabled_at IS NOT NULL",
        ) == 1
    });
    let before = gone.received().len();
    assert_eq!(before, 1);
    let host = hooks.dir.restart_killed(&host);
    other.wait_for_decision(&propose(&host));
    assert_eq!(gone.received().len(), before);
    let reason: String = hooks.query("SELECT disabled_reason FROM webhooks WHERE name = 'gone'");
    assert!(reason.contains("410"), "{reason}");
}

#[test]
fn an_event_arrives_that_was_committed_while_the_host_or_the_receiver_was_away() {
    let receiver = Receiver::start(&[SECRET]);
    let mut hooks = Hooks::new();
    hooks.add("desk", receiver.port, QUICK);
    let host = hooks.dir.start();
    receiver.wait_for_decision(&propose(&host));
    receiver.react(|_| Reaction::Status(503, Vec::new()));
    let missed = propose(&host);
    receiver.wait_for_decision(&missed);
    let host = hooks.dir.restart_killed(&host);
    receiver.react(|_| OK);
    let before = receiver.received().len();
    wait_until("the event comes again", || {
        receiver.received()[before..]
            .iter()
            .any(|it| it.event["data"]["decision_id"] == missed.as_str())
    });
    drop(host);
}
