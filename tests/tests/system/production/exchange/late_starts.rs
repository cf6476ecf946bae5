//! A new version that takes the data directory late, or never: one that nothing brings any more ends the wait long before its time is over, and one that
//! is only slow is waited for.

use serde_json::Value;

use crate::production::canary::stage::{CanaryFixture, is_ready};
use crate::production::upgrade;

/// How long a start may take, in seconds, so that what never comes is known after a third of it.
const START: &str = "60";

/// Has the new version do this before it serves. What starts it does not wait, and succeeds.
fn before_serving(stage: &CanaryFixture, what: &str) {
    let text = format!("\nif [ \"$1\" = serve ]; then {what}; fi\nexec ");
    upgrade::change(stage, "new-ark", "\nexec ", &text);
}

/// The reason says that the host never came. A wait to its end would say that the host is not ready.
fn assert_never_came(report: &Value) {
    let reason = report["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("no process has taken ") && reason.contains("nothing that it started"),
        "{reason}"
    );
}

#[test]
fn a_new_version_that_is_killed_before_it_takes_the_directory_goes_back_early() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    before_serving(&stage, "kill -9 $$");
    let options = stage.take_over_options();
    let within = |option| if option == "240" { START } else { option };
    let mut options: Vec<&str> = options.iter().map(String::as_str).map(within).collect();
    options.extend(["--shares", "100"]);
    let ((), decided) = stage.under_slow_load(|| {
        let report = upgrade::run(upgrade::upgrade_within(&stage, START));
        assert_eq!(report["upgraded"], false, "{report:#}");
        assert_never_came(&report);
        assert_eq!(report["rollback"]["passed"], true, "{report:#}");
        assert!(is_ready(&stage.owner) && stage.serving() == "stable");
        let report = stage.run_canary(&options);
        assert_eq!(report["promoted"], false, "{report:#}");
        assert_eq!(report["tripwire"], "take-over", "{report:#}");
        assert_never_came(&report);
        assert!(is_ready(&stage.owner) && stage.serving() == "stable");
    });
    stage.assert_weights(100, 0);
    // What the validation proposed comes on top.
    assert!(decided.is_subset(&stage.recorded()), "none is lost");
    stage.assert_chain();
}

#[test]
fn a_new_version_that_is_slow_to_take_the_directory_is_waited_for() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    // Longer than nothing may be there, where no process is left that may bring the host.
    before_serving(&stage, "sleep 23");
    let report = upgrade::run(upgrade::upgrade_within(&stage, START));
    assert_eq!(report["upgraded"], true, "{report:#}");
    assert!(report["pause_ms"].as_u64() > Some(23_000), "{report:#}");
    assert!(is_ready(&stage.owner) && stage.serving() == "new");
    stage.assert_chain();
}
