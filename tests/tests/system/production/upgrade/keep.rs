//! `ark upgrade --keep`: an operator stays with the new version, and the next upgrade begins as ever.

use std::process::Command;

use ark_tests::{ark_program, wait_until};

use crate::production::canary::stage::{CanaryFixture, is_ready, script, sh};

use super::commands::{CONFIG, change, command, errors_of, run, upgrade, upgrade_to, wait_phase};

#[test]
fn an_operator_stays_with_a_version_that_cannot_go_back_without_a_loss() {
    let stage = CanaryFixture::start(CONFIG, "");
    let later = "\nexport TEST_ARK_LATER_SCHEMA=1\n";
    change(&stage, "new-ark", "\n", later);
    let slow = "\nif [ \"$1\" != serve ]; then sleep 0.5; fi\nexec ";
    change(&stage, "new-ark", "\nexec ", slow);
    let kill_at = |mut upgrade: Command, phase: &str| {
        let mut killed = upgrade.spawn().expect("ark starts");
        wait_phase(&stage, &mut killed, phase);
        if phase == "validation" {
            wait_until("the new version has judged", || stage.recorded().len() > 2);
        }
        killed.kill().expect("SIGKILL");
        killed.wait().expect("its end");
    };
    let keep = || command(&stage, &["--keep"]);
    assert!(errors_of(keep()).contains("no upgrade of"));
    kill_at(upgrade(&stage, &["--category", "watchdog"]), "check");
    let refused = errors_of(keep());
    assert!(refused.contains("was not started yet"), "{refused}");
    kill_at(command(&stage, &[]), "validation");
    let refused = errors_of(command(&stage, &["--back"]));
    assert!(
        refused.contains("--accept-loss-of-decisions") && refused.contains("ark upgrade --keep"),
        "{refused}"
    );
    // Nobody stays with what does not serve.
    sh(&script(&stage.dir, "stop"));
    let refused = errors_of(keep());
    assert!(refused.contains("start the new version"), "{refused}");
    sh(&script(&stage.dir, "start-new"));
    wait_until("the host is ready", || is_ready(&stage.owner));
    let decided = stage.recorded();
    let kept = run(keep());
    assert_eq!(kept["upgraded"], true, "{kept:#}");
    let reason = kept["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with("an operator stays with the new version; it was going back"),
        "{reason}"
    );
    assert_eq!(stage.steps()[0]["step"], "kept");
    assert!(decided.is_subset(&stage.recorded()), "none is lost");
    assert!(errors_of(command(&stage, &[])).contains("no upgrade of"));
    // The next one begins as ever. It is known by its digest, not by its path.
    let at = |name: &str| stage.dir.path().join(name);
    let new = at("new-ark").display().to_string();
    let stable = ["--stable-binary", new.as_str()];
    kill_at(upgrade(&stage, &stable), "check");
    std::fs::copy(at("new-ark"), at("moved-ark")).expect("a copy");
    change(&stage, "new-ark", "sleep 0.5", "sleep 0.6");
    let refused = errors_of(command(&stage, &[]));
    assert!(refused.contains("is not the version any more"), "{refused}");
    let refused = errors_of(upgrade(&stage, &[]));
    assert!(refused.contains("was begun and has not ended"), "{refused}");
    let report = run(upgrade_to(&stage, "moved-ark", &[]));
    assert_eq!(report["upgraded"], true, "{report:#}");
    // The database has the schema of the newer version.
    let data = stage.dir.data();
    let verified = Command::new(ark_program())
        .args(["audit", "verify", "--data-dir"])
        .arg(&data)
        .env("TEST_ARK_LATER_SCHEMA", "1")
        .output()
        .expect("ark starts");
    assert!(verified.status.success(), "{verified:?}");
}
