//! A host that was restarted, before Prometheus has scraped it again.

use ark_tests::alertmanager::Alertmanager;
use ark_tests::ports::free_port;
use ark_tests::prometheus::{Prometheus, PrometheusParts};
use ark_tests::{Host, TestDir, wait_until};

use super::check_monitoring;

/// When Prometheus scraped last, as it says it.
fn read_last_scrape(prometheus: &Prometheus) -> Option<String> {
    let answer = prometheus.read_page("/api/v1/query?query=timestamp(up)")?;
    let answer: serde_json::Value = serde_json::from_str(&answer).ok()?;
    let value = answer["data"]["result"][0]["value"][1].as_str()?;
    Some(value.to_owned())
}

#[test]
fn a_host_that_was_restarted_is_no_other_host_before_the_next_scrape() {
    let alertmanager = Alertmanager::start();
    let dir = TestDir::new("");
    let listen = format!("127.0.0.1:{}", free_port());
    let start = || {
        let host = Host::try_start_with(&dir.data(), &["--telemetry-listen", &listen], &[]);
        host.expect("a host")
    };
    let first = start();
    // Prometheus' default is a minute, too.
    let prometheus = Prometheus::start(PrometheusParts {
        target: Some(&listen),
        rules: true,
        alertmanager: Some(&alertmanager.address),
        runbook_base: Some("https://book.ark.test"),
        scrape_interval: Some("1m"),
        ..PrometheusParts::default()
    });
    let good = check_monitoring(&dir, &listen, &prometheus);
    assert_eq!(good["status"], "ok", "{good}");
    assert_eq!(first.terminate(), Some(0));
    let _second = start();
    let before = read_last_scrape(&prometheus).expect("a scrape");
    let line = check_monitoring(&dir, &listen, &prometheus);
    if read_last_scrape(&prometheus).as_ref() == Some(&before) {
        assert_eq!(line["status"], "warning", "{line}");
        let found = line["found"].as_str().expect("text");
        for part in ["has not scraped this host since its start", &*listen] {
            assert!(found.contains(part), "{part}: {line}");
        }
    } else {
        assert_ne!(line["status"], "error", "{line}");
    }
    wait_until("Prometheus scrapes again", || {
        read_last_scrape(&prometheus).is_some_and(|last| last != before)
    });
    let good = check_monitoring(&dir, &listen, &prometheus);
    assert_eq!(good["status"], "ok", "{good}");
}
