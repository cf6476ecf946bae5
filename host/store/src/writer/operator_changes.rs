//! How the changes of operators are carried out. Each is checked, written and recorded in the audit log within one transaction: who made
//! it, what it is, the new revision and the digest of the new value, but no value.

use ark_model::ids::{AuditId, Digest, TraceId};
use ark_model::usage::QuotaHolder;
use serde_json::json;

use crate::error::WriteError;
use crate::operator_change::{AttributedChange, NewToken, OperatorChange, TokenChange};
use crate::tables::audit::{AuditEntry, AuditKind};
use crate::tables::control::write_token_change;
use crate::tables::state::{
    NewConfigEntry, StateWriter, TruthOrigin, WrittenRevision, delete_memory, write_config_entry,
    write_memory, write_truth,
};
use crate::usage::{count_revision, count_truth};

/// Carries out a change by an operator. Returns its number (the new revision; for a memory its id) and the audit row that records it.
pub(super) fn apply_operator_change(
    writer: &mut StateWriter<'_>,
    attributed: &AttributedChange,
    trace_id: Option<TraceId>,
) -> Result<(u64, AuditEntry), WriteError> {
    let connection = writer.connection;
    let at = writer.at;
    let digest_of = |json: &str| Some(Digest::hash_bytes(json.as_bytes()));
    let (agent, key, number, digest) = match &attributed.change {
        OperatorChange::State {
            agent,
            key,
            value_json,
            expected,
        } => {
            let WrittenRevision { revision, digest } =
                writer.write_value(agent, key, value_json.as_deref(), *expected, &attributed.by)?;
            (Some(agent), key.clone(), revision, digest)
        }
        OperatorChange::Rollback {
            agent,
            key,
            target,
            expected,
        } => {
            let WrittenRevision { revision, digest } =
                writer.roll_back(agent, key, *target, *expected)?;
            (Some(agent), key.clone(), revision, digest)
        }
        OperatorChange::Remember { agent, memory } => {
            let counted = (writer.charged_to, &mut *writer.usage);
            let id = write_memory(connection, agent, memory, at, counted)?;
            let digest = digest_of(&memory.memory.content);
            (Some(agent), id.to_string(), id.unsigned_abs(), digest)
        }
        OperatorChange::Forget { agent, id } => {
            delete_memory(connection, agent, *id, writer.usage)?;
            (Some(agent), id.to_string(), id.unsigned_abs(), None)
        }
        OperatorChange::Config {
            key,
            value_json,
            description,
            expected,
        } => {
            let new = NewConfigEntry {
                key,
                value_json: value_json.as_deref(),
                description: description.as_deref(),
                updated_by: &attributed.by,
                expected: *expected,
                at,
            };
            let revision = write_config_entry(connection, &new)?;
            let text = description.as_deref().map_or(0, str::len) as u64;
            let bytes = count_revision(key, value_json.as_deref()) + text;
            writer.usage.add_stored(writer.charged_to, bytes);
            let digest = value_json.as_deref().and_then(digest_of);
            (None, key.clone(), revision, digest)
        }
        OperatorChange::Truth {
            agent,
            write,
            expected,
        } => {
            let origin = TruthOrigin {
                agent,
                at,
                trace_id: writer.trace_id,
            };
            let revision = write_truth(connection, origin, write, *expected)?;
            let author = QuotaHolder::Agent(agent.clone());
            let charged_to = writer.charged_to.unwrap_or(&author);
            writer
                .usage
                .add_stored(Some(charged_to), count_truth(write));
            let digest = digest_of(&write.truth.value_json);
            (Some(agent), write.key.clone(), revision, digest)
        }
        OperatorChange::Token(change) => {
            let number = write_token_change(connection, change, &attributed.by, at)?;
            let (TokenChange::Create(NewToken { name, .. }) | TokenChange::Revoke(name)) = change;
            (None, name.to_string(), number, None)
        }
    };
    let mut body = json!({"by": attributed.by, "key": key, "number": number, "digest": digest});
    if let OperatorChange::Token(TokenChange::Create(new)) = &attributed.change {
        body["role"] = json!(new.role);
        body["agents"] = json!(new.agents);
        body["actions"] = json!(new.actions);
        body["expires_at_ms"] = json!(new.expires_at);
    }
    let entry = AuditEntry {
        kind: AuditKind::Operator,
        id: AuditId::fresh(),
        trace_id,
        agent: agent.cloned(),
        action_type: Some(attributed.change.action_type().to_owned()),
        outcome: None,
        at,
        body: body.to_string(),
        subject: None,
    };
    Ok((number, entry))
}
