//! Options that are given to a rollback which goes on: taken and told, or refused by name.

use crate::production::canary::stage::{CanaryFixture, script};

use super::commands::{command, errors_of, journal_path, options, promote_new, report_of, run};

#[test]
fn a_rollback_that_goes_on_takes_options_that_correct_it_and_ignores_none() {
    let stage = CanaryFixture::start("", "");
    promote_new(&stage);
    // Neither the stop command is good, nor is HAProxy named.
    let mut options = options(&stage);
    let set = |options: &mut Vec<String>, option: &str, value: Option<&str>| {
        let found = options.iter().position(|one| one == option);
        let found = found.expect("the option");
        let end = found + 2;
        let value = value.map(|value| [option.to_owned(), value.to_owned()]);
        options.splice(found..end, value.into_iter().flatten());
    };
    set(&mut options, "--stop-command", Some("exit 3"));
    for option in ["--haproxy", "--step", "--interval"] {
        set(&mut options, option, None);
    }
    let failed = errors_of(&run(&stage, &options, &[]));
    assert!(
        failed.contains("the step database failed") && failed.contains("--give-up"),
        "{failed}"
    );
    let journal = || std::fs::read_to_string(journal_path(&stage)).expect("a journal");
    let socket = stage.haproxy.socket.display().to_string();
    let stop = script(&stage.dir, "stop");
    let before = journal();
    for (more, named) in [
        (&["--server", "stable"][..], "--server cannot be taken"),
        (&["--reason", "another"], "--reason another cannot be taken"),
        (&["--stable-binary", "/bin/sh"], "--stable-binary /bin/sh"),
        (&["--unit", "ark"], "--unit ark cannot be taken"),
    ] {
        // What needs a binary gets it with everything else that a rollback needs.
        let refused = if named.starts_with("--stable") {
            errors_of(&run(&stage, &options[2..], more))
        } else {
            errors_of(&command(&stage, more).output().expect("ark starts"))
        };
        assert!(refused.contains(named), "{named}: {refused}");
        assert_eq!(journal(), before, "{named}");
    }
    let more = [
        "--stop-command",
        stop.as_str(),
        "--haproxy",
        socket.as_str(),
        "--server",
        "stable",
        "--step",
        "1",
        "--shares",
        "50,100",
    ];
    let dry = report_of(
        &command(&stage, &more)
            .arg("--dry-run")
            .output()
            .expect("ark starts"),
    );
    assert!(dry.to_string().contains("taken: --haproxy: "), "{dry:#}");
    assert_eq!(journal(), before);
    let output = command(&stage, &more).output().expect("ark starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for option in [
        "--stop-command: ",
        "--haproxy: ",
        "--step: 1s",
        "--shares: [50, 100]",
    ] {
        assert!(said.contains(option), "{option}: {said}");
    }
    let report = report_of(&output);
    assert_eq!(report["passed"], true, "{report:#}");
    let detail = report["steps"][5]["detail"].to_string();
    assert!(detail.contains("stable got 50, 100 %"), "{report:#}");
    stage.assert_weights(256, 0);
    assert_eq!(stage.serving(), "stable");
}
