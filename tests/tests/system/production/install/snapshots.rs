//! The script of `ark-snapshot.service`, run by the shell as systemd would: it makes a snapshot and checks it, and removes old ones of its own beside one
//! that is good. `production/systemd` runs the unit itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ark_tests::artefacts::checkout_path;
use ark_tests::{ark_program, make_token};

use super::installation::read_output;

/// What stands before and behind the script in the unit.
const START: &str = "\nExecStart=/bin/sh -euc '";
const END: &str = "'\n";

/// The script as the shell gets it. `program`: in the place of the one that is installed.
fn read_script(program: &Path) -> String {
    let unit = fs::read_to_string(checkout_path("deploy/systemd/ark-snapshot.service"));
    let unit = unit.expect("the unit");
    let (_, script) = unit.split_once(START).expect("a script");
    let (script, _) = script.split_once(END).expect("its end");
    // A specifier or a variable that systemd would expand is none of the shell's.
    let script = script.replace("\\\n", " ");
    let rest = script.replace("%%", "").replace("$$", "");
    assert!(!rest.contains(['%', '$', '\'']), "{script}");
    assert!(script.contains("/usr/bin/ark state "), "{script}");
    script
        .replace("%%", "%")
        .replace("$$", "$")
        .replace("/usr/bin/ark", &program.display().to_string())
}

/// A data directory with its snapshots, of which some are old.
struct SnapshotFixture {
    dir: tempfile::TempDir,
}

impl SnapshotFixture {
    fn new() -> Self {
        let fixture = Self {
            dir: tempfile::tempdir().expect("a directory"),
        };
        drop(make_token(&fixture.data(), "root", "admin", &[]));
        for (name, age) in [
            ("hourly-old", "49 hours ago"),
            ("hourly-cut-off.partial", "49 hours ago"),
            ("hourly-young", "47 hours ago"),
            ("before-an-upgrade", "49 hours ago"),
        ] {
            let snapshot = fixture.snapshots().join(name);
            fs::create_dir_all(snapshot.join("files")).expect("a directory");
            let mut touch = Command::new("touch");
            let touched = touch.args(["-d", age]).arg(&snapshot).status();
            assert!(touched.expect("touch starts").success());
        }
        fixture
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn snapshots(&self) -> PathBuf {
        self.dir.path().join("snapshots")
    }

    fn run_script(&self, script: &str, hours: &str) -> Output {
        Command::new("sh")
            .args(["-euc", script])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("ARK_DATA_DIR", self.data())
            .env("ARK_SNAPSHOTS", self.snapshots())
            .env("SNAPSHOT_HOURS", hours)
            .current_dir("/")
            .output()
            .expect("a shell")
    }

    /// The snapshots by their names, in order.
    fn list_names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.snapshots()).expect("snapshots");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

#[test]
fn a_snapshot_is_made_and_checked_before_old_ones_of_the_timer_are_removed() {
    let fixture = SnapshotFixture::new();
    let before = fixture.list_names();
    assert_eq!(before.len(), 4, "{before:?}");

    // A number of hours that is none changes nothing.
    for hours in ["0", "-1", "two"] {
        let refused = fixture.run_script(&read_script(&ark_program()), hours);
        assert!(
            !refused.status.success(),
            "{hours}: {}",
            read_output(&refused)
        );
        assert_eq!(fixture.list_names(), before, "{hours}");
    }
    // A snapshot that does not pass its check takes the place of none.
    let failing = fixture.dir.path().join("failing");
    let text = format!(
        "#!/bin/sh\ncase $2 in check) exit 1;; esac\nexec {} \"$@\"\n",
        ark_program().display()
    );
    fs::write(&failing, text).expect("a file");
    fs::set_permissions(&failing, fs::Permissions::from_mode(0o755)).expect("its mode");
    // It is kept, the last one alone, however often that is so.
    fs::create_dir(fixture.snapshots().join("hourly-earlier.unsound")).expect("a directory");
    let failed = fixture.run_script(&read_script(&failing), "48");
    let said = read_output(&failed);
    assert!(!failed.status.success(), "{said}");
    let names = fixture.list_names();
    assert!(before.iter().all(|name| names.contains(name)), "{names:?}");
    let added: Vec<&String> = names.iter().filter(|name| !before.contains(name)).collect();
    let [unsound] = &added[..] else {
        panic!("{names:?}")
    };
    assert!(
        unsound.starts_with("hourly-2") && unsound.ends_with(".unsound") && said.contains(*unsound),
        "{said}"
    );
    let unsound = fixture.snapshots().join(unsound);
    assert!(unsound.join("ark.db").is_file());
    fs::remove_dir_all(unsound).expect("it is removed");

    let made = fixture.run_script(&read_script(&ark_program()), "48");
    let said = read_output(&made);
    assert!(
        made.status.success() && said.contains("passes its check"),
        "{said}"
    );
    let names = fixture.list_names();
    let [others, made, young] = &names[..] else {
        panic!("{names:?}")
    };
    assert_eq!(
        (others.as_str(), young.as_str()),
        ("before-an-upgrade", "hourly-young")
    );
    let snapshot = fixture.snapshots().join(made);
    let checked = Command::new(ark_program())
        .args(["state", "check", "--snapshot"])
        .arg(&snapshot)
        .output()
        .expect("ark starts");
    assert!(checked.status.success(), "{}", read_output(&checked));
    assert!(said.contains(&snapshot.display().to_string()), "{said}");
}
