//! An Alertmanager that cannot be asked from here is judged by what Prometheus could send to it last.

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ark_tests::alertmanager::read_request;
use ark_tests::prometheus::{Prometheus, PrometheusParts};
use ark_tests::{TestDir, ark_program, wait_until};
use serde_json::Value;

/// What stands for an Alertmanager behind something that lets only Prometheus in: it takes alerts, while it is told to, and answers no question.
fn start_closed_alertmanager(takes_alerts: &Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let takes_alerts = Arc::clone(takes_alerts);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let takes_alerts = Arc::clone(&takes_alerts);
            std::thread::spawn(move || answer_request(stream, &takes_alerts));
        }
    });
    address
}

/// Answers the request of a connection; `None`: there is none.
fn answer_request(stream: TcpStream, takes_alerts: &AtomicBool) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let first = read_request(&mut stream)?;
    let status = match (
        first.starts_with("POST "),
        takes_alerts.load(Ordering::Relaxed),
    ) {
        (false, _) => "401 Unauthorized",
        (true, true) => "200 OK",
        (true, false) => "500 Internal Server Error",
    };
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.get_mut().write_all(answer.as_bytes()).ok()
}

/// How many requests Prometheus has sent, and how many of them failed, as it has scraped them from itself.
fn read_sent(prometheus: &Prometheus) -> Option<(f64, f64)> {
    let read = |metric: &str| {
        let answer = prometheus.read_page(&format!("/api/v1/query?query={metric}"))?;
        let answer: Value = serde_json::from_str(&answer).ok()?;
        let value = answer["data"]["result"][0]["value"][1].as_str()?;
        value.parse::<f64>().ok()
    };
    // The failures first: a request is counted after it.
    let failed = read("prometheus_notifications_errors_total")?;
    Some((
        read("prometheus_notifications_latency_seconds_count")?,
        failed,
    ))
}

/// What the check says of the way of alerts: the status, and what was found.
fn check_deliveries(dir: &TestDir, prometheus: &Prometheus) -> Vec<(String, String)> {
    let output = Command::new(ark_program())
        .args(["check", "--json", "--config"])
        .arg(dir.config())
        .arg("--data-dir")
        .arg(dir.data())
        .args(["--prometheus", &prometheus.url])
        .output()
        .expect("ark starts");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let lines = report["lines"].as_array().expect("lines").iter();
    let text = |line: &Value, name: &str| line[name].as_str().expect("text").to_owned();
    lines
        .map(|line| (text(line, "status"), text(line, "found")))
        .filter(|(_, found)| found.contains("does not let this check in (401)"))
        .collect()
}

#[test]
fn a_notification_that_failed_once_is_no_error_for_good() {
    let takes_alerts = Arc::new(AtomicBool::new(false));
    let alertmanager = start_closed_alertmanager(&takes_alerts);
    let rules = tempfile::tempdir().expect("a directory");
    // The second one fires once a notification has failed.
    let firing = "groups:\n  - name: firing\n    interval: 1s\n    rules:\n      - {alert: First, expr: vector(1)}\n      - {alert: Second, expr: prometheus_notifications_errors_total > 0}\n";
    std::fs::write(rules.path().join("firing.yml"), firing).expect("rules");
    let prometheus = Prometheus::start(PrometheusParts {
        other_rules: Some(rules.path()),
        alertmanager: Some(&alertmanager),
        scrapes_itself: true,
        ..PrometheusParts::default()
    });
    let dir = TestDir::new("");
    wait_until("a notification fails", || {
        read_sent(&prometheus).is_some_and(|(_, failed)| failed > 0.0)
    });
    let found = check_deliveries(&dir, &prometheus);
    let [(status, text)] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(status, "error", "{text}");
    for part in [
        "no alert of Prometheus reaches anybody",
        "failures of sending in the last 15 minutes and nothing that it took",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    takes_alerts.store(true, Ordering::Relaxed);
    wait_until("a notification is taken", || {
        read_sent(&prometheus).is_some_and(|(sent, failed)| sent > failed)
    });
    let found = check_deliveries(&dir, &prometheus);
    let [(status, text)] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(status, "warning", "{text}");
    for part in [
        "a part of the alerts may reach nobody",
        "in the last 15 minutes",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
