//! The texts of requests whose digests versions before the canonical form kept with idempotency keys.
//!
//! They were the Rust debug texts of those versions, and must not change: a key that an old database holds still gives its first answer. Nothing new is
//! written in this form.

use std::fmt::Write as _;

use ark_model::control::Order;
use ark_model::ids::Name;
use ark_store::{OperatorChange, RollbackTarget};

/// A change by an operator.
pub(crate) fn describe_operator_change(change: &OperatorChange) -> String {
    let mut text = String::new();
    // Writing into a `String` cannot fail.
    let _ = match change {
        OperatorChange::State {
            agent,
            key,
            value_json,
            expected,
        } => write!(
            text,
            "State {{ agent: {}, key: {key:?}, value_json: {value_json:?}, expected: {expected:?} }}",
            debug_name(agent)
        ),
        OperatorChange::Rollback {
            agent,
            key,
            target,
            expected,
        } => {
            let target = match target {
                RollbackTarget::Steps(steps) => format!("Steps({steps})"),
                RollbackTarget::Revision(revision) => format!("Revision({revision})"),
            };
            write!(
                text,
                "Rollback {{ agent: {}, key: {key:?}, target: {target}, expected: {expected:?} }}",
                debug_name(agent)
            )
        }
        OperatorChange::Remember { agent, memory } => write!(
            text,
            "Remember {{ agent: {}, memory: NewMemory {{ memory: Memory {{ kind: {:?}, content: {:?}, metadata_json: {:?} }}, ttl_seconds: {:?} }} }}",
            debug_name(agent),
            memory.memory.kind,
            memory.memory.content,
            memory.memory.metadata_json,
            memory.ttl_seconds
        ),
        OperatorChange::Forget { agent, id } => {
            write!(text, "Forget {{ agent: {}, id: {id} }}", debug_name(agent))
        }
        OperatorChange::Config {
            key,
            value_json,
            description,
            expected,
        } => write!(
            text,
            "Config {{ key: {key:?}, value_json: {value_json:?}, description: {description:?}, expected: {expected:?} }}"
        ),
        OperatorChange::Truth {
            agent,
            write,
            expected,
        } => write!(
            text,
            "Truth {{ agent: {}, write: TruthWrite {{ key: {:?}, truth: Truth {{ value_json: {:?}, confidence: {:?}, sources: {:?} }} }}, expected: {expected:?} }}",
            debug_name(agent),
            write.key,
            write.truth.value_json,
            write.truth.confidence,
            write.truth.sources
        ),
        // A token's secret cannot be answered again: it is made and revoked without a key.
        OperatorChange::Token(_) => Ok(()),
    };
    text
}

/// An order to halt, resume, quarantine or restore.
pub(crate) fn describe_order(order: &Order) -> String {
    match order {
        Order::Halt => "Halt".to_owned(),
        Order::Resume => "Resume".to_owned(),
        // Only an operator's order comes with a key.
        Order::Quarantine { agent, .. } => format!(
            "Quarantine {{ agent: {}, cause: Operator }}",
            debug_name(agent)
        ),
        Order::Restore { agent } => format!("Restore {{ agent: {} }}", debug_name(agent)),
    }
}

fn debug_name(name: &Name) -> String {
    format!("Name({:?})", name.as_str())
}

#[cfg(test)]
mod tests {
    use ark_model::control::QuarantineCause;
    use ark_model::state::{Memory, NewMemory, Truth, TruthWrite};

    use super::*;

    /// The texts as the versions that hashed them wrote them. They do not change when a type or a field is renamed.
    #[test]
    fn the_texts_are_those_of_earlier_versions() {
        let agent: Name = "kenny".parse().unwrap();
        let key = "a\"b".to_owned();
        let cases = [
            (
                OperatorChange::State {
                    agent: agent.clone(),
                    key: key.clone(),
                    value_json: Some("{\"x\":1}".to_owned()),
                    expected: Some(3),
                },
                r#"State { agent: Name("kenny"), key: "a\"b", value_json: Some("{\"x\":1}"), expected: Some(3) }"#,
            ),
            (
                OperatorChange::Rollback {
                    agent: agent.clone(),
                    key: key.clone(),
                    target: RollbackTarget::Steps(2),
                    expected: None,
                },
                r#"Rollback { agent: Name("kenny"), key: "a\"b", target: Steps(2), expected: None }"#,
            ),
            (
                OperatorChange::Remember {
                    agent: agent.clone(),
                    memory: NewMemory {
                        memory: Memory {
                            kind: "k".to_owned(),
                            content: "c\n".to_owned(),
                            metadata_json: "{}".to_owned(),
                        },
                        ttl_seconds: Some(5),
                    },
                },
                r#"Remember { agent: Name("kenny"), memory: NewMemory { memory: Memory { kind: "k", content: "c\n", metadata_json: "{}" }, ttl_seconds: Some(5) } }"#,
            ),
            (
                OperatorChange::Forget {
                    agent: agent.clone(),
                    id: 7,
                },
                r#"Forget { agent: Name("kenny"), id: 7 }"#,
            ),
            (
                OperatorChange::Config {
                    key: key.clone(),
                    value_json: None,
                    description: Some("d".to_owned()),
                    expected: None,
                },
                r#"Config { key: "a\"b", value_json: None, description: Some("d"), expected: None }"#,
            ),
            (
                OperatorChange::Truth {
                    agent: agent.clone(),
                    write: TruthWrite {
                        key: "k".to_owned(),
                        truth: Truth {
                            value_json: "1".to_owned(),
                            confidence: 0.5,
                            sources: vec!["s".to_owned()],
                        },
                    },
                    expected: Some(0),
                },
                r#"Truth { agent: Name("kenny"), write: TruthWrite { key: "k", truth: Truth { value_json: "1", confidence: 0.5, sources: ["s"] } }, expected: Some(0) }"#,
            ),
        ];
        for (change, text) in cases {
            assert_eq!(describe_operator_change(&change), text);
        }
        let quarantine = Order::Quarantine {
            agent: agent.clone(),
            cause: QuarantineCause::Operator,
        };
        assert_eq!(
            describe_order(&quarantine),
            r#"Quarantine { agent: Name("kenny"), cause: Operator }"#
        );
        assert_eq!(
            describe_order(&Order::Restore { agent }),
            r#"Restore { agent: Name("kenny") }"#
        );
        assert_eq!(describe_order(&Order::Halt), "Halt");
    }
}
