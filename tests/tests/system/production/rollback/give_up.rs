//! `ark rollback --give-up`: one that cannot go on ends, and everything stays as it is.

use ark_tests::wait_until;
use serde_json::json;

use crate::production::canary::stage::{CanaryFixture, is_ready};

use super::commands::{command, errors_of, journal_path, options, promote_new, report_of};

#[test]
fn a_rollback_that_cannot_go_on_is_given_up() {
    let stage = CanaryFixture::start("", "");
    promote_new(&stage);
    let give_up = || command(&stage, &["--give-up"]);
    let refused = errors_of(&give_up().output().expect("ark starts"));
    assert!(refused.contains("no rollback of"), "{refused}");
    let stop = stage.dir.path().join("stop.sh");
    let text = std::fs::read_to_string(&stop).expect("a file");
    std::fs::write(&stop, "sleep 600\n").expect("a file");
    let options = options(&stage);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut running = command(&stage, &options).spawn().expect("ark starts");
    let journal = || std::fs::read_to_string(journal_path(&stage)).unwrap_or_default();
    wait_until("it stops the host", || {
        journal().contains("{\"step\":\"database\"}")
    });
    // While it runs it is not given up.
    let refused = errors_of(&give_up().output().expect("ark starts"));
    assert!(refused.contains("interrupt it (SIGINT)"), "{refused}");
    let pid = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("SIGINT");
    assert!(!running.wait().expect("its end").success());
    let report = report_of(&give_up().output().expect("ark starts"));
    assert_eq!(report["passed"], false, "{report:#}");
    assert_eq!(report["unrecorded"], json!([]), "{report:#}");
    let result = report["result"].as_str().expect("a result");
    for told in [
        "given up by an operator: another version serves: ",
        "the database was not replaced",
        "the requests go where they went",
    ] {
        assert!(result.contains(told), "{told}: {result}");
    }
    assert_eq!(stage.steps()[0]["step"], "given-up");
    assert!(is_ready(&stage.owner) && stage.serving() == "new");
    stage.assert_weights(0, 256);
    // Nothing is in the way of another one.
    std::fs::write(&stop, text).expect("a file");
    let report = report_of(&command(&stage, &options).output().expect("ark starts"));
    assert_eq!(report["passed"], true, "{report:#}");
    let history = command(&stage, &["history"]).output().expect("ark starts");
    let history = report_of(&history);
    assert_eq!(history.as_array().map(Vec::len), Some(2), "{history:#}");
    assert!(
        history[0]["result"].to_string().contains("given up"),
        "{history:#}"
    );
}
