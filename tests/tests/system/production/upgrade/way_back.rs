//! A new version with a fault leaves the stable one or gives it back, with an earlier database only for a number of decisions.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use ark_tests::{ark_program, run_ark, wait_until};
use serde_json::{Value, json};

use crate::production::canary::stage::{CanaryFixture, script, sh};

use super::commands::{
    CONFIG, back_to_stable, change, command, errors_of, run, upgrade, wait_phase,
};

#[test]
fn a_version_that_finds_a_fault_differs_or_fails_leaves_or_gives_back_the_stable_one() {
    let stage = CanaryFixture::start(CONFIG, "");
    let new_ark = stage.dir.path().join("new-ark");
    let good = std::fs::read_to_string(&new_ark).expect("a file");
    let start_new = std::fs::read_to_string(stage.dir.path().join("start-new.sh")).expect("a file");
    let ((), decided) = stage.under_slow_load(|| {
        wait_until("there are decisions", || stage.recorded().len() > 20);
        // What stops it before the host is stopped.
        stage.set_program_fault("denies");
        let report = run(upgrade(&stage, &[]));
        stage.set_program_fault("");
        assert_eq!(report["upgraded"], false, "{report:#}");
        assert!(report["reason"].to_string().contains("judges recorded decisions otherwise"), "{report:#}");
        assert!(report["rollback"].is_null(), "{report:#}");
        assert_eq!(stage.serving(), "stable");
        let faults = [
            (
                "case \"$1\" in check) echo '{\"errors\":1,\"skipped\":0,\"warnings\":0,\"lines\":[{\"check\":\"graveyard\",\"status\":\"error\",\"found\":\"another pin\"}]}'; exit 1;; esac",
                "graveyard: another pin",
            ),
        ];
        for (fault, reason) in faults {
            std::fs::write(&new_ark, good.replacen('\n', &format!("\n{fault}\n"), 1)).expect("a file");
            let report = run(upgrade(&stage, &[]));
            assert_eq!(report["upgraded"], false, "{report:#}");
            assert!(report["reason"].to_string().contains(reason), "{report:#}");
            assert!(report["rollback"].is_null(), "{report:#}");
            assert_eq!(stage.serving(), "stable");
        }
        std::fs::write(&new_ark, &good).expect("a file");
        // One that does not start, of the same schema and of a later one: by the steps of a rollback, with all decisions.
        for schema in ["", "export TEST_ARK_LATER_SCHEMA=1"] {
            std::fs::write(&new_ark, good.replacen('\n', &format!("\n{schema}\n"), 1)).expect("a file");
            let failing = if schema.is_empty() {
                "echo it has no legs >&2; exit 7\n".to_owned()
            } else {
                // It migrates the database first.
                format!(
                    "{new} serve --data-dir {data} --config {config} --listen 127.0.0.1:0 --telemetry-listen off >{out} 2>&1 &\n\
                     until grep -q listening {out}; do sleep 0.1; done; kill $!; wait $!; exit 7\n",
                    new = new_ark.display(),
                    data = stage.dir.data().display(),
                    config = stage.dir.config().display(),
                    out = stage.dir.path().join("out").display(),
                )
            };
            change(&stage, "start-new.sh", &start_new, &failing);
            let report = run(upgrade(&stage, &[]));
            std::fs::write(stage.dir.path().join("start-new.sh"), &start_new).expect("a file");
            assert_eq!(report["upgraded"], false, "{report:#}");
            let back = &report["rollback"];
            assert_eq!(back["passed"], true, "{report:#}");
            assert_eq!(back["set_aside"].is_null(), schema.is_empty(), "{report:#}");
            if !schema.is_empty() {
                assert_eq!(back["set_aside"]["decisions"], 0, "{report:#}");
            }
            assert_eq!(stage.serving(), "stable");
        }
    });
    assert!(decided.is_subset(&stage.recorded()), "none is lost");
    stage.assert_chain();
}

#[test]
fn a_version_that_migrated_and_served_goes_back_only_for_a_number_of_decisions() {
    let stage = CanaryFixture::start(CONFIG, "");
    change(
        &stage,
        "new-ark",
        "\n",
        "\nexport TEST_ARK_LATER_SCHEMA=1\n",
    );
    let report = run(upgrade(&stage, &[]));
    assert_eq!(report["upgraded"], true, "{report:#}");
    // The same again, with a validation that fails: the watchdog is too slow for it. Decisions of the validation are at stake.
    let data = stage.dir.data();
    let kept = std::fs::read_dir(stage.dir.path().join("snapshots")).expect("snapshots");
    let kept = kept.flatten().map(|entry| entry.path());
    let kept = kept.filter(|path| path.display().to_string().ends_with("-before-migration"));
    let kept: Vec<_> = kept.collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    sh(&script(&stage.dir, "stop"));
    let restored = Command::new(ark_program())
        .args(["state", "restore", "--replace", "--data-dir"])
        .arg(&data)
        .arg(&kept[0])
        .output()
        .expect("ark starts");
    assert!(restored.status.success(), "{restored:?}");
    back_to_stable(&stage);
    // Killed at its validation, when the new version has judged.
    let mut killed = upgrade(&stage, &["--category", "watchdog"])
        .spawn()
        .expect("ark starts");
    wait_phase(&stage, &mut killed, "validation");
    wait_until("the new version has judged", || stage.recorded().len() > 2);
    killed.kill().expect("SIGKILL");
    killed.wait().expect("its end");
    // A token that goes with the database of the new version.
    let url = format!("http://{}", stage.owner);
    let words = ["token", "create", "--role", "admin", "--name", "ada"];
    let made = run_ark(&[&words[..], &["--url", &url]].concat());
    assert!(made.status.success(), "{made:?}");
    let token = stage.dir.path().join("ada.token");
    std::fs::write(&token, made.stdout).expect("a file");
    std::fs::set_permissions(&token, Permissions::from_mode(0o600)).expect("a mode");
    let with_token = ["--token-file", token.to_str().expect("UTF-8"), "--back"];
    let refused = errors_of(command(&stage, &with_token));
    assert!(refused.contains("--accept-loss-of-decisions"), "{refused}");
    assert_eq!(stage.serving(), "new");
    let accepted = ["--accept-loss-of-decisions", "100"];
    let back = run(command(&stage, &[&with_token[..], &accepted].concat()));
    // That it went back is recorded with the token that the restore made.
    assert_eq!(back["unrecorded"], json!([]), "{back:#}");
    let file = back["rollback"]["token_file"].as_str().expect("a path");
    let words = ["canary", "status", "--json", "--url", &url];
    let steps = run_ark(&[&words[..], &["--token-file", file]].concat());
    let steps: Value = serde_json::from_slice(&steps.stdout).expect("JSON");
    assert_eq!(steps["steps"][0]["step"], "went-back", "{steps:#}");
    assert_eq!(back["rollback"]["passed"], true, "{back:#}");
    assert!(
        back["rollback"]["set_aside"]["decisions"].as_u64() > Some(0),
        "{back:#}"
    );
    assert_eq!(stage.serving(), "stable");
    stage.assert_chain();
}
