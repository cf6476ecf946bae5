//! Properties of redaction that hold for every text.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use crate::context::NumberContext;
use crate::redactor::Redactor;
use crate::scan::find_matches;

/// How much longer a text can become: `cvv:123` becomes `cvv:[personal:payment-card]`.
fn longest_result(bytes: usize) -> usize {
    bytes * 5 + 64
}

fn check_text(text: &str) -> Result<(), TestCaseError> {
    let mut redacted = text.to_owned();
    let mut redactor = Redactor::default();
    let changed = redactor.redact_text(&mut redacted);
    prop_assert_eq!(changed, redacted != text);
    let findings = redactor.into_findings();
    prop_assert_eq!(
        changed,
        !findings.credentials.is_empty() || !findings.personal_data.is_empty()
    );
    prop_assert!(
        redacted.len() <= longest_result(text.len()),
        "{} bytes",
        redacted.len()
    );
    let mut again = redacted.clone();
    prop_assert!(
        !Redactor::default().redact_text(&mut again),
        "{:?} -> {:?}",
        redacted,
        again
    );
    if serde_json::from_str::<Value>(&redacted).is_err() {
        prop_assert_eq!(&find_matches(&redacted, NumberContext::None), &[]);
    }
    Ok(())
}

/// Parts that scanners react to, so that a text made of them meets their corners.
const PARTS: &[&str] = &[
    "password",
    "Password: ",
    "pwd=",
    "DB_PASSWORD=",
    "api_key",
    "token",
    "access_token=",
    "Authorization: ",
    "Basic ",
    "Bearer ",
    "Cookie: ",
    "a=",
    "seed phrase ",
    "abandon ",
    "cvv:",
    "card ",
    "order ",
    "tel ",
    "+1",
    "00",
    "(415) 555-0132",
    "4111",
    "4111111111111111",
    " ",
    "-",
    ".",
    ":",
    "=",
    "@",
    "://",
    "/",
    "\\",
    "\"",
    "'",
    "\\\"",
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    "&",
    "?",
    "\n",
    "\\n",
    "%40",
    "\\u0040",
    "alice",
    "example.com",
    "x.io",
    "AKIA",
    "IOSFODNN7EXAMPLE",
    "ghp_",
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "sk-",
    "eyJ",
    "-----BEGIN ",
    "PRIVATE KEY",
    "-----",
    "-----END ",
    "MIIBVgIBADANBgkqhkiG9w0",
    "DE89370400440532013000",
    "DE89 3704 0044",
    "123-45-6789",
    "密码",
    "是",
    "：",
    "пароль ",
    "パスワードは",
    "hunter22xx",
    "--password ",
    "-u ",
    "name: ",
    "value: ",
    "[credential:password]",
    "[personal:email]",
    "null",
    "${X}",
    "\u{200b}",
    "４",
    "é",
    "𝐩",
    "😀",
    "\u{301}",
    "0",
    "7123456789:AA",
    "1.5",
    "USD",
    "is ",
    "= ",
    "<",
    ">",
    "`",
    "(",
    ")",
];

fn any_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        8 => prop::sample::select(PARTS).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => "[ -~]{0,12}",
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        any_text().prop_map(Value::from),
        Just(Value::Null),
        Just(Value::from(4_111_111_111_111_111_u64)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any_text(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_text_is_settled_after_one_redaction(text in any_text()) {
        check_text(&text)?;
    }

    #[test]
    fn json_stays_json_and_is_settled(value in any_json()) {
        let before = value.to_string();
        let mut json = before.clone();
        let mut redactor = Redactor::default();
        let changed = redactor.redact_json(&mut json);
        prop_assert_eq!(changed, json != before);
        prop_assert!(json.len() <= longest_result(before.len()));
        let redacted: Value = serde_json::from_str(&json).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(value.as_object().map(serde_json::Map::len), redacted.as_object().map(serde_json::Map::len));
        let mut again = json.clone();
        prop_assert!(!Redactor::default().redact_json(&mut again), "{} -> {}", json, again);
    }
}

/// How much processor time a hostile text of 64 KiB may take in a build for tests: each of its bytes a fixed number of times. A quadratic
/// scanner takes minutes.
const LONGEST_SCAN: Duration = Duration::from_secs(2);

/// Returns the processor time that this thread has used, which does not grow while others keep the processors busy.
fn read_thread_time() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    let nanoseconds = times.split_whitespace().next().expect("a first field");
    Duration::from_nanos(nanoseconds.parse().expect("nanoseconds"))
}

#[test]
fn hostile_texts_take_linear_time() {
    let mut parts: Vec<String> = PARTS.iter().map(|part| (*part).to_owned()).collect();
    for first in PARTS {
        for second in [":", "@", " ", "-", "[\""] {
            parts.push(format!("{first}{second}"));
        }
    }
    parts.push("-----BEGIN PRIVATE KEY-----".to_owned());
    parts.push("-----BEGIN PRIVATE KEY-----\nMIIBVgIBADANBgkqhkiG9w0".to_owned());
    parts.push("a.b@".to_owned());
    parts.push("https://a:b/".to_owned());
    parts.push("password=[\"".to_owned());
    for part in &parts {
        let text = part.repeat((64 * 1024 / part.len()).max(1));
        let started = read_thread_time();
        let mut redacted = text.clone();
        Redactor::default().redact_text(&mut redacted);
        let taken = read_thread_time().saturating_sub(started);
        assert!(taken < LONGEST_SCAN, "{part:?} takes {taken:?}");
        assert!(redacted.len() <= longest_result(text.len()), "{part:?}");
    }
}

#[test]
fn many_names_that_become_equal_are_kept_apart_in_linear_time() {
    let members: serde_json::Map<String, Value> = (0..4000)
        .map(|number| (format!("u{number}@example.com"), Value::from(number)))
        .collect();
    let mut json = Value::Object(members).to_string();
    let started = read_thread_time();
    assert!(Redactor::default().redact_json(&mut json));
    let taken = read_thread_time().saturating_sub(started);
    assert!(taken < LONGEST_SCAN, "{taken:?}");
    let redacted: Value = serde_json::from_str(&json).expect("JSON");
    let members = redacted.as_object().expect("an object");
    assert_eq!(members.len(), 4000);
    assert!(
        members.contains_key("[personal:email]") && members.contains_key("[personal:email] (2)")
    );
    assert!(!json.contains("example.com"));
}

#[test]
fn json_is_searched_by_names_and_values() {
    for (json, expected) in [
        (
            r#"{"a":{"API-Key":"x"}}"#,
            r#"{"a":{"API-Key":"[credential:api-key]"}}"#,
        ),
        (
            r#"{"bob@example.com":[4111111111111111,"+14155550100"]}"#,
            r#"{"[personal:email]":["[personal:payment-card]","[personal:phone]"]}"#,
        ),
        (
            r#"{"password":{"value":["x1"],"n":7}}"#,
            r#"{"password":{"n":"[credential:password]","value":["[credential:password]"]}}"#,
        ),
        (
            r#"{"password":{"min_length":12,"type":"string"}}"#,
            r#"{"password":{"min_length":12,"type":"string"}}"#,
        ),
        (
            r#"{"password":true,"secret":null,"api_key":"${KEY}"}"#,
            r#"{"password":true,"secret":null,"api_key":"${KEY}"}"#,
        ),
        (
            r#"{"name":"DB_PASSWORD","value":"abc"}"#,
            r#"{"name":"DB_PASSWORD","value":"[credential:password]"}"#,
        ),
        (
            r#"[["Authorization","Basic aHVudGVyMjJ4eA=="]]"#,
            r#"[["Authorization","Basic [credential:bearer-token]"]]"#,
        ),
        (
            r#"{"body":"{\"pin_code\":4711}"}"#,
            r#"{"body":"{\"pin_code\":\"[credential:password]\"}"}"#,
        ),
        (
            r#"{"body":"{\"a\":\"pw: hunter22\",\"a\":1}"}"#,
            r#"{"body":"{\"a\":\"pw: [credential:password]\",\"a\":1}"}"#,
        ),
        (
            r#"{"access_tokens":12,"max_tokens":4096,"token":"USDC"}"#,
            r#"{"access_tokens":12,"max_tokens":4096,"token":"USDC"}"#,
        ),
        (
            r#"{"client_order_id":4111111111111111,"order":{"id":"5555555555554444"}}"#,
            r#"{"client_order_id":4111111111111111,"order":{"id":"5555555555554444"}}"#,
        ),
        (
            r#"{"phone":14155550100,"cvv":123}"#,
            r#"{"cvv":"[personal:payment-card]","phone":"[personal:phone]"}"#,
        ),
        (
            r#"{"Cookie":"sid=31d4d96e407aad42; theme=dark"}"#,
            r#"{"Cookie":"sid=[credential:access-token]; theme=dark"}"#,
        ),
        (r#"{ "spaces" : "stay" }"#, r#"{ "spaces" : "stay" }"#),
    ] {
        let mut redacted = json.to_owned();
        let changed = Redactor::default().redact_json(&mut redacted);
        assert_eq!(redacted, expected);
        assert_eq!(changed, json != expected);
    }
}
