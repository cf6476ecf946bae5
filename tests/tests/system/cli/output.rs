//! What `ark` prints: texts from outside do nothing to a terminal, and readers may go away.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};

use ark_tests::{
    Client, PATIENT, TestDir, ark_program, copy_agent, hostile_guests_dir, post_signal, trade,
    wait_for, wait_until,
};
use serde_json::{Value, json};

/// Sets the title of the terminal, clears the screen with a C1 control, turns the text around, hides characters, and begins lines that look
/// like the program's own.
const HOSTILE: &str = "forged\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}txt\u{200b}\u{2066}\u{2028}\u{feff}\r\nark: FORGED\u{1b}[31m";
/// The same without control characters, for texts that may hold none.
const INVISIBLE: &str = "forged\u{202e}txt\u{200b}\u{2066}\u{2028}\u{feff}";

/// A directory, a host and what its commands work on.
struct CommandFixture {
    dir: TestDir,
    url: String,
}

impl CommandFixture {
    fn make_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(ark_program());
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("ARK_URL", &self.url)
            .env("ARK_DATA_DIR", self.dir.data())
            .stdin(Stdio::null());
        command
    }

    fn run_command(&self, args: &[&str]) -> Output {
        self.make_command(args).output().expect("ark starts")
    }
}

/// Every command that has no commands below it, as the program's own help lists them.
fn list_commands(path: &[String], found: &mut Vec<Vec<String>>) {
    let help = Command::new(ark_program())
        .args(path)
        .arg("--help")
        .output()
        .expect("ark starts");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let Some((_, below)) = help.split_once("\nCommands:\n") else {
        found.push(path.to_vec());
        return;
    };
    for line in below.lines().take_while(|line| !line.is_empty()) {
        let name = line.split_whitespace().next().expect("a name");
        if name != "help" {
            let path = [path, &[name.to_owned()]].concat();
            list_commands(&path, found);
        }
    }
}

/// Fails if something that was printed would be obeyed, hides something or looks like another line of the program.
fn assert_harmless(what: &str, text: &[u8]) -> String {
    let text = String::from_utf8(text.to_vec()).expect("UTF-8");
    // Stated here and not taken from the program: controls, format characters, separators.
    let bad = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    assert!(!text.contains(bad), "{what}: {text:?}");
    assert!(
        !text.lines().any(|line| line.starts_with("ark: FORGED")),
        "{what}: {text}"
    );
    text
}

fn contains_text(value: &Value, text: &str) -> bool {
    match value {
        Value::String(it) => it.contains(text),
        Value::Array(items) => items.iter().any(|item| contains_text(item, text)),
        Value::Object(map) => map
            .iter()
            .any(|(key, item)| key.contains(text) || contains_text(item, text)),
        _ => false,
    }
}

/// Lets an agent, proposers and operators leave hostile texts wherever they may. Returns the ids of a decision and of a held action.
fn plant_texts(stage: &CommandFixture, client: &mut Client) -> (String, String) {
    post_signal(client, "chaos.go", &json!(HOSTILE));
    wait_until("the agent has failed", || {
        client.get("/v1/agents/chaos").1["failed"] == json!(1)
    });
    let share = json!({"agent": "api", "action_type": "share_data", "reasoning": HOSTILE,
        "parameters": {"subject": "customer-17", "contains_personal_data": true, "destination": INVISIBLE}});
    let (_, denied) = client.post("/v1/actions", &share);
    let (_, held) = client.post("/v1/actions", &trade("ETH-USD", 0.09));
    let id = |answer: &Value| answer["decision_id"].as_str().expect("an id").to_owned();
    let (denied, held) = (id(&denied), id(&held));
    let (_, rejected) = client.post("/v1/actions", &trade("SOL-USD", 0.09));
    let value = json!(HOSTILE).to_string();
    for args in [
        &["state", "set", "chaos", INVISIBLE, &value][..],
        &["state", "memory", "add", "chaos", "note", HOSTILE],
        &["state", "config", "set", "shown", &value],
        &[
            "lists", "put", "vetoes", "v1", "--words", INVISIBLE, "--reason", INVISIBLE,
        ],
        &["account", "capital", "1000", "--reason", INVISIBLE],
        &[
            "approvals",
            "reject",
            &id(&rejected),
            "--comment",
            INVISIBLE,
            "--by",
            "ada",
        ],
        &["watchdog", "quarantine", "chaos", "--reason", INVISIBLE],
    ] {
        let output = stage.run_command(args);
        let errors = assert_harmless(&args.join(" "), &output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        assert_harmless(&args.join(" "), &output.stdout);
    }
    (denied, held)
}

#[test]
fn no_text_from_outside_reaches_a_terminal_or_the_log_as_it_is() {
    let dir = TestDir::new(PATIENT);
    copy_agent(&hostile_guests_dir(), "chaos", &dir.agents());
    let host = dir.start();
    let stage = CommandFixture {
        url: format!("http://{}", host.address),
        dir,
    };
    let mut client = Client::new(&host);
    let (denied, held) = plant_texts(&stage, &mut client);
    let capsules = stage.run_command(&["agent", "capsules", "--json"]).stdout;
    let capsule: Value = serde_json::from_slice(&capsules).expect("one capsule");
    let capsule = capsule["id"].as_str().expect("an id");
    let agents = stage.dir.agents().display().to_string();
    let evidence = stage
        .run_command(&["audit", "export", "--decision", &denied])
        .stdout;
    let hostile_file = stage.dir.path().join(INVISIBLE);
    std::fs::write(&hostile_file, &evidence).expect("a file");
    let sample = json!({"topic": "chaos.go", "payload": HOSTILE}).to_string();
    std::fs::write(stage.dir.path().join("sample.json"), sample).expect("a file");
    let manifest = stage.dir.agents().join("chaos.toml").display().to_string();

    // Commands that show what was planted.
    for args in [
        &["agent", "capsules"][..],
        &["agent", "replay", capsule, "--agents", &agents],
        &["agent", "replay", capsule, "--agents", &agents, "--json"],
        &["agent", "run", &manifest, "--sample", "sample.json"],
        &["audit", "export"],
        &["audit", "export", "--decision", &denied],
        &["audit", "verify", INVISIBLE],
        &["explain", &denied],
        &["explain", &denied, "--json"],
        &["state", "get", "chaos", INVISIBLE],
        &["state", "list", "chaos", "--values"],
        &["state", "history", "chaos", INVISIBLE],
        &["state", "memory", "list", "chaos"],
        &["state", "config", "get", "shown"],
        &["lists", "show", "vetoes"],
        &["lists", "history", "vetoes"],
        &["account", "history"],
        &["approvals", "list", "--status", "all"],
        &["approvals", "list", "--status", "all", "--json"],
        &["watchdog", "status"],
        &["config", "show", "--data-dir", HOSTILE],
        &["config", "check", "--data-dir", HOSTILE],
        &["inspect", HOSTILE],
    ] {
        let output = stage.run_command(args);
        let what = args.join(" ");
        let shown = assert_harmless(&what, &output.stdout);
        let errors = assert_harmless(&what, &output.stderr);
        assert!(
            shown.contains("forged") || errors.contains("forged"),
            "{what}: {shown}{errors}"
        );
        let mut values = serde_json::Deserializer::from_str(&shown).into_iter::<Value>();
        if shown.starts_with(['{', '[']) {
            assert!(
                values.any(|value| contains_text(&value.expect("JSON"), INVISIBLE_PART)),
                "{what}: {shown}"
            );
        }
    }
    let output = stage.run_command(&["approvals", "show", &held]);
    assert_harmless("approvals show", &output.stdout);

    // Every command there is, given the text where it expects something else.
    let mut commands = Vec::new();
    list_commands(&[], &mut commands);
    assert!(commands.len() > 60, "{commands:?}");
    for command in &commands {
        let names: Vec<&str> = command.iter().map(String::as_str).collect();
        for hostile in [&[HOSTILE][..], &["--forged", HOSTILE]] {
            let output = stage.run_command(&[&names, hostile].concat());
            let what = format!("{} {}", names.join(" "), hostile.join(" "));
            assert_harmless(&what, &output.stdout);
            let errors = assert_harmless(&what, &output.stderr);
            // A single text may be taken, for the directory of a snapshot for example.
            assert!(
                errors.contains("forged") || hostile.len() == 1,
                "{what}: {errors}"
            );
        }
    }

    let log = host.terminate_for_log();
    let log = assert_harmless("the log", log.as_bytes());
    assert!(log.contains("forged"), "{log}");
}

/// A part of [`HOSTILE`] and of [`INVISIBLE`] that a reader of JSON must get exactly.
const INVISIBLE_PART: &str = "\u{202e}txt\u{200b}\u{2066}\u{2028}\u{feff}";

#[test]
fn closed_pipes_change_no_status_and_lost_output_is_a_failure() {
    let dir = TestDir::new("");
    let host = dir.start();
    let stage = CommandFixture {
        url: format!("http://{}", host.address),
        dir,
    };
    let mut client = Client::new(&host);
    let (_, decision) = client.post("/v1/actions", &trade("BTC-USD", 0.5));
    let decision = decision["decision_id"].as_str().expect("an id");
    for (args, code) in [
        (&["--help"][..], 0),
        (&["graveyard", "show"], 0),
        (&["completions", "bash"], 0),
        (&["config", "docs"], 0),
        (&["config", "show"], 0),
        (&["audit", "export"], 0),
        (&["audit", "verify"], 0),
        (&["explain", decision], 0),
        (&["approvals", "list", "--json"], 0),
        (&["state", "list"], 0),
        (&["watchdog", "status"], 0),
        (&["redis", "status"], 0),
        (&["token", "roles"], 0),
        (&["policy", "diff", "none", "graveyard"], 0),
        // Commands that fail say so by their status, no matter who reads.
        (&["explain", "01999999-0000-7000-8000-000000000000"], 1),
        (&["graveyard", "verify", "no-such-file"], 1),
        (&["audit"], 2),
    ] {
        let what = args.join(" ");
        // Nobody reads from the start.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let closed = stage.make_command(args).stdout(writer).output();
        let closed = closed.expect("ark starts");
        let errors = String::from_utf8_lossy(&closed.stderr);
        assert_eq!(closed.status.code(), Some(code), "{what}: {errors}");
        assert_eq!(errors.is_empty(), code == 0, "{what}: {errors}");
        assert!(!errors.contains("panicked"), "{what}: {errors}");
        if code != 0 {
            continue;
        }
        let full = std::fs::File::options().write(true).open("/dev/full");
        let lost = stage
            .make_command(args)
            .stdout(full.expect("/dev/full"))
            .output();
        let lost = lost.expect("ark starts");
        let errors = String::from_utf8_lossy(&lost.stderr);
        assert_eq!(lost.status.code(), Some(1), "{what}: {errors}");
        assert!(errors.contains("No space left"), "{what}: {errors}");
    }

    // Standard error closed as well: there is nobody to tell, and nothing to panic about.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let deaf = stage
        .make_command(&["graveyard", "verify", "no-such-file"])
        .stdout(writer.try_clone().expect("a pipe"))
        .stderr(writer)
        .status();
    assert_eq!(deaf.expect("ark starts").code(), Some(1));
}

#[test]
fn a_reader_may_close_the_output_after_the_first_rows() {
    let dir = TestDir::new("");
    let host = dir.start();
    let stage = CommandFixture {
        url: format!("http://{}", host.address),
        dir,
    };
    let mut client = Client::new(&host);
    // More than a pipe holds.
    for _ in 0..60 {
        client.post("/v1/actions", &trade("BTC-USD", 0.001));
    }
    let mut export = stage
        .make_command(&["audit", "export"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ark starts");
    let mut line = String::new();
    let mut rows = BufReader::new(export.stdout.take().expect("standard output"));
    rows.read_line(&mut line).expect("a row");
    drop(rows);
    serde_json::from_str::<Value>(&line).expect("a row is JSON");
    let mut errors = String::new();
    let mut stderr = export.stderr.take().expect("standard error");
    stderr.read_to_string(&mut errors).expect("UTF-8");
    assert_eq!(export.wait().expect("its end").code(), Some(0), "{errors}");
    assert_eq!(errors, "");
}

#[test]
fn a_host_outlives_the_readers_of_its_output_and_of_its_log() {
    let dir = TestDir::new("");
    let mut host = Command::new(ark_program())
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--telemetry-listen",
            "off",
        ])
        .arg("--config")
        .arg(dir.config())
        .arg("--data-dir")
        .arg(dir.data())
        .env("ARK_LOG", "info")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ark starts");
    let mut lines = BufReader::new(host.stdout.take().expect("standard output")).lines();
    let address = wait_for("the address", || {
        let line = lines.next()?.ok()?;
        line.strip_prefix("ark: listening on http://")
            .map(str::to_owned)
    });
    drop(lines);
    drop(host.stderr.take());
    let mut client = Client::at(&address);
    // Each of these is logged.
    for order in ["halt", "resume", "halt", "resume"] {
        let order = format!("/v1/{order}");
        let (status, answer) = client.post(&order, &json!({"reason": "a test", "by": "ada"}));
        assert_eq!(status, 200, "{answer}");
    }
    let (status, decision) = client.post("/v1/actions", &trade("BTC-USD", 0.001));
    assert_eq!((status, &decision["outcome"]), (200, &json!("approved")));
    stop_process(&host);
    assert_eq!(host.wait().expect("its end").code(), Some(0));
}

fn stop_process(child: &std::process::Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM");
}
