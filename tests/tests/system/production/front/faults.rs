//! What goes wrong on either side of a front: an owner that freezes, refuses a repetition or breaks off; a client that leaves.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ark_tests::{Client, Host, JSON, PATIENCE, TestDir, trade, wait_for, wait_until};
use serde_json::{Value, json};

use super::{
    answer_of, counts, empty_config, front_before, read_metric, settled_verdicts,
    start_scripted_owner, wait_ready,
};

#[test]
fn requests_to_a_frozen_owner_are_repeated_when_it_goes_on() {
    let dir = TestDir::new("");
    let owner = dir.start();
    let front = front_before(&owner, &empty_config(&dir), &["--hold-for", "600000"]);
    let mut sent = 0;
    // A request that the front holds, since it has noticed already, was not in flight.
    let mut was_given_up = false;
    while !was_given_up {
        let symbol = format!("FROZEN-{sent}");
        owner.freeze();
        let (status, decision) = std::thread::scope(|scope| {
            let front = &front;
            let sending =
                scope.spawn(move || Client::new(front).post("/v1/actions", &trade(&symbol, 0.01)));
            was_given_up = wait_for("the front notices", || {
                if read_metric(front, "ark_front_repeats_total") > 0.0 {
                    return Some(true);
                }
                (read_metric(front, "ark_front_holding") > 0.0).then_some(false)
            });
            owner.thaw();
            sending.join().expect("no panic")
        });
        assert_eq!(status, 200, "{decision}");
        assert_eq!(decision["outcome"], "approved", "{decision}");
        sent += 1;
    }
    let (_, page) = Client::new(&owner).get("/v1/decisions?limit=500");
    let decided = page["decisions"].as_array().map(Vec::len);
    assert_eq!(decided, Some(sent), "each is decided once: {page}");
    let verdicts = settled_verdicts(&front, sent as u64);
    assert_eq!(counts(&verdicts), [sent as u64, 0, 0], "{verdicts:#}");
}

#[test]
fn a_client_that_leaves_its_body_does_not_make_the_owner_away() {
    let dir = TestDir::new("");
    let owner = dir.start();
    let front = front_before(&owner, &empty_config(&dir), &[]);
    for is_chunked in [false, true] {
        let mut client = TcpStream::connect(&front.address).expect("a connection");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let begun = "a".repeat(if is_chunked { 300_000 } else { 10 });
        let (framing, start) = if is_chunked {
            ("Transfer-Encoding: chunked", "493e0\r\n")
        } else {
            ("Content-Length: 300000", "")
        };
        let request = format!(
            "POST /v1/actions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{framing}\r\n\r\n{start}{begun}"
        );
        client.write_all(request.as_bytes()).expect("sent");
        client.shutdown(Shutdown::Write).expect("its end");
        let mut answer = String::new();
        let _ = client.read_to_string(&mut answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
    }
    // More than the largest upload is refused at once.
    let request = "PUT /v1/agents/x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 200000000\r\nExpect: 100-continue\r\n\r\n";
    let answer = ark_tests::send_raw(&front, request.as_bytes());
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let (status, decision) = Client::new(&front).post("/v1/actions", &trade("NEXT", 0.01));
    assert_eq!(status, 200, "{decision}");
    let log = front.terminate_for_log();
    assert!(!log.contains("the owner is not ready"), "{log}");
}

#[test]
fn a_refusal_of_a_repetition_is_no_answer_to_what_was_sent_before() {
    let dir = TestDir::new("");
    let decision = json!({"decision_id": "x", "outcome": "approved"}).to_string();
    let approved = answer_of("200 OK", "", &decision);
    let refused = |status: &str, lines: &str| {
        let body = json!({"type": "urn:ark:problem:refused", "outcome": "denied"}).to_string();
        answer_of(status, lines, &body)
    };
    let replayed = "Idempotent-Replayed: true\r\n";
    for (answers, expected) in [
        (vec![refused("401 Unauthorized", "")], 502),
        (vec![refused("409 Conflict", "")], 502),
        (vec![refused("409 Conflict", replayed)], 409),
        (vec![approved.clone()], 200),
        (
            vec![
                refused("429 Too Many Requests", "Retry-After: 0\r\n"),
                refused("503 Service Unavailable", "Retry-After: 1\r\n"),
                approved.clone(),
            ],
            200,
        ),
        // For as long as the request may be held.
        (
            vec![refused("503 Service Unavailable", "Retry-After: 1\r\n"); 100],
            502,
        ),
    ] {
        let mut script = std::iter::once(None).chain(answers.into_iter().map(Some));
        let owner = start_scripted_owner(move |_| script.next().flatten());
        let args = ["--hold-for", "3000"];
        let front = Host::start_front(&owner, &empty_config(&dir), &args);
        wait_ready(&front);
        let (status, answer) = Client::new(&front).post("/v1/actions", &trade("A", 0.01));
        assert_eq!(status, expected, "{answer}");
        if expected == 502 {
            assert_eq!(answer["type"], "urn:ark:problem:outcome-unknown");
            assert_eq!(answer["outcome"], Value::Null, "nobody knows");
        }
    }
}

#[test]
fn an_answer_that_breaks_off_breaks_off_for_the_caller() {
    let dir = TestDir::new("");
    let owner = start_scripted_owner(|head| {
        let framing = if head.starts_with("GET /v1/chunked ") {
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        } else {
            "Content-Length: 100\r\n\r\nhello"
        };
        Some(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{framing}"))
    });
    let front = Host::start_front(&owner, &empty_config(&dir), &[]);
    wait_ready(&front);
    for path in ["/v1/chunked", "/v1/sized"] {
        let answer = Client::new(&front).request("GET", path, &[], b"");
        assert!(answer.is_err(), "{path}: {answer:?}");
    }
}

#[test]
fn an_owner_that_does_not_say_whether_it_needs_tokens_is_away() {
    let dir = TestDir::new("");
    let (is_known, asked) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
    );
    let (knows, asks) = (Arc::clone(&is_known), Arc::clone(&asked));
    let owner = start_scripted_owner(move |head| {
        if !head.starts_with("GET /v1/graveyard ") {
            return Some(answer_of("200 OK", "", "{}"));
        }
        asks.fetch_add(1, Ordering::SeqCst);
        Some(if knows.load(Ordering::SeqCst) {
            answer_of("401 Unauthorized", "", "{}")
        } else {
            answer_of("503 Service Unavailable", "", "{}")
        })
    });
    let args = ["--behind-proxy", "--hold-for", "600000"];
    let front = Host::start_front(&owner, &empty_config(&dir), &args);
    let (status, answer) = std::thread::scope(|scope| {
        let front = &front;
        let held = scope.spawn(move || {
            Client::new(front)
                .request("GET", "/v1/account", &[JSON], b"")
                .map(|(status, _, body)| (status, body))
                .expect("an answer")
        });
        wait_until("the request is held", || {
            read_metric(front, "ark_front_holding") > 0.0
        });
        let before = asked.load(Ordering::SeqCst);
        wait_until("the owner is asked again", || {
            asked.load(Ordering::SeqCst) > before + 1
        });
        assert_eq!(Client::new(front).get("/readyz").1["owner"], "away");
        is_known.store(true, Ordering::SeqCst);
        held.join().expect("no panic")
    });
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
}
