//! `ark upgrade --unit` and `ark rollback --unit`: the version takes the place of the program that a unit starts. What stands for systemd is a
//! script that starts and stops that program.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use ark_tests::{ark_program, wait_until};
use serde_json::Value;

use super::canary::stage::{CanaryFixture, is_ready, script, sh};

struct UnitFixture {
    stage: CanaryFixture,
}

impl UnitFixture {
    /// Has the unit run the program.
    fn start() -> Self {
        let stage = CanaryFixture::start(super::upgrade::CONFIG, "");
        let unit = Self { stage };
        unit.write_program("ark", "first", "");
        let start = std::fs::read_to_string(unit.path_of("start.sh")).expect("a file");
        let own = format!("{} serve", ark_program().display());
        assert!(start.contains(&own));
        let start = start.replace(&own, &format!("{} serve", unit.path_of("ark").display()));
        std::fs::write(unit.path_of("start-unit.sh"), start).expect("a file");
        std::fs::create_dir(unit.path_of("bin")).expect("a directory");
        let systemctl = format!(
            "#!/bin/sh\necho \"$*\" >>{calls}\ncase \"$1 $2\" in \"cat ark.service\") ;; cat*) exit 1;; esac\ncase \"$1\" in stop) {stop};; start) {start};; esac\n",
            calls = unit.path_of("calls").display(),
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

    fn run_ark(&self, verb: &str, more: &[&str]) -> Value {
        let path = std::env::var("PATH").expect("a path");
        let output = Command::new(ark_program())
            .args([verb, "--json", "--url"])
            .arg(format!("http://{}", self.stage.owner))
            .args(["--unit", "ark.service", "--program"])
            .arg(self.path_of("ark"))
            .arg("--data-dir")
            .arg(self.stage.dir.data())
            .arg("--snapshots")
            .arg(self.path_of("snapshots"))
            .args(["--timeout", "20", "--category", "ethics"])
            .args(more)
            .env("PATH", format!("{}:{path}", self.path_of("bin").display()))
            .env("XDG_STATE_HOME", self.path_of("state"))
            .stdin(Stdio::null())
            .output()
            .expect("ark starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
    }

    fn run_upgrade(&self, new: &str) -> Value {
        let (new, config) = (self.path_of(new), self.stage.dir.config());
        let text = |path: &PathBuf| path.display().to_string();
        self.run_ark("upgrade", &[&text(&new), "--config", &text(&config)])
    }
}

#[test]
fn a_version_takes_the_place_of_the_units_program_and_the_old_one_comes_back() {
    let unit = UnitFixture::start();
    unit.write_program("second", "second", "");
    unit.write_program("third", "third", "case \"$1\" in serve) exit 7;; esac");
    let ((), decided) = unit.stage.under_load(|| {
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
        let report = unit.run_ark("rollback", &["--stable-binary", &kept]);
        assert_eq!(report["passed"], true, "{report:#}");
        assert_eq!(unit.read_installed(), "first");
    });
    assert!(decided.is_subset(&unit.stage.recorded()), "none is lost");
    unit.stage.assert_chain();
    let calls = std::fs::read_to_string(unit.path_of("calls")).expect("calls");
    assert!(
        calls.contains("stop ark.service") && calls.contains("start ark.service"),
        "{calls}"
    );
    assert!(!calls.contains("stop ark.socket"), "there is none: {calls}");
}
