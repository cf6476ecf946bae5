//! Units, the package's manifest, the example of the environment and the guides name the same paths, users and commands.

use std::collections::{BTreeMap, BTreeSet};

use ark_tests::artefacts::read_checkout_file;

/// Where what belongs to ARK is on a machine.
const PLACES: [&str; 9] = [
    "/etc/ark",
    "/opt/ark",
    "/run/ark",
    "/usr/bin/ark",
    "/usr/lib/sysusers.d/ark",
    "/usr/lib/tmpfiles.d/ark",
    "/usr/share/",
    "/var/backups/",
    "/var/lib/ark",
];

/// The values of a key in a unit.
fn list_values(unit: &str, key: &str) -> Vec<String> {
    let start = format!("{key}=");
    let lines = unit.lines().filter_map(|line| line.strip_prefix(&start));
    lines.map(str::to_owned).collect()
}

pub(super) fn find_value(unit: &str, key: &str) -> String {
    let mut values = list_values(unit, key);
    assert_eq!(values.len(), 1, "{key}: {values:?}");
    values.remove(0)
}

/// What the package puts on a machine: path and mode. The paths of manual pages end in `/`.
pub(super) fn list_packaged() -> BTreeMap<String, String> {
    let manifest = read_checkout_file("host/cli/Cargo.toml");
    let (_, assets) = manifest.split_once("\nassets = [\n").expect("assets");
    let (assets, _) = assets.split_once("\n]").expect("their end");
    let rows = assets.lines().map(|line| {
        let parts: Vec<&str> = line.split('"').collect();
        (format!("/{}", parts[3]), format!("0{}", parts[5]))
    });
    rows.collect()
}

/// The directories that `ark.tmpfiles` makes: path, then mode, user and group.
pub(super) fn list_directories() -> BTreeMap<String, [String; 3]> {
    let text = read_checkout_file("deploy/systemd/ark.tmpfiles");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!((words.len(), words[0].as_str()), (6, "d"), "{line}");
            let [_, path, mode, user, group, _] = words.try_into().expect("six words");
            (path, [mode, user, group])
        })
        .collect()
}

/// What the variables of the example are set to.
fn list_environment() -> BTreeMap<String, String> {
    let text = read_checkout_file("deploy/env.production.example");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The paths in a text that are in one of [`PLACES`].
fn find_paths(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    let words = text.split(|c: char| !is_part(c));
    words
        .map(|word| word.trim_end_matches(['.', '-']))
        .filter(|word| PLACES.iter().any(|place| word.starts_with(place)))
        .map(str::to_owned)
        .collect()
}

/// What is named anywhere is packaged, or in a directory that is made, or in a version beside the others.
#[test]
fn every_path_that_is_named_is_in_the_package_or_in_a_directory_that_it_makes() {
    let packaged = list_packaged();
    let directories = list_directories();
    let mut named = 0;
    for source in [
        "deploy/systemd/ark.service",
        "deploy/systemd/ark.socket",
        "deploy/systemd/ark-snapshot.service",
        "deploy/systemd/ark-snapshot.timer",
        "deploy/systemd/ark-check.service",
        "deploy/systemd/ark-check.timer",
        "deploy/systemd/ark.sysusers",
        "deploy/systemd/ark.tmpfiles",
        "deploy/debian/preinst",
        "deploy/debian/postinst",
        "deploy/debian/prerm",
        "deploy/env.production.example",
        "docs/installation.md",
        "docs/production.md",
        "docs/disasters.md",
        "docs/runbook.md",
        "docs/operators.md",
        "docs/configuration.md",
        "docs/access.md",
        "docs/redis.md",
    ] {
        for path in find_paths(&read_checkout_file(source)) {
            named += 1;
            let is_packaged = packaged.contains_key(&path);
            let is_below = |dir: &str| path == dir || path.starts_with(&format!("{dir}/"));
            let is_made = directories.keys().any(|dir| is_below(dir));
            // The guide makes it: a directory of a version, never a link that no unit follows.
            let version = path.strip_prefix("/opt/ark-");
            let is_version = version.is_some_and(|it| it.starts_with(char::is_numeric));
            assert!(
                is_packaged || is_made || is_version,
                "{source}: {path} is neither in the package, nor in a directory that it makes"
            );
        }
    }
    assert!(named >= 40, "{named} paths");
}

#[test]
fn the_unit_of_the_check_has_what_the_host_is_started_with() {
    let unit = read_checkout_file("deploy/systemd/ark.service");
    let check = read_checkout_file("deploy/systemd/ark-check.service");
    assert_eq!(
        find_value(&check, "ExecStart"),
        "/usr/bin/ark check --strict"
    );
    for key in [
        "User",
        "Group",
        "EnvironmentFile",
        "LoadCredential",
        "WorkingDirectory",
        "LimitNOFILE",
        "TasksMax",
    ] {
        assert_eq!(find_value(&check, key), find_value(&unit, key), "{key}");
    }
    let of_check = list_values(&check, "Environment").join(" ");
    let is_set = |setting: &str| of_check.split(' ').any(|one| one == setting);
    for setting in list_values(&unit, "Environment").join(" ").split(' ') {
        assert!(is_set(setting), "{setting}");
    }
    let snapshots = list_environment()["ARK_SNAPSHOTS"].clone();
    assert!(is_set(&format!("ARK_SNAPSHOTS={snapshots}")), "{of_check}");
    // What it sees is what is there: a read-only mount would hide who can change a file, a namespace of users who owns it.
    for hidden in ["ProtectSystem", "PrivateUsers", "PrivateNetwork"] {
        assert!(list_values(&check, hidden).is_empty(), "{hidden}");
    }
}

#[test]
fn unit_package_environment_and_guide_agree() {
    let packaged = list_packaged();
    let directories = list_directories();
    let environment = list_environment();
    let unit = read_checkout_file("deploy/systemd/ark.service");
    let (user, group) = (find_value(&unit, "User"), find_value(&unit, "Group"));

    // The program, its module, and the directories.
    let start = find_value(&unit, "ExecStart");
    let program = start.split(' ').next().expect("a program");
    assert_eq!(packaged.get(program).map(String::as_str), Some("0755"));
    let environment_of_unit = list_values(&unit, "Environment").join(" ");
    for name in ["ARK_DATA_DIR", "ARK_GRAVEYARD", "ARK_LOG_FORMAT"] {
        let setting = format!("{name}={}", environment[name]);
        let mut settings = environment_of_unit.split(' ');
        assert!(settings.any(|one| one == setting), "{setting}");
    }
    let module = &environment["ARK_GRAVEYARD"];
    assert_eq!(packaged.get(module).map(String::as_str), Some("0444"));
    let own = |mode: &str| [mode.to_owned(), user.clone(), group.clone()];
    let data = format!("/var/lib/{}", find_value(&unit, "StateDirectory"));
    assert_eq!(environment["ARK_DATA_DIR"], data);
    assert_eq!(
        directories[&data],
        own(&find_value(&unit, "StateDirectoryMode"))
    );
    assert_eq!(find_value(&unit, "WorkingDirectory"), data);
    let users = read_checkout_file("deploy/systemd/ark.sysusers");
    assert!(users.contains(&format!("u {user} - ")) && users.contains(&format!("\" {data}\n")));
    assert_eq!(directories[&environment["ARK_SNAPSHOTS"]], own("0700"));
    let settings = format!("/etc/{}", find_value(&unit, "ConfigurationDirectory"));
    assert_eq!(
        directories[&settings],
        [
            find_value(&unit, "ConfigurationDirectoryMode"),
            "root".to_owned(),
            group
        ]
    );
    assert_eq!(
        find_value(&unit, "LoadCredential"),
        format!("secret.key:{}", environment["ARK_SECRET_KEY_FILE"])
    );
    let file = find_value(&unit, "EnvironmentFile");
    let guide = read_checkout_file("docs/installation.md");
    for made in [
        file.trim_start_matches('-'),
        &environment["ARK_SECRET_KEY_FILE"],
    ] {
        let mut lines = guide.lines().filter(|line| line.contains("install -m"));
        assert!(lines.any(|line| line.ends_with(made)), "{made}");
    }
    // Snapshots are taken by the same user, of the same data, into the directory that is made for them.
    let snapshots = read_checkout_file("deploy/systemd/ark-snapshot.service");
    for key in ["User", "Group", "EnvironmentFile"] {
        assert_eq!(find_value(&snapshots, key), find_value(&unit, key), "{key}");
    }
    let settings = find_value(&snapshots, "Environment");
    for name in ["ARK_DATA_DIR", "ARK_SNAPSHOTS"] {
        let setting = format!("{name}={}", environment[name]);
        assert!(settings.split(' ').any(|one| one == setting), "{setting}");
        let written = find_value(&snapshots, "ReadWritePaths");
        let is_written = |path: &str| path == environment[name];
        assert!(written.split(' ').any(is_written), "{name}: {written}");
    }
    // The scripts call what is packaged, and end each unit that is.
    let (after, before) = (
        read_checkout_file("deploy/debian/postinst"),
        read_checkout_file("deploy/debian/prerm"),
    );
    for (path, _) in packaged {
        let name = path.rsplit('/').next().expect("a name");
        if path.starts_with("/usr/lib/systemd/system/") {
            assert!(before.contains(name), "prerm does not end {name}");
            assert!(guide.contains(name), "the guide does not name {name}");
        }
        for (dir, reader) in [
            ("/usr/lib/sysusers.d/", "systemd-sysusers "),
            ("/usr/lib/tmpfiles.d/", "systemd-tmpfiles "),
        ] {
            if path.starts_with(dir) {
                let is_read = |line: &str| line.contains(reader) && line.ends_with(name);
                assert!(after.lines().any(is_read), "postinst does not read {path}");
                assert!(guide.contains(&path), "the guide does not name {path}");
            }
        }
    }
}

#[test]
fn commands_of_the_guides_put_a_version_where_the_unit_starts_it() {
    let unit = read_checkout_file("deploy/systemd/ark.service");
    let start = find_value(&unit, "ExecStart");
    let program = start.split(' ').next().expect("a program");
    let mut commands = 0;
    for page in ["docs/production.md", "docs/installation.md"] {
        for line in read_checkout_file(page).lines() {
            let Some((before, _)) = line.split_once("&& systemctl start ark") else {
                continue;
            };
            commands += 1;
            assert!(
                before.contains(&format!("/ark {program} ")),
                "{page}: {line}"
            );
        }
    }
    assert!(commands >= 6, "{commands} commands");
}
