//! What an author without ARK's sources does: a new agent, its tests, its component, one signal. On the real binary.

use std::path::Path;
use std::process::{Command, Output};

use ark_tests::ark_program;
use ark_tests::artefacts::checkout_path;

fn agent(dir: &Path, args: &[&str]) -> Output {
    Command::new(ark_program())
        .arg("agent")
        .args(args)
        .current_dir(dir)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .output()
        .expect("ark starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_new_agent_is_tested_built_inspected_and_run() {
    let sdk = checkout_path("guest-sdk");
    let sdk = sdk.to_str().expect("UTF-8");
    let dir = tempfile::tempdir().expect("a directory");
    let here = dir.path();
    let refused = agent(here, &["new", "mine", "--sdk", "."]);
    assert!(!refused.status.success());
    assert!(text(&refused).contains("guest-sdk"), "{}", text(&refused));
    let made = agent(here, &["new", "mine", "--sdk", sdk]);
    assert!(made.status.success(), "{}", text(&made));
    let again = agent(here, &["new", "mine", "--sdk", sdk]);
    assert!(text(&again).contains("exists already"), "{}", text(&again));
    let tested = agent(here, &["test", "mine"]);
    assert!(tested.status.success(), "{}", text(&tested));
    assert!(text(&tested).contains("APPROVED"), "{}", text(&tested));
    assert!(
        text(&tested).contains("signal 1 from sample"),
        "{}",
        text(&tested)
    );
    let inspected = agent(here, &["inspect", "mine/dist/mine.wasm"]);
    assert!(
        text(&inspected).contains("as an agent: would be loaded"),
        "{}",
        text(&inspected)
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
        agent(here, &args)
    };
    let good = run("mine.ping", "{\"from\": \"me\"}");
    assert!(good.status.success(), "{}", text(&good));
    let other = run("other.topic", "{}");
    assert!(text(&other).contains("mine.ping"), "{}", text(&other));
    let bad = run("mine.ping", "{\"from\": 7}");
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad).contains("from"), "{}", text(&bad));
}
