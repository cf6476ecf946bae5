//! `ark upgrade --unit` and `ark rollback --unit`: the version takes the place of the program that a unit starts. What stands for systemd is a
//! script that starts and stops that program, and that knows of a socket unit whether it is installed and active. What holds a socket is in
//! `handover.rs`.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use ark_tests::{Client, ark_program, newer_program, wait_until};
use serde_json::Value;

use crate::production::canary::stage::{CanaryFixture, is_ready, script, sh};

struct UnitFixture {
    stage: CanaryFixture,
}

impl UnitFixture {
    /// Has the unit run the program.
    fn start() -> Self {
        let stage = CanaryFixture::start(crate::production::upgrade::CONFIG, "");
        let unit = Self { stage };
        unit.write_program("ark", "first", "");
        let start = std::fs::read_to_string(unit.path_of("start.sh")).expect("a file");
        let own = format!("{} serve", ark_program().display());
        assert!(start.contains(&own));
        let start = start.replace(&own, &format!("{} serve", unit.path_of("ark").display()));
        std::fs::write(unit.path_of("start-unit.sh"), start).expect("a file");
        std::fs::create_dir(unit.path_of("bin")).expect("a directory");
        let systemctl = format!(
            "#!/bin/sh\necho \"$*\" >>{calls}\ncase \"$1 $2\" in\n\
             'cat ark.service') ;;\n\
             'cat ark.socket') [ -e {socket} ] ;;\n\
             'is-active ark.socket') [ -e {socket} ] || exit 4; grep -qx active {socket} || exit 3 ;;\n\
             'is-active ark.service') [ -e {service} ] && cat {service} && exit 3; exit 1 ;;\n\
             'stop ark.socket') echo inactive >{socket} ;;\n\
             'start ark.socket') echo active >{socket} ;;\n\
             'stop ark.service') while [ -e {hold} ]; do sleep 0.02; done\n\
             if [ -e {refusal} ]; then grep -qx once {refusal} && rm {refusal}; echo 'Job for ark.service canceled.' >&2; exit 1; fi\n{stop} ;;\n\
             'start ark.service') {start} ;;\n\
             *) echo \"$*: unknown\"; exit 1 ;;\nesac\n",
            calls = unit.path_of("calls").display(),
            socket = unit.path_of("socket").display(),
            service = unit.path_of("service").display(),
            hold = unit.path_of("hold").display(),
            refusal = unit.path_of("refusal").display(),
            stop = script(&unit.stage.dir, "stop"),
            start = script(&unit.stage.dir, "start-unit"),
        );
        unit.write_executable("bin/systemctl", &systemctl);
        sh(&script(&unit.stage.dir, "stop"));
        sh(&script(&unit.stage.dir, "start-unit"));
        wait_until("the host is ready", || is_ready(&unit.stage.owner));
        unit
    }

    fn path_of(&self, name: &str) -> PathBuf {
        self.stage.dir.path().join(name)
    }

    fn write_executable(&self, name: &str, text: &str) {
        std::fs::write(self.path_of(name), text).expect("a file");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(self.path_of(name), mode).expect("a mode");
    }

    /// A version: the program itself under a name, and what it does first.
    fn write_program(&self, file: &str, name: &str, first: &str) {
        let ark = ark_program().display().to_string();
        let text = format!("#!/bin/sh\n# {name}\n{first}\nexec {ark} \"$@\"\n");
        self.write_executable(file, &text);
    }

    /// The name of the version that the unit starts.
    fn read_installed(&self) -> String {
        let text = std::fs::read_to_string(self.path_of("ark")).expect("a file");
        let name = text.lines().nth(1).and_then(|line| line.strip_prefix("# "));
        name.expect("a name").to_owned()
    }

    /// A version with a later schema, which migrates the database.
    fn write_later_program(&self, file: &str) {
        let newer = newer_program().display().to_string();
        let first = format!("export TEST_ARK_LATER_SCHEMA=1\nexec {newer} \"$@\"");
        self.write_program(file, file, &first);
    }

    /// What the socket unit is: `active` or `inactive`.
    fn set_socket(&self, state: &str) {
        std::fs::write(self.path_of("socket"), format!("{state}\n")).expect("a file");
    }

    fn read_socket(&self) -> String {
        let text = std::fs::read_to_string(self.path_of("socket")).expect("a file");
        text.trim().to_owned()
    }

    /// Has the unit refuse to stop: `once`, or `always`.
    fn refuse_stop(&self, how: &str) {
        std::fs::write(self.path_of("refusal"), format!("{how}\n")).expect("a file");
    }

    fn allow_stop(&self) {
        std::fs::remove_file(self.path_of("refusal")).expect("a file");
    }

    /// The name of the process that serves.
    fn read_instance(&self) -> String {
        let ready = Client::at(&self.stage.owner).get("/readyz").1;
        ready["instance"].as_str().expect("a name").to_owned()
    }

    /// The orders that `systemctl` got, but for questions.
    fn read_orders(&self) -> Vec<String> {
        let calls = std::fs::read_to_string(self.path_of("calls")).unwrap_or_default();
        let is_order = |line: &&str| line.starts_with("start ") || line.starts_with("stop ");
        calls.lines().filter(is_order).map(str::to_owned).collect()
    }

    fn forget_orders(&self) {
        std::fs::write(self.path_of("calls"), "").expect("a file");
    }

    /// A command that needs no arguments of the host, since it goes on.
    fn command(&self, verb: &str) -> Command {
        let path = std::env::var("PATH").expect("a path");
        let mut command = Command::new(ark_program());
        command
            .args([verb, "--json", "--url"])
            .arg(format!("http://{}", self.stage.owner))
            .env("PATH", format!("{}:{path}", self.path_of("bin").display()))
            .env("XDG_STATE_HOME", self.path_of("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn begin_command(&self, verb: &str, more: &[&str]) -> Command {
        let mut command = self.command(verb);
        command
            .args(["--unit", "ark.service", "--program"])
            .arg(self.path_of("ark"))
            .arg("--data-dir")
            .arg(self.stage.dir.data())
            .arg("--snapshots")
            .arg(self.path_of("snapshots"))
            .args(["--timeout", "20", "--category", "ethics"])
            .args(more);
        command
    }

    fn upgrade_command(&self, new: &str) -> Command {
        let (new, config) = (self.path_of(new), self.stage.dir.config());
        let text = |path: &PathBuf| path.display().to_string();
        self.begin_command("upgrade", &[&text(&new), "--config", &text(&config)])
    }

    fn run_rollback(&self, more: &[&str]) -> Value {
        run(self.begin_command("rollback", more))
    }

    fn run_upgrade(&self, new: &str) -> Value {
        run(self.upgrade_command(new))
    }
}

fn run(mut command: Command) -> Value {
    let output = command.output().expect("ark starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

fn output_of(mut command: Command) -> Output {
    command.output().expect("ark starts")
}

#[test]
fn a_version_takes_the_place_of_the_units_program_and_the_old_one_comes_back() {
    let unit = UnitFixture::start();
    unit.write_program("second", "second", "");
    unit.write_program("third", "third", "case \"$1\" in serve) exit 7;; esac");
    let ((), decided) = unit.stage.under_slow_load(|| {
        let report = unit.run_upgrade("second");
        assert_eq!(report["upgraded"], true, "{report:#}");
        assert_eq!(unit.read_installed(), "second");
        let kept = unit.path_of("snapshots");
        let kept = kept.join(format!("{}-ark", report["id"].as_str().expect("an id")));
        let text = std::fs::read_to_string(&kept).expect("the program of before");
        assert!(text.contains("# first"), "{text}");
        // One that does not start: the program of before is in its place again.
        let report = unit.run_upgrade("third");
        assert_eq!(report["upgraded"], false, "{report:#}");
        assert_eq!(report["rollback"]["passed"], true, "{report:#}");
        assert_eq!(unit.read_installed(), "second");
        // Back to the first one.
        let kept = kept.display().to_string();
        let report = unit.run_rollback(&["--stable-binary", &kept]);
        assert_eq!(report["passed"], true, "{report:#}");
        assert_eq!(unit.read_installed(), "first");
    });
    assert!(decided.is_subset(&unit.stage.recorded()), "none is lost");
    unit.stage.assert_chain();
    let orders = unit.read_orders();
    let is_of_service = |order: &String| order.ends_with(" ark.service");
    assert!(orders.iter().all(is_of_service), "no socket: {orders:?}");
    assert!(
        orders.contains(&"stop ark.service".to_owned()),
        "{orders:?}"
    );
}

#[test]
fn a_unit_that_systemd_has_given_up_is_not_waited_for_and_one_that_it_starts_again_is() {
    let unit = UnitFixture::start();
    unit.write_program("failing", "failing", "case \"$1\" in serve) exit 7;; esac");
    for (state, reason) in [
        ("failed", "for 6.7s since what starts the host ended"),
        (
            "activating",
            "the host is not ready after 20s: no process holds ",
        ),
    ] {
        std::fs::write(unit.path_of("service"), format!("{state}\n")).expect("a file");
        let report = unit.run_upgrade("failing");
        assert_eq!(report["upgraded"], false, "{state}: {report:#}");
        let told = report["reason"].as_str().expect("a reason");
        assert!(told.contains(reason), "{state}: {told}");
        assert_eq!(report["rollback"]["passed"], true, "{state}: {report:#}");
        assert_eq!(unit.read_installed(), "first", "{state}");
    }
}

#[test]
fn a_socket_that_is_installed_and_not_active_is_never_started() {
    let unit = UnitFixture::start();
    unit.set_socket("inactive");
    unit.write_program("second", "second", "");
    unit.write_program("failing", "failing", "case \"$1\" in serve) exit 7;; esac");
    unit.write_later_program("later");
    let started = "start ark.socket".to_owned();
    // On the same schema, on a way back, and over a migration, for which nothing else may start the host.
    for (new, is_upgraded) in [("second", true), ("failing", false), ("later", true)] {
        let report = unit.run_upgrade(new);
        assert_eq!(report["upgraded"], is_upgraded, "{new}: {report:#}");
        let orders = unit.read_orders();
        assert!(!orders.contains(&started), "{new}: {orders:?}");
        assert_eq!(unit.read_socket(), "inactive", "{new}");
    }
    // Back to the version of before, with the database that was kept.
    let kept = std::fs::read_dir(unit.path_of("snapshots")).expect("snapshots");
    let kept = kept.flatten().map(|entry| entry.path());
    let kept = kept.filter(|path| path.display().to_string().ends_with("-before-migration"));
    let kept = kept.last().expect("the database").display().to_string();
    let stable = unit.path_of("second").display().to_string();
    let report = unit.run_rollback(&[
        "--stable-binary",
        &stable,
        "--snapshot",
        &kept,
        "--accept-loss-of-decisions",
        "1000",
    ]);
    assert_eq!(report["passed"], true, "{report:#}");
    assert!(!report["kept_aside"].is_null(), "{report:#}");
    let orders = unit.read_orders();
    assert!(!orders.contains(&started), "{orders:?}");
    assert_eq!(unit.read_socket(), "inactive");
}

#[test]
fn an_active_socket_is_closed_for_a_migration_alone_and_opened_again_also_after_a_kill() {
    let unit = UnitFixture::start();
    unit.set_socket("active");
    unit.write_program("second", "second", "");
    unit.write_later_program("later");
    let report = unit.run_upgrade("second");
    assert_eq!(report["upgraded"], true, "{report:#}");
    let orders = ["stop ark.service", "start ark.socket", "start ark.service"];
    assert_eq!(unit.read_orders(), orders, "it stays open");
    assert_eq!(unit.read_socket(), "active");
    // Killed when the socket is closed and the host about to be.
    unit.forget_orders();
    std::fs::write(unit.path_of("hold"), "").expect("a file");
    let mut killed = unit.upgrade_command("later").spawn().expect("ark starts");
    let stopped = ["stop ark.socket", "stop ark.service"];
    wait_until("the host is about to be stopped", || {
        assert!(killed.try_wait().expect("its state").is_none());
        unit.read_orders() == stopped
    });
    assert_eq!(unit.read_socket(), "inactive");
    killed.kill().expect("SIGKILL");
    killed.wait().expect("its end");
    unit.forget_orders();
    std::fs::remove_file(unit.path_of("hold")).expect("a file");
    let report = run(unit.command("upgrade"));
    assert_eq!(report["upgraded"], true, "{report:#}");
    assert_eq!(unit.read_orders(), [&stopped[..], &orders[1..]].concat());
    assert_eq!(unit.read_socket(), "active");
}

#[test]
fn a_unit_that_an_upgrade_did_not_stop_serves_on_and_starts_the_program_of_before_again() {
    let unit = UnitFixture::start();
    unit.write_program("second", "second", "");
    unit.write_later_program("later");
    let unstopped = "the host was not stopped, and serves on";
    let instance = unit.read_instance();
    let ((), decided) = unit.stage.under_slow_load(|| {
        // With its program in the place already, and where nothing may be started in between; a socket that is not active is left alone.
        for (new, socket, orders) in [
            ("second", None, &["stop ark.service"][..]),
            ("second", Some("active"), &["stop ark.service"]),
            (
                "later",
                Some("inactive"),
                &["stop ark.socket", "stop ark.service"],
            ),
        ] {
            if let Some(state) = socket {
                unit.set_socket(state);
            }
            unit.forget_orders();
            unit.refuse_stop("always");
            let report = unit.run_upgrade(new);
            assert_eq!(report["upgraded"], false, "{new}: {report:#}");
            let reason = report["reason"].as_str().expect("a reason");
            assert!(
                reason.contains(unstopped) && reason.contains("Job for ark.service canceled."),
                "{new}: {reason}"
            );
            assert!(report["rollback"].is_null(), "{new}: {report:#}");
            assert_eq!(unit.read_installed(), "first", "{new}");
            assert_eq!(unit.read_orders(), orders, "{new}: nothing is started");
            if let Some(state) = socket {
                assert_eq!(unit.read_socket(), state, "{new}");
            }
            assert_eq!(unit.read_instance(), instance, "{new}: the same process");
            unit.allow_stop();
        }
    });
    assert!(decided.is_subset(&unit.stage.recorded()), "none is lost");
    // A socket that was closed cannot be opened beside its service: the host is started anew, by the steps of a rollback.
    unit.set_socket("active");
    unit.forget_orders();
    unit.refuse_stop("once");
    let report = unit.run_upgrade("later");
    assert_eq!(report["upgraded"], false, "{report:#}");
    assert_eq!(report["rollback"]["passed"], true, "{report:#}");
    assert_eq!(unit.read_installed(), "first");
    assert_eq!(unit.read_socket(), "active");
    assert_ne!(unit.read_instance(), instance);
    // Nothing is left that would hold up the next one.
    let report = unit.run_upgrade("second");
    assert_eq!(report["upgraded"], true, "{report:#}");
    assert_eq!(unit.read_installed(), "second");
    unit.stage.assert_chain();
}

#[test]
fn a_rollback_whose_unit_did_not_stop_leaves_the_host_and_goes_on_when_it_does() {
    let unit = UnitFixture::start();
    unit.write_program("stable", "stable", "");
    let stable = unit.path_of("stable").display().to_string();
    let begin = || unit.begin_command("rollback", &["--stable-binary", &stable]);
    let instance = unit.read_instance();
    unit.refuse_stop("always");
    let ((), decided) = unit.stage.under_slow_load(|| {
        for command in [begin(), unit.command("rollback")] {
            let failed = crate::production::rollback::errors_of(&output_of(command));
            for part in [
                "the step database failed",
                "systemctl",
                "Job for ark.service canceled.",
                "`ark rollback`",
            ] {
                assert!(failed.contains(part), "{part}: {failed}");
            }
            assert_eq!(unit.read_instance(), instance, "the same process");
            let orders = unit.read_orders();
            assert!(
                orders.iter().all(|order| order == "stop ark.service"),
                "nothing is started: {orders:?}"
            );
            // Whatever starts the unit, also at a boot, starts the version that is gone back to.
            assert_eq!(unit.read_installed(), "stable");
        }
    });
    assert!(decided.is_subset(&unit.stage.recorded()), "none is lost");
    unit.allow_stop();
    let report = run(unit.command("rollback"));
    assert_eq!(report["passed"], true, "{report:#}");
    assert_eq!(unit.read_installed(), "stable");
    assert_ne!(unit.read_instance(), instance);
    unit.stage.assert_chain();
}
