//! The image of `Dockerfile.arch`, built twice by `cargo xtask image` with a real buildah, pushed to a real registry, and run as the user that it names.
//!
//! `ARK_IMAGE_BASE=DIR` switches it on: a root file system as `debootstrap --variant=minbase bookworm DIR` makes it, for the distribution on which
//! the program under test was built. It needs root, buildah and minutes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Instant;

use ark_tests::artefacts::checkout_path;
use ark_tests::redis::free_port;
use ark_tests::registry::DockerRegistry;
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
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
            path("images"),
            path("run")
        );
        fs::write(dir.path().join("storage.conf"), storage).expect("a file");
        Self { dir }
    }

    fn run(&self, args: &[&str]) -> String {
        self.finish(Command::new("buildah").args(args))
    }

    /// Runs `cargo xtask image` with what this test builds from, and returns what it prints.
    fn build_image(&self, program: &Path, args: &[&str]) -> String {
        let mut command = Command::new(checkout_path("target/debug/xtask"));
        command
            .args([
                "image",
                "--toolchain=localhost/base",
                "--base=localhost/base",
            ])
            .args(["--version=9.9.9", "--program"])
            .arg(program)
            .args(args)
            .current_dir(checkout_path(""))
            .env("SOURCE_DATE_EPOCH", MOMENT);
        self.finish(&mut command)
    }

    fn finish(&self, command: &mut Command) -> String {
        let output = command
            .env("BUILDAH_ISOLATION", "chroot")
            .env(
                "CONTAINERS_STORAGE_CONF",
                self.dir.path().join("storage.conf"),
            )
            .output()
            .expect("the command starts");
        assert!(
            output.status.success(),
            "{command:?}: {}",
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
        .env("ARK_TELEMETRY_LISTEN", "off")
        // The tests of a validation wait for several rounds of the watchdog.
        .env("ARK_WATCHDOG_HEARTBEAT_MS", "300")
        .env("ARK_WATCHDOG_HEARTBEAT_DEADLINE_MS", "10000");
    command
}

/// Whether the host of the image answers the image's own probe.
fn is_healthy(image: &Path, port: u16) -> bool {
    let probe = program_of(image, port).args(["health", "--ready"]).output();
    probe.expect("chroot starts").status.success()
}

/// The bytes of all files below a directory.
fn count_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).expect("a directory");
    entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let found = fs::symlink_metadata(&path).expect("a file");
            if found.is_dir() {
                count_bytes(&path)
            } else {
                found.len()
            }
        })
        .sum()
}

/// A host that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program of another machine is refused before anything is built.
fn refuse_other_machine(dir: &Path) {
    let other = dir.join("other");
    fs::write(&other, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\xb7\0").expect("a file");
    let refused = Command::new(checkout_path("target/debug/xtask"))
        .args(["image", "--platform=linux/amd64", "--program"])
        .arg(&other)
        .output()
        .expect("xtask starts");
    assert!(!refused.status.success());
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        refused.contains("is no program for linux/amd64"),
        "{refused}"
    );
}

/// The running host passes the tests of a deployment.
fn validate(port: u16, dir: &Path) {
    let validated = Command::new(ark_program())
        .args([
            "validate",
            "--url",
            &format!("http://127.0.0.1:{port}"),
            "--journal",
        ])
        .arg(dir.join("validate.journal"))
        .current_dir(dir)
        .output()
        .expect("ark starts");
    assert!(
        validated.status.success(),
        "{}",
        String::from_utf8_lossy(&validated.stdout)
    );
}

#[test]
fn the_image_holds_what_it_must_and_runs_as_its_user() {
    let Some(base) = std::env::var_os("ARK_IMAGE_BASE") else {
        return;
    };
    let buildah = Buildah::new();
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
    let registry = DockerRegistry::start();
    let tag = format!("{}/desk/ark:9.9.9", registry.address);
    // Built twice and from the beginning it is the same to the byte in a registry.
    let args = [
        &format!("--tag={tag}"),
        "--no-cache",
        "--push",
        "--plain-http",
    ];
    let built = buildah.build_image(&ark_program(), &args);
    let again = buildah.build_image(&ark_program(), &args);
    let last_line = |text: &str| text.lines().last().map(str::to_owned);
    assert_eq!(last_line(&built), last_line(&again));
    let pushed = last_line(&built).expect("a line");
    let digest = registry.read_tag("desk/ark", "9.9.9");
    assert_eq!(
        pushed,
        format!("{}/desk/ark@sha256:{digest}", registry.address)
    );
    let manifest: Value = serde_json::from_slice(&registry.read_blob(&digest)).expect("JSON");
    let layers = manifest["layers"].as_array().expect("layers").iter();
    let pushed_bytes: u64 = layers.filter_map(|layer| layer["size"].as_u64()).sum();
    refuse_other_machine(buildah.dir.path());
    let described: Value =
        serde_json::from_str(&buildah.run(&["inspect", "--type=image", &tag])).expect("JSON");
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
    assert_eq!(
        config["Labels"]["org.opencontainers.image.created"],
        "2023-11-14T22:13:20Z"
    );
    let container = buildah.run(&["from", &tag]);
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
    // A first start compiles the Graveyard; the second finds it in the cache, as each later one does.
    let mut started = Vec::new();
    let mut running = None;
    for _ in 0..2 {
        drop(running.take());
        let moment = Instant::now();
        let host = program_of(&image, port).arg("serve").spawn();
        running = Some(Running(host.expect("chroot starts")));
        wait_until("the host of the image is ready", || {
            is_healthy(&image, port)
        });
        started.push(moment.elapsed());
    }
    let mut host = running.expect("a host");
    println!(
        "the image: {pushed_bytes} bytes in the registry, {} unpacked; ready after {:?}, then {:?}",
        count_bytes(&image),
        started[0],
        started[1]
    );
    validate(port, buildah.dir.path());
    let status = fs::read_to_string(format!("/proc/{}/status", host.0.id())).expect("Linux");
    assert!(
        status.contains(&format!("Uid:\t{USER}\t{USER}")),
        "{status}"
    );
    kill_process(Pid::from_child(&host.0), Signal::TERM).expect("SIGTERM");
    assert!(host.0.wait().expect("its end").success());
    assert!(!is_healthy(&image, port));
    buildah.run(&["umount", &container]);
}
