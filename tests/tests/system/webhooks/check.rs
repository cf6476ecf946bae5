//! `ark check` says of each receiver what a host would find, and delivers nothing.

use std::process::Command;

use ark_tests::ports::free_port;
use ark_tests::{ark_program, run_ark};
use serde_json::Value;

use super::receiver::Receiver;
use super::{Hooks, QUICK, SECRET, propose};
use crate::api::tls::CertificateAuthority;

/// What a check says of receivers that cannot be reached.
fn find_unreached(hooks: &Hooks) -> Vec<String> {
    let output = Command::new(ark_program())
        .args(["check", "--json", "--config"])
        .arg(hooks.dir.config())
        .arg("--data-dir")
        .arg(hooks.dir.data())
        .output()
        .expect("ark starts");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let lines = report["lines"].as_array().expect("lines").iter();
    let unreached = lines.filter(|line| {
        let found = line["found"].as_str().expect("text");
        found.contains("cannot be reached at")
    });
    unreached
        .map(|line| {
            assert_eq!(line["check"], "webhooks", "{line}");
            assert_eq!(line["status"], "warning", "{line}");
            line["found"].as_str().expect("text").to_owned()
        })
        .collect()
}

#[test]
fn a_check_finds_of_receivers_what_the_host_finds_and_delivers_nothing() {
    let (ours, theirs) = (CertificateAuthority::new(), CertificateAuthority::new());
    let good = Receiver::start_tls(&[SECRET], &ours.certify());
    let plain = Receiver::start(&[SECRET]);
    let foreign = Receiver::start_tls(&[SECRET], &theirs.certify());
    let mut hooks = Hooks::new();
    let ca = ours.write(&hooks.dir.path().join("ca.pem"));
    let limits = format!("max_attempts = 1\nevents = [\"ark.decision.*\"]\n{QUICK}");
    let tls = format!(
        "allow_networks = [\"127.0.0.1\"]\nca_file = \"{}\"\n{limits}",
        ca.display()
    );
    let at = |receiver: &Receiver| format!("https://127.0.0.1:{}/hook", receiver.port);
    hooks.add_to("good", &at(&good), &tls);
    hooks.add("plain", plain.port, &limits);
    hooks.add_to("foreign", &at(&foreign), &tls);
    hooks.add("away", free_port(), &limits);
    let closed = format!("https://localhost:{}/hook", good.port);
    hooks.add_to("closed", &closed, &limits);
    let unreached = find_unreached(&hooks);
    for receiver in [&good, &plain, &foreign] {
        assert!(receiver.received().is_empty(), "something was delivered");
    }
    assert_eq!(unreached.len(), 3, "{unreached:#?}");
    // Without the neighbours no receiver is tried.
    let config = hooks.dir.config().display().to_string();
    let data = hooks.dir.data().display().to_string();
    let checked = run_ark(&["config", "check", "--config", &config, "--data-dir", &data]);
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(!told.contains("cannot be reached at"), "{told}");

    let host = hooks.dir.start();
    let decided = propose(&host);
    good.wait_for_decision(&decided);
    plain.wait_for_decision(&decided);
    for name in ["foreign", "away", "closed"] {
        let why = format!("SELECT reason FROM webhook_dead_letters WHERE webhook = '{name}'");
        let why: String = hooks.query(&why);
        let told = format!("the webhook {name} cannot be reached at ");
        let line = unreached.iter().find(|line| line.starts_with(&told));
        let line = line.unwrap_or_else(|| panic!("{name}: {unreached:#?}"));
        assert!(line.ends_with(&why), "{why}: {line}");
        assert!(!line.contains("/hook"), "{line}");
    }
}
