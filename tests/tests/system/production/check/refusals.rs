//! What `ark serve` refuses by its configuration and files, `ark config check` refuses too; and a cause is said once, with one remedy.

use std::fs;
use std::process::Output;

use ark_tests::{TestDir, make_token, run_ark};
use serde_json::Value;

use super::check_lines;
use super::site::{set_mode, text, write_with_mode};

/// What is wrong, the configuration (`@`: the directory), how it is planted, and what both commands say.
type Refusal = (&'static str, &'static str, fn(&TestDir), &'static str);

fn make_data(dir: &TestDir) {
    fs::create_dir(dir.data()).expect("a directory");
    set_mode(&dir.data(), 0o700);
}

const REFUSALS: [Refusal; 6] = [
    (
        "a database that must be there",
        "require_database = true\n",
        |_| {},
        "require_database is set",
    ),
    (
        "a restore that was interrupted",
        "",
        |dir| {
            make_data(dir);
            fs::write(dir.data().join("restore.pending"), "").expect("a file");
        },
        "was interrupted",
    ),
    (
        "a data directory that is a file",
        "",
        |dir| fs::write(dir.data(), "").expect("a file"),
        "cannot be used",
    ),
    (
        "another Graveyard",
        "graveyard = \"@/graveyard.wasm\"\n",
        |dir| write_with_mode(&dir.path().join("graveyard.wasm"), "x", 0o444),
        "graveyard.wasm",
    ),
    (
        "a key of signatures that is not there",
        "[signatures]\nagents = [\"@/nowhere.pem\"]\n",
        |_| {},
        "nowhere.pem",
    ),
    (
        "a declared policy that is not there",
        "[[policies]]\nfile = \"@/nowhere.wasm\"\nsha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\n",
        |_| {},
        "nowhere.wasm",
    ),
];

fn read_output(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_check_of_the_configuration_refuses_what_a_start_refuses_by_files() {
    let check = |dir: &TestDir| {
        let (config, data) = (text(&dir.config()), text(&dir.data()));
        run_ark(&["config", "check", "--config", &config, "--data-dir", &data])
    };
    let good = check(&TestDir::new(""));
    assert!(good.status.success(), "{good:?}");
    for (what, config, plant, said) in REFUSALS {
        let dir = TestDir::new("");
        dir.configure(&config.replace('@', &text(dir.path())));
        plant(&dir);
        let checked = check(&dir);
        let told = read_output(&checked);
        assert_eq!(checked.status.code(), Some(1), "{what}: {told}");
        assert!(told.contains(said), "{what}: {told}");
        assert!(!told.contains("is in order"), "{what}: {told}");
        let (config, data) = (text(&dir.config()), text(&dir.data()));
        let serve = ["serve", "--config", &config, "--data-dir", &data];
        let listen = ["--listen", "127.0.0.1:0", "--telemetry-listen", "off"];
        let refused = run_ark(&[&serve[..], &listen[..]].concat());
        let told = read_output(&refused);
        assert!(!refused.status.success(), "{what}: {told}");
        assert!(told.contains(said), "{what}: {told}");
    }
}

/// The one line that says this. Each that was skipped for it only names that line.
fn find_cause<'a>(lines: &'a [Value], said: &str) -> &'a Value {
    let is_said = |line: &Value| line["found"].as_str().expect("text").contains(said);
    let told: Vec<&Value> = lines.iter().filter(|line| is_said(line)).collect();
    let [cause] = told[..] else {
        panic!("{told:#?}");
    };
    assert_eq!(cause["check"], "database", "{cause}");
    assert_eq!(cause["status"], "error", "{cause}");
    for name in ["tokens", "audit-log", "state", "guests"] {
        let mut of_name = lines.iter().filter(|line| line["check"] == name);
        let line = of_name.next().unwrap_or_else(|| panic!("no line {name}"));
        assert_eq!(line["status"], "skipped", "{line}");
        assert_eq!(line["remedy"], "see the line `database`", "{line}");
    }
    cause
}

#[test]
fn what_is_wrong_with_a_database_is_said_once_and_has_one_remedy() {
    let dir = TestDir::new("");
    let _ = make_token(&dir.data(), "ada", "admin", &[]);
    let write = |name: &str, text: &str| {
        write_with_mode(&dir.data().join(name), text, 0o600);
    };
    write("anchors.jsonl", "no anchor\n");
    let lines = check_lines(&dir);
    let cause = find_cause(&lines, "cannot be compared with it");
    let found = cause["found"].as_str().expect("text");
    let remedy = cause["remedy"].as_str().expect("text");
    assert!(!found.contains("put back"), "{cause}");
    for part in ["put back", "anchors.jsonl alone", "loses decisions"] {
        assert!(remedy.contains(part), "{part}: {cause}");
    }
    assert!(!remedy.contains("ark state restore"), "{cause}");

    fs::remove_file(dir.data().join("anchors.jsonl")).expect("a file");
    write("ark.db", &"x".repeat(9000));
    let lines = check_lines(&dir);
    let cause = find_cause(&lines, "is not a sound database");
    let remedy = cause["remedy"].as_str().expect("text");
    assert!(remedy.contains("ark state restore --replace"), "{cause}");
}
