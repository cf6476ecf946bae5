//! What `ark upgrade`, `ark rollback` and `ark canary` do with a token that the host refuses: nothing, unless the way back needs none.

use std::path::Path;
use std::process::Command;

use ark_tests::wait_until;
use serde_json::Value;

use super::dry_runs::{canary_options, lines_of, look, rehearse, run, text_of, words};
use super::gates::Gates;
use crate::production::canary::stage::{CanaryFixture, is_ready, script, sh};
use crate::production::{rollback, upgrade};

/// The files with the tokens of a stage.
struct Tokens {
    admin: String,
    operator: String,
    reader: String,
}

/// Has the host of a stage make a token of each role. From then on it asks for one.
fn make_tokens(stage: &CanaryFixture) -> Tokens {
    let url = format!("http://{}", stage.owner);
    let make = |role: &str, admin: Option<&str>| {
        let mut words = vec![
            "token", "create", "--role", role, "--name", role, "--url", &url,
        ];
        words.extend(admin.iter().flat_map(|admin| ["--token-file", admin]));
        let made = ark_tests::run_ark(&words);
        assert!(made.status.success(), "{made:?}");
        let file = stage.dir.path().join(format!("{role}.token"));
        std::fs::write(&file, made.stdout).expect("a file");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, mode).expect("a mode");
        file.display().to_string()
    };
    let admin = make("admin", None);
    Tokens {
        operator: make("operator", Some(&admin)),
        reader: make("reader", Some(&admin)),
        admin,
    }
}

fn with_token(mut command: Command, token: Option<&str>) -> Command {
    command.args(token.into_iter().flat_map(|file| ["--token-file", file]));
    command
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Runs a command that must end before anything changes. Returns what it says.
fn refuse_run(stage: &CanaryFixture, journal: &Path, command: Command) -> String {
    let at = |name: &str| stage.dir.path().join(name);
    // The process of the host that was started last is the same.
    let state = || (read(journal), read(&at("pid")), at("snapshots").exists());
    let (before, seen) = (look(stage), state());
    let refused = run(command);
    let said = text_of(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    let after = look(stage);
    assert_eq!(before.audit_rows, after.audit_rows, "{said}");
    assert_eq!(before.weights, after.weights, "{said}");
    assert_eq!(seen, state(), "{said}");
    said
}

fn journal_of(stage: &CanaryFixture, name: &str) -> std::path::PathBuf {
    stage.dir.path().join(format!("{name}.journal"))
}

#[test]
fn a_token_that_the_host_refuses_ends_a_run_as_its_dry_run_before_anything_changes() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    let options = rollback::options(&stage);
    let canary = canary_options(&stage);
    let tokens = make_tokens(&stage);
    let (reader, operator) = (Some(&*tokens.reader), Some(&*tokens.operator));
    let records = "the token that records steps at the host";
    let proposes = "the token that proposes in the validation";
    type Row<'a> = (Option<&'a str>, &'a [&'a str]);
    let validated: &[Row<'_>] = &[
        (None, &[records, proposes, "(401)"]),
        (reader, &[records, proposes, "(403)"]),
        // Operators propose nothing.
        (operator, &[proposes, "(403)"]),
    ];
    type Build<'a> = &'a dyn Fn() -> Command;
    // Prometheus and the fronts of the stage have no token.
    let kinds: [(&str, Build<'_>, &[Row<'_>], &str); 3] = [
        (
            "upgrade",
            &|| upgrade::upgrade(&stage, &[]),
            validated,
            "nothing was changed",
        ),
        (
            "rollback",
            &|| rollback::command(&stage, &words(&options)),
            validated,
            "--no-validation",
        ),
        (
            "canary",
            &|| stage.start_command(&words(&canary)),
            &[(None, &[records, "(401)"]), (reader, &[records, "(403)"])],
            "nothing was changed",
        ),
    ];
    for (name, build, rows, remedy) in kinds {
        for (token, expected) in rows {
            let refused = rehearse(&stage, with_token(build(), *token));
            let rehearsed = text_of(&refused.stderr);
            assert_eq!(refused.status.code(), Some(1), "{rehearsed}");
            let journal = journal_of(&stage, name);
            let said = refuse_run(&stage, &journal, with_token(build(), *token));
            assert!(said.contains(remedy), "{said}");
            assert_eq!(read(&journal), "", "{said}");
            for part in *expected {
                assert!(rehearsed.contains(part), "{part}: {rehearsed}");
                assert!(said.contains(part), "{part}: {said}");
            }
        }
        lines_of(&rehearse(&stage, with_token(build(), Some(&tokens.admin))));
    }
    assert_eq!(stage.serving(), "stable");
}

#[test]
fn what_was_killed_goes_on_with_a_token_that_the_host_takes_and_is_undone_with_any() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    let gates = Gates::install(&stage);
    let tokens = make_tokens(&stage);
    let (admin, reader) = (Some(&*tokens.admin), Some(&*tokens.reader));
    let journal = journal_of(&stage, "upgrade");
    for gate in ["replay", "start-new"] {
        gates.close(gate);
        let mut begun = with_token(upgrade::upgrade(&stage, &[]), admin)
            .spawn()
            .expect("ark starts");
        gates.wait_held(gate);
        begun.kill().expect("SIGKILL");
        begun.wait().expect("its end");
        gates.open();
        wait_until("the commands have ended", || {
            stage.serving() == if gate == "replay" { "stable" } else { "new" }
                && is_ready(&stage.owner)
        });
        let goes_on = || upgrade::command(&stage, &[]);
        let said = refuse_run(&stage, &journal, with_token(goes_on(), reader));
        assert!(said.contains("(403)"), "{said}");
        assert_ne!(read(&journal), "", "{said}");
        if gate == "start-new" {
            let kept = with_token(upgrade::command(&stage, &["--keep"]), reader);
            let lines = lines_of(&rehearse(&stage, kept));
            assert!(lines[1].starts_with("kept: "), "{lines:#?}");
        }
        let report = upgrade::run(with_token(goes_on(), admin));
        assert_eq!(report["upgraded"], true, "{report:#}");
        assert_eq!(stage.serving(), "new");
        upgrade::back_to_stable(&stage);
    }
    let file = ["--token-file", &tokens.admin, "--step", "600"];
    let mut running = stage.spawn_canary(&file);
    wait_until("it has a share", || stage.haproxy.weight("canary") > 0);
    running.kill().expect("SIGKILL");
    running.wait().expect("its end");
    let resume = with_token(stage.command("resume", &[]), reader);
    let said = refuse_run(&stage, &stage.journal(), resume);
    assert!(said.contains("(403)"), "{said}");
    assert_ne!(stage.journal_text(), "", "{said}");
    let aborted = run(with_token(stage.command("abort", &[]), reader));
    assert!(aborted.status.success(), "{aborted:?}");
    stage.assert_weights(100, 0);
}

#[test]
fn a_rollback_goes_on_without_a_token_where_none_is_needed_or_no_host_answers() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    let mut options = rollback::options(&stage);
    let traffic = options.iter().position(|option| option == "--haproxy");
    let traffic = traffic.expect("an option");
    options.drain(traffic..traffic + 2);
    let tokens = make_tokens(&stage);
    let begin = |more: &[&str]| {
        let command = rollback::command(&stage, &[&words(&options)[..], more].concat());
        with_token(command, Some(&tokens.reader))
    };
    // Nobody validates, and the steps go unrecorded.
    rollback::promote_new(&stage);
    let lines = lines_of(&rehearse(&stage, begin(&["--no-validation"])));
    let note = lines.iter().find(|line| line.starts_with("note: "));
    let note = note.unwrap_or_else(|| panic!("{lines:#?}"));
    assert!(note.contains("(403)"), "{note}");
    let report = rollback::report_of(&run(begin(&["--no-validation"])));
    assert_eq!(report["passed"], true, "{report:#}");
    assert_eq!(stage.serving(), "stable");
    let unrecorded = report["unrecorded"].as_array().map(Vec::len);
    assert!(unrecorded > Some(3), "{report:#}");
    // No host answers that could say what it takes.
    rollback::promote_new(&stage);
    sh(&script(&stage.dir, "stop"));
    lines_of(&rehearse(&stage, begin(&[])));
    let failed = run(begin(&[]));
    let said = rollback::errors_of(&failed);
    assert!(
        said.contains("the step validation failed") && said.contains("(403)"),
        "{said}"
    );
    assert_eq!(stage.serving(), "stable");
    let report = rollback::report_of(&run(with_token(
        rollback::command(&stage, &[]),
        Some(&tokens.admin),
    )));
    assert_eq!(report["passed"], true, "{report:#}");
    assert_eq!(
        report["validation"]["passed"],
        Value::Bool(true),
        "{report:#}"
    );
    assert_eq!(stage.serving(), "stable");
}

#[test]
fn an_order_to_a_canary_and_its_dry_run_ask_for_a_token_where_this_command_goes_on_alone() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    let tokens = make_tokens(&stage);
    let reader = Some(&*tokens.reader);
    let file = ["--token-file", &tokens.admin, "--step", "600"];
    let mut running = stage.spawn_canary(&file);
    wait_until("it has a share", || stage.haproxy.weight("canary") > 0);
    let order = |order: &str, token: Option<&str>, is_dry: bool| {
        let mut command = with_token(stage.command(order, &[]), token);
        command.args(is_dry.then_some("--dry-run"));
        command
    };
    // The process that runs it takes the order, and has its own token.
    for (name, is_given) in [
        ("pause", true),
        ("resume", true),
        ("promote", true),
        ("abort", false),
    ] {
        for token in [None, reader] {
            let rehearsed = run(order(name, token, true));
            assert!(
                rehearsed.status.success(),
                "{name} {token:?}: {rehearsed:?}"
            );
        }
        if is_given {
            let taken = run(order(name, reader, false));
            assert!(taken.status.success(), "{name}: {taken:?}");
        }
    }
    assert!(running.try_wait().expect("a state").is_none());
    running.kill().expect("SIGKILL");
    running.wait().expect("its end");
    // No process runs it: what is told of the order, by the run as by its dry run. The last one ends the canary.
    for (name, token, problem) in [
        ("pause", reader, Some("`ark canary resume`")),
        ("promote", reader, Some("`ark canary resume`")),
        ("resume", None, Some("(401)")),
        ("resume", reader, Some("(403)")),
        ("abort", None, None),
    ] {
        let rehearsed = run(order(name, token, true));
        let done = run(order(name, token, false));
        for output in [rehearsed, done] {
            let said = text_of(&output.stderr);
            assert_eq!(output.status.success(), problem.is_none(), "{name}: {said}");
            assert!(
                problem.is_none_or(|problem| said.contains(problem)),
                "{name}: {said}"
            );
        }
    }
    stage.assert_weights(100, 0);
}
