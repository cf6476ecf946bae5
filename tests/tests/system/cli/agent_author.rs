//! What an author without ARK's sources does: a new agent, its tests, its component, one signal. On the real binary.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;

use ark_tests::artefacts::{author_build_dir, checkout_path};
use ark_tests::{PATIENCE, ark_program};
use rustix::process::{Pid, Signal, kill_process};

fn run_agent_command(dir: &Path, args: &[&str]) -> Output {
    Command::new(ark_program())
        .arg("agent")
        .args(args)
        .current_dir(dir)
        .env("XDG_CACHE_HOME", dir.join("cache"))
        .env("CARGO_BUILD_BUILD_DIR", author_build_dir())
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .output()
        .expect("ark starts")
}

fn read_output(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_new_agent_is_tested_built_inspected_and_run() {
    let sdk = checkout_path("guest-sdk");
    let sdk = sdk.to_str().expect("UTF-8");
    let dir = tempfile::tempdir().expect("a directory");
    let here = dir.path();
    let refused = run_agent_command(here, &["new", "mine", "--sdk", "."]);
    assert!(!refused.status.success());
    assert!(
        read_output(&refused).contains("guest-sdk"),
        "{}",
        read_output(&refused)
    );
    let made = run_agent_command(here, &["new", "mine", "--sdk", sdk]);
    assert!(made.status.success(), "{}", read_output(&made));
    let again = run_agent_command(here, &["new", "mine", "--sdk", sdk]);
    assert!(
        read_output(&again).contains("exists already"),
        "{}",
        read_output(&again)
    );
    let tested = run_agent_command(here, &["test", "mine"]);
    assert!(tested.status.success(), "{}", read_output(&tested));
    assert!(
        read_output(&tested).contains("APPROVED"),
        "{}",
        read_output(&tested)
    );
    assert!(
        read_output(&tested).contains("signal 1 from sample"),
        "{}",
        read_output(&tested)
    );
    let inspected = run_agent_command(here, &["inspect", "mine/dist/mine.wasm"]);
    assert!(
        read_output(&inspected).contains("as an agent: would be loaded"),
        "{}",
        read_output(&inspected)
    );
    let run = |topic: &str, payload: &str| {
        let args = [
            "run",
            "mine/dist/mine.toml",
            "--topic",
            topic,
            "--payload",
            payload,
        ];
        run_agent_command(here, &args)
    };
    let good = run("mine.ping", "{\"from\": \"me\"}");
    assert!(good.status.success(), "{}", read_output(&good));
    let other = run("other.topic", "{}");
    assert!(
        read_output(&other).contains("mine.ping"),
        "{}",
        read_output(&other)
    );
    let bad = run("mine.ping", "{\"from\": 7}");
    assert_eq!(bad.status.code(), Some(1));
    assert!(read_output(&bad).contains("from"), "{}", read_output(&bad));
    refuse_another_version(here);
    watch_a_project(here);
}

/// Gives the crate another version than the manifest: the build names both files.
fn refuse_another_version(here: &Path) {
    let file = here.join("mine/Cargo.toml");
    let made = std::fs::read_to_string(&file).expect("a file");
    let raised = made.replacen("version = \"0.1.0\"", "version = \"0.2.0\"", 1);
    assert_ne!(made, raised);
    std::fs::write(&file, raised).expect("a file");
    let built = run_agent_command(here, &["build", "mine"]);
    assert!(!built.status.success());
    for words in [
        "mine/Cargo.toml says version \"0.2.0\"",
        "mine/mine.toml says version \"0.1.0\"",
        "let both say the same",
    ] {
        assert!(
            read_output(&built).contains(words),
            "{words}: {}",
            read_output(&built)
        );
    }
    std::fs::write(&file, made).expect("a file");
    // Cargo takes what it built for the version of before for fresh, although the file is the later one's.
    let source = here.join("mine/src/lib.rs");
    let text = std::fs::read(&source).expect("a file");
    std::fs::write(&source, text).expect("a file");
}

/// Lets `ark agent dev` watch the project: it shows what the samples lead to, and again after a change.
fn watch_a_project(here: &Path) {
    let mut child = Command::new(ark_program())
        .args(["agent", "dev", "mine"])
        .current_dir(here)
        .env("CARGO_BUILD_BUILD_DIR", author_build_dir())
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("ark starts");
    let (send, lines) = channel();
    let output = BufReader::new(child.stdout.take().expect("standard output"));
    let reader = std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    // The lines up to the one that says that it waits.
    let read_run = || {
        let mut told = String::new();
        loop {
            let line = lines.recv_timeout(PATIENCE).expect("it goes on");
            told = format!("{told}{line}\n");
            if line.contains("waiting for changes") {
                return told;
            }
        }
    };
    let first = read_run();
    let row = first
        .lines()
        .find(|line| line.starts_with("sample.json"))
        .unwrap_or_else(|| panic!("no row in {first}"));
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(
        cells[..3],
        ["sample.json", "APPROVED", "message"],
        "{first}"
    );
    assert!(
        cells[3].parse().is_ok_and(|fuel: u64| fuel > 1_000),
        "{row}"
    );
    assert_eq!(cells[5], "KiB", "{row}");

    // What it may propose is taken away: the next run predicts the denial, and `ark agent test` fails for it.
    let manifest = here.join("mine/mine.toml");
    let before = std::fs::read_to_string(&manifest).expect("the manifest");
    let denied = before.replace("actions = [\"message\"]", "actions = [\"report\"]");
    assert_ne!(denied, before);
    std::fs::write(&manifest, denied).expect("the manifest");
    let second = read_run();
    assert!(second.contains("sample.json          DENIED"), "{second}");
    std::fs::create_dir(here.join("mine/samples")).expect("a directory");
    let other = "{\"topic\": \"mine.ping\", \"payload\": {\"from\": 7}}";
    std::fs::write(here.join("mine/samples/bad.json"), other).expect("a sample");
    let third = read_run();
    assert!(third.contains("samples/bad.json     FAILED"), "{third}");
    kill_process(Pid::from_child(&child), Signal::INT).expect("SIGINT");
    assert_eq!(child.wait().expect("its end").code(), Some(0));
    reader.join().expect("the reader");

    let tested = run_agent_command(here, &["test", "mine"]);
    assert_eq!(tested.status.code(), Some(1), "{}", read_output(&tested));
    assert!(
        read_output(&tested).contains("DENIED"),
        "{}",
        read_output(&tested)
    );
}
