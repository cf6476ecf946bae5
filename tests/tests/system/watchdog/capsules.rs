//! Capsules: each failure leaves one that can be replayed, in a bounded number.

use ark_tests::{Client, TestDir, copy_agent, guests_dir, hostile_guests_dir, run_ark, wait_until};
use serde_json::{Value, json};

use super::watching::{agent, signal};

#[test]
fn every_failure_leaves_a_capsule_that_replays_the_same_offline() {
    // Only time cannot be replayed: it is not to be what ends one of these on a busy machine.
    let place = TestDir::new(ark_tests::PATIENT);
    copy_agent(&hostile_guests_dir(), "chaos", &place.agents());
    copy_agent(&guests_dir(), "kyle", &place.agents());
    let host = place.start();
    let mut client = Client::new(&host);
    let faults = [
        "panic",
        "memory",
        "stack",
        "loop",
        "host-call-flood",
        "write-flood",
        "actions",
        "nan",
        "no such fault",
    ];
    for how in faults {
        signal(&mut client, "chaos.go", how);
    }
    wait_until("all failures", || {
        agent(&mut client, "chaos")["failed"] == json!(faults.len())
    });
    assert_eq!(host.terminate(), Some(0));
    let (data, agents) = (
        place.data().display().to_string(),
        place.agents().display().to_string(),
    );
    let listed = run_ark(&["agent", "capsules", "--json", "--data-dir", &data]);
    let listed: Vec<Value> = String::from_utf8(listed.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(listed.len(), faults.len());
    for capsule in listed {
        let id = capsule["id"].as_str().expect("an id");
        let replayed = run_ark(&[
            "agent",
            "replay",
            id,
            "--json",
            "--data-dir",
            &data,
            "--agents",
            &agents,
        ]);
        let report: Value = serde_json::from_slice(&replayed.stdout).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&replayed.stderr))
        });
        assert!(replayed.status.success(), "{capsule}: {report:#}");
        assert_eq!(report["then"]["kind"], report["now"]["kind"]);
        assert_ne!(capsule["kind"], json!("deadline"));
        assert_eq!(
            report["then"]["fuel"], report["now"]["fuel"],
            "{capsule}: {report:#}"
        );
    }
    let unknown = run_ark(&[
        "agent",
        "replay",
        "nothing",
        "--data-dir",
        &data,
        "--agents",
        &agents,
    ]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no capsule"));
}

#[test]
fn capsules_are_bounded_in_number() {
    let place = TestDir::new(
        "[watchdog]\nconsecutive_failures = 1000\nfailure_rate = 1.0\ncapsules_per_agent = 3\n",
    );
    copy_agent(&hostile_guests_dir(), "chaos", &place.agents());
    let host = place.start();
    let mut client = Client::new(&host);
    for _ in 0..8 {
        signal(&mut client, "chaos.go", "panic");
    }
    wait_until("all failures", || {
        agent(&mut client, "chaos")["failed"] == json!(8)
    });
    let kept = std::fs::read_dir(place.data().join("capsules/chaos"))
        .expect("capsules")
        .count();
    assert_eq!(kept, 3);
}
