//! Bearer tokens at the binary: the first one, their end, what they are bound to, and what is on record.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ark_tests::{Client, Host, JSON, PATIENCE, ark_program, make_token, run_ark, trade};
use serde_json::{Value, json};

pub(super) fn call(
    host: &Host,
    token: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> (u16, Value) {
    Client::with_token(host, token).send(method, path, body)
}

/// `ark …` against a running host: exit code, standard output, standard error.
pub(super) fn cli(
    host: &Host,
    token: Option<&str>,
    args: &[&str],
) -> (Option<i32>, String, String) {
    let mut command = Command::new(ark_program());
    command
        .args(args)
        .env("ARK_URL", format!("http://{}", host.address));
    if let Some(token) = token {
        command.env("ARK_TOKEN", token);
    }
    let output = command.output().expect("ark starts");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Opens an event stream and reads the head of its answer.
fn follow_events(host: &Host, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&host.address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!(
        "GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("a request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the head");
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    stream
}

/// Waits until the host ends a stream: the last chunk of its body is empty.
fn assert_ends(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let mut buffer = [0; 4096];
    while !rest.ends_with(b"0\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => rest.extend_from_slice(&buffer[..read]),
            Err(error) => panic!("the stream goes on: {error}"),
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time");
    u64::try_from(since.as_millis()).expect("milliseconds")
}

fn audit_rows(data: &Path) -> Vec<Value> {
    let output = run_ark(&["audit", "export", "--data-dir", &data.display().to_string()]);
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a row"))
        .map(|mut row: Value| {
            let body = row["body"].as_str().map(serde_json::from_str::<Value>);
            if let Some(Ok(body)) = body {
                row["body"] = body;
            }
            row
        })
        .collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, step by step")]
fn the_first_token_closes_the_host_and_a_revocation_is_noticed_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let host = Host::start(&data, &[]);
    let mut client = Client::new(&host);
    assert_eq!(client.get("/v1/decisions").0, 200, "open on loopback");
    let mut early = follow_events(&host, "none");

    // The first must be able to make the others, and no page of a browser can make it.
    let (code, _, said) = cli(
        &host,
        None,
        &["token", "create", "--role", "reader", "--name", "r"],
    );
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("admin"), "{said}");
    let body = json!({"name": "evil", "role": "admin"}).to_string();
    let foreign = [JSON, ("Host", "evil.example")];
    let refused = client.request("POST", "/v1/tokens", &foreign, body.as_bytes());
    assert_eq!(refused.expect("an answer").0, 421);
    assert_eq!(client.get("/v1/decisions").0, 200, "still open");

    let create = ["token", "create", "--role", "admin", "--name", "root"];
    let (code, root, said) = cli(&host, None, &create);
    assert_eq!(code, Some(0), "{said}");
    assert!(root.starts_with("ark_") && root.len() == 4 + 64, "{root}");
    // From now on, on connections and streams that were open before too.
    assert_ends(&mut early);
    assert_eq!(client.get("/v1/decisions").0, 401);
    assert_eq!(client.get("/healthz").0, 200);
    assert_eq!(client.get("/readyz").0, 200);
    let (code, _, said) = cli(
        &host,
        None,
        &["token", "create", "--role", "admin", "--name", "two"],
    );
    assert_eq!(code, Some(1), "no second first one: {said}");

    let bind = [
        "token",
        "create",
        "--role",
        "submitter",
        "--name",
        "desk",
        "--agent",
        "desk-1",
        "--actions",
        "family:trade",
        "--expires",
        "90d",
    ];
    let (code, desk, said) = cli(&host, Some(&root), &bind);
    assert_eq!(code, Some(0), "{said}");
    let (code, _, said) = cli(&host, Some(&root), &bind);
    assert_eq!(code, Some(1));
    assert!(said.contains("desk") && said.contains("name"), "{said}");
    let mut order = trade("BTC-USD", 0.01);
    order["agent"] = json!("desk-1");
    let (status, answer) = call(&host, &desk, "POST", "/v1/actions", &order);
    assert_eq!(
        (status, &answer["outcome"]),
        (200, &json!("approved")),
        "{answer}"
    );

    let (code, listed, said) = cli(&host, Some(&root), &["token", "list", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let listed: Value = serde_json::from_str(&listed).expect("a list");
    assert_eq!(listed[0]["name"], json!("desk"));
    assert_eq!(listed[0]["agents"], json!(["desk-1"]));
    assert_eq!(listed[0]["actions"], json!(["family:trade"]));
    assert_eq!(listed[0]["created_by"], json!("root"));
    assert!(!listed.to_string().contains(&desk) && !listed.to_string().contains("hash"));

    // A kept-alive connection, whose next request is refused.
    let bearer = format!("Bearer {desk}");
    let auth = [("Authorization", bearer.as_str())];
    let mut open = Client::new(&host);
    assert_eq!(
        open.request("GET", "/v1/agents", &auth, b"")
            .expect("an answer")
            .0,
        200
    );
    let mut stream = follow_events(&host, &desk);
    let (code, _, said) = cli(&host, Some(&root), &["token", "revoke", "desk"]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert_eq!(
        open.request("GET", "/v1/agents", &auth, b"")
            .expect("an answer")
            .0,
        401
    );
    assert_ends(&mut stream);
    let (code, _, said) = cli(&host, Some(&root), &["token", "revoke", "nobody"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("nobody"), "{said}");

    // The last one goes too, and the host stays closed, through a restart, until another is made on its data.
    let (code, _, said) = cli(&host, Some(&root), &["token", "revoke", "root"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("no administrator's token is live any more")
            && said.contains("ark token create --role admin --name NAME --data-dir DIR"),
        "{said}"
    );
    assert_eq!(client.get("/v1/decisions").0, 401);
    let busy = run_ark(&[
        "token",
        "create",
        "--role",
        "admin",
        "--name",
        "x",
        "--data-dir",
        &data.display().to_string(),
    ]);
    assert!(!busy.status.success(), "a running host's data is its own");
    assert_eq!(host.terminate(), Some(0));
    let host = Host::start(&data, &[]);
    assert_eq!(Client::new(&host).get("/v1/decisions").0, 401);
    assert_eq!(
        call(&host, &root, "GET", "/v1/decisions", &Value::Null).0,
        401
    );
    assert_eq!(host.terminate(), Some(0));
    let again = make_token(&data, "root-2", "admin", &[]);
    let host = Host::start(&data, &[]);
    assert_eq!(
        call(&host, &again, "GET", "/v1/decisions", &Value::Null).0,
        200
    );
    assert_eq!(host.terminate(), Some(0));

    let rows = audit_rows(&data);
    let told: Vec<(String, String, String)> = rows
        .iter()
        .filter(|row| {
            row["action_type"]
                .as_str()
                .is_some_and(|kind| kind.starts_with("token."))
        })
        .map(|row| {
            let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
            (
                text(&row["action_type"]),
                text(&row["body"]["key"]),
                text(&row["body"]["by"]),
            )
        })
        .collect();
    let expected = [
        ("token.create", "root", "operator"),
        ("token.create", "desk", "root"),
        ("token.revoke", "desk", "root"),
        ("token.revoke", "root", "root"),
        ("token.create", "root-2", "operator"),
    ]
    .map(|(kind, key, by)| (kind.to_owned(), key.to_owned(), by.to_owned()));
    assert_eq!(told, expected);
    for file in std::fs::read_dir(&data).expect("the data directory") {
        let path = file.expect("a file").path();
        let bytes = if path.is_file() {
            std::fs::read(&path).expect("its bytes")
        } else {
            continue;
        };
        for secret in [&root, &desk, &again] {
            let within = bytes
                .windows(64)
                .any(|window| window == &secret.as_bytes()[4..]);
            assert!(!within, "{} holds a secret", path.display());
        }
    }
    let verify = run_ark(&["audit", "verify", "--data-dir", &data.display().to_string()]);
    assert!(verify.status.success());
}

#[test]
fn wrong_expired_and_revoked_tokens_get_the_same_answer_in_the_same_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let root = make_token(&data, "root", "admin", &[]);
    let revoked = make_token(&data, "gone", "reader", &[]);
    let by_hand = Command::new(ark_program())
        .args(["token", "revoke", "gone", "--data-dir"])
        .arg(&data)
        .status();
    assert!(by_hand.expect("ark starts").success());
    let host = Host::start(&data, &[]);
    let soon = json!({"name": "soon", "role": "reader", "expires_at_ms": now_ms() + 10_000});
    let (status, made) = call(&host, &root, "POST", "/v1/tokens", &soon);
    assert_eq!(status, 201, "{made}");
    let expired = made["token"].as_str().expect("a secret").to_owned();
    assert_eq!(
        call(&host, &expired, "GET", "/v1/agents", &Value::Null).0,
        200
    );
    assert_ends(&mut follow_events(&host, &expired));
    assert!(now_ms() >= soon["expires_at_ms"].as_u64().expect("a time"));
    let wrong = format!("ark_{}", "0".repeat(64));

    let shown = |authorization: &[&str]| {
        let headers: Vec<(&str, &str)> = authorization
            .iter()
            .map(|value| ("Authorization", *value))
            .collect();
        let (status, headers, body) = Client::new(&host)
            .request("GET", "/v1/agents", &headers, b"")
            .expect("an answer");
        let challenge: Vec<String> = headers
            .into_iter()
            .filter(|(name, _)| name == "www-authenticate")
            .map(|(_, value)| value)
            .collect();
        (
            status,
            challenge,
            String::from_utf8_lossy(&body).into_owned(),
        )
    };
    let reference = shown(&[&format!("Bearer {wrong}")]);
    assert_eq!(reference.0, 401);
    assert_eq!(reference.1, ["Bearer realm=\"ark\""]);
    let root_bearer = format!("Bearer {root}");
    for other in [
        vec![format!("Bearer {expired}")],
        vec![format!("Bearer {revoked}")],
        vec![],
        vec!["Bearer ".to_owned()],
        vec!["Bearer".to_owned()],
        vec![format!("Basic {root}")],
        vec![root.clone()],
        vec![format!("Bearer {}", &root[..root.len() - 1])],
        vec![format!("Bearer {root}x")],
        vec![format!("Bearer {}", root.to_uppercase())],
        vec![format!("Bearer {}", "a".repeat(8_000))],
    ] {
        let other: Vec<&str> = other.iter().map(String::as_str).collect();
        assert_eq!(shown(&other), reference, "{other:?}");
    }
    assert_eq!(shown(&[&root_bearer]).0, 200);
    assert_eq!(
        shown(&[&format!("bearer {root}")]).0,
        200,
        "the scheme's case does not count (RFC 9110)"
    );

    // Taken in turns, so that a busy machine is as busy for each; the median leaves outliers out.
    let mut client = Client::new(&host);
    let mut times: [Vec<Duration>; 3] = Default::default();
    for _ in 0..300 {
        for (token, times) in [&wrong, &expired, &revoked].into_iter().zip(&mut times) {
            let bearer = format!("Bearer {token}");
            let began = Instant::now();
            let answer = client.request("GET", "/v1/agents", &[("Authorization", &bearer)], b"");
            times.push(began.elapsed());
            assert_eq!(answer.expect("an answer").0, 401);
        }
    }
    let medians = times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    });
    let (least, most) = (medians.iter().min(), medians.iter().max());
    let (least, most) = (least.expect("a time"), most.expect("a time"));
    assert!(
        *most < *least * 2 + Duration::from_micros(200),
        "{medians:?}"
    );
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario whose steps depend on each other"
)]
fn a_token_speaks_for_its_own_names_and_under_its_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let root = make_token(&data, "root", "admin", &[]);
    let one = make_token(
        &data,
        "desk-one",
        "submitter",
        &["--agent", "api", "--actions", "*"],
    );
    let two = make_token(
        &data,
        "desk-two",
        "submitter",
        &["--agent", "other", "--agent", "third", "--actions", "trade"],
    );
    let broker = make_token(&data, "broker", "executor", &[]);
    let ops = make_token(&data, "ada", "operator", &[]);
    let host = Host::start(&data, &[]);

    let (status, decided) = call(&host, &one, "POST", "/v1/actions", &trade("BTC-USD", 0.02));
    assert_eq!(
        (status, &decided["outcome"]),
        (200, &json!("approved")),
        "{decided}"
    );
    let id = decided["decision_id"].as_str().expect("an id");
    for dry in ["", "?dry_run=true"] {
        let path = format!("/v1/actions{dry}");
        let (status, problem) = call(&host, &two, "POST", &path, &trade("BTC-USD", 0.02));
        assert_eq!(
            (status, &problem["field"]),
            (403, &json!("agent")),
            "{problem}"
        );
    }
    let mut mine = trade("ETH-USD", 0.01);
    mine["agent"] = json!("other");
    let batch = json!({"actions": [mine, trade("BTC-USD", 0.02)]});
    let (status, problem) = call(&host, &two, "POST", "/v1/actions/batch", &batch);
    assert_eq!(status, 403, "{problem}");
    assert_eq!(problem["field"], json!("actions[1].agent"), "{problem}");
    let report = json!({"execution_id": "e-1", "decision_id": id, "status": "filled"});
    // A proposer is not its own witness.
    for token in [&one, &two] {
        assert_eq!(call(&host, token, "POST", "/v1/executions", &report).0, 403);
    }
    let (status, answer) = call(&host, &broker, "POST", "/v1/executions", &report);
    assert_eq!(status, 200, "{answer}");
    // The same fill from another reporter is the same fill.
    assert_eq!(call(&host, &root, "POST", "/v1/executions", &report).0, 200);
    let signal = json!({"topic": "market.tick", "payload": {}});
    assert_eq!(call(&host, &two, "POST", "/v1/signals", &signal).0, 202);

    let halt = json!({"reason": "a test", "by": "grace"});
    let (status, problem) = call(&host, &ops, "POST", "/v1/halt", &halt);
    assert_eq!(
        (status, &problem["field"]),
        (403, &json!("by")),
        "{problem}"
    );
    let setting = json!({"value": 1, "updated_by": "grace"});
    let (status, problem) = call(&host, &ops, "PUT", "/v1/config/k", &setting);
    assert_eq!(
        (status, &problem["field"]),
        (403, &json!("updated_by")),
        "{problem}"
    );
    assert_eq!(
        call(&host, &ops, "PUT", "/v1/config/k", &json!({"value": 1})).0,
        200
    );
    assert_eq!(
        call(
            &host,
            &ops,
            "POST",
            "/v1/halt",
            &json!({"reason": "a test", "by": "ada"})
        )
        .0,
        200
    );
    let (code, _, said) = cli(
        &host,
        Some(&ops),
        &["watchdog", "resume", "--reason", "done"],
    );
    assert_eq!(code, Some(0), "{said}");
    let (code, _, said) = cli(&host, Some(&one), &["watchdog", "halt", "--reason", "no"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("operator"), "{said}");
    assert_eq!(host.terminate(), Some(0));

    let rows = audit_rows(&data);
    let by: Vec<(&str, &str)> = rows
        .iter()
        .filter(|row| row["kind"] != json!("decision"))
        .filter_map(|row| {
            let kind = row["action_type"].as_str().or(row["kind"].as_str())?;
            let by = row["body"]["by"]
                .as_str()
                .or(row["body"]["order"]["by"].as_str())?;
            (!kind.starts_with("token.")).then_some((kind, by))
        })
        .collect();
    for expected in [
        ("trade", "broker"),
        ("trade", "root"),
        ("signal.send", "desk-two"),
        ("config.set", "ada"),
        ("control", "ada"),
    ] {
        assert!(by.contains(&expected), "{expected:?} is not in {by:?}");
    }
    assert_eq!(by.len(), 6, "what was refused is not there: {by:?}");
    let decision = rows.iter().find(|row| row["kind"] == json!("decision"));
    let text = decision.expect("the decision").to_string();
    assert!(text.contains("desk-one"), "{text}");
}

/// A key that one caller used tells another nothing, and takes nothing from it.
#[test]
fn an_idempotency_key_is_its_callers_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let _root = make_token(&data, "root", "admin", &[]);
    let tokens = ["desk-one", "desk-two"].map(|name| {
        let grants = ["--agent", "api", "--actions", "*"];
        make_token(&data, name, "submitter", &grants)
    });
    let host = Host::start(&data, &[]);
    let send = |token: &str, path: &str, body: &Value| {
        let headers = [("Idempotency-Key", "tick-1")];
        let mut client = Client::with_token(&host, token);
        client
            .try_send("POST", path, &headers, body)
            .expect("an answer")
    };
    // What each sends under the key, and the member of the answer that names what came of it.
    let signal = |price: u32| json!({"topic": "market.tick", "payload": {"price": price}});
    let batch = |symbol: &str| json!({"actions": [trade(symbol, 0.001)]});
    let cases = [
        (
            "/v1/actions",
            trade("ACME", 0.001),
            trade("BETA", 0.001),
            "/decision_id",
        ),
        (
            "/v1/actions/batch",
            batch("ACME"),
            batch("BETA"),
            "/decisions/0/decision_id",
        ),
        ("/v1/signals", signal(1), signal(2), "/signal_id"),
    ];
    for (path, first, second, name) in &cases {
        let named = |(status, answer): (u16, Value)| {
            assert!(matches!(status, 200 | 202), "{path}: {status} {answer}");
            let named = answer.pointer(name).cloned();
            named.unwrap_or_else(|| panic!("{path}: {answer}"))
        };
        let [one, two] = &tokens;
        let of_one = named(send(one, path, first));
        let of_two = named(send(two, path, second));
        assert_ne!(of_one, of_two, "{path}");
        // The very same request of another caller is another one, too.
        assert_eq!(named(send(one, path, first)), of_one, "{path}");
        assert_eq!(named(send(two, path, second)), of_two, "{path}");
        let (status, answer) = send(two, path, first);
        assert_eq!(status, 422, "{path}: {answer}");
    }
}
