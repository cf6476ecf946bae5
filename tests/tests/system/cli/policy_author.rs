//! What an author of policies does: a new policy, its tests, its component, what it would have decided. On the real binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ark_tests::artefacts::{author_build_dir, checkout_path};
use ark_tests::{Client, Host, ark_program, policies_dir, trade};
use serde_json::{Value, json};

fn run_policy_command(dir: &Path, args: &[&str]) -> Output {
    Command::new(ark_program())
        .arg("policy")
        .args(args)
        .current_dir(dir)
        .env("CARGO_BUILD_BUILD_DIR", author_build_dir())
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .env_remove("ARK_DATA_DIR")
        .output()
        .expect("ark starts")
}

fn read_output(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The changes and the summary of `ark policy diff --json`.
fn diff_policies(data_dir: &Path, args: &[&str]) -> (Vec<Value>, Value) {
    let mut all = vec![
        "diff",
        "--json",
        "--data-dir",
        data_dir.to_str().expect("UTF-8"),
    ];
    all.extend(args);
    let output = run_policy_command(data_dir, &all);
    assert!(output.status.success(), "{}", read_output(&output));
    let mut lines: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    let summary = lines.pop().expect("a summary");
    (lines, summary["summary"].clone())
}

fn write_file(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("a file");
    path.to_str().expect("UTF-8").to_owned()
}

/// A host that has decided on three trades and a message; its data directory.
fn record_decisions(dir: &Path) -> (Host, PathBuf) {
    let data_dir = dir.join("data");
    let host = Host::start(&data_dir, &["--submitter", "api"]);
    let mut client = Client::new(&host);
    for action in [
        trade("BTC-USD", 0.01),
        trade("ETH-USD", 0.04),
        trade("BTC-USD", 0.5),
        json!({"agent": "api", "action_type": "message", "reasoning": "a test",
            "parameters": {"topic": "desk.notes", "text": "hello"}}),
    ] {
        let (status, answer) = client.post("/v1/actions", &action);
        assert_eq!(status, 200, "{answer}");
    }
    (host, data_dir)
}

#[test]
fn a_new_policy_is_tested_inspected_and_compared() {
    let sdk = checkout_path("guest-sdk");
    let sdk = sdk.to_str().expect("UTF-8");
    let dir = tempfile::tempdir().expect("a directory");
    let here = dir.path();
    let made = run_policy_command(here, &["new", "mine", "--sdk", sdk]);
    assert!(made.status.success(), "{}", read_output(&made));
    let again = run_policy_command(here, &["new", "mine", "--sdk", sdk]);
    assert!(
        read_output(&again).contains("exists already"),
        "{}",
        read_output(&again)
    );
    let readme = std::fs::read_to_string(here.join("mine/README.md")).expect("a README");
    assert!(
        readme.starts_with("# mine\n") && readme.contains("**change this first**"),
        "{readme}"
    );
    let tested = run_policy_command(here, &["test", "mine"]);
    assert!(tested.status.success(), "{}", read_output(&tested));
    assert!(
        read_output(&tested).contains("4 vectors hold"),
        "{}",
        read_output(&tested)
    );
    let component = here.join("mine/dist/mine.wasm");
    let digest = ark_tests::sha256(&std::fs::read(&component).expect("the component"));
    assert!(
        read_output(&tested).contains(&digest),
        "{}",
        read_output(&tested)
    );

    let inspected = run_policy_command(here, &["inspect", "mine/dist/mine.wasm"]);
    for told in [
        "ark:policy/configurable-policy",
        "name     mine",
        "taken, and checked by the policy itself",
        "vectors  4 hold",
        "trade_size",
        "as a policy: would be loaded",
        digest.as_str(),
    ] {
        assert!(
            read_output(&inspected).contains(told),
            "{told}: {}",
            read_output(&inspected)
        );
    }

    // A vector that does not hold keeps the last good component where it is.
    let vectors = here.join("mine/vectors.json");
    let good = std::fs::read_to_string(&vectors).expect("vectors");
    std::fs::write(&vectors, good.replace("\"pass\"", "\"warn\"")).expect("vectors");
    let broken = run_policy_command(here, &["build", "mine"]);
    assert_eq!(broken.status.code(), Some(1), "{}", read_output(&broken));
    assert!(
        read_output(&broken).contains("trade_size has no vector that passes"),
        "{}",
        read_output(&broken)
    );
    let unread = good.replace("{\"largest\": 0.02}", "{\"largets\": 0.02}");
    std::fs::write(&vectors, unread).expect("vectors");
    let broken = run_policy_command(here, &["build", "mine"]);
    assert!(
        read_output(&broken).contains("settings.largets: is not known; use `largest` or `agents`"),
        "{}",
        read_output(&broken)
    );
    assert_eq!(
        ark_tests::sha256(&std::fs::read(&component).expect("the component")),
        digest
    );

    // The host goes on meanwhile.
    let (_host, data_dir) = record_decisions(here);
    let component = component.to_str().expect("UTF-8");
    let (changes, summary) = diff_policies(&data_dir, &["none", component]);
    assert_eq!(summary["decisions"], 4);
    assert_eq!(summary["changed"], 1, "{changes:?}");
    assert_eq!(summary["same_outcome"], 1);
    assert_eq!(changes[0]["old"]["outcome"], "denied");
    assert_eq!(changes[0]["new"]["fired"][0]["rule"], "trade_size");
    let strict = write_file(here, "strict.json", "{\"largest\": 0.02}");
    let (changes, summary) = diff_policies(
        &data_dir,
        &[component, component, "--new-settings", &strict],
    );
    assert_eq!(summary["tightened"], 1, "{changes:?}");
    assert_eq!(changes[0]["old"]["outcome"], "approved");
    assert_eq!(changes[0]["new"]["outcome"], "denied");
    assert_eq!(changes[0]["new"]["fired"][0]["nearest_passing"], 0.02);
    let (_, summary) = diff_policies(
        &data_dir,
        &[component, component, "--old-settings", &strict],
    );
    assert_eq!(summary["loosened"], 1);
    let (_, summary) = diff_policies(&data_dir, &["none", component, "--since", "9999999999999"]);
    assert_eq!(summary["decisions"], 0);
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario whose steps depend on each other"
)]
fn the_example_policies_are_compared_and_bad_input_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let here = dir.path();
    let (host, data_dir) = record_decisions(here);
    let file = |name: &str| policies_dir().join(format!("{name}.wasm"));
    let allowlist = file("symbol-allowlist");
    let allowlist = allowlist.to_str().expect("UTF-8");
    let hours = file("market-hours");
    let hours = hours.to_str().expect("UTF-8");
    let bitcoin = write_file(here, "bitcoin.json", "{\"allowed\": [\"BTC-*\"]}");
    let (changes, summary) =
        diff_policies(&data_dir, &["none", allowlist, "--new-settings", &bitcoin]);
    assert_eq!(summary["tightened"], 1, "{changes:?}");
    assert_eq!(changes[0]["new"]["fired"][0]["observed"], "ETH-USD");
    let shown = run_policy_command(
        here,
        &[
            "diff",
            "recorded",
            allowlist,
            "--new-settings",
            &bitcoin,
            "--data-dir",
            data_dir.to_str().expect("UTF-8"),
        ],
    );
    for told in [
        "approved -> denied",
        "old: no rule fires",
        "symbol_allowed (violation): observed ETH-USD, limit allowed: BTC-*",
        "4 decisions judged under both: 1 change, 1 to a stricter outcome",
    ] {
        assert!(
            read_output(&shown).contains(told),
            "{told}: {}",
            read_output(&shown)
        );
    }
    let always = write_file(
        here,
        "always.json",
        r#"{"calendars": [{"name": "all", "symbols": ["*"], "zone": "UTC", "sessions": [{"open": "00:00", "close": "24:00"}]}]}"#,
    );
    let (changes, _) = diff_policies(&data_dir, &["none", hours, "--new-settings", &always]);
    assert_eq!(changes, Vec::<Value>::new());
    let never = write_file(
        here,
        "never.json",
        r#"{"calendars": [{"name": "all", "symbols": ["*"], "zone": "UTC", "outside": "hold",
            "sessions": [{"open": "00:00", "close": "00:01"}], "early_closes": []}], "unlisted": "allow"}"#,
    );
    let (_, summary) = diff_policies(
        &data_dir,
        &[
            hours,
            hours,
            "--old-settings",
            &always,
            "--new-settings",
            &never,
        ],
    );
    let in_the_first_minute = summary["changed"] == 0;
    assert!(in_the_first_minute || summary["changed"] == 3, "{summary}");

    let zone = write_file(
        here,
        "zone.json",
        r#"{"calendars": [{"name": "x", "symbols": ["*"], "zone": "Mars/Olympus", "sessions": [{"open": "00:00", "close": "24:00"}]}]}"#,
    );
    let array = write_file(here, "array.json", "[1]");
    for (args, told) in [
        (
            vec!["none", hours, "--new-settings", &zone],
            "calendars[0].zone: is \"Mars/Olympus\", which is no time zone",
        ),
        (
            vec!["none", hours, "--new-settings", &array],
            "settings: is an array; give one JSON object",
        ),
        (
            vec!["none", hours, "--new-settings", "missing.json"],
            "--new-settings missing.json",
        ),
        (
            vec!["none", "missing.wasm"],
            "missing.wasm: give the file of a component",
        ),
        (vec!["none", &bitcoin], "not a WebAssembly component"),
        (vec!["none", "none"], "give a component as one of the two"),
        (vec![hours, "recorded"], "give it first"),
        (
            vec![hours, allowlist],
            "two policies, market-hours and symbol-allowlist",
        ),
        (
            vec!["none", hours, "--old-settings", &bitcoin],
            "`none` takes no settings",
        ),
        (
            vec!["none", hours, "--since", "yesterday"],
            "--since yesterday: give milliseconds",
        ),
    ] {
        let mut all = vec!["diff", "--data-dir", data_dir.to_str().expect("UTF-8")];
        all.extend(args.iter().copied());
        let refused = run_policy_command(here, &all);
        assert_eq!(refused.status.code(), Some(1), "{args:?}");
        assert!(
            read_output(&refused).contains(told),
            "{told}: {}",
            read_output(&refused)
        );
    }
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn inspecting_a_non_policy_gives_the_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = ark_tests::guests_dir().join("kyle.wasm");
    let agent = run_policy_command(dir.path(), &["inspect", agent.to_str().expect("UTF-8")]);
    assert!(
        read_output(&agent).contains("it does not export evaluate"),
        "{}",
        read_output(&agent)
    );
    for name in ["market-hours", "symbol-allowlist"] {
        let component = policies_dir().join(format!("{name}.wasm"));
        let output = run_policy_command(
            dir.path(),
            &["inspect", "--json", component.to_str().expect("UTF-8")],
        );
        let seen: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(seen["policy"]["name"], name);
        assert_eq!(seen["policy"]["takes_settings"], true);
        assert_eq!(seen["refused_as_policy"], json!([]), "{seen:#}");
        assert!(seen["policy"]["vectors"].as_u64() > Some(5), "{seen:#}");
        let functions: usize = seen["imports"]
            .as_array()
            .expect("imports")
            .iter()
            .map(|import| import["functions"].as_array().map_or(0, Vec::len))
            .sum();
        assert_eq!(functions, 0, "{seen:#}");
    }
}
