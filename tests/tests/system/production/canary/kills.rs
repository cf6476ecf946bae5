//! The command is killed; the canary goes on, or is undone.

use ark_tests::wait_until;

use super::stage::{Stage, is_ready};

#[test]
fn a_canary_whose_command_was_killed_goes_on_or_is_undone() {
    let stage = Stage::start("", "");
    let options = stage.take_over_options();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let ((), decided) = stage.under_load(|| {
        // At each share: undone.
        for share in [10, 50] {
            let mut canary = stage.spawn_canary(&options);
            wait_until("it has a share", || {
                stage.run_verb("status")["host"]["share_pct"] == share
            });
            canary.kill().expect("SIGKILL");
            canary.wait().expect("its end");
            let report = stage.run_verb("abort");
            assert_eq!(report["promoted"], false, "{report:#}");
            stage.assert_weights(100, 0);
        }
        // While the host is stopped: undone, and the stable version serves.
        let stop = stage.dir.path().join("stop.sh");
        let text = std::fs::read_to_string(&stop).expect("a file");
        let slow = text.replace("${STOP_PAUSE:-0}", "2");
        assert_ne!(slow, text);
        std::fs::write(&stop, slow).expect("a file");
        let mut short = options.clone();
        short.extend(["--shares", "100"]);
        let kill_at_stop = || {
            let mut canary = stage.spawn_canary(&short);
            wait_until("the host stops", || {
                let journal = std::fs::read_to_string(stage.journal()).unwrap_or_default();
                journal.contains("\"stop\"}")
            });
            canary.kill().expect("SIGKILL");
            canary.wait().expect("its end");
        };
        kill_at_stop();
        let report = stage.run_verb("abort");
        assert_eq!(report["promoted"], false, "{report:#}");
        stage.assert_weights(100, 0);
        assert!(is_ready(&stage.owner), "the stable version serves");
        // A second time: gone on with, to the end.
        kill_at_stop();
        let report = stage.run_verb("resume");
        assert_eq!(report["promoted"], true, "{report:#}");
        stage.assert_weights(0, 256);
    });
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    stage.assert_chain();
    // Nothing is left to go on with.
    let status = stage.run_verb("status");
    assert!(status["host"].is_null(), "{status:#}");
}
