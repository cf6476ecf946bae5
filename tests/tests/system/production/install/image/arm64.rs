//! The image for linux/arm64: made on a machine of another kind, without running anything of its base, and run by an emulator.
//!
//! A whole build takes many minutes, so in CI a small C program shows that the recipe takes the loader and the libraries of the other machine, and
//! says whom the image is for. With `TEST_IMAGE_TOOLCHAIN=DIR`, the root file system of a toolchain with a cross compiler, the recipe builds the real
//! one by the Rust and the packages of this machine (CONTRIBUTING.md): it must serve, judge, and pass the tests of a deployment.
//! `TEST_IMAGE_PROGRAM_ARM64=FILE` is one that is built already.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ark_tests::ports::free_port;
use ark_tests::{Client, trade, wait_until};
use serde_json::json;

use super::buildah::{Buildah, finish};
use super::{
    assert_contents, assert_described, find_base, is_ready, record_figures, validate_host,
};
use crate::production::install::compose::NeighbourProcess;

/// Debian's emulator.
const EMULATOR: &str = "qemu-aarch64-static";

/// Compiles a program for the other machine that needs the libraries which `ark` needs. Nothing else of it matters where a build is refused.
fn compile_stand_in(dir: &Path) -> PathBuf {
    let (source, program) = (dir.join("ark.c"), dir.join("ark-arm64"));
    // The version of libgcc_s for the frames that a compiler of WebAssembly registers is named as those of the C library are.
    let text = "#include <math.h>\n#include <stdio.h>\nvoid __register_frame_info(void *, void *);\n\
                int main(int count, char **words) {\n\
                if (count > 9) __register_frame_info(words, words);\n\
                printf(\"ark %.1f\\n\", sqrt(count)); return words[count] != 0; }\n";
    fs::write(&source, text).expect("a file");
    finish(
        Command::new("aarch64-linux-gnu-gcc")
            .arg(&source)
            .arg("-o")
            .arg(&program)
            .args(["-Wl,--no-as-needed", "-lm", "-lgcc_s"]),
    );
    program
}

/// The program of the image under the emulator, with the image's files for its loader.
fn emulate_program(image: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(EMULATOR);
    command
        .arg("-L")
        .arg(image)
        .arg(image.join("usr/bin/ark"))
        .args(args)
        .current_dir(image.join("tmp"))
        .env_clear()
        .env("ARK_DATA_DIR", image.join("var/lib/ark"))
        .env("ARK_GRAVEYARD", image.join("usr/share/ark/graveyard.wasm"));
    command
}

/// A directory of rustup or cargo on this machine, which both say to what they run.
fn find_home(variable: &str, default: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        let home = std::env::var("HOME").expect("HOME");
        format!("{home}/{default}")
    })
}

/// Imports the bases of both machines.
fn import_bases(buildah: &Buildah, base: &Path) {
    let own = find_base("TEST_IMAGE_BASE").expect("TEST_IMAGE_BASE, for the toolchain");
    buildah.import(&own, "localhost/base", "amd64");
    buildah.import(base, "localhost/base-arm64", "arm64");
}

/// Program, loader and libraries of the image are of the other machine. Returns the size of its files.
fn assert_for_other_machine(buildah: &Buildah, tag: &str) -> (PathBuf, u64) {
    assert_described(buildah, tag, "arm64", "localhost/base-arm64");
    let container = buildah.run(&["from", "--pull-never", "--arch=arm64", tag]);
    let files = PathBuf::from(buildah.run(&["mount", &container]));
    let bytes = assert_contents(&files, "lib/ld-linux-aarch64.so.1");
    for file in ["usr/bin/ark", "lib/ld-linux-aarch64.so.1"] {
        let header = finish(Command::new("readelf").arg("-h").arg(files.join(file)));
        assert!(header.contains("AArch64"), "{file}: {header}");
    }
    let answer = finish(&mut emulate_program(&files, &["version"]));
    assert!(answer.starts_with("ark "), "{answer}");
    (files, bytes)
}

/// The program takes a configuration, serves, judges, is probed by itself, and passes the tests of a deployment. Returns how long its two starts took.
fn assert_serves(image: &Path, dir: &Path) -> [Duration; 2] {
    let port = free_port();
    let run = |args: &[&str]| {
        let mut command = emulate_program(image, args);
        command
            .env("ARK_LISTEN", format!("127.0.0.1:{port}"))
            .env("ARK_TELEMETRY_LISTEN", "off")
            // As for the image of this machine: a validation waits for several rounds of the watchdog.
            .env("ARK_WATCHDOG_HEARTBEAT_MS", "300")
            .env("ARK_WATCHDOG_HEARTBEAT_DEADLINE_MS", "10000");
        command
    };
    let start = || {
        let host = run(&["serve"]).stdout(Stdio::null()).spawn();
        let mut host = NeighbourProcess(host.expect("the emulator starts"));
        let moment = Instant::now();
        wait_until("the host of the image is ready", || {
            let ended = host.0.try_wait().expect("its status");
            assert_eq!(ended, None, "the host ended");
            is_ready(port)
        });
        (host, moment.elapsed())
    };
    let checked = finish(&mut run(&["config", "check"]));
    assert!(
        checked.contains("the configuration is in order"),
        "{checked}"
    );
    let unhealthy = run(&["health", "--ready"]).output();
    assert!(!unhealthy.expect("the emulator starts").status.success());
    // A first start compiles the Graveyard; the second finds it in the cache.
    let (first, first_start) = start();
    drop(first);
    let (_host, second_start) = start();
    let healthy = finish(&mut run(&["health", "--ready"]));
    assert!(healthy.contains("ok"), "{healthy}");
    let mut client = Client::at(&format!("127.0.0.1:{port}"));
    let (status, answer) = client.post("/v1/actions", &trade("BTC-USD", 0.01));
    assert_eq!(
        (status, &answer["outcome"]),
        (200, &json!("approved")),
        "{answer}"
    );
    // More than the Graveyard lets pass.
    let (status, answer) = client.post("/v1/actions", &trade("BTC-USD", 0.5));
    assert_eq!(
        (status, &answer["outcome"]),
        (200, &json!("denied")),
        "{answer}"
    );
    validate_host(port, dir);
    [first_start, second_start]
}

#[test]
fn an_image_for_another_machine_is_made_without_running_its_base() {
    let Some(base) = find_base("TEST_IMAGE_BASE_ARM64") else {
        return;
    };
    let buildah = Buildah::new();
    import_bases(&buildah, &base);
    let program = compile_stand_in(&buildah.path(""));
    let program = format!("--program={}", program.display());
    let build = |args: &[&str]| {
        let common = ["--toolchain=localhost/base", "--tag=ark:arm64", &program];
        buildah.image_command(&[&common, args].concat())
    };
    for (args, said) in [
        // Arch Linux, the default, has no such image.
        (&["--platform=linux/arm64"][..], "give --base"),
        (
            &["--platform=linux/amd64", "--base=localhost/base"],
            "is no program for linux/amd64",
        ),
        // The base of this machine has no loader for the other.
        (
            &["--platform=linux/arm64", "--base=localhost/empty"],
            "the base has no /lib/ld-linux-aarch64.so.1",
        ),
    ] {
        if said.starts_with("the base") {
            let empty = buildah.path("empty");
            fs::create_dir_all(empty.join("etc")).expect("a directory");
            buildah.import(&empty, "localhost/empty", "arm64");
        }
        let refused = build(args).output().expect("xtask starts");
        let printed = [refused.stdout, refused.stderr].concat();
        let printed = String::from_utf8_lossy(&printed);
        assert!(
            !refused.status.success() && printed.contains(said),
            "{args:?}: {printed}"
        );
    }
    finish(&mut build(&[
        "--platform=linux/arm64",
        "--base=localhost/base-arm64",
    ]));
    assert_for_other_machine(&buildah, "ark:arm64");
}

/// The program for the image: one that is given, or none and what the recipe needs to build it. Without either there is no test.
fn list_program_options(buildah: &Buildah) -> Option<Vec<String>> {
    if let Some(program) = std::env::var_os("TEST_IMAGE_PROGRAM_ARM64") {
        let program = PathBuf::from(program);
        return Some(vec![
            "--toolchain=localhost/base".to_owned(),
            format!("--program={}", program.display()),
        ]);
    }
    let toolchain = find_base("TEST_IMAGE_TOOLCHAIN")?;
    let rustup = find_home("RUSTUP_HOME", ".rustup");
    let cargo = find_home("CARGO_HOME", ".cargo");
    let settings = [
        format!("--env=RUSTUP_HOME={rustup}"),
        format!("--env=CARGO_HOME={cargo}"),
        format!("--env=PATH={cargo}/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        // What is not there is an error at once, not a download.
        "--env=CARGO_NET_OFFLINE=true".to_owned(),
    ];
    buildah.import_configured(&toolchain, "localhost/toolchain", "amd64", &settings);
    Some(vec![
        "--toolchain=localhost/toolchain".to_owned(),
        "--profile=emulated".to_owned(),
        format!("--volume={rustup}:{rustup}:ro"),
        format!("--volume={cargo}:{cargo}:ro"),
    ])
}

#[test]
fn the_recipe_cross_builds_the_program_which_serves_in_an_emulator() {
    let Some(base) = find_base("TEST_IMAGE_BASE_ARM64") else {
        return;
    };
    let buildah = Buildah::new();
    let Some(options) = list_program_options(&buildah) else {
        return;
    };
    import_bases(&buildah, &base);
    let mut args = vec![
        "--platform=linux/arm64",
        "--base=localhost/base-arm64",
        "--tag=ark:arm64",
    ];
    args.extend(options.iter().map(String::as_str));
    let moment = Instant::now();
    finish(&mut buildah.image_command(&args));
    let build_time = moment.elapsed();
    let (files, bytes) = assert_for_other_machine(&buildah, "ark:arm64");
    let [first_start, second_start] = assert_serves(&files, &buildah.path(""));
    record_figures(
        "arm64",
        &format!(
            "image linux/arm64, cross-built in {build_time:.0?}: {:.1} MB unpacked, in an emulator ready {first_start:.1?} after its first start, \
             {second_start:.1?} after the next",
            bytes as f64 / 1e6
        ),
    );
}
