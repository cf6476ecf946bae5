//! Fronts: what passes through one is what the owner answers; nothing is lost or done twice while the owner is away; what a front judges
//! otherwise is counted.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ark_tests::policies::{moody_component, moody_name, put, read_policy};
use ark_tests::proxy::Proxy;
use ark_tests::telemetry::series_value;
use ark_tests::{
    Client, Host, JSON, PATIENCE, TestDir, header, make_token, run_ark, send_raw, sha256, trade,
    wait_for, wait_until,
};
use serde_json::{Value, json};

use crate::api::connections::assert_refuses_ambiguous_messages;
use crate::api::events::Stream;
use crate::api::tls::{Authority, write_key};

/// An empty configuration for a front of its own.
fn empty_config(dir: &TestDir) -> PathBuf {
    write(dir, "front.toml", "")
}

fn write(dir: &TestDir, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

fn url(host: &Host) -> String {
    format!("http://{}", host.address)
}

fn wait_ready(front: &Host) {
    wait_until("the front is ready", || {
        Client::new(front).get("/readyz").1["owner"] == "ready"
    });
}

/// Starts a front before a host without tokens.
fn front_before(owner: &Host, config: &Path, args: &[&str]) -> Host {
    let front = Host::start_front(&url(owner), config, args);
    wait_ready(&front);
    front
}

/// What the front counted when nothing waits any more.
fn settled_verdicts(front: &Host, decisions: u64) -> Value {
    wait_for("every decision is judged again", || {
        let (_, shown) = Client::of_telemetry(front).get("/verdicts");
        let verdicts = &shown["verdicts"];
        let judged: u64 = ["same", "different", "unjudged"]
            .iter()
            .filter_map(|result| verdicts[*result].as_u64())
            .sum();
        (judged == decisions && verdicts["waiting"] == 0).then(|| verdicts.clone())
    })
}

fn counts(verdicts: &Value) -> [u64; 3] {
    ["same", "different", "unjudged"].map(|result| verdicts[result].as_u64().expect("a count"))
}

fn token_file(dir: &TestDir, name: &str, token: &str) -> String {
    let path = dir.path().join(name);
    write_key(&path, token);
    path.display().to_string()
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one host, one front, and each call in turn"
)]
fn a_front_answers_what_its_owner_answers_and_judges_it_alike() {
    let dir = TestDir::new("");
    let root = make_token(&dir.data(), "root", "admin", &[]);
    let reader = make_token(&dir.data(), "front", "reader", &[]);
    let owner = dir.start();
    let reader = token_file(&dir, "reader", &reader);
    let front = front_before(&owner, &empty_config(&dir), &["--token-file", &reader]);
    let mut through = Client::with_token(&front, &root);
    let mut direct = Client::with_token(&owner, &root);

    // A decision of each outcome, with the caller's own trace, and a batch.
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let headers = [("traceparent", parent.as_str())];
    let approved = through
        .try_send("POST", "/v1/actions", &headers, &trade("BTC-USD", 0.05))
        .expect("an answer");
    assert_eq!(approved.0, 200, "{}", approved.1);
    assert_eq!(approved.1["outcome"], "approved");
    assert_eq!(approved.1["trace_id"], trace);
    assert_eq!(approved.1["submitter"], "root");
    let (_, denied) = through.post("/v1/actions", &trade("ETH-USD", 0.9));
    assert_eq!(denied["outcome"], "denied");
    let (status, batch) = through.post(
        "/v1/actions/batch",
        &json!({"actions": [trade("SOL-USD", 0.01), trade("ADA-USD", 0.9)]}),
    );
    assert_eq!(status, 200, "{batch}");
    let outcomes: Vec<&Value> = batch["decisions"]
        .as_array()
        .expect("decisions")
        .iter()
        .map(|decision| &decision["outcome"])
        .collect();
    assert_eq!(outcomes, ["approved", "denied"]);
    let (_, previewed) = through.post("/v1/actions?dry_run=true", &trade("BTC-USD", 0.01));
    assert_eq!(previewed["dry_run"], true);
    // Of what a message holds, credentials are redacted before it is recorded, there and here.
    let secret = json!({"agent": "api", "action_type": "message",
        "parameters": {"topic": "desk.note", "text": "DB_PASSWORD=hunter22xx"}, "reasoning": "a test"});
    let (status, redacted) = through.post("/v1/actions", &secret);
    assert_eq!(status, 200, "{redacted}");

    // What is read is the same, whoever is asked.
    let id = approved.1["decision_id"].as_str().expect("an id");
    for path in [
        format!("/v1/decisions/{id}"),
        "/v1/decisions?limit=3".to_owned(),
        format!("/v1/traces/{trace}"),
        "/v1/account".to_owned(),
        "/v1/tokens".to_owned(),
        "/openapi.json".to_owned(),
        "/v1/decisions/0".to_owned(),
        "/v1/nothing".to_owned(),
        "/v1/state/a/b/c".to_owned(),
        "/v1/decisions?limit=x".to_owned(),
    ] {
        let (status, answer) = through.get(&path);
        let expected = direct.get(&path);
        assert_eq!((status, &answer), (expected.0, &expected.1), "{path}");
    }
    let head = format!(
        "HEAD /v1/account HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {root}\r\nConnection: close\r\n\r\n"
    );
    let length = |host: &Host| {
        let answer = String::from_utf8_lossy(&send_raw(host, head.as_bytes())).into_owned();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let length = answer
            .lines()
            .find(|line| line.starts_with("content-length"));
        length.map(str::to_owned)
    };
    assert!(length(&owner).is_some());
    assert_eq!(length(&front), length(&owner));

    // Refusals are the owner's: no token, the wrong role, the wrong method, a body too large, a header out of form.
    let (status, refused) = Client::new(&front).get("/v1/decisions");
    assert_eq!(
        (status, &refused["title"]),
        (401, &json!("A token is needed"))
    );
    let submitter = make_submitter(&mut direct);
    let mut submits = Client::with_token(&front, &submitter);
    assert_eq!(submits.get("/v1/tokens").0, 403);
    assert_eq!(through.send("PATCH", "/v1/account", &json!({})).0, 405);
    for size in [257 * 1024, 5 * 1024 * 1024] {
        let body = format!("{{\"agent\": \"{}\"}}", "a".repeat(size));
        let answer = Client::with_token(&front, &root)
            .request("POST", "/v1/actions", &[JSON], body.as_bytes())
            .expect("an answer");
        assert_eq!(answer.0, 413, "{size}");
    }
    let bad = [("traceparent", "garbage")];
    let (status, answer) = through
        .try_send("GET", "/v1/account", &bad, &Value::Null)
        .expect("an answer");
    assert_eq!((status, &answer["field"]), (400, &json!("traceparent")));

    // A caller's own key is the owner's to go by; one without gets the front's, which repeats nothing.
    let key = [("Idempotency-Key", "order-17")];
    let first = through
        .try_send("POST", "/v1/actions", &key, &trade("DOT-USD", 0.01))
        .expect("an answer");
    let again = direct
        .try_send("POST", "/v1/actions", &key, &trade("DOT-USD", 0.01))
        .expect("an answer");
    assert_eq!(first.1["decision_id"], again.1["decision_id"]);
    let (_, one) = through.post("/v1/actions", &trade("XRP-USD", 0.01));
    let (_, two) = through.post("/v1/actions", &trade("XRP-USD", 0.01));
    assert_ne!(one["decision_id"], two["decision_id"]);
    let mut within = trade("LTC-USD", 0.01);
    within["idempotency_key"] = json!("in-the-body");
    let first = through.post("/v1/actions", &within).1;
    let again = through.post("/v1/actions", &within).1;
    assert_eq!(first["decision_id"], again["decision_id"]);

    // Decisions through the front: 2 + 2 of the batch, 1 message, 1 keyed, 2, and one given twice; and one dry run.
    let verdicts = settled_verdicts(&front, 11);
    assert_eq!(counts(&verdicts), [10, 0, 1], "{verdicts}");
    assert_eq!(verdicts["unjudged_reasons"], json!({"dry_run": 1}));
    assert_eq!(verdicts["latest_different"], json!([]));
    let metrics = Client::of_telemetry(&front).get_text("/metrics");
    assert_eq!(
        series_value(&metrics, "ark_front_verdicts_total{result=\"same\"}"),
        Some(10.0),
        "{metrics}"
    );
    assert_eq!(series_value(&metrics, "ark_front_owner_ready"), Some(1.0));
    assert_eq!(owner.terminate(), Some(0));
}

fn make_submitter(admin: &mut Client) -> String {
    let token = json!({"name": "desk", "role": "submitter", "agents": ["api"]});
    let (status, made) = admin.post("/v1/tokens", &token);
    assert!(matches!(status, 200 | 201), "{made}");
    made["token"].as_str().expect("a secret").to_owned()
}

#[test]
fn event_streams_pass_a_front_and_resume_where_they_were() {
    let dir = TestDir::new("");
    let owner = dir.start();
    let front = front_before(&owner, &empty_config(&dir), &[]);
    let mut client = Client::new(&front);
    let mut stream = Stream::open(&front, "?kinds=decision", Some("0-0"));
    let propose = |client: &mut Client, symbol: &str| {
        let (_, decision) = client.post("/v1/actions", &trade(symbol, 0.01));
        decision["decision_id"].clone()
    };
    let first = propose(&mut client, "BTC-USD");
    let event = stream.next().expect("an event");
    assert_eq!(event.data["decision_id"], first);
    assert_eq!(event.kind, "decision");
    drop(stream);
    let second = propose(&mut client, "ETH-USD");
    let mut resumed = Stream::open(&front, "?kinds=decision", Some(&event.id));
    let event = resumed.next().expect("an event");
    assert_eq!(event.data["decision_id"], second);
    // The stream ends with the owner, and is there again with it.
    let owner = dir.restart_killed(&owner);
    assert!(resumed.next().is_none());
    drop(owner);
    assert_eq!(front.terminate(), Some(0), "no stream holds up its end");
}

/// A port that is free now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn start_owner(dir: &TestDir, listen: &str) -> Option<Host> {
    let config = dir.config().display().to_string();
    Host::try_start(&dir.data(), &["--config", &config, "--listen", listen]).ok()
}

/// What became of one request.
struct Outcome {
    symbol: String,
    status: u16,
    answer: Value,
    took: Duration,
}

/// Sends proposals at a rate for some time, each once. Returns what became of each.
fn drive(front: &Host, rate: u32, time: Duration) -> Vec<Outcome> {
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
                        outcomes.push(Outcome {
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
fn assert_each_decided_once(owner: &Host, outcomes: &[Outcome]) {
    let mut answered = BTreeSet::new();
    for outcome in outcomes {
        let Outcome {
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
        let driven = scope.spawn(move || drive(front, 50, time));
        let mut owner = owner;
        for _ in 0..2 {
            std::thread::sleep(time / 3);
            owner.send_kill();
            owner = wait_for("the owner starts again", || start_owner(&dir, &listen));
        }
        (driven.join().expect("no panic"), owner)
    });
    let longest = outcomes.iter().map(|outcome| outcome.took).max();
    let metrics = Client::of_telemetry(&front).get_text("/metrics");
    let value = |series: &str| series_value(&metrics, series).unwrap_or_default();
    println!(
        "{} requests over {time:?}, 2 kills of the owner: none failed; the longest took {longest:?}; {} were held, {} were sent again",
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
        let driven = scope.spawn(move || drive(front, 100, Duration::from_secs(5)));
        while !driven.is_finished() {
            std::thread::sleep(Duration::from_millis(400));
            proxy.cut();
        }
        driven.join().expect("no panic")
    });
    assert_each_decided_once(&owner, &outcomes);

    // What has no key and takes none is not sent a second time: its caller is told that nobody knows.
    proxy.refuse(true);
    let (status, answer) = Client::new(&front).send(
        "PUT",
        "/v1/config/desk%2Flimit",
        &json!({"value": 1, "reason": "a test"}),
    );
    assert!(
        (status, &answer["type"]) == (502, &json!("urn:ark:problem:outcome-unknown"))
            || (status, &answer["type"]) == (503, &json!("urn:ark:problem:owner-away")),
        "{status} {answer}"
    );
}

#[test]
fn what_is_held_is_bounded_in_number_and_time_and_by_its_own_deadline() {
    let dir = TestDir::new("");
    let listen = format!("127.0.0.1:{}", free_port());
    let config = empty_config(&dir);
    let args = ["--hold-for", "3000", "--hold-limit", "1"];
    let front = Host::start_front(&format!("http://{listen}"), &config, &args);
    let holding = |front: &Host| {
        let metrics = Client::of_telemetry(front).get_text("/metrics");
        series_value(&metrics, "ark_front_holding") == Some(1.0)
    };
    let (status, ready) = Client::new(&front).get("/readyz");
    assert_eq!((status, &ready["owner"]), (200, &json!("away")), "{ready}");
    std::thread::scope(|scope| {
        let front = &front;
        let held = scope.spawn(move || {
            let (status, headers, body) = Client::new(front)
                .request(
                    "POST",
                    "/v1/actions",
                    &[JSON],
                    trade("X", 0.01).to_string().as_bytes(),
                )
                .expect("an answer");
            let body: Value = serde_json::from_slice(&body).expect("a problem");
            (status, headers, body)
        });
        wait_until("the request is held", || holding(front));
        let (status, headers, body) = Client::new(front)
            .request("GET", "/v1/account", &[], b"")
            .expect("an answer");
        let body: Value = serde_json::from_slice(&body).expect("a problem");
        assert_eq!(
            (status, &body["type"]),
            (503, &json!("urn:ark:problem:owner-away"))
        );
        assert!(
            body["detail"]
                .as_str()
                .is_some_and(|it| it.contains("held already")),
            "{body}"
        );
        assert_eq!(header(&headers, "retry-after"), Some("1"));
        let (status, headers, body) = held.join().expect("no panic");
        assert_eq!(
            (status, &body["type"]),
            (503, &json!("urn:ark:problem:owner-away"))
        );
        assert_eq!(body["outcome"], "denied", "{body}");
        assert_eq!(header(&headers, "retry-after"), Some("5"));
        assert!(
            body["detail"]
                .as_str()
                .is_some_and(|it| it.contains("was held for")),
            "{body}"
        );
    });
    // The owner has been away for longer than anything is held.
    let (status, ready) = Client::new(&front).get("/readyz");
    assert_eq!(status, 503, "{ready}");
    // A caller who waits for less is answered then, and the owner never sees the request.
    let deadline = [("Ark-Deadline-Ms", "200")];
    let (status, answer) = Client::new(&front)
        .try_send("POST", "/v1/actions", &deadline, &trade("LATE", 0.01))
        .expect("an answer");
    assert_eq!(
        (status, &answer["type"]),
        (504, &json!("urn:ark:problem:deadline-exceeded"))
    );
    let owner = wait_for("the owner starts", || start_owner(&dir, &listen));
    wait_ready(&front);
    let (status, decision) = Client::new(&front)
        .try_send(
            "POST",
            "/v1/actions",
            &[("Ark-Deadline-Ms", "60000")],
            &trade("Y", 0.01),
        )
        .expect("an answer");
    assert_eq!(
        (status, &decision["outcome"]),
        (200, &json!("approved")),
        "{decision}"
    );
    let (_, page) = Client::new(&owner).get("/v1/decisions");
    assert_eq!(
        page["decisions"].as_array().map(Vec::len),
        Some(1),
        "{page}"
    );
}

/// A configuration that declares the moody policy with this number under settings.
fn moody_config(dir: &TestDir, name: &str, component: &[u8], settings: &str) -> PathBuf {
    let digest = sha256(component);
    let file = write(dir, &format!("{name}-{digest:.8}.wasm"), component);
    let text = format!(
        "[[policies]]\nfile = \"{}\"\nsha256 = \"{digest}\"\nsettings = {settings}\n",
        file.display()
    );
    write(dir, &format!("{name}.toml"), text)
}

#[test]
fn a_front_with_other_policies_counts_what_differs_and_one_with_the_same_nothing() {
    let dir = TestDir::new("");
    let one = moody_component(1, 1);
    let config = |name: &str, component: &[u8], settings: &str| {
        moody_config(&dir, name, component, settings)
    };
    let same = config("same", &one, "{ mood = \"deny\", symbol = \"XYZ\" }");
    // Another build that answers alike, other settings, and no policy at all.
    let rebuilt = config(
        "rebuilt",
        &moody_component(1, 2),
        "{ mood = \"deny\", symbol = \"XYZ\" }",
    );
    let stricter = config("stricter", &one, "{ mood = \"deny\" }");
    let without = empty_config(&dir);
    let path = |path: &Path| path.display().to_string();
    let owner = Host::start(&dir.data(), &["--config", &path(&same)]);
    // Uploaded to the owner alone: every front judges with it too.
    put(
        &mut Client::new(&owner),
        &moody_name(2),
        &moody_component(2, 1),
        &json!({"mode": "enforce", "reason": "a test", "settings": {"mood": "deny", "symbol": "UPL"}}),
    );
    for (front, expected) in [
        (front_before(&owner, &same, &[]), [3, 0, 0]),
        (front_before(&owner, &rebuilt, &[]), [3, 0, 0]),
        (front_before(&owner, &stricter, &[]), [1, 2, 0]),
        (front_before(&owner, &without, &[]), [0, 3, 0]),
    ] {
        let mut client = Client::new(&front);
        let outcomes: Vec<Value> = ["XYZ", "ABC", "UPL"]
            .iter()
            .map(|symbol| client.post("/v1/actions", &trade(symbol, 0.01)).1["outcome"].clone())
            .collect();
        assert_eq!(
            outcomes,
            ["denied", "approved", "denied"],
            "the owner decides"
        );
        let verdicts = settled_verdicts(&front, 3);
        assert_eq!(counts(&verdicts), expected, "{verdicts:#}");
        for differing in verdicts["latest_different"].as_array().expect("a list") {
            let policies = differing["verdicts"]["policies"]
                .as_array()
                .expect("policies");
            assert_eq!(policies.len(), 1, "{differing:#}");
            assert_eq!(policies[0]["policy"], json!(moody_name(1)));
        }
        if expected == [1, 2, 0] {
            let change = verdicts["latest_different"].as_array().and_then(|list| {
                list.iter()
                    .find(|it| it["verdicts"]["recorded"] == "approved")
            });
            let change = &change.expect("the one on ABC")["verdicts"];
            assert_eq!(change["now"], "denied");
            assert_eq!(change["policies"][0]["recorded"]["fired"], json!([]));
        }
    }
    // Read again on SIGHUP.
    let changing = write(
        &dir,
        "changing.toml",
        std::fs::read(&stricter).expect("a file"),
    );
    let front = front_before(&owner, &changing, &[]);
    std::fs::copy(&same, &changing).expect("a copy");
    front.hang_up();
    let mut sent = 0;
    wait_until("the front judges by the new settings", || {
        let before = settled_verdicts(&front, sent)["same"].clone();
        Client::new(&front).post("/v1/actions", &trade("ABC", 0.001));
        sent += 1;
        settled_verdicts(&front, sent)["same"] != before
    });
}

#[test]
fn a_front_that_reads_a_request_otherwise_counts_it() {
    let declared = |symbol: &str| {
        format!(
            "[action_types.place_order]\nfamily = \"trade\"\nfields = {{ quantity = \"position_size_pct\", {symbol} = \"symbol\" }}\n"
        )
    };
    let dir = TestDir::new(&declared("ticker"));
    let owner = dir.start();
    let same = write(&dir, "same.toml", declared("ticker"));
    let other = write(&dir, "other.toml", declared("instrument"));
    for (config, expected) in [(&same, [1, 0, 0]), (&other, [0, 1, 0])] {
        let front = front_before(&owner, config, &[]);
        let order = json!({"agent": "api", "action_type": "place_order", "reasoning": "a test",
            "parameters": {"ticker": "BTC-USD", "quantity": 0.01, "side": "buy", "entry_price": 100.0, "stop_loss": 95.0}});
        let (status, answer) = Client::new(&front).post("/v1/actions", &order);
        assert_eq!(status, 200, "{answer}");
        let verdicts = settled_verdicts(&front, 1);
        assert_eq!(counts(&verdicts), expected, "{verdicts:#}");
    }
}

#[test]
fn tokens_and_tls_hold_on_both_sides_of_a_front() {
    let dir = TestDir::new("");
    let (authority, stranger) = (Authority::new(), Authority::new());
    let trusted = authority.write(&dir.path().join("ca.pem"));
    let foreign = stranger.write(&dir.path().join("other.pem"));
    let (chain, secret) = authority.certify();
    let certificate = write(&dir, "cert.pem", chain);
    let key = dir.path().join("key.pem");
    write_key(&key, &secret);
    let tls = format!(
        "[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n",
        certificate.display(),
        key.display()
    );
    dir.configure(&tls);
    let token = make_token(&dir.data(), "root", "admin", &[]);
    let config = dir.config().display().to_string();
    let owner = Host::start_halted(&dir.data(), &["--config", &config]);
    let address = format!(
        "https://{}",
        owner.address.replace("127.0.0.1", "localhost")
    );
    let front_config = write(&dir, "front.toml", &tls);
    let path = |path: &Path| path.display().to_string();
    let reader = token_file(&dir, "reader", &token);
    let front = Host::start_front(
        &address,
        &front_config,
        &["--owner-ca", &path(&trusted), "--token-file", &reader],
    );
    // A client as any other: over TLS to the front, which goes on over TLS.
    let list = |front: &Host| {
        let url = format!("https://{}", front.address);
        let output = std::process::Command::new(ark_tests::ark_program())
            .args(["token", "list", "--url", &url, "--ca", &path(&trusted)])
            .env("ARK_TOKEN", &token)
            .output();
        output.expect("ark starts")
    };
    wait_until("the front passes on", || list(&front).status.success());
    // An owner whose certificate is not trusted is away, and says why.
    let lost = Host::start_front(
        &address,
        &write(&dir, "plain.toml", ""),
        &["--owner-ca", &path(&foreign), "--hold-for", "100"],
    );
    wait_until("the certificate is refused", || {
        let (_, ready) = Client::new(&lost).get("/readyz");
        ready["problems"][0]
            .as_str()
            .is_some_and(|problem| problem.contains("certificate"))
    });
    let (status, answer) = Client::with_token(&lost, &token).get("/v1/account");
    assert_eq!(status, 503, "{answer}");

    // Configurations that would give tokens away, or have no use, are refused with the remedy.
    let refused = |owner: &str, args: &[&str]| {
        let config = path(&dir.path().join("plain.toml"));
        Host::try_start_front(owner, Path::new(&config), args)
            .err()
            .expect("it is refused")
    };
    assert!(refused("http://ark.example.com:8000", &[]).contains("unencrypted"));
    let open = write(&dir, "open", &token);
    assert!(refused(&address, &["--token-file", &path(&open)]).contains("chmod 0600"));
    assert!(refused(&address, &["--owner-ca", &path(&key)]).contains("certificate"));
    let output = run_ark(&["front", "--config", &path(&dir.path().join("plain.toml"))]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("--owner"), "{errors}");
}

#[test]
fn other_machines_reach_no_owner_without_tokens_through_a_front() {
    let dir = TestDir::new("");
    let owner = dir.start();
    let config = empty_config(&dir);
    let exposed = Host::start_front(&url(&owner), &config, &["--behind-proxy"]);
    let (status, answer) = wait_for("the front knows the owner", || {
        let (_, ready) = Client::new(&exposed).get("/readyz");
        (ready["owner"] == "unguarded").then(|| Client::new(&exposed).get("/v1/account"))
    });
    assert_eq!(
        (status, &answer["type"]),
        (503, &json!("urn:ark:problem:owner-away")),
        "{answer}"
    );
    // A page in a browser of this machine gets no further through a front than without one.
    let local = front_before(&owner, &config, &[]);
    let (status, _) = Client::new(&local)
        .try_send(
            "GET",
            "/v1/account",
            &[("Host", "evil.example")],
            &Value::Null,
        )
        .expect("an answer");
    assert_eq!(status, 421);
    // A front before a front is a loop waiting to happen.
    let second = Host::start_front(&url(&local), &config, &[]);
    wait_ready(&second);
    let (status, answer) = Client::new(&second).get("/v1/account");
    assert_eq!(
        (status, &answer["type"]),
        (508, &json!("urn:ark:problem:loop")),
        "{answer}"
    );
}

#[test]
fn hostile_messages_do_not_pass_a_front() {
    let dir = TestDir::new("");
    let root = make_token(&dir.data(), "root", "admin", &[]);
    let owner = dir.start();
    let reader = token_file(&dir, "reader", &root);
    let front = front_before(&owner, &empty_config(&dir), &["--token-file", &reader]);
    let auth = format!(
        "Host: localhost\r\nAuthorization: Bearer {root}\r\nContent-Type: application/json\r\n"
    );
    let halt = json!({"reason": "smuggled"}).to_string();
    let hidden = format!(
        "POST /v1/halt HTTP/1.1\r\n{auth}Content-Length: {}\r\n\r\n{halt}",
        halt.len()
    );
    assert_refuses_ambiguous_messages(&front, &auth, &hidden);
    // A body that holds a request is a body, whatever its length and coding say of it.
    let mut stream = TcpStream::connect(&front.address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let chunked = format!(
        "POST /v1/signals HTTP/1.1\r\n{auth}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n",
        hidden.len()
    );
    stream.write_all(chunked.as_bytes()).expect("sent");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    // Slow and broken bodies end at the front.
    let mut cut = TcpStream::connect(&front.address).expect("a connection");
    let half = format!("POST /v1/halt HTTP/1.1\r\n{auth}Content-Length: 100\r\n\r\n{{");
    cut.write_all(half.as_bytes()).expect("sent");
    drop(cut);
    let (_, status) = Client::with_token(&owner, &root).get("/v1/watchdog");
    assert_eq!(status["halted"], false, "a hidden request was carried out");
    let (status, answer) =
        Client::with_token(&front, &root).post("/v1/halt", &json!({"reason": "in the open"}));
    assert_eq!(
        (status, &answer["changed"]),
        (200, &json!(true)),
        "{answer}"
    );
    // A halted owner is not ready, and still told to resume.
    wait_until("the front knows", || {
        Client::new(&front).get("/readyz").1["owner"] == "not_ready"
    });
    assert_eq!(Client::new(&front).get("/readyz").0, 503);
    let (status, answer) =
        Client::with_token(&front, &root).post("/v1/resume", &json!({"reason": "it is over"}));
    assert_eq!(status, 200, "{answer}");
}

#[test]
fn uploads_pass_a_front() {
    let dir = TestDir::new("");
    let owner = dir.start();
    let front = front_before(&owner, &empty_config(&dir), &[]);
    let component = read_policy("symbol-allowlist");
    let more = json!({"mode": "enforce", "reason": "a test", "settings": {"allowed": ["BTC-USD"]}});
    let answer = put(
        &mut Client::new(&front),
        "symbol-allowlist",
        &component,
        &more,
    );
    assert_eq!(answer["policy"], "symbol-allowlist");
    let (_, decision) = Client::new(&front).post("/v1/actions", &trade("ETH-USD", 0.01));
    assert_eq!(decision["outcome"], "denied");
    let verdicts = settled_verdicts(&front, 1);
    assert_eq!(counts(&verdicts), [1, 0, 0], "{verdicts:#}");
}
