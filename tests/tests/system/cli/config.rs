//! The configuration's sources, its commands and its reload; and how a host ends. On the real binary.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ark_tests::{Client, Host, ark_program, run_ark, trade, wait_until};
use serde_json::{Value, json};

fn run_config(dir: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(ark_program())
        .arg("config")
        .args(args)
        .current_dir(dir)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("ark starts")
}

fn read_stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn what_is_wrong_is_named_with_its_source_and_what_was_meant() {
    let dir = tempfile::tempdir().expect("a directory");
    for (file, environment, named) in [
        ("", &[][..], "in order"),
        (
            "[capacity]\nworkres = 4",
            &[],
            "did you mean `capacity.workers`?",
        ),
        ("[capacity]\nworkers = 0", &[], "capacity.workers"),
        ("[capacity]\nworkers = \"4\"", &[], "ark.toml"),
        (
            "",
            &[("ARK_CAPACITY_WORKRES", "4")],
            "did you mean `ARK_CAPACITY_WORKERS`?",
        ),
        ("", &[("ARK_CAPACITY_WORKERS", "x")], "ARK_CAPACITY_WORKERS"),
        (
            "[capacity]\nworkers = 0",
            &[("ARK_CAPACITY_WORKERS", "4")],
            "in order",
        ),
    ] {
        std::fs::write(dir.path().join("ark.toml"), file).expect("a configuration");
        let output = run_config(dir.path(), &["check"], environment);
        let said = read_stdout(&output);
        assert_eq!(
            output.status.success(),
            named == "in order",
            "{file}: {said}"
        );
        assert!(said.contains(named), "{file}: {said}");
    }
}

#[test]
fn errors_of_declared_action_types_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    for (declaration, named) in [
        (
            "[action_types.rebalance]\nfamily = \"custom\"",
            &["in order"][..],
        ),
        (
            "[action_types.rebalance]\nfamily = \"trades\"",
            &["action_types.rebalance", "trade"],
        ),
        (
            "[action_types.rebalance]\ndescription = \"x\"",
            &["action_types.rebalance", "family"],
        ),
        (
            "[action_types.trade]\nfamily = \"trade\"",
            &["action_types.trade", "built"],
        ),
        (
            "[action_types.Rebalance]\nfamily = \"custom\"",
            &["action_types.Rebalance"],
        ),
        (
            "[action_types.rebalance]\nfamily = \"custom\"\nfeilds = {}",
            &["action_types.rebalance", "feilds"],
        ),
        (
            "[action_types.place_order]\nfamily = \"trade\"\nfields = { quantity = \"position_size\" }",
            &["action_types.place_order", "position_size"],
        ),
        (
            "[action_types.place_order]\nfamily = \"trade\"\nfixed = { side = \"hold\" }",
            &["action_types.place_order", "side"],
        ),
        ("action_types = 3", &["action_types", "ark.toml"]),
    ] {
        std::fs::write(dir.path().join("ark.toml"), declaration).expect("a configuration");
        let output = run_config(dir.path(), &["check"], &[]);
        let said = read_stdout(&output);
        assert_eq!(
            output.status.success(),
            named == ["in order"],
            "{declaration}: {said}"
        );
        for part in named {
            assert!(said.contains(part), "{declaration}: {part}: {said}");
        }
    }
}

#[test]
fn every_value_is_shown_with_its_source() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = "[capacity]\nworkers = 2\nbacklog = 9\n[watchdog]\nredis_url = \"redis://u:hunter2@localhost:1/0\"";
    std::fs::write(dir.path().join("ark.toml"), file).expect("a configuration");
    let environment = [("ARK_CAPACITY_WORKERS", "3")];
    let flags = ["show", "--json", "--listen", "127.0.0.1:7"];
    let output = run_config(dir.path(), &flags, &environment);
    let lines: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let line = |key: &str| {
        let lines = lines.as_array().expect("lines");
        lines
            .iter()
            .find(|line| line["key"] == key)
            .unwrap_or_else(|| panic!("no {key}"))
            .clone()
    };
    for (key, value, source) in [
        (
            "capacity.workers",
            json!(3),
            "environment variable ARK_CAPACITY_WORKERS",
        ),
        ("capacity.backlog", json!(9), "file ark.toml"),
        ("listen", json!("127.0.0.1:7"), "flag"),
        ("limits.fuel", json!(200_000_000), "default"),
        (
            "watchdog.redis_url",
            json!("redis://u:********@localhost:1/0"),
            "file ark.toml",
        ),
    ] {
        assert_eq!(
            (&line(key)["value"], &line(key)["source"]),
            (&value, &json!(source)),
            "{key}"
        );
    }
    assert!(!read_stdout(&output).contains("hunter2"));
}

#[test]
fn sighup_changes_what_can_be_changed_and_refuses_what_is_wrong() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("ark.toml");
    std::fs::write(&file, "").expect("a configuration");
    let path = file.display().to_string();
    let host = Host::start(&dir.path().join("data"), &["--config", &path]);
    let mut client = Client::new(&host);
    let mut reload = |written: &str, expected: u64| {
        std::fs::write(&file, written).expect("a configuration");
        host.hang_up();
        wait_until(written, || {
            let (_, status) = client.get("/v1/watchdog");
            status["thresholds"]["consecutive_failures"] == json!(expected)
        });
    };
    reload("[watchdog]\nconsecutive_failures = 9", 9);
    reload("[watchdog]\nconsecutive_failures = 0", 9);
    reload(
        "[watchdog]\nconsecutive_failures = 7\n[capacity]\nworkers = 2",
        7,
    );
    // What decides over proposals is on record; reading the same again is no change.
    let declared = "[action_types.rebalance]\nfamily = \"custom\"\n";
    reload(
        &format!("[watchdog]\nconsecutive_failures = 6\n{declared}"),
        6,
    );
    reload(
        &format!("[watchdog]\nconsecutive_failures = 5\n{declared}"),
        5,
    );
    let log = run_ark(&[
        "audit",
        "export",
        "--data-dir",
        &dir.path().join("data").display().to_string(),
    ]);
    let log = String::from_utf8(log.stdout).expect("UTF-8");
    let mut changes = log
        .lines()
        .filter(|line| line.contains("action_types.reload"));
    let change = changes.next().expect("a row");
    assert!(change.contains("rebalance"), "{change}");
    assert_eq!(changes.next(), None, "{log}");
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn sigterm_under_load_exits_0_with_everything_acknowledged_on_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let host = Host::start(&data, &[]);
    let over = AtomicBool::new(false);
    let acknowledged = AtomicUsize::new(0);
    let address = host.address.clone();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::at(&address);
                while !over.load(Ordering::Relaxed) {
                    let Ok((200, _)) = client.try_post("/v1/actions", &trade("X", 0.001)) else {
                        continue;
                    };
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait_until("a load", || acknowledged.load(Ordering::Relaxed) > 40);
        assert_eq!(host.terminate(), Some(0));
        over.store(true, Ordering::Relaxed);
    });
    let acknowledged = acknowledged.load(Ordering::Relaxed);
    let database = rusqlite::Connection::open(data.join("ark.db")).expect("the database");
    let query = "SELECT count(*) FROM audit_log WHERE kind = 'decision'";
    let recorded: usize = database
        .query_row(query, [], |row| row.get(0))
        .expect("a count");
    assert!(recorded >= acknowledged, "{recorded} of {acknowledged}");
}
