//! The package beside a host that runs: its `preinst` keeps another version from being unpacked below it. Here the script is run by itself, with a
//! `systemctl` and files of the test; `production/systemd` has dpkg run it on a machine with a real systemd.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use ark_tests::artefacts::checkout_path;
use ark_tests::sha256;

use super::installation::read_output;

const PROGRAM: &str = "the program of the package";
const MODULE: &str = "the module of the package";

/// A machine's files below a directory: program, module and a `systemctl`.
struct InstalledFiles {
    dir: tempfile::TempDir,
}

impl InstalledFiles {
    /// The machine has the files of the package. `states`: what `systemctl` says of socket and service.
    fn new(states: [&str; 2]) -> Self {
        let files = Self {
            dir: tempfile::tempdir().expect("a directory"),
        };
        for dir in ["bin", "run/systemd/system"] {
            fs::create_dir_all(files.path(dir)).expect("a directory");
        }
        fs::write(files.path("ark"), PROGRAM).expect("a file");
        fs::write(files.path("graveyard.wasm"), MODULE).expect("a file");
        let [socket, service] = states;
        let systemctl = files.path("bin/systemctl");
        let text = format!(
            "#!/bin/sh\n[ \"$1 $2 $3\" = 'show --value --property=ActiveState' ] || exit 1\ncase $4 in ark.socket) echo {socket};; ark.service) echo {service};; *) exit 1;; esac\n"
        );
        fs::write(&systemctl, text).expect("a file");
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).expect("its mode");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the script of the package as dpkg does, with its places in the directory.
    fn run_preinst(&self, action: &[&str], root: &str) -> Output {
        let source = fs::read_to_string(checkout_path("deploy/debian/preinst"));
        let mut script = source.expect("the script");
        for (from, to) in [
            ("@PROGRAM_SHA256@", sha256(PROGRAM.as_bytes())),
            ("@GRAVEYARD_SHA256@", sha256(MODULE.as_bytes())),
            ("/usr/bin/ark", self.path("ark").display().to_string()),
            (
                "/usr/share/ark/graveyard.wasm",
                self.path("graveyard.wasm").display().to_string(),
            ),
            (
                "/run/systemd/system",
                self.path("run/systemd/system").display().to_string(),
            ),
        ] {
            assert!(script.contains(from), "preinst has no {from}");
            script = script.replace(from, &to);
        }
        let path = self.path("preinst");
        fs::write(&path, script).expect("a file");
        let bin = self.path("bin");
        Command::new("sh")
            .arg(path)
            .args(action)
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("DPKG_ROOT", root)
            .output()
            .expect("sh starts")
    }
}

#[test]
fn the_package_of_another_version_is_refused_beside_a_host_that_runs() {
    const STOPPED: [&str; 2] = ["inactive", "inactive"];
    let upgrade = ["upgrade", "1.0.0", "2.0.0"];
    // States of socket and service, what differs, and whether the package is refused.
    for (states, changed, is_refused) in [
        (["inactive", "active"], Some("ark"), true),
        (["inactive", "active"], Some("graveyard.wasm"), true),
        (["inactive", "active"], None, false),
        (["active", "inactive"], Some("ark"), true),
        (["active", "active"], None, false),
        // It is started, or starts again after a crash.
        (["inactive", "activating"], Some("ark"), true),
        (["inactive", "deactivating"], Some("ark"), true),
        (["inactive", "failed"], Some("ark"), false),
        (STOPPED, Some("ark"), false),
        (STOPPED, Some("graveyard.wasm"), false),
    ] {
        let files = InstalledFiles::new(states);
        if let Some(name) = changed {
            fs::write(files.path(name), "another one").expect("a file");
        }
        for action in [&upgrade[..], &["install"], &["install", "1.0.0", "2.0.0"]] {
            let run = files.run_preinst(action, "");
            let said = read_output(&run);
            assert_eq!(
                run.status.success(),
                !is_refused,
                "{states:?} {changed:?} {action:?}: {said}"
            );
            for part in ["ark upgrade", "systemctl stop ark.socket ark.service"] {
                assert_eq!(said.contains(part), is_refused, "{said}");
            }
        }
        // Another system's files, and what ends an upgrade that was refused.
        for (action, root) in [
            (&upgrade[..], "/srv/image"),
            (&["abort-upgrade", "2.0.0"][..], ""),
        ] {
            let run = files.run_preinst(action, root);
            assert!(run.status.success(), "{action:?}: {}", read_output(&run));
        }
    }
    // A file that is missing is not that of the package.
    let files = InstalledFiles::new(["inactive", "active"]);
    fs::remove_file(files.path("graveyard.wasm")).expect("it is removed");
    assert!(!files.run_preinst(&upgrade, "").status.success());
}
