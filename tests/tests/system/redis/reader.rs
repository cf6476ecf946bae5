//! A reader that shares no code with the host: Python's `redis` and the `CloudEvents` SDK.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use ark_tests::redis::Redis;
use ark_tests::{Client, TestDir, trade};
use serde_json::{Value, json};

use super::{Records, events};

/// Events that the reader waits for.
const EVENTS: usize = 8;

#[test]
fn a_reader_of_another_make_understands_stream_and_channels() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = here.join("../target/venv-redis/bin/python");
    assert!(
        python.exists(),
        "the reader's Python is not installed; run the tests with `cargo xtask test`"
    );
    let redis = Redis::start();
    let dir = TestDir::new(&format!(
        "[redis]\nurl = \"redis://127.0.0.1:{}/0\"\n[redis.events]\nstream = \"ark:events\"\nsource = \"https://ark.example/hosts/1\"\n",
        redis.port
    ));
    let host = dir.start();
    let mut reader = Command::new(python)
        .arg(here.join("redis/reader.py"))
        .args([&redis.port.to_string(), "ark:events", &EVENTS.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let mut output = BufReader::new(reader.stdout.take().expect("its output"));
    let mut ready = String::new();
    output.read_line(&mut ready).expect("a line");
    assert_eq!(ready.trim(), "ready");
    let mut api = Client::new(&host);
    for number in 0..EVENTS {
        let size = if number % 2 == 0 { 0.001 } else { 0.9 };
        assert_eq!(api.post("/v1/actions", &trade("BTC-USD", size)).0, 200);
    }
    let mut text = String::new();
    output.read_to_string(&mut text).expect("a line");
    assert!(reader.wait().expect("its end").success());
    let read: Value = serde_json::from_str(&text).expect("JSON");
    let (entries, heard) = (&read["entries"], read["heard"].as_array().expect("a list"));
    let entries = entries.as_array().expect("a list");
    assert!(entries.len() >= EVENTS && heard.len() >= EVENTS);
    let records = Records::open(&dir);
    for entry in entries {
        let attributes = &entry["attributes"];
        assert_eq!(attributes["source"], "https://ark.example/hosts/1");
        let (seq, _) = events::parse_position(attributes["id"].as_str().expect("an id"));
        if attributes["type"]
            .as_str()
            .is_some_and(|it| it.starts_with("ark.decision."))
        {
            let id = records.query_texts(&format!("SELECT id FROM audit_log WHERE seq = {seq}"));
            assert_eq!(entry["data"]["decision_id"], json!(id[0]));
            let outcome = entry["data"]["outcome"].as_str().expect("an outcome");
            let expected = match outcome {
                "denied" => "ark.decision.violation",
                _ => "ark.decision.approved",
            };
            assert_eq!(attributes["type"], expected, "{entry}");
        }
    }
    let mut compared = 0;
    for message in heard {
        let same = entries
            .iter()
            .find(|entry| entry["attributes"]["id"] == message["attributes"]["id"]);
        if let Some(entry) = same {
            assert_eq!(entry["attributes"], message["attributes"]);
            assert_eq!(entry["data"], message["data"]);
            compared += 1;
        }
    }
    assert!(compared > 0, "nothing was heard that is in the stream");
    assert_eq!(host.terminate(), Some(0));
}
