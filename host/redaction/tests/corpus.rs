//! Precision and recall on the labelled corpus, and the cases from the field.
//!
//! `corpus.jsonl` has one text in a line with its area or script and the items in it (kind and value). `cases.jsonl` has texts and payloads that
//! were seen in the field, with what must not be stored and which kinds are found.

use std::collections::BTreeMap;

use ark_redaction::{DETECTORS, Redactor};
use serde_json::Value;

/// The fewest texts of the corpus, and the goals.
const MIN_TEXTS: usize = 400;
const MIN_PRECISION: f64 = 0.98;
const MIN_RECALL: f64 = 0.95;

struct LabelledText {
    area: String,
    text: String,
    items: Vec<(String, String)>,
}

fn read_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn read_corpus() -> Vec<LabelledText> {
    let text_of = |value: &Value| value.as_str().expect("a text").to_owned();
    read_lines(include_str!("corpus.jsonl"))
        .iter()
        .map(|line| LabelledText {
            area: text_of(&line["area"]),
            text: text_of(&line["text"]),
            items: line["items"]
                .as_array()
                .expect("items")
                .iter()
                .map(|item| (text_of(&item["kind"]), text_of(&item["value"])))
                .collect(),
        })
        .collect()
}

fn format_mark(kind: &str) -> String {
    let personal = ["email", "iban", "payment-card", "us-ssn", "phone"].contains(&kind);
    format!(
        "[{}:{kind}]",
        if personal { "personal" } else { "credential" }
    )
}

/// What redaction did to a text, against its labels.
struct TextScore {
    hits: usize,
    false_finds: usize,
    misses: usize,
}

/// Counts items: a hit is an item whose value is gone and whose mark is there. A mark too many is a false find; so is damage beside the items.
fn score_text(text: &LabelledText, redacted: &str) -> TextScore {
    let mut marks: BTreeMap<&str, usize> = BTreeMap::new();
    for part in redacted.split('[').skip(1) {
        if let Some((head, _)) = part.split_once(']')
            && let Some((class, kind)) = head.split_once(':')
            && ["credential", "personal"].contains(&class)
        {
            *marks.entry(kind).or_default() += 1;
        }
    }
    let found: usize = marks.values().sum();
    let mut hits = 0;
    for (kind, value) in &text.items {
        let left = marks.entry(kind).or_default();
        if *left > 0 && !redacted.contains(value.as_str()) {
            *left -= 1;
            hits += 1;
        }
    }
    let mut expected = text.text.clone();
    for (kind, value) in &text.items {
        expected = expected.replacen(value, &format_mark(kind), 1);
    }
    let is_equal = match (
        serde_json::from_str::<Value>(redacted),
        serde_json::from_str::<Value>(&expected),
    ) {
        (Ok(redacted), Ok(expected)) => redacted == expected,
        _ => redacted == expected,
    };
    let misses = text.items.len() - hits;
    let mut false_finds = found - hits;
    if misses == 0 && false_finds == 0 && !is_equal {
        false_finds = 1;
    }
    TextScore {
        hits,
        false_finds,
        misses,
    }
}

#[test]
fn the_corpus_is_redacted_with_the_precision_and_recall_that_are_promised() {
    let corpus = read_corpus();
    assert!(corpus.len() >= MIN_TEXTS, "{} texts", corpus.len());
    let (mut hits, mut false_finds, mut misses) = (0, 0, 0);
    for text in &corpus {
        let redacted = ark_redaction::redact_text(&text.text);
        let score = score_text(text, &redacted);
        if score.misses + score.false_finds > 0 {
            println!(
                "{}: {} missed, {} false: {:?} -> {redacted:?}",
                text.area, score.misses, score.false_finds, text.text
            );
        }
        hits += score.hits;
        false_finds += score.false_finds;
        misses += score.misses;
        assert_eq!(
            ark_redaction::redact_text(&redacted),
            redacted,
            "redacted twice: {}",
            text.text
        );
    }
    let precision = hits as f64 / (hits + false_finds) as f64;
    let recall = hits as f64 / (hits + misses) as f64;
    println!(
        "{} texts, {hits} items found, {false_finds} false, {misses} missed: precision {precision:.4}, recall {recall:.4}",
        corpus.len()
    );
    assert!(
        precision >= MIN_PRECISION && recall >= MIN_RECALL,
        "precision {precision:.4}, recall {recall:.4}"
    );
}

#[test]
fn the_cases_from_the_field_are_redacted_or_left_alone() {
    let mut wrong = Vec::new();
    for case in read_lines(include_str!("cases.jsonl")) {
        let mut redactor = Redactor::default();
        let (before, after) = if let Some(text) = case["text"].as_str() {
            let mut redacted = text.to_owned();
            redactor.redact_text(&mut redacted);
            (text.to_owned(), redacted)
        } else {
            let json = case.get("payload").or_else(|| case.get("trade"));
            let json = json.expect("a payload").to_string();
            let mut redacted = json.clone();
            redactor.redact_json(&mut redacted);
            (json, redacted)
        };
        let secrets: Vec<&str> = case["must_not_be_stored"]
            .as_array()
            .expect("values")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let findings = redactor.into_findings();
        let kinds = [findings.personal_data, findings.credentials].concat();
        let is_kept = secrets.iter().any(|secret| after.contains(secret));
        let is_altered = secrets.is_empty() && before != after;
        let expected = case["kinds"].as_array();
        let is_other_kind =
            expected.is_some_and(|expected| expected.iter().ne(kinds.iter().map(String::as_str)));
        if is_kept || is_altered || is_other_kind {
            wrong.push(format!("{before} -> {after} {kinds:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_page_of_detectors_is_the_table() {
    let page = include_str!("../../../docs/redaction.md");
    let table = ark_redaction::detectors_markdown();
    assert!(
        page.contains(&table),
        "docs/redaction.md must hold this table:\n{table}"
    );
    assert!(DETECTORS.iter().all(|row| table.contains(row.form)));
}
