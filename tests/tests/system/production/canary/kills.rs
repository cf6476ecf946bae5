//! The command is killed; the canary goes on, or is undone.

use ark_tests::wait_until;

use super::stage::{CanaryFixture, is_ready};

#[test]
fn a_canary_whose_command_was_killed_goes_on_or_is_undone() {
    let stage = CanaryFixture::start("", "");
    let options = stage.take_over_options();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let ((), decided) = stage.under_load(|| {
        // At each share: undone.
        for share in [10, 25, 50] {
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
        let mut short = options.clone();
        short.extend(["--shares", "100"]);
        // In the take-over: at the replay, while the host is stopped, while the new one is started. What the command had begun goes on beside.
        for (phase, file, before) in [
            ("replay", "new-ark", "\nexec "),
            ("stop", "stop.sh", "kill $p"),
            ("start", "start-new.sh", "if [ -e "),
        ] {
            let path = stage.dir.path().join(file);
            let text = std::fs::read_to_string(&path).expect("a file");
            let slow = text.replacen(before, &format!("\nsleep 2; {}", before.trim_start()), 1);
            assert_ne!(slow, text);
            std::fs::write(&path, slow).expect("a file");
            for verb in ["abort", "resume"] {
                let mut canary = stage.spawn_canary(&short);
                wait_until("the take-over has come so far", || {
                    stage.journal_text().contains(&format!("\"{phase}\"}}"))
                });
                canary.kill().expect("SIGKILL");
                canary.wait().expect("its end");
                let report = stage.run_verb(verb);
                assert_eq!(report["promoted"], verb == "resume", "{phase}: {report:#}");
                assert!(is_ready(&stage.owner), "{phase}, {verb}: a host serves");
                if verb == "resume" {
                    stage.assert_weights(0, 256);
                    stage.haproxy.set_weights(&[("stable", 100), ("canary", 0)]);
                }
                stage.assert_weights(100, 0);
                assert_eq!(
                    stage.serving(),
                    if verb == "resume" { "new" } else { "stable" },
                    "{phase}"
                );
            }
            std::fs::write(&path, text).expect("a file");
        }
    });
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    stage.assert_chain();
    // Nothing is left to go on with.
    let status = stage.run_verb("status");
    assert!(status["host"].is_null(), "{status:#}");
}
