//! Which requests `HAProxy` repeats at another front, by the rules of `deploy/compose/haproxy.cfg`. Two servers of the test stand for the fronts: one
//! fails each request in the way that a case names, the other answers 200. Both keep what they are sent.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use ark_tests::artefacts::checkout_path;
use ark_tests::haproxy::{Haproxy, backend_rules};
use ark_tests::{Client, send_raw_to};

/// How a front fails a request.
#[derive(Debug, Clone, Copy)]
enum Failure {
    /// It answers with this status.
    Status(u16),
    /// It closes the connection without an answer, as one does that is killed.
    Close,
    /// It does not answer.
    Silence,
}

/// A request that a front was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Received {
    key: Option<String>,
    body: Vec<u8>,
}

/// A server that stands for a front.
struct StandIn {
    address: String,
    /// How it fails requests; `None`: it does not.
    failure: Arc<Mutex<Option<Failure>>>,
    received: Arc<Mutex<Vec<Received>>>,
}

impl StandIn {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (failure, received) = (Arc::default(), Arc::default());
        let front = Self {
            address,
            failure: Arc::clone(&failure),
            received: Arc::clone(&received),
        };
        // They end with the process of the test.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (failure, received) = (Arc::clone(&failure), Arc::clone(&received));
                std::thread::spawn(move || serve(stream, &failure, &received));
            }
        });
        front
    }

    fn take_received(&self) -> Vec<Received> {
        std::mem::take(&mut *self.received.lock().expect("no panic"))
    }
}

/// Answers the requests of a connection until it ends.
fn serve(stream: TcpStream, failure: &Mutex<Option<Failure>>, received: &Mutex<Vec<Received>>) {
    let mut stream = BufReader::new(stream);
    while let Some((head, body)) = read_request(&mut stream) {
        let is_check = head[0].starts_with("GET /readyz");
        let failure = failure.lock().expect("no panic").filter(|_| !is_check);
        if !is_check {
            let key = find_header(&head, "idempotency-key");
            let mut received = received.lock().expect("no panic");
            received.push(Received { key, body });
        }
        let status = match failure {
            None => 200,
            Some(Failure::Status(status)) => status,
            Some(Failure::Close) => return,
            Some(Failure::Silence) => continue,
        };
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        if stream.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read_line(stream: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    let count = stream.read_line(&mut line).ok()?;
    (count > 0).then(|| line.trim_end().to_owned())
}

fn find_header(head: &[String], name: &str) -> Option<String> {
    head.iter().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.eq_ignore_ascii_case(name)).then(|| value.trim().to_owned())
    })
}

/// Reads the lines of a request's head, and its body; `None`: the connection has ended.
fn read_request(stream: &mut impl BufRead) -> Option<(Vec<String>, Vec<u8>)> {
    let mut head = Vec::new();
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let mut body = Vec::new();
    if let Some(length) = find_header(&head, "content-length") {
        body.resize(length.parse().ok()?, 0);
        stream.read_exact(&mut body).ok()?;
    } else if find_header(&head, "transfer-encoding").is_some() {
        loop {
            let size = usize::from_str_radix(&read_line(stream)?, 16).ok()?;
            let mut chunk = vec![0; size];
            stream.read_exact(&mut chunk).ok()?;
            read_line(stream)?;
            if size == 0 {
                break;
            }
            body.extend(chunk);
        }
    }
    Some((head, body))
}

/// The key with which the fronts get a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    None,
    /// The caller's.
    Own,
    /// One of `HAProxy`'s.
    Given,
}

const OWN: (&str, &str) = ("Idempotency-Key", "mine");
const DEADLINE: (&str, &str) = ("Ark-Deadline-Ms", "60000");

struct Stage {
    failing: StandIn,
    good: StandIn,
    haproxy: Haproxy,
    given: BTreeSet<String>,
}

impl Stage {
    fn start() -> Self {
        let (failing, good) = (StandIn::start(), StandIn::start());
        let servers = [
            ("failing", failing.address.as_str(), 100),
            ("good", good.address.as_str(), 100),
        ];
        let haproxy = Haproxy::start(&servers, "inter 200ms fall 2 rise 1", "1s");
        Self {
            failing,
            good,
            haproxy,
            given: BTreeSet::new(),
        }
    }

    /// Sends a request until the failing front is the one that gets it first. Returns the status.
    fn send_to_failing(&self, send: &mut dyn FnMut(&str) -> u16) -> u16 {
        for _ in 0..4 {
            self.good.take_received();
            let status = send(&self.haproxy.address);
            if !self.failing.received.lock().expect("no panic").is_empty() {
                return status;
            }
        }
        panic!("the fronts take turns");
    }

    /// Checks what becomes of a request that a front fails so: `repeated`, it gets the good front's answer, and both got the same request.
    fn check(
        &mut self,
        case: &str,
        failure: Failure,
        send: &mut dyn FnMut(&str) -> u16,
        (key, repeated): (Key, bool),
    ) {
        *self.failing.failure.lock().expect("no panic") = Some(failure);
        let status = self.send_to_failing(send);
        let (failed, answered) = (self.failing.take_received(), self.good.take_received());
        assert_eq!(failed.len(), 1, "{case}: {failed:?}");
        if repeated {
            assert_eq!(status, 200, "{case}");
            assert_eq!(failed, answered, "{case}");
        } else {
            let Failure::Status(expected) = failure else {
                panic!("{case}: it has no status");
            };
            assert_eq!(status, expected, "{case}");
            assert_eq!(answered, [], "{case}");
        }
        match (key, &failed[0].key) {
            (Key::None, None) => {}
            (Key::Own, Some(found)) => assert_eq!(found, OWN.1, "{case}"),
            (Key::Given, Some(found)) => {
                assert!(found.starts_with("haproxy-"), "{case}: {found}");
                assert!(self.given.insert(found.clone()), "{case}: {found} twice");
            }
            (_, found) => panic!("{case}: {key:?}, and found {found:?}"),
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of requests")]
fn what_a_front_fails_another_one_answers_where_it_takes_effect_once() {
    let mut stage = Stage::start();
    let large = format!(r#"{{"rationale":"{}"}}"#, "x".repeat(20_000));
    let large_with_key = format!(
        r#"{{"rationale":"{}","idempotency_key":"k"}}"#,
        "x".repeat(20_000)
    );
    let (fails, status) = (Failure::Status(500), Failure::Status);
    let none: &[(&str, &str)] = &[];
    let (repeated, passed) = (true, false);
    for (failure, method, path, headers, body, key, is_repeated) in [
        // Each kind of failure.
        (
            fails,
            "POST",
            "/v1/actions",
            none,
            "{}",
            Key::Given,
            repeated,
        ),
        (
            status(502),
            "POST",
            "/v1/actions",
            none,
            "{}",
            Key::Given,
            repeated,
        ),
        (
            Failure::Close,
            "POST",
            "/v1/actions",
            none,
            "{}",
            Key::Given,
            repeated,
        ),
        (
            Failure::Silence,
            "POST",
            "/v1/actions",
            none,
            "{}",
            Key::Given,
            repeated,
        ),
        (
            status(503),
            "POST",
            "/v1/actions",
            none,
            "{}",
            Key::Given,
            passed,
        ),
        (
            status(504),
            "POST",
            "/v1/actions",
            none,
            "{}",
            Key::Given,
            passed,
        ),
        (
            status(409),
            "POST",
            "/v1/actions",
            none,
            "{}",
            Key::Given,
            passed,
        ),
        // Each call that takes a key and is made by programs.
        (
            fails,
            "POST",
            "/v1/actions/batch?rules=fired",
            none,
            "{}",
            Key::Given,
            repeated,
        ),
        (
            fails,
            "POST",
            "/v1/signals",
            none,
            "{}",
            Key::Given,
            repeated,
        ),
        (
            fails,
            "POST",
            "/v1/approvals/17/approve",
            none,
            "",
            Key::Given,
            repeated,
        ),
        (
            fails,
            "POST",
            "/v1/approvals/17/reject",
            none,
            "{}",
            Key::Given,
            repeated,
        ),
        (
            fails,
            "POST",
            "/v1/executions",
            none,
            "{}",
            Key::None,
            repeated,
        ),
        // Keys of the caller's, in the head and in the body.
        (
            fails,
            "POST",
            "/v1/actions",
            &[OWN],
            "{}",
            Key::Own,
            repeated,
        ),
        (
            fails,
            "POST",
            "/v1/actions",
            none,
            r#"{"idempotency_key":"k"}"#,
            Key::None,
            repeated,
        ),
        (
            fails,
            "POST",
            "/v1/actions",
            none,
            r#"{"a":"idempotency_key"}"#,
            Key::None,
            passed,
        ),
        // What does not fit into the buffer, and may name a key there.
        (
            fails,
            "POST",
            "/v1/actions",
            none,
            &large,
            Key::None,
            passed,
        ),
        (
            fails,
            "POST",
            "/v1/actions",
            none,
            &large_with_key,
            Key::None,
            passed,
        ),
        // A deadline would begin anew.
        (
            fails,
            "POST",
            "/v1/actions",
            &[DEADLINE],
            "{}",
            Key::Given,
            passed,
        ),
        (
            fails,
            "POST",
            "/v1/executions",
            &[DEADLINE],
            "{}",
            Key::None,
            passed,
        ),
        // What reads.
        (
            fails,
            "GET",
            "/v1/decisions?limit=5",
            none,
            "",
            Key::None,
            repeated,
        ),
        (
            fails,
            "GET",
            "/v1/decisions",
            &[DEADLINE],
            "",
            Key::None,
            repeated,
        ),
        (
            Failure::Close,
            "HEAD",
            "/v1/openapi.json",
            none,
            "",
            Key::None,
            repeated,
        ),
        // Calls that take no key, and those of operators.
        (fails, "POST", "/v1/tokens", &[OWN], "{}", Key::Own, passed),
        (
            fails,
            "POST",
            "/v1/events/tickets",
            &[OWN],
            "{}",
            Key::Own,
            passed,
        ),
        (fails, "POST", "/v1/halt", &[OWN], "{}", Key::Own, passed),
        (
            fails,
            "POST",
            "/v1/approvals/17",
            none,
            "{}",
            Key::None,
            passed,
        ),
        (
            fails,
            "PUT",
            "/v1/agents/kenny",
            none,
            "{}",
            Key::None,
            passed,
        ),
        (
            fails,
            "DELETE",
            "/v1/state/kenny/plan",
            none,
            "",
            Key::None,
            passed,
        ),
    ] {
        let case = format!("{failure:?}, {method} {path} {headers:?} {body:.40}");
        let mut send = |address: &str| {
            let answer = Client::at(address).request(method, path, headers, body.as_bytes());
            answer.expect("an answer").0
        };
        stage.check(&case, failure, &mut send, (key, is_repeated));
    }
    // A body whose length is not declared may have more to come.
    let mut send = |address: &str| {
        let request = b"POST /v1/actions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
            Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
        let answer = send_raw_to(address, request);
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("{text}"))
    };
    stage.check("chunked", fails, &mut send, (Key::None, passed));
}

#[test]
fn the_guide_has_the_rules_of_compose() {
    let guide = std::fs::read_to_string(checkout_path("docs/production.md")).expect("the guide");
    let rules = backend_rules();
    assert!(rules.contains("retry-on"), "{rules}");
    for rule in rules.lines() {
        assert!(guide.contains(&format!("\n{rule}\n")), "{rule}");
    }
}
