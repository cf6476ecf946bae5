//! Lists of decisions and of the session log derive from the audit log what is not written to their tables yet: they say the same before and after.

use ark_tests::{Client, TestDir, wait_for};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

/// Actions of every family, approved, denied and malformed, with an instrument and a size where no rule looks for one, and with what is redacted.
fn make_actions() -> Vec<(&'static str, Value)> {
    vec![
        (
            "trade",
            json!({"symbol": "BTC-USD", "side": "buy", "position_size_pct": 0.01, "leverage": 1.0, "stop_loss_pct": 0.02, "take_profit_pct": 0.06}),
        ),
        (
            "trade",
            json!({"symbol": "xbt/usd", "side": "sell", "position_size_pct": 0.5, "leverage": 9.0}),
        ),
        (
            "close_position",
            json!({"symbol": "BTC-USD", "side": "sell"}),
        ),
        (
            "message",
            json!({"text": "write to alice@example.com", "topic": "desk"}),
        ),
        (
            "file_operation",
            json!({"operation": "write", "path": "ark.db"}),
        ),
        (
            "file_operation",
            json!({"operation": "read", "path": "/srv/report"}),
        ),
        (
            "code_execution",
            json!({"language": "sh", "code": "rm -rf /"}),
        ),
        (
            "http_request",
            json!({"method": "GET", "url": "https://example.com/a"}),
        ),
        (
            "tune",
            json!({"symbol": "ETH-USD", "position_size_pct": 0.03}),
        ),
        (
            "system_change",
            json!({"target": "watchdog", "value": "off"}),
        ),
    ]
}

#[test]
fn lists_say_the_same_before_and_after_their_rows_are_written() {
    let place = TestDir::new("[action_types.tune]\nfamily = \"custom\"\nexternal = false\n");
    let host = place.start();
    let mut client = Client::new(&host);
    let mut answered = 0;
    for (action_type, parameters) in make_actions() {
        let action = json!({"agent": "api", "action_type": action_type, "parameters": parameters,
            "reasoning": "card 4111 1111 1111 1111"});
        answered += usize::from(client.post("/v1/actions", &action).0 == 200);
    }
    assert!(answered >= 7, "{answered} actions were judged");
    let read_lists = |client: &mut Client| {
        [
            "/v1/decisions",
            "/v1/decisions?symbol=BTCUSD",
            "/v1/decisions?outcome=denied&limit=2",
            "/v1/session-log",
            "/v1/session-log?result=denied",
        ]
        .map(|path| client.get(path))
    };
    let before = read_lists(&mut client);
    let listed = before[0].1["decisions"].as_array().map(Vec::len);
    assert_eq!(listed, Some(answered), "{:#}", before[0].1);
    let path = place.data().join("ark.db");
    let count_rows = || {
        let database =
            Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("it opens");
        let sql = "SELECT count(*) FROM decision_index";
        database
            .query_row(sql, [], |row| row.get::<_, usize>(0))
            .expect("a number")
    };
    // A host that has nothing to do writes them.
    wait_for("the rows are written", || {
        (count_rows() == answered).then_some(())
    });
    assert_eq!(read_lists(&mut client), before);
    // One that is killed leaves them to the next start.
    let last = json!({"agent": "api", "action_type": "trade", "reasoning": "a test",
        "parameters": {"symbol": "ETH-USD", "side": "buy", "position_size_pct": 0.01, "leverage": 1.0, "stop_loss_pct": 0.02, "take_profit_pct": 0.06}});
    assert_eq!(client.post("/v1/actions", &last).0, 200);
    let before = read_lists(&mut client);
    let host = place.restart_killed(&host);
    assert_eq!(count_rows(), answered + 1);
    assert_eq!(read_lists(&mut Client::new(&host))[0], before[0]);
}
