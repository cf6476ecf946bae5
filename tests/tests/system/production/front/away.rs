//! What becomes of requests while the owner is away, and of those whose connection breaks.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use ark_tests::proxy::Proxy;
use ark_tests::telemetry::series_value;
use ark_tests::{
    Client, Host, JSON, TestDir, header, make_token, run_ark, trade, wait_for, wait_until,
};
use serde_json::{Value, json};

use super::{
    empty_config, free_port, front_before, read_metric, settled_verdicts, start_owner,
    start_scripted_owner, wait_ready,
};

/// What became of one request.
struct AnsweredProposal {
    symbol: String,
    status: u16,
    answer: Value,
    took: Duration,
}

/// Sends proposals at a rate for some time, each once. Returns what became of each.
fn send_proposals(front: &Host, rate: u32, time: Duration) -> Vec<AnsweredProposal> {
    let senders = 10_u32;
    let pause = Duration::from_secs(1) * senders / rate;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..senders)
            .map(|sender| {
                scope.spawn(move || {
                    let mut client = Client::new(front);
                    let began = Instant::now();
                    let mut outcomes = Vec::new();
                    for number in 0_u32.. {
                        let due = pause * number;
                        if due > time {
                            break;
                        }
                        std::thread::sleep(due.saturating_sub(began.elapsed()));
                        let symbol = format!("S{sender}-{number}");
                        let sent = Instant::now();
                        let answer = client.try_post("/v1/actions", &trade(&symbol, 0.000_1));
                        let (status, answer) =
                            answer.unwrap_or_else(|error| (0, json!(error.to_string())));
                        outcomes.push(AnsweredProposal {
                            symbol,
                            status,
                            answer,
                            took: sent.elapsed(),
                        });
                    }
                    outcomes
                })
            })
            .collect();
        let finished = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        finished.flatten().collect()
    })
}

/// Checks that each request was answered with a decision, and that the log holds each decision once.
fn assert_each_decided_once(owner: &Host, outcomes: &[AnsweredProposal]) {
    let mut answered = BTreeSet::new();
    for outcome in outcomes {
        let AnsweredProposal {
            symbol,
            status,
            answer,
            ..
        } = outcome;
        assert_eq!(*status, 200, "{symbol}: {answer}");
        assert_eq!(answer["outcome"], "approved", "{symbol}: {answer}");
        let id = answer["decision_id"].as_str().expect("an id").to_owned();
        assert!(answered.insert(id), "{symbol}: another request's decision");
    }
    let mut recorded = Vec::new();
    let mut path = "/v1/decisions?limit=500".to_owned();
    let mut client = Client::new(owner);
    loop {
        let (status, page) = client.get(&path);
        assert_eq!(status, 200, "{page}");
        let decisions = page["decisions"].as_array().expect("decisions");
        recorded.extend(
            decisions
                .iter()
                .map(|decision| decision["decision_id"].as_str().expect("an id").to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/v1/decisions?limit=500&cursor={cursor}");
    }
    assert_eq!(recorded.len(), outcomes.len(), "decisions in the log");
    let recorded: BTreeSet<String> = recorded.into_iter().collect();
    assert_eq!(recorded, answered);
}

fn load_time() -> Duration {
    let seconds = std::env::var("ARK_FRONT_SECONDS");
    let seconds = seconds.ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}

#[test]
fn an_owner_killed_under_load_costs_a_pause_and_no_request() {
    let dir = TestDir::new("");
    let listen = format!("127.0.0.1:{}", free_port());
    let owner = wait_for("the owner starts", || start_owner(&dir, &listen));
    let args = ["--hold-for", "300000", "--hold-limit", "5000"];
    let front = front_before(&owner, &empty_config(&dir), &args);
    let time = load_time();
    let (outcomes, owner) = std::thread::scope(|scope| {
        let front = &front;
        let driven = scope.spawn(move || send_proposals(front, 50, time));
        let mut owner = owner;
        for is_killed in [true, false] {
            std::thread::sleep(time / 3);
            if is_killed {
                owner.send_kill();
            } else {
                // As in a hand-over: it finishes what it has and ends.
                assert_eq!(owner.terminate(), Some(0));
            }
            // An owner that is back between two requests has not been missed.
            wait_until("requests are parked", || {
                read_metric(front, "ark_front_holding") > 0.0
            });
            owner = wait_for("the owner starts again", || start_owner(&dir, &listen));
        }
        (driven.join().expect("no panic"), owner)
    });
    let longest = outcomes.iter().map(|outcome| outcome.took).max();
    let metrics = Client::of_telemetry(&front).get_text("/metrics");
    let value = |series: &str| series_value(&metrics, series).unwrap_or_default();
    println!(
        "{} requests over {time:?}, the owner killed once and stopped once: none failed; the longest took {longest:?}; {} were held, {} were sent again",
        outcomes.len(),
        value("ark_front_held_total{end=\"sent\"}"),
        value("ark_front_repeats_total"),
    );
    assert!(
        value("ark_front_held_total{end=\"sent\"}") > 0.0,
        "{metrics}"
    );
    assert_each_decided_once(&owner, &outcomes);
    let verdicts = settled_verdicts(&front, outcomes.len() as u64);
    assert_eq!(verdicts["different"], 0, "{verdicts}");
    assert_eq!(verdicts["unjudged"], 0, "{verdicts}");
    drop(owner);
    let data = dir.data().display().to_string();
    wait_until("the chain is whole", || {
        run_ark(&["audit", "verify", "--data-dir", &data])
            .status
            .success()
    });
}

#[test]
fn connections_cut_in_the_middle_of_requests_repeat_nothing_and_lose_nothing() {
    let dir = TestDir::new("");
    let owner = dir.start();
    let port = owner.address.rsplit(':').next().expect("a port");
    let proxy = Proxy::start(port.parse().expect("a port"));
    let address = format!("http://127.0.0.1:{}", proxy.port);
    let front = Host::start_front(&address, &empty_config(&dir), &["--hold-for", "300000"]);
    wait_ready(&front);
    let outcomes = std::thread::scope(|scope| {
        let front = &front;
        let driven = scope.spawn(move || send_proposals(front, 100, Duration::from_secs(5)));
        while !driven.is_finished() {
            std::thread::sleep(Duration::from_millis(400));
            proxy.cut();
        }
        driven.join().expect("no panic")
    });
    assert_each_decided_once(&owner, &outcomes);
    let metrics = Client::of_telemetry(&front).get_text("/metrics");
    assert!(
        series_value(&metrics, "ark_front_repeats_total") > Some(0.0),
        "no request was cut: {metrics}"
    );
}

/// An owner that is ready and breaks every other connection once it has read a request. Returns its address and the heads.
fn start_breaking_owner() -> (String, Receiver<String>) {
    let (heads, received) = channel();
    let address = start_scripted_owner(move |head| {
        let _ = heads.send(head.to_owned());
        None
    });
    (address, received)
}

#[test]
fn broken_requests_are_repeated_under_one_key_or_not_at_all() {
    let dir = TestDir::new("");
    let (owner, heads) = start_breaking_owner();
    let front = Host::start_front(&owner, &empty_config(&dir), &[]);
    wait_ready(&front);
    let lines = |start: &str| -> Vec<String> {
        let heads = heads.try_iter();
        heads
            .map(|head| {
                let line = head
                    .lines()
                    .find(|line| line.to_lowercase().starts_with(start));
                line.unwrap_or_default().to_owned()
            })
            .collect()
    };
    let unknown = json!("urn:ark:problem:outcome-unknown");
    // A decision goes again three times, each time under the key that the front gave it.
    let (status, answer) = Client::new(&front).post("/v1/actions", &trade("BTC-USD", 0.01));
    assert_eq!((status, &answer["type"]), (502, &unknown), "{answer}");
    assert_eq!(answer["outcome"], Value::Null, "nobody knows");
    let keys = lines("idempotency-key: ark-front-");
    assert_eq!(keys.len(), 4, "{keys:?}");
    assert!(
        !keys[0].is_empty() && keys.iter().all(|key| *key == keys[0]),
        "{keys:?}"
    );
    // Under the caller's own key, where there is one.
    let key = [("Idempotency-Key", "order-17")];
    let answer = Client::new(&front).try_send("POST", "/v1/halt", &key, &json!({"reason": "x"}));
    assert_eq!(answer.expect("an answer").0, 502);
    assert_eq!(
        lines("idempotency-key: "),
        vec!["idempotency-key: order-17"; 4]
    );
    // What has no key, and what takes none, is sent once.
    for (method, path, headers) in [
        ("POST", "/v1/halt", &[][..]),
        ("PUT", "/v1/config/desk%2Flimit", &[]),
        ("POST", "/v1/tokens", &key),
    ] {
        let body = json!({"reason": "a test", "value": 1});
        let answer = Client::new(&front).try_send(method, path, headers, &body);
        let (status, answer) = answer.expect("an answer");
        assert_eq!(
            (status, &answer["type"]),
            (502, &unknown),
            "{path}: {answer}"
        );
        assert_eq!(lines("host").len(), 1, "{method} {path}");
    }
    // What only reads goes again.
    assert_eq!(Client::new(&front).get("/v1/account").0, 502);
    assert_eq!(lines("host").len(), 4);
}

/// Sends a proposal and returns the answer with its `Retry-After`.
fn propose_trade(address: &str, symbol: &str) -> (u16, Option<String>, Value) {
    let body = trade(symbol, 0.01).to_string();
    let (status, headers, body) = Client::at(address)
        .request("POST", "/v1/actions", &[JSON], body.as_bytes())
        .expect("an answer");
    let body = serde_json::from_slice(&body).expect("JSON");
    let retry_after = header(&headers, "retry-after").map(str::to_owned);
    (status, retry_after, body)
}

/// A request with a token, or without one.
fn ask_account(address: &str, token: Option<&str>) -> (u16, Value) {
    let client = Client::at(address);
    let mut client = match token {
        Some(token) => client.bearing(token),
        None => client,
    };
    client.get("/v1/account")
}

#[test]
fn callers_whom_the_owner_has_not_admitted_leave_places_for_the_others() {
    let dir = TestDir::new("[api.cors]\norigins = [\"https://desk.example\"]\n");
    let token = make_token(&dir.data(), "ada", "admin", &[]);
    // As the owner reads it, too.
    let blanks = format!("  {token}");
    let listen = format!("127.0.0.1:{}", free_port());
    let owner = wait_for("the owner starts", || start_owner(&dir, &listen));
    let args = ["--hold-for", "600000", "--hold-limit", "8"];
    let front = front_before(&owner, &empty_config(&dir), &args);
    let (address, ada, blanks) = (front.address.as_str(), token.as_str(), blanks.as_str());
    // What the owner answers tells the front whom it admits.
    assert_eq!(ask_account(address, Some(ada)).0, 200);
    assert_eq!(ask_account(address, None).0, 401);
    assert_eq!(Client::at(address).get("/openapi.json").0, 200);
    assert_eq!(ask_account(&owner.address, Some(blanks)).0, 200);
    // A page's question whether it may call is answered without a token.
    for more in [None, Some(("Authorization", "Bearer ark_somebody"))] {
        let mut headers = vec![
            ("Origin", "https://desk.example"),
            ("Access-Control-Request-Method", "POST"),
        ];
        headers.extend(more);
        let answer = Client::at(address).request("OPTIONS", "/v1/actions", &headers, b"");
        let (status, headers, _) = answer.expect("an answer");
        let allowed = header(&headers, "access-control-allow-origin");
        assert_eq!((status, allowed), (200, Some("https://desk.example")));
    }
    owner.send_kill();
    drop(owner);
    let away = json!("urn:ark:problem:owner-away");
    let wait_parked = |count: f64| {
        wait_until("the requests are parked", || {
            (read_metric(&front, "ark_front_holding") - count).abs() < 0.5
        });
    };
    let _owner = std::thread::scope(|scope| {
        let strangers = [None, Some("ark_nobody")]
            .map(|token| scope.spawn(move || ask_account(address, token).0));
        wait_parked(2.0);
        for token in [None, Some("ark_nobody"), Some("ark_somebody")] {
            let (status, answer) = ask_account(address, token);
            assert_eq!((status, &answer["type"]), (503, &away), "{answer}");
            assert!(has_words(&answer, "has not admitted"), "{answer}");
        }
        let callers: Vec<_> = (0..6)
            .map(|number| if number % 2 == 0 { ada } else { blanks })
            .map(|token| scope.spawn(move || ask_account(address, Some(token)).0))
            .collect();
        wait_parked(8.0);
        let (status, answer) = ask_account(address, Some(ada));
        assert_eq!((status, &answer["type"]), (503, &away), "{answer}");
        assert!(
            has_words(&answer, "8 requests are parked already"),
            "{answer}"
        );
        let owner = wait_for("the owner starts", || start_owner(&dir, &listen));
        for caller in callers {
            assert_eq!(caller.join().expect("no panic"), 200);
        }
        for stranger in strangers {
            assert_eq!(stranger.join().expect("no panic"), 401);
        }
        owner
    });
}

fn has_words(answer: &Value, words: &str) -> bool {
    answer["detail"]
        .as_str()
        .is_some_and(|detail| detail.contains(words))
}

#[test]
fn parked_requests_are_bounded_in_number_time_and_by_their_deadline() {
    let dir = TestDir::new("");
    let listen = format!("127.0.0.1:{}", free_port());
    let owner = format!("http://{listen}");
    let config = empty_config(&dir);
    let away = json!("urn:ark:problem:owner-away");
    let is_holding = |front: &Host| {
        let metrics = Client::of_telemetry(front).get_text("/metrics");
        series_value(&metrics, "ark_front_holding") == Some(1.0)
    };

    // In time: past it the request is refused, and so is the front by what asks whether it is ready.
    let hasty = Host::start_front(&owner, &config, &["--hold-for", "300"]);
    let (status, retry_after, answer) = propose_trade(&hasty.address, "X");
    assert_eq!((status, &answer["type"]), (503, &away), "{answer}");
    assert_eq!(retry_after.as_deref(), Some("5"));
    assert_eq!(answer["outcome"], "denied", "{answer}");
    assert!(has_words(&answer, "was parked for"), "{answer}");
    wait_until("the front is not ready", || {
        Client::new(&hasty).get("/readyz").0 == 503
    });

    let args = ["--hold-for", "600000", "--hold-limit", "1"];
    let front = Host::start_front(&owner, &config, &args);
    let (status, ready) = Client::new(&front).get("/readyz");
    assert_eq!((status, &ready["owner"]), (200, &json!("away")), "{ready}");
    // By its own deadline: the owner never sees the request, and its place is free again.
    let deadline = [("Ark-Deadline-Ms", "200")];
    for symbol in ["LATE-1", "LATE-2"] {
        let answer =
            Client::new(&front).try_send("POST", "/v1/actions", &deadline, &trade(symbol, 0.01));
        let (status, answer) = answer.expect("an answer");
        let exceeded = json!("urn:ark:problem:deadline-exceeded");
        assert_eq!((status, &answer["type"]), (504, &exceeded), "{answer}");
        wait_until("nothing is parked", || !is_holding(&front));
    }
    // In number: the first is parked until the owner is there, the second refused.
    let owner = std::thread::scope(|scope| {
        let address = &front.address;
        let held = scope.spawn(move || propose_trade(address, "HELD"));
        wait_until("the request is parked", || is_holding(&front));
        let (status, retry_after, answer) = propose_trade(&front.address, "REFUSED");
        assert_eq!((status, &answer["type"]), (503, &away), "{answer}");
        assert_eq!(retry_after.as_deref(), Some("1"));
        assert!(has_words(&answer, "parked already"), "{answer}");
        // A front that ends says so to those it parks.
        let ending = Host::start_front(&format!("http://{listen}"), &config, &[]);
        let address = ending.address.clone();
        let ended = scope.spawn(move || propose_trade(&address, "ENDED"));
        wait_until("the request is parked", || is_holding(&ending));
        assert_eq!(ending.terminate(), Some(0));
        let (status, _, answer) = ended.join().expect("no panic");
        assert_eq!((status, &answer["type"]), (503, &away), "{answer}");
        assert!(has_words(&answer, "being stopped"), "{answer}");

        let owner = wait_for("the owner starts", || start_owner(&dir, &listen));
        let (status, _, decision) = held.join().expect("no panic");
        assert_eq!(
            (status, &decision["outcome"]),
            (200, &json!("approved")),
            "{decision}"
        );
        owner
    });
    let in_time = [("Ark-Deadline-Ms", "600000")];
    let answer = Client::new(&front).try_send("POST", "/v1/actions", &in_time, &trade("Y", 0.01));
    let (status, decision) = answer.expect("an answer");
    assert_eq!(
        (status, &decision["outcome"]),
        (200, &json!("approved")),
        "{decision}"
    );
    let (_, page) = Client::new(&owner).get("/v1/decisions");
    let decided: Vec<&Value> = page["decisions"].as_array().into_iter().flatten().collect();
    assert_eq!(decided.len(), 2, "{page}");
}
