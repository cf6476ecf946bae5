//! Tests of the index of decisions: filters, pages, bounds, and what becomes of it in a migration and with an archive.

use std::sync::Arc;

use ark_model::decision::Outcome;
use ark_model::ids::{AuditId, Digest, Millis, TraceId};
use ark_model::instrument::InstrumentKey;
use ark_model::verdict::RuleResult;
use rusqlite::Connection;

use super::{make_entry, make_name, open};
use crate::schema::migrate_schema;
use crate::tables::audit::append_entry;
use crate::*;

fn make_fired_rule(rule: &str) -> FiredRule {
    FiredRule {
        policy: "graveyard".to_owned(),
        number: 7,
        rule: rule.to_owned(),
        answer: RuleResult::Violation,
    }
}

/// The metadata of the policy of [`make_fired_rule`].
pub(super) fn make_policy() -> PolicyRecord {
    let metadata = r#"{"name":"graveyard","version":"1.0.0","rules":[
        {"number":7,"name":"stop_loss_required","category":"risk","severity":"high","hold":false,"description":"A stop loss."}]}"#;
    PolicyRecord {
        digest: Digest::hash_bytes(b"judged"),
        metadata_json: metadata.to_owned(),
    }
}

/// A record that says what the index holds of it.
fn make_record(subject: &IndexedFields) -> String {
    let answers: Vec<_> = subject
        .fired
        .iter()
        .map(|fired| serde_json::json!([fired.number, fired.answer, null]))
        .collect();
    serde_json::json!({
        "action": {"parameters": {"symbol": subject.symbol, "position_size_pct": subject.size}},
        "verdicts": [{"digest": make_policy().digest, "answers": answers}],
    })
    .to_string()
}

/// Decisions of some agents on some instruments, with a clock that is set back twice.
pub(super) fn make_decisions(count: u64) -> Vec<AuditEntry> {
    const OUTCOMES: [Outcome; 3] = [Outcome::Approved, Outcome::Held, Outcome::Denied];
    const SYMBOLS: [Option<&str>; 4] = [Some("BTC-USD"), Some("btc/usd"), Some("ETH-USD"), None];
    let trace = TraceId::fresh();
    (0..count)
        .map(|n| {
            let pick = usize::try_from(n * 7 + n / 5).unwrap();
            let subject = IndexedFields {
                symbol: SYMBOLS[pick % 4].map(str::to_owned),
                size: (n % 2 == 0).then_some(0.05),
                fired: if n % 9 == 0 {
                    vec![make_fired_rule("stop_loss_required")]
                } else {
                    Vec::new()
                },
            };
            AuditEntry {
                body: make_record(&subject),
                trace_id: Some(if n % 11 == 0 { trace } else { TraceId::fresh() }),
                agent: Some(make_name(["kenny", "joey"][pick % 2])),
                outcome: Some(OUTCOMES[pick % 3]),
                at: Millis(1_000 + n * 10 - if n % 100 > 60 { 300 } else { 0 }),
                subject: Some(Arc::new(subject)),
                ..make_entry(AuditId::fresh())
            }
        })
        .collect()
}

pub(super) fn commit(store: &Store, audit: Vec<AuditEntry>) {
    let unit = Unit {
        audit,
        policies: vec![make_policy()],
        ..Unit::default()
    };
    store.commit(unit).unwrap();
}

fn make_keys(symbols: &[&str]) -> Vec<InstrumentKey> {
    symbols
        .iter()
        .map(|it| InstrumentKey::from_symbol(it))
        .collect()
}

/// Filters by each member, alone and together, also such that match nothing.
fn filters_for(made: &[AuditEntry]) -> Vec<DecisionFilter> {
    let all = DecisionFilter::default;
    vec![
        all(),
        DecisionFilter {
            agent: Some(make_name("joey")),
            ..all()
        },
        DecisionFilter {
            outcome: Some(Outcome::Held),
            action_type: Some("trade".to_owned()),
            ..all()
        },
        DecisionFilter {
            action_type: Some("buy".to_owned()),
            ..all()
        },
        DecisionFilter {
            trace_id: made[0].trace_id,
            ..all()
        },
        DecisionFilter {
            trace_id: made[0].trace_id,
            instruments: Some(make_keys(&["BTCUSD"])),
            ..all()
        },
        DecisionFilter {
            since: Some(Millis(3_000)),
            until: Some(Millis(4_500)),
            ..all()
        },
        DecisionFilter {
            since: Some(Millis(4_990)),
            ..all()
        },
        DecisionFilter {
            since: Some(Millis(9_000)),
            ..all()
        },
        DecisionFilter {
            instruments: Some(make_keys(&["BTC_USD"])),
            ..all()
        },
        DecisionFilter {
            instruments: Some(make_keys(&["BTC_USD", "ETHUSD", "NONE"])),
            agent: Some(make_name("joey")),
            ..all()
        },
        DecisionFilter {
            rule: Some("stop_loss_required".to_owned()),
            ..all()
        },
        DecisionFilter {
            rule: Some("stop_loss".to_owned()),
            ..all()
        },
    ]
}

/// What a filter means, one decision at a time.
fn matches_filter(filter: &DecisionFilter, made: &AuditEntry) -> bool {
    let subject = made.subject.as_ref().unwrap();
    let key = subject.symbol.as_deref().map(InstrumentKey::from_symbol);
    filter
        .agent
        .as_ref()
        .is_none_or(|agent| made.agent.as_ref() == Some(agent))
        && filter
            .outcome
            .is_none_or(|outcome| made.outcome == Some(outcome))
        && filter
            .action_type
            .as_ref()
            .is_none_or(|of| made.action_type.as_ref() == Some(of))
        && filter.trace_id.is_none_or(|id| made.trace_id == Some(id))
        && filter.since.is_none_or(|since| made.at >= since)
        && filter.until.is_none_or(|until| made.at < until)
        && filter
            .instruments
            .as_ref()
            .is_none_or(|keys| key.is_some_and(|key| keys.contains(&key)))
        && filter
            .rule
            .as_ref()
            .is_none_or(|rule| subject.fired.iter().any(|it| it.rule == *rule))
}

#[test]
fn pages_of_any_filter_together_are_what_matches() {
    // How many decisions the commits have: of the last commit of the second the rows are not written yet, and of the third no row is.
    for commits in [&[400][..], &[300, 100], &[50, 50]] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let made = make_decisions(commits.iter().sum());
        let mut rest = made.clone().into_iter();
        for count in commits {
            let count = usize::try_from(*count).unwrap();
            commit(&store, rest.by_ref().take(count).collect());
        }
        check_pages(&store, &made);
        store.close();
        drop(store);
        // Now all are written.
        check_pages(&open(dir.path()), &made);
    }
}

/// Checks that the pages of each filter are the decisions that it means.
fn check_pages(store: &Store, made: &[AuditEntry]) {
    for (number, filter) in filters_for(made).iter().enumerate() {
        let expected: Vec<(u64, String)> = made
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, made)| matches_filter(filter, made))
            .map(|(index, made)| (index as u64 + 1, made.id.to_string()))
            .collect();
        for limit in [1, 7, 500] {
            let mut found = Vec::new();
            let mut before = None;
            loop {
                let page = store.decision_page(filter, before, limit).unwrap();
                assert!(page.lines.len() <= limit as usize);
                for line in page.lines {
                    let made = &made[usize::try_from(line.seq).unwrap() - 1];
                    assert_eq!(Some(&line.subject), made.subject.as_deref());
                    assert_eq!((line.at, line.trace_id), (made.at, made.trace_id));
                    found.push((line.seq, line.id));
                }
                before = page.next;
                if before.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected, "filter {number}, pages of {limit}");
        }
    }
}

#[test]
fn a_filter_that_nothing_matches_costs_a_bounded_page() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let rare = AuditEntry {
        subject: Some(Arc::new(IndexedFields {
            symbol: Some("RARE".to_owned()),
            ..IndexedFields::default()
        })),
        ..make_entry(AuditId::fresh())
    };
    commit(&store, vec![rare]);
    for _ in 0..6 {
        commit(&store, make_decisions(10_000));
    }
    let of = |rule: &str| DecisionFilter {
        rule: Some(rule.to_owned()),
        ..DecisionFilter::default()
    };
    let first = store.decision_page(&of("none"), None, 50).unwrap();
    assert_eq!((first.lines.len(), first.next), (0, Some(10_002)));
    let second = store.decision_page(&of("none"), first.next, 50).unwrap();
    assert_eq!((second.lines.len(), second.next), (0, None));
    // An instrument is found without a scan, and a period ends one.
    let rare = DecisionFilter {
        instruments: Some(make_keys(&["rare"])),
        ..DecisionFilter::default()
    };
    let page = store.decision_page(&rare, None, 50).unwrap();
    assert_eq!((page.lines.len(), page.next), (1, None));
    let late = DecisionFilter {
        since: Some(Millis(900_000_000)),
        ..DecisionFilter::default()
    };
    let page = store.decision_page(&late, None, 50).unwrap();
    assert_eq!((page.lines.len(), page.next), (0, None));
}

#[test]
fn a_migration_makes_the_index_and_an_archive_shortens_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ark.db");
    let mut connection = Connection::open(&path).unwrap();
    migrate_schema(&mut connection, &path, 0..8, None).unwrap();
    let digest = Digest::hash_bytes(b"graveyard");
    let metadata = r#"{"name":"graveyard","version":"1.0.0","rules":[
        {"number":8,"name":"stop_loss_required","category":"risk","severity":"high","hold":false,"description":"A stop loss."}]}"#;
    connection
        .execute(
            "INSERT INTO policies VALUES (?1, ?2)",
            [digest.to_string().as_str(), metadata],
        )
        .unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = WAL")
        .unwrap();
    let mut head = ChainHead::GENESIS;
    for body in [
        format!(
            r#"{{"action":{{"action_type":"trade","parameters":{{"symbol":"BTC-USD","side":"buy","position_size_pct":0.25,"leverage":1.0}}}},
            "verdicts":[{{"policy":"graveyard","digest":"{digest}","answers":[[7,"pass"],[8,"violation",null]]}},
            {{"policy":"gone","digest":"00","answers":[[1,"violation"]]}},{{"policy":"graveyard","digest":"{digest}","failure":"trap"}}]}}"#
        ),
        r#"{"action":{"parameters":{"kind":"x","parameters_json":"{\"symbol\":\"A\"}"}},"verdicts":[]}"#.to_owned(),
        "no record".to_owned(),
    ] {
        let entry = AuditEntry { body, ..make_entry(AuditId::fresh()) };
        append_entry(&connection, &mut head, &entry).unwrap();
    }
    drop(connection);
    let store = open(dir.path());
    let page = store
        .decision_page(&DecisionFilter::default(), None, 50)
        .unwrap();
    let subjects: Vec<_> = page
        .lines
        .iter()
        .map(|line| (line.seq, line.subject.clone()))
        .collect();
    let known = IndexedFields {
        symbol: Some("BTC-USD".to_owned()),
        size: Some(0.25),
        fired: vec![FiredRule {
            number: 8,
            ..make_fired_rule("stop_loss_required")
        }],
    };
    let nothing = IndexedFields::default();
    assert_eq!(subjects, [(3, nothing.clone()), (2, nothing), (1, known)]);
    let found = DecisionFilter {
        instruments: Some(make_keys(&["btcusd"])),
        ..DecisionFilter::default()
    };
    assert_eq!(
        store.decision_page(&found, None, 50).unwrap().lines.len(),
        1
    );
    // What comes after the migration joins the index.
    commit(&store, make_decisions(3));
    assert_eq!(
        store.decision_page(&found, None, 50).unwrap().lines.len(),
        2
    );
    store.close();
    drop(store);
    let archive = dir.path().join("archive.jsonl");
    archive_audit(dir.path(), Millis(2_000), &archive).unwrap();
    let store = open(dir.path());
    let left = store
        .decision_page(&DecisionFilter::default(), None, 50)
        .unwrap();
    assert_eq!(left.lines.len(), 0, "{left:?}");
    store.close();
    drop(store);
    let connection = Connection::open(&path).unwrap();
    let rows: u64 = connection
        .query_row("SELECT count(*) FROM decision_index", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 0);
}
