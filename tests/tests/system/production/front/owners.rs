//! What answers at the owner's address and is no host: the front itself, another front, a host's telemetry port, a server that answers whatever it is
//! asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ark_tests::{Client, Host, TestDir, wait_for, wait_until};
use serde_json::{Value, json};

use super::{
    READY, answer_of, empty_config, free_port, front_before, read_metric, start_owner,
    start_scripted_server, url, wait_ready,
};

/// What a front says of a front that is to be its owner.
const FRONT: &str = "it is a front, not the host that owns the data; correct front.owner (--owner)";
/// How long these fronts park requests, in milliseconds: many times the pause between two questions to the owner.
const HOLD: [&str; 2] = ["--hold-for", "1000"];

/// Waits until the front says this of its owner, to which it sends nothing.
fn assert_no_owner(front: &Host, problem: &str) {
    wait_until("the front knows what its owner is", || {
        let (_, ready) = Client::new(front).get("/readyz");
        assert_ne!(ready["owner"], "ready", "{ready}");
        let problems = ready["problems"].as_array().map_or(&[][..], Vec::as_slice);
        let says = |found: &Value| found.as_str().is_some_and(|it| it.contains(problem));
        ready["owner"] == "away" && problems.iter().any(says)
    });
    let (status, answer) = Client::new(front).bearing("ark_secret").get("/v1/account");
    assert_eq!(
        (status, &answer["type"]),
        (503, &json!("urn:ark:problem:owner-away")),
        "{answer}"
    );
    for path in ["/readyz", "/readyz/relay"] {
        wait_until("the front is not ready", || {
            Client::new(front).get(path).0 == 503
        });
    }
    assert!(read_metric(front, "ark_front_owner_up") < 0.5);
    assert!(read_metric(front, "ark_front_owner_ready") < 0.5);
}

/// Ends a front, whose log names the problem of its owner once.
fn assert_said_once(front: Host, problem: &str) {
    let log = front.terminate_for_log();
    assert_eq!(log.matches("the owner is no host").count(), 1, "{log}");
    assert_eq!(log.matches(problem).count(), 1, "{log}");
}

#[test]
fn a_front_is_no_owner() {
    let dir = TestDir::new("");
    let host = dir.start();
    let config = empty_config(&dir);
    // Itself.
    let listen = format!("127.0.0.1:{}", free_port());
    let args = [&HOLD[..], &["--listen", &listen]].concat();
    let own = Host::start_front(&format!("http://{listen}"), &config, &args);
    assert_no_owner(&own, FRONT);
    assert_said_once(own, FRONT);
    // Another one: before a host that is ready, and before nothing.
    let ready = front_before(&host, &config, &[]);
    let waiting = Host::start_front(&format!("http://127.0.0.1:{}", free_port()), &config, &HOLD);
    for owner in [&ready, &waiting] {
        let front = Host::start_front(&url(owner), &config, &HOLD);
        assert_no_owner(&front, FRONT);
        assert_said_once(front, FRONT);
    }
}

#[test]
fn a_front_takes_a_host_for_its_owner_that_comes_in_the_place_of_another_server() {
    let dir = TestDir::new("");
    let config = empty_config(&dir);
    let listen = format!("127.0.0.1:{}", free_port());
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let args = [&HOLD[..], &["--listen", &listen]].concat();
    let other = Host::start_front(&nobody, &config, &args);
    let front = Host::start_front(&url(&other), &config, &HOLD);
    assert_no_owner(&front, FRONT);
    assert_eq!(other.terminate(), Some(0));
    let _owner = wait_for("the host starts", || start_owner(&dir, &listen));
    wait_ready(&front);
    assert_eq!(Client::new(&front).get("/v1/account").0, 200);
}

#[test]
fn a_server_that_answers_everything_is_no_owner() {
    let dir = TestDir::new("");
    let config = empty_config(&dir);
    let large = format!(
        "{{\"ready\": true, \"graveyard_vectors\": 1, \"x\": \"{}\"}}",
        "a".repeat(2 * 1024 * 1024)
    );
    for (status, body) in [
        ("200 OK", "<h1>It works!</h1>"),
        ("200 OK", "{}"),
        ("200 OK", "{\"ready\": \"true\"}"),
        // Another server that says whether it is ready.
        ("200 OK", "{\"ready\": true}"),
        ("200 OK", "{\"ready\": true, \"problems\": []}"),
        ("200 OK", "[true, [], null]"),
        ("200 OK", large.as_str()),
        ("404 Not Found", "no such page"),
        ("503 Service Unavailable", "<h1>no server is available</h1>"),
    ] {
        let asked: [Arc<AtomicU32>; 2] = Default::default();
        let [asks, others] = asked.clone();
        let body = body.to_owned();
        let owner = start_scripted_server(move |head| {
            let is_readiness = head.starts_with("GET /readyz ");
            let count = if is_readiness { &asks } else { &others };
            count.fetch_add(1, Ordering::SeqCst);
            Some(answer_of(status, "", &body))
        });
        let front = Host::start_front(&owner, &config, &HOLD);
        let problem = format!("it answers {status} to /readyz, but not as a host does");
        assert_no_owner(&front, &problem);
        wait_until("it is asked again", || asked[0].load(Ordering::SeqCst) > 2);
        let others = asked[1].load(Ordering::SeqCst);
        assert_eq!(others, 0, "it was sent a request");
        assert_said_once(front, &problem);
    }
}

/// These fronts park requests for longer than a test may take.
const LONG_HOLD: [&str; 2] = ["--hold-for", "600000"];

#[test]
fn the_telemetry_port_of_a_host_is_no_owner() {
    let dir = TestDir::new("");
    let host = dir.start();
    let telemetry = host.telemetry.as_deref().expect("a telemetry port");
    let telemetry = format!("http://{telemetry}");
    let front = Host::start_front(&telemetry, &empty_config(&dir), &LONG_HOLD);
    let problem = "it is the telemetry port of a host, not its API; correct front.owner (--owner)";
    assert_no_owner(&front, problem);
    assert_said_once(front, problem);
}

#[test]
fn a_front_that_never_had_a_host_is_not_ready_at_once_and_parks_nothing() {
    let dir = TestDir::new("");
    let owner = start_scripted_server(|_| Some(answer_of("200 OK", "", "<h1>It works!</h1>")));
    let front = Host::start_front(&owner, &empty_config(&dir), &LONG_HOLD);
    let problem = "it answers 200 OK to /readyz, but not as a host does";
    assert_no_owner(&front, problem);
    let (_, ready) = Client::new(&front).get("/readyz");
    let detail = "what answers at the owner's address is no host; nothing is passed on or parked";
    assert_eq!(ready["detail"], detail, "{ready}");
    let (_, refused) = Client::new(&front).get("/v1/account");
    let told = refused["detail"].as_str().expect("text");
    assert!(told.contains(problem), "{refused}");
    assert!(read_metric(&front, "ark_front_holding") < 0.5);
}

#[test]
fn an_owner_that_is_away_behind_another_server_keeps_its_front_ready() {
    let dir = TestDir::new("");
    let page = "<h1>no server is available</h1>";
    // A proxy says that the host is away; or a front has had its owner, and another server answers meanwhile.
    for (status, had_owner) in [
        ("502 Bad Gateway", false),
        ("503 Service Unavailable", false),
        ("504 Gateway Timeout", false),
        ("200 OK", true),
        ("404 Not Found", true),
    ] {
        let is_away = Arc::new(AtomicBool::new(!had_owner));
        let away = Arc::clone(&is_away);
        let owner = start_scripted_server(move |head| {
            let is_readiness = head.starts_with("GET /readyz ");
            Some(match (away.load(Ordering::SeqCst), is_readiness) {
                (true, _) => answer_of(status, "", page),
                (false, true) => answer_of("200 OK", "", READY),
                (false, false) => answer_of("200 OK", "", "{\"answer\": \"the owner's\"}"),
            })
        });
        let front = Host::start_front(&owner, &empty_config(&dir), &LONG_HOLD);
        if had_owner {
            wait_ready(&front);
            is_away.store(true, Ordering::SeqCst);
        }
        let problem = format!("it answers {status} to /readyz, but not as a host does");
        wait_until("the front knows what answers", || {
            let (_, ready) = Client::new(&front).get("/readyz");
            let told = ready["problems"][0].as_str().unwrap_or_default();
            ready["owner"] == "away" && told.contains(&problem)
        });
        for path in ["/readyz", "/readyz/relay"] {
            assert_eq!(Client::new(&front).get(path).0, 200, "{status} {path}");
        }
        // What comes meanwhile is parked until the owner is there.
        std::thread::scope(|scope| {
            let parked = scope.spawn(|| Client::new(&front).get("/v1/account"));
            wait_until("the request is parked", || {
                read_metric(&front, "ark_front_holding") > 0.5
            });
            is_away.store(false, Ordering::SeqCst);
            let (code, answer) = parked.join().expect("no panic");
            assert_eq!((code, &answer["answer"]), (200, &json!("the owner's")));
        });
    }
}

#[test]
fn an_owner_that_says_that_it_is_not_ready_is_not() {
    let dir = TestDir::new("");
    for (status, body) in [
        (
            "200 OK",
            json!({"ready": false, "graveyard_vectors": 1, "problems": ["a test"]}),
        ),
        (
            "503 Service Unavailable",
            json!({"ready": false, "graveyard_vectors": 1, "problems": ["a test"]}),
        ),
        (
            "503 Service Unavailable",
            json!({"ready": true, "graveyard_vectors": 1, "problems": ["a test"]}),
        ),
    ] {
        let answer = answer_of(status, "", &body.to_string());
        let owner = start_scripted_server(move |_| Some(answer.clone()));
        let front = Host::start_front(&owner, &empty_config(&dir), &[]);
        wait_until("the owner takes requests, though it is not ready", || {
            let (_, ready) = Client::new(&front).get("/readyz");
            let phase = &ready["owner"];
            assert!(
                ["away", "starting", "not_ready"]
                    .iter()
                    .any(|it| phase == it),
                "{ready}"
            );
            *phase == "not_ready" && ready["problems"] == json!(["a test"])
        });
        assert_eq!(Client::new(&front).get("/readyz").0, 503);
        assert_eq!(Client::new(&front).get("/readyz/relay").0, 200);
    }
}
