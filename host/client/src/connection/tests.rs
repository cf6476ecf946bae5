use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{AwaitedWork, Endpoint, HostClient, is_confidential};
use crate::error::ClientError;

/// What a server does once it has read a request.
#[derive(Clone, Copy)]
enum Reply {
    /// It answers, and keeps the connection.
    Answer,
    /// It begins its answer, and closes the connection.
    Part,
    /// It closes the connection, after this time.
    Close(Duration),
    /// It answers nothing until the client gives up.
    Silence,
}

/// A server that takes as many connections as are listed, and replies to the requests on each.
struct ScriptedServer {
    client: HostClient,
    /// The requests, and the listener once all connections are over.
    serving: JoinHandle<(Vec<String>, TcpListener)>,
}

impl ScriptedServer {
    fn start(connections: Vec<Vec<Reply>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = connect_to(&listener);
        let serving = std::thread::spawn(move || {
            let mut requests = Vec::new();
            for replies in connections {
                let mut stream = BufReader::new(listener.accept().unwrap().0);
                for reply in replies {
                    requests.push(read_request(&mut stream));
                    send_reply(stream.get_mut(), reply);
                }
            }
            (requests, listener)
        });
        Self { client, serving }
    }

    /// Returns the requests. There was no further connection.
    fn end(self) -> Vec<String> {
        let (requests, listener) = self.serving.join().unwrap();
        listener.set_nonblocking(true).unwrap();
        let further = listener.accept().unwrap_err();
        assert_eq!(further.kind(), ErrorKind::WouldBlock);
        requests
    }
}

fn connect_to(listener: &TcpListener) -> HostClient {
    let endpoint = Endpoint {
        url: format!("http://{}", listener.local_addr().unwrap()),
        token: None,
        ca: None,
    };
    HostClient::new(&endpoint).unwrap()
}

/// Reads a request to its end.
fn read_request(stream: &mut BufReader<TcpStream>) -> String {
    let (mut request, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "{request:?}");
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
        request.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    request + &String::from_utf8(body).unwrap()
}

fn send_reply(stream: &mut TcpStream, reply: Reply) {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    match reply {
        Reply::Answer => stream.write_all(answer).unwrap(),
        Reply::Part => stream.write_all(&answer[..20]).unwrap(),
        Reply::Close(after) => std::thread::sleep(after),
        Reply::Silence => {
            // It ends with the client, however it goes.
            let _ = stream.read(&mut [0]);
        }
    }
}

const CLOSE: Reply = Reply::Close(Duration::ZERO);

fn propose(client: &HostClient, headers: &[(&str, &str)]) -> Result<Value, ClientError> {
    let action = json!({"agent": "a"});
    let answer = client.send_json("POST", "/v1/actions", headers, &action)?;
    assert_eq!(answer.status, 200);
    Ok(answer.body)
}

/// A request that failed after it was sent, and was not late.
fn is_cut(failed: &Result<Value, ClientError>) -> bool {
    matches!(
        failed,
        Err(ClientError::NoAnswer {
            unsent: false,
            source: ureq::Error::Io(_),
            ..
        })
    )
}

#[test]
fn what_may_be_repeated_is_sent_again_when_a_kept_connection_ends() {
    let key = [("Idempotency-Key", "order-17")];
    // What reads.
    let server = ScriptedServer::start(vec![vec![Reply::Answer, CLOSE], vec![Reply::Answer]]);
    for _ in 0..2 {
        assert_eq!(server.client.get("/v1/account").unwrap().status, 200);
    }
    let requests = server.end();
    assert_eq!(requests.len(), 3, "{requests:?}");
    assert_eq!(requests[1], requests[2]);
    // A text and a stream.
    let server = ScriptedServer::start(vec![
        vec![Reply::Answer, CLOSE],
        vec![Reply::Answer, CLOSE],
        vec![Reply::Answer],
    ]);
    let whole = Duration::from_secs(60);
    for _ in 0..2 {
        let (status, text) = server.client.get_text("/metrics", whole).unwrap();
        assert_eq!((status, text.as_str()), (200, "{}"));
    }
    let mut text = String::new();
    let stream = server.client.open_stream("/v1/events", &[], whole);
    stream.unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "{}");
    assert_eq!(server.end().len(), 5);
    // What has a key: the same one again, with the same body.
    let server = ScriptedServer::start(vec![vec![Reply::Answer, CLOSE], vec![Reply::Answer]]);
    for _ in 0..2 {
        assert_eq!(propose(&server.client, &key).unwrap(), json!({}));
    }
    let requests = server.end();
    assert_eq!(requests.len(), 3, "{requests:?}");
    assert_eq!(requests[1], requests[2]);
    let sent = requests[2].to_lowercase();
    assert!(sent.contains("idempotency-key: order-17\r\n"), "{sent}");
    assert!(sent.ends_with("{\"agent\":\"a\"}"), "{sent}");
}

#[test]
fn nothing_else_is_sent_again() {
    let read = |server: &ScriptedServer| server.client.get("/x").map(|answer| answer.body);
    // A proposal without a key.
    let server = ScriptedServer::start(vec![vec![Reply::Answer, CLOSE]]);
    propose(&server.client, &[]).unwrap();
    let failed = propose(&server.client, &[]);
    assert!(is_cut(&failed), "{failed:?}");
    assert_eq!(server.end().len(), 2);
    // What ends on a new connection.
    let server = ScriptedServer::start(vec![vec![CLOSE]]);
    let failed = read(&server);
    assert!(is_cut(&failed), "{failed:?}");
    assert_eq!(server.end().len(), 1);
    // What ends on the new connection of a repetition.
    let server = ScriptedServer::start(vec![vec![Reply::Answer, CLOSE], vec![CLOSE]]);
    read(&server).unwrap();
    let failed = read(&server);
    assert!(is_cut(&failed), "{failed:?}");
    assert_eq!(server.end().len(), 3);
    // What was answered in part.
    let server = ScriptedServer::start(vec![vec![Reply::Answer, Reply::Part]]);
    read(&server).unwrap();
    let failed = read(&server);
    assert!(is_cut(&failed), "{failed:?}");
    assert_eq!(server.end().len(), 2);
}

#[test]
fn a_repetition_to_a_server_that_is_gone_leaves_the_outcome_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = connect_to(&listener);
    let serving = std::thread::spawn(move || {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        // The next connection is refused.
        drop(listener);
        for reply in [Reply::Answer, CLOSE] {
            read_request(&mut stream);
            send_reply(stream.get_mut(), reply);
        }
    });
    let key = [("Idempotency-Key", "order-17")];
    propose(&client, &key).unwrap();
    let failed = propose(&client, &key);
    assert!(is_cut(&failed), "{failed:?}");
    serving.join().unwrap();
}

#[test]
fn a_repetition_leaves_the_host_the_time_that_is_left() {
    let spent = Duration::from_millis(300);
    for (given, least) in [("60000", Some(1)), ("300", None)] {
        let mut connections = vec![vec![Reply::Answer, Reply::Close(spent)]];
        connections.extend(least.map(|_| vec![Reply::Answer]));
        let server = ScriptedServer::start(connections);
        let headers = [("Idempotency-Key", "order-17"), ("Ark-Deadline-Ms", given)];
        propose(&server.client, &headers).unwrap();
        let answered = propose(&server.client, &headers);
        assert_eq!(is_cut(&answered), least.is_none(), "{answered:?}");
        let read_deadline = |request: &String| -> u64 {
            let mut lines = request.lines().filter_map(|line| line.split_once(": "));
            let deadline = lines.find(|(name, _)| name.eq_ignore_ascii_case("Ark-Deadline-Ms"));
            deadline.unwrap().1.parse().unwrap()
        };
        let deadlines: Vec<u64> = server.end().iter().map(read_deadline).collect();
        let given: u64 = given.parse().unwrap();
        assert_eq!(deadlines[..2], [given, given]);
        let repeated = deadlines.get(2).copied();
        assert_eq!(repeated.is_some(), least.is_some(), "{deadlines:?}");
        assert!(repeated.is_none_or(|left| least <= Some(left) && left <= given - 300));
    }
}

#[test]
fn a_repetition_has_the_time_that_the_first_request_left() {
    let spent = Duration::from_secs(4);
    let whole = Duration::from_secs(5);
    let server = ScriptedServer::start(vec![
        vec![Reply::Answer, Reply::Close(spent)],
        vec![Reply::Silence],
    ]);
    server.client.get("/x").unwrap();
    let began = Instant::now();
    let late = server.client.get_within("/x", whole).unwrap_err();
    let took = began.elapsed();
    assert!(
        matches!(
            late,
            ClientError::NoAnswer {
                source: ureq::Error::Timeout(_),
                ..
            }
        ),
        "{late}"
    );
    // A repetition with a time of its own would take 9 s.
    assert!(took >= spent && took < spent + whole, "{took:?}");
    drop(server.client);
    assert_eq!(server.serving.join().unwrap().0.len(), 3);
}

#[test]
fn a_stream_may_last_for_long_and_its_beginning_may_not() {
    /// Longer than the test may take.
    const LONGEST: Duration = Duration::from_hours(1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = connect_to(&listener);
    // The connection is taken by the system, and nobody answers.
    let head = AwaitedWork::Probe(Duration::from_millis(200));
    let started = Instant::now();
    let refused = client
        .begin_stream("/v1/events", &[], LONGEST, head)
        .err()
        .expect("no answer");
    assert!(
        matches!(refused, ClientError::NoAnswer { unsent: false, .. })
            && started.elapsed() < LONGEST / 2,
        "{refused}"
    );
    // What comes after a beginning in time may come later than that.
    let head_time = Duration::from_secs(5);
    let server = std::thread::spawn(move || {
        // The first connection is that of above.
        drop(listener.accept().unwrap());
        let (mut stream, _) = listener.accept().unwrap();
        // What is not read would break the connection at its end.
        let request = BufReader::new(&stream).lines();
        let lines = request.take_while(|line| !line.as_ref().unwrap().is_empty());
        assert!(lines.count() > 0);
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        std::thread::sleep(head_time + Duration::from_secs(1));
        stream.write_all(b"data: late\n\n").unwrap();
    });
    let mut text = String::new();
    client
        .begin_stream("/v1/events", &[], LONGEST, AwaitedWork::Probe(head_time))
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "data: late\n\n");
    server.join().unwrap();
}

#[test]
fn an_address_of_a_prometheus_has_a_scheme_and_a_host() {
    for (url, is_taken) in [
        ("http://127.0.0.1:9090", true),
        ("https://prometheus.example/prefix/", true),
        ("127.0.0.1:9090", false),
        ("prometheus.example:9090", false),
        ("prometheus.example", false),
        ("file:///etc/passwd", false),
        ("http://", false),
        ("", false),
    ] {
        let made = HostClient::of_prometheus(url);
        assert_eq!(made.is_ok(), is_taken, "{url}");
        if let Err(error) = made {
            assert!(matches!(error, ClientError::PrometheusAddress { .. }));
            let told = error.to_string();
            assert!(
                told.contains("--prometheus") && told.contains("ARK_PROMETHEUS"),
                "{told}"
            );
        }
    }
}

#[test]
fn a_token_leaves_this_machine_only_under_tls() {
    for (url, confidential) in [
        ("https://ark.example:8000", true),
        ("http://127.0.0.1:8000", true),
        ("http://localhost:8000", true),
        ("http://LOCALHOST:8000", true),
        ("HTTPS://ark.example", true),
        ("http://[::1]:8000", true),
        ("http://ark.example:8000", false),
        ("http://192.0.2.7:8000", false),
        ("http://localhost.example:8000", false),
        ("http://127.0.0.1@ark.example", false),
        ("ark.example", false),
    ] {
        assert_eq!(is_confidential(url), confidential, "{url}");
    }
}
