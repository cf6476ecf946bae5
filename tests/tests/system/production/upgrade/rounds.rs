//! What is decided while the new version judges a snapshot again is judged by it, too, before the host is stopped.

use ark_tests::{run_ark, wait_until};
use serde_json::Value;

use crate::production::canary::stage::CanaryFixture;

use super::commands::{CONFIG, change, run, upgrade};

/// How many decisions a snapshot has.
fn count_decisions(snapshot: &str) -> u64 {
    let output = run_ark(&["audit", "export", "--data-dir", snapshot]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let rows = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a row"));
    let decisions = rows.filter(|row| row["kind"] == "decision");
    decisions.count().try_into().expect("a count")
}

#[test]
fn decisions_made_during_the_replay_are_judged_before_the_hand_over() {
    let stage = CanaryFixture::start(CONFIG, "");
    let new_ark = stage.dir.path().join("new-ark");
    let good = std::fs::read_to_string(&new_ark).expect("a file");
    let ((), decided) = stage.under_load(|| {
        wait_until("there are decisions", || stage.recorded().len() > 20);
        // A version that judges otherwise only what came after the first snapshot, of the same schema and of a later one.
        for schema in ["", "export TEST_ARK_LATER_SCHEMA=1\n"] {
            let fault = format!(
                "\n{schema}case \"$*\" in *--from*) printf denies >'{}';; esac\n",
                stage.dir.path().join("program-fault").display()
            );
            change(&stage, "new-ark", "\n", &fault);
            let report = run(upgrade(&stage, &[]));
            std::fs::write(&new_ark, &good).expect("a file");
            stage.set_program_fault("");
            assert_eq!(report["upgraded"], false, "{report:#}");
            let reason = report["reason"].to_string();
            assert!(
                reason.contains("judges recorded decisions otherwise")
                    && reason.contains(" differ; `ark audit replay --from "),
                "{reason}"
            );
            assert_eq!(reason.contains(".trial`"), !schema.is_empty(), "{reason}");
            assert!(report["rollback"].is_null(), "{report:#}");
            assert_eq!(stage.serving(), "stable");
        }
        let report = run(upgrade(&stage, &[]));
        assert_eq!(report["upgraded"], true, "{report:#}");
        // Each decision of the last snapshot was judged, and once.
        let snapshot = report["snapshot"].as_str().expect("a path");
        assert_eq!(report["replayed"], count_decisions(snapshot), "{report:#}");
        let steps = stage.steps();
        let step = steps.iter().find(|step| step["step"] == "replay");
        let told = step.expect("a step")["reason"].to_string();
        let begins = format!("\"{} decisions judged alike in ", report["replayed"]);
        assert!(
            told.starts_with(&begins) && told.contains(" rounds: ") && told.contains(", then "),
            "{told}"
        );
        // The snapshots of earlier rounds are gone.
        let prefix = format!("{}-", report["id"].as_str().expect("an id"));
        let entries = std::fs::read_dir(stage.dir.path().join("snapshots")).expect("snapshots");
        let paths = entries.flatten().map(|entry| entry.path());
        let of_this: Vec<_> = paths
            .filter(|path| path.display().to_string().contains(&prefix))
            .collect();
        assert_eq!(of_this, [std::path::PathBuf::from(snapshot)]);
    });
    assert!(decided.is_subset(&stage.recorded()), "none is lost");
    stage.assert_chain();
}
