//! Many event streams: how many there may be, what one that is not read costs, and what they leave of the host's speed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ark_tests::telemetry::series_value;
use ark_tests::{
    Client, Host, PATIENCE, TestDir, header, make_token, take_turn, trade, wait_until,
};
use serde_json::{Value, json};

/// How many streams are not read.
const UNREAD: usize = 300;
/// The most that all of them may cost the host, in KiB. A page of 32 KiB waits for each and one is written, 19 MiB in all; the rest is what the
/// host keeps for all streams, however many they are: pages, the ring, the database's cache. Each cost 18 MiB when pages were bounded in rows only.
const UNREAD_KIB: u64 = 48 * 1024;

/// Opens a stream and returns its connection once the head of the answer has come.
fn open_stream(address: &str, query: &str, token: Option<&str>) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let token = token
        .map(|token| format!("Authorization: Bearer {token}\r\n"))
        .unwrap_or_default();
    let request = format!("GET /v1/events{query} HTTP/1.1\r\nHost: localhost\r\n{token}\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut start = [0; 12];
    stream
        .read_exact(&mut start)
        .expect("the start of an answer");
    assert_eq!(&start, b"HTTP/1.1 200");
    stream
}

fn read_series(host: &Host, series: &str) -> f64 {
    let metrics = Client::of_telemetry(host).get_text("/metrics");
    series_value(&metrics, series).unwrap_or_else(|| panic!("no {series} in {metrics}"))
}

#[test]
fn streams_are_limited_for_each_token_and_in_all() {
    let dir = TestDir::new("[capacity]\nevent_streams = 3\nevent_streams_per_token = 2\n");
    let _ = make_token(&dir.data(), "root", "admin", &[]);
    let one = make_token(&dir.data(), "one", "reader", &[]);
    let other = make_token(&dir.data(), "other", "reader", &[]);
    let host = dir.start();
    let refusal = |token: &str| -> (u16, Option<String>, Value) {
        let (status, headers, body) = Client::with_token(&host, token)
            .request("GET", "/v1/events", &[], b"")
            .expect("an answer");
        let wait = header(&headers, "retry-after").map(str::to_owned);
        (
            status,
            wait,
            serde_json::from_slice(&body).unwrap_or_default(),
        )
    };
    let first = open_stream(&host.address, "", Some(&one));
    let second = open_stream(&host.address, "", Some(&one));
    let (status, wait, problem) = refusal(&one);
    assert_eq!((status, wait.as_deref()), (429, Some("10")), "{problem}");
    assert!(
        problem["remedy"]
            .as_str()
            .is_some_and(|it| it.contains("event_streams_per_token")),
        "{problem}"
    );
    let third = open_stream(&host.address, "", Some(&other));
    let (status, wait, problem) = refusal(&other);
    assert_eq!((status, wait.as_deref()), (503, Some("10")), "{problem}");
    assert!(
        problem["remedy"]
            .as_str()
            .is_some_and(|it| it.contains("event_streams")),
        "{problem}"
    );
    wait_until("three live streams", || {
        read_series(&host, "ark_event_streams{state=\"live\"}") == 3.0
    });
    assert_eq!(
        read_series(&host, "ark_event_streams_refused_total{limit=\"token\"}"),
        1.0
    );
    assert_eq!(
        read_series(&host, "ark_event_streams_refused_total{limit=\"all\"}"),
        1.0
    );
    // A place is free again when its stream has ended, no matter who ended it.
    drop((first, third));
    wait_until("two streams have ended", || {
        read_series(&host, "ark_event_streams_ended_total{reason=\"closed\"}") == 2.0
    });
    let _again = open_stream(&host.address, "", Some(&one));
    let _more = open_stream(&host.address, "", Some(&other));
    drop(second);
}

#[test]
fn streams_that_are_not_read_cost_little_and_are_ended() {
    let dir = TestDir::new(&format!(
        "[capacity]\nevent_streams = {UNREAD}\nevent_streams_per_token = {UNREAD}\n"
    ));
    let host = dir.start();
    let mut client = Client::new(&host);
    // More than the system's buffers of a connection take: 16 MB of log.
    for _ in 0..4 {
        let mut action = trade("BTC-USD", 0.5);
        action["reasoning"] = json!("x".repeat(40_000));
        let batch = json!({"actions": vec![action; 4]});
        for _ in 0..25 {
            let (status, answer) = client.post("/v1/actions/batch", &batch);
            assert_eq!(status, 200, "{answer}");
        }
    }
    let before = host.memory_kib("VmRSS");
    let streams: Vec<TcpStream> = (0..UNREAD)
        .map(|_| open_stream(&host.address, "?since=0-0", None))
        .collect();
    let mut most = 0;
    wait_until("the unread streams are ended", || {
        most = host.memory_kib("VmRSS").max(most);
        read_series(&host, "ark_event_streams_ended_total{reason=\"unread\"}") == UNREAD as f64
    });
    let cost = most.saturating_sub(before);
    println!("{UNREAD} unread streams cost {cost} KiB");
    assert!(cost < UNREAD_KIB, "{cost} KiB for {UNREAD} unread streams");
    drop(streams);
    // The connection of before was idle for longer than the host keeps it.
    assert_eq!(Client::new(&host).get("/healthz").0, 200);
    let _place = open_stream(&host.address, "", None);
}

/// The duration that 99 of 100 decisions do not exceed, of `count` made one after the other on each of two connections.
fn decision_p99(host: &Host, count: usize) -> Duration {
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::new(host);
                    (0..count)
                        .map(|_| {
                            let began = Instant::now();
                            let (status, answer) =
                                client.post("/v1/actions", &trade("BTC-USD", 0.5));
                            assert_eq!(status, 200, "{answer}");
                            began.elapsed()
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().expect("times"))
            .collect()
    });
    times.sort();
    times[times.len() * 99 / 100]
}

/// Reads streams until it is told to stop; one that ends, or has caught up with `until` bytes, is opened again.
fn follow_events(address: &str, count: usize, query: &str, stop: &AtomicBool, read: &AtomicUsize) {
    let open = || {
        let stream = open_stream(address, query, None);
        stream.set_nonblocking(true).expect("a mode");
        stream
    };
    let mut streams: Vec<TcpStream> = (0..count).map(|_| open()).collect();
    let mut taken = vec![0_usize; count];
    let mut buffer = vec![0; 64 * 1024];
    while !stop.load(Ordering::Relaxed) {
        let mut idle = true;
        for (stream, taken) in streams.iter_mut().zip(&mut taken) {
            match stream.read(&mut buffer) {
                Ok(bytes)
                    if bytes > 0 && !(query.contains("since") && *taken > 8 * 1024 * 1024) =>
                {
                    *taken += bytes;
                    read.fetch_add(bytes, Ordering::Relaxed);
                    idle = false;
                }
                Ok(_) => {
                    *stream = open();
                    *taken = 0;
                }
                Err(_) => {}
            }
        }
        if idle {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// `ARK_EVENT_STREAMS=1000` is the measurement of the documentation: as many live streams, and a fifth of it that catch up.
#[test]
fn event_streams_do_not_slow_decisions() {
    let _turn = take_turn();
    let live: usize = std::env::var("ARK_EVENT_STREAMS")
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(100);
    let (rounds, count) = (3, 300);
    let dir = TestDir::new(&format!(
        "[capacity]\nevent_streams = {0}\nevent_streams_per_token = {0}\n",
        2 * live
    ));
    let host = dir.start();
    let mut client = Client::new(&host);
    // 12,000 rows to catch up with, at the full size.
    let batch = json!({"actions": vec![trade("BTC-USD", 0.5); 100]});
    for _ in 0..live.div_ceil(10) + 20 {
        assert_eq!(client.post("/v1/actions/batch", &batch).0, 200);
    }
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        without.push(decision_p99(&host, count));
        let (stop, read) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let (stop, read, address) = (&stop, &read, &host.address);
            scope.spawn(move || follow_events(address, live, "", stop, read));
            scope.spawn(move || follow_events(address, live / 5, "?since=0-0", stop, read));
            wait_until("all streams are open", || {
                let open = read_series(&host, "ark_event_streams{state=\"live\"}")
                    + read_series(&host, "ark_event_streams{state=\"catching_up\"}");
                open >= (live + live / 5) as f64
            });
            with.push(decision_p99(&host, count));
            stop.store(true, Ordering::Relaxed);
        });
        println!(
            "round {round}: decision p99 {:?} without streams, {:?} with {live} live and {} catching up; {} MiB read",
            without[round],
            with[round],
            live / 5,
            read.load(Ordering::Relaxed) >> 20
        );
        wait_until("the streams have ended", || {
            read_series(&host, "ark_event_streams{state=\"live\"}")
                + read_series(&host, "ark_event_streams{state=\"catching_up\"}")
                == 0.0
        });
    }
    without.sort();
    with.sort();
    let (without, with) = (without[rounds / 2], with[rounds / 2]);
    println!("median p99 {without:?} without, {with:?} with");
    // What is promised is twice as long; a busy machine moves the two apart by more, and what this guards against was a thousand times.
    assert!(
        with < without * 8 + Duration::from_millis(250),
        "{with:?} with streams, {without:?} without"
    );
}
