//! What a host decides while a command that exchanges it is away: no way back loses it unsaid.

use std::collections::BTreeSet;

use ark_tests::{Client, trade, wait_until};

use super::kills::{Moment, kill_once_in, wait_killed};
use crate::production::canary::stage::{CanaryFixture, is_ready};
use crate::production::{rollback, upgrade};

/// Has a new version migrate the database.
fn migrate_with_new(stage: &CanaryFixture) {
    let later = "\nexport TEST_ARK_LATER_SCHEMA=1\n";
    upgrade::change(stage, "new-ark", "\n", later);
}

/// A start of the new version that migrates the database and ends.
fn write_failing_start(stage: &CanaryFixture) {
    let at = |name: &str| stage.dir.path().join(name);
    let text = format!(
        "{new} serve --data-dir {data} --config {config} --listen 127.0.0.1:0 --telemetry-listen off >{out} 2>&1 &\n\
         until grep -q listening {out}; do sleep 0.1; done; kill $!; wait $!; exit 7\n",
        new = at("new-ark").display(),
        data = stage.dir.data().display(),
        config = stage.dir.config().display(),
        out = at("out").display(),
    );
    std::fs::write(at("start-new.sh"), text).expect("a script");
}

/// Has the host that serves decide. Returns the decisions.
fn record_decisions(stage: &CanaryFixture, name: &str) -> BTreeSet<String> {
    let mut client = Client::at(&stage.haproxy.address);
    let mut propose = |number: u32| {
        let symbol = format!("{name}{number}");
        let (status, answer) = client.post("/v1/actions", &trade(&symbol, 0.000_1));
        assert_eq!(status, 200, "{answer}");
        answer["decision_id"].as_str().expect("an id").to_owned()
    };
    (0..3).map(&mut propose).collect()
}

/// The number of entries of the directory of snapshots whose names contain a text.
fn count_snapshots(stage: &CanaryFixture, with: &str) -> usize {
    let names = std::fs::read_dir(stage.dir.path().join("snapshots")).expect("snapshots");
    let names = names.flatten().map(|entry| entry.file_name());
    names
        .filter(|name| name.to_string_lossy().contains(with))
        .count()
}

#[test]
fn what_the_stable_version_decides_after_a_kill_outlives_the_way_back() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    migrate_with_new(&stage);
    let start_new = stage.dir.path().join("start-new.sh");
    let text = std::fs::read_to_string(&start_new).expect("a script");
    // An upgrade is killed when the database was kept; an operator starts the stable version again.
    kill_once_in(&stage, "start-new.sh", Moment::Instead);
    let killed = upgrade::upgrade(&stage, &[]).spawn().expect("ark starts");
    wait_killed(&stage, killed);
    assert_eq!(count_snapshots(&stage, "-before-migration"), 1);
    upgrade::back_to_stable(&stage);
    let mut decided = record_decisions(&stage, "U");
    write_failing_start(&stage);
    let report = upgrade::run(upgrade::command(&stage, &[]));
    assert_eq!(report["upgraded"], false, "{report:#}");
    let back = &report["rollback"];
    assert_eq!(back["passed"], true, "{report:#}");
    assert_eq!(back["set_aside"]["decisions"], 0, "{report:#}");
    assert!(decided.is_subset(&stage.recorded()), "{report:#}");
    assert_eq!(count_snapshots(&stage, "-before-migration-superseded-"), 1);
    // A canary likewise.
    std::fs::write(&start_new, &text).expect("a script");
    let options = stage.take_over_options();
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    options.extend(["--shares", "100"]);
    kill_once_in(&stage, "start-new.sh", Moment::Instead);
    let begin = |then: &dyn Fn()| {
        let ((), load) = stage.under_slow_load(|| {
            wait_killed(&stage, stage.spawn_canary(&options));
            then();
        });
        load
    };
    decided.extend(begin(&|| upgrade::back_to_stable(&stage)));
    decided.extend(record_decisions(&stage, "D"));
    write_failing_start(&stage);
    let report = stage.run_verb("resume");
    assert_eq!(report["promoted"], false, "{report:#}");
    assert_eq!(stage.serving(), "stable");
    assert!(decided.is_subset(&stage.recorded()), "{report:#}");
    stage.assert_weights(100, 0);
    // The new version has migrated the database and decides.
    std::fs::write(&start_new, &text).expect("a script");
    kill_once_in(&stage, "start-new.sh", Moment::End);
    begin(&|| wait_until("the new version serves", || is_ready(&stage.owner)));
    let before = stage.recorded().len();
    let newer = record_decisions(&stage, "N");
    let lost = stage.recorded().len() - before;
    assert_eq!(lost, 3);
    let (is_taken, refused) = stage.ask("abort");
    assert!(
        !is_taken && refused.contains("`ark canary resume`"),
        "{refused}"
    );
    let needed = refused.split("--accept-loss-of-decisions ").nth(1);
    let needed = needed
        .and_then(|text| text.split('`').next())
        .expect("a number");
    assert!(
        needed.parse::<usize>().expect("a number") >= lost,
        "{refused}"
    );
    assert!(
        is_ready(&stage.owner) && stage.serving() == "new",
        "{refused}"
    );
    assert!(newer.is_subset(&stage.recorded()), "nothing was changed");
    let back = rollback::options(&stage);
    let refused = rollback::errors_of(&rollback::run(&stage, &back, &[]));
    assert!(refused.contains("--accept-loss-of-decisions"), "{refused}");
    let accepted = ["--accept-loss-of-decisions", needed];
    let report = rollback::report_of(&rollback::run(&stage, &back, &accepted));
    assert_eq!(report["passed"], true, "{report:#}");
    assert_eq!(
        report["set_aside"]["decisions"].to_string(),
        needed,
        "{report:#}"
    );
    assert_eq!(stage.serving(), "stable");
    let left = stage.recorded();
    assert!(newer.is_disjoint(&left));
    assert!(stage.run_verb("status")["host"].is_null());
    stage.assert_chain();
}
