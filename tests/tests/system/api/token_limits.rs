//! Tokens that cannot be made, tokens that send too much, and hosts that must not start.

use std::process::Command;

use ark_tests::{Client, Host, ark_program, header, make_token, wait_for, wait_until};
use serde_json::{Value, json};

fn call_api(host: &Host, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    Client::with_token(host, token).send(method, path, body)
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn bad_tokens_are_refused_with_the_field_and_a_rate_is_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    std::fs::write(
        data.with_extension("toml"),
        "[capacity]\ntoken_requests_per_second = 5\n",
    )
    .expect("a configuration");
    let root = make_token(&data, "root", "admin", &[]);
    let reader = make_token(&data, "reader", "reader", &[]);
    let host = Host::start(&data, &[]);
    let mut client = Client::new(&host);
    for (body, field, status) in [
        (json!({"role": "reader"}), "name", 400),
        (json!({"name": "A B", "role": "reader"}), "name", 400),
        (json!({"name": "../root", "role": "reader"}), "name", 400),
        (json!({"name": "watchdog", "role": "reader"}), "name", 400),
        (json!({"name": "n"}), "role", 400),
        (json!({"name": "n", "role": "root"}), "role", 400),
        (json!({"name": "n", "role": "submitter"}), "agents", 400),
        (
            json!({"name": "n", "role": "reader", "agents": ["api"]}),
            "agents",
            400,
        ),
        (
            json!({"name": "n", "role": "submitter", "agents": ["A B"]}),
            "agents[0]",
            400,
        ),
        (
            json!({"name": "n", "role": "submitter", "agents": 7}),
            "agents",
            400,
        ),
        (
            json!({"name": "n", "role": "submitter", "agents": ["a"]}),
            "actions",
            400,
        ),
        (
            json!({"name": "n", "role": "submitter", "agents": ["a"], "actions": "*"}),
            "actions",
            400,
        ),
        (
            json!({"name": "n", "role": "submitter", "agents": ["a"], "actions": ["buy", "Sell"]}),
            "actions[1]",
            400,
        ),
        (
            json!({"name": "n", "role": "submitter", "agents": ["a"], "actions": ["family:trades"]}),
            "actions[0]",
            400,
        ),
        // Well-formed, and no action could ever be of this type.
        (
            json!({"name": "n", "role": "submitter", "agents": ["a"], "actions": ["buy", "withdraw"]}),
            "actions[1]",
            422,
        ),
        (
            json!({"name": "n", "role": "operator", "actions": ["*"]}),
            "actions",
            400,
        ),
        (
            json!({"name": "n", "role": "reader", "expires_at_ms": 1}),
            "expires_at_ms",
            422,
        ),
        (
            json!({"name": "n", "role": "reader", "expires_at_ms": u64::MAX}),
            "expires_at_ms",
            400,
        ),
        (
            json!({"name": "n", "role": "reader", "expires_at_ms": -1}),
            "expires_at_ms",
            400,
        ),
        (
            json!({"name": "n", "role": "reader", "by": "grace"}),
            "by",
            403,
        ),
        (
            json!({"name": "n", "role": "reader", "token": "ark_mine"}),
            "token",
            400,
        ),
        (json!({"name": "reader", "role": "reader"}), "name", 409),
    ] {
        // The administrator's own rate is kept too.
        let (got, problem) = wait_for("a request within the rate", || {
            let (status, problem) = call_api(&host, &root, "POST", "/v1/tokens", &body);
            (status != 429).then_some((status, problem))
        });
        assert_eq!(
            (got, &problem["field"]),
            (status, &json!(field)),
            "{body}: {problem}"
        );
        assert!(
            problem["remedy"]
                .as_str()
                .is_some_and(|remedy| !remedy.is_empty())
        );
    }

    // However slow the machine: before 2,000 requests are answered, more than 5 were sent in one second.
    let mut reading = Client::with_token(&host, &reader);
    let refused = (0..2_000).find_map(|_| {
        let (status, headers, _) = reading
            .request("GET", "/v1/agents", &[], b"")
            .expect("an answer");
        if status != 429 {
            assert_eq!(status, 200);
        }
        (status == 429).then_some(headers)
    });
    let refused = refused.expect("a refusal");
    assert_eq!(header(&refused, "retry-after"), Some("1"));
    assert_eq!(client.get("/readyz").0, 200, "health is not counted");
    wait_until("the rate allows another", || {
        call_api(&host, &reader, "GET", "/v1/agents", &Value::Null).0 == 200
    });
}

#[test]
fn other_machines_are_served_only_with_tls_and_tokens() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    for (name, args, config, named) in [
        ("open", &["--listen", "0.0.0.0:0"][..], "", "behind-proxy"),
        ("proxied", &["--behind-proxy"][..], "", "ark token create"),
        (
            "unset",
            &[][..],
            "behind_proxy = true\n",
            "ark token create",
        ),
        ("no-key", &[][..], "[tls]\ncertificate = \"c.pem\"\n", "key"),
        (
            "no-file",
            &[][..],
            "[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n",
            "c.pem",
        ),
        (
            "typo",
            &[][..],
            "[tls]\ncertificate = \"c\"\nkey = \"k\"\nca = \"x\"\n",
            "ca",
        ),
        (
            "rate",
            &[][..],
            "[capacity]\ntoken_requests_per_second = 0\n",
            "token_requests_per_second",
        ),
    ] {
        let file = dir.path().join(format!("{name}.toml"));
        std::fs::write(&file, config).expect("a configuration");
        let mut command = Command::new(ark_program());
        command
            .args(["serve", "--telemetry-listen", "off"])
            .arg("--config")
            .arg(&file)
            .arg("--data-dir")
            .arg(&data);
        if !args.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let output = command.args(args).output().expect("ark starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains(named), "{name}: {said}");
    }
    // With a token a proxy's requests are served, under whatever name it is reached.
    let root = make_token(&data, "root", "admin", &[]);
    let host = Host::start(&data, &["--behind-proxy"]);
    let bearer = format!("Bearer {root}");
    let headers = [("Host", "ark.example"), ("Authorization", bearer.as_str())];
    let answer = Client::new(&host).request("GET", "/v1/agents", &headers, b"");
    assert_eq!(answer.expect("an answer").0, 200);
    let answer = Client::new(&host).request("GET", "/v1/agents", &headers[..1], b"");
    assert_eq!(answer.expect("an answer").0, 401);

    // The command line keeps a token to itself where others could read it.
    let output = Command::new(ark_program())
        .args([
            "token",
            "list",
            "--url",
            "http://192.0.2.7:8000",
            "--token",
            &root,
        ])
        .output()
        .expect("ark starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("https"), "{said}");
}
