//! An upgrade that is killed at any step goes on or back, and removes what its kill left.

use std::path::Path;

use ark_tests::ark_program;

use crate::production::canary::stage::{CanaryFixture, is_ready, sh};

use super::commands::{
    CONFIG, back_to_stable, change, command, journal_text, run, upgrade, wait_phase,
};

/// The phases that the journal announces.
const PHASES: [&str; 6] = ["check", "snapshot", "replay", "stop", "start", "validation"];

#[test]
fn an_upgrade_that_is_killed_at_any_step_goes_on_or_goes_back() {
    let stage = CanaryFixture::start(CONFIG, "");
    // Commands that can be killed meanwhile; what they began goes on beside.
    change(
        &stage,
        "new-ark",
        "\nexec ",
        "\nif [ \"$1\" != serve ]; then sleep 0.5; fi\nexec ",
    );
    change(&stage, "stop.sh", "kill $p", "\nsleep 1; kill $p");
    change(&stage, "start-new.sh", "if [ -e ", "\nsleep 1; if [ -e ");
    let ((), decided) = stage.under_slow_load(|| {
        for phase in PHASES {
            for (verb, kills_host) in [("", false), ("--back", false), ("", true)] {
                if kills_host && phase != "validation" {
                    continue;
                }
                let mut killed = upgrade(&stage, &[]).spawn().expect("ark starts");
                wait_phase(&stage, &mut killed, phase);
                killed.kill().expect("SIGKILL");
                killed.wait().expect("its end");
                let another = command(&stage, &[&ark_program().display().to_string()])
                    .args([
                        "--unit",
                        "ark",
                        "--data-dir",
                        "data",
                        "--snapshots",
                        "snapshots",
                    ])
                    .output()
                    .expect("ark starts");
                let errors = String::from_utf8_lossy(&another.stderr);
                assert!(errors.contains("was begun and has not ended"), "{errors}");
                if kills_host {
                    sh(&stage.kill_commands());
                }
                let more: Vec<&str> = [verb].into_iter().filter(|verb| !verb.is_empty()).collect();
                let report = run(command(&stage, &more));
                assert_eq!(report["upgraded"], verb.is_empty(), "{phase}: {report:#}");
                assert!(is_ready(&stage.owner), "{phase} {verb}");
                let serving = if verb.is_empty() { "new" } else { "stable" };
                assert_eq!(stage.serving(), serving, "{phase}: {report:#}");
                if verb.is_empty() {
                    back_to_stable(&stage);
                }
            }
        }
    });
    assert!(decided.is_subset(&stage.recorded()), "none is lost");
    stage.assert_chain();
}

#[test]
fn what_a_killed_snapshot_left_is_removed_by_the_run_that_goes_on_or_back() {
    let stage = CanaryFixture::start(CONFIG, "");
    let snapshots = stage.dir.path().join("snapshots");
    let list_left = || -> Vec<String> {
        let entries = std::fs::read_dir(&snapshots).expect("the snapshots");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .filter(|name| {
                let extension = Path::new(name).extension();
                extension.is_some_and(|extension| extension == "partial" || extension == "trial")
            })
            .collect()
    };
    // Of somebody else.
    let foreign = snapshots.join("upgrade-other-1.partial");
    std::fs::create_dir_all(&foreign).expect("a directory");
    for verb in ["", "--back"] {
        let mut killed = upgrade(&stage, &[]).spawn().expect("ark starts");
        wait_phase(&stage, &mut killed, "snapshot");
        killed.kill().expect("SIGKILL");
        killed.wait().expect("its end");
        // As a kill in the middle of a copy leaves it, which takes too short a time here to be met.
        let text = journal_text(&stage);
        let begin = text.find("upgrade-").expect("an id");
        let id = text[begin..].split('"').next().expect("an id");
        for copy in ["1.partial", "1.trial", "before-migration.partial"] {
            let copy = snapshots.join(format!("{id}-{copy}"));
            std::fs::create_dir_all(&copy).expect("a directory");
            std::fs::write(copy.join("ark.db"), "a part").expect("a file");
        }
        let more: &[&str] = if verb.is_empty() { &[] } else { &[verb] };
        let report = run(command(&stage, more));
        assert_eq!(report["upgraded"], verb.is_empty(), "{report:#}");
        assert_eq!(list_left(), ["upgrade-other-1.partial"], "{verb}");
        back_to_stable(&stage);
    }
}
