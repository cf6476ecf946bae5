//! Uploads that are answered before they are compiled: operations, their order and their bounds.

use std::process::Output;

use ark_tests::{
    Client, Host, JSON, PATIENT, RawAnswer, TestDir, base64, header, hostile_guests_dir,
    make_token, mark_component, run_ark, sha256, take_turn, trade, wait_for,
};
use serde_json::{Value, json};

const ASYNC: (&str, &str) = ("Prefer", "respond-async");

fn chaos(mark: u8) -> Vec<u8> {
    let bytes = std::fs::read(hostile_guests_dir().join("chaos.wasm")).expect("a component");
    mark_component(bytes, mark)
}

/// The upload of a hostile guest.
fn upload_of(name: &str, component: &[u8]) -> Value {
    let manifest = json!({
        "name": name, "version": "0.1.0", "component": "component.wasm", "sha256": sha256(component),
        "topics": ["chaos.go"], "actions": ["trade"],
    });
    json!({"manifest": manifest, "component": base64(component), "reason": "a test"})
}

fn put_agent(client: &mut Client, path: &str, prefer: (&str, &str), body: &Value) -> RawAnswer {
    let body = body.to_string();
    client
        .request("PUT", path, &[JSON, prefer], body.as_bytes())
        .expect("an answer")
}

fn json_of(answer: &RawAnswer) -> Value {
    serde_json::from_slice(&answer.2).expect("JSON")
}

/// The path of the operation that an upload was accepted as.
fn read_location(answer: &RawAnswer) -> String {
    assert_eq!(answer.0, 202, "{}", json_of(answer));
    let location = header(&answer.1, "location").expect("a location");
    let operation = json_of(answer);
    let id = operation["id"].as_str().expect("an id");
    assert_eq!(location, format!("/v1/operations/{id}"));
    assert_eq!(
        header(&answer.1, "preference-applied"),
        Some("respond-async")
    );
    location.to_owned()
}

/// Waits until an operation has ended.
fn wait_for_end(client: &mut Client, path: &str) -> Value {
    wait_for("the operation has ended", || {
        let (status, operation) = client.get(path);
        assert_eq!(status, 200, "{operation}");
        let state = operation["state"].as_str().expect("a state").to_owned();
        match state.as_str() {
            "accepted" | "compiling" => None,
            "succeeded" | "failed" => Some(operation),
            other => panic!("{other}"),
        }
    })
}

fn start_host() -> (TestDir, Host) {
    let dir = TestDir::new(&format!("submitters = [\"api\"]\n{PATIENT}"));
    let host = dir.start();
    (dir, host)
}

#[test]
fn an_upload_is_accepted_and_becomes_what_a_waiting_caller_is_answered() {
    let (dir, host) = start_host();
    let mut client = Client::new(&host);
    let upload = upload_of("chaos", &chaos(1));
    let accepted = put_agent(&mut client, "/v1/agents/chaos", ASYNC, &upload);
    let path = read_location(&accepted);
    let operation = wait_for_end(&mut client, &path);
    assert_eq!(operation["state"], "succeeded", "{operation}");
    assert_eq!(operation["kind"], "upload_agent");
    assert_eq!(operation["name"], "chaos");
    assert_eq!(operation["problem"], Value::Null);
    let times = ["accepted_at_ms", "started_at_ms", "ended_at_ms"].map(|at| operation[at].as_u64());
    assert!(times.is_sorted() && times[0].is_some(), "{operation}");
    let (_, agent) = client.get("/v1/agents/chaos");
    assert_eq!(agent["serving"], json!(1), "{agent}");
    // Who waits gets what the operation came to; the same component keeps its number.
    let waited = put_agent(
        &mut client,
        "/v1/agents/chaos",
        ("Prefer", "wait=5"),
        &upload,
    );
    assert_eq!(waited.0, 200);
    let (mut before, mut after) = (operation["result"].clone(), json_of(&waited));
    // What serves now served before, too.
    for answer in [&mut before, &mut after] {
        answer
            .as_object_mut()
            .expect("an object")
            .remove("previous");
        answer.as_object_mut().expect("an object").remove("drained");
    }
    assert_eq!(before, after);
    // Who is patient for long enough as well.
    let patient = ("Prefer", "respond-async, wait=60");
    let waited = put_agent(&mut client, "/v1/agents/chaos", patient, &upload);
    assert_eq!(waited.0, 200, "{}", json_of(&waited));

    // What is found without compiling is refused at once; what is found later ends the operation, as the problem that it is.
    let mut other_digest = upload.clone();
    other_digest["manifest"]["sha256"] = json!(sha256(b"other"));
    let refused = put_agent(&mut client, "/v1/agents/chaos", ASYNC, &other_digest);
    assert_eq!(refused.0, 422);
    assert_eq!(json_of(&refused)["field"], "manifest.sha256");
    let heart = std::fs::read(hostile_guests_dir().join("trapping-heart.wasm")).expect("a guest");
    let mut upload = upload_of("trapping-heart", &heart);
    let waited = put_agent(
        &mut client,
        "/v1/agents/trapping-heart",
        ("Prefer", "return=representation"),
        &upload,
    );
    assert_eq!(waited.0, 422, "{}", json_of(&waited));
    upload["rollout"] = json!(false);
    let accepted = put_agent(&mut client, "/v1/agents/trapping-heart", ASYNC, &upload);
    let path = read_location(&accepted);
    let operation = wait_for_end(&mut client, &path);
    assert_eq!(operation["state"], "failed");
    assert_eq!(operation["result"], Value::Null);
    assert_eq!(operation["problem"], json_of(&waited));

    // After a restart nobody knows an operation, and the answer says what does.
    let host = dir.restart_killed(&host);
    let mut client = Client::new(&host);
    let (status, problem) = client.get(&path);
    assert_eq!(status, 404);
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("not over a restart"), "{problem}");
    let remedy = problem["remedy"].as_str().expect("a remedy");
    assert!(remedy.contains("GET /v1/agents/{name}"), "{problem}");
    let (_, agent) = client.get("/v1/agents/chaos");
    assert_eq!(agent["serving"], json!(1), "{agent}");
}

#[test]
fn a_policy_is_accepted_and_compiled_later_too() {
    let (_dir, host) = start_host();
    let mut client = Client::new(&host);
    let component = ark_tests::policies::read_policy("symbol-allowlist");
    let settings = json!({"settings": {"allowed": ["BTC-USD"]}});
    let upload = ark_tests::policies::upload_of(&component, &settings);
    let path = "/v1/policies/symbol-allowlist";
    let mut conditional = upload.clone();
    conditional["expected_revision"] = json!(7);
    let refused = put_agent(&mut client, path, ASYNC, &conditional);
    assert_eq!(refused.0, 409, "{}", json_of(&refused));
    let accepted = put_agent(&mut client, path, ASYNC, &upload);
    let operation = read_location(&accepted);
    let operation = wait_for_end(&mut client, &operation);
    assert_eq!(operation["state"], "succeeded", "{operation}");
    assert_eq!(operation["kind"], "upload_policy");
    assert_eq!(operation["result"]["revision"], json!(1));
    // Broken settings are known once the component is compiled.
    let mut broken = upload;
    broken["settings"] = json!({"allowed": 7});
    let accepted = put_agent(&mut client, path, ASYNC, &broken);
    let operation = read_location(&accepted);
    let operation = wait_for_end(&mut client, &operation);
    assert_eq!(operation["problem"]["status"], json!(422), "{operation}");
    let (_, policy) = client.get(path);
    assert_eq!(policy["revision"], json!(1), "{policy}");
}

/// The upload that is compiled now.
fn find_compiled(client: &mut Client, accepted: &[String]) -> Option<String> {
    let mut newest_first = accepted.iter().rev();
    newest_first
        .find(|path| client.get(path).1["state"] == json!("compiling"))
        .cloned()
}

#[test]
fn uploads_wait_in_their_order_and_decisions_do_not_wait_for_them() {
    const UPLOADS: u8 = 60;
    let _turn = take_turn();
    let (_dir, host) = start_host();
    let mut client = Client::new(&host);
    let mut accepted: Vec<String> = Vec::new();
    let mut refused = None;
    let mut decided_meanwhile = 0;
    for mark in 1..=UPLOADS {
        let upload = upload_of("chaos", &chaos(mark));
        let answer = put_agent(&mut client, "/v1/agents/chaos", ASYNC, &upload);
        if answer.0 == 503 {
            refused = Some(answer);
            break;
        }
        accepted.push(read_location(&answer));
        if mark >= 4 && decided_meanwhile < 3 {
            let before = find_compiled(&mut client, &accepted);
            let (status, decision) =
                Client::new(&host).post("/v1/actions", &trade("BTC-USD", 0.01));
            assert_eq!(status, 200, "{decision}");
            // It did not wait for what was compiled before it was asked for, which is compiled still.
            let after = find_compiled(&mut client, &accepted);
            decided_meanwhile += usize::from(before.is_some() && before == after);
        }
    }
    assert!(decided_meanwhile > 0, "every decision waited for an upload");
    let refused = refused.expect("the queue is bounded");
    let problem = json_of(&refused);
    assert_eq!(problem["type"], "urn:ark:problem:busy", "{problem}");
    assert!(header(&refused.1, "retry-after").is_some());
    assert!(accepted.len() > 16, "{} were accepted", accepted.len());
    let ends: Vec<Value> = accepted
        .iter()
        .map(|path| wait_for_end(&mut client, path))
        .collect();
    for (index, operation) in ends.iter().enumerate() {
        assert_eq!(operation["state"], "succeeded", "{operation}");
        assert_eq!(operation["result"]["number"], json!(index + 1));
    }
    let started: Vec<u64> = ends
        .iter()
        .map(|operation| operation["started_at_ms"].as_u64().expect("a time"))
        .collect();
    assert!(started.is_sorted(), "{started:?}");
    let (_, agent) = client.get("/v1/agents/chaos");
    assert_eq!(agent["serving"], json!(ends.len()), "the last one serves");
}

/// Uploads versions of `chaos`, more than can be compiled at once. Returns the operations.
fn upload_many(client: &mut Client, marks: std::ops::RangeInclusive<u8>) -> Vec<String> {
    marks
        .map(|mark| {
            let upload = upload_of("chaos", &chaos(mark));
            read_location(&put_agent(client, "/v1/agents/chaos", ASYNC, &upload))
        })
        .collect()
}

#[test]
fn an_upload_does_not_outlive_its_token() {
    let _turn = take_turn();
    let dir = TestDir::new(PATIENT);
    let data = dir.data();
    let root = make_token(&data, "root", "admin", &[]);
    let desk = make_token(&data, "desk", "operator", &[]);
    let host = dir.start();
    let mut admin = Client::with_token(&host, &root);
    let mut operator = Client::with_token(&host, &desk);
    let accepted = upload_many(&mut operator, 1..=12);
    let (status, answer) = admin.send("DELETE", "/v1/tokens/desk", &json!({}));
    assert!(matches!(status, 200 | 204), "{status} {answer}");
    let (_, agent) = admin.get("/v1/agents/chaos");
    let ends: Vec<Value> = accepted
        .iter()
        .map(|path| wait_for_end(&mut admin, path))
        .collect();
    let (refused, done): (Vec<_>, Vec<_>) = ends.iter().partition(|end| end["state"] == "failed");
    assert!(!refused.is_empty(), "all were made before the revocation");
    for end in refused {
        assert_eq!(end["problem"]["status"], json!(403), "{end}");
        let detail = end["problem"]["detail"].as_str().expect("a detail");
        assert!(detail.contains("revoked"), "{end}");
    }
    // At most one was being committed when the token was revoked.
    let serving = agent["serving"].as_u64().unwrap_or(0);
    assert!(done.len() as u64 <= serving + 1, "{ends:?}");
    let (_, after) = admin.get("/v1/agents/chaos");
    assert_eq!(
        after["serving"].as_u64().unwrap_or(0),
        done.len() as u64,
        "{after}"
    );
}

#[test]
fn an_upload_does_not_undo_a_rollback_that_came_after_it() {
    let _turn = take_turn();
    let (_dir, host) = start_host();
    let mut client = Client::new(&host);
    for path in upload_many(&mut client, 1..=2) {
        assert_eq!(wait_for_end(&mut client, &path)["state"], "succeeded");
    }
    let accepted = upload_many(&mut client, 3..=12);
    let order = json!({"reason": "a test"});
    let (status, rolled_back) = client.post("/v1/agents/chaos/rollback", &order);
    assert_eq!(status, 200, "{rolled_back}");
    let ends: Vec<Value> = accepted
        .iter()
        .map(|path| wait_for_end(&mut client, path))
        .collect();
    let last = ends.last().expect("an upload");
    assert_eq!(last["state"], "failed", "{last}");
    for end in ends.iter().filter(|end| end["state"] == "failed") {
        assert_eq!(end["problem"]["status"], json!(409), "{end}");
        assert_eq!(end["problem"]["type"], "urn:ark:problem:changed-meanwhile");
    }
    let (_, agent) = client.get("/v1/agents/chaos");
    assert_eq!(agent["serving"], rolled_back["serving"], "{agent}");
    // What is uploaded from then on serves again.
    let [next] = &upload_many(&mut client, 13..=13)[..] else {
        panic!("one upload");
    };
    let end = wait_for_end(&mut client, next);
    assert_eq!(end["state"], "succeeded", "{end}");
    let (_, agent) = client.get("/v1/agents/chaos");
    assert_eq!(agent["serving"], end["result"]["number"], "{agent}");
}

fn run_upload(host: &Host, manifest: &std::path::Path) -> Output {
    let url = format!("http://{}", host.address);
    let manifest = manifest.display().to_string();
    run_ark(&["agent", "upload", &manifest, "--url", &url])
}

#[test]
fn the_command_ends_as_before_whatever_the_host_does_meanwhile() {
    let (dir, host) = start_host();
    let project = dir.path().join("project");
    ark_tests::copy_agent(&hostile_guests_dir(), "chaos", &project);
    let output = run_upload(&host, &project.join("chaos.toml"));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(told, "version 1 of chaos serves\n", "{output:?}");
    ark_tests::copy_agent(&hostile_guests_dir(), "trapping-heart", &project);
    let output = run_upload(&host, &project.join("trapping-heart.toml"));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("heartbeat") && told.contains("(422)"),
        "{told}"
    );
}
