//! Requests that many tests send.

use std::time::Instant;

use serde_json::{Value, json};

use crate::client::Client;
use crate::wait::{PATIENCE, PAUSE};

/// Returns the request form of a trade that every rule lets pass.
#[must_use]
pub fn trade(symbol: &str, size: f64) -> Value {
    json!({
        "agent": "api",
        "action_type": "trade",
        "parameters": {"symbol": symbol, "position_size_pct": size, "leverage": 1.0, "entry_price": 100.0,
            "stop_loss": 95.0, "risk_reward_ratio": 2.5},
        "reasoning": "a test",
    })
}

/// Sends a signal that the host must accept. Returns the body of the answer.
///
/// # Panics
/// The host refuses it.
pub fn post_signal(client: &mut Client, topic: &str, payload: &Value) -> Value {
    let signal = json!({"topic": topic, "payload": payload});
    let (status, answer) = client.post("/v1/signals", &signal);
    assert!(
        matches!(status, 200 | 202),
        "{topic} {payload}: {status} {answer}"
    );
    answer
}

/// Sends a tick of the market, which the host must queue. Returns the id of its trace.
///
/// # Panics
/// The host does not.
pub fn post_tick(client: &mut Client, price: f64) -> String {
    let payload = json!({"symbol": "BTC-USD", "price": price, "volume": 12, "at": 1_795_165_200});
    let (status, answer) = client.post(
        "/v1/signals",
        &json!({"topic": "market.tick", "payload": payload}),
    );
    assert_eq!(status, 202, "{answer}");
    answer["trace_id"].as_str().expect("a trace").to_owned()
}

/// Puts an agent into quarantine and restores it at once. Nothing is in quarantine then.
///
/// # Panics
/// The host refuses one of the two, or something is in quarantine.
pub fn quarantine_and_restore(client: &mut Client, agent: &str) {
    for order in ["quarantine", "restore"] {
        let path = format!("/v1/agents/{agent}/{order}");
        let (status, answer) = client.post(&path, &json!({"reason": "a test"}));
        assert_eq!(status, 200, "{answer}");
    }
    let (_, status) = client.get("/v1/watchdog");
    assert_eq!(status["quarantines"], json!([]), "{status}");
}

/// Waits until a trace holds what a test looks for, and returns it.
///
/// # Panics
/// It never does.
pub fn wait_for_trace(
    client: &mut Client,
    trace_id: &str,
    mut holds: impl FnMut(&Value) -> bool,
) -> Value {
    let path = format!("/v1/traces/{trace_id}");
    let started = Instant::now();
    loop {
        let (status, trace) = client.get(&path);
        if status == 200 && holds(&trace) {
            return trace;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "trace {trace_id} stays: {trace:#}"
        );
        std::thread::sleep(PAUSE);
    }
}
