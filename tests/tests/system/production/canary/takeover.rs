//! A good version gets everything.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use ark_tests::{Client, FAULT_VARIABLE, ark_program, newer_program, run_ark, wait_until};
use serde_json::{Value, json};

use super::stage::{CanaryFixture, script, wait_report};

#[test]
fn a_good_version_gets_all_requests_and_the_data_and_no_request_fails() {
    let stage = CanaryFixture::start("", "");
    // It has the time before.
    LazyLock::force(&stage.prometheus);
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
    // The second build is what runs.
    let program = std::fs::read_to_string(stage.dir.path().join("pid")).expect("a file");
    let program = std::fs::read_link(format!("/proc/{}/exe", program.trim())).expect("a program");
    assert!(program.ends_with("ark-next"), "{}", program.display());
    let said = Command::new(program)
        .arg("--version")
        .output()
        .expect("a version");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.trim().ends_with("+next"), "{said}");
    assert!(!ark_version().contains("+next"));
    stage.assert_chain();
    let status = stage.run_verb("status");
    assert_eq!(status["host"], json!(null), "{status:#}");
    assert_eq!(status["steps"][0]["step"], "promoted", "{status:#}");
}

#[test]
fn a_version_that_does_not_start_or_judges_otherwise_gives_the_data_back() {
    let stage = CanaryFixture::start("", "");
    let options = stage.take_over_options();
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    options.extend(["--shares", "100"]);
    let start_new = stage.dir.path().join("start-new.sh");
    let new_ark = stage.dir.path().join("new-ark");
    let program = std::fs::read_to_string(&new_ark).expect("a file");
    // The stable version is started again without a place for its log.
    let start = stage.dir.path().join("start.sh");
    let redirected = std::fs::read_to_string(&start).expect("a file");
    let (line, rest) = redirected.split_once(" >>").expect("a redirection");
    let (_, rest) = rest.split_once(" 2>&1").expect("a redirection");
    std::fs::write(&start, format!("{line}{rest}")).expect("a file");
    let ((), decided) = stage.under_load(|| {
        std::fs::write(&start_new, "echo it has no legs >&2; exit 7\n").expect("a file");
        let report = stage.run_canary(&options);
        std::fs::write(&start, &redirected).expect("a file");
        let told = stage.steps()[0]["reason"].to_string();
        assert!(
            told.contains("its log goes to a file that is deleted") && told.contains("2>&1"),
            "{told}"
        );
        assert_eq!(report["tripwire"], "take-over", "{report:#}");
        assert!(
            report["reason"].to_string().contains("no legs"),
            "{report:#}"
        );
        stage.assert_weights(100, 0);
        // A start that leaves the old version in its place.
        std::fs::copy(stage.dir.path().join("start.sh"), &start_new).expect("a copy");
        let report = stage.run_canary(&options);
        assert_eq!(report["tripwire"], "take-over", "{report:#}");
        let reason = report["reason"].to_string();
        assert!(reason.contains("the host that serves is not "), "{reason}");
        std::fs::write(&start_new, "echo it has no legs >&2; exit 7\n").expect("a file");
        // One that would have migrated the database: the way back loses nothing.
        let migrating = program.replacen(
            '\n',
            "\nif [ \"$1\" = version ]; then echo '{\"schema\":99}'; exit; fi\n",
            1,
        );
        std::fs::write(&new_ark, migrating).expect("a file");
        let report = stage.run_canary(&options);
        assert_eq!(report["tripwire"], "take-over", "{report:#}");
        // It has not migrated it, so that nothing is restored.
        let names = std::fs::read_dir(stage.dir.data()).expect("the data directory");
        let mut names = names.flatten().map(|entry| entry.file_name());
        assert!(!names.any(|name| name.to_string_lossy().starts_with("before-restore-")));
        stage.assert_weights(100, 0);
        // A version whose replay finds differences is stopped before the host is.
        std::fs::write(&new_ark, &program).expect("a file");
        stage.set_program_fault("denies");
        let report = stage.run_canary(&options);
        assert_eq!(report["tripwire"], "take-over", "{report:#}");
        let reason = report["reason"].as_str().expect("a reason");
        assert!(
            reason.contains("judges recorded decisions otherwise"),
            "{reason}"
        );
        assert!(reason.contains(" differ; `ark audit replay"), "{reason}");
        stage.assert_weights(100, 0);
    });
    assert_eq!(stage.recorded(), decided);
    let (status, ready) = Client::at(&stage.owner).get("/readyz");
    assert_eq!(status, 200, "{ready}");
    stage.assert_chain();
}

#[test]
fn a_stop_command_that_fails_leaves_the_host_and_the_requests_go_back() {
    let stage = CanaryFixture::start("", "");
    let texts = stage.take_over_options();
    let mut options: Vec<&str> = texts.iter().map(String::as_str).collect();
    options.extend(["--shares", "100"]);
    let at = |name: &str| stage.dir.path().join(name);
    let read = |name: &str| std::fs::read_to_string(at(name)).expect("a file");
    let (stop, pid) = (read("stop.sh"), read("pid"));
    let ((), decided) = stage.under_load(|| {
        // The host is never stopped: nothing is to be brought back, and no command is needed for it.
        std::fs::write(at("stop.sh"), "echo no such unit >&2; exit 3\n").expect("a file");
        let report = stage.run_canary(&options);
        assert_eq!(report["promoted"], false, "{report:#}");
        assert_eq!(report["tripwire"], "take-over", "{report:#}");
        let reason = report["reason"].as_str().expect("a reason");
        assert!(
            reason.contains("no such unit")
                && reason.contains("the host was not stopped, and serves on"),
            "{reason}"
        );
        assert!(stage.run_verb("status")["host"].is_null());
        assert_eq!((stage.serving(), read("pid")), ("stable".to_owned(), pid));
        stage.assert_weights(100, 0);
    });
    assert_eq!(stage.recorded(), decided);
    // One that stops the host and fails: the way back needs it, and fails likewise. The requests are back all the same.
    std::fs::write(at("stop.sh"), format!("{stop}\nexit 3\n")).expect("a file");
    let ((), _) = stage.under_failing_load(|| {
        let mut canary = stage.start_command(&options);
        let output = canary.output().expect("ark starts");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{errors}");
        assert!(
            errors.contains("`ark canary abort` tries again"),
            "{errors}"
        );
        stage.assert_weights(100, 0);
        // That it goes back is noted: no `resume` promotes it.
        // The command is corrected, and only the journal of this canary is.
        std::fs::write(at("good-stop.sh"), &stop).expect("a file");
        let command = script(&stage.dir, "good-stop");
        let more = ["--stop-command", command.as_str()];
        let output = stage.command("resume", &more).output().expect("ark starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("--stop-command: "), "{errors}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(report["promoted"], false, "{report:#}");
    });
    std::fs::write(at("stop.sh"), &stop).expect("a file");
    assert_eq!(stage.serving(), "stable");
    let (status, ready) = Client::at(&stage.owner).get("/readyz");
    assert_eq!(status, 200, "{ready}");
    stage.assert_weights(100, 0);
    stage.assert_chain();
}

#[test]
fn a_token_that_the_way_back_makes_is_kept_in_a_file_and_used() {
    let stage = CanaryFixture::start("", "");
    let options = stage.take_over_options();
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    options.extend(["--shares", "100"]);
    let path = |name: &str| stage.dir.path().join(name).display().to_string();
    // It migrates the database, somebody makes a token there, and it ends.
    let later = format!(
        "#!/bin/sh\nTEST_ARK_LATER_SCHEMA=1 exec {} \"$@\"\n",
        newer_program().display()
    );
    std::fs::write(path("new-ark"), later).expect("a file");
    let start = format!(
        "{new} serve --data-dir {data} --config {config} --listen 127.0.0.1:0 --telemetry-listen off >{out} 2>&1 &\n\
         until grep -q listening {out}; do sleep 0.1; done; kill $!; wait $!\n\
         {new} token create --role admin --name ada --data-dir {data} >/dev/null && echo it gives up >&2\nexit 7\n",
        new = path("new-ark"),
        data = path("data"),
        config = path("ark.toml"),
        out = path("out"),
    );
    std::fs::write(path("start-new.sh"), start).expect("a file");
    // After the way back the clients have no token.
    let (report, _) = stage.under_failing_load(|| stage.run_canary(&options));
    assert_eq!(report["tripwire"], "take-over", "{report:#}");
    assert!(
        report["reason"].to_string().contains("it gives up"),
        "{report:#}"
    );
    assert_eq!(report["unrecorded"], json!([]), "{report:#}");
    let file = report["token_file"].as_str().expect("a path");
    let found = std::fs::metadata(file).expect("a file");
    assert_eq!(found.mode() & 0o777, 0o600);
    let url = format!("http://{}", stage.owner);
    let steps = run_ark(&[
        "canary",
        "status",
        "--json",
        "--url",
        &url,
        "--token-file",
        file,
    ]);
    let steps: Value = serde_json::from_slice(&steps.stdout).expect("JSON");
    assert_eq!(steps["steps"][0]["step"], "went-back", "{steps:#}");
    let refused = Client::at(&stage.owner).get("/v1/deployments").0;
    assert_eq!(refused, 401, "the host has tokens");
}

fn ark_version() -> String {
    String::from_utf8_lossy(&run_ark(&["--version"]).stdout).into_owned()
}

#[test]
fn the_released_program_has_no_fault_of_the_tests() {
    // The variable that switches faults on, and the names of some, of a front and of a host.
    let signs = [FAULT_VARIABLE, "loses-traces", "hears-all", "stops-beating"];
    let signs_in = |program: std::path::PathBuf| {
        let bytes = std::fs::read(program).expect("a program");
        let mut found = Vec::new();
        for sign in signs {
            if bytes
                .windows(sign.len())
                .any(|part| part == sign.as_bytes())
            {
                found.push(sign);
            }
        }
        found
    };
    assert_eq!(signs_in(newer_program()), signs, "that of the tests");
    assert_eq!(signs_in(ark_program()), [""; 0]);
}

#[test]
fn an_order_that_comes_in_the_replay_is_obeyed_before_the_host_is_stopped() {
    let stage = CanaryFixture::start("", "");
    let texts = stage.take_over_options();
    let mut options: Vec<&str> = texts.iter().map(String::as_str).collect();
    options.extend(["--shares", "100"]);
    let program = stage.dir.path().join("new-ark");
    let text = std::fs::read_to_string(&program).expect("a file");
    let begun = stage.dir.path().join("replay.begun");
    // The first replay does not end by itself.
    let hanging = format!(
        "\nif [ \"$1\" = audit ] && [ ! -e {begun} ]; then : >{begun}; exec sleep 3600; fi\nexec ",
        begun = begun.display()
    );
    let hanging = text.replacen("\nexec ", &hanging, 1);
    assert_ne!(hanging, text);
    std::fs::write(&program, hanging).expect("a file");
    let ((), decided) = stage.under_load(|| {
        let canary = stage.spawn_canary(&options);
        wait_until("the replay has begun", || begun.exists());
        // What does not end the replay is taken beside it, and keeps no other order waiting.
        for order in ["promote", "resume", "abort"] {
            let (taken, errors) = stage.ask(order);
            assert!(taken, "{order}: {errors}");
        }
        let report = wait_report(canary);
        assert_eq!(report["promoted"], false, "{report:#}");
        assert_eq!(report["tripwire"], "aborted", "{report:#}");
        stage.assert_weights(100, 0);
        assert_eq!(stage.serving(), "stable");
        // A pause keeps the share, which is checked on; the take-over begins anew after it.
        std::fs::remove_file(&begun).expect("a file");
        let canary = stage.spawn_canary(&options);
        wait_until("the replay has begun", || begun.exists());
        let (taken, errors) = stage.ask("pause");
        assert!(taken, "{errors}");
        wait_until("it is checked in the pause", || {
            stage.count_paused_checks() > 1
        });
        let host = stage.run_verb("status")["host"].clone();
        assert_eq!(host["share_pct"], 100, "{host:#}");
        assert_eq!(host["paused"], true, "{host:#}");
        assert!(host["take_over"].is_null(), "{host:#}");
        assert_eq!(stage.serving(), "stable");
        let (taken, errors) = stage.ask("resume");
        assert!(taken, "{errors}");
        let report = wait_report(canary);
        assert_eq!(report["promoted"], true, "{report:#}");
        // That of the take-over which was given up is removed.
        let id = report["id"].as_str().expect("an id");
        let taken = report["take_over"]["snapshot"].as_str().expect("a path");
        let snapshots = std::fs::read_dir(stage.dir.path().join("snapshots"));
        let paths = snapshots.expect("snapshots").flatten();
        let own: Vec<_> = paths
            .map(|entry| entry.path().display().to_string())
            .filter(|path| path.contains(id))
            .collect();
        assert_eq!(own, [taken]);
    });
    stage.assert_weights(0, 256);
    assert_eq!(stage.serving(), "new");
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    stage.assert_chain();
}

/// Holds a script of a stage up, once, where a line begins with `before` and `condition` is so: while the file `….held` is there.
fn hold_once(stage: &CanaryFixture, file: &str, before: &str, condition: &str) -> Hold {
    let at = |name: &str| stage.dir.path().join(format!("{file}.{name}"));
    let (closed, held) = (at("closed"), at("held"));
    let path = stage.dir.path().join(file);
    let text = std::fs::read_to_string(&path).expect("a script");
    let hold = format!(
        "if {condition}mv {closed} {held} 2>/dev/null; then while [ -e {held} ]; do sleep 0.1; done; fi\n{before}",
        closed = closed.display(),
        held = held.display()
    );
    let changed = text.replacen(before, &hold, 1);
    assert_ne!(changed, text);
    std::fs::write(&path, changed).expect("a script");
    Hold { closed, held }
}

/// A script that can be held up.
struct Hold {
    closed: PathBuf,
    held: PathBuf,
}

impl Hold {
    /// Holds the script up that comes here next.
    fn close(&self) {
        std::fs::write(&self.closed, "").expect("a file");
    }

    fn wait_held(&self) {
        wait_until("a script is held up", || self.held.exists());
    }

    /// Lets it go.
    fn open(&self) {
        std::fs::remove_file(&self.held).expect("it is held up");
    }
}

#[test]
fn a_front_that_breaks_while_its_decisions_are_replayed_is_not_promoted() {
    let mut stage = CanaryFixture::start("", "");
    let texts = stage.take_over_options();
    let mut options: Vec<&str> = texts.iter().map(String::as_str).collect();
    options.extend(["--shares", "100"]);
    let replay = hold_once(&stage, "new-ark", "exec ", "[ \"$1\" = audit ] && ");
    // The command is killed in the replay, and the front judges otherwise meanwhile: the next run measures it before anything else.
    let front = stage.canary.as_ref().expect("a front");
    let different = || {
        let shown = Client::of_telemetry(front).get("/verdicts").1;
        shown["verdicts"]["different"].as_u64().expect("a count")
    };
    let ((), decided) = stage.under_load(|| {
        replay.close();
        let mut canary = stage.spawn_canary(&options);
        replay.wait_held();
        canary.kill().expect("SIGKILL");
        canary.wait().expect("its end");
        // What it had begun ends by itself.
        replay.open();
        stage.set_fault("denies");
        wait_until("a decision is judged otherwise", || different() > 0);
        stage.set_fault("");
        stage.wait_counted();
        let report = wait_report(stage.spawn_resume());
        assert_eq!(report["promoted"], false, "{report:#}");
        assert_eq!(report["tripwire"], "verdicts", "{report:#}");
        stage.assert_weights(100, 0);
        assert_eq!(stage.serving(), "stable");
    });
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    // It is checked beside the replay, in which it dies: then nobody but the stable front answers.
    let front = stage.canary.take().expect("a front");
    let ((), _) = stage.under_failing_load(|| {
        replay.close();
        let canary = stage.spawn_canary(&options);
        replay.wait_held();
        let before = stage.checks().len();
        wait_until("it is checked in the replay", || {
            stage.checks().len() > before + 1
        });
        front.send_kill();
        let report = wait_report(canary);
        assert_eq!(report["promoted"], false, "{report:#}");
        assert_eq!(report["tripwire"], "down", "{report:#}");
        stage.assert_weights(100, 0);
        assert_eq!(stage.serving(), "stable");
        // The replay was ended: nobody has let it go.
        replay.open();
    });
    let (status, ready) = Client::at(&stage.owner).get("/readyz");
    assert_eq!(status, 200, "{ready}");
    stage.assert_chain();
}

#[test]
fn an_order_that_comes_when_the_host_is_stopped_is_told_how_the_canary_ended() {
    let stage = CanaryFixture::start("", "");
    let texts = stage.take_over_options();
    let mut options: Vec<&str> = texts.iter().map(String::as_str).collect();
    options.extend(["--shares", "100"]);
    let start = hold_once(&stage, "start-new.sh", "if [ -e ", "");
    let request = stage.dir.path().join("canary.journal.request");
    let ((), decided) = stage.under_load(|| {
        start.close();
        let canary = stage.spawn_canary(&options);
        start.wait_held();
        let tried = stage.command("abort", &["--dry-run"]).output();
        let tried = String::from_utf8_lossy(&tried.expect("ark starts").stdout).into_owned();
        assert!(
            tried.contains("not-taken: ") && tried.contains("`ark rollback`"),
            "{tried}"
        );
        let (taken, errors) = std::thread::scope(|scope| {
            let asked = scope.spawn(|| stage.ask("abort"));
            wait_until("the order waits", || request.exists());
            start.open();
            asked.join().expect("no panic")
        });
        let report = wait_report(canary);
        assert_eq!(report["promoted"], true, "{report:#}");
        assert!(
            !taken && errors.contains("`abort` was not taken") && errors.contains("was promoted"),
            "{errors}"
        );
    });
    assert!(!request.exists());
    stage.assert_weights(0, 256);
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    stage.assert_chain();
}
