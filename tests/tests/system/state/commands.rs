//! The Mutable Core with `ark state` and `ark audit`: on a running host, on its data directory, and on files alone.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use ark_tests::{Client, Host, ark_program, trade};
use serde_json::{Value, json};

fn run_state_command(args: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(ark_program())
        .args(args)
        .env_remove("ARK_SECRET_KEY")
        .envs(environment.iter().copied())
        .output()
        .expect("ark starts")
}

fn read_printed(output: &Output) -> Value {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn read_stderr(output: &Output) -> String {
    assert!(
        !output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

fn key_file(path: &Path, digit: &str) {
    std::fs::write(path, digit.repeat(64)).expect("a key file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o400)).expect("its mode");
}

fn is_anywhere(dir: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(dir).expect("a directory").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return is_anywhere(&path, needle);
        }
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(needle.len()).any(|part| part == needle)
    })
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, step by step")]
fn secrets_snapshots_and_keys_with_the_command_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (data, first, second, taken) = (
        path("data"),
        path("first"),
        path("second"),
        path("snapshot"),
    );
    key_file(Path::new(&first), "1");
    key_file(Path::new(&second), "2");
    let with_first = [("ARK_SECRET_KEY_FILE", first.as_str())];
    let with_second = [("ARK_SECRET_KEY_FILE", second.as_str())];
    let host = Host::try_start_with(Path::new(&data), &[], &with_first).expect("a host");
    let url = format!("http://{}", host.address);
    let state = |args: &[&str]| run_state_command(&[&["state", "--url", &url], args].concat(), &[]);
    let mut set = Command::new(ark_program())
        .args([
            "state",
            "--url",
            &url,
            "set",
            "kyle",
            "secret/broker/key",
            "-",
            "--by",
            "ada",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ark starts");
    let value = b"\"hunter2-hunter2\"\n";
    std::io::Write::write_all(&mut set.stdin.take().expect("standard input"), value)
        .expect("a value");
    assert_eq!(
        read_printed(&set.wait_with_output().expect("its end"))["revision"],
        1
    );
    let shown = state(&["get", "kyle", "secret/broker/key"]);
    assert_eq!(read_printed(&shown)["value"], "********");
    read_printed(&state(&["set", "kyle", "plain", "[1.0]"]));
    assert!(
        read_stderr(&state(&[
            "set",
            "kyle",
            "plain",
            "2",
            "--expected-revision",
            "5"
        ]))
        .contains("revision 1, not 5")
    );
    assert!(read_stderr(&state(&["set", "kyle", "plain", "{broken"])).contains("not JSON"));
    read_printed(&state(&["rollback", "kyle", "plain", "--to-revision", "1"]));
    assert_eq!(
        read_printed(&state(&["history", "kyle", "plain"]))["revisions"][0]["revision"],
        2
    );
    read_printed(&state(&["memory", "add", "kyle", "lesson", "be careful"]));
    assert_eq!(
        read_printed(&state(&["memory", "list", "kyle", "--search", "careful"]))["memories"][0]["kind"],
        "lesson"
    );
    read_printed(&state(&[
        "config",
        "set",
        "limit",
        "5",
        "--description",
        "d",
    ]));
    assert_eq!(
        read_printed(&state(&["config", "get", "limit"]))["value"],
        5
    );
    assert_eq!(
        read_printed(&state(&["log", "--result", "done", "--limit", "1"]))["entries"][0]["action_type"],
        "config.set"
    );

    // A snapshot of a running host; what needs it stopped says so.
    let manifest = read_printed(&run_state_command(
        &["state", "snapshot", &taken, "--data-dir", &data],
        &[],
    ));
    let version = read_printed(&run_state_command(&["version", "--json"], &[]));
    assert_eq!(manifest["schema"], version["schema"]);
    let busy = run_state_command(
        &[
            "state",
            "rekey",
            "--data-dir",
            &data,
            "--new-key-file",
            &second,
        ],
        &with_first,
    );
    assert!(read_stderr(&busy).contains("in use by the host"));
    assert!(
        read_stderr(&run_state_command(
            &["state", "restore", &taken, "--data-dir", &data, "--replace"],
            &[]
        ))
        .contains("in use by the host")
    );
    assert_eq!(host.terminate(), Some(0));
    assert!(read_stderr(&state(&["get", "kyle", "plain"])).contains("no host answers"));
    assert!(!is_anywhere(dir.path(), b"hunter2"));

    let report = read_printed(&run_state_command(
        &["state", "check", "--data-dir", &data],
        &with_first,
    ));
    assert_eq!(
        (&report["secrets"], &report["revisions"]),
        (&json!(1), &json!(3))
    );
    assert!(
        read_stderr(&run_state_command(
            &[
                "state",
                "rekey",
                "--data-dir",
                &data,
                "--new-key-file",
                &second
            ],
            &with_second
        ))
        .contains("encrypted with the key")
    );
    assert_eq!(
        read_printed(&run_state_command(
            &[
                "state",
                "rekey",
                "--data-dir",
                &data,
                "--new-key-file",
                &second
            ],
            &with_first
        ))["secrets"],
        1
    );
    let other = Host::try_start_with(Path::new(&data), &[], &with_first)
        .err()
        .expect("the wrong key");
    assert!(other.contains("give the key"), "{other}");
    std::fs::set_permissions(&second, std::fs::Permissions::from_mode(0o644)).expect("its mode");
    let open = Host::try_start_with(Path::new(&data), &[], &with_second)
        .err()
        .expect("a readable key");
    assert!(open.contains("chmod 0400"), "{open}");
    std::fs::set_permissions(&second, std::fs::Permissions::from_mode(0o400)).expect("its mode");
    assert_eq!(
        Host::try_start_with(Path::new(&data), &[], &with_second)
            .expect("a host")
            .terminate(),
        Some(0)
    );
    assert!(
        run_state_command(&["audit", "verify", "--data-dir", &data], &[])
            .status
            .success()
    );

    // The snapshot still has the first key's secret.
    let restored = path("restored");
    read_printed(&run_state_command(
        &["state", "restore", &taken, "--data-dir", &restored],
        &with_first,
    ));
    assert!(
        read_stderr(&run_state_command(
            &["state", "restore", &taken, "--data-dir", &restored],
            &with_first
        ))
        .contains("--replace")
    );
    let report = read_printed(&run_state_command(
        &["state", "check", "--data-dir", &restored],
        &with_first,
    ));
    assert_eq!(
        (&report["secrets"], &report["fault"]),
        (&json!(1), &Value::Null)
    );
    assert_eq!(
        Host::try_start_with(Path::new(&restored), &[], &with_first)
            .expect("a host")
            .terminate(),
        Some(0)
    );
}

#[test]
fn evidence_and_exports_are_checked_offline() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let host = Host::start(&data, &[]);
    let client = &mut Client::new(&host);
    let mut last = Value::Null;
    for number in 0..3 {
        last = client
            .post("/v1/actions", &trade(&format!("S{number}"), 0.01))
            .1;
    }
    let data = data.to_str().expect("UTF-8");
    let id = last["decision_id"].as_str().expect("an id");
    let export = run_state_command(
        &["audit", "export", "--data-dir", data, "--decision", id],
        &[],
    );
    assert_eq!(host.terminate(), Some(0));
    let evidence = read_printed(&export);
    let file = dir.path().join("evidence.json");
    let check = |evidence: &Value| {
        std::fs::write(&file, evidence.to_string()).expect("a file");
        run_state_command(&["audit", "verify", file.to_str().expect("UTF-8")], &[])
    };
    assert!(check(&evidence).status.success());
    let hash = evidence["row"]["hash"].as_str().expect("a hash");
    let lines = run_state_command(&["audit", "export", "--data-dir", data], &[]).stdout;
    let lines = String::from_utf8(lines).expect("UTF-8");
    assert_eq!(lines.lines().count(), 3);
    assert!(lines.lines().last().expect("a line").contains(hash));
    for (pointer, value) in [
        ("/row/outcome", json!("denied")),
        ("/row/at", json!(1)),
        ("/previous_hash", json!("0".repeat(64))),
        (
            "/row/body",
            json!(
                evidence["row"]["body"]
                    .as_str()
                    .expect("text")
                    .replace("0.01", "0.09")
            ),
        ),
        ("/policies", json!([])),
        ("/log_head/seq", json!(1)),
    ] {
        let mut changed = evidence.clone();
        *changed.pointer_mut(pointer).expect("a field") = value;
        assert!(
            read_stderr(&check(&changed)).contains("NOT as it was recorded"),
            "{pointer}"
        );
    }
    let nobody = "01900000-0000-7000-8000-000000000000";
    assert!(
        read_stderr(&run_state_command(
            &["audit", "export", "--data-dir", data, "--decision", nobody],
            &[]
        ))
        .contains("no decision")
    );
    // All rows are younger than a minute.
    let archive = dir.path().join("archive.jsonl");
    let young = run_state_command(
        &[
            "audit",
            "archive",
            archive.to_str().expect("UTF-8"),
            "--before",
            "1s",
            "--data-dir",
            data,
        ],
        &[],
    );
    assert!(read_stderr(&young).contains("60 s") && !archive.exists());
    let bad = run_state_command(
        &[
            "audit",
            "archive",
            archive.to_str().expect("UTF-8"),
            "--before",
            "soon",
            "--data-dir",
            data,
        ],
        &[],
    );
    assert!(read_stderr(&bad).contains("30d"));
}
