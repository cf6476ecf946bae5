//! Events as the text of the stream.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use ark_model::ids::{Millis, Name, TraceId};
use ark_model::meters::EventStreamEnd;
use ark_store::{AlertRow, AuditKind, AuditRow, EventCursor, Store};

use crate::api::http::moments::to_json_with_moments;
use crate::api::http::respond::parse_stored_json;
use crate::api::v1::actions::decision_view::{DecisionView, KnownPolicies, known_policies};
use crate::api::v1::control::alert_line::AlertLine;
use crate::hrm::decode_decision_row;

/// An event as the store has it.
pub(in crate::api) enum StoredEvent {
    /// A row of the audit log.
    Row(AuditRow),
    /// An alert.
    Alert(AlertRow),
}

impl StoredEvent {
    pub(in crate::api) fn kind(&self) -> &'static str {
        match self {
            Self::Row(row) => row.kind.as_str(),
            Self::Alert(_) => "alert",
        }
    }

    pub(in crate::api) fn agent(&self) -> Option<&Name> {
        match self {
            Self::Row(row) => row.agent.as_ref(),
            Self::Alert(row) => row.alert.agent.as_ref(),
        }
    }

    /// About how many bytes it takes.
    pub(in crate::api) fn size(&self) -> usize {
        /// The other columns.
        const FIXED: usize = 512;
        match self {
            Self::Row(row) => row.body.len() + FIXED,
            Self::Alert(_) => 2 * FIXED,
        }
    }

    /// Moves a cursor behind it.
    pub(in crate::api) const fn advance(&self, cursor: &mut EventCursor) {
        match self {
            Self::Row(row) => cursor.audit_seq = row.seq,
            Self::Alert(row) => cursor.alert_seq = row.seq,
        }
    }
}

/// What an event is about.
pub(in crate::api) struct EventData {
    /// The data, as JSON.
    pub(in crate::api) value: Value,
    /// Whether it is a decision about an action that violates a rule.
    pub(in crate::api) breaks_rules: bool,
}

/// A row of the audit log that is not a decision.
#[derive(Serialize)]
struct RowData<'a> {
    seq: u64,
    id: &'a str,
    at_ms: Millis,
    trace_id: Option<TraceId>,
    agent: Option<&'a Name>,
    action_type: Option<&'a str>,
    detail: Value,
}

/// What an event is about as JSON, as answers have it.
fn to_json(data: &impl Serialize) -> Result<Value, EventStreamEnd> {
    to_json_with_moments(data).map_err(|error| {
        tracing::error!(%error, "events end at one that cannot be written as JSON");
        EventStreamEnd::Unreadable
    })
}

impl From<Value> for EventData {
    fn from(value: Value) -> Self {
        Self {
            value,
            breaks_rules: false,
        }
    }
}

/// Renders events. It keeps the policies that decisions name.
pub(in crate::api) struct Renderer {
    store: Store,
    known: KnownPolicies,
}

impl Renderer {
    pub(in crate::api) fn new(store: Store) -> Self {
        Self {
            store,
            known: KnownPolicies::new(),
        }
    }

    /// Renders an event whose stream has come to `cursor` with it.
    ///
    /// # Errors
    /// A record cannot be read; it is logged.
    pub(in crate::api) fn render_event(
        &mut self,
        event: &StoredEvent,
        cursor: EventCursor,
    ) -> Result<Bytes, EventStreamEnd> {
        let data = self.render_data(event)?.value;
        // JSON has its line ends escaped, so it is one line.
        let text = format!("id: {cursor}\nevent: {}\ndata: {data}\n\n", event.kind());
        Ok(text.into())
    }

    /// Renders what an event is about.
    ///
    /// # Errors
    /// A record cannot be read; it is logged.
    pub(in crate::api) fn render_data(
        &mut self,
        event: &StoredEvent,
    ) -> Result<EventData, EventStreamEnd> {
        let value = match event {
            StoredEvent::Alert(row) => to_json(&AlertLine::from(row.clone()))?,
            StoredEvent::Row(row) if row.kind == AuditKind::Decision => {
                return self.decision_data(row);
            }
            StoredEvent::Row(row) => to_json(&RowData {
                seq: row.seq,
                id: &row.id,
                at_ms: row.at,
                trace_id: row.trace_id,
                agent: row.agent.as_ref(),
                action_type: row.action_type.as_deref(),
                detail: parse_stored_json(&row.body),
            })?,
        };
        Ok(value.into())
    }

    fn decision_data(&mut self, row: &AuditRow) -> Result<EventData, EventStreamEnd> {
        let unreadable = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, seq = row.seq, "events end at a record that cannot be read");
            EventStreamEnd::Unreadable
        };
        let mut decision = decode_decision_row(row, |digest| self.known.get(&digest).cloned());
        if decision.is_err() {
            // A policy may be new since.
            let records = self.store.policy_records().map_err(|it| unreadable(&it))?;
            self.known = known_policies(records).map_err(|it| unreadable(&it))?;
            decision = decode_decision_row(row, |digest| self.known.get(&digest).cloned());
        }
        match decision {
            Ok(Some(decision)) => {
                let mut value = to_json(&DecisionView::with_action(&decision))?;
                value["seq"] = json!(row.seq);
                let breaks_rules = decision.violates_rules();
                Ok(EventData {
                    value,
                    breaks_rules,
                })
            }
            Ok(None) => Ok(json!({"seq": row.seq, "id": row.id}).into()),
            Err(error) => Err(unreadable(&error)),
        }
    }
}
