//! The texts of requests whose digests versions before the canonical form kept with idempotency keys.
//!
//! They were the Rust debug texts of that time, frozen here: a key that an old database holds still gives its first answer. Nothing new is
//! written in this form.

use std::fmt::Write as _;

use ark_model::control::{Order, QuarantineCause};
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
        Order::Quarantine { agent, cause } => {
            let cause = match cause {
                QuarantineCause::Operator => "Operator".to_owned(),
                other => format!("{other:?}"),
            };
            format!(
                "Quarantine {{ agent: {}, cause: {cause} }}",
                debug_name(agent)
            )
        }
        Order::Restore { agent } => format!("Restore {{ agent: {} }}", debug_name(agent)),
    }
}

fn debug_name(name: &Name) -> String {
    format!("Name({:?})", name.as_str())
}
