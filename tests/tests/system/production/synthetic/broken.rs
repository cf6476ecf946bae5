//! Hosts that are too slow, or take no report of an execution: the proof for it fails, and no other.

use ark_tests::faults::build_fault_library;
use ark_tests::{Host, TestDir};
use serde_json::Value;

use super::{
    CONFIG, all_failed_proofs, failed_proofs, open_orders, run, start_altering_requests, url_of,
};

/// The detail of a proof.
fn find_detail<'a>(report: &'a Value, name: &str) -> &'a str {
    let mut proofs = report["proofs"].as_array().expect("proofs").iter();
    let proof = proofs.find(|proof| proof["name"] == name);
    proof
        .and_then(|proof| proof["detail"].as_str())
        .expect("a detail")
}

#[test]
fn a_host_that_is_too_slow_for_the_rate_fails_the_proof_of_the_rate_alone() {
    let dir = TestDir::new(CONFIG);
    let library = build_fault_library(dir.path());
    let config = dir.config();
    let host = Host::try_start_with(
        &dir.data(),
        &["--config", config.to_str().expect("UTF-8")],
        &[
            ("LD_PRELOAD", library.to_str().expect("UTF-8")),
            ("SYNC_DELAY_MS", "100"),
        ],
    )
    .expect("a host");
    // A tick waits for two syncs at least, and has a tenth of a second.
    let (report, output) = run(&url_of(&host), &dir, &["--duration", "2", "--hz", "10"]);
    assert_eq!(
        all_failed_proofs(&report),
        ["rate"],
        "{report:#} {output:?}"
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(report["sent"], 20, "the run is slow, not short: {report:#}");
    assert!(
        report["hz"].as_f64().is_some_and(|hz| hz < 10.0)
            && report["proposals"]["p50_ms"]
                .as_f64()
                .is_some_and(|time| time >= 100.0),
        "{report:#}"
    );
    assert_eq!(host.terminate(), Some(0));
    assert_eq!(open_orders(&dir.data()).0, 0);
}

#[test]
fn a_host_that_takes_no_reports_of_executions_fails_the_proof_that_nothing_is_open_alone() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let short = ["--duration", "4", "--hz", "4"];
    // Reports get to no call of the host's, from the first tick on.
    let url = start_altering_requests(
        &host.address,
        "POST /v1/executions",
        "POST /v1/executionx",
        1,
    );
    let (report, output) = run(&url, &dir, &short);
    assert_eq!(
        failed_proofs(&report),
        ["nothing-open"],
        "{report:#} {output:?}"
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(
        find_detail(&report, "nothing-open").contains("12 proposals may be open"),
        "{report:#}"
    );
    assert_eq!(open_orders(&dir.data()).0, 12);
    // Its journal has them still, and the next run that can takes them back. The journal is of the address that the run was made against.
    let journal = dir.path().join("synthetic.journal");
    let text = std::fs::read_to_string(&journal).expect("the journal");
    std::fs::write(&journal, text.replace(&url, &url_of(&host))).expect("the journal");
    let (report, output) = run(&url_of(&host), &dir, &short);
    assert_eq!(failed_proofs(&report), [""; 0], "{report:#} {output:?}");
    assert_eq!(open_orders(&dir.data()).0, 0);
}
