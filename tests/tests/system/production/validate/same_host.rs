//! `ark validate` reads the record and the objectives of the host that it tests, and of no other.

use ark_tests::{Client, TestDir};
use serde_json::Value;

use super::{CONFIG, assert_no_probe, cases, command, url_of, validate};
use crate::production::altering::start_altering;

#[test]
fn a_data_directory_and_a_telemetry_of_another_host_are_refused_before_anything_is_begun() {
    let (dir, other_dir) = (TestDir::new(CONFIG), TestDir::new(CONFIG));
    let (host, other) = (dir.start(), other_dir.start());
    let url = url_of(&host);
    let telemetry = |host: &ark_tests::Host| {
        let address = host.telemetry.as_deref().expect("telemetry is on");
        format!("http://{address}")
    };
    let text = |dir: &TestDir| dir.data().to_str().expect("UTF-8").to_owned();
    let instance = |address: &str| {
        let ready = Client::at(address).get("/readyz").1;
        ready["instance"].as_str().expect("a name").to_owned()
    };
    let (own_data, other_data) = (text(&dir), text(&other_dir));
    let (own_telemetry, other_telemetry) = (telemetry(&host), telemetry(&other));
    let unused = TestDir::new("");
    std::fs::create_dir_all(unused.data()).expect("a directory");
    let unused = text(&unused);
    let other_instance = format!("instance {}", instance(&other.address));
    let rows: [(&str, &str, &str); 3] = [
        ("--data-dir", &other_data, &other_instance),
        ("--data-dir", &unused, "no process holds it"),
        ("--telemetry", &other_telemetry, &other_instance),
    ];
    for (option, value, found) in rows {
        let more = ["--category", "beyond", option, value];
        let (report, output) = validate(&url, &dir, &more);
        assert_eq!(output.status.code(), Some(1), "{report:#}");
        assert_eq!(report["passed"], false, "{report:#}");
        let error = report["error"].as_str().expect("an error");
        for part in [
            url.clone(),
            format!("instance {}", instance(&host.address)),
            format!("{option} {value}"),
            found.to_owned(),
            format!("correct --url or {option}"),
        ] {
            assert!(error.contains(&part), "{part}: {error}");
        }
        assert_eq!(cases(&report, "passed"), [""; 0], "{report:#}");
    }
    assert!(!dir.path().join("validate.journal").exists(), "a journal");
    assert_no_probe(&mut Client::new(&host));
    // Both at once, in a dry run, which names each.
    let more: [&str; 4] = ["--data-dir", &other_data, "--telemetry", &other_telemetry];
    let dry_run = [&more[..], &["--dry-run"]].concat();
    let output = command(&url, &dir, &dry_run).output().expect("ark starts");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let problems = told["problems"].as_array().expect("problems");
    assert_eq!(problems.len(), 2, "{told:#}");
    for value in [&other_data, &other_telemetry] {
        assert!(told.to_string().contains(value), "{value}: {told:#}");
    }
    // Its own.
    let more: [&str; 4] = ["--data-dir", &own_data, "--telemetry", &own_telemetry];
    let more = [&more[..], &["--category", "beyond"]].concat();
    let (report, output) = validate(&url, &dir, &more);
    assert_eq!(cases(&report, "failed"), [""; 0], "{report:#}");
    assert!(output.status.success(), "{report:#}");
}

#[test]
fn a_telemetry_that_names_no_host_is_refused_unless_the_host_has_no_name_either() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let url = url_of(&host);
    let telemetry = host.telemetry.as_deref().expect("telemetry is on");
    let unnamed = start_altering(telemetry, "\"instance\"", "\"renamed_\"", 0);
    let address = unnamed.trim_start_matches("http://");
    let stripped = start_altering(address, "\"graveyard_vectors\"", "\"graveyard_vectorz\"", 0);
    for (place, found) in [
        (&unnamed, "of an earlier version"),
        (&stripped, "names no process of a host"),
    ] {
        let more = ["--category", "beyond", "--telemetry", place.as_str()];
        let (report, output) = validate(&url, &dir, &more);
        assert_eq!(output.status.code(), Some(1), "{report:#}");
        let error = report["error"].as_str().expect("an error");
        for part in [place.as_str(), found, "--telemetry off"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert_eq!(cases(&report, "passed"), [""; 0], "{report:#}");
    }
    assert_no_probe(&mut Client::new(&host));
    // As of a version that names its process at neither port: nothing can be compared, which is said, and the rest is tested.
    let unnamed_host = start_altering(&host.address, "\"instance\"", "\"renamed_\"", 0);
    let more = ["--category", "beyond", "--telemetry", unnamed.as_str()];
    let (report, output) = validate(&unnamed_host, &dir, &more);
    assert!(output.status.success(), "{report:#}");
    let warnings = report["warnings"].as_array().expect("warnings");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(warnings.len(), 1, "{report:#}");
    for text in [warnings[0].as_str().expect("text"), &told] {
        for part in [
            "warning: ",
            unnamed.as_str(),
            "of an earlier version of ARK",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    // Its own needs none.
    let own = format!("http://{telemetry}");
    let more = ["--category", "beyond", "--telemetry", own.as_str()];
    let (report, _) = validate(&url, &dir, &more);
    assert_eq!(report["passed"], true, "{report:#}");
    assert!(report["warnings"].is_null(), "{report:#}");
}
