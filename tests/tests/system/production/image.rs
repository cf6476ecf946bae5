//! The image of `Dockerfile.arch`, built by a real buildah and run as the user that it names.
//!
//! `ARK_IMAGE_BASE=DIR` switches it on: a root file system as `debootstrap --variant=minbase bookworm DIR` makes it, for the distribution on which
//! the program under test was built. It needs root, buildah and minutes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use ark_tests::artefacts::checkout_path;
use ark_tests::redis::free_port;
use ark_tests::{ark_program, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The moment that all files of the image have, in seconds since 1970.
const MOMENT: &str = "1700000000";
/// The user of the image.
const USER: u32 = 10001;

/// A buildah with images of its own.
struct Buildah {
    dir: tempfile::TempDir,
}

impl Buildah {
    fn run(&self, args: &[&str]) -> String {
        let output = Command::new("buildah")
            .arg("--root")
            .arg(self.dir.path().join("images"))
            .arg("--runroot")
            .arg(self.dir.path().join("run"))
            .args(["--storage-driver", "vfs"])
            .args(args)
            .env("BUILDAH_ISOLATION", "chroot")
            .output()
            .expect("buildah starts");
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

/// The program of a mounted image, run as its user with its files only.
fn program_of(image: &Path, port: u16) -> Command {
    let mut command = Command::new("chroot");
    command
        .arg(format!("--userspec={USER}:{USER}"))
        .arg(image)
        .arg("/usr/bin/ark")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("ARK_DATA_DIR", "/var/lib/ark")
        .env("ARK_GRAVEYARD", "/usr/share/ark/graveyard.wasm")
        .env("ARK_LISTEN", format!("127.0.0.1:{port}"))
        .env("ARK_TELEMETRY_LISTEN", "off");
    command
}

/// A host that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_image_holds_what_it_must_and_runs_as_its_user() {
    let Some(base) = std::env::var_os("ARK_IMAGE_BASE") else {
        return;
    };
    let buildah = Buildah {
        dir: tempfile::tempdir().expect("a directory"),
    };
    let context = buildah.dir.path().join("base");
    fs::create_dir(&context).expect("a directory");
    let packed = Command::new("tar")
        .arg("-C")
        .arg(&base)
        .arg("-cf")
        .arg(context.join("base.tar"))
        .arg(".")
        .status();
    assert!(packed.expect("tar starts").success());
    fs::write(context.join("Dockerfile"), "FROM scratch\nADD base.tar /\n").expect("a file");
    buildah.run(&["bud", "--tag", "base", context.to_str().expect("UTF-8")]);
    // Alone of `target` this directory is in the build's context.
    let prebuilt = checkout_path("target/image/ark");
    fs::create_dir_all(prebuilt.with_file_name("")).expect("a directory");
    let stripped = Command::new("strip")
        .arg("-o")
        .arg(&prebuilt)
        .arg(ark_program())
        .status();
    assert!(stripped.expect("strip starts").success());
    let file = checkout_path("Dockerfile.arch");
    buildah.run(&[
        "bud",
        "--format=docker",
        "--tag=ark",
        &format!("--timestamp={MOMENT}"),
        "--build-arg=TOOLCHAIN=localhost/base",
        "--build-arg=BASE=localhost/base",
        "--build-arg=PREBUILT=target/image/ark",
        &format!("--build-arg=SOURCE_DATE_EPOCH={MOMENT}"),
        "--build-arg=VERSION=9.9.9",
        "--file",
        file.to_str().expect("UTF-8"),
        checkout_path("").to_str().expect("UTF-8"),
    ]);
    let described: Value =
        serde_json::from_str(&buildah.run(&["inspect", "--type=image", "ark"])).expect("JSON");
    let config = &described["Docker"]["config"];
    assert_eq!(config["User"], format!("{USER}:{USER}"), "{config:#}");
    assert_eq!(
        config["Healthcheck"]["Test"],
        serde_json::json!(["CMD", "/usr/bin/ark", "health"]),
        "{config:#}"
    );
    assert_eq!(
        config["Labels"]["org.opencontainers.image.version"], "9.9.9",
        "{config:#}"
    );
    let container = buildah.run(&["from", "ark"]);
    let image = PathBuf::from(buildah.run(&["mount", &container]));
    let found = |path: &str| fs::metadata(image.join(path)).expect("a file");
    assert_eq!(
        found("usr/share/ark/graveyard.wasm").permissions().mode() & 0o7777,
        0o444
    );
    let data = found("var/lib/ark");
    assert_eq!((data.uid(), data.mode() & 0o777), (USER, 0o700));
    assert_eq!(found("usr/bin/ark").mtime().to_string(), MOMENT);
    for absent in ["bin/sh", "usr/bin/sh", "usr/bin/apt", "usr/bin/pacman"] {
        assert!(!image.join(absent).exists(), "{absent}");
    }
    let port = free_port();
    let host = program_of(&image, port)
        .arg("serve")
        .spawn()
        .expect("chroot starts");
    let mut host = Running(host);
    let is_healthy = || {
        let probe = program_of(&image, port)
            .args(["health", "--ready"])
            .output();
        probe.expect("chroot starts").status.success()
    };
    wait_until("the host of the image is ready", is_healthy);
    let status = fs::read_to_string(format!("/proc/{}/status", host.0.id())).expect("Linux");
    assert!(
        status.contains(&format!("Uid:\t{USER}\t{USER}")),
        "{status}"
    );
    kill_process(Pid::from_child(&host.0), Signal::TERM).expect("SIGTERM");
    assert!(host.0.wait().expect("its end").success());
    assert!(!is_healthy());
    buildah.run(&["umount", &container]);
}
