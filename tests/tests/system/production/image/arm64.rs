//! The image for linux/arm64: made on a machine of another kind, without running anything of its base, and run by an emulator.
//!
//! A whole cross build takes many minutes, so CI has a small C program in its stead: what is shown then is that the recipe takes the loader
//! and the libraries of the other machine, and says whom the image is for. `TEST_IMAGE_PROGRAM_ARM64=FILE` is a real one (CONTRIBUTING.md says
//! how it is built): it must answer, take a configuration and serve.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ark_tests::ports::free_port;
use ark_tests::wait_until;

use super::buildah::{Buildah, finish};
use super::{assert_contents, assert_described, find_base, is_ready, record_figures};
use crate::production::compose::NeighbourProcess;

/// Debian's emulator.
const EMULATOR: &str = "qemu-aarch64-static";

/// Compiles a program for the other machine that needs the libraries which `ark` needs, and answers as it does.
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

/// A real program answers, takes a configuration, serves, and is probed by itself.
fn assert_serves(image: &Path) {
    let port = free_port();
    let run = |args: &[&str]| {
        let mut command = emulate_program(image, args);
        command
            .env("ARK_LISTEN", format!("127.0.0.1:{port}"))
            .env("ARK_TELEMETRY_LISTEN", "off");
        command
    };
    let checked = finish(&mut run(&["config", "check"]));
    assert!(
        checked.contains("the configuration is in order"),
        "{checked}"
    );
    let host = run(&["serve"]).stdout(Stdio::null()).spawn();
    let mut host = NeighbourProcess(host.expect("the emulator starts"));
    wait_until("the host of the image is ready", || {
        let ended = host.0.try_wait().expect("its status");
        assert_eq!(ended, None, "the host ended");
        is_ready(port)
    });
    let healthy = finish(&mut run(&["health", "--ready"]));
    assert!(healthy.contains("ok"), "{healthy}");
}

#[test]
fn an_image_for_another_machine_is_made_without_running_its_base() {
    let Some(base) = find_base("TEST_IMAGE_BASE_ARM64") else {
        return;
    };
    let toolchain = find_base("TEST_IMAGE_BASE").expect("TEST_IMAGE_BASE, for the toolchain");
    let buildah = Buildah::new();
    buildah.import(&toolchain, "localhost/base", "amd64");
    buildah.import(&base, "localhost/base-arm64", "arm64");
    let given = std::env::var_os("TEST_IMAGE_PROGRAM_ARM64").map(PathBuf::from);
    let is_real = given.is_some();
    let program = given.unwrap_or_else(|| compile_stand_in(&buildah.path("")));
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
    assert_described(&buildah, "ark:arm64", "arm64", "localhost/base-arm64");
    let container = buildah.run(&["from", "--pull-never", "--arch=arm64", "ark:arm64"]);
    let files = PathBuf::from(buildah.run(&["mount", &container]));
    let bytes = assert_contents(&files, "lib/ld-linux-aarch64.so.1");
    // Program, loader and libraries are of the other machine.
    for file in ["usr/bin/ark", "lib/ld-linux-aarch64.so.1"] {
        let header = finish(Command::new("readelf").arg("-h").arg(files.join(file)));
        assert!(header.contains("AArch64"), "{file}: {header}");
    }
    let answer = finish(&mut emulate_program(&files, &["version"]));
    assert!(answer.starts_with("ark "), "{answer}");
    if is_real {
        assert_serves(&files);
        let line = format!(
            "image linux/arm64, cross-built: {:.1} MB unpacked",
            bytes as f64 / 1e6
        );
        record_figures("arm64", &line);
    }
}
