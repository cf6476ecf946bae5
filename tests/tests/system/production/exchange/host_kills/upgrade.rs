//! The old host is killed before an upgrade has stopped it, the new one after that, and the stable one on a way back.

use serde_json::Value;

use super::{
    Manager, assert_each_once, assert_pause, kill_in_drain, kill_when_ready, path, run_over_kill,
};
use crate::production::canary::stage::{CanaryFixture, is_ready};
use crate::production::upgrade::{
    CONFIG, back_to_stable, command, errors_of, report_of, run, upgrade,
};

/// How an upgrade ends over a kill of the host.
#[derive(Debug, Clone, Copy)]
enum UpgradeEnd {
    /// The new version serves.
    Upgraded,
    /// The stable version serves again, for a reason with this text.
    Back(&'static str),
    /// The new version serves; or the stable one does, since the validation had begun before the command was frozen, and lost the operation
    /// that it waited for with the host.
    UpgradedOrOperationLost,
}

fn assert_end(stage: &CanaryFixture, report: &Value, end: UpgradeEnd) {
    println!("{} {}", report["upgraded"], report["reason"]);
    let end = match end {
        UpgradeEnd::UpgradedOrOperationLost if report["upgraded"] == true => UpgradeEnd::Upgraded,
        UpgradeEnd::UpgradedOrOperationLost => UpgradeEnd::Back("there is no operation "),
        end => end,
    };
    let serving = match end {
        UpgradeEnd::Upgraded => {
            assert_eq!(report["upgraded"], true, "{report:#}");
            "new"
        }
        UpgradeEnd::Back(reason) => {
            assert_eq!(report["upgraded"], false, "{report:#}");
            let said = report["reason"].as_str().expect("a reason");
            assert!(said.contains(reason), "{reason}: {report:#}");
            assert_eq!(report["rollback"]["passed"], true, "{report:#}");
            let steps = stage.steps();
            let of_this = steps
                .iter()
                .filter(|step| step["deployment"] == report["id"]);
            let names: Vec<_> = of_this.map(|step| step["step"].to_string()).collect();
            assert_eq!(names[0], "\"went-back\"", "{steps:#?}");
            assert!(!names.contains(&"\"upgraded\"".to_owned()), "{steps:#?}");
            "stable"
        }
        UpgradeEnd::UpgradedOrOperationLost => unreachable!("it is one of the others by now"),
    };
    assert_eq!(report["unrecorded"], serde_json::json!([]), "{report:#}");
    assert!(is_ready(&stage.owner), "{report:#}");
    assert_eq!(stage.serving(), serving, "{report:#}");
}

/// A step at whose entry the host is killed, and how the upgrade ends.
type UpgradeKill = (&'static str, Manager, UpgradeEnd);

fn upgrade_over_kills(rows: &[UpgradeKill]) {
    let stage = CanaryFixture::start(CONFIG, "");
    let ((), decided) = stage.under_slow_load(|| {
        for (phase, manager, end) in rows {
            let entry = format!("{{\"phase\":\"{phase}\"}}");
            let output = run_over_kill(
                &stage,
                *manager,
                (&path(&stage, "upgrade.journal"), &entry),
                &|| {
                    if stage.serving() != "stable" {
                        back_to_stable(&stage);
                    }
                },
                &|| upgrade(&stage, &[]),
            );
            let report = report_of(&output);
            assert_end(&stage, &report, *end);
            if ["check", "snapshot", "replay"].contains(phase) {
                assert_pause(&report, *manager);
            }
        }
    });
    assert_each_once(&stage, &decided);
}

#[test]
fn an_old_host_that_is_killed_before_the_snapshot_is_upgraded_all_the_same() {
    upgrade_over_kills(&[
        ("check", Manager::None, UpgradeEnd::Upgraded),
        ("snapshot", Manager::None, UpgradeEnd::Upgraded),
    ]);
}

#[test]
fn an_old_host_that_is_killed_before_it_is_stopped_is_upgraded_all_the_same() {
    upgrade_over_kills(&[
        ("replay", Manager::None, UpgradeEnd::Upgraded),
        ("replay", Manager::Restarts("start"), UpgradeEnd::Upgraded),
        ("stop", Manager::None, UpgradeEnd::Upgraded),
    ]);
}

#[test]
fn an_old_host_that_is_killed_before_a_version_is_refused_is_started_again() {
    let stage = CanaryFixture::start(CONFIG, "");
    let ((), decided) = stage.under_slow_load(|| {
        stage.set_program_fault("denies");
        let output = run_over_kill(
            &stage,
            Manager::None,
            (&path(&stage, "upgrade.journal"), "{\"phase\":\"snapshot\"}"),
            &|| {},
            &|| upgrade(&stage, &[]),
        );
        let end = UpgradeEnd::Back("; the host that served has ended meanwhile");
        let report = report_of(&output);
        assert_end(&stage, &report, end);
        let reason = report["reason"].as_str().expect("a reason");
        assert!(
            reason.contains("judges recorded decisions otherwise"),
            "{reason}"
        );
    });
    assert_each_once(&stage, &decided);
}

#[test]
fn a_new_version_that_is_killed_while_it_is_validated_goes_back() {
    upgrade_over_kills(&[
        (
            "validation",
            Manager::None,
            UpgradeEnd::Back("does not pass its validation: the host has ended: no process holds "),
        ),
        (
            "validation",
            Manager::Restarts("start-new"),
            UpgradeEnd::UpgradedOrOperationLost,
        ),
    ]);
}

#[test]
fn an_old_host_that_is_killed_in_its_drain_and_a_new_one_at_its_start_go_back() {
    let stage = CanaryFixture::start(CONFIG, "");
    let ((), decided) = stage.under_slow_load(|| {
        kill_in_drain(&stage);
        assert_end(&stage, &run(upgrade(&stage, &[])), UpgradeEnd::Upgraded);
        back_to_stable(&stage);
        kill_when_ready(&stage, "start-new");
        let end = UpgradeEnd::Back("the host has ended: no process holds ");
        assert_end(&stage, &run(upgrade(&stage, &[])), end);
    });
    assert_each_once(&stage, &decided);
}

#[test]
fn a_stable_version_that_is_killed_on_the_way_back_is_started_again() {
    let stage = CanaryFixture::start(CONFIG, "");
    std::fs::write(path(&stage, "start-new.sh"), "exit 7\n").expect("a script");
    let journal = path(&stage, "rollback.journal");
    let place = journal.display().to_string();
    let options = ["--rollback-journal", place.as_str()];
    let ((), decided) = stage.under_slow_load(|| {
        kill_when_ready(&stage, "start");
        let end = UpgradeEnd::Back("fails (exit status: 7)");
        assert_end(&stage, &run(upgrade(&stage, &options)), end);
        let entry = "{\"step\":\"validation\"}";
        let output = run_over_kill(&stage, Manager::None, (&journal, entry), &|| {}, &|| {
            upgrade(&stage, &options)
        });
        assert!(!output.status.success());
        let errors = String::from_utf8_lossy(&output.stderr);
        println!("{errors}");
        assert!(
            errors.contains("the way back to the stable version, of `")
                && errors.contains("; `ark upgrade` tries again"),
            "{errors}"
        );
        assert_end(&stage, &run(command(&stage, &[])), end);
        assert!(errors_of(command(&stage, &[])).contains("no upgrade of"));
    });
    assert_each_once(&stage, &decided);
}
