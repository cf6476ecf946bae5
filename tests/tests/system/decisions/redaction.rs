//! What redaction promises, at the boundary: no secret of the cases is in a file of the host or a log line, and innocent texts come back unaltered.

use std::fs;
use std::path::Path;

use ark_tests::{
    Client, Host, PATIENT, TestDir, copy_agent, hostile_guests_dir, post_signal, trade,
    wait_for_trace,
};
use serde_json::{Value, json};

/// Texts and payloads from the field, with what must not be stored.
const CASES: &str = include_str!("../../../../host/redaction/tests/cases.jsonl");

fn list_cases() -> impl Iterator<Item = Value> {
    CASES
        .lines()
        .map(|line| serde_json::from_str(line).expect("a case"))
}

fn secrets_of(case: &Value) -> Vec<String> {
    let secrets = case["must_not_be_stored"].as_array().expect("values");
    secrets
        .iter()
        .map(|secret| secret.as_str().expect("a text").to_owned())
        .collect()
}

/// Fails when one of the secrets is in a file below a directory.
fn assert_not_stored(dir: &Path, secrets: &[String]) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            assert_not_stored(&path, secrets);
            continue;
        }
        // A file such as the shared memory of SQLite may go meanwhile.
        let Ok(bytes) = fs::read(&path) else { continue };
        for secret in secrets {
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "{secret:?} is in {}", path.display());
        }
    }
}

/// Fails when one of the secrets is in the record of a decision, which the database has in a packed form.
fn assert_not_recorded(client: &mut Client, secrets: &[String]) {
    let records = client.get_text("/v1/decisions/export");
    assert!(records.lines().count() > 1, "{records}");
    for secret in secrets {
        assert!(!records.contains(secret), "{secret:?} is on record");
    }
}

fn propose_request(client: &mut Client, request: &Value) -> Value {
    let (status, answer) = client.post("/v1/actions", request);
    assert_eq!(status, 200, "{request}: {answer}");
    let id = answer["decision_id"].as_str().expect("an id");
    let (status, decision) = client.get(&format!("/v1/decisions/{id}"));
    assert_eq!(status, 200, "{decision}");
    decision
}

#[test]
fn secrets_of_the_cases_are_stored_nowhere_and_innocent_texts_are_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let environment = [("ARK_LOG_FORMAT", "json"), ("ARK_LOG", "debug")];
    let host =
        Host::try_start_with(&data, &[], &environment).unwrap_or_else(|output| panic!("{output}"));
    let mut client = Client::new(&host);
    let mut secrets = Vec::new();
    let mut checked = 0;
    for case in list_cases() {
        let own = secrets_of(&case);
        let (request, place, given) = if let Some(payload) = case.get("payload") {
            let request = json!({"agent": "api", "action_type": "report", "parameters": {"payload": payload}, "reasoning": "r"});
            (
                request,
                "/action/parameters/payload_json",
                payload.to_string(),
            )
        } else if let Some(extra) = case.get("trade") {
            let mut request = trade("BTC-USD", 0.001);
            let parameters = request["parameters"].as_object_mut().expect("parameters");
            parameters.extend(extra.as_object().expect("an object").clone());
            (request, "/action/parameters/extra_json", extra.to_string())
        } else {
            let text = case["text"].as_str().expect("a text");
            let request = json!({"agent": "api", "action_type": "report", "parameters": {"text": text}, "reasoning": text});
            (request, "/action/parameters/text", text.to_owned())
        };
        let decision = propose_request(&mut client, &request);
        let kept = decision
            .pointer(place)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("no {place}: {decision}"));
        assert_eq!(kept == given, own.is_empty(), "{given:?} became {kept:?}");
        if let Some(text) = case["text"].as_str().filter(|text| !text.contains('\n')) {
            // A label is a free text too.
            let request = json!({"agent": "api", "action_type": "execute_code", "parameters": {"language": text, "code": "1"}, "reasoning": "r"});
            let decision = propose_request(&mut client, &request);
            let kept = decision["action"]["parameters"]["language"].as_str();
            assert_eq!(
                kept == Some(text),
                own.is_empty(),
                "{text:?} became {kept:?}"
            );
        }
        secrets.extend(own);
        checked += 1;
    }
    assert!(checked > 25 && secrets.len() > 10, "{checked} cases");
    assert_not_stored(&data, &secrets);
    assert_not_recorded(&mut client, &secrets);
    let log = host.terminate_for_log();
    for secret in &secrets {
        assert!(!log.contains(secret.as_str()), "{secret:?} is in the log");
    }
    assert_not_stored(&data, &secrets);
}

#[test]
fn an_identifier_that_holds_a_credential_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let mut client = Client::new(&host);
    let decision = propose_request(&mut client, &trade("AKIAIOSFODNN7EXAMPLE", 0.001));
    assert_eq!(decision["outcome"], "denied", "{decision}");
    let shown = decision.to_string();
    assert!(
        shown.contains("`parameters.symbol` holds a credential") && !shown.contains("AKIAIOSF"),
        "{shown}"
    );
    // Digits of a symbol are digits.
    let decision = propose_request(&mut client, &trade("4111111111111111", 0.001));
    assert_eq!(
        decision["action"]["parameters"]["symbol"],
        "4111111111111111"
    );
}

#[test]
fn proposals_and_failures_are_recorded_without_secrets() {
    let dir = TestDir::new(PATIENT);
    copy_agent(&hostile_guests_dir(), "forger", &dir.agents());
    let host = dir.start();
    let mut client = Client::new(&host);
    let mut run = |trick: &str| {
        let answer = post_signal(&mut client, "forger.go", &json!(trick));
        let trace = answer["trace_id"].as_str().expect("a trace id");
        wait_for_trace(&mut client, trace, |trace| trace["pending_deliveries"] == 0)
    };
    let outcomes = |trace: &Value| -> Vec<(String, String)> {
        let steps = trace["steps"].as_array().expect("steps");
        let decisions = steps.iter().filter_map(|step| {
            Some((
                step["outcome"].as_str()?.to_owned(),
                step["reasons"].to_string(),
            ))
        });
        decisions.collect()
    };
    let secrets = outcomes(&run("secrets"));
    assert_eq!(secrets.len(), 3, "{secrets:?}");
    for (outcome, reasons) in &secrets {
        assert!(
            outcome == "denied" && reasons.contains("encrypt_credentials"),
            "{secrets:?}"
        );
    }
    let confession = run("confess").to_string();
    assert!(
        confession.contains("[personal:email]") && confession.contains("[credential:password]"),
        "{confession}"
    );
    let again = outcomes(&run("again"));
    let repeated = |(_, reasons): &(String, String)| reasons.contains("prevent_infinite_loops");
    assert_eq!(again.len(), 11, "{again:?}");
    assert!(!again[..10].iter().any(repeated), "{again:?}");
    assert!(again[10].0 == "denied" && repeated(&again[10]), "{again:?}");
    let letters = outcomes(&run("letters"));
    assert_eq!(letters.len(), 11, "{letters:?}");
    assert!(!letters.iter().any(repeated), "{letters:?}");
    // The component itself holds its texts, so only what the host writes is searched.
    let words = [
        "forged-22xx",
        "carol@example.com",
        "carol%40example.com",
        "Zm9yZ2VkLTIyeHg",
        "4711922",
        "MIIBVgIBADANBgkqhkiG9w0",
    ]
    .map(str::to_owned);
    assert_not_recorded(&mut client, &words);
    let log = host.terminate_for_log();
    for name in ["ark.db", "ark.db-wal"] {
        let Ok(bytes) = fs::read(dir.data().join(name)) else {
            continue;
        };
        for word in &words {
            let found = bytes
                .windows(word.len())
                .any(|window| window == word.as_bytes());
            assert!(!found, "{word:?} is in {name}");
        }
    }
    for word in &words {
        assert!(!log.contains(word.as_str()), "{word:?} is in the log");
    }
    let capsules = dir.data().join("capsules");
    assert_not_stored(&capsules, &words);
}

#[test]
fn a_repetition_is_one_in_small_disguises_and_over_http_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let mut client = Client::new(&host);
    let mut last = String::new();
    for time in 0..11_u32 {
        let text = if time % 2 == 0 {
            "the desk is open"
        } else {
            "the  desk\u{200b} is open"
        };
        let request = json!({"agent": "api", "action_type": "report", "reasoning": format!("reason {time}"),
            "parameters": {"text": text, "level": 2.5 + f64::from(time) * 1e-12}});
        let (status, answer) = client.post("/v1/actions", &request);
        assert_eq!(status, 200, "{answer}");
        last = answer["outcome"].as_str().expect("an outcome").to_owned();
        assert_eq!(last == "denied", time == 10, "{time}: {answer}");
    }
    assert_eq!(last, "denied");
    for number in 0..11 {
        let request = json!({"agent": "api", "action_type": "report", "reasoning": "r",
            "parameters": {"text": format!("password: secret-{number}-xyz")}});
        let decision = propose_request(&mut client, &request);
        let kept = decision["action"]["parameters"]["text"].as_str();
        assert_eq!(kept, Some("password: [credential:password]"));
        assert!(
            !decision["reasons"]
                .to_string()
                .contains("prevent_infinite_loops"),
            "{decision}"
        );
    }
}
