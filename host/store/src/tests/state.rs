//! Tests of state, memories, configuration values, truths and secrets.

use proptest::prelude::*;

use ark_model::ids::{Millis, Name, SignalId, TraceId};
use ark_model::signal::Signal;
use ark_model::state::{Memory, NewMemory, StateWrite, Truth, TruthWrite};
use ark_model::usage::{QuotaHolder, Totals};

use super::{KEY, check_state, commit_change, make_name, open, set_value, verify_chains, with_key};
use crate::*;

pub(super) fn roll_back(key: &str, target: RollbackTarget) -> OperatorChange {
    OperatorChange::Rollback {
        agent: make_name("kyle"),
        key: key.to_owned(),
        target,
        expected: None,
    }
}

#[test]
fn operators_changes_are_recorded_with_who_what_and_the_digest() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(
        commit_change(&store, 5, set_value("a/b", Some("{\"x\":1.0}"), Some(0))),
        Ok(1)
    );
    let row = &store.audit_page(&AuditFilter::default(), None, 1).unwrap()[0];
    assert_eq!(
        (row.kind, row.action_type.as_deref()),
        (AuditKind::Operator, Some("state.set"))
    );
    let digest = ark_model::ids::Digest::hash_bytes(b"{\"x\":1.0}").to_string();
    for part in ["\"by\":\"ada\"", "\"key\":\"a/b\"", "\"number\":1", &digest] {
        assert!(row.body.contains(part), "{}", row.body);
    }
    let line = &store.session_page(&SessionLogFilter::default(), 1).unwrap()[0];
    assert_eq!(
        (line.result.as_str(), line.reference.as_str()),
        ("done", row.id.as_str())
    );
    // What is refused leaves neither.
    assert!(matches!(
        commit_change(&store, 6, set_value("a/b", Some("2"), Some(0))),
        Err(CommitError::Conflict {
            expected: 0,
            current: 1,
            ..
        })
    ));
    assert!(matches!(
        commit_change(&store, 6, set_value("none", None, None)),
        Err(CommitError::NotFound(_))
    ));
    assert_eq!(store.audit_head().unwrap().0, 1);
    assert_eq!(
        store
            .session_page(&SessionLogFilter::default(), 9)
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_rollback_is_a_new_revision_and_a_missing_target_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (at, value) in [(10, Some("1")), (20, Some("2")), (30, None)] {
        commit_change(&store, at, set_value("k", value, None)).unwrap();
    }
    assert_eq!(
        commit_change(&store, 40, roll_back("k", RollbackTarget::Steps(2))),
        Ok(4)
    );
    let latest = store
        .latest_state(&make_name("kyle"), "k")
        .unwrap()
        .unwrap();
    assert_eq!(latest.content, Content::Plain("1".to_owned()));
    assert_eq!(latest.origin, "rollback to 1");
    for target in [
        RollbackTarget::Steps(4),
        RollbackTarget::Steps(u64::MAX),
        RollbackTarget::Revision(0),
        RollbackTarget::Revision(5),
    ] {
        let error = commit_change(&store, 50, roll_back("k", target)).unwrap_err();
        assert!(
            matches!(error, CommitError::NoSuchRevision { current: 4, .. }),
            "{error}"
        );
    }
    assert!(matches!(
        commit_change(&store, 50, roll_back("other", RollbackTarget::Steps(1))),
        Err(CommitError::NoSuchRevision { current: 0, .. })
    ));
    // What it was at a moment, the deletion and the time before included.
    for (moment, revision) in [
        (9, None),
        (10, Some(1)),
        (29, Some(2)),
        (30, Some(3)),
        (99, Some(4)),
    ] {
        let found = store
            .state_at(&make_name("kyle"), "k", Millis(moment))
            .unwrap();
        assert_eq!(found.map(|found| found.revision), revision, "at {moment}");
    }
}

#[test]
fn memories_are_found_by_kind_and_words_until_they_expire() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let add = |content: &str, kind: &str, ttl: Option<u64>| {
        let memory = NewMemory {
            memory: Memory {
                kind: kind.to_owned(),
                content: content.to_owned(),
                metadata_json: "{}".to_owned(),
            },
            ttl_seconds: ttl,
        };
        commit_change(
            &store,
            1_000,
            OperatorChange::Remember {
                agent: make_name("kyle"),
                memory,
            },
        )
        .unwrap()
    };
    let first = add("The breakout failed near 64,000", "lesson", None);
    add("Breakout on volume", "observation", None);
    add("breakout soon forgotten", "observation", Some(1));
    let find = |words: Option<&str>, kind: Option<&str>, now: u64| {
        let filter = MemoryFilter {
            kind: kind.map(str::to_owned),
            words: words.map(str::to_owned),
            before: None,
        };
        store
            .memories_page(&make_name("kyle"), &filter, 10, Millis(now))
            .unwrap()
            .len()
    };
    assert_eq!(find(Some("BREAKOUT"), None, 1_500), 3);
    assert_eq!(find(Some("breakout"), None, 2_000), 2);
    assert_eq!(find(Some("break*"), Some("lesson"), 2_000), 1);
    assert_eq!(find(Some("break"), None, 2_000), 0);
    assert_eq!(find(Some("failed OR volume"), None, 2_000), 0);
    assert_eq!(find(Some("\" NEAR("), None, 2_000), 1);
    assert_eq!(find(None, None, 2_000), 2);
    let forget = |id| OperatorChange::Forget {
        agent: make_name("kyle"),
        id,
    };
    let first = i64::try_from(first).unwrap();
    commit_change(&store, 2_000, forget(first)).unwrap();
    assert!(matches!(
        commit_change(&store, 2_000, forget(first)),
        Err(CommitError::NotFound(_))
    ));
    assert_eq!(find(Some("failed"), None, 2_000), 0);
}

#[test]
fn configuration_values_and_truths_keep_their_history() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let config =
        |value: Option<&str>, description: Option<&str>, expected| OperatorChange::Config {
            key: "risk/limit".to_owned(),
            value_json: value.map(str::to_owned),
            description: description.map(str::to_owned),
            expected,
        };
    commit_change(&store, 1, config(Some("0.5"), Some("the limit"), Some(0))).unwrap();
    commit_change(&store, 2, config(Some("\"0.5\""), None, Some(1))).unwrap();
    assert!(matches!(
        commit_change(&store, 3, config(Some("1"), None, Some(1))),
        Err(CommitError::Stale {
            table: "config",
            current: 2,
            ..
        })
    ));
    commit_change(&store, 4, config(None, None, None)).unwrap();
    assert!(matches!(
        commit_change(&store, 5, config(None, None, None)),
        Err(CommitError::NotFound(_))
    ));
    assert!(store.config_entries_page("", None, 10).unwrap().is_empty());
    let history = store.config_entry_history("risk/limit", None, 10).unwrap();
    let values: Vec<_> = history
        .iter()
        .map(|entry| entry.value_json.as_deref())
        .collect();
    assert_eq!(values, [None, Some("\"0.5\""), Some("0.5")]);
    assert_eq!(
        (
            history[0].description.as_str(),
            history[0].updated_by.as_str()
        ),
        ("the limit", "ada")
    );

    let truth = |value: &str, expected| OperatorChange::Truth {
        agent: make_name("aletheia"),
        write: TruthWrite {
            key: "sky".to_owned(),
            truth: Truth {
                value_json: value.to_owned(),
                confidence: 0.9,
                sources: vec!["window".to_owned()],
            },
        },
        expected,
    };
    commit_change(&store, 1, truth("\"blue\"", Some(0))).unwrap();
    commit_change(&store, 2, truth("\"grey\"", Some(1))).unwrap();
    assert!(matches!(
        commit_change(&store, 3, truth("1", Some(1))),
        Err(CommitError::Stale {
            table: "truth",
            current: 2,
            ..
        })
    ));
    let rows = store.truth_history("sky", None, 10).unwrap();
    assert_eq!(
        rows.iter().map(|row| row.revision).collect::<Vec<_>>(),
        [2, 1]
    );
    assert_eq!(rows[1].truth.value_json, "\"blue\"");
}

#[test]
fn secrets_are_encrypted_masked_and_need_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = commit_change(
        &store,
        1,
        set_value("secret/api", Some("\"hunter2\""), None),
    )
    .unwrap_err();
    assert!(error.to_string().contains("ARK_SECRET_KEY_FILE"), "{error}");
    assert!(
        store.check_state_writable("secret/api").is_err()
            && store.check_state_writable("api").is_ok()
    );
    store.close();
    drop(store);
    let store = with_key(dir.path(), KEY).unwrap();
    commit_change(
        &store,
        2,
        set_value("secret/api", Some("\"hunter2\""), None),
    )
    .unwrap();
    commit_change(
        &store,
        3,
        set_value("secret/api", Some("\"hunter3\""), None),
    )
    .unwrap();
    commit_change(
        &store,
        4,
        roll_back("secret/api", RollbackTarget::Revision(1)),
    )
    .unwrap();
    let (revision, entry) = store.get_state(&make_name("kyle"), "secret/api").unwrap();
    assert_eq!(
        (revision, entry.unwrap().value_json.as_str()),
        (3, "\"hunter2\"")
    );
    for row in store
        .state_history(&make_name("kyle"), "secret/api", None, 9)
        .unwrap()
    {
        assert_eq!(row.content, Content::Secret);
    }
    assert_eq!(
        store.state_page(&make_name("kyle"), "", None, 9).unwrap()[0].content,
        Content::Secret
    );
    store.close();
    drop(store);
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(
            !bytes
                .windows(7)
                .any(|part| part == b"hunter2" || part == b"hunter3")
        );
    }
    assert!(matches!(
        with_key(dir.path(), &"2".repeat(64)),
        Err(OpenError::OtherSecretKey { .. })
    ));
    let with = check_state(dir.path(), Some(KEY));
    assert_eq!(
        (with.secrets, with.secrets_unchecked, with.fault),
        (3, 0, None)
    );
    let without = check_state(dir.path(), None);
    assert_eq!(
        (without.secrets, without.secrets_unchecked, without.fault),
        (0, 3, None)
    );
    let store = open(dir.path());
    let error = store
        .get_state(&make_name("kyle"), "secret/api")
        .unwrap_err();
    assert!(error.to_string().contains("no key"), "{error}");
}

#[derive(Debug, Clone)]
enum StateStep {
    Set(u8, Option<i64>),
    Back(u8, u64),
    Stale(u8),
}

fn any_step() -> impl Strategy<Value = StateStep> {
    let key = 0u8..3;
    prop_oneof![
        (key.clone(), proptest::option::of(any::<i64>()))
            .prop_map(|(key, value)| StateStep::Set(key, value)),
        (key.clone(), 0u64..6).prop_map(|(key, steps)| StateStep::Back(key, steps)),
        key.prop_map(StateStep::Stale),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// State, history, moments and rollbacks against a model: a list of revisions per key.
    #[test]
    fn state_is_what_a_list_of_revisions_would_be(steps in proptest::collection::vec(any_step(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let agent: Name = make_name("kyle");
        let mut model: Vec<Vec<(u64, Option<String>)>> = vec![Vec::new(); 3];
        for (index, step) in steps.iter().enumerate() {
            let at = 100 + index as u64;
            let (key, change) = match step {
                StateStep::Set(key, value) => {
                    let value = value.map(|value| value.to_string());
                    let change = set_value(&format!("k/{key}"), value.as_deref(), None);
                    (usize::from(*key), change)
                }
                StateStep::Back(key, steps) => (usize::from(*key), roll_back(&format!("k/{key}"), RollbackTarget::Steps(*steps))),
                StateStep::Stale(key) => (usize::from(*key), set_value(&format!("k/{key}"), Some("0"), Some(1_000))),
            };
            let revisions = &mut model[key];
            let expected = match step {
                StateStep::Set(_, value) => {
                    let live = revisions.last().is_some_and(|(_, value)| value.is_some());
                    (value.is_some() || live).then(|| value.map(|value| value.to_string()))
                }
                StateStep::Back(_, steps) => usize::try_from(*steps).ok()
                    .and_then(|steps| revisions.len().checked_sub(steps + 1))
                    .and_then(|place| revisions.get(place).map(|(_, value)| value.clone())),
                StateStep::Stale(_) => None,
            };
            let result = commit_change(&store, at, change);
            match expected {
                Some(value) => {
                    revisions.push((at, value));
                    prop_assert_eq!(result, Ok(revisions.len() as u64));
                }
                None => prop_assert!(result.is_err()),
            }
        }
        for (key, revisions) in model.iter().enumerate() {
            let key = format!("k/{key}");
            let content = |value: &Option<String>| value.clone().map_or(Content::Deleted, Content::Plain);
            let history = store.state_history(&agent, &key, None, 1000).unwrap();
            let found: Vec<_> = history.iter().rev().map(|row| (row.revision, row.at.0, row.content.clone())).collect();
            let meant: Vec<_> = revisions.iter().enumerate().map(|(index, (at, value))| (index as u64 + 1, *at, content(value))).collect();
            prop_assert_eq!(found, meant);
            for moment in 99..=(100 + steps.len() as u64) {
                let meant = revisions.iter().rev().find(|(at, _)| *at <= moment).map(|(_, value)| content(value));
                let found = store.state_at(&agent, &key, Millis(moment)).unwrap().map(|row| row.content);
                prop_assert_eq!(found, meant);
            }
            let live = revisions.last().and_then(|(_, value)| value.clone());
            prop_assert_eq!(store.get_state(&agent, &key).unwrap().1.map(|entry| entry.value_json), live);
        }
        store.close();
        drop(store);
        prop_assert_eq!(check_state(dir.path(), None).fault, None);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of changes")]
fn usage_of_an_agent_equals_the_rows_of_the_tables() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let agent = QuotaHolder::Agent(make_name("kyle"));
    let write = |key: &str, value: Option<&str>, expected: u64, was_live: bool| StateWrite {
        key: key.to_owned(),
        value_json: value.map(str::to_owned),
        expected,
        was_live,
    };
    let memory = |content: &str, ttl_seconds: Option<u64>| NewMemory {
        memory: Memory {
            kind: "seen".to_owned(),
            content: content.to_owned(),
            metadata_json: "{}".to_owned(),
        },
        ttl_seconds,
    };
    let message = OutboxMessage {
        topic: "news".to_owned(),
        to: None,
        payload_json: "\"it is\"".to_owned(),
        trace_id: TraceId::fresh(),
        sender: Some(make_name("kyle")),
        causal_depth: 1,
        at: Millis(1),
    };
    let unit = |state: Vec<StateWrite>| Unit {
        agent: Some(make_name("kyle")),
        at: Millis(10),
        state,
        ..Unit::default()
    };
    store
        .commit(Unit {
            memories: vec![memory("a thing", None), memory("soon gone", Some(0))],
            truths: vec![TruthWrite {
                key: "sky".to_owned(),
                truth: Truth {
                    value_json: "\"blue\"".to_owned(),
                    confidence: 1.0,
                    sources: vec!["a \"source\"".to_owned(), "b".to_owned()],
                },
            }],
            outbox: vec![message.clone(), message],
            ..unit(vec![
                write("a", Some("\"a long value\""), 0, false),
                write("b", Some("1"), 0, false),
            ])
        })
        .unwrap();
    assert_eq!(store.waiting_messages(), 2);
    store
        .commit(unit(vec![
            write("a", Some("\"é\""), 1, true),
            write("b", None, 1, true),
        ]))
        .unwrap();
    // Refused: nothing of it is counted.
    let refused = unit(vec![
        write("c", Some("1"), 0, false),
        write("a", Some("1"), 7, true),
    ]);
    assert!(store.commit(refused).is_err());
    let signal = Signal {
        id: SignalId::fresh(),
        topic: "news".to_owned(),
        payload_json: "\"it is\"".to_owned(),
        trace_id: TraceId::fresh(),
        sender: Some(make_name("kyle")),
        causal_depth: 1,
        accepted_at: Millis(11),
        expires_at: None,
    };
    store
        .commit(Unit {
            signals: vec![NewSignal {
                signal,
                key: None,
                deliver_to: vec![make_name("joey")],
                shed: vec![make_name("stan")],
                by: None,
            }],
            outbox_done: vec![1],
            ..Unit::default()
        })
        .unwrap();
    assert_eq!(store.waiting_messages(), 1);
    // An operator's revision is the operator's; the live value is the agent's.
    let change = AttributedChange {
        by: "ada".to_owned(),
        change: set_value("d", Some("\"dd\""), None),
    };
    store
        .commit(Unit {
            operator_changes: vec![change],
            charged_to: Some(QuotaHolder::Token("ada".to_owned())),
            at: Millis(12),
            ..Unit::default()
        })
        .unwrap();
    store.close();
    let counted = store.read_usage(&agent);
    assert_eq!((counted.totals.keys, counted.messages_per_minute), (2, 2));
    drop(store);
    let connection = rusqlite::Connection::open(dir.path().join("ark.db")).unwrap();
    let read = |connection: &rusqlite::Connection| {
        connection
            .query_row(
                "SELECT stored_bytes, keys, memories FROM quota_usage WHERE consumer = 'agent:kyle'",
                [],
                |row| {
                    Ok(Totals {
                        stored_bytes: row.get(0)?,
                        keys: row.get(1)?,
                        memories: row.get(2)?,
                    })
                },
            )
            .unwrap()
    };
    let kept = read(&connection);
    assert_eq!(kept, counted.totals);
    connection.execute_batch("DROP TABLE quota_usage").unwrap();
    connection
        .execute_batch(include_str!("../schema/v6_quotas.sql"))
        .unwrap();
    assert_eq!(read(&connection), kept);
}

#[test]
fn secrets_of_a_lost_key_are_given_up_by_order_and_a_new_key_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_key(dir.path(), KEY).unwrap();
    commit_change(&store, 1, set_value("plan", Some("1"), None)).unwrap();
    commit_change(&store, 2, set_value("secret/a", Some("\"hunter2\""), None)).unwrap();
    commit_change(&store, 3, set_value("secret/a", Some("\"hunter3\""), None)).unwrap();
    commit_change(&store, 4, set_value("secret/gone", Some("\"x\""), None)).unwrap();
    commit_change(&store, 5, set_value("secret/gone", None, None)).unwrap();
    let kyle = QuotaHolder::Agent(make_name("kyle"));
    let keys = |store: &Store| store.read_usage(&kyle).totals.keys;
    let before = keys(&store);
    store.close();
    drop(store);
    let new_key = "2".repeat(64);
    let lost = match with_key(dir.path(), &new_key) {
        Err(OpenError::OtherSecretKey { needed, .. }) => needed,
        other => panic!("{:?}", other.err()),
    };
    let give_up = |key: &str| give_up_secrets(dir.path(), key, "ana", "the key is lost");
    let unknown = give_up("00").unwrap_err();
    assert!(unknown.to_string().contains(&lost), "{unknown}");
    let given_up = give_up(&lost).unwrap();
    assert_eq!(
        given_up,
        GivenUpSecrets {
            key: lost.clone(),
            deleted: vec!["kyle/secret/a".to_owned()],
            revisions: 3,
        }
    );
    // Nothing is left to be given up, and the state and the audit log are whole, with any key and with none.
    assert!(give_up(&lost).is_err());
    for key in [None, Some(KEY), Some(new_key.as_str())] {
        let report = check_state(dir.path(), key);
        assert_eq!(
            (
                report.secrets,
                report.secrets_unchecked,
                report.secrets_given_up,
                report.fault
            ),
            (0, 0, 3, None)
        );
    }
    assert_eq!(verify_chains(dir.path()).fault, None);
    let store = with_key(dir.path(), &new_key).unwrap();
    assert_eq!(keys(&store), before - 1);
    let (revision, entry) = store.get_state(&make_name("kyle"), "secret/a").unwrap();
    assert_eq!((revision, entry), (3, None));
    let plan = store
        .get_state(&make_name("kyle"), "plan")
        .unwrap()
        .1
        .unwrap();
    assert_eq!(plan.value_json, "1");
    // A revision from before cannot be brought back, and the message says why.
    let error = commit_change(
        &store,
        6,
        roll_back("secret/a", RollbackTarget::Revision(1)),
    )
    .unwrap_err();
    assert!(error.to_string().contains("given up"), "{error}");
    commit_change(&store, 7, set_value("secret/a", Some("\"hunter4\""), None)).unwrap();
    store.close();
    drop(store);
    let key = SecretKey::parse(&new_key, "a test").unwrap();
    let next = SecretKey::parse(&"3".repeat(64), "a test").unwrap();
    assert_eq!(rekey_secrets(dir.path(), Some(&key), &next).unwrap(), 1);
    let report = check_state(dir.path(), Some(&"3".repeat(64)));
    assert_eq!(
        (report.secrets, report.secrets_given_up, report.fault),
        (1, 3, None)
    );
}
