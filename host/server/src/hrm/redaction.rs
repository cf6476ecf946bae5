//! Finds credentials and personal data in an action and replaces them before anything is judged or stored.
//!
//! What was found is attested as a fact, by kind and never by value, so that a rule can deny an action for what it contained. Every free text of an
//! action is searched; JSON in it is searched by keys and values. The patterns cover common forms. Encoded, encrypted or split values are not
//! found.
//!
//! Must not know: rules, storage.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::{Captures, Regex, RegexSet};
use serde_json::Value;

use ark_model::action::{Action, Parameters};

/// The kinds of data found in an action, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Kinds of personal data, e.g. `email`.
    pub personal_data: Vec<String>,
    /// Kinds of credentials, e.g. `aws-access-key`.
    pub credentials: Vec<String>,
}

/// Replaces every credential in an action by `[credential:KIND]` and every item of personal data by `[personal:KIND]`.
#[must_use]
pub fn redact_action(mut action: Action) -> (Action, Findings) {
    let mut redactor = Redactor::default();
    let texts = [&mut action.reasoning, &mut action.rollback_plan];
    for text in texts.into_iter().flatten().chain(&mut action.sources) {
        redactor.redact_text(text);
    }
    match &mut action.parameters {
        Parameters::Trade(trade) => redactor.redact_json(&mut trade.extra_json),
        Parameters::ClosePosition(close) => redactor.redact_json(&mut close.extra_json),
        Parameters::Data(data) => {
            for text in [&mut data.subject, &mut data.destination, &mut data.purpose]
                .into_iter()
                .flatten()
            {
                redactor.redact_text(text);
            }
            redactor.redact_json(&mut data.extra_json);
        }
        Parameters::File(file) => {
            redactor.redact_text(&mut file.path);
            redactor.redact_json(&mut file.extra_json);
        }
        Parameters::Code(code) => {
            redactor.redact_text(&mut code.code);
            redactor.redact_json(&mut code.extra_json);
        }
        Parameters::Message(message) => {
            if let Some(text) = &mut message.text {
                redactor.redact_text(text);
            }
            if let Some(payload) = &mut message.payload_json {
                redactor.redact_json(payload);
            }
            redactor.redact_json(&mut message.extra_json);
        }
        Parameters::System(system) => redactor.redact_json(&mut system.parameters_json),
        Parameters::Custom(custom) => redactor.redact_json(&mut custom.parameters_json),
    }
    (action, redactor.into_findings())
}

/// Replaces credentials and personal data in a text as [`redact_action`] does.
#[must_use]
pub fn redact_text(text: &str) -> String {
    let mut text = text.to_owned();
    Redactor::default().redact_text(&mut text);
    text
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FindingClass {
    Credential,
    Personal,
}

struct Pattern {
    kind: &'static str,
    class: FindingClass,
    regex: Regex,
    /// Rejects a match that only looks like the kind.
    confirm: fn(&str) -> bool,
}

/// Kind, class, expression, confirmation of a match. A group named `secret` limits what is replaced.
type PatternRow = (&'static str, FindingClass, &'static str, fn(&str) -> bool);

const PATTERNS: &[PatternRow] = &[
    (
        "private-key",
        FindingClass::Credential,
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?-----END [A-Z ]*PRIVATE KEY-----)?",
        accept_match,
    ),
    (
        "aws-access-key",
        FindingClass::Credential,
        r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
        accept_match,
    ),
    (
        "github-token",
        FindingClass::Credential,
        r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{20,})\b",
        accept_match,
    ),
    (
        "ark-token",
        FindingClass::Credential,
        r"\bark_[0-9a-f]{64}\b",
        accept_match,
    ),
    (
        "slack-token",
        FindingClass::Credential,
        r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
        accept_match,
    ),
    (
        "api-key",
        FindingClass::Credential,
        r"\bsk-[A-Za-z0-9_-]{20,}",
        accept_match,
    ),
    (
        "json-web-token",
        FindingClass::Credential,
        r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
        accept_match,
    ),
    (
        "bearer-token",
        FindingClass::Credential,
        r"(?i)\bbearer\s+(?P<secret>[A-Za-z0-9._~+/=-]{16,})",
        accept_match,
    ),
    (
        "url-password",
        FindingClass::Credential,
        r"[a-z][a-z0-9+.-]+://[^\s/:@]+:(?P<secret>[^\s/@]+)@",
        accept_match,
    ),
    (
        "password",
        FindingClass::Credential,
        r#"(?i)\b(?:password|passwd|pwd|passphrase|secret|api[_-]?key|access[_-]?token|auth[_-]?token|client[_-]?secret)["']?\s{0,4}[:=]\s{0,4}["']?(?P<secret>[^\s"',;\[]{6,})"#,
        accept_match,
    ),
    (
        "email",
        FindingClass::Personal,
        r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}\b",
        accept_match,
    ),
    (
        "iban",
        FindingClass::Personal,
        r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}\b",
        has_iban_digits,
    ),
    (
        "payment-card",
        FindingClass::Personal,
        r"(?:^|[^0-9A-Za-z.])(?P<secret>[2-6][0-9](?:[ -]?[0-9]){11,17})(?:$|[^0-9A-Za-z])",
        has_luhn_digit,
    ),
    (
        "us-ssn",
        FindingClass::Personal,
        r"\b[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}\b",
        accept_match,
    ),
    (
        "phone",
        FindingClass::Personal,
        r"(?:^|[^0-9A-Za-z.])(?P<secret>(?:\+|00)[1-9](?:[ ()./-]{0,2}[0-9]){7,14})\b",
        is_phone_number,
    ),
];

/// Names of JSON members whose text value is a credential whatever it looks like.
const SECRET_MEMBERS: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "client_secret",
    "api_key",
    "apikey",
    "access_token",
    "auth_token",
    "refresh_token",
    "private_key",
    "secret_key",
];

static SCAN: LazyLock<Option<(RegexSet, Vec<Pattern>)>> = LazyLock::new(|| {
    let set = RegexSet::new(PATTERNS.iter().map(|row| row.2)).ok()?;
    let patterns: Option<Vec<Pattern>> = PATTERNS
        .iter()
        .map(|&(kind, class, expression, confirm)| {
            Some(Pattern {
                kind,
                class,
                regex: Regex::new(expression).ok()?,
                confirm,
            })
        })
        .collect();
    Some((set, patterns?))
});

#[derive(Default)]
struct Redactor {
    personal_data: BTreeSet<&'static str>,
    credentials: BTreeSet<&'static str>,
}

impl Redactor {
    fn redact_text(&mut self, text: &mut String) {
        // Unreachable while the expressions compile, which a test checks. Otherwise no text passes unread.
        let Some((set, patterns)) = &*SCAN else {
            self.credentials.insert("unreadable");
            "[credential:unreadable]".clone_into(text);
            return;
        };
        for index in &set.matches(text) {
            let pattern = &patterns[index];
            let mut hit = false;
            let replaced = pattern.regex.replace_all(text, |captures: &Captures<'_>| {
                let matched = &captures[0];
                if !(pattern.confirm)(matched) {
                    return matched.to_owned();
                }
                hit = true;
                let mark = match pattern.class {
                    FindingClass::Credential => format!("[credential:{}]", pattern.kind),
                    FindingClass::Personal => format!("[personal:{}]", pattern.kind),
                };
                match captures.name("secret") {
                    Some(secret) => matched.replace(secret.as_str(), &mark),
                    None => mark,
                }
            });
            if hit {
                *text = replaced.into_owned();
                self.add_finding(pattern.class, pattern.kind);
            }
        }
    }

    fn redact_json(&mut self, json: &mut String) {
        if json == "{}" {
            return;
        }
        match serde_json::from_str::<Value>(json) {
            Ok(mut value) => {
                self.redact_value(&mut value);
                *json = value.to_string();
            }
            // The JSON was checked before. If it is malformed all the same, it is searched as text.
            Err(_) => self.redact_text(json),
        }
    }

    fn redact_value(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => self.redact_text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact_value(item)),
            Value::Object(members) => {
                let old = std::mem::take(members);
                for (mut name, mut value) in old {
                    if let Value::String(text) = &mut value
                        && !text.is_empty()
                        && SECRET_MEMBERS
                            .contains(&name.to_ascii_lowercase().replace('-', "_").as_str())
                    {
                        "[credential:password]".clone_into(text);
                        self.add_finding(FindingClass::Credential, "password");
                    } else {
                        self.redact_value(&mut value);
                    }
                    self.redact_text(&mut name);
                    members.insert(name, value);
                }
            }
            // A card number or a phone number is personal data without quotes too.
            Value::Number(number) if number.is_i64() || number.is_u64() => {
                let mut text = number.to_string();
                let before = text.clone();
                self.redact_text(&mut text);
                if text != before {
                    *value = Value::String(text);
                }
            }
            Value::Number(_) | Value::Null | Value::Bool(_) => {}
        }
    }

    fn add_finding(&mut self, class: FindingClass, kind: &'static str) {
        match class {
            FindingClass::Credential => self.credentials.insert(kind),
            FindingClass::Personal => self.personal_data.insert(kind),
        };
    }

    fn into_findings(self) -> Findings {
        let owned = |set: BTreeSet<&str>| set.into_iter().map(str::to_owned).collect();
        Findings {
            personal_data: owned(self.personal_data),
            credentials: owned(self.credentials),
        }
    }
}

fn accept_match(_: &str) -> bool {
    true
}

/// Rejects decimal numbers with a sign.
fn is_phone_number(text: &str) -> bool {
    let separators = text
        .chars()
        .filter(|c| !c.is_ascii_digit() && *c != '+')
        .collect::<String>();
    separators.trim() != "."
}

/// Checks the length of a payment card number and its check digit (ISO/IEC 7812-1, annex B).
fn has_luhn_digit(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, &digit)| match (index % 2, digit * 2) {
            (0, _) => digit,
            (_, double) if double > 9 => double - 9,
            (_, double) => double,
        })
        .sum();
    (13..=19).contains(&digits.len()) && sum.is_multiple_of(10)
}

/// Checks the length of an IBAN and its check digits (ISO 13616: the rearranged number is 1 modulo 97).
fn has_iban_digits(text: &str) -> bool {
    let plain: Vec<u32> = text.chars().filter_map(|c| c.to_digit(36)).collect();
    if !(15..=34).contains(&plain.len()) {
        return false;
    }
    let (head, tail) = plain.split_at(4);
    tail.iter().chain(head).fold(0, |rest, &digit| {
        if digit > 9 {
            (rest * 100 + digit) % 97
        } else {
            (rest * 10 + digit) % 97
        }
    }) == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact_sample(text: &str) -> (String, Findings) {
        let mut redactor = Redactor::default();
        let mut text = text.to_owned();
        redactor.redact_text(&mut text);
        (text, redactor.into_findings())
    }

    #[test]
    fn each_kind_is_found_and_replaced() {
        let cases = [
            ("AKIAIOSFODNN7EXAMPLE", "aws-access-key"),
            (
                "key ghp_0123456789abcdefghijABCDEFGHIJ012345 end",
                "github-token",
            ),
            ("xoxb-123456789012-abcdefghij", "slack-token"),
            (
                "Authorization: Bearer abcdefghijklmnopqrstuvwxyz",
                "bearer-token",
            ),
            (
                "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
                "json-web-token",
            ),
            ("postgres://app:hunter22@db/x", "url-password"),
            ("password = hunter22", "password"),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
                "private-key",
            ),
            ("sk-abcdefghijklmnopqrstuvwx", "api-key"),
        ];
        for (text, kind) in cases {
            let (redacted, findings) = redact_sample(text);
            assert!(
                findings.credentials.iter().any(|found| found == kind),
                "{text}: {findings:?}"
            );
            assert!(redacted.contains("[credential:"), "{redacted}");
            for secret in ["hunter22", "AKIAI", "abcdefghijklmnop", "dozjgNry", "\nabc"] {
                assert!(!redacted.contains(secret), "{redacted}");
            }
        }
        let cases = [
            ("write to alice.b@example.co.uk now", "email"),
            ("call +49 (30) 1234-5678", "phone"),
            ("card 4111 1111 1111 1111", "payment-card"),
            ("iban DE89 3704 0044 0532 0130 00", "iban"),
            ("ssn 078-05-1120", "us-ssn"),
        ];
        for (text, kind) in cases {
            let (redacted, findings) = redact_sample(text);
            assert_eq!(findings.personal_data, [kind], "{text} -> {redacted}");
            assert!(
                redacted.contains(&format!("[personal:{kind}]")),
                "{redacted}"
            );
        }
    }

    #[test]
    fn ordinary_texts_stay_as_they_are() {
        for text in [
            "breakout above 64250.50 on 2.3x volume, confidence 0.81",
            "position 0.05 of BTC-USD, stop 61000, target 70500",
            "trace 0192f1e2a3b4c5d6e7f8091a2b3c4d5e",
            "order 4111 1111 1111 1112",
            "2026-11-23T10:00:00Z",
            "mail me @ noon",
            "secretly bearish",
            "{\"volatility\":0.0012345678901234,\"z\":-4.4111111111111111,\"price\":64250.123456789}",
            "moved +3.14159265358 deviations, 0.00123456789 of capital",
        ] {
            assert_eq!(redact_sample(text), (text.to_owned(), Findings::default()));
        }
    }

    #[test]
    fn json_is_searched_by_key_and_value() {
        let mut redactor = Redactor::default();
        let mut json =
            r#"{"a":{"API-Key":"x"},"bob@example.com":[4111111111111111,"+14155550100"]}"#
                .to_owned();
        redactor.redact_json(&mut json);
        assert_eq!(
            json,
            r#"{"[personal:email]":["[personal:payment-card]","[personal:phone]"],"a":{"API-Key":"[credential:password]"}}"#
        );
        let findings = redactor.into_findings();
        assert_eq!(findings.credentials, ["password"]);
        assert_eq!(findings.personal_data, ["email", "payment-card", "phone"]);
    }
}
