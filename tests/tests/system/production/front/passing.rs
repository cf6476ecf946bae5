//! What passes a front, and what does not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use ark_tests::policies::{put, read_policy};
use ark_tests::telemetry::series_value;
use ark_tests::{
    Client, Host, JSON, PATIENCE, TestDir, header, make_token, run_ark, send_raw, trade, wait_for,
    wait_until,
};
use serde_json::{Value, json};

use crate::api::connections::assert_refuses_ambiguous_messages;
use crate::api::events::Stream;
use crate::api::tls::{CertificateAuthority, write_key};

use super::{
    counts, empty_config, free_port, front_before, settled_verdicts, start_owner, token_file, url,
    wait_ready, write,
};

/// How long a front may take to end, in a test of what holds it up.
const DRAIN: Duration = Duration::from_secs(240);

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

    // What is read is the same, no matter who is asked.
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

    // Decisions through the front: 2 + 2 of the batch, 1 message, 1 keyed, 2, and one given twice, which counts once; and one dry run.
    let verdicts = settled_verdicts(&front, 10);
    assert_eq!(counts(&verdicts), [9, 0, 1], "{verdicts}");
    assert_eq!(verdicts["unjudged_reasons"], json!({"dry_run": 1}));
    assert_eq!(verdicts["latest_different"], json!([]));
    let metrics = Client::of_telemetry(&front).get_text("/metrics");
    assert_eq!(
        series_value(&metrics, "ark_front_verdicts_total{result=\"same\"}"),
        Some(9.0),
        "{metrics}"
    );
    for (reason, count) in [("dry_run", 1.0), ("failed_here", 0.0), ("overload", 0.0)] {
        let series = format!("ark_front_unjudged_total{{reason=\"{reason}\"}}");
        assert_eq!(series_value(&metrics, &series), Some(count), "{metrics}");
    }
    assert_eq!(series_value(&metrics, "ark_front_owner_ready"), Some(1.0));
    assert_eq!(owner.terminate(), Some(0));
}

fn make_submitter(admin: &mut Client) -> String {
    let token = json!({"name": "desk", "role": "submitter", "agents": ["api"], "actions": ["*"]});
    let (status, made) = admin.post("/v1/tokens", &token);
    assert!(matches!(status, 200 | 201), "{made}");
    made["token"].as_str().expect("a secret").to_owned()
}

#[test]
fn event_streams_pass_a_front_and_resume_where_they_were() {
    let dir = TestDir::new("");
    let listen = format!("127.0.0.1:{}", free_port());
    let owner = wait_for("the owner starts", || start_owner(&dir, &listen));
    let drain = format!("[capacity]\ndrain_ms = {}\n", DRAIN.as_millis());
    let front = front_before(&owner, &write(&dir, "front.toml", drain), &[]);
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
    // The stream ends with the owner.
    owner.send_kill();
    assert!(resumed.next().is_none());
    drop(owner);
    // One on a live owner ends with the front.
    let owner = wait_for("the owner starts again", || start_owner(&dir, &listen));
    wait_ready(&front);
    let stream = Stream::open(&front, "?kinds=decision", None);
    let began = Instant::now();
    assert_eq!(front.terminate(), Some(0));
    assert!(
        began.elapsed() < DRAIN / 4,
        "a stream holds up the end for {:?}",
        began.elapsed()
    );
    drop(stream);
    drop(owner);
}

#[test]
fn decisions_whose_answers_are_compressed_are_judged_again() {
    let dir = TestDir::new("");
    let owner = dir.start();
    let front = front_before(&owner, &empty_config(&dir), &[]);
    let actions: Vec<Value> = (0..10)
        .map(|number| trade(&format!("S{number}"), 0.001))
        .collect();
    let body = json!({"actions": actions}).to_string();
    for host in [&owner, &front] {
        let (status, headers, answer) = Client::new(host)
            .request(
                "POST",
                "/v1/actions/batch",
                &[JSON, ("Accept-Encoding", "gzip")],
                body.as_bytes(),
            )
            .expect("an answer");
        assert_eq!(status, 200);
        assert_eq!(header(&headers, "content-encoding"), Some("gzip"));
        assert!(answer.starts_with(&[0x1f, 0x8b]), "gzip");
    }
    let verdicts = settled_verdicts(&front, 10);
    assert_eq!(counts(&verdicts), [10, 0, 0], "{verdicts:#}");
}

#[test]
fn tokens_and_tls_hold_on_both_sides_of_a_front() {
    let dir = TestDir::new("");
    let (authority, stranger) = (CertificateAuthority::new(), CertificateAuthority::new());
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
    let metrics = Client::of_telemetry(&front).get_text("/metrics");
    let end = series_value(&metrics, "ark_front_tls_certificate_end_timestamp_seconds");
    // The certificates of this authority hold for centuries.
    assert!(end.is_some_and(|end| end > 4e9), "{metrics}");
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
    // What has passed a front is passed on no further: a front that takes another one for its owner may go round for ever.
    let passed = [("Via", "1.1 ark-front")];
    let (status, answer) = Client::new(&local)
        .try_send("GET", "/v1/account", &passed, &Value::Null)
        .expect("an answer");
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
