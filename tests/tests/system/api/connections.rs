//! Connections that do not play by the rules: each is answered or closed, and others are served meanwhile.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use ark_tests::{
    Client, Host, PATIENCE, make_token, send_raw, take_turn, trade, wait_for, wait_until,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

/// The time that the host gives to the headers and the body of a request.
const REQUEST_TIME: Duration = Duration::from_secs(10);

fn connect_to(host: &Host) -> TcpStream {
    let stream = TcpStream::connect(&host.address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// What still comes on a connection, which the host must end.
fn read_rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        let open = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        assert!(!open, "the host keeps the connection");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn assert_serves(host: &Host) {
    let began = Instant::now();
    assert_eq!(Client::new(host).get("/healthz").0, 200);
    let (status, answer) = Client::new(host).post("/v1/actions?dry_run=true", &trade("X", 0.01));
    assert_eq!(status, 200, "{answer}");
    // Nobody waited until the host let a slow sender go.
    assert!(began.elapsed() < REQUEST_TIME, "{:?}", began.elapsed());
}

#[test]
fn slow_senders_are_disconnected() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let began = Instant::now();
    // Headers, byte by byte; a body, byte by byte; a body that never begins; an idle connection that was used once.
    let mut headers: Vec<TcpStream> = (0..64).map(|_| connect_to(&host)).collect();
    let mut bodies: Vec<TcpStream> = (0..64).map(|_| connect_to(&host)).collect();
    for stream in &mut headers {
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: ");
    }
    let head = b"POST /v1/actions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n";
    for stream in &mut bodies {
        let _ = stream.write_all(head);
    }
    let mut idle = connect_to(&host);
    let _ = idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    // Past the time for a request: a byte now and then does not prolong it.
    while began.elapsed() < REQUEST_TIME + Duration::from_secs(4) {
        for stream in headers.iter_mut().chain(&mut bodies) {
            let _ = stream.write_all(b"a");
        }
        assert_serves(&host);
        std::thread::sleep(Duration::from_millis(500));
    }
    for stream in &mut headers {
        let answer = read_rest(stream);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
            "{answer}"
        );
    }
    for stream in &mut bodies {
        let answer = read_rest(stream);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
            "{answer}"
        );
    }
    assert!(read_rest(&mut idle).starts_with("HTTP/1.1 200"));
    assert_serves(&host);
}

#[test]
fn half_closed_sockets_get_their_answer_and_aborted_ones_leave_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let body = trade("BTC-USD", 0.01).to_string();
    let request = format!(
        "POST /v1/actions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = send_raw(&host, request.as_bytes());
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    for cut in (1..request.len()).step_by(23) {
        let answer = send_raw(&host, &request.as_bytes()[..cut]);
        assert!(
            !answer.starts_with(b"HTTP/1.1 2"),
            "cut at {cut}: {}",
            String::from_utf8_lossy(&answer)
        );
    }
    for _ in 0..200 {
        let mut stream = connect_to(&host);
        let _ = stream.write_all(&request.as_bytes()[..request.len() / 2]);
        let _ = stream.shutdown(Shutdown::Both);
    }
    let (_, decisions) = Client::new(&host).get("/v1/decisions");
    assert_eq!(
        decisions["decisions"].as_array().map(Vec::len),
        Some(1),
        "the whole one only"
    );
    assert_serves(&host);
}

/// How many `HTTP/1.1` status lines an answer holds, and the first's status.
fn read_statuses(answer: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(answer)
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|rest| rest.chars().take(3).collect())
        .collect()
}

/// Messages that two readers could cut differently, with their names. `auth`: header lines of every request; `hidden`: a request that no reader
/// may find.
#[expect(clippy::too_many_lines, reason = "a table of messages")]
pub(crate) fn ambiguous_messages(auth: &str, hidden: &str) -> Vec<(&'static str, String)> {
    let first = "POST /v1/signals HTTP/1.1\r\n";
    vec![
        (
            "CL and TE",
            format!(
                "{first}{auth}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
            ),
        ),
        (
            "TE and CL",
            format!(
                "{first}{auth}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{hidden}"
            ),
        ),
        (
            "two lengths",
            format!("{first}{auth}Content-Length: 0\r\nContent-Length: 5\r\n\r\n{hidden}"),
        ),
        (
            "a list of lengths",
            format!("{first}{auth}Content-Length: 0, 5\r\n\r\n{hidden}"),
        ),
        (
            "a signed length",
            format!("{first}{auth}Content-Length: +0\r\n\r\n{hidden}"),
        ),
        (
            "a hexadecimal length",
            format!("{first}{auth}Content-Length: 0x0\r\n\r\n{hidden}"),
        ),
        (
            "a negative length",
            format!("{first}{auth}Content-Length: -1\r\n\r\n{hidden}"),
        ),
        (
            "a huge length",
            format!("{first}{auth}Content-Length: 99999999999999999999\r\n\r\n{hidden}"),
        ),
        (
            "a space before the colon",
            format!("{first}{auth}Content-Length : 0\r\n\r\n{hidden}"),
        ),
        (
            "a folded line",
            format!("{first}{auth}X-A: b\r\n Content-Length: 0\r\n\r\n{hidden}"),
        ),
        (
            "a folded coding",
            format!("{first}{auth}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "another coding",
            format!("{first}{auth}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "chunked not last",
            format!("{first}{auth}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "a coding in 1.0",
            format!(
                "POST /v1/signals HTTP/1.0\r\n{auth}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
            ),
        ),
        (
            "a chunk too large",
            format!("{first}{auth}Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n{hidden}"),
        ),
        (
            "a negative chunk",
            format!("{first}{auth}Transfer-Encoding: chunked\r\n\r\n-1\r\n{hidden}"),
        ),
        (
            "an endless extension",
            format!(
                "{first}{auth}Transfer-Encoding: chunked\r\n\r\n0;{}\r\n\r\n{hidden}",
                "a=b;".repeat(50_000)
            ),
        ),
        (
            "extensions on every chunk",
            format!(
                "{first}{auth}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n{hidden}",
                format!("1;{}\r\n \r\n", "x".repeat(1_000)).repeat(200)
            ),
        ),
        (
            "trailers without end",
            format!(
                "{first}{auth}Transfer-Encoding: chunked\r\n\r\n0\r\n{}\r\n{hidden}",
                "X-A: b\r\n".repeat(50_000)
            ),
        ),
        (
            "a bare line feed in a chunk",
            format!("{first}{auth}Transfer-Encoding: chunked\r\n\r\n0\n\n{hidden}"),
        ),
        (
            "a bare carriage return",
            format!("{first}{auth}X-A: b\rContent-Length: 5\r\n\r\n{hidden}"),
        ),
        (
            "a zero byte",
            format!("{first}{auth}X-A: b\0c\r\n\r\n{hidden}"),
        ),
        (
            "two hosts on one line",
            format!("POST /v1/signals HTTP/1.1 HTTP/1.1\r\n{auth}\r\n{hidden}"),
        ),
        (
            "too many headers",
            format!("{first}{auth}{}\r\n{hidden}", "X-A: b\r\n".repeat(200)),
        ),
        (
            "too large headers",
            format!("{first}{auth}X-A: {}\r\n\r\n{hidden}", "b".repeat(100_000)),
        ),
        (
            "too long a path",
            format!(
                "GET /v1/{} HTTP/1.1\r\n{auth}\r\n{hidden}",
                "a".repeat(100_000)
            ),
        ),
        (
            "another protocol",
            format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{hidden}"),
        ),
    ]
}

/// Sends each of [`ambiguous_messages`]: it must be refused, and nothing behind it answered.
pub(crate) fn assert_refuses_ambiguous_messages(host: &Host, auth: &str, hidden: &str) {
    for (name, bytes) in &ambiguous_messages(auth, hidden) {
        let answer = send_raw(host, bytes.as_bytes());
        let statuses = read_statuses(&answer);
        assert!(
            statuses.len() <= 1,
            "{name}: the hidden request was answered too: {statuses:?}"
        );
        let refused = statuses
            .first()
            .is_none_or(|status| status.starts_with('4'));
        assert!(refused, "{name}: {}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn messages_that_two_readers_could_cut_differently_end_their_connection() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let root = make_token(&data, "root", "admin", &[]);
    let host = Host::start(&data, &[]);
    let auth = format!(
        "Host: localhost\r\nAuthorization: Bearer {root}\r\nContent-Type: application/json\r\n"
    );
    let halt = json!({"reason": "smuggled"}).to_string();
    let hidden = format!(
        "POST /v1/halt HTTP/1.1\r\n{auth}Content-Length: {}\r\n\r\n{halt}",
        halt.len()
    );
    assert_refuses_ambiguous_messages(&host, &auth, &hidden);
    // Lines that end in a bare line feed mean the same to every reader, and are one request.
    let answer = send_raw(&host, b"GET /healthz HTTP/1.1\nHost: localhost\n\n");
    assert!(read_statuses(&answer).len() <= 1);
    // Pipelined: what is well-formed is answered in its order, what is not ends the connection.
    let good = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = send_raw(
        &host,
        format!("{good}{good}{good}\x00\x01garbage\r\n\r\n{hidden}").as_bytes(),
    );
    let got = read_statuses(&answer);
    assert_eq!(&got[..3], ["200", "200", "200"], "{got:?}");
    assert!(
        got.len() == 3 || (got.len() == 4 && got[3] == "400"),
        "{got:?}"
    );

    let bearer = format!("Bearer {root}");
    let (_, _, body) = Client::new(&host)
        .request("GET", "/v1/watchdog", &[("Authorization", &bearer)], b"")
        .expect("an answer");
    let status: serde_json::Value = serde_json::from_slice(&body).expect("the status");
    assert_eq!(
        status["halted"],
        json!(false),
        "a hidden request was carried out"
    );
    let (_, _, body) = Client::new(&host)
        .request(
            "POST",
            "/v1/halt",
            &[
                ("Authorization", &bearer),
                ("Content-Type", "application/json"),
            ],
            halt.as_bytes(),
        )
        .expect("an answer");
    assert!(
        String::from_utf8_lossy(&body).contains("\"changed\":true"),
        "in the open it is one"
    );
}

#[test]
fn ten_thousand_idle_connections_leave_room_for_others() {
    let _turn = take_turn();
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let wanted = 10_000;
    let raised = Rlimit {
        current: Some((wanted + 500).min(most)),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("the limit of open files");
    // The host inherits the limit, and raises its own as far as it may.
    let count = wanted.min(most.saturating_sub(600));
    assert!(count > 500, "a limit of {most} open files shows nothing");
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let limits =
        std::fs::read_to_string(format!("/proc/{}/limits", host.pid())).expect("its limits");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft: u64 = line
        .and_then(|line| line.split_whitespace().nth(3))
        .and_then(|number| number.parse().ok())
        .expect("a number");
    assert!(soft >= most.min(16_384 + 256), "raised to {soft} of {most}");
    let mut idle = Vec::new();
    for number in 0..count {
        let mut stream = TcpStream::connect(&host.address)
            .unwrap_or_else(|error| panic!("connection {number}: {error}"));
        // Half of them with the beginning of a request.
        if number % 2 == 0 {
            let _ = stream.write_all(b"GET /hea");
        }
        idle.push(stream);
        if number % 1_000 == 999 {
            assert_serves(&host);
        }
    }
    assert_serves(&host);
    drop(idle);
    wait_until("the host has closed them", || {
        std::fs::read_dir(format!("/proc/{}/fd", host.pid())).map_or(0, Iterator::count) < 300
    });
    assert_serves(&host);
}

#[test]
fn clients_that_do_not_read_are_disconnected() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let mut stream = connect_to(&host);
    stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("a timeout");
    let request = b"GET /v1/graveyard HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1_000);
    let began = Instant::now();
    // Until the host has stopped reading, and then until it has closed: writing to it fails otherwise than by taking too long.
    loop {
        match stream.write_all(&request) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
        assert!(
            began.elapsed() < PATIENCE,
            "the host waits for ever for a client that does not read"
        );
    }
    assert_serves(&host);
}

#[test]
fn an_upload_waits_for_a_place_and_is_refused_when_none_comes() {
    const PLACES: usize = 2;
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let head = b"PUT /v1/agents/kyle HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";
    let mut uploads: Vec<TcpStream> = (0..PLACES).map(|_| connect_to(&host)).collect();
    for stream in &mut uploads {
        stream.write_all(head).expect("a head");
    }
    let upload = json!({"manifest": {}, "component": ""});
    // The uploads above take their places at their own time.
    let refused = wait_for("all places taken", || {
        let (status, answer) = Client::new(&host).send("PUT", "/v1/agents/kyle", &upload);
        (status == 503).then_some(answer)
    });
    assert_eq!(refused["type"], "urn:ark:problem:busy", "{refused}");
    assert_serves(&host);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Client::new(&host).send("PUT", "/v1/agents/kyle", &upload).0);
        uploads.pop();
        assert_eq!(waiting.join().expect("an answer"), 400, "it got the place");
    });
}
