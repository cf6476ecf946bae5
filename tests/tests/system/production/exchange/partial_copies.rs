//! What a killed rollback or canary had copied to the directory of snapshots is removed by the run that goes on or back. Of an upgrade it is tested beside its
//! other kills.

use std::path::Path;

use super::kills::{Moment, Scripts, kill_once_in, wait_killed};
use crate::production::canary::stage::CanaryFixture;
use crate::production::rollback;

/// The parts of copies in the directory of snapshots.
fn list_left(stage: &CanaryFixture) -> Vec<String> {
    let entries = std::fs::read_dir(stage.dir.path().join("snapshots")).expect("the snapshots");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut left: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| {
            let extension = Path::new(name).extension();
            extension.is_some_and(|extension| extension == "partial" || extension == "trial")
        })
        .collect();
    left.sort();
    left
}

/// Leaves what a kill in the middle of a copy leaves, which takes too short a time here to be met: of the run in a journal, and of another one. Returns the
/// id of the run.
fn plant_copies(stage: &CanaryFixture, journal: &str, kind: &str) -> String {
    let text = std::fs::read_to_string(journal).expect("the journal");
    let start = format!("\"id\":\"{kind}-");
    // The last one is that of the run.
    let begin = text.rfind(&start).expect("an id") + "\"id\":\"".len();
    let id = text[begin..].split('"').next().expect("an id").to_owned();
    let snapshots = stage.dir.path().join("snapshots");
    for copy in [
        format!("{id}-1.partial"),
        format!("{id}-1.trial"),
        format!("{id}-before-migration.partial"),
        format!("{kind}-other-1.partial"),
    ] {
        let copy = snapshots.join(copy);
        std::fs::create_dir_all(&copy).expect("a directory");
        std::fs::write(copy.join("ark.db"), "a part").expect("a file");
    }
    id
}

#[test]
fn a_rollback_that_goes_on_removes_what_it_had_copied_when_it_was_killed() {
    let stage = CanaryFixture::start("", "");
    let texts = rollback::options(&stage);
    let options: Vec<&str> = texts.iter().map(String::as_str).collect();
    rollback::promote_new(&stage);
    kill_once_in(&stage, "start.sh", Moment::Begin);
    let began = rollback::command(&stage, &options).spawn();
    wait_killed(&stage, began.expect("ark starts"));
    let journal = rollback::journal_path(&stage).display().to_string();
    let id = plant_copies(&stage, &journal, "rollback");
    let output = rollback::command(&stage, &[]).output().expect("ark starts");
    let report = rollback::report_of(&output);
    assert_eq!(report["passed"], true, "{report:#}");
    // A copy on trial is there to be looked at: a rollback makes none.
    let kept = [
        format!("{id}-1.trial"),
        "rollback-other-1.partial".to_owned(),
    ];
    assert_eq!(list_left(&stage), kept);
}

#[test]
fn a_canary_that_goes_on_or_back_removes_what_it_had_copied_when_it_was_killed() {
    let stage = CanaryFixture::start("", "");
    let scripts = Scripts::of(&stage);
    let options = stage.take_over_options();
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    options.extend(["--shares", "100"]);
    // The command that stops the host comes behind snapshot and replay. Without requests the canary would go back before.
    stage.under_load(|| {
        for verb in ["abort", "resume"] {
            kill_once_in(&stage, "stop.sh", Moment::Begin);
            wait_killed(&stage, stage.spawn_canary(&options));
            let journal = stage.journal().display().to_string();
            plant_copies(&stage, &journal, "canary");
            let report = stage.run_verb(verb);
            assert_eq!(report["promoted"], verb == "resume", "{report:#}");
            assert_eq!(list_left(&stage), ["canary-other-1.partial"], "{verb}");
            scripts.put_back();
        }
    });
}
