//! What monitoring sees of webhooks: metrics and alerts.

use ark_tests::{Client, Host, wait_until};
use serde_json::Value;

use super::receiver::{Reaction, Receiver};
use super::{Hooks, QUICK, SECRET, propose, propose_some};

/// The value of a metric with these labels.
fn read_measure(host: &Host, name: &str, labels: &[&str]) -> Option<f64> {
    let text = Client::of_telemetry(host).get_text("/metrics");
    let start = format!("{name}{{");
    let line = text
        .lines()
        .find(|line| line.starts_with(&start) && labels.iter().all(|label| line.contains(label)))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn list_alerts(host: &Host, kind: &str) -> Vec<Value> {
    let (status, answer) = Client::new(host).get("/v1/watchdog/alerts?limit=500");
    assert_eq!(status, 200, "{answer}");
    let alerts = answer["alerts"].as_array().expect("alerts").clone();
    alerts
        .into_iter()
        .filter(|alert| alert["kind"] == kind)
        .collect()
}

/// Waits until each kind of alert about webhooks was raised.
fn wait_for_alerts(host: &Host) {
    for (kind, named) in [
        ("webhook_failing", "nothing was delivered to the webhook"),
        ("webhook_dead_letters", "has 4 dead letters of 4"),
        ("webhook_disabled", "the webhook gone is disabled"),
    ] {
        wait_until(kind, || {
            let alerts = list_alerts(host, kind);
            alerts.iter().any(|alert| {
                let message = alert["message"].as_str().unwrap_or_default();
                alert["severity"] == "critical" && message.contains(named)
            })
        });
    }
}

#[test]
fn webhooks_are_measured_and_raise_alerts() {
    let (good, bad, gone) = (
        Receiver::start(&[SECRET]),
        Receiver::start(&[SECRET]),
        Receiver::start(&[SECRET]),
    );
    bad.react(|_| Reaction::Status(500, Vec::new()));
    gone.react(|_| Reaction::Status(410, Vec::new()));
    let mut hooks = Hooks::new();
    let decisions = "events = [\"ark.decision.*\"]\n";
    hooks.add("good", good.port, decisions);
    let limits = format!("{decisions}max_attempts = 2\ndead_letters = 4\n{QUICK}");
    hooks.add("bad", bad.port, &limits);
    hooks.add("gone", gone.port, decisions);
    hooks.add_to("closed", "https://localhost:9/hook", &limits);
    hooks.config += "[watchdog]\ngraveyard_ms = 50\nwebhook_failing_ms = 300\n";
    hooks.dir.configure(&hooks.config);
    let host = hooks.dir.start();
    let decided = propose_some(&host, 6);
    good.wait_for_decision(&decided[5]);
    wait_until("six dead letters", || {
        read_measure(
            &host,
            "ark_webhook_dead_lettered_total",
            &["webhook=\"bad\""],
        ) == Some(6.0)
            && read_measure(
                &host,
                "ark_webhook_dead_lettered_total",
                &["webhook=\"closed\""],
            ) == Some(6.0)
    });
    for (name, labels, expected) in [
        (
            "ark_webhook_attempts_total",
            &["result=\"delivered\"", "webhook=\"good\""][..],
            6.0,
        ),
        (
            "ark_webhook_attempts_total",
            &["result=\"refused\"", "webhook=\"good\""],
            0.0,
        ),
        (
            "ark_webhook_attempts_total",
            &["result=\"refused\"", "webhook=\"bad\""],
            12.0,
        ),
        (
            "ark_webhook_attempts_total",
            &["result=\"blocked\"", "webhook=\"closed\""],
            12.0,
        ),
        (
            "ark_webhook_attempts_total",
            &["result=\"refused\"", "webhook=\"gone\""],
            1.0,
        ),
        ("ark_webhook_dead_letters", &["webhook=\"bad\""], 4.0),
        (
            "ark_webhook_dead_letters_dropped_total",
            &["webhook=\"bad\""],
            2.0,
        ),
        ("ark_webhook_failing_seconds", &["webhook=\"good\""], 0.0),
        ("ark_webhook_disabled", &["webhook=\"good\""], 0.0),
        ("ark_webhook_disabled", &["webhook=\"gone\""], 1.0),
    ] {
        wait_until(&format!("{name} {labels:?} is {expected}"), || {
            read_measure(&host, name, labels) == Some(expected)
        });
    }
    assert!(read_measure(&host, "ark_webhook_failing_seconds", &["webhook=\"bad\""]) > Some(0.0));
    // The events behind the one that was refused wait.
    assert!(read_measure(&host, "ark_webhook_waiting", &["webhook=\"gone\""]) >= Some(6.0));
    assert!(read_measure(&host, "ark_webhook_age_seconds", &["webhook=\"gone\""]) > Some(0.0));
    wait_until("nothing waits for the good one", || {
        read_measure(&host, "ark_webhook_waiting", &["webhook=\"good\""]) == Some(0.0)
    });

    wait_for_alerts(&host);
    // A webhook that stays disabled is one alert, however often the watchdog looks.
    let looks = |host: &Host| {
        read_measure(
            host,
            "ark_graveyard_validations_total",
            &["result=\"held\""],
        )
        .expect("a count")
    };
    let before = looks(&host);
    wait_until("three more looks", || looks(&host) >= before + 3.0);
    assert_eq!(list_alerts(&host, "webhook_disabled").len(), 1);
    propose(&host);
}

#[test]
fn a_webhook_whose_secret_is_gone_is_alerted_of_until_it_is_back() {
    let receiver = Receiver::start(&[SECRET]);
    let mut hooks = Hooks::new();
    hooks.add("desk", receiver.port, QUICK);
    hooks.config += "[watchdog]\nwebhook_failing_ms = 300\n";
    hooks.dir.configure(&hooks.config);
    let host = hooks.dir.start();
    receiver.wait_for_decision(&propose(&host));
    std::fs::remove_file(hooks.secret_file("desk")).expect("the file");
    let held_up = propose(&host);
    let failing = || read_measure(&host, "ark_webhook_failing_seconds", &["webhook=\"desk\""]);
    wait_until("the metric says so", || failing() > Some(0.0));
    wait_until("the alert", || {
        let alerts = list_alerts(&host, "webhook_failing");
        alerts.iter().any(|alert| alert["severity"] == "critical")
    });
    hooks.write_secrets("desk", &[SECRET]);
    receiver.wait_for_decision(&held_up);
    wait_until("nothing fails any more", || failing() == Some(0.0));
}
