//! `ark upgrade` with the real binary behind a front: a good version serves on the same data and no request fails; any other leaves or gives the
//! stable one back; whatever is killed on the way, the end is one of both.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use ark_tests::{ark_program, run_ark, wait_until};
use serde_json::{Value, json};

use super::canary::stage::{CanaryFixture, is_ready, script, sh};

/// The phases that the journal announces.
const PHASES: [&str; 6] = ["check", "snapshot", "replay", "stop", "start", "validation"];

/// What the new version's check finds no fault with: ports that nobody else has.
pub(super) const CONFIG: &str = "listen = \"127.0.0.1:0\"\ntelemetry_listen = \"127.0.0.1:0\"\n";

pub(super) fn command(stage: &CanaryFixture, more: &[&str]) -> Command {
    let path = |name: &str| stage.dir.path().join(name).display().to_string();
    let mut command = Command::new(ark_program());
    command
        .args(["upgrade", "--json", "--url"])
        .arg(format!("http://{}", stage.owner))
        .args(["--journal", &path("upgrade.journal")])
        .args(more)
        .env("XDG_STATE_HOME", path("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// An upgrade of the stage's host.
pub(super) fn upgrade(stage: &CanaryFixture, more: &[&str]) -> Command {
    upgrade_to(stage, "new-ark", more)
}

/// An upgrade of the stage's host to the program in a file.
fn upgrade_to(stage: &CanaryFixture, file: &str, more: &[&str]) -> Command {
    let path = |name: &str| stage.dir.path().join(name).display().to_string();
    let mut command = command(stage, &[&path(file)]);
    command
        .args([
            "--name",
            "2.0.0",
            "--category",
            "ethics",
            "--timeout",
            "240",
        ])
        .args([
            "--data-dir",
            &path("data"),
            "--snapshots",
            &path("snapshots"),
        ])
        .args(["--config", &path("ark.toml")])
        .args(["--stop-command", &script(&stage.dir, "stop")])
        .args(["--start-command", &script(&stage.dir, "start-new")])
        .args(["--start-stable-command", &script(&stage.dir, "start")])
        .args(more);
    command
}

pub(super) fn report_of(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

pub(super) fn errors_of(mut command: Command) -> String {
    let output = command.output().expect("ark starts");
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(super) fn run(mut command: Command) -> Value {
    report_of(&command.output().expect("ark starts"))
}

fn journal_text(stage: &CanaryFixture) -> String {
    std::fs::read_to_string(stage.dir.path().join("upgrade.journal")).unwrap_or_default()
}

/// Replaces text in a file of the stage.
pub(super) fn change(stage: &CanaryFixture, file: &str, from: &str, to: &str) {
    let path = stage.dir.path().join(file);
    let text = std::fs::read_to_string(&path).expect("a file");
    let changed = text.replacen(from, to, 1);
    assert_ne!(changed, text, "{file}");
    std::fs::write(&path, changed).expect("a file");
}

/// The stable version serves again, for the next round.
pub(super) fn back_to_stable(stage: &CanaryFixture) {
    sh(&script(&stage.dir, "stop"));
    sh(&script(&stage.dir, "start"));
    wait_until("the host is ready", || is_ready(&stage.owner));
}

#[test]
fn the_validation_of_an_upgrade_reads_the_objectives_that_the_host_shows() {
    let stage = CanaryFixture::start(CONFIG, "");
    let start = std::fs::read_to_string(stage.dir.path().join("start.sh")).expect("a file");
    let mut words = start
        .split(' ')
        .skip_while(|word| *word != "--telemetry-listen");
    let telemetry = words.nth(1).expect("an address");
    let env = stage.dir.path().join("env");
    let write = |address: &str| {
        std::fs::write(&env, format!("ARK_TELEMETRY_LISTEN={address}\n")).expect("a file");
        std::fs::set_permissions(&env, Permissions::from_mode(0o600)).expect("a mode");
    };
    let env_file = env.to_str().expect("UTF-8");
    let more = ["--env-file", env_file, "--category", "beyond"];
    // What shows no objectives now would undo the upgrade.
    for (address, is_read) in [(telemetry, true), ("127.0.0.1:9", false)] {
        write(address);
        let lines = run(upgrade(&stage, &[&more[..], &["--dry-run"]].concat()));
        let expected = format!("with the objectives at http://{address}");
        assert_eq!(lines.to_string().contains(&expected), is_read, "{lines:#}");
    }
    write(telemetry);
    let report = run(upgrade(&stage, &more));
    assert_eq!(report["upgraded"], true, "{report:#}");
    let mut cases = report["validation"]["cases"]
        .as_array()
        .expect("cases")
        .iter();
    let case = cases.find(|case| case["name"] == "objectives");
    let detail = case.expect("the test")["detail"].as_str().expect("text");
    assert!(detail.contains("windows"), "{detail}");
}

#[test]
fn a_good_version_serves_on_the_same_data_and_no_request_fails() {
    let stage = CanaryFixture::start(CONFIG, "");
    let lines = run(upgrade(&stage, &["--dry-run"]));
    assert_eq!(lines.as_array().map(Vec::len), Some(7), "{lines:#}");
    let (report, decided) = stage.under_load(|| {
        wait_until("there are decisions", || stage.recorded().len() > 50);
        run(upgrade(&stage, &[]))
    });
    assert_eq!(report["upgraded"], true, "{report:#}");
    assert_eq!(report["unrecorded"], json!([]), "{report:#}");
    assert!(report["replayed"].as_u64() > Some(50), "{report:#}");
    assert!(report["pause_ms"].as_u64() > Some(0), "{report:#}");
    assert_eq!(report["validation"]["passed"], true, "{report:#}");
    println!(
        "{} ms without a host, {} decisions",
        report["pause_ms"],
        decided.len()
    );
    assert_eq!(stage.serving(), "new");
    assert!(decided.is_subset(&stage.recorded()), "none is lost");
    stage.assert_chain();
    let steps: Vec<Value> = stage.steps().into_iter().rev().collect();
    let names: Vec<&str> = steps
        .iter()
        .map(|step| step["step"].as_str().expect("a name"))
        .collect();
    assert_eq!(
        names,
        ["check", "replay", "start", "validation", "upgraded"]
    );
    assert!(steps.iter().all(|step| step["kind"] == "upgrade"));
    let refused = command(&stage, &[]).output().expect("ark starts");
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(errors.contains("no upgrade of"), "{errors}");
}

#[test]
fn a_version_that_finds_a_fault_differs_or_fails_leaves_or_gives_back_the_stable_one() {
    let stage = CanaryFixture::start(CONFIG, "");
    let new_ark = stage.dir.path().join("new-ark");
    let good = std::fs::read_to_string(&new_ark).expect("a file");
    let start_new = std::fs::read_to_string(stage.dir.path().join("start-new.sh")).expect("a file");
    let ((), decided) = stage.under_load(|| {
        wait_until("there are decisions", || stage.recorded().len() > 20);
        // What stops it before the host is stopped.
        stage.set_program_fault("denies");
        let report = run(upgrade(&stage, &[]));
        stage.set_program_fault("");
        assert_eq!(report["upgraded"], false, "{report:#}");
        assert!(report["reason"].to_string().contains("judges recorded decisions otherwise"), "{report:#}");
        assert!(report["rollback"].is_null(), "{report:#}");
        assert_eq!(stage.serving(), "stable");
        let faults = [
            (
                "case \"$1\" in check) echo '{\"errors\":1,\"skipped\":0,\"warnings\":0,\"lines\":[{\"check\":\"graveyard\",\"status\":\"error\",\"found\":\"another pin\"}]}'; exit 1;; esac",
                "graveyard: another pin",
            ),
        ];
        for (fault, reason) in faults {
            std::fs::write(&new_ark, good.replacen('\n', &format!("\n{fault}\n"), 1)).expect("a file");
            let report = run(upgrade(&stage, &[]));
            assert_eq!(report["upgraded"], false, "{report:#}");
            assert!(report["reason"].to_string().contains(reason), "{report:#}");
            assert!(report["rollback"].is_null(), "{report:#}");
            assert_eq!(stage.serving(), "stable");
        }
        std::fs::write(&new_ark, &good).expect("a file");
        // One that does not start, of the same schema and of a later one: by the steps of a rollback, with all decisions.
        for schema in ["", "export TEST_ARK_LATER_SCHEMA=1"] {
            std::fs::write(&new_ark, good.replacen('\n', &format!("\n{schema}\n"), 1)).expect("a file");
            let failing = if schema.is_empty() {
                "echo it has no legs >&2; exit 7\n".to_owned()
            } else {
                // It migrates the database first.
                format!(
                    "{new} serve --data-dir {data} --config {config} --listen 127.0.0.1:0 --telemetry-listen off >{out} 2>&1 &\n\
                     until grep -q listening {out}; do sleep 0.1; done; kill $!; wait $!; exit 7\n",
                    new = new_ark.display(),
                    data = stage.dir.data().display(),
                    config = stage.dir.config().display(),
                    out = stage.dir.path().join("out").display(),
                )
            };
            change(&stage, "start-new.sh", &start_new, &failing);
            let report = run(upgrade(&stage, &[]));
            std::fs::write(stage.dir.path().join("start-new.sh"), &start_new).expect("a file");
            assert_eq!(report["upgraded"], false, "{report:#}");
            let back = &report["rollback"];
            assert_eq!(back["passed"], true, "{report:#}");
            assert_eq!(back["set_aside"].is_null(), schema.is_empty(), "{report:#}");
            if !schema.is_empty() {
                assert_eq!(back["set_aside"]["decisions"], 0, "{report:#}");
            }
            assert_eq!(stage.serving(), "stable");
        }
    });
    assert!(decided.is_subset(&stage.recorded()), "none is lost");
    stage.assert_chain();
}

#[test]
fn a_version_that_migrated_and_served_goes_back_only_for_a_number_of_decisions() {
    let stage = CanaryFixture::start(CONFIG, "");
    change(
        &stage,
        "new-ark",
        "\n",
        "\nexport TEST_ARK_LATER_SCHEMA=1\n",
    );
    let report = run(upgrade(&stage, &[]));
    assert_eq!(report["upgraded"], true, "{report:#}");
    // The same again, with a validation that fails: the watchdog is too slow for it. Decisions of the validation are at stake.
    let data = stage.dir.data();
    let kept = std::fs::read_dir(stage.dir.path().join("snapshots")).expect("snapshots");
    let kept = kept.flatten().map(|entry| entry.path());
    let kept = kept.filter(|path| path.display().to_string().ends_with("-before-migration"));
    let kept: Vec<_> = kept.collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    sh(&script(&stage.dir, "stop"));
    let restored = Command::new(ark_program())
        .args(["state", "restore", "--replace", "--data-dir"])
        .arg(&data)
        .arg(&kept[0])
        .output()
        .expect("ark starts");
    assert!(restored.status.success(), "{restored:?}");
    back_to_stable(&stage);
    // Killed at its validation, when the new version has judged.
    let mut killed = upgrade(&stage, &["--category", "watchdog"])
        .spawn()
        .expect("ark starts");
    wait_phase(&stage, &mut killed, "validation");
    wait_until("the new version has judged", || stage.recorded().len() > 2);
    killed.kill().expect("SIGKILL");
    killed.wait().expect("its end");
    // A token that goes with the database of the new version.
    let url = format!("http://{}", stage.owner);
    let words = ["token", "create", "--role", "admin", "--name", "ada"];
    let made = run_ark(&[&words[..], &["--url", &url]].concat());
    assert!(made.status.success(), "{made:?}");
    let token = stage.dir.path().join("ada.token");
    std::fs::write(&token, made.stdout).expect("a file");
    std::fs::set_permissions(&token, Permissions::from_mode(0o600)).expect("a mode");
    let with_token = ["--token-file", token.to_str().expect("UTF-8"), "--back"];
    let refused = errors_of(command(&stage, &with_token));
    assert!(refused.contains("--accept-loss-of-decisions"), "{refused}");
    assert_eq!(stage.serving(), "new");
    let accepted = ["--accept-loss-of-decisions", "100"];
    let back = run(command(&stage, &[&with_token[..], &accepted].concat()));
    // That it went back is recorded with the token that the restore made.
    assert_eq!(back["unrecorded"], json!([]), "{back:#}");
    let file = back["rollback"]["token_file"].as_str().expect("a path");
    let words = ["canary", "status", "--json", "--url", &url];
    let steps = run_ark(&[&words[..], &["--token-file", file]].concat());
    let steps: Value = serde_json::from_slice(&steps.stdout).expect("JSON");
    assert_eq!(steps["steps"][0]["step"], "went-back", "{steps:#}");
    assert_eq!(back["rollback"]["passed"], true, "{back:#}");
    assert!(
        back["rollback"]["set_aside"]["decisions"].as_u64() > Some(0),
        "{back:#}"
    );
    assert_eq!(stage.serving(), "stable");
    stage.assert_chain();
}

#[test]
fn no_upgrade_ends_with_another_version_than_the_new_one() {
    let stage = CanaryFixture::start(CONFIG, "");
    // Commands that leave the old version in its place: a unit that starts another path, for instance.
    let at = |name: &str| stage.dir.path().join(name);
    let [start, start_new] = ["start.sh", "start-new.sh"].map(|name| {
        let text = std::fs::read_to_string(at(name)).expect("a file");
        (name, text)
    });
    std::fs::write(at(start_new.0), &start.1).expect("a file");
    let report = run(upgrade(&stage, &[]));
    assert_eq!(report["upgraded"], false, "{report:#}");
    let reason = report["reason"].as_str().expect("a reason");
    let old = "/ark (sha256 ";
    assert!(
        reason.contains("the host that serves is not 2.0.0") && reason.contains(old),
        "{reason}"
    );
    assert_eq!(report["rollback"]["passed"], true, "{report:#}");
    std::fs::write(at(start_new.0), &start_new.1).expect("a file");
    // Nobody stays with what does not serve.
    let mut killed = upgrade(&stage, &["--category", "watchdog"])
        .spawn()
        .expect("ark starts");
    wait_phase(&stage, &mut killed, "validation");
    killed.kill().expect("SIGKILL");
    killed.wait().expect("its end");
    back_to_stable(&stage);
    let refused = errors_of(command(&stage, &["--keep"]));
    assert!(
        refused.contains("the host that serves is not 2.0.0") && refused.contains(old),
        "{refused}"
    );
    sh(&script(&stage.dir, "stop"));
    sh(&script(&stage.dir, "start-new"));
    wait_until("the host is ready", || is_ready(&stage.owner));
    let kept = run(command(&stage, &["--keep"]));
    let reason = kept["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("; 2.0.0 (") && reason.ends_with(" serves"),
        "{reason}"
    );
    // The way back of the next one would be a version that does not serve.
    let refused = errors_of(upgrade(&stage, &["--dry-run"]));
    assert!(
        refused.contains("is not the one that a failed upgrade would go back to")
            && refused.contains("--stable-binary"),
        "{refused}"
    );
    let new = at("new-ark").display().to_string();
    run(upgrade(&stage, &["--dry-run", "--stable-binary", &new]));
}

#[test]
fn an_operator_stays_with_a_version_that_cannot_go_back_without_a_loss() {
    let stage = CanaryFixture::start(CONFIG, "");
    let later = "\nexport TEST_ARK_LATER_SCHEMA=1\n";
    change(&stage, "new-ark", "\n", later);
    let slow = "\nif [ \"$1\" != serve ]; then sleep 0.5; fi\nexec ";
    change(&stage, "new-ark", "\nexec ", slow);
    let kill_at = |mut upgrade: Command, phase: &str| {
        let mut killed = upgrade.spawn().expect("ark starts");
        wait_phase(&stage, &mut killed, phase);
        if phase == "validation" {
            wait_until("the new version has judged", || stage.recorded().len() > 2);
        }
        killed.kill().expect("SIGKILL");
        killed.wait().expect("its end");
    };
    let keep = || command(&stage, &["--keep"]);
    assert!(errors_of(keep()).contains("no upgrade of"));
    kill_at(upgrade(&stage, &["--category", "watchdog"]), "check");
    let refused = errors_of(keep());
    assert!(refused.contains("was not started yet"), "{refused}");
    kill_at(command(&stage, &[]), "validation");
    let refused = errors_of(command(&stage, &["--back"]));
    assert!(
        refused.contains("--accept-loss-of-decisions") && refused.contains("ark upgrade --keep"),
        "{refused}"
    );
    // Nobody stays with what does not serve.
    sh(&script(&stage.dir, "stop"));
    let refused = errors_of(keep());
    assert!(refused.contains("start the new version"), "{refused}");
    sh(&script(&stage.dir, "start-new"));
    wait_until("the host is ready", || is_ready(&stage.owner));
    let decided = stage.recorded();
    let kept = run(keep());
    assert_eq!(kept["upgraded"], true, "{kept:#}");
    let reason = kept["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with("an operator stays with the new version; it was going back"),
        "{reason}"
    );
    assert_eq!(stage.steps()[0]["step"], "kept");
    assert!(decided.is_subset(&stage.recorded()), "none is lost");
    assert!(errors_of(command(&stage, &[])).contains("no upgrade of"));
    // The next one begins as ever. It is known by its digest, not by its path.
    let at = |name: &str| stage.dir.path().join(name);
    let new = at("new-ark").display().to_string();
    let stable = ["--stable-binary", new.as_str()];
    kill_at(upgrade(&stage, &stable), "check");
    std::fs::copy(at("new-ark"), at("moved-ark")).expect("a copy");
    change(&stage, "new-ark", "sleep 0.5", "sleep 0.6");
    let refused = errors_of(command(&stage, &[]));
    assert!(refused.contains("is not the version any more"), "{refused}");
    let refused = errors_of(upgrade(&stage, &[]));
    assert!(refused.contains("was begun and has not ended"), "{refused}");
    let report = run(upgrade_to(&stage, "moved-ark", &[]));
    assert_eq!(report["upgraded"], true, "{report:#}");
    // The database has the schema of the newer version.
    let data = stage.dir.data();
    let verified = Command::new(ark_program())
        .args(["audit", "verify", "--data-dir"])
        .arg(&data)
        .env("TEST_ARK_LATER_SCHEMA", "1")
        .output()
        .expect("ark starts");
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn an_upgrade_that_is_killed_at_any_step_goes_on_or_goes_back() {
    let stage = CanaryFixture::start(CONFIG, "");
    // Commands that can be killed meanwhile; what they began goes on beside.
    change(
        &stage,
        "new-ark",
        "\nexec ",
        "\nif [ \"$1\" != serve ]; then sleep 0.5; fi\nexec ",
    );
    change(&stage, "stop.sh", "kill $p", "\nsleep 1; kill $p");
    change(&stage, "start-new.sh", "if [ -e ", "\nsleep 1; if [ -e ");
    let ((), decided) = stage.under_load(|| {
        for phase in PHASES {
            for (verb, kills_host) in [("", false), ("--back", false), ("", true)] {
                if kills_host && phase != "validation" {
                    continue;
                }
                let mut killed = upgrade(&stage, &[]).spawn().expect("ark starts");
                wait_phase(&stage, &mut killed, phase);
                killed.kill().expect("SIGKILL");
                killed.wait().expect("its end");
                let another = command(&stage, &[&ark_program().display().to_string()])
                    .args([
                        "--unit",
                        "ark",
                        "--data-dir",
                        "data",
                        "--snapshots",
                        "snapshots",
                    ])
                    .output()
                    .expect("ark starts");
                let errors = String::from_utf8_lossy(&another.stderr);
                assert!(errors.contains("was begun and has not ended"), "{errors}");
                if kills_host {
                    sh(&stage.kill_commands());
                }
                let more: Vec<&str> = [verb].into_iter().filter(|verb| !verb.is_empty()).collect();
                let report = run(command(&stage, &more));
                assert_eq!(report["upgraded"], verb.is_empty(), "{phase}: {report:#}");
                assert!(is_ready(&stage.owner), "{phase} {verb}");
                let serving = if verb.is_empty() { "new" } else { "stable" };
                assert_eq!(stage.serving(), serving, "{phase}: {report:#}");
                if verb.is_empty() {
                    back_to_stable(&stage);
                }
            }
        }
    });
    assert!(decided.is_subset(&stage.recorded()), "none is lost");
    stage.assert_chain();
}

/// Waits until an upgrade that runs has announced a phase.
fn wait_phase(stage: &CanaryFixture, upgrade: &mut Child, phase: &str) {
    wait_until("the upgrade has come so far", || {
        assert!(
            upgrade.try_wait().expect("a state").is_none(),
            "{phase}: it has ended"
        );
        journal_text(stage).contains(&format!("{{\"phase\":\"{phase}\"}}"))
    });
}

#[test]
fn a_stop_command_that_fails_leaves_the_host_and_ends_the_upgrade() {
    let stage = CanaryFixture::start(CONFIG, "");
    let at = |name: &str| stage.dir.path().join(name);
    let read = |name: &str| std::fs::read_to_string(at(name)).expect("a file");
    let (stop, pid) = (read("stop.sh"), read("pid"));
    let unstopped = "the host was not stopped, and serves on";
    let bad = "echo no such unit >&2; exit 3\n";
    std::fs::write(at("stop.sh"), bad).expect("a file");
    let ((), decided) = stage.under_load(|| {
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

#[test]
fn another_validation_of_the_host_holds_an_upgrade_up_and_does_not_undo_it() {
    let stage = CanaryFixture::start(CONFIG, "");
    let more = ["--category", "isolation"];
    let mut running = upgrade(&stage, &more).spawn().expect("ark starts");
    wait_phase(&stage, &mut running, "validation");
    let of_other = |journal: &str| {
        let mut command = Command::new(ark_program());
        command
            .args(["validate", "--json", "--category", "isolation", "--url"])
            .arg(format!("http://{}", stage.owner))
            .arg("--journal")
            .arg(stage.dir.path().join(journal))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.output().expect("ark starts")
    };
    // As another user's, who knows nothing of the upgrade.
    let other = of_other("other.journal");
    let report = report_of(&running.wait_with_output().expect("its end"));
    assert_eq!(report["upgraded"], true, "{report:#}");
    assert_eq!(report["validation"]["passed"], true, "{report:#}");
    let other_report = report_of(&other);
    assert_eq!(other_report["passed"], true, "{other_report:#}");
    // Somebody removes the probe: the validation is repeated.
    back_to_stable(&stage);
    let mut running = upgrade(&stage, &more).spawn().expect("ark starts");
    wait_phase(&stage, &mut running, "validation");
    let url = format!("http://{}", stage.owner);
    let remove = || {
        run_ark(&[
            "agent",
            "delete",
            "validation-probe",
            "--force",
            "--reason",
            "test",
            "--url",
            &url,
        ])
    };
    wait_until("the probe is removed", || remove().status.success());
    let output = running.wait_with_output().expect("its end");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = report_of(&output);
    assert_eq!(report["upgraded"], true, "{report:#}: {told}");
    assert!(told.contains("the validation is repeated"), "{told}");
}

#[test]
fn what_a_killed_snapshot_left_is_removed_by_the_run_that_goes_on_or_back() {
    let stage = CanaryFixture::start(CONFIG, "");
    let snapshots = stage.dir.path().join("snapshots");
    let list_left = || -> Vec<String> {
        let entries = std::fs::read_dir(&snapshots).expect("the snapshots");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .filter(|name| {
                let extension = Path::new(name).extension();
                extension.is_some_and(|extension| extension == "partial" || extension == "trial")
            })
            .collect()
    };
    // Of somebody else.
    let foreign = snapshots.join("upgrade-other-1.partial");
    std::fs::create_dir_all(&foreign).expect("a directory");
    for verb in ["", "--back"] {
        let mut killed = upgrade(&stage, &[]).spawn().expect("ark starts");
        wait_phase(&stage, &mut killed, "snapshot");
        killed.kill().expect("SIGKILL");
        killed.wait().expect("its end");
        // As a kill in the middle of a copy leaves it, which takes too short a time here to be met.
        let text = journal_text(&stage);
        let begin = text.find("upgrade-").expect("an id");
        let id = text[begin..].split('"').next().expect("an id");
        for copy in ["1.partial", "1.trial", "before-migration.partial"] {
            let copy = snapshots.join(format!("{id}-{copy}"));
            std::fs::create_dir_all(&copy).expect("a directory");
            std::fs::write(copy.join("ark.db"), "a part").expect("a file");
        }
        let more: &[&str] = if verb.is_empty() { &[] } else { &[verb] };
        let report = run(command(&stage, more));
        assert_eq!(report["upgraded"], verb.is_empty(), "{report:#}");
        assert_eq!(list_left(), ["upgrade-other-1.partial"], "{verb}");
        back_to_stable(&stage);
    }
}

#[test]
fn an_upgrade_of_a_host_that_does_not_answer_says_so() {
    let stage = CanaryFixture::start(CONFIG, "");
    sh(&script(&stage.dir, "stop"));
    for more in [&[][..], &["--dry-run"]] {
        let output = upgrade(&stage, more).output().expect("ark starts");
        let report = report_of(&output);
        let error = report["error"].as_str().expect("an error");
        assert!(
            error.contains("no host answers at") && error.contains("start the version"),
            "{error}"
        );
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
    assert_eq!(journal_text(&stage), "");
}

#[test]
fn a_command_line_that_is_refused_is_told_as_json_too() {
    let stage = CanaryFixture::start(CONFIG, "");
    let output = command(&stage, &["--back", "--timeout", "7"])
        .output()
        .expect("ark starts");
    let report = report_of(&output);
    let error = report["error"].as_str().expect("an error");
    assert!(error.contains("no upgrade is under way"), "{error}");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
