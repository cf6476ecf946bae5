//! A good version gets everything.

use ark_tests::{Client, wait_until};
use serde_json::json;

use super::stage::Stage;

#[test]
fn a_good_version_gets_all_requests_and_the_data_and_no_request_fails() {
    let stage = Stage::start("", "");
    let mut options = stage.take_over_options();
    options.extend(["--baseline", "30"].map(str::to_owned));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let (report, decided) = stage.under_load(|| {
        wait_until("there is a baseline", || stage.recorded().len() > 400);
        stage.run_canary(&options)
    });
    println!("{report:#}, {} decisions", decided.len());
    assert_eq!(report["promoted"], true, "{report:#}");
    assert_eq!(report["unrecorded"], json!([]), "{report:#}");
    let taken = &report["take_over"];
    assert!(taken["replayed"].as_u64() > Some(400), "{report:#}");
    assert!(taken["pause_ms"].as_u64() > Some(0), "{report:#}");
    stage.assert_weights(0, 256);
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    let names: Vec<_> = stage
        .steps()
        .iter()
        .rev()
        .map(|step| step["step"].clone())
        .collect();
    let expected = [
        "started", "share", "healthy", "share", "healthy", "share", "healthy", "share", "healthy",
        "promoted",
    ];
    assert_eq!(names, expected);
    // The second version is the one whose program runs.
    stage.assert_chain();
    let status = stage.run_verb("status");
    assert_eq!(status["host"], json!(null), "{status:#}");
    assert_eq!(status["steps"][0]["step"], "promoted", "{status:#}");
}

#[test]
fn a_version_that_does_not_start_or_judges_otherwise_gives_the_data_back() {
    let stage = Stage::start("", "");
    let options = stage.take_over_options();
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    options.extend(["--shares", "100"]);
    let start_new = stage.dir.path().join("start-new.sh");
    let new_ark = stage.dir.path().join("new-ark");
    let program = std::fs::read_to_string(&new_ark).expect("a file");
    let ((), decided) = stage.under_load(|| {
        std::fs::write(&start_new, "echo it has no legs >&2; exit 7\n").expect("a file");
        let report = stage.run_canary(&options);
        assert_eq!(report["tripwire"], "take-over", "{report:#}");
        assert!(report["reason"].to_string().contains("no legs"), "{report:#}");
        stage.assert_weights(100, 0);
        // One that would have migrated the database: the way back is the database as the old host left it, and loses nothing.
        let migrating = program.replacen(
            '\n',
            "\nif [ \"$1\" = version ]; then echo '{\"schema\":99}'; exit; fi\n",
            1,
        );
        std::fs::write(&new_ark, migrating).expect("a file");
        let report = stage.run_canary(&options);
        assert_eq!(report["tripwire"], "take-over", "{report:#}");
        let snapshots = std::fs::read_dir(stage.dir.path().join("snapshots")).expect("snapshots");
        let restored = snapshots.flatten().filter(|entry| {
            entry.file_name().to_string_lossy().contains("-restored-")
        });
        assert_eq!(restored.count(), 1);
        stage.assert_weights(100, 0);
        // A version whose replay finds a difference is stopped before the host is.
        let replaying = "case \"$1\" in audit) echo '{\"decisions\":9,\"identical\":8,\"failures\":0}'; exit 1;; esac\n";
        let other = program.replacen('\n', &format!("\n{replaying}"), 1);
        std::fs::write(&new_ark, other).expect("a file");
        let report = stage.run_canary(&options);
        assert_eq!(report["tripwire"], "take-over", "{report:#}");
        assert!(report["reason"].to_string().contains("1 of 9 differ"), "{report:#}");
        stage.assert_weights(100, 0);
    });
    assert_eq!(stage.recorded(), decided);
    let (status, ready) = Client::at(&stage.owner).get("/readyz");
    assert_eq!(status, 200, "{ready}");
    stage.assert_chain();
}
