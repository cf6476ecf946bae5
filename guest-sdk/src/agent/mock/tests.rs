use super::*;
use crate::agent::{Metadata, buy};

/// Does what the payload says: writes `n` to the key `n`, and ends well, fails, or proposes what cannot be judged.
struct Scripted;

impl Agent for Scripted {
    fn metadata() -> Metadata {
        Metadata {
            name: "scripted".to_owned(),
            version: "1.0.0".to_owned(),
            description: String::new(),
        }
    }

    fn handle(host: &dyn Host, signal: &Signal) -> Result<Vec<Action>, Error> {
        let (n, end): (u64, String) = signal.payload()?;
        host.set_state("n", &0)?;
        host.set_state("n", &n)?;
        assert_eq!(
            host.state::<u64>("n")?,
            Some(n),
            "an invocation reads its own writes"
        );
        let before = host.memory_recent(None, 100)?.len();
        host.remember("seen", "a number", &serde_json::json!({"n": n}), Some(60))?;
        assert_eq!(
            host.memory_recent(None, 100)?.len(),
            before,
            "but not its own memories"
        );
        host.truth_set(
            "n",
            &Truth {
                value_json: n.to_string(),
                confidence: 1.0,
                sources: Vec::new(),
            },
        )?;
        host.log(Level::Info, &end);
        match end.as_str() {
            "well" => Ok(vec![buy("X", 0.1).build()?]),
            "unjudgeable" => {
                let mut action = buy("X", 0.1).build()?;
                action.action_type = "sell".to_owned();
                Ok(vec![action])
            }
            _ => Err(Error::Failed(end)),
        }
    }
}

#[test]
fn an_invocation_is_a_transaction() {
    let mut host = MockHost::new();
    assert_eq!(
        host.deliver::<Scripted>("t", &(1, "well")).unwrap().len(),
        1
    );
    for end in ["badly", "unjudgeable"] {
        assert!(host.deliver::<Scripted>("t", &(2, end)).is_err(), "{end}");
        assert_eq!(
            host.state_get("n").unwrap(),
            Some(StateEntry {
                value_json: "1".to_owned(),
                revision: 1
            })
        );
        assert_eq!(
            (
                host.memories().len(),
                host.truth_of("n").unwrap().value_json.as_str()
            ),
            (1, "1")
        );
    }
    host.deliver::<Scripted>("t", &(3, "well")).unwrap();
    assert_eq!(
        host.state_get("n").unwrap(),
        Some(StateEntry {
            value_json: "3".to_owned(),
            revision: 2
        })
    );
    assert_eq!(host.log_lines().len(), 4, "the log keeps what failed too");
}

#[test]
fn revisions_are_contiguous_and_expectations_are_held_to() {
    let mut host = MockHost::new();
    let conflict = |revision| Err(HostError::Conflict(revision));
    assert_eq!(host.state_set("k", "1", Some(1)), conflict(0));
    assert_eq!(host.state_set("k", "1", Some(0)), Ok(1));
    assert_eq!(
        host.state_set("k", "2", None),
        Ok(1),
        "within one transaction it is one revision"
    );
    host.commit_writes();
    assert_eq!(host.state_set("k", "3", Some(0)), conflict(1));
    assert_eq!(host.state_set("k", "3", Some(1)), Ok(2));
    host.commit_writes();
    assert_eq!(host.state_delete("k", Some(1)), conflict(2));
    assert_eq!(
        host.state_delete("k", Some(2)),
        Ok(3),
        "a delete is a revision"
    );
    host.commit_writes();
    assert_eq!(host.state_get("k"), Ok(None));
    assert_eq!(host.state_delete("k", None), conflict(0));
    assert_eq!(host.state_set("k", "4", Some(0)), Ok(4));
}

#[test]
fn lists_are_in_order_and_show_pending_writes() {
    let mut host = MockHost::new();
    for key in ["a/2", "a/1", "b/1"] {
        host.state_set(key, "0", None).unwrap();
    }
    host.commit_writes();
    host.state_delete("a/1", None).unwrap();
    host.state_set("a/3", "0", None).unwrap();
    assert_eq!(host.state_list("a/", 10).unwrap(), ["a/2", "a/3"]);
    assert_eq!(host.state_list("", 1).unwrap(), ["a/2"]);
}

#[test]
fn memories_are_newest_first_and_expire() {
    let mut host = MockHost::new();
    for n in 1..=3 {
        host.deliver::<Scripted>("t", &(n, "well")).unwrap();
    }
    let numbers = |host: &MockHost, kind| {
        let memories = host.memory_recent(kind, 2).unwrap();
        memories
            .into_iter()
            .map(|memory| memory.metadata_json)
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers(&host, Some("seen")), [r#"{"n":3}"#, r#"{"n":2}"#]);
    assert_eq!(numbers(&host, Some("other")), [""; 0]);
    host.advance_clock(59);
    assert_eq!(numbers(&host, None), [r#"{"n":3}"#]);
    host.advance_clock(1);
    assert_eq!(numbers(&host, None), [""; 0]);
}

#[test]
fn malformed_arguments_are_invalid() {
    let host = MockHost::new();
    let long = "k".repeat(257);
    let truth = |value: &str, confidence| Truth {
        value_json: value.to_owned(),
        confidence,
        sources: Vec::new(),
    };
    let memory = |kind: &str, metadata: &str| Memory {
        kind: kind.to_owned(),
        content: String::new(),
        metadata_json: metadata.to_owned(),
    };
    let mut unjudgeable = buy("X", 0.1).build().unwrap();
    unjudgeable.sources.push(String::new());
    for (case, result) in [
        ("empty key", host.state_get("").map(drop)),
        ("long key", host.state_set(&long, "1", None).map(drop)),
        (
            "control character",
            host.state_delete("a\n", None).map(drop),
        ),
        ("no JSON", host.state_set("k", "{", None).map(drop)),
        ("empty kind", host.memory_add(&memory("", "{}"), None)),
        ("no object", host.memory_add(&memory("k", "[]"), None)),
        ("confidence", host.truth_set("k", &truth("1", 1.1))),
        ("no number", host.truth_set("k", &truth("1", f64::NAN))),
        (
            "truth that is no JSON",
            host.truth_set("k", &truth("", 1.0)),
        ),
        ("action", host.check(&unjudgeable).map(drop)),
    ] {
        assert!(
            matches!(result, Err(HostError::Invalid(_))),
            "{case}: {result:?}"
        );
    }
}
