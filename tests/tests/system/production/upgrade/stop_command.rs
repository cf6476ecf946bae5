//! The command that stops the host fails: the host is left as it is or brought back, and a run that goes on takes a better command.

use ark_tests::wait_until;

use crate::production::canary::stage::{CanaryFixture, is_ready, script};

use super::commands::{CONFIG, command, errors_of, journal_text, report_of, run, upgrade};

#[test]
fn a_stop_command_that_fails_leaves_the_host_and_ends_the_upgrade() {
    let stage = CanaryFixture::start(CONFIG, "");
    let at = |name: &str| stage.dir.path().join(name);
    let read = |name: &str| std::fs::read_to_string(at(name)).expect("a file");
    let (stop, pid) = (read("stop.sh"), read("pid"));
    let unstopped = "the host was not stopped, and serves on";
    let bad = "echo no such unit >&2; exit 3\n";
    std::fs::write(at("stop.sh"), bad).expect("a file");
    let ((), decided) = stage.under_slow_load(|| {
        let report = run(upgrade(&stage, &[]));
        assert_eq!(report["upgraded"], false, "{report:#}");
        let reason = report["reason"].as_str().expect("a reason");
        assert!(
            reason.contains("no such unit") && reason.contains(unstopped),
            "{reason}"
        );
        assert!(report["rollback"].is_null(), "{report:#}");
        assert!(errors_of(command(&stage, &[])).contains("no upgrade of"));
        // The command is killed in its stop, which then fails; another run undoes it.
        let text = format!("sleep 2; {bad}");
        std::fs::write(at("stop.sh"), text).expect("a file");
        let mut killed = upgrade(&stage, &[]).spawn().expect("ark starts");
        wait_until("it stops the host", || {
            journal_text(&stage).contains("\"stop\"}")
        });
        killed.kill().expect("SIGKILL");
        killed.wait().expect("its end");
        let lines = run(command(&stage, &["--back", "--dry-run"])).to_string();
        assert!(lines.contains(unstopped), "{lines}");
        let report = run(command(&stage, &["--back"]));
        assert!(
            report["reason"].to_string().contains(unstopped),
            "{report:#}"
        );
    });
    assert!(decided.is_subset(&stage.recorded()), "none is lost");
    assert_eq!((stage.serving(), read("pid")), ("stable".to_owned(), pid));
    // One that stops the host and fails: the way back needs it, and nothing is recommended that would be refused.
    std::fs::write(at("stop.sh"), format!("{stop}\nexit 3\n")).expect("a file");
    let failed = errors_of(upgrade(&stage, &[]));
    assert!(
        failed.contains("`ark upgrade` tries again") && !failed.contains("--keep"),
        "{failed}"
    );
    std::fs::write(at("good-stop.sh"), &stop).expect("a file");
    let good = script(&stage.dir, "good-stop");
    // What would make it another upgrade is refused by name, and nothing is changed.
    let other = at("snapshots").display().to_string();
    for (more, named) in [
        (&["--data-dir", other.as_str()][..], "--data-dir "),
        (&["--name", "3.0.0"], "--name 3.0.0 cannot be taken"),
        (&["--stable-binary", "/bin/sh"], "--stable-binary /bin/sh"),
        (&["--unit", "ark"], "--unit ark"),
    ] {
        let before = journal_text(&stage);
        let refused = errors_of(command(&stage, more));
        assert!(
            refused.contains(named) && refused.contains("its journal has "),
            "{named}: {refused}"
        );
        assert_eq!(journal_text(&stage), before, "{named}");
    }
    let more = ["--stop-command", good.as_str(), "--category", "isolation"];
    let lines = run(command(&stage, &[&more[..], &["--dry-run"]].concat())).to_string();
    assert!(
        lines.contains("taken: --stop-command: ") && lines.contains("taken: --category: isolation"),
        "{lines}"
    );
    let output = command(&stage, &more).output().expect("ark starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("--stop-command: "), "{errors}");
    let report = report_of(&output);
    let back = &report["rollback"];
    assert_eq!(back["passed"], true, "{report:#}");
    let mut cases = back["validation"]["cases"]
        .as_array()
        .expect("cases")
        .iter();
    assert!(
        cases.all(|case| case["category"] == "isolation"),
        "{report:#}"
    );
    assert!(is_ready(&stage.owner) && stage.serving() == "stable");
    std::fs::write(at("stop.sh"), &stop).expect("a file");
}
