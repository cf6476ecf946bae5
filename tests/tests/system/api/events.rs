//! The event stream: everything once and in order, over any number of breaks.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ark_tests::{Client, Host, JSON, PATIENCE, TestDir, header, trade};
use serde_json::{Value, json};

pub(crate) struct ReceivedEvent {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) data: Value,
}

/// A client of the stream on a connection of its own.
pub(crate) struct Stream {
    reader: BufReader<TcpStream>,
    text: String,
}

impl Stream {
    pub(crate) fn open(host: &Host, query: &str, last: Option<&str>) -> Self {
        let stream = TcpStream::connect(&host.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let last = last
            .map(|id| format!("Last-Event-ID: {id}\r\n"))
            .unwrap_or_default();
        let request = format!(
            "GET /v1/events{query} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{last}\r\n"
        );
        (&stream).write_all(request.as_bytes()).expect("a request");
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while reader.read_line(&mut head).expect("a head") > 2 {}
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        Self {
            reader,
            text: String::new(),
        }
    }

    /// Returns the next event; `None` when the stream has ended.
    pub(crate) fn next(&mut self) -> Option<ReceivedEvent> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| {
                    let start = format!("{name}: ");
                    block
                        .lines()
                        .find_map(|line| line.strip_prefix(&start))
                        .map(str::to_owned)
                };
                if let (Some(id), Some(kind), Some(data)) =
                    (field("id"), field("event"), field("data"))
                {
                    let data = serde_json::from_str(&data).expect("JSON");
                    return Some(ReceivedEvent { id, kind, data });
                }
            }
            let mut size = String::new();
            if self.reader.read_line(&mut size).ok()? == 0 {
                return None;
            }
            let size = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
            let mut chunk = vec![0; size + 2];
            self.reader.read_exact(&mut chunk).ok()?;
            if size == 0 {
                return None;
            }
            self.text
                .push_str(std::str::from_utf8(&chunk[..size]).expect("UTF-8"));
        }
    }
}

#[test]
fn fifty_breaks_lose_and_double_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let stop = AtomicBool::new(false);
    let (mut ids, mut last, mut breaks) = (Vec::new(), "0-0".to_owned(), 0);
    let made = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..3)
            .map(|maker| {
                let (host, stop) = (&host, &stop);
                scope.spawn(move || {
                    let mut client = Client::new(host);
                    let mut ids = Vec::new();
                    for number in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let symbol = format!("S{maker}-{number}");
                        let (status, decision) = client.post("/v1/actions", &trade(&symbol, 0.5));
                        assert_eq!(status, 200);
                        ids.push(decision["decision_id"].as_str().expect("an id").to_owned());
                    }
                    ids
                })
            })
            .collect();
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        while breaks < 50 {
            let mut stream = Stream::open(&host, "?kinds=decision", Some(&last));
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            for _ in 0..=(random >> 33) % 200 {
                let event = stream.next().expect("an event");
                assert_eq!(event.kind, "decision");
                ids.push(
                    event.data["decision_id"]
                        .as_str()
                        .expect("an id")
                        .to_owned(),
                );
                last = event.id;
            }
            breaks += 1;
        }
        stop.store(true, Ordering::Relaxed);
        let made: Vec<String> = makers
            .into_iter()
            .flat_map(|maker| maker.join().expect("ids"))
            .collect();
        made
    });
    let mut stream = Stream::open(&host, "?kinds=decision", Some(&last));
    while ids.len() < made.len() {
        let event = stream.next().expect("an event");
        ids.push(
            event.data["decision_id"]
                .as_str()
                .expect("an id")
                .to_owned(),
        );
    }
    let unique: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "something came twice");
    assert_eq!(unique, made.iter().collect(), "something was left out");
    println!("{} events over {breaks} breaks", ids.len());
}

#[test]
fn every_kind_comes_and_the_stream_ends_with_the_host() {
    const DRAIN: Duration = Duration::from_mins(10);
    let dir = TestDir::new(&format!("[capacity]\ndrain_ms = {}\n", DRAIN.as_millis()));
    let host = dir.start();
    let mut client = Client::new(&host);
    // Without a place the stream begins with what comes, whether others have followed or not.
    client.post("/v1/actions", &trade("OLD", 0.01));
    let mut first = Stream::open(&host, "?kinds=decision", None);
    client.post("/v1/actions", &trade("NEW", 0.01));
    let event = first.next().expect("an event");
    assert_eq!(event.data["action"]["parameters"]["symbol"], "NEW");
    drop(first);
    client.post("/v1/actions", &trade("OLD", 0.02));
    let mut stream = Stream::open(&host, "", None);
    let (_, approved) = client.post("/v1/actions", &trade("BTC-USD", 0.01));
    let report =
        json!({"execution_id": "e1", "decision_id": approved["decision_id"], "status": "filled"});
    client.post("/v1/executions", &report);
    client.post("/v1/halt", &json!({"reason": "drill", "by": "ada"}));
    let mut kinds = Vec::new();
    while kinds.len() < 4 {
        let event = stream.next().expect("an event");
        if event.kind == "decision" {
            // Anyone who carries it out finds the action here.
            assert_eq!(
                event.data["action"]["parameters"]["symbol"], "BTC-USD",
                "{}",
                event.data
            );
        }
        kinds.push(event.kind);
    }
    kinds.sort();
    assert_eq!(kinds, ["alert", "control", "decision", "execution"]);
    let started = Instant::now();
    assert_eq!(host.terminate(), Some(0));
    assert!(stream.next().is_none());
    // Had the host waited for the stream, it would have done so for all of the time to drain.
    assert!(started.elapsed() < DRAIN / 4, "{:?}", started.elapsed());
}

#[test]
fn a_place_that_cannot_be_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let mut client = Client::new(&host);
    for (path, field) in [
        ("/v1/events?since=x", "since"),
        ("/v1/events?since=1", "since"),
        ("/v1/events?since=-1-0", "since"),
        ("/v1/events?since=999999-0", "since"),
        ("/v1/events?since=18446744073709551615-0", "since"),
        ("/v1/events?kinds=decision,nonsense", "kinds"),
        ("/v1/events?agent=%20", "agent"),
        ("/v1/events?color=red", "color"),
    ] {
        let (status, problem) = client.get(path);
        assert_eq!(
            (status, problem["field"].as_str()),
            (400, Some(field)),
            "{path}: {problem}"
        );
    }
}

#[test]
fn a_batch_is_judged_one_by_one_and_committed_together() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let mut client = Client::new(&host);
    // Slices of one position: each sees what those before it reserved.
    let slices: Vec<Value> = (0..4).map(|_| trade("BTC-USD", 0.04)).collect();
    let batch = json!({"actions": slices, "idempotency_key": "b1"});
    let (status, answer) = client.post("/v1/actions/batch", &batch);
    let outcomes = |answer: &Value| -> Vec<String> {
        let decisions = answer["decisions"].as_array().expect("decisions");
        decisions
            .iter()
            .map(|one| one["outcome"].as_str().unwrap_or("?").to_owned())
            .collect()
    };
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        outcomes(&answer),
        ["approved", "approved", "denied", "denied"]
    );
    let (_, again) = client.post("/v1/actions/batch", &batch);
    assert_eq!(
        again["decisions"][3]["decision_id"],
        answer["decisions"][3]["decision_id"]
    );
    let (_, list) = client.get("/v1/decisions");
    assert_eq!(list["decisions"].as_array().expect("decisions").len(), 4);
    let mut bad = trade("BTC-USD", 0.01);
    bad["parameters"]["position_size_pct"] = json!("large");
    let mut foreign = trade("BTC-USD", 0.01);
    foreign["agent"] = json!("nobody");
    let mut keyed = trade("BTC-USD", 0.01);
    keyed["idempotency_key"] = json!("x");
    let many: Vec<Value> = (0..101).map(|_| trade("X", 0.01)).collect();
    for (body, status, field) in [
        (json!({}), 400, "actions"),
        (json!({"actions": []}), 400, "actions"),
        (json!({"actions": {}}), 400, "actions"),
        (json!({"actions": many}), 400, "actions"),
        (
            json!({"actions": [trade("X", 0.01), bad]}),
            400,
            "actions[1].parameters.position_size_pct",
        ),
        (
            json!({"actions": [trade("X", 0.01), foreign]}),
            422,
            "actions[1].agent",
        ),
        (
            json!({"actions": [keyed]}),
            400,
            "actions[0].idempotency_key",
        ),
    ] {
        let (found, problem) = client.post("/v1/actions/batch", &body);
        assert_eq!(
            (found, problem["field"].as_str()),
            (status, Some(field)),
            "{problem}"
        );
    }
    let (_, list) = client.get("/v1/decisions");
    assert_eq!(
        list["decisions"].as_array().expect("decisions").len(),
        4,
        "a refused batch leaves nothing"
    );
}

#[test]
fn a_deadline_that_is_over_leaves_nothing_and_every_answer_has_a_trace() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let mut client = Client::new(&host);
    let body = trade("BTC-USD", 0.01).to_string();
    for (deadline, status) in [
        ("0", 400),
        ("-1", 400),
        ("x", 400),
        ("600001", 400),
        ("60000", 200),
    ] {
        let headers = [JSON, ("Ark-Deadline-Ms", deadline)];
        let (found, _, _) = client
            .request("POST", "/v1/actions", &headers, body.as_bytes())
            .expect("an answer");
        assert_eq!(found, status, "{deadline}");
    }
    let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for path in [
        "/healthz",
        "/v1/agents",
        "/nowhere",
        "/v1/decisions?limit=x",
    ] {
        let (_, headers, _) = client
            .request("GET", path, &[("traceparent", sent)], b"")
            .expect("an answer");
        let trace = header(&headers, "traceparent");
        assert!(
            trace.is_some_and(|trace| trace.contains("4bf92f3577b34da6a3ce929d0e0e4736")),
            "{path}: {trace:?}"
        );
    }
}
