//! Every call, for every role and without a token: allowed or refused as this table says, which is written down apart from the host's.

use std::collections::BTreeSet;

use ark_tests::{Client, Host, make_token, run_ark};
use serde_json::{Value, json};

const ROLES: [&str; 6] = [
    "reader",
    "submitter",
    "executor",
    "approver",
    "operator",
    "admin",
];

/// Who may make a call apart from the administrator.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    Anybody,
    EveryToken,
    Only(&'static str),
}

use Who::{Anybody, EveryToken, Only};

/// Method, path as documented, path as called, who may. The called paths name things that are not there, so that nothing is changed.
#[rustfmt::skip]
const CALLS: &[(&str, &str, &str, Who)] = &[
    ("GET", "/healthz", "/healthz", Anybody),
    ("GET", "/readyz", "/readyz", Anybody),
    ("GET", "/openapi.json", "/openapi.json", Anybody),
    ("GET", "/docs", "/docs", Anybody),
    ("GET", "/", "/", Anybody),
    ("POST", "/v1/actions", "/v1/actions", Only("submitter")),
    ("POST", "/v1/actions/batch", "/v1/actions/batch", Only("submitter")),
    ("POST", "/v1/signals", "/v1/signals", Only("submitter")),
    ("GET", "/v1/signals/failed", "/v1/signals/failed", EveryToken),
    ("POST", "/v1/signals/redeliver", "/v1/signals/redeliver", Only("operator")),
    ("POST", "/v1/executions", "/v1/executions", Only("executor")),
    ("GET", "/v1/events", "/v1/events?after=nothing", EveryToken),
    ("POST", "/v1/events/tickets", "/v1/events/tickets", EveryToken),
    ("GET", "/v1/decisions", "/v1/decisions", EveryToken),
    ("GET", "/v1/decisions/export", "/v1/decisions/export", EveryToken),
    ("GET", "/v1/decisions/{id}", "/v1/decisions/none", EveryToken),
    ("GET", "/v1/traces/{id}", "/v1/traces/none", EveryToken),
    ("GET", "/v1/graveyard", "/v1/graveyard", EveryToken),
    ("GET", "/v1/graveyard/amendments", "/v1/graveyard/amendments", EveryToken),
    ("POST", "/v1/graveyard/amendments", "/v1/graveyard/amendments", Only("operator")),
    ("GET", "/v1/deployments", "/v1/deployments", EveryToken),
    ("POST", "/v1/deployments", "/v1/deployments", Only("operator")),
    ("GET", "/v1/webhooks", "/v1/webhooks", EveryToken),
    ("GET", "/v1/webhooks/{name}/dead-letters", "/v1/webhooks/none/dead-letters", EveryToken),
    ("POST", "/v1/webhooks/{name}/redeliver", "/v1/webhooks/none/redeliver", Only("operator")),
    ("POST", "/v1/webhooks/{name}/enable", "/v1/webhooks/none/enable", Only("operator")),
    ("GET", "/v1/policies", "/v1/policies", EveryToken),
    ("GET", "/v1/policies/{name}", "/v1/policies/none", EveryToken),
    ("PUT", "/v1/policies/{name}", "/v1/policies/none", Only("operator")),
    ("PATCH", "/v1/policies/{name}", "/v1/policies/none", Only("operator")),
    ("DELETE", "/v1/policies/{name}", "/v1/policies/none", Only("operator")),
    ("POST", "/v1/policies/{name}/rollout", "/v1/policies/none/rollout", Only("operator")),
    ("POST", "/v1/policies/{name}/rollback", "/v1/policies/none/rollback", Only("operator")),
    ("GET", "/v1/policies/{name}/versions/{number}", "/v1/policies/none/versions/1", EveryToken),
    ("GET", "/v1/policies/{name}/versions/{number}/component", "/v1/policies/none/versions/1/component", EveryToken),
    ("GET", "/v1/agents", "/v1/agents", EveryToken),
    ("GET", "/v1/agents/{name}", "/v1/agents/none", EveryToken),
    ("PUT", "/v1/agents/{name}", "/v1/agents/none", Only("operator")),
    ("DELETE", "/v1/agents/{name}", "/v1/agents/none", Only("operator")),
    ("POST", "/v1/agents/{name}/rollout", "/v1/agents/none/rollout", Only("operator")),
    ("POST", "/v1/agents/{name}/canary", "/v1/agents/none/canary", Only("operator")),
    ("POST", "/v1/agents/{name}/rollback", "/v1/agents/none/rollback", Only("operator")),
    ("GET", "/v1/agents/{name}/versions/{number}/component", "/v1/agents/none/versions/1/component", EveryToken),
    ("POST", "/v1/agents/{name}/quarantine", "/v1/agents/none/quarantine", Only("operator")),
    ("POST", "/v1/agents/{name}/restore", "/v1/agents/none/restore", Only("operator")),
    ("GET", "/v1/operations/{id}", "/v1/operations/none", EveryToken),
    ("GET", "/v1/watchdog", "/v1/watchdog", EveryToken),
    ("GET", "/v1/watchdog/alerts", "/v1/watchdog/alerts", EveryToken),
    ("POST", "/v1/halt", "/v1/halt", Only("operator")),
    ("POST", "/v1/resume", "/v1/resume", Only("operator")),
    ("GET", "/v1/approvals", "/v1/approvals", EveryToken),
    ("GET", "/v1/approvals/{id}", "/v1/approvals/none", EveryToken),
    ("POST", "/v1/approvals/{id}/approve", "/v1/approvals/none/approve", Only("approver")),
    ("POST", "/v1/approvals/{id}/reject", "/v1/approvals/none/reject", Only("approver")),
    ("GET", "/v1/lists/{list}", "/v1/lists/none", EveryToken),
    ("GET", "/v1/lists/{list}/history", "/v1/lists/none/history", EveryToken),
    ("GET", "/v1/lists/{list}/entries/{key}", "/v1/lists/none/entries/k", EveryToken),
    ("PUT", "/v1/lists/{list}/entries/{key}", "/v1/lists/none/entries/k", Only("operator")),
    ("DELETE", "/v1/lists/{list}/entries/{key}", "/v1/lists/none/entries/k", Only("operator")),
    ("GET", "/v1/lists/{list}/entries/{key}/history", "/v1/lists/none/entries/k/history", EveryToken),
    ("GET", "/v1/account", "/v1/account", EveryToken),
    ("PUT", "/v1/account/capital", "/v1/account/capital", Only("operator")),
    ("POST", "/v1/account/results", "/v1/account/results", Only("operator")),
    ("GET", "/v1/account/history", "/v1/account/history", EveryToken),
    ("GET", "/v1/state", "/v1/state", EveryToken),
    ("GET", "/v1/state/{agent}", "/v1/state/none", EveryToken),
    ("GET", "/v1/state/{agent}/{key}", "/v1/state/none/k", EveryToken),
    ("PUT", "/v1/state/{agent}/{key}", "/v1/state/none/k", Only("operator")),
    ("DELETE", "/v1/state/{agent}/{key}", "/v1/state/none/k", Only("operator")),
    ("GET", "/v1/state/{agent}/{key}/history", "/v1/state/none/k/history", EveryToken),
    ("POST", "/v1/state/{agent}/{key}/rollback", "/v1/state/none/k/rollback", Only("operator")),
    ("GET", "/v1/memory/{agent}", "/v1/memory/none", EveryToken),
    ("POST", "/v1/memory/{agent}", "/v1/memory/none", Only("operator")),
    ("DELETE", "/v1/memory/{agent}/{id}", "/v1/memory/none/1", Only("operator")),
    ("GET", "/v1/config", "/v1/config", EveryToken),
    ("GET", "/v1/config/{key}", "/v1/config/k", EveryToken),
    ("PUT", "/v1/config/{key}", "/v1/config/k", Only("operator")),
    ("DELETE", "/v1/config/{key}", "/v1/config/k", Only("operator")),
    ("GET", "/v1/config/{key}/history", "/v1/config/k/history", EveryToken),
    ("GET", "/v1/truth", "/v1/truth", EveryToken),
    ("GET", "/v1/truth/{key}", "/v1/truth/k", EveryToken),
    ("PUT", "/v1/truth/{key}", "/v1/truth/k", Only("operator")),
    ("GET", "/v1/truth/{key}/history", "/v1/truth/k/history", EveryToken),
    ("GET", "/v1/session-log", "/v1/session-log", EveryToken),
    ("GET", "/v1/tokens", "/v1/tokens", Only("admin")),
    ("POST", "/v1/tokens", "/v1/tokens", Only("admin")),
    ("DELETE", "/v1/tokens/{name}", "/v1/tokens/none", Only("admin")),
];

#[test]
fn each_call_is_open_to_its_roles_and_to_no_other() {
    let output = run_ark(&["token", "roles", "--json"]);
    let table: Value = serde_json::from_slice(&output.stdout).expect("the table");
    let served: BTreeSet<(&str, &str)> = table
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| Some((row["method"].as_str()?, row["path"].as_str()?)))
        .collect();
    let expected: BTreeSet<(&str, &str)> = CALLS.iter().map(|call| (call.0, call.1)).collect();
    assert_eq!(
        served, expected,
        "add the call to CALLS with who may make it"
    );

    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let mut tokens = vec![(None, String::new())];
    for role in [
        "admin",
        "reader",
        "submitter",
        "executor",
        "approver",
        "operator",
    ] {
        let more: &[&str] = if role == "submitter" {
            &["--agent", "api", "--actions", "*"]
        } else {
            &[]
        };
        tokens.push((
            Some(role),
            make_token(&data, &format!("the-{role}"), role, more),
        ));
    }
    let host = Host::start(&data, &[]);
    let mut cells = 0;
    for (method, _, path, who) in CALLS {
        for (role, token) in &tokens {
            let bearer = format!("Bearer {token}");
            let mut headers = vec![("Content-Type", "application/json")];
            if role.is_some() {
                headers.push(("Authorization", &bearer));
            }
            let body: &[u8] = if *method == "GET" { b"" } else { b"{}" };
            let (status, _, body) = Client::new(&host)
                .request(method, path, &headers, body)
                .unwrap_or_else(|error| panic!("{method} {path} as {role:?}: {error}"));
            let problem: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let refused = match status {
                401 => Some(401),
                403 if problem["type"] == json!("urn:ark:problem:forbidden") => Some(403),
                _ => None,
            };
            let expected = match (who, role) {
                (Anybody, _) | (EveryToken, Some(_)) | (_, Some("admin")) => None,
                (_, None) => Some(401),
                (Only(only), Some(role)) if only == role => None,
                (Only(_), Some(_)) => Some(403),
            };
            assert_eq!(
                refused, expected,
                "{method} {path} as {role:?}: {status} {problem}"
            );
            cells += 1;
        }
    }
    assert_eq!(cells, CALLS.len() * (ROLES.len() + 1));
    // Nothing of all this counted: refused calls leave nothing, and the others named nothing that is there.
    let admin = format!("Bearer {}", tokens[1].1);
    let auth = [("Authorization", admin.as_str())];
    let (_, _, body) = Client::new(&host)
        .request("GET", "/v1/watchdog", &auth, b"")
        .expect("an answer");
    let watchdog: Value = serde_json::from_slice(&body).expect("the status");
    assert_eq!(watchdog["halted"], json!(false));
}

#[test]
fn unknown_calls_are_refused_without_a_token_and_explained_with_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let admin = format!("Bearer {}", make_token(&data, "root", "admin", &[]));
    let host = Host::start(&data, &[]);
    let auth = ("Authorization", admin.as_str());
    for (method, path, with, without) in [
        ("GET", "/v1/nothing", 404, 401),
        ("PATCH", "/v1/halt", 405, 401),
        ("OPTIONS", "/v1/actions", 405, 401),
        ("HEAD", "/v1/decisions", 200, 401),
        ("GET", "/", 307, 307),
        ("GET", "/v1/tokens/../halt", 404, 401),
        ("GET", "/v1/agents/..%2F..%2Fetc%2Fpasswd", 400, 401),
        ("DELETE", "/v1/tokens/..%2Froot", 400, 401),
        ("GET", "/v1//tokens", 404, 401),
        ("GET", "/v1/tokens/", 404, 401),
        ("DELETE", "/healthz", 405, 405),
    ] {
        // A HEAD's answer has a length and no body: a connection of its own.
        for (headers, expected) in [(&[auth][..], with), (&[][..], without)] {
            let mut request =
                format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
            for (name, value) in headers {
                request = format!("{request}{name}: {value}\r\n");
            }
            let answer = ark_tests::send_raw(&host, format!("{request}\r\n").as_bytes());
            let answer = String::from_utf8_lossy(&answer);
            let status = answer.split(' ').nth(1).unwrap_or("none");
            assert_eq!(
                status,
                expected.to_string(),
                "{method} {path} {headers:?}: {answer}"
            );
        }
    }
}
