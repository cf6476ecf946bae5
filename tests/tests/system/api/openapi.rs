//! The document of the API against the host that serves it: schemathesis makes up requests from it, valid and invalid ones, and holds every
//! answer against it. How it does so is said in `tests/openapi/schemathesis.toml`.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use ark_tests::{Client, Host, PATIENCE, guests_dir, make_token, take_turn, trade};
use serde_json::{Value, json};

/// Calls that would take from the others what they are tried on: everything is halted, an agent serves no more, a token is taken no more.
/// They are tried at the end.
const ENDING: [&str; 3] = ["halt", "delete_agent", "revoke_token"];
/// An answer without an end, which schemathesis would wait for, and one that leads elsewhere, which it would follow. They are held against the
/// document below and in `consumers`.
const APART: [&str; 2] = ["follow_events", "root"];

fn resolve_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs schemathesis; what it printed, if it found something.
fn run_schemathesis(host: &Host, token: &str, dir: &Path, args: &[&str]) -> Result<String, String> {
    let program = resolve_path("../target/venv/bin/st");
    assert!(
        program.exists(),
        "schemathesis is not installed; run the tests with `cargo xtask test`"
    );
    let output = Command::new(program)
        .arg("--config-file")
        .arg(resolve_path("openapi/schemathesis.toml"))
        .arg("run")
        .arg(format!("http://{}/openapi.json", host.address))
        .arg("--no-color")
        .args(APART.map(|call| format!("--exclude-operation-id={call}")))
        .args(args)
        .env("ARK_TOKEN", token)
        .env("SCHEMATHESIS_HOOKS", resolve_path("openapi/hooks.py"))
        .current_dir(dir)
        .output()
        .expect("schemathesis starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(format!("{said}\n{errors}"))
    }
}

/// How many calls were tried, of its summary.
fn count_tested(said: &str) -> usize {
    let line = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("Tested: "));
    line.and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no summary in {said}"))
}

/// The SHA-256 of a text in Base64, as a Content-Security-Policy has it.
fn base64_of_sha256(bytes: &[u8]) -> String {
    let digest = ark_tests::sha256(bytes);
    let bytes: Vec<u8> = (0..digest.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digest[at..at + 2], 16).expect("hexadecimal"))
        .collect();
    ark_tests::base64(&bytes)
}

fn list_operations(document: &Value) -> Vec<&Value> {
    let paths = document["paths"].as_object().expect("paths");
    paths
        .values()
        .flat_map(|item| item.as_object().expect("operations").values())
        .collect()
}

#[test]
fn every_call_answers_as_the_document_says() {
    let _turn = take_turn();
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let token = make_token(&data, "root", "admin", &[]);
    let config = dir.path().join("data.toml");
    // A fast client without a pause.
    std::fs::write(&config, "[capacity]\ntoken_requests_per_second = 100000\n")
        .expect("a configuration");
    let agents = guests_dir();
    let agents = agents.display().to_string();
    let host = Host::start(&data, &["--agents", &agents, "--submitter", "api"]);
    let (_, document) = Client::new(&host).get("/openapi.json");
    let count = list_operations(&document).len();

    let mut args = Vec::new();
    for call in ENDING {
        args.extend(["--exclude-operation-id", call]);
    }
    let said =
        run_schemathesis(&host, &token, dir.path(), &args).unwrap_or_else(|said| panic!("{said}"));
    // All but these and the document itself.
    let apart = ENDING.len() + APART.len() + 1;
    assert_eq!(count_tested(&said), count - apart, "{said}");
    // It was a host that judged, not one that refused everything.
    let bearer = format!("Bearer {token}");
    let auth = [("Authorization", bearer.as_str())];
    let mut client = Client::new(&host);
    for outcome in ["approved", "held", "denied"] {
        let path = format!("/v1/decisions?outcome={outcome}&limit=1");
        let (_, _, body) = client.request("GET", &path, &auth, b"").expect("an answer");
        let page: Value = serde_json::from_slice(&body).expect("a page");
        assert_eq!(
            page["decisions"].as_array().map(Vec::len),
            Some(1),
            "nothing was {outcome}"
        );
    }

    let mut args = vec!["--phases", "examples,coverage,fuzzing"];
    for call in ENDING {
        args.extend(["--include-operation-id", call]);
    }
    let said =
        run_schemathesis(&host, &token, dir.path(), &args).unwrap_or_else(|said| panic!("{said}"));
    assert_eq!(count_tested(&said), ENDING.len(), "{said}");
    // The connection of before was idle for minutes.
    let (_, _, body) = Client::new(&host)
        .request("GET", "/v1/watchdog", &auth, b"")
        .expect("an answer");
    let status: Value = serde_json::from_slice(&body).expect("the status");
    assert_eq!(status["halted"], json!(true), "nothing was halted");
    assert_eq!(host.terminate(), Some(0));
}

/// What schemathesis cannot wait for: the stream is of the documented type, and its decisions have the fields that the document demands.
#[test]
fn the_event_stream_is_as_documented() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let mut client = Client::new(&host);
    let (_, document) = client.get("/openapi.json");
    let operation = &document["paths"]["/v1/events"]["get"];
    assert!(operation["responses"]["200"]["content"]["text/event-stream"].is_object());
    assert_eq!(client.post("/v1/actions", &trade("BTC-USD", 0.01)).0, 200);
    let mut stream = TcpStream::connect(&host.address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
        .write_all(b"GET /v1/events?since=0-0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("a request");
    let mut seen = String::new();
    let mut bytes = [0; 4096];
    while !seen.contains("event: decision") || !seen.ends_with("\n\n\r\n") {
        let read = stream.read(&mut bytes).expect("the stream");
        assert!(read > 0, "the stream ended: {seen}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    assert!(seen.contains("content-type: text/event-stream"), "{seen}");
    let data = seen
        .lines()
        .find_map(|line| line.strip_prefix("data: "))
        .expect("data");
    let decision: Value = serde_json::from_str(data).expect("JSON");
    let schema = &document["components"]["schemas"]["Decision"];
    for field in schema["required"].as_array().expect("fields") {
        let field = field.as_str().expect("a name");
        assert!(!decision[field].is_null(), "{field} is not in {decision}");
    }
    assert!(decision["seq"].is_u64());
}

/// Who may call is said in the document as the command line says it, and the page shows every call and loads nothing from elsewhere.
#[test]
fn document_page_and_roles_say_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let mut client = Client::new(&host);
    let (status, document) = client.get("/openapi.json");
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    let mut said = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let role = operation["x-ark-role"].as_str().unwrap_or("none");
            assert_eq!(
                operation["security"].as_array().map(Vec::is_empty),
                Some(role == "none"),
                "{method} {path}"
            );
            said.insert(format!("{} {path} {role}", method.to_uppercase()));
        }
    }
    let output = ark_tests::run_ark(&["token", "roles", "--json"]);
    let rows: Value = serde_json::from_slice(&output.stdout).expect("the table");
    let table: BTreeSet<String> = rows
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap_or("none").to_owned();
            format!("{} {} {}", text("method"), text("path"), text("role"))
        })
        .collect();
    assert_eq!(said, table);

    let (status, headers, page) = client.request("GET", "/docs", &[], b"").expect("an answer");
    let page = String::from_utf8(page).expect("UTF-8");
    assert_eq!(status, 200);
    let policy = headers
        .iter()
        .find(|(name, _)| name == "content-security-policy")
        .map(|(_, value)| value.as_str());
    assert!(
        policy.is_some_and(|policy| policy.starts_with("default-src 'none'")),
        "{policy:?}"
    );
    for foreign in [
        "src=", "http://", "https://", "@import", "url(", "<link", "<style>@",
    ] {
        assert!(!page.contains(foreign), "the page has {foreign}");
    }
    // Its own script and its own style are all that the policy lets run.
    let policy = policy.expect("a policy");
    for (element, directive) in [("script", "script-src"), ("style", "style-src")] {
        let parts: Vec<&str> = page.split(&format!("<{element}>")).collect();
        assert_eq!(parts.len(), 2, "{element}");
        let text = parts[1]
            .split(&format!("</{element}>"))
            .next()
            .expect("a text");
        let digest = base64_of_sha256(text.as_bytes());
        let allowed = format!("{directive} 'sha256-{digest}';");
        assert!(policy.contains(&allowed), "{allowed} is not in {policy}");
    }
    for operation in list_operations(&document) {
        let name = operation["operationId"].as_str().expect("a name");
        assert!(
            page.contains(&format!("id=\"{name}\"")),
            "{name} is not on the page"
        );
        let part = page
            .split(&format!("id=\"{name}\""))
            .nth(1)
            .expect("a part");
        let part = part.split("</details>").next().expect("its end");
        assert!(part.contains("<pre>curl -s "), "{name} has no example");
    }
}
