//! Hostile agents beside kyle in the real host: each fault is on record as the failure it is, nothing else of its invocation is, and
//! kyle goes on.

use ark_tests::{
    Client, Host, PATIENT, TestDir, copy_agent, copy_numbered, guests_dir, hostile_guests_dir,
    post_signal, wait_for_trace,
};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

/// An agent whose manifest has a short deadline. Only this one, which sleeps, reaches its deadline: for the others it is far behind the
/// limit that they are made for, however busy the machine is.
const SLEEPER: &str = "sleeper";

/// Guest, payload of its signal, the kind of its failure.
const FAULTS: [(&str, &str, &str); 33] = [
    ("chaos", r#""loop""#, "fuel"),
    ("chaos", r#""memory""#, "memory_bytes"),
    ("chaos", r#""panic""#, "trap"),
    ("chaos", r#""stack""#, "stack"),
    (SLEEPER, r#""sleep""#, "deadline"),
    ("chaos", r#""exit""#, "trap"),
    ("chaos", r#""print-forever""#, "fuel"),
    ("chaos", r#""host-call-flood""#, "host_calls"),
    ("chaos", r#""huge-values""#, "host_call_bytes"),
    ("chaos", r#""write-flood""#, "writes"),
    ("chaos", r#""actions""#, "actions"),
    ("chaos", r#""many-actions""#, "memory_bytes"),
    ("chaos", r#""strings""#, "output_bytes"),
    ("chaos", r#""nan""#, "invalid_output"),
    ("chaos", r#""infinite""#, "invalid_output"),
    ("chaos", r#""negative""#, "invalid_output"),
    ("chaos", r#""twice""#, "invalid_output"),
    ("chaos", r#""forged-topic""#, "invalid_output"),
    ("chaos", r#""mislabelled""#, "invalid_output"),
    ("chaos", r#""nonsense""#, "rejected_signal"),
    ("chaos", "{}", "rejected_signal"),
    ("misfit", "10", "trap"),
    ("misfit", "11", "trap"),
    ("misfit", "12", "trap"),
    ("misfit", "13", "host_call_bytes"),
    ("misfit", "14", "trap"),
    ("misfit", "15", "trap"),
    ("misfit", "16", "trap"),
    ("misfit", "17", "memory_bytes"),
    ("misfit", "18", "table_elements"),
    ("misfit", "20", "trap"),
    ("forger", r#""nan""#, "invalid_output"),
    ("files", r#""hoard""#, "resources"),
];

/// Sends a signal and returns its trace, once every delivery is completed.
fn trace_signal(client: &mut Client, topic: &str, payload: &Value) -> Value {
    let answer = post_signal(client, topic, payload);
    let trace_id = answer["trace_id"].as_str().expect("a trace id");
    wait_for_trace(client, trace_id, |trace| trace["pending_deliveries"] == 0)
}

/// The steps of a trace of one kind.
fn find_steps<'a>(trace: &'a Value, kind: &str) -> Vec<&'a Value> {
    let steps = trace["steps"].as_array().expect("steps");
    steps.iter().filter(|step| step["step"] == kind).collect()
}

/// One value of the database of a host that has ended.
fn count_rows(database: &Connection, sql: &str) -> i64 {
    database.query_row(sql, [], |row| row.get(0)).expect(sql)
}

/// Starts a host with kyle, these hostile agents and the sleeper.
fn start_host(dir: &TestDir, names: &[&str]) -> Host {
    let agents = dir.agents();
    copy_agent(&guests_dir(), "kyle", &agents);
    for name in names {
        copy_agent(&hostile_guests_dir(), name, &agents);
    }
    let topic = format!("{SLEEPER}.go");
    let _ = copy_numbered(&hostile_guests_dir(), "mob", 1, &topic, &agents);
    let manifest = agents.join("mob-01.toml");
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    let text = format!("{text}\n[limits]\ndeadline_ms = 500\n");
    std::fs::write(&manifest, text).expect("a manifest");
    dir.start()
}

#[test]
fn each_fault_is_on_record_as_a_failure_and_kyle_goes_on() {
    let dir = TestDir::new(PATIENT);
    let host = start_host(
        &dir,
        &["chaos", "misfit", "forger", "endless-start", "files"],
    );
    let mut client = Client::new(&host);
    let (_, agents) = client.get("/v1/agents");
    let refused = agents["refused"].as_array().expect("refusals");
    assert!(
        refused.iter().any(|agent| agent["manifest"]
            .as_str()
            .is_some_and(|path| path.ends_with("endless-start.toml"))),
        "{refused:?}"
    );
    for (turn, (guest, payload, kind)) in FAULTS.iter().enumerate() {
        let payload: Value = serde_json::from_str(payload).expect("JSON");
        let told = trace_signal(&mut client, &format!("{guest}.go"), &payload);
        let delivery = &find_steps(&told, "signal")[0]["deliveries"][0];
        assert_eq!(delivery["status"], "failed", "{guest} {payload}: {told}");
        let failures = find_steps(&told, "failure");
        assert_eq!(failures.len(), 1, "{guest} {payload}: {told}");
        let failure = &failures[0]["detail"]["kind"];
        assert_eq!(failure, kind, "{guest} {payload}: {told}");
        assert!(
            find_steps(&told, "decision").is_empty(),
            "{guest} {payload}: {told}"
        );

        let tick = json!({"symbol": "BTC", "price": 100.0, "volume": 1.0, "at": 1_795_165_200 + 60 * turn});
        let told = trace_signal(&mut client, "market.tick", &tick);
        let delivery = &find_steps(&told, "signal")[0]["deliveries"][0];
        assert_eq!(
            (&delivery["agent"], &delivery["status"]),
            (&json!("kyle"), &json!("done")),
            "after {guest} {payload}: {told}"
        );
    }
    assert_eq!(client.get("/readyz").0, 200);
    let (_, agents) = client.get("/v1/agents");
    let kyle = agents["agents"]
        .as_array()
        .and_then(|agents| agents.iter().find(|agent| agent["name"] == "kyle"))
        .expect("kyle");
    assert_eq!(
        (&kyle["handled"], &kyle["failed"]),
        (&json!(FAULTS.len()), &json!(0))
    );
    assert_eq!(host.terminate(), Some(0));

    // Every one of them wrote to its state, or tried to, before it failed.
    let database = dir.data().join("ark.db");
    let database = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .expect("the database");
    let foreign = "SELECT count(*) FROM agents_state WHERE agent <> 'kyle'";
    assert_eq!(count_rows(&database, foreign), 0);
    let own = "SELECT count(*) FROM agents_state WHERE agent = 'kyle'";
    assert_eq!(
        count_rows(&database, own),
        1,
        "kyle's statistics of one symbol"
    );
}

#[test]
fn no_key_reaches_another_agents_state() {
    let dir = TestDir::new(PATIENT);
    let host = start_host(&dir, &["chaos"]);
    let mut client = Client::new(&host);
    for how in ["keys", "foreign-scope"] {
        let told = trace_signal(&mut client, "chaos.go", &json!(how));
        let delivery = &find_steps(&told, "signal")[0]["deliveries"][0];
        assert_eq!(delivery["status"], "done", "{told}");
    }
    assert_eq!(host.terminate(), Some(0));
    let database = dir.data().join("ark.db");
    let database = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .expect("the database");
    let foreign = "SELECT count(*) FROM agents_state WHERE agent <> 'chaos'";
    assert_eq!(count_rows(&database, foreign), 0);
    let own = "SELECT count(*) FROM agents_state WHERE agent = 'chaos' AND key IN ('../kyle/x', 'kyle/x', '/etc/passwd')";
    assert_eq!(
        count_rows(&database, own),
        3,
        "keys like any other, in its own scope"
    );
}
