//! What `cargo xtask dist` makes: a Debian package, a tarball, a list of parts and checksums, built here of the program of the tests. The package is
//! installed into a directory by dpkg, where its user begins as docs/installation.md says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ark_tests::ark_program;
use ark_tests::artefacts::{checkout_path, read_checkout_file};
use ark_tests::programs::find_program;
use serde_json::Value;

use super::units::{find_value, list_directories, list_packaged};

/// The moment that all files of a distribution have.
const MOMENT: &str = "1700000000";
/// The units of the package.
const UNITS: [&str; 6] = [
    "ark.service",
    "ark.socket",
    "ark-snapshot.service",
    "ark-snapshot.timer",
    "ark-check.service",
    "ark-check.timer",
];

/// Runs a command to its end, which is a success, and returns what it prints.
fn finish(command: &mut Command) -> String {
    let output = command.env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {errors}{printed}");
    printed
}

/// One file of a package or a tarball.
#[derive(Debug, PartialEq, Eq)]
struct PackedFile {
    /// As `ls` shows it, e.g. `-rw-r--r--`.
    rights: String,
    path: String,
}

/// Reads what tar lists, all of which belongs to root, and is of the one moment.
fn list_packed(listing: &str) -> Vec<PackedFile> {
    let date = finish(Command::new("date").args([&format!("--date=@{MOMENT}"), "+%Y-%m-%d %H:%M"]));
    let read_line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [rights, owner, _, day, time, path] = words[..] else {
            panic!("{line}: it is a link, or its name has blanks")
        };
        assert!(["0/0", "root/root"].contains(&owner), "{line}");
        assert_eq!(format!("{day} {time}"), date.trim(), "{line}");
        // Nobody but root changes it, and it gives nobody more rights.
        assert!(!rights.contains('s') && !rights.contains('t'), "{line}");
        assert!(!rights[4..].contains('w'), "{line}");
        PackedFile {
            rights: rights.to_owned(),
            path: path.to_owned(),
        }
    };
    listing.lines().map(read_line).collect()
}

fn show_mode(mode: &str) -> &'static str {
    match mode {
        "0755" => "-rwxr-xr-x",
        "0644" => "-rw-r--r--",
        "0444" => "-r--r--r--",
        other => panic!("{other}"),
    }
}

/// The manual pages of every command.
fn list_pages(packed: &[PackedFile], end: &str) -> BTreeSet<String> {
    let names = packed.iter().filter_map(|file| {
        let (_, name) = file.path.rsplit_once("/ark")?;
        let page = format!("ark{}", name.strip_suffix(end)?);
        assert_eq!(file.rights, show_mode("0644"), "{page}");
        Some(page)
    });
    names.collect()
}

/// The package has the files of its manifest, with their modes, and pages for the commands.
fn assert_package_holds(deb: &Path) {
    let packed = list_packed(&finish(Command::new("dpkg-deb").arg("-c").arg(deb)));
    let found: BTreeMap<&str, &str> = packed
        .iter()
        .map(|file| (file.path.trim_start_matches('.'), file.rights.as_str()))
        .filter(|(path, _)| !path.ends_with('/'))
        .collect();
    let expected = list_packaged();
    for (path, mode) in &expected {
        if !path.ends_with('/') {
            assert_eq!(found.get(path.as_str()), Some(&show_mode(mode)), "{path}");
        }
    }
    let pages = list_pages(&packed, ".1.gz");
    for page in ["ark", "ark-serve", "ark-check", "ark-agent-upload"] {
        assert!(pages.contains(page), "{page}: {pages:?}");
    }
    for path in found.keys() {
        let is_page = path.starts_with("/usr/share/man/man1/ark");
        let is_expected = expected.contains_key(*path) || is_page;
        assert!(
            is_expected || *path == "/usr/share/doc/ark/copyright",
            "{path} is packed and in no list"
        );
    }
    // What the units lead to is there.
    for unit in UNITS {
        let page = find_value(
            &read_checkout_file(&format!("deploy/systemd/{unit}")),
            "Documentation",
        );
        let page = page
            .strip_prefix("man:")
            .and_then(|it| it.strip_suffix("(1)"));
        assert!(pages.contains(page.expect("a page")), "{unit}");
    }
}

/// The package says what it is and what it needs: every library that the program names.
fn assert_package_described(deb: &Path) {
    let field = |name: &str| {
        let value = finish(Command::new("dpkg-deb").arg("-f").arg(deb).arg(name));
        value.trim().to_owned()
    };
    assert_eq!(field("Package"), "ark");
    let version = finish(Command::new(ark_program()).arg("--version"));
    let version = version.split_whitespace().nth(1).expect("a version");
    assert!(
        field("Version").starts_with(version),
        "{}",
        field("Version")
    );
    let machine = finish(Command::new("dpkg").arg("--print-architecture"));
    assert_eq!(field("Architecture"), machine.trim());
    let depends = field("Depends");
    let libraries = finish(Command::new("readelf").arg("-d").arg(ark_program()));
    let mut needed = 0;
    for line in libraries.lines().filter(|line| line.contains("(NEEDED)")) {
        needed += 1;
        let package = match line.split(['[', ']']).nth(1).expect("a library") {
            "libgcc_s.so.1" => "libgcc-s1",
            "libc.so.6" | "libm.so.6" | "ld-linux-x86-64.so.2" | "ld-linux-aarch64.so.1" => "libc6",
            other => panic!("{other} is in no package that is named"),
        };
        assert!(depends.contains(package), "{package}: {depends}");
    }
    assert!(needed >= 2, "{libraries}");
    for program in ["systemd-standalone-sysusers", "systemd-standalone-tmpfiles"] {
        assert!(depends.contains(program), "{program}: {depends}");
    }
}

/// The tarball is one directory with the same files.
fn assert_tarball_holds(tarball: &Path) {
    let packed = list_packed(&finish(Command::new("tar").arg("-tvzf").arg(tarball)));
    let name = tarball.file_name().expect("a name").to_string_lossy();
    let top = name.strip_suffix(".tar.gz").expect("a tarball");
    let mode = |name: &str| {
        let path = format!("{top}/{name}");
        let file = packed.iter().find(|file| file.path == path);
        file.unwrap_or_else(|| panic!("no {path}")).rights.as_str()
    };
    for file in &packed {
        assert!(file.path.starts_with(&format!("{top}/")), "{file:?}");
    }
    assert_eq!(mode("ark"), show_mode("0755"));
    assert_eq!(mode("graveyard.wasm"), show_mode("0444"));
    for name in [
        "LICENSE",
        "ark.service",
        "ark.socket",
        "ark-snapshot.service",
        "ark-snapshot.timer",
        "ark-check.service",
        "ark-check.timer",
        "ark.sysusers",
        "ark.tmpfiles",
        "env.production.example",
        "completions/_ark",
    ] {
        assert_eq!(mode(name), show_mode("0644"), "{name}");
    }
    assert!(list_pages(&packed, ".1").contains("ark-serve"));
}

/// The list of parts names each crate in the program with its version, and neither this machine nor its user.
fn assert_parts_listed(path: &Path) {
    let text = fs::read_to_string(path).expect("the list of parts");
    assert!(
        !text.contains(env!("CARGO_MANIFEST_DIR")),
        "it names a path"
    );
    let list: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(list["bomFormat"], "CycloneDX");
    let components = list["components"].as_array().expect("components");
    assert!(components.len() > 200, "{} parts", components.len());
    let lock = read_checkout_file("Cargo.lock");
    for name in ["wasmtime", "libsqlite3-sys", "rustls", "tokio"] {
        let locked = lock.split("[[package]]\n");
        let version = locked
            .filter_map(|package| package.strip_prefix(&format!("name = \"{name}\"\nversion = \"")))
            .find_map(|rest| rest.split('"').next());
        let version = version.unwrap_or_else(|| panic!("{name} is not locked"));
        let found = components
            .iter()
            .find(|one| one["name"] == name && one["version"] == version);
        let found = found.unwrap_or_else(|| panic!("{name} {version} is not listed"));
        assert_eq!(found["purl"], format!("pkg:cargo/{name}@{version}"));
        assert!(found["licenses"][0].is_object(), "{found:#}");
    }
}

/// Systemd takes the units of a package that is unpacked in a directory, without a word.
fn verify_units(root: &Path, dir: &Path) {
    let mut verify = find_program("systemd-analyze", "systemd");
    verify.args(["--man=no", "--recursive-errors=no", "verify"]);
    for name in UNITS {
        let unit = root.join("usr/lib/systemd/system").join(name);
        let text = fs::read_to_string(unit).expect("a unit");
        let program = root.join("usr/bin/ark").display().to_string();
        let path = dir.join(name);
        fs::write(&path, text.replace("/usr/bin/ark", &program)).expect("a copy");
        verify.arg(path);
    }
    let verified = verify.output().expect("systemd-analyze starts");
    let said = [verified.stdout, verified.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(verified.status.success() && said.is_empty(), "{said}");
}

/// `dpkg` for a system whose files are below a directory and which has nothing but this package.
fn run_dpkg(root: &Path, args: &[&str]) {
    finish(
        find_program("dpkg", "dpkg")
            .arg(format!("--root={}", root.display()))
            .args(["--force-script-chrootless", "--force-depends"])
            .args(["--log=/dev/null"])
            .args(args),
    );
}

/// Installs the package into a directory. Its user makes the first token and the first snapshot there; what it wrote stays when it is removed.
fn install_and_remove(deb: &Path, root: &Path) {
    for dir in ["etc", "var/lib/dpkg/info", "var/lib/dpkg/updates"] {
        fs::create_dir_all(root.join(dir)).expect("a directory");
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).expect("its mode");
    fs::write(root.join("var/lib/dpkg/status"), "").expect("a file");
    for program in ["systemd-sysusers", "systemd-tmpfiles"] {
        finish(find_program(program, "systemd").arg("--version"));
    }
    // A second time is what a newer package does.
    for _ in 0..2 {
        run_dpkg(root, &["-i", deb.to_str().expect("UTF-8")]);
    }
    let users = fs::read_to_string(root.join("etc/passwd")).expect("users");
    let user = users.lines().find(|line| line.starts_with("ark:"));
    let ids: Vec<u32> = user
        .expect("the user of the host")
        .split(':')
        .filter_map(|field| field.parse().ok())
        .collect();
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    for (path, [mode, owner, group]) in list_directories() {
        let found = fs::metadata(at(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(format!("{:04o}", found.mode() & 0o7777), mode, "{path}");
        let id = |name: &str, index: usize| if name == "root" { 0 } else { ids[index] };
        let owners = (id(&owner, 0), id(&group, 1));
        assert_eq!((found.uid(), found.gid()), owners, "{path}");
    }
    let run_as_user = |args: &[&str], dir: &str| {
        let option = ["--data-dir", dir];
        finish(
            Command::new(at("/usr/bin/ark"))
                .args(args)
                .args(option)
                .env_clear()
                .uid(ids[0])
                .gid(ids[1])
                .current_dir("/"),
        )
    };
    let data = at("/var/lib/ark").display().to_string();
    let token = run_as_user(
        &["token", "create", "--role", "admin", "--name", "ada"],
        &data,
    );
    assert!(!token.trim().is_empty());
    let snapshot = at("/var/backups/ark/first").display().to_string();
    run_as_user(&["state", "snapshot", &snapshot], &data);
    run_dpkg(root, &["--remove", "ark"]);
    assert!(!at("/usr/bin/ark").exists());
    for kept in [at("/var/lib/ark/ark.db"), PathBuf::from(snapshot)] {
        assert!(kept.exists(), "{}", kept.display());
    }
}

/// Builds what operators install, of the program of the tests.
fn dist_command(output: &Path) -> Command {
    let mut build = Command::new(checkout_path("target/debug/xtask"));
    build
        .args(["dist", "--fast", "--program"])
        .arg(ark_program())
        .arg("--output")
        .arg(output)
        .current_dir(checkout_path(""))
        .env("SOURCE_DATE_EPOCH", MOMENT);
    build
}

/// Builds a Debian package, a tarball, a list of parts and checksums in a directory that is not there.
pub(in crate::production) fn build_dist(output: &Path) {
    finish(&mut dist_command(output));
}

#[test]
fn what_operators_install_is_built_described_and_installed() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let dist = at("dist");
    build_dist(&dist);
    // It empties nothing that it did not make.
    let refused = dist_command(&dist).output().expect("xtask starts");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("is not empty"),
        "{said}"
    );

    let names: BTreeSet<String> = fs::read_dir(&dist)
        .expect("a directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let find_file = |end: &str| {
        let found: Vec<&String> = names.iter().filter(|name| name.ends_with(end)).collect();
        assert_eq!(found.len(), 1, "{end}: {names:?}");
        dist.join(found[0])
    };
    assert_eq!(names.len(), 4, "{names:?}");
    let (deb, tarball) = (find_file(".deb"), find_file(".tar.gz"));
    let checked = finish(
        Command::new("sha256sum")
            .args(["--check", "--strict", "SHA256SUMS"])
            .current_dir(&dist),
    );
    assert_eq!(
        checked.matches(": OK\n").count(),
        names.len() - 1,
        "{checked}"
    );
    assert_package_holds(&deb);
    assert_package_described(&deb);
    assert_tarball_holds(&tarball);
    assert_parts_listed(&find_file(".cdx.json"));

    let unpacked = at("unpacked");
    finish(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&unpacked));
    verify_units(&unpacked, dir.path());
    let completions = unpacked.join("usr/share/bash-completion/completions/ark");
    finish(Command::new("bash").arg("-n").arg(completions));
    let scripts = at("scripts");
    finish(Command::new("dpkg-deb").arg("-e").arg(&deb).arg(&scripts));
    let digest = |path: &str| {
        let said = finish(Command::new("sha256sum").arg(unpacked.join(path)));
        said.split(' ').next().expect("a digest").to_owned()
    };
    for script in ["preinst", "postinst", "prerm"] {
        let path = scripts.join(script);
        let mode = fs::metadata(&path).expect("a script").mode() & 0o7777;
        assert_eq!(mode, 0o755, "{script}");
        // With the digests of what is packed.
        let source = read_checkout_file(&format!("deploy/debian/{script}"))
            .replace("@PROGRAM_SHA256@", &digest("usr/bin/ark"))
            .replace(
                "@GRAVEYARD_SHA256@",
                &digest("usr/share/ark/graveyard.wasm"),
            );
        assert_eq!(fs::read_to_string(path).expect("a script"), source);
    }
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        install_and_remove(&deb, &at("root"));
    } else {
        println!("skipped: only root can install a package into a directory");
    }
}
