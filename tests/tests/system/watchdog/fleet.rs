//! A fleet: an order given at one host is in force at all of them, whatever is down meanwhile.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use ark_tests::redis::Redis;
use ark_tests::{Client, Host, TestDir, copy_agent, hostile_guests_dir, trade, wait_until};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use super::watching::{agent, quarantined, signal};

/// A host of the fleet.
struct Member {
    dir: TestDir,
}

impl Member {
    fn new(port: u16, key: &str) -> Self {
        let dir = TestDir::new("");
        let file = dir.path().join("fleet.key");
        std::fs::write(&file, key.repeat(64)).expect("a key");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o400)).expect("its mode");
        dir.configure(&format!(
            "[watchdog]\nredis_url = \"redis://127.0.0.1:{port}/0\"\nfleet = \"ark:orders\"\nfleet_key_file = {:?}\n",
            file.display().to_string()
        ));
        Self { dir }
    }

    fn start(&self) -> Host {
        self.dir.start()
    }

    fn start_halted(&self) -> Host {
        self.dir.start_halted()
    }

    /// Returns the sequence number of the last order in the host's audit log, its own or the fleet's.
    fn last_order(&self) -> u64 {
        let database = Connection::open_with_flags(
            self.dir.data().join("ark.db"),
            OpenFlags::SQLITE_OPEN_READ_ONLY,
        )
        .expect("the database");
        let query = "SELECT coalesce(max(seq), 0) FROM audit_log WHERE kind = 'control'";
        database
            .query_row(query, [], |row| row.get(0))
            .expect("a number")
    }
}

fn is_halted(host: &Host) -> bool {
    Client::new(host).get("/v1/watchdog").1["halted"] == json!(true)
}

fn send_order(host: &Host, what: &str, by: &str) -> (u16, Value) {
    let body = json!({"reason": "drill", "by": by});
    Client::new(host).post(&format!("/v1/{what}"), &body)
}

/// Who ordered what, as this host's log tells it.
fn read_log(host: &Host) -> Vec<(String, String, bool)> {
    let mut client = Client::new(host);
    let (_, log) = client.get("/v1/watchdog/alerts?limit=500");
    let mut rows = log["alerts"].as_array().expect("alerts").clone();
    rows.reverse();
    rows.iter()
        .filter(|row| matches!(row["kind"].as_str(), Some("halted" | "resumed")))
        .map(|row| {
            let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
            (text("kind"), text("message"), true)
        })
        .collect()
}

#[test]
fn an_order_reaches_every_host_and_survives_whatever_is_down() {
    let redis = Redis::start();
    let port = redis.port;
    let (one, two) = (Member::new(port, "a"), Member::new(port, "a"));
    let (first, second) = (one.start(), two.start());
    assert_eq!(send_order(&first, "halt", "ada").0, 200);
    let ordered = Instant::now();
    wait_until("the halt at the second", || is_halted(&second));
    println!("the other host was halted after {:?}", ordered.elapsed());
    let (_, decision) = Client::new(&second).post("/v1/actions", &trade("BTC-USD", 0.01));
    assert_eq!(decision["outcome"], "denied");
    let (_, watchdog) = Client::new(&second).get("/v1/watchdog");
    assert_eq!(watchdog["halt"]["by"], "ada", "{watchdog}");
    assert_eq!(watchdog["fleet"]["refused"], 0);
    // It is in force there permanently, and the order does not come back as one of the second's own.
    second.kill();
    let second = two.start_halted();
    assert!(is_halted(&second));
    assert_eq!(send_order(&second, "resume", "grace").0, 200);
    wait_until("the resume at the first", || !is_halted(&first));
    assert_eq!(read_log(&first).len(), 2, "{:?}", read_log(&first));
    assert_eq!(read_log(&second).len(), 2, "{:?}", read_log(&second));

    // Redis is down: the order holds where it is given, and reaches the other when Redis is back, even over a kill.
    drop(redis);
    assert_eq!(send_order(&first, "halt", "ada").0, 200);
    first.kill();
    let first = one.start_halted();
    wait_until("its absence to be seen", || {
        Client::new(&first).get("/v1/watchdog").1["fleet"]["problem"].is_string()
    });
    assert!(!is_halted(&second));
    let redis = Redis::start_on(port);
    wait_until("the halt at the second", || is_halted(&second));

    // A host that comes new holds what the fleet holds.
    let three = Member::new(port, "a");
    // The halt may reach it before it is seen to be ready.
    let third = three.start_halted();
    wait_until("the halt at the third", || is_halted(&third));

    // One with another key is not heard.
    let four = Member::new(port, "b");
    let fourth = four.start();
    wait_until("a refusal", || {
        Client::new(&fourth).get("/v1/watchdog").1["fleet"]["refused"].as_u64() > Some(0)
    });
    assert!(!is_halted(&fourth));
    assert_eq!(send_order(&fourth, "halt", "mallory").0, 200);
    assert_eq!(send_order(&fourth, "resume", "mallory").0, 200);
    redis.run(&["XADD", "ark:orders", "*", "order", "{\"order\":\"resume\"}"]);
    wait_until("the refusals", || {
        Client::new(&first).get("/v1/watchdog").1["fleet"]["refused"].as_u64() >= Some(3)
    });
    assert!(is_halted(&first) && is_halted(&second) && is_halted(&third));
}

#[test]
fn hosts_that_order_the_opposite_at_once_agree_in_the_end() {
    let redis = Redis::start();
    let members = [Member::new(redis.port, "a"), Member::new(redis.port, "a")];
    let hosts = [members[0].start(), members[1].start()];
    for round in 0..15 {
        std::thread::scope(|scope| {
            for (number, host) in hosts.iter().enumerate() {
                scope.spawn(move || {
                    let orders = if (round + number) % 2 == 0 {
                        ["halt", "resume", "halt"]
                    } else {
                        ["resume", "halt", "resume"]
                    };
                    for what in orders {
                        // Nothing to be resumed is no failure here.
                        assert!(matches!(send_order(host, what, "ada").0, 200 | 409));
                        std::thread::sleep(Duration::from_millis(37 * (round as u64 % 5)));
                    }
                });
            }
        });
        // Whatever a host ordered is in the stream, and both have read it to the end: nothing more is on its way.
        wait_until("both at the end of the stream", || {
            let last = redis.run(&["XREVRANGE", "ark:orders", "+", "-", "COUNT", "1"]);
            let last = last.lines().next().unwrap_or_default().to_owned();
            hosts.iter().zip(&members).all(|(host, member)| {
                let (_, watchdog) = Client::new(host).get("/v1/watchdog");
                let fleet = &watchdog["fleet"];
                fleet["read"] == json!(last) && fleet["published"] == json!(member.last_order())
            })
        });
        let found = hosts.each_ref().map(is_halted);
        assert_eq!(found[0], found[1], "round {round}");
    }
}

// Found by a reader of ARCHITECTURE.md: only the API woke the agent and reset its health.
#[test]
fn an_agent_that_another_host_restores_starts_from_zero_and_gets_what_waited() {
    let redis = Redis::start();
    let members = [Member::new(redis.port, "a"), Member::new(redis.port, "a")];
    for member in &members {
        copy_agent(&hostile_guests_dir(), "chaos", &member.dir.agents());
    }
    let (first, second) = (members[0].start(), members[1].start());
    let mut client = Client::new(&second);
    // One failure more and the second quarantines it itself.
    for _ in 0..4 {
        signal(&mut client, "chaos.go", "panic");
    }
    wait_until("the failures", || {
        agent(&mut client, "chaos")["health"]["consecutive_failures"] == json!(4)
    });
    assert_eq!(send_order(&first, "agents/chaos/quarantine", "ada").0, 200);
    assert_eq!(
        quarantined(&mut client, "chaos", "operator")["by"],
        json!("ada")
    );
    for payload in ["panic", "environment", "environment"] {
        signal(&mut client, "chaos.go", payload);
    }
    assert_eq!(agent(&mut client, "chaos")["waiting"], json!(3));

    // Nothing more is sent to the second: the order alone sets it to work.
    assert_eq!(send_order(&first, "agents/chaos/restore", "ada").0, 200);
    wait_until("what waited at the second", || {
        let chaos = agent(&mut client, "chaos");
        chaos["waiting"] == json!(0) && chaos["handled"] == json!(2) && chaos["failed"] == json!(5)
    });
    assert_eq!(agent(&mut client, "chaos")["quarantine"], Value::Null);
}

#[test]
fn a_fleet_without_what_it_needs_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("ark.toml");
    for (text, field) in [
        ("fleet = \"ark:orders\"", "watchdog.fleet_key_file"),
        ("fleet_key_file = \"/nowhere\"", "watchdog.fleet"),
        (
            "fleet = \"ark:orders\"\nfleet_key_file = \"/nowhere\"",
            "redis.url",
        ),
        (
            "fleet = \"ark:orders\"\nfleet_key_file = \"/nowhere\"\nredis_url = \"redis://127.0.0.1:1/0\"",
            "/nowhere",
        ),
    ] {
        std::fs::write(&config, format!("[watchdog]\n{text}\n")).expect("a configuration");
        let refused = Host::try_start(
            &dir.path().join("data"),
            &["--config", config.to_str().expect("UTF-8")],
        );
        let output = refused.err().expect("a refusal");
        assert!(output.contains(field), "{text}: {output}");
    }
}
