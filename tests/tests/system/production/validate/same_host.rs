//! `ark validate` reads the record and the objectives of the host that it tests, and of no other.

use ark_tests::{Client, TestDir};
use serde_json::Value;

use super::{CONFIG, assert_no_probe, cases, command, url_of, validate};

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
