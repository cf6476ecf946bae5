//! Rules 15 to 18 against a table each: fires, does not fire, the exact limit, just past it, and hostile forms.

mod cases;

use ark_guest::policy::RuleResult::{NotApplicable, Pass, Violation};
use ark_guest::policy::{Consent, Sensitivity};
use cases::{Line, but, check, code, data, facts, message, neutral, text, trade, with_open};

#[test]
fn rule_15_protect_user_data() {
    let to = |destination: &str| {
        let destination = destination.to_owned();
        data(move |d| (d.contains_personal_data, d.destination) = (true, Some(destination)))
    };
    let with = |encryption, anonymized| {
        data(move |d| {
            (
                d.contains_personal_data,
                d.destination,
                d.encryption,
                d.anonymized,
            ) = (true, Some("x".to_owned()), encryption, anonymized);
        })
    };
    let found = || facts(|f| f.personal_data = text(&["email"]));
    check(
        15,
        vec![
            ("inside", to("internal"), neutral(), Pass),
            (
                "nowhere",
                data(|d| d.contains_personal_data = true),
                neutral(),
                Pass,
            ),
            ("outside", to("broker-x"), neutral(), Violation),
            ("encrypted", with(true, false), neutral(), Pass),
            ("anonymised", with(false, true), neutral(), Pass),
            ("no name is not inside", to(""), neutral(), Violation),
            ("nearly internal", to(" Internal"), neutral(), Violation),
            (
                "outside, not declared but found",
                data(|d| d.destination = Some("x".to_owned())),
                found(),
                Violation,
            ),
            (
                "outside, nothing personal",
                data(|d| d.destination = Some("x".to_owned())),
                neutral(),
                NotApplicable,
            ),
            (
                "external without a destination",
                but(data(|d| d.contains_personal_data = true), |a| {
                    a.external = Some(true);
                }),
                neutral(),
                Violation,
            ),
            (
                "calling a receiver internal by the flag",
                but(to("broker-x"), |a| a.external = Some(false)),
                neutral(),
                Violation,
            ),
            (
                "consent does not help",
                to("broker-x"),
                facts(|f| f.consent = Consent::Granted),
                Violation,
            ),
            ("no data action", message("message"), found(), NotApplicable),
        ],
    );
}

#[test]
fn rule_16_require_consent() {
    let personal = || data(|d| d.contains_personal_data = true);
    let by = |consent| facts(|f| f.consent = consent);
    check(
        16,
        vec![
            ("granted", personal(), by(Consent::Granted), Pass),
            ("unknown", personal(), by(Consent::Unknown), Violation),
            ("refused", personal(), by(Consent::Refused), Violation),
            (
                "not declared but found",
                data(|_| {}),
                facts(|f| f.personal_data = text(&["phone"])),
                Violation,
            ),
            ("nothing personal", data(|_| {}), neutral(), NotApplicable),
            (
                "nothing personal, granted",
                data(|_| {}),
                by(Consent::Granted),
                NotApplicable,
            ),
            (
                "a refusal holds whatever is said of the data",
                data(|d| d.contains_personal_data = false),
                by(Consent::Refused),
                Violation,
            ),
            (
                "a refusal of anonymised data",
                data(|d| d.anonymized = true),
                by(Consent::Refused),
                Violation,
            ),
            (
                "a claim does not beat a refusal",
                data(|d| d.user_consent = Some(true)),
                by(Consent::Refused),
                Violation,
            ),
            (
                "refused, as the proposer says",
                data(|d| d.user_consent = Some(false)),
                by(Consent::Granted),
                Violation,
            ),
            (
                "granted, as the proposer says",
                data(|d| (d.contains_personal_data, d.user_consent) = (true, Some(true))),
                neutral(),
                Violation,
            ),
            (
                "a claim",
                with_open(personal(), r#"{"consent_granted":true}"#),
                neutral(),
                Violation,
            ),
            (
                "no data action",
                trade(|_| {}),
                by(Consent::Refused),
                NotApplicable,
            ),
        ],
    );
}

#[test]
fn rule_17_anonymize_logs() {
    let found = || facts(|f| f.personal_data = text(&["email", "phone"]));
    let mut lines: Vec<Line> = vec![
        ("nothing found", message("message"), neutral(), Pass),
        ("a trade", trade(|_| {}), found(), NotApplicable),
    ];
    lines.extend(
        ["message", "publish", "report", "log"]
            .map(|name| (name, message(name), found(), Violation)),
    );
    lines.push((
        "a claim",
        with_open(message("log"), r#"{"anonymized":true}"#),
        found(),
        Violation,
    ));
    check(17, lines);
}

#[test]
fn rule_18_encrypt_credentials() {
    let delicate = |sensitivity, encryption| {
        data(move |d| (d.data_sensitivity, d.encryption) = (Some(sensitivity), encryption))
    };
    let found = || facts(|f| f.credentials = text(&["jwt"]));
    check(
        18,
        vec![
            (
                "high, in clear",
                delicate(Sensitivity::High, false),
                neutral(),
                Violation,
            ),
            (
                "high, encrypted",
                delicate(Sensitivity::High, true),
                neutral(),
                Pass,
            ),
            (
                "medium, in clear",
                delicate(Sensitivity::Medium, false),
                neutral(),
                Pass,
            ),
            ("not said", data(|_| {}), neutral(), Pass),
            (
                "a credential in encrypted data",
                delicate(Sensitivity::High, true),
                found(),
                Violation,
            ),
            ("a credential in a trade", trade(|_| {}), found(), Violation),
            (
                "a credential in a message",
                message("message"),
                found(),
                Violation,
            ),
            ("none", code("1"), neutral(), Pass),
        ],
    );
}
