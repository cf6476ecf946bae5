//! `cargo xtask image`: the container image of `Dockerfile.arch`, for one platform, under tags, pushed where that is asked for.
//!
//! What is pushed depends on the program, the sources, the base and `SOURCE_DATE_EPOCH` alone: built twice it has the same digest. It is pushed in
//! OCI's format; docker's, which the image has on this machine, adds the probe (`HEALTHCHECK`) and also the name of the container that it was
//! built in. It is built by buildah or podman, which take the same arguments.
//!
//! For another machine than this one the program is built by a cross compiler in the toolchain's image, and nothing of the base is run.

use std::fmt;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::dist::{check_program, find_moment};
use crate::hermetic::Workspace;
use crate::process::{read_output, run_command, take_turn};

/// Where a program that is built already is put, from the root of the workspace: alone of `target` it is in the build's context.
const PREBUILT: &str = "target/image/ark";
/// The first bytes of a program for 64-bit little-endian machines.
const ELF_64_LITTLE: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
/// Where the header of a program names the machine, and where that ends.
const ELF_MACHINE: std::ops::Range<usize> = 18..20;

/// Arguments of `cargo xtask image`.
#[derive(clap::Args)]
pub struct ImageArgs {
    /// The platform that the image is for [default: that of this machine].
    #[arg(long)]
    platform: Option<Platform>,
    /// A name of the image, with the registry where it is to be pushed: `REGISTRY/NAME:TAG`. Can be given several times [default: ark:VERSION].
    #[arg(long = "tag", value_name = "NAME")]
    tags: Vec<String>,
    /// The version in the image's labels [default: that of the workspace].
    #[arg(long)]
    version: Option<String>,
    /// Push the image under each name, and print its digest there.
    #[arg(long)]
    push: bool,
    /// Push without TLS.
    #[arg(long, requires = "push")]
    plain_http: bool,
    /// A program that is built already, for the platform and for the libraries of the base [default: it is built in the toolchain's image].
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// The profile of cargo by which the program is built [default: release].
    #[arg(long, value_name = "NAME", conflicts_with = "program")]
    profile: Option<String>,
    /// The image in which the program is built [default: that of Dockerfile.arch].
    #[arg(long, value_name = "IMAGE")]
    toolchain: Option<String>,
    /// The image whose libraries run the program [default: that of Dockerfile.arch, which is for linux/amd64 only].
    #[arg(long, value_name = "IMAGE")]
    base: Option<String>,
    /// A directory of this machine that the steps of the build see, as the builder's own option: `DIR:PATH[:ro]`. So a build uses the packages
    /// that cargo has here already. Can be given several times.
    #[arg(long = "volume", value_name = "VOLUME")]
    volumes: Vec<String>,
    /// What builds: buildah or podman.
    #[arg(long, default_value_t = Builder::Buildah, value_enum)]
    builder: Builder,
    /// Build every step again, whatever was built before.
    #[arg(long)]
    no_cache: bool,
}

/// A platform that images are built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Platform {
    #[value(name = "linux/amd64")]
    Amd64,
    #[value(name = "linux/arm64")]
    Arm64,
}

impl Platform {
    /// Returns the architecture of this machine.
    fn of_machine() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::Amd64),
            "aarch64" => Ok(Self::Arm64),
            other => anyhow::bail!("there is no image for {other}; give --platform"),
        }
    }

    /// How the tools of a cross compiler for it begin.
    const fn tool_prefix(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu-",
            Self::Arm64 => "aarch64-linux-gnu-",
        }
    }

    /// The number of the machine in the header of its programs.
    const fn elf_machine(self) -> u16 {
        match self {
            Self::Amd64 => 62,
            Self::Arm64 => 183,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Amd64 => "linux/amd64",
            Self::Arm64 => "linux/arm64",
        })
    }
}

/// A program that builds images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Builder {
    Buildah,
    Podman,
}

impl Builder {
    fn command(self) -> Command {
        Command::new(match self {
            Self::Buildah => "buildah",
            Self::Podman => "podman",
        })
    }
}

/// Builds the image, prints its id, and pushes it.
///
/// # Errors
/// The program is not for the platform, or a command fails.
pub fn build_image(args: &ImageArgs) -> Result<()> {
    let root = Workspace::find()?.root;
    let machine = Platform::of_machine()?;
    let platform = args.platform.unwrap_or(machine);
    ensure!(
        platform == Platform::Amd64 || args.base.is_some(),
        "Arch Linux has no image for {platform}: give --base, for example docker.io/library/debian:bookworm-slim, and a --toolchain that is not newer, \
         for example docker.io/library/rust:1.95-bookworm"
    );
    let version = match &args.version {
        Some(version) => version.clone(),
        None => read_workspace_version(&root)?,
    };
    let tags = match args.tags.as_slice() {
        [] => vec![format!("ark:{version}")],
        tags => tags.to_vec(),
    };
    ensure!(
        !args.push || tags.iter().all(|tag| tag.contains('/')),
        "--push needs the registry in each --tag: REGISTRY/NAME:TAG"
    );
    let moment = find_moment(&root)?;
    let ids = tempfile::NamedTempFile::new()?;
    let mut build = args.builder.command();
    build
        .args(["build", "--format=docker"])
        .arg(format!("--timestamp={moment}"))
        .arg(format!("--platform={platform}"))
        .arg("--iidfile")
        .arg(ids.path())
        .arg("--file")
        .arg(root.join("Dockerfile.arch"));
    if args.no_cache {
        build.arg("--no-cache");
    }
    for tag in &tags {
        build.arg("--tag").arg(tag);
    }
    for volume in &args.volumes {
        build.arg("--volume").arg(volume);
    }
    let mut values = vec![
        // buildah of before 1.29 does not say it by itself.
        ("BUILDPLATFORM", machine.to_string()),
        ("SOURCE_DATE_EPOCH", moment.clone()),
        ("VERSION", version),
        ("CREATED", format_moment(&moment)?),
        ("REVISION", read_revision(&root)),
    ];
    values.extend(args.toolchain.clone().map(|image| ("TOOLCHAIN", image)));
    values.extend(args.base.clone().map(|image| ("BASE", image)));
    values.extend(args.profile.clone().map(|profile| ("PROFILE", profile)));
    // Two builds would have the same file in their contexts, so they take turns.
    let mut turn = None;
    if let Some(program) = &args.program {
        turn = Some(take_turn(&root, "image.lock")?);
        check_machine(program, platform)?;
        check_program(program)?;
        let prefix = if platform == machine {
            ""
        } else {
            platform.tool_prefix()
        };
        let strip = format!("{prefix}strip");
        put_prebuilt(program, &root.join(PREBUILT), &strip)?;
        values.push(("PREBUILT", PREBUILT.to_owned()));
    }
    for (name, value) in values {
        build.arg(format!("--build-arg={name}={value}"));
    }
    run_command(build.arg(&root))?;
    drop(turn);
    println!("{}", fs::read_to_string(ids.path())?.trim());
    if args.push {
        for tag in &tags {
            push_image(args, tag)?;
        }
    }
    Ok(())
}

/// Pushes the image under a name, and prints the reference by digest.
fn push_image(args: &ImageArgs, tag: &str) -> Result<()> {
    let digest = tempfile::NamedTempFile::new()?;
    let mut push = args.builder.command();
    push.args(["push", "--format=oci", "--digestfile"])
        .arg(digest.path());
    if args.plain_http {
        push.arg("--tls-verify=false");
    }
    run_command(push.arg(tag).arg(format!("docker://{tag}")))?;
    println!(
        "{}@{}",
        without_tag(tag),
        fs::read_to_string(digest.path())?.trim()
    );
    Ok(())
}

/// `REGISTRY/NAME` of `REGISTRY/NAME:TAG`, where the registry may have a port.
fn without_tag(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

/// Puts the program where the build finds it; without what a debugger reads, where there is a tool that takes it out.
fn put_prebuilt(program: &Path, prebuilt: &Path, strip: &str) -> Result<()> {
    let directory = prebuilt.with_file_name("");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    match Command::new(strip)
        .arg("-o")
        .arg(prebuilt)
        .arg(program)
        .status()
    {
        Ok(status) => ensure!(status.success(), "{strip} {}: {status}", program.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!(
                "{strip} is not installed, so the program keeps what a debugger reads and is larger"
            );
            fs::copy(program, prebuilt).with_context(|| program.display().to_string())?;
        }
        Err(error) => return Err(error).context(strip.to_owned()),
    }
    Ok(())
}

/// Checks that a program is for a platform.
fn check_machine(program: &Path, platform: Platform) -> Result<()> {
    let mut header = [0; ELF_MACHINE.end];
    fs::File::open(program)
        .and_then(|mut file| file.read_exact(&mut header))
        .with_context(|| program.display().to_string())?;
    let machine = header.get(ELF_MACHINE).and_then(|it| it.try_into().ok());
    let machine = machine.map(u16::from_le_bytes);
    ensure!(
        header.starts_with(&ELF_64_LITTLE) && machine == Some(platform.elf_machine()),
        "{} is no program for {platform}",
        program.display()
    );
    Ok(())
}

fn read_workspace_version(root: &Path) -> Result<String> {
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let manifest: toml::Table = toml::from_str(&manifest)?;
    let version = manifest
        .get("workspace")
        .and_then(|it| it.get("package")?.get("version")?.as_str());
    Ok(version
        .context("Cargo.toml: workspace.package.version")?
        .to_owned())
}

/// A moment in seconds since 1970, as labels have it.
fn format_moment(moment: &str) -> Result<String> {
    let mut date = Command::new("date");
    date.args(["--utc", "+%Y-%m-%dT%H:%M:%SZ"]);
    let text = read_output(date.arg(format!("--date=@{moment}")))?;
    Ok(text.trim().to_owned())
}

/// The commit that is built; empty where there is no git.
fn read_revision(root: &Path) -> String {
    let mut git = Command::new("git");
    let revision = read_output(git.args(["rev-parse", "HEAD"]).current_dir(root));
    revision.map_or_else(|_| String::new(), |it| it.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Platform, check_machine, without_tag};

    #[test]
    fn a_program_is_for_one_platform() {
        let dir = tempfile::tempdir().expect("a directory");
        let program = dir.path().join("program");
        let mut header = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0";
        std::fs::write(&program, header).expect("a file");
        assert!(check_machine(&program, Platform::Amd64).is_ok());
        assert!(check_machine(&program, Platform::Arm64).is_err());
        header[18] = 183;
        std::fs::write(&program, header).expect("a file");
        assert!(check_machine(&program, Platform::Arm64).is_ok());
        for broken in [&b"#!/bin/sh\nexit 0 # and more\n"[..], b"\x7fELF", b""] {
            std::fs::write(&program, broken).expect("a file");
            assert!(check_machine(&program, Platform::Amd64).is_err());
        }
    }

    #[test]
    fn names_lose_their_tag_and_keep_the_port() {
        for (name, bare) in [
            ("127.0.0.1:5000/ark:1.0.0", "127.0.0.1:5000/ark"),
            ("127.0.0.1:5000/ark", "127.0.0.1:5000/ark"),
            ("registry.example/a/ark:latest", "registry.example/a/ark"),
        ] {
            assert_eq!(without_tag(name), bare);
        }
    }
}
