//! The validation of the new version: what it reads, and how it goes together with others of the same host.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use ark_tests::{TestDir, ark_program, run_ark, wait_until};

use crate::production::canary::stage::CanaryFixture;

use super::commands::{CONFIG, back_to_stable, errors_of, report_of, run, upgrade, wait_phase};

#[test]
fn the_validation_of_an_upgrade_reads_the_objectives_that_the_host_shows() {
    let stage = CanaryFixture::start(CONFIG, "");
    let start = std::fs::read_to_string(stage.dir.path().join("start.sh")).expect("a file");
    let mut words = start
        .split(' ')
        .skip_while(|word| *word != "--telemetry-listen");
    let telemetry = words.nth(1).expect("an address");
    let env = stage.dir.path().join("env");
    let write = |address: &str| {
        std::fs::write(&env, format!("ARK_TELEMETRY_LISTEN={address}\n")).expect("a file");
        std::fs::set_permissions(&env, Permissions::from_mode(0o600)).expect("a mode");
    };
    let env_file = env.to_str().expect("UTF-8");
    let more = ["--env-file", env_file, "--category", "beyond"];
    // What shows no objectives now would undo the upgrade.
    for (address, is_read) in [(telemetry, true), ("127.0.0.1:9", false)] {
        write(address);
        let lines = run(upgrade(&stage, &[&more[..], &["--dry-run"]].concat()));
        let expected = format!("with the objectives at http://{address}");
        assert_eq!(lines.to_string().contains(&expected), is_read, "{lines:#}");
    }
    // The telemetry of another host is refused before anything is done.
    let other_dir = TestDir::new("");
    let other = other_dir.start();
    let foreign = other.telemetry.as_deref().expect("telemetry is on");
    let foreign = format!("http://{foreign}");
    for dry_run in [&["--dry-run"][..], &[]] {
        let more = [&["--telemetry", foreign.as_str()][..], dry_run].concat();
        let refused = errors_of(upgrade(&stage, &more));
        assert!(
            refused.contains("nothing was changed")
                && refused.contains(&format!("--telemetry {foreign}")),
            "{refused}"
        );
    }
    assert_eq!(stage.serving(), "stable");
    write(telemetry);
    let report = run(upgrade(&stage, &more));
    assert_eq!(report["upgraded"], true, "{report:#}");
    let mut cases = report["validation"]["cases"]
        .as_array()
        .expect("cases")
        .iter();
    let case = cases.find(|case| case["name"] == "objectives");
    let detail = case.expect("the test")["detail"].as_str().expect("text");
    assert!(detail.contains("windows"), "{detail}");
}

#[test]
fn another_validation_of_the_host_holds_an_upgrade_up_and_does_not_undo_it() {
    let stage = CanaryFixture::start(CONFIG, "");
    let more = ["--category", "isolation"];
    let mut running = upgrade(&stage, &more).spawn().expect("ark starts");
    wait_phase(&stage, &mut running, "validation");
    let of_other = |journal: &str| {
        let mut command = Command::new(ark_program());
        command
            .args(["validate", "--json", "--category", "isolation", "--url"])
            .arg(format!("http://{}", stage.owner))
            .arg("--journal")
            .arg(stage.dir.path().join(journal))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.output().expect("ark starts")
    };
    // As another user's, who knows nothing of the upgrade.
    let other = of_other("other.journal");
    let report = report_of(&running.wait_with_output().expect("its end"));
    assert_eq!(report["upgraded"], true, "{report:#}");
    assert_eq!(report["validation"]["passed"], true, "{report:#}");
    let other_report = report_of(&other);
    assert_eq!(other_report["passed"], true, "{other_report:#}");
    // Somebody removes the probe: the validation is repeated.
    back_to_stable(&stage);
    let mut running = upgrade(&stage, &more).spawn().expect("ark starts");
    wait_phase(&stage, &mut running, "validation");
    let url = format!("http://{}", stage.owner);
    let remove = || {
        run_ark(&[
            "agent",
            "delete",
            "validation-probe",
            "--force",
            "--reason",
            "test",
            "--url",
            &url,
        ])
    };
    wait_until("the probe is removed", || remove().status.success());
    let output = running.wait_with_output().expect("its end");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = report_of(&output);
    assert_eq!(report["upgraded"], true, "{report:#}: {told}");
    assert!(told.contains("the validation is repeated"), "{told}");
}
