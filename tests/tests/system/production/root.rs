//! Root runs commands, and a host, on the data directory of another user: nothing in it is root's afterwards, and that user's host starts on it.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use ark_tests::{
    Client, Host, TestDir, ark_program, copy_agent, hostile_guests_dir, make_token, post_signal,
    run_ark, wait_until,
};
use serde_json::{Value, json};

use super::validate;

/// A user who is not root, of every system.
const OTHER: u32 = 65_534;

/// The paths at and below a directory that do not belong to the other user.
fn list_of_others(path: &Path) -> Vec<String> {
    let found = std::fs::symlink_metadata(path).expect("a file");
    let mut others = Vec::new();
    if found.uid() != OTHER {
        others.push(path.display().to_string());
    }
    if found.is_dir() {
        for entry in std::fs::read_dir(path).expect("a directory").flatten() {
            others.extend(list_of_others(&entry.path()));
        }
    }
    others
}

/// A program that runs `ark` as the other user.
fn write_other_users_ark(dir: &Path) -> PathBuf {
    let path = dir.join("ark-as-other");
    let script = format!(
        "#!/bin/sh\nexec setpriv --reuid {OTHER} --regid {OTHER} --clear-groups -- {} \"$@\"\n",
        ark_program().display()
    );
    std::fs::write(&path, script).expect("a program");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    path
}

#[test]
fn commands_of_root_leave_no_files_of_root_in_the_data_directory() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can work on the data of another user");
        return;
    }
    let dir = TestDir::new("[watchdog]\nheartbeat_ms = 300\n");
    let data = dir.data();
    // An empty cache, so that the tests do not put their own there.
    std::fs::create_dir_all(data.join("cache")).expect("a directory");
    for path in [dir.path(), &data, &data.join("cache")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).expect("a mode");
        chown(path, Some(OTHER), Some(OTHER)).expect("a directory of another user");
    }
    let admin = make_token(&data, "ada", "admin", &[]);
    assert_eq!(list_of_others(&data), [""; 0], "a token");

    // A host that root starts, with an agent whose failures leave capsules.
    copy_agent(&hostile_guests_dir(), "chaos", &dir.agents());
    let host = dir.start();
    let mut client = Client::with_token(&host, &admin);
    post_signal(&mut client, "chaos.go", &json!("panic"));
    wait_until("a capsule", || data.join("capsules/chaos").is_dir());
    let url = validate::url_of(&host);
    let text = data.to_str().expect("UTF-8");
    let more = ["--token", &admin, "--data-dir", text];
    let (report, _) = validate::validate(&url, &dir, &more);
    assert_eq!(validate::cases(&report, "failed"), [""; 0], "{report:#}");
    assert_eq!(list_of_others(&data), [""; 0], "while it runs");
    assert_eq!(host.terminate(), Some(0));

    let config = dir.config();
    let config = config.to_str().expect("UTF-8");
    let check = || -> Value {
        let output = run_ark(&["check", "--json", "--config", config, "--data-dir", text]);
        let report = serde_json::from_slice(&output.stdout);
        report.unwrap_or_else(|error| panic!("{error}: {output:?}"))
    };
    let status = |report: &Value, name: &str| {
        let mut lines = report["lines"].as_array().expect("lines").iter();
        let line = lines.find(|line| line["check"] == name).cloned();
        line.unwrap_or_else(|| panic!("no line {name}"))
    };
    let report = check();
    for line in ["data-directory", "graveyard", "guests", "database"] {
        assert_eq!(status(&report, line)["status"], "ok", "{report:#}");
    }
    let snapshot = dir.path().join("snapshot");
    let snapshot = snapshot.to_str().expect("UTF-8");
    for command in [
        &["state", "snapshot", snapshot, "--data-dir", text][..],
        &[
            "state",
            "restore",
            snapshot,
            "--replace",
            "--data-dir",
            text,
        ],
    ] {
        let done = run_ark(command);
        assert!(done.status.success(), "{done:?}");
    }
    assert_eq!(list_of_others(&data), [""; 0], "at the end");

    // What is root's all the same is found.
    chown(data.join("cache"), Some(0), Some(0)).expect("a directory of root's");
    let found = status(&check(), "data-directory");
    assert_eq!(found["status"], "error", "{found}");
    let problem = found["found"].as_str().expect("text");
    assert!(problem.contains("cache belongs to user 0"), "{problem}");
    chown(data.join("cache"), Some(OTHER), Some(OTHER)).expect("a directory");

    // The host of the user whom it belongs to.
    let program = write_other_users_ark(dir.path());
    chown(dir.config(), Some(OTHER), Some(OTHER)).expect("a file");
    let args = ["--config", config];
    let host = Host::try_start_program(&program, &data, &args, &[]).expect("a host");
    let (code, capital) = Client::with_token(&host, &admin).send(
        "PUT",
        "/v1/account/capital",
        &json!({"amount": 1000.0, "reason": "it can write"}),
    );
    assert_eq!(code, 200, "{capital}");
    assert_eq!(host.terminate(), Some(0));

    // The files are lost under a host of root's: the copy that it makes is the other user's, too.
    let host = dir.start();
    std::fs::remove_file(data.join("ark.db")).expect("a file");
    wait_until("a copy", || {
        let names = std::fs::read_dir(&data).expect("a directory").flatten();
        let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.any(|name| name.starts_with("rescued-") && !name.ends_with(".partial"))
    });
    assert_eq!(list_of_others(&data), [""; 0], "a rescued copy");
    drop(host);
}
