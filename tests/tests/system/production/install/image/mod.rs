//! The image of `Dockerfile.arch`, built by `cargo xtask image` with a real buildah, pushed to a real registry, and run as the user that it names.
//!
//! `TEST_IMAGE_BASE=DIR` switches it on, for `TEST_IMAGE_PLATFORM` (that of this machine), `TEST_IMAGE_BASE_ARM64=DIR` what is for another machine: root file systems that `.ci/run` makes
//! (CONTRIBUTING.md says how) of the distribution on which the program under test was built. It needs root, buildah and a minute or two.
//! The program is that of the other tests, a development build: the recipe takes it as one that is built already.
//! What the recipe refuses is tested always.

mod arm64;
mod buildah;
mod kubernetes;
mod neighbours;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ark_tests::artefacts::checkout_path;
use ark_tests::ports::free_port;
use ark_tests::registry::DockerRegistry;
use ark_tests::{Client, ark_program, wait_until};
use serde_json::{Value, json};

use super::installation::secrets_of_compose;
use buildah::{Buildah, Contained, MOMENT, finish};

/// The user of the image.
const USER: u32 = 10001;

/// Who signed the certificates of servers.
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";

/// A root file system for the image, if these tests are switched on.
fn find_base(variable: &str) -> Option<PathBuf> {
    let base = std::env::var_os(variable).map(PathBuf::from);
    if base.is_none() {
        println!("{variable} is not set, so no image is built");
    }
    base
}

/// The platform that the image is built for and run on.
struct ImagePlatform {
    /// As the builder names it.
    name: &'static str,
    architecture: &'static str,
    /// The loader of its programs.
    loader: &'static str,
    /// The machine of a program that is none for it, as its header has it.
    other_machine: u8,
}

/// What there are images for.
const PLATFORMS: [ImagePlatform; 2] = [
    ImagePlatform {
        name: "linux/amd64",
        architecture: "amd64",
        loader: "lib64/ld-linux-x86-64.so.2",
        other_machine: 183,
    },
    ImagePlatform {
        name: "linux/arm64",
        architecture: "arm64",
        loader: "lib/ld-linux-aarch64.so.1",
        other_machine: 62,
    },
];

/// The platform of `TEST_IMAGE_PLATFORM`, else that of this machine. Its programs must run here.
fn find_platform() -> &'static ImagePlatform {
    let of_machine = match std::env::consts::ARCH {
        "aarch64" => "linux/arm64",
        _ => "linux/amd64",
    };
    let wanted = std::env::var("TEST_IMAGE_PLATFORM").unwrap_or_else(|_| of_machine.to_owned());
    let found = PLATFORMS.iter().find(|platform| platform.name == wanted);
    found.unwrap_or_else(|| panic!("TEST_IMAGE_PLATFORM: there is no image for {wanted}"))
}

/// Keeps a line of figures for CI, which prints it.
fn record_figures(name: &str, line: &str) {
    println!("{line}");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image");
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(dir.join(format!("{name}.txt")), format!("{line}\n")).expect("a file");
}

/// Everything below a directory, by its path there.
fn list_files(dir: &Path) -> BTreeMap<String, fs::Metadata> {
    fn collect_files(root: &Path, dir: &Path, found: &mut BTreeMap<String, fs::Metadata>) {
        for entry in fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            let metadata = fs::symlink_metadata(&path).expect("a file");
            let name = path.strip_prefix(root).expect("below it");
            if metadata.is_dir() {
                collect_files(root, &path, found);
            }
            found.insert(name.display().to_string(), metadata);
        }
    }
    let mut found = BTreeMap::new();
    collect_files(dir, dir, &mut found);
    found
}

/// The image has these files and no other: all of one moment, none of which gives its user more rights. `loader`: where the program names it.
fn assert_contents(image: &Path, loader: &str) -> u64 {
    let found = list_files(image);
    let moment: i64 = MOMENT.parse().expect("a number");
    for (name, metadata) in &found {
        assert_eq!(metadata.mtime(), moment, "{name}");
        assert_eq!(metadata.mode() & 0o6000, 0, "{name}");
        let owner = match name.as_str() {
            "var/lib/ark" | "var/backups/ark" => USER,
            _ => 0,
        };
        assert_eq!((metadata.uid(), metadata.gid()), (owner, owner), "{name}");
    }
    let mode = |name: &str| -> u32 {
        let metadata = found.get(name).unwrap_or_else(|| panic!("no {name}"));
        metadata.permissions().mode() & 0o7777
    };
    let expected = [
        ("etc/group", 0o644),
        ("etc/nsswitch.conf", 0o644),
        ("etc/passwd", 0o644),
        (CERTIFICATES, 0o444),
        ("usr/bin/ark", 0o755),
        ("usr/share/ark/graveyard.wasm", 0o444),
        ("usr/share/doc/ark/LICENSE", 0o444),
        (loader, 0o755),
    ];
    for (name, expected) in expected {
        // A base without certificates gives none.
        if name == CERTIFICATES && !found.contains_key(name) {
            continue;
        }
        assert_eq!(mode(name), expected, "{name}");
    }
    for (name, expected) in [
        ("tmp", 0o1777),
        ("var/lib/ark", 0o700),
        ("var/backups/ark", 0o700),
    ] {
        assert_eq!(mode(name), expected, "{name}");
    }
    let others = found.iter().filter(|(name, metadata)| {
        let is_expected = expected.iter().any(|(expected, _)| expected == name);
        !metadata.is_dir() && !is_expected
    });
    for (name, _) in others {
        let file = name.rsplit('/').next().expect("a name");
        assert!(
            ["libc.so.6", "libm.so.6", "libgcc_s.so.1"].contains(&file),
            "{name} is not needed"
        );
    }
    let graveyard = fs::read(image.join("usr/share/ark/graveyard.wasm")).expect("a file");
    let own = fs::read(checkout_path("policies/graveyard.wasm")).expect("a file");
    assert!(graveyard == own, "the Graveyard is that of this checkout");
    let files = found.values().filter(|metadata| metadata.is_file());
    files.map(fs::Metadata::len).sum()
}

/// What the image says of itself.
fn assert_described(buildah: &Buildah, tag: &str, architecture: &str, base: &str) -> Value {
    let described: Value =
        serde_json::from_str(&buildah.run(&["inspect", "--type=image", tag])).expect("JSON");
    assert_eq!(described["Docker"]["architecture"], architecture);
    assert_eq!(described["Docker"]["os"], "linux");
    let config = &described["Docker"]["config"];
    assert_eq!(config["User"], format!("{USER}:{USER}"), "{config:#}");
    assert_eq!(config["Entrypoint"], json!(["/usr/bin/ark"]));
    assert_eq!(config["Cmd"], json!(["serve"]));
    assert_eq!(config["WorkingDir"], "/var/lib/ark");
    assert_eq!(config["Volumes"], json!({"/var/lib/ark": {}}));
    assert_eq!(
        config["ExposedPorts"],
        json!({"8000/tcp": {}, "9090/tcp": {}})
    );
    let probe = &config["Healthcheck"];
    assert_eq!(probe["Test"], json!(["CMD", "/usr/bin/ark", "health"]));
    assert_eq!(probe["Retries"], 3, "{probe:#}");
    let head = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(checkout_path(""))
        .output();
    let head = head.expect("git starts").stdout;
    for (label, value) in [
        ("title", "ark"),
        ("version", "9.9.9"),
        ("revision", String::from_utf8_lossy(&head).trim()),
        ("created", "2023-11-14T22:13:20Z"),
        ("licenses", "Apache-2.0"),
        ("base.name", base),
    ] {
        let label = format!("org.opencontainers.image.{label}");
        assert_eq!(config["Labels"][&label], value, "{label}");
    }
    described
}

/// A program of another machine is refused before anything is built.
fn refuse_other_machine(buildah: &Buildah, platform: &ImagePlatform) {
    let other = buildah.path("other");
    let mut header = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\0\0";
    header[18] = platform.other_machine;
    fs::write(&other, header).expect("a file");
    let program = format!("--program={}", other.display());
    let refused = buildah
        .image_command(&[&format!("--platform={}", platform.name), &program])
        .output()
        .expect("xtask starts");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success(), "{said}");
    let expected = format!("is no program for {}", platform.name);
    assert!(said.contains(&expected), "{said}");
}

/// The running host passes the tests of a deployment.
fn validate_host(port: u16, dir: &Path) {
    finish(
        Command::new(ark_program())
            .args(["validate", "--url"])
            .arg(format!("http://127.0.0.1:{port}"))
            .arg("--journal")
            .arg(dir.join("validate.journal"))
            .current_dir(dir),
    );
}

fn is_ready(port: u16) -> bool {
    let mut client = Client::at(&format!("127.0.0.1:{port}"));
    let answer = client.request("GET", "/readyz", &[], b"");
    answer.is_ok_and(|(status, _, _)| status == 200)
}

/// Starts the host of a container and waits until it is ready. Returns how long that took, from when the program ran.
fn start_host(buildah: &Buildah, container: &str, port: u16) -> (Contained, Duration) {
    let settings = [
        format!("--env=ARK_LISTEN=127.0.0.1:{port}"),
        "--env=ARK_TELEMETRY_LISTEN=off".to_owned(),
        // The tests of a validation wait for several rounds of the watchdog.
        "--env=ARK_WATCHDOG_HEARTBEAT_MS=300".to_owned(),
        "--env=ARK_WATCHDOG_HEARTBEAT_DEADLINE_MS=10000".to_owned(),
    ];
    let host = Contained::start(buildah.program(container, &settings, &["serve"]));
    let moment = Instant::now();
    wait_until("the host of the image is ready", || is_ready(port));
    (host, moment.elapsed())
}

/// A value of a process's status, e.g. `Uid`.
fn read_status(process: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("Linux");
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    line.expect("a line").to_owned()
}

/// `deploy/image/assemble.sh` for a program and a base; what it says when it refuses them.
fn refuse_program(program: &Path, base: &Path, architecture: &str, dir: &Path) -> String {
    let output = Command::new("sh")
        .arg(checkout_path("deploy/image/assemble.sh"))
        .args([program, dir, base, &dir.join("image")])
        .env("TARGETARCH", architecture)
        .output()
        .expect("sh starts");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_program_that_would_not_start_in_the_image_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    for name in ["graveyard.wasm", "LICENSE"] {
        fs::write(at(name), "").expect("a file");
    }
    let program = at("program");
    let compiled = Command::new("sh")
        .args([
            "-c",
            "echo 'int main(void) { return 0; }' | cc -x c - -o \"$0\"",
        ])
        .arg(&program)
        .status();
    assert!(compiled.expect("sh starts").success());
    let own = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    let other = if own == "arm64" { "amd64" } else { "arm64" };
    let root = Path::new("/");
    let said = refuse_program(&program, root, other, dir.path());
    assert!(said.contains(&format!("the image for {other}")), "{said}");
    let empty = at("empty");
    fs::create_dir(&empty).expect("a directory");
    let said = refuse_program(&program, &empty, own, dir.path());
    assert!(said.contains("the base has no /lib"), "{said}");
    // Only the loader is there.
    let loader = finish(Command::new("sh").args([
        "-c",
        "readelf -l \"$0\" | sed -n 's/.*interpreter: \\(.*\\)]/\\1/p'",
        &program.display().to_string(),
    ]));
    let placed = empty.join(loader.trim_start_matches('/'));
    fs::create_dir_all(placed.with_file_name("")).expect("a directory");
    fs::copy(&loader, placed).expect("the loader");
    let said = refuse_program(&program, &empty, own, dir.path());
    assert!(said.contains("the base has no libc.so.6"), "{said}");
    // A program of a later distribution: its version of the C library is made one that there is nowhere.
    let bytes = fs::read(&program).expect("the program");
    let start = bytes.windows(8).position(|bytes| bytes == b"GLIBC_2.");
    let mut later = bytes.clone();
    later[start.expect("a version") + 6] = b'9';
    let newer = at("newer");
    fs::write(&newer, later).expect("a file");
    let said = refuse_program(&newer, root, own, dir.path());
    assert!(
        said.contains("of libc.so.6, and that of the base is older"),
        "{said}"
    );
}

#[test]
fn secrets_and_what_is_built_are_left_out_of_the_build() {
    if find_base("TEST_IMAGE_BASE").is_none() {
        return;
    }
    let buildah = Buildah::new();
    let context = buildah.path("context");
    let secrets = secrets_of_compose();
    let left_out = ["target/debug/ark", ".git/config", "fuzz/corpus/a"].map(str::to_owned);
    let taken = [
        "Cargo.toml",
        "deploy/compose/prometheus.yml",
        "target/image/ark",
    ];
    let taken = taken.map(str::to_owned);
    for path in secrets.iter().chain(&left_out).chain(&taken) {
        let path = context.join(path);
        fs::create_dir_all(path.with_file_name("")).expect("a directory");
        fs::write(path, "x").expect("a file");
    }
    let ignored = checkout_path(".dockerignore");
    fs::copy(ignored, context.join(".dockerignore")).expect("a copy");
    let recipe = buildah.path("Dockerfile");
    fs::write(&recipe, "FROM scratch\nCOPY . /\n").expect("a recipe");
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    buildah.run(&[
        "build",
        "--quiet",
        "--tag=context",
        "--file",
        &text(&recipe),
        &text(&context),
    ]);
    let (_, files) = buildah.make_container("context");
    for path in &taken {
        assert!(files.join(path).is_file(), "{path} is not in the build");
    }
    for path in secrets.iter().chain(&left_out) {
        assert!(!files.join(path).exists(), "{path} is in the build");
    }
}

#[test]
fn the_image_holds_what_it_must_and_runs_as_its_user() {
    let Some(base) = find_base("TEST_IMAGE_BASE") else {
        return;
    };
    let buildah = Buildah::new();
    let platform = find_platform();
    buildah.import(&base, "localhost/base", platform.architecture);
    let registry = DockerRegistry::start();
    let tag = format!("{}/desk/ark:9.9.9", registry.address);
    // Built twice and from the beginning it is the same to the byte in a registry.
    let moment = Instant::now();
    let build = || {
        let args = [
            &format!("--platform={}", platform.name),
            "--toolchain=localhost/base",
            "--base=localhost/base",
            &format!("--program={}", ark_program().display()),
            &format!("--tag={tag}"),
            "--no-cache",
            "--push",
            "--plain-http",
        ];
        let printed = finish(&mut buildah.image_command(&args));
        printed.lines().last().expect("a line").to_owned()
    };
    let pushed = build();
    let build_time = moment.elapsed();
    assert_eq!(build(), pushed);
    let digest = registry.read_tag("desk/ark", "9.9.9");
    assert_eq!(
        pushed,
        format!("{}/desk/ark@sha256:{digest}", registry.address)
    );
    let manifest: Value = serde_json::from_slice(&registry.read_blob(&digest)).expect("JSON");
    let layers = manifest["layers"].as_array().expect("layers").iter();
    let pushed_bytes: u64 = layers.filter_map(|layer| layer["size"].as_u64()).sum();
    refuse_other_machine(&buildah, platform);
    let described = assert_described(&buildah, &tag, platform.architecture, "localhost/base");
    let (container, files) = buildah.make_container(&tag);
    let unpacked_bytes = assert_contents(&files, platform.loader);

    // The probe of the image, run in it. The address is that of the host's own configuration.
    let port = free_port();
    let probe = described["Docker"]["config"]["Healthcheck"]["Test"]
        .as_array()
        .expect("a probe")[1..]
        .iter()
        .map(|word| word.as_str().expect("a word").to_owned());
    let probe: Vec<String> = probe.collect();
    let is_healthy = || {
        let mut command = buildah.command("buildah");
        command
            .args(["run", &format!("--env=ARK_LISTEN=127.0.0.1:{port}")])
            .args(["--env=ARK_TELEMETRY_LISTEN=off", &container, "--"])
            .args(&probe);
        let output = command.output().expect("buildah starts");
        output.status.success()
    };
    assert!(!is_healthy());
    // A first start compiles the Graveyard; the second finds it in the cache, as each later one does.
    let (first, first_start) = start_host(&buildah, &container, port);
    assert_eq!(first.terminate(), Some(0));
    let (host, second_start) = start_host(&buildah, &container, port);
    assert!(is_healthy());
    assert_eq!(
        read_status(host.id, "Uid"),
        format!("{USER}\t{USER}\t{USER}\t{USER}")
    );
    assert_eq!(read_status(host.id, "CapEff"), "0000000000000000");
    validate_host(port, &buildah.path(""));
    assert_eq!(host.terminate(), Some(0));
    assert!(!is_healthy());
    // Nothing of it belongs to somebody else than its user.
    for (name, metadata) in list_files(&files.join("var/lib/ark")) {
        assert_eq!(metadata.uid(), USER, "{name}");
    }
    record_figures(
        platform.architecture,
        &format!(
            "image {}, development build: assembled and pushed in {build_time:.1?}, {:.1} MB in the registry, {:.1} MB unpacked, \
             ready {first_start:.2?} after its first start, {second_start:.2?} after the next",
            platform.name,
            pushed_bytes as f64 / 1e6,
            unpacked_bytes as f64 / 1e6,
        ),
    );
    neighbours::run_as_compose_does(&buildah, &tag);
    kubernetes::run_as_kubernetes_does(&buildah, &tag);
}
