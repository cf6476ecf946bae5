//! Quotas over time against the real binary: each is reached, its agent alone is refused and in the end quarantined, what is kept is counted across a
//! restart; tokens have quotas of their own; the backlog binds agents' own messages; the database has a reserve for the host.

use std::path::Path;

use ark_tests::{
    Client, Host, TestDir, copy_agent, copy_numbered, guests_dir, hostile_guests_dir, make_token,
    post_signal, trade, wait_for, wait_until,
};
use serde_json::{Value, json};

/// A quota, what uses it up, and how: what the agent is asked for in a signal is two fifths of the quota.
pub(super) struct QuotaCase {
    pub(super) quota: &'static str,
    pub(super) limit: u64,
    pub(super) what: &'static str,
    pub(super) count: u64,
    pub(super) size: usize,
    /// Whether what is used is kept over a restart.
    kept: bool,
}

const fn make_case(
    quota: &'static str,
    limit: u64,
    (what, count, size): (&'static str, u64, usize),
    kept: bool,
) -> QuotaCase {
    QuotaCase {
        quota,
        limit,
        what,
        count,
        size,
        kept,
    }
}

pub(super) const CASES: [QuotaCase; 7] = [
    make_case("stored_bytes", 1_000_000, ("state", 4, 50_000), true),
    make_case(
        "stored_bytes_per_minute",
        1_000_000,
        ("state", 4, 50_000),
        false,
    ),
    make_case("keys", 50, ("state", 20, 1), true),
    make_case("memories", 50, ("memory", 20, 1), true),
    make_case(
        "audit_bytes_per_minute",
        150_000,
        ("trade", 20, 1_000),
        false,
    ),
    make_case("log_bytes_per_minute", 100_000, ("log", 20, 1_900), false),
    make_case("messages_per_minute", 50, ("message", 20, 10), false),
];

/// Copies the agent under a number. Its manifest tightens one quota. Returns its name; its topic is `hog.NUMBER`.
fn copy_hog(agents: &Path, number: u32, quota: &str, limit: u64) -> String {
    let topic = format!("hog.{number}");
    let name = copy_numbered(&hostile_guests_dir(), "quota-hog", number, &topic, agents);
    let manifest = agents.join(format!("quota-hog-{number:02}.toml"));
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    let text = format!("{text}\n[quotas]\n{quota} = {limit}\n");
    std::fs::write(&manifest, text).expect("a manifest");
    name
}

/// Copies the agent once for each of [`CASES`], under the numbers from 1. Returns the names.
pub(super) fn copy_hogs(agents: &Path) -> Vec<String> {
    let numbered = (1..).zip(&CASES);
    numbered
        .map(|(number, case)| copy_hog(agents, number, case.quota, case.limit))
        .collect()
}

pub(super) fn agent(client: &mut Client, name: &str) -> Value {
    let (status, answer) = client.get(&format!("/v1/agents/{name}"));
    assert_eq!(status, 200, "{answer}");
    answer
}

/// What an agent uses of a quota, as the API shows it.
pub(super) fn quota_of(client: &mut Client, name: &str, quota: &str) -> Value {
    let shown = agent(client, name);
    let quotas = shown["quotas"].as_array().expect("quotas");
    let found = quotas.iter().find(|shown| shown["quota"] == json!(quota));
    found
        .unwrap_or_else(|| panic!("{quota} in {shown}"))
        .clone()
}

fn list_severities(client: &mut Client, name: &str, quota: &str) -> Vec<Value> {
    let path = format!("/v1/watchdog/alerts?agent={name}&kind=quota_{quota}");
    let (status, answer) = client.get(&path);
    assert_eq!(status, 200, "{answer}");
    let alerts = answer["alerts"].as_array().expect("alerts");
    alerts
        .iter()
        .map(|alert| alert["severity"].clone())
        .collect()
}

fn send_tick(client: &mut Client, number: usize) {
    let payload = json!({"symbol": "BTC-USD", "price": 100.0, "volume": 5.0, "at": number});
    post_signal(client, "market.tick", &payload);
}

#[test]
fn each_quota_refuses_its_agent_alone_and_quarantines_one_that_goes_on() {
    let place = TestDir::new("[watchdog]\nquota_refusals = 5\n");
    copy_agent(&guests_dir(), "kyle", &place.agents());
    let names = copy_hogs(&place.agents());
    let host = place.start();
    let mut client = Client::new(&host);
    let mut ticks = 0;
    let mut kept = Vec::new();
    for (number, (name, case)) in (1..).zip(names.iter().zip(&CASES)) {
        let quota = case.quota;
        let topic = format!("hog.{number}");
        let mut sent = Vec::new();
        // Two are allowed (of audit rows up to five), the others are refused, which are more than the five that quarantine.
        for turn in 0..15 {
            let payload = json!([case.what, turn, case.count, case.size]);
            sent.push(post_signal(&mut client, &topic, &payload));
            send_tick(&mut client, ticks);
            ticks += 1;
        }
        let quarantine = wait_for(&format!("the quarantine for {quota}"), || {
            let found = agent(&mut client, name)["quarantine"].take();
            (!found.is_null()).then_some(found)
        });
        assert_eq!(quarantine["cause"], json!("quota"), "{quota}: {quarantine}");
        wait_until("the alerts", || {
            let severities = list_severities(&mut client, name, quota);
            // How large audit rows are depends on what they tell: they may pass over the warning.
            let warned = severities.contains(&json!("warning")) || quota.starts_with("audit");
            warned && severities.contains(&json!("critical"))
        });
        let used = quota_of(&mut client, name, quota);
        assert!(used["refusals"].as_u64() >= Some(5), "{used}");
        assert_eq!(used["limit"], json!(case.limit), "{used}");
        // The size of audit rows is known when they are committed: the last allowed invocation may pass the quota.
        let most = if quota == "audit_bytes_per_minute" {
            1.4
        } else {
            1.0
        };
        let fraction = used["fraction"].as_f64();
        assert!(fraction <= Some(most), "{quota}: {used}");
        if case.kept {
            assert!(fraction >= Some(0.7), "{quota}: {used}");
            kept.push((name.clone(), quota, used["used"].clone()));
        }
        // The refused invocation is on record as what it is, with the remedy, and nothing of it was committed.
        let (turn, detail) = (0_u32..)
            .zip(&sent)
            .find_map(|(turn, sent)| {
                let trace = sent["trace_id"].as_str().expect("a trace");
                let (_, trace) = client.get(&format!("/v1/traces/{trace}"));
                let detail = trace["steps"][1]["detail"].clone();
                (detail["kind"] == json!("quota")).then_some((turn, detail))
            })
            .unwrap_or_else(|| panic!("nothing was refused by {quota}"));
        assert!(turn >= 2, "{quota}: {turn}");
        let reason = detail["reason"].as_str().unwrap_or_default();
        assert!(
            reason.contains(quota) && reason.contains("operator"),
            "{reason}"
        );
        let (_, page) = client.get(&format!("/v1/state/{name}?prefix=key-{turn}-"));
        assert_eq!(page["keys"].as_array().map_or(0, Vec::len), 0, "{page}");
    }
    // The others went on, no matter who was refused.
    wait_until("kyle's invocations", || {
        agent(&mut client, "kyle")["handled"] == json!(ticks)
    });
    assert_eq!(agent(&mut client, "kyle")["failed"], json!(0));
    let metrics = Client::of_telemetry(&host).get_text("/metrics");
    for (name, case) in names.iter().zip(&CASES) {
        let quota = case.quota;
        let refusals = metrics.lines().find(|line| {
            line.starts_with("ark_agent_quota_refusals_total{")
                && line.contains(&format!("agent=\"{name}\""))
                && line.contains(&format!("quota=\"{quota}\""))
        });
        let count: f64 = refusals
            .and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or_else(|| panic!("no refusals of {quota}"));
        assert!(count >= 5.0, "{quota}: {count}");
    }
    host.kill();
    let host = place.start();
    let mut client = Client::new(&host);
    for (name, quota, used) in kept {
        let shown = quota_of(&mut client, &name, quota);
        assert_eq!(shown["used"], used, "{quota} after a restart");
    }
}

#[test]
fn an_agent_that_a_quota_refuses_pauses_before_its_next_signal() {
    let place = TestDir::new("[quotas]\nkeys = 5\n");
    copy_agent(&hostile_guests_dir(), "quota-hog", &place.agents());
    let host = place.start();
    let mut client = Client::new(&host);
    for turn in 0..6 {
        post_signal(&mut client, "hog.go", &json!(["state", turn, 20, 1]));
    }
    let name = "agent-that-uses-up-the-quota-its-signal-names-00";
    wait_until("the refusals", || {
        agent(&mut client, name)["failed"] == json!(6)
    });
    assert_eq!(host.terminate(), Some(0));
    let database = rusqlite::Connection::open(place.data().join("ark.db")).expect("the database");
    let mut rows = database
        .prepare("SELECT at FROM audit_log WHERE kind = 'failure' ORDER BY seq")
        .expect("the failures");
    let times: Vec<i64> = rows
        .query_map([], |row| row.get(0))
        .and_then(Iterator::collect)
        .expect("times");
    assert_eq!(times.len(), 6);
    // A tenth of a second, less what rounding to milliseconds and a correction of the clock may take.
    assert!(
        times.windows(2).all(|pair| pair[1] - pair[0] >= 80),
        "{times:?}"
    );
}

#[test]
fn deleted_bytes_return_to_the_quota_and_an_operator_can_raise_it() {
    let place = TestDir::new("[quotas]\nkeys = 30\n");
    copy_agent(&hostile_guests_dir(), "quota-hog", &place.agents());
    let host = place.start();
    let mut client = Client::new(&host);
    let name = "agent-that-uses-up-the-quota-its-signal-names-00";
    let mut done = 0;
    let mut run = |client: &mut Client, payload: Value| {
        post_signal(client, "hog.go", &payload);
        done += 1;
        wait_for("the invocation", || {
            let shown = agent(client, name);
            let (handled, failed) = (shown["handled"].as_u64()?, shown["failed"].as_u64()?);
            (handled + failed == done).then_some(failed)
        })
    };
    assert_eq!(run(&mut client, json!(["state", 1, 20, 1000])), 0);
    let full = quota_of(&mut client, name, "stored_bytes")["used"].as_u64();
    assert_eq!(run(&mut client, json!(["state", 2, 20, 1000])), 1);
    assert_eq!(run(&mut client, json!(["delete", 1, 20, 0])), 1);
    assert_eq!(quota_of(&mut client, name, "keys")["used"], json!(0));
    // The values are given back; the history of them stays.
    let left = quota_of(&mut client, name, "stored_bytes")["used"].as_u64();
    assert!(
        left < full && left > Some(20 * 1000),
        "{left:?} of {full:?}"
    );
    assert_eq!(run(&mut client, json!(["state", 3, 20, 1])), 1);
    assert_eq!(run(&mut client, json!(["state", 4, 20, 1])), 2);
    place.configure("[quotas]\nkeys = 100\n");
    host.hang_up();
    wait_until("the raised quota", || {
        quota_of(&mut client, name, "keys")["limit"] == json!(100)
    });
    assert_eq!(run(&mut client, json!(["state", 5, 20, 1])), 2);
}

#[test]
fn a_token_past_its_quota_is_refused_and_others_and_orders_are_not() {
    let place = TestDir::new("[token_quotas]\nstored_bytes_per_minute = 100_000\n");
    let data = place.data();
    let admin = make_token(&data, "root", "admin", &[]);
    let submitter = ["--agent", "api", "--actions", "*"];
    let greedy = make_token(&data, "greedy", "submitter", &submitter);
    let modest = make_token(&data, "modest", "submitter", &submitter);
    let operator = make_token(&data, "ops", "operator", &[]);
    let host = place.start();
    let mut greedy = Client::with_token(&host, &greedy);
    let signal = json!({"topic": "market.tick", "payload": "x".repeat(30_000)});
    let refused = wait_for("the refusal", || {
        let (status, answer) = greedy.post("/v1/signals", &signal);
        (status != 202).then_some((status, answer))
    });
    assert_eq!(refused.0, 429, "{}", refused.1);
    assert_eq!(refused.1["type"], json!("urn:ark:problem:quota-exceeded"));
    let detail = refused.1["detail"].as_str().unwrap_or_default();
    assert!(
        detail.contains("stored_bytes_per_minute of token:greedy"),
        "{detail}"
    );
    // A larger request is refused as denied; one that reduces risk is judged.
    let mut large = trade("BTC-USD", 0.01);
    large["reasoning"] = json!("x".repeat(40_000));
    let (status, answer) = greedy.post("/v1/actions", &large);
    assert_eq!(
        (status, &answer["outcome"]),
        (429, &json!("denied")),
        "{answer}"
    );
    let close = json!({"agent": "api", "action_type": "close_position", "parameters": {"symbol": "BTC-USD"}, "reasoning": "x".repeat(40_000)});
    let (status, answer) = greedy.post("/v1/actions", &close);
    assert_eq!(status, 200, "{answer}");
    // The others are not concerned, and no order is refused.
    let mut modest = Client::with_token(&host, &modest);
    assert_eq!(modest.post("/v1/signals", &signal).0, 202);
    let mut operator = Client::with_token(&host, &operator);
    let value = json!({"value": "y".repeat(40_000)});
    assert_eq!(operator.send("PUT", "/v1/state/kyle/k", &value).0, 200);
    assert_eq!(operator.send("PUT", "/v1/state/kyle/l", &value).0, 429);
    let halt = json!({"reason": "a drill"});
    assert_eq!(operator.post("/v1/halt", &halt).0, 200);
    let mut admin = Client::with_token(&host, &admin);
    let (_, alerts) = admin.get("/v1/watchdog/alerts?kind=token_quota");
    assert!(!alerts["alerts"].as_array().expect("alerts").is_empty());
}

#[test]
fn an_agent_that_wakes_itself_never_has_more_waiting_than_the_backlog_allows() {
    const BACKLOG: u64 = 200;
    let place = TestDir::new(&format!(
        "[capacity]\nbacklog = {BACKLOG}\n[watchdog]\nquota_refusals = 5\n"
    ));
    copy_agent(&hostile_guests_dir(), "quota-hog", &place.agents());
    copy_agent(&guests_dir(), "kyle", &place.agents());
    let host = place.start();
    let mut client = Client::new(&host);
    let name = "agent-that-uses-up-the-quota-its-signal-names-00";
    post_signal(&mut client, "hog.go", &json!(["fan", 1, 60, 100]));
    let mut most = 0;
    let quarantine = wait_for("the quarantine", || {
        let (_, status) = client.get("/v1/watchdog");
        most = most.max(status["backlog"]["waiting"].as_u64().expect("a number"));
        let found = agent(&mut client, name)["quarantine"].take();
        (!found.is_null()).then_some(found)
    });
    assert_eq!(quarantine["cause"], json!("quota"), "{quarantine}");
    assert!(most <= BACKLOG, "{most} waited");
    assert_eq!(host.terminate(), Some(0));
    let database = rusqlite::Connection::open(place.data().join("ark.db")).expect("the database");
    let count = |sql: &str| -> u64 {
        database
            .query_row(sql, [], |row| row.get(0))
            .expect("a number")
    };
    let pending = count("SELECT count(*) FROM deliveries WHERE status = 'pending'");
    let outbox = count("SELECT count(*) FROM outbox");
    assert!(pending + outbox <= BACKLOG, "{pending} and {outbox} wait");
    // What was refused is on record, and so is every message that was not delivered.
    let refused = count(
        "SELECT count(*) FROM audit_log WHERE kind = 'failure' AND json_extract(body, '$.kind') = 'backlog'",
    );
    assert!(refused >= 5, "{refused}");
    let sent = count(&format!(
        "SELECT count(*) FROM audit_log WHERE kind = 'decision' AND agent = '{name}' AND outcome = 'approved'"
    ));
    let messages =
        count("SELECT count(*) FROM signals WHERE topic = 'hog.go' AND sender IS NOT NULL");
    assert_eq!(sent, messages + outbox);
}

#[test]
fn when_the_database_is_full_orders_and_what_reduces_risk_are_still_recorded() {
    let place = TestDir::new("[capacity]\nmax_database_bytes = 4_000_000\n");
    copy_agent(&guests_dir(), "kyle", &place.agents());
    let host: Host = place.start();
    let mut client = Client::new(&host);
    let (_, opened) = client.post("/v1/actions", &trade("BTC-USD", 0.01));
    let id = opened["decision_id"].as_str().expect("an id").to_owned();
    let fill = json!({"execution_id": "e1", "decision_id": id, "status": "filled", "price": 100.0});
    let (status, answer) = client.post("/v1/executions", &fill);
    assert_eq!(status, 200, "{answer}");
    let detail = wait_for("the full database", || {
        let mut request = trade("ETH-USD", 0.5);
        request["reasoning"] = json!("x".repeat(50_000));
        let (status, answer) = client.post("/v1/actions", &request);
        (status == 503).then(|| answer["detail"].as_str().unwrap_or_default().to_owned())
    });
    assert!(detail.contains("max_database_bytes"), "{detail}");
    let (status, ready) = client.get("/readyz");
    assert_eq!(status, 503, "{ready}");
    assert!(
        ready.to_string().contains("archive the audit log"),
        "{ready}"
    );
    let signal = json!({"topic": "market.tick", "payload": "x".repeat(10_000)});
    assert_eq!(client.post("/v1/signals", &signal).0, 503);
    // What comes to nothing does not use the reserve up.
    let close = |symbol: &str| json!({"agent": "api", "action_type": "close_position", "parameters": {"symbol": symbol}, "reasoning": "out"});
    let (status, answer) = client.post("/v1/actions", &close("DOGE-USD"));
    assert_eq!(
        (status, &answer["outcome"]),
        (503, &json!("denied")),
        "{answer}"
    );
    let (status, answer) = client.post("/v1/actions", &close("BTC-USD"));
    assert_eq!(
        (status, &answer["outcome"]),
        (200, &json!("approved")),
        "{answer}"
    );
    let order = json!({"reason": "a drill"});
    for path in ["/v1/agents/kyle/quarantine", "/v1/halt"] {
        let (status, answer) = client.post(path, &order);
        assert_eq!(status, 200, "{path}: {answer}");
    }
    // Durable, too.
    host.kill();
    let host = place.start_halted();
    let mut client = Client::new(&host);
    assert_eq!(
        client.get("/v1/watchdog").1["halt"]["reason"],
        json!("a drill")
    );
    assert_ne!(agent(&mut client, "kyle")["quarantine"], Value::Null);
}
