//! An export of decisions: one JSON value on each line, read and rendered in parts while the client takes them.
//!
//! Invariants: one part is in memory at a time; no thread waits for the client; an export that cannot be finished ends its connection, so that a
//! client does not take a part for the whole.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::Stream;
use serde::Serialize;

use ark_model::meters::EventStreamEnd;
use ark_store::DecisionFilter;

use crate::api::events::StreamPlace;
use crate::api::http::moments::WithMoments;
use crate::api::state::Api;
use crate::hrm::decode_decision_row;

use super::decision_form::DecisionForm;
use super::decision_view::{DecisionView, KnownPolicies, known_policies};

/// How many decisions a part has at most.
const PART_ROWS: u32 = 32;

/// A line: a decision with its place in the audit log.
#[derive(Serialize)]
struct ExportLine<'a> {
    seq: u64,
    #[serde(flatten)]
    decision: DecisionView<'a>,
}

/// An export that is being sent.
pub(super) struct DecisionExport {
    pub(super) filter: Arc<DecisionFilter>,
    pub(super) form: DecisionForm,
    /// The row before which the next part begins; absent: it begins with the latest.
    pub(super) before: Option<u64>,
    /// How many lines may still be sent; absent: all.
    pub(super) left: Option<u32>,
    pub(super) place: StreamPlace,
}

/// A part of an export.
struct ExportPart {
    text: Bytes,
    lines: u32,
    next: Option<u64>,
}

impl DecisionExport {
    /// The chunks of the body.
    pub(super) fn into_chunks(self, api: Arc<Api>) -> impl Stream<Item = Result<Bytes, io::Error>> {
        futures_util::stream::try_unfold(Some(self), move |export| {
            let api = Arc::clone(&api);
            async move {
                let Some(mut export) = export else {
                    return Ok(None);
                };
                export.place.handed_at = None;
                let part = export.read_next(&api).await.inspect_err(|error| {
                    tracing::warn!(%error, "an export of decisions ends early");
                })?;
                export.place.handed_at = Some(Instant::now());
                export.before = part.next;
                export.left = export.left.map(|left| left - left.min(part.lines));
                let goes_on = part.next.is_some() && export.left != Some(0);
                Ok(Some((part.text, goes_on.then_some(export))))
            }
        })
    }

    async fn read_next(&mut self, api: &Arc<Api>) -> Result<ExportPart, io::Error> {
        if *api.closing.borrow() {
            self.place.end = Some(EventStreamEnd::Stopping);
            return Err(io::Error::other("the host ends"));
        }
        let (filter, form, before) = (Arc::clone(&self.filter), self.form, self.before);
        let rows = self.left.unwrap_or(PART_ROWS).min(PART_ROWS);
        let part = api
            .run_blocking(move |api| read_part(api, &filter, form, before, rows))
            .await;
        part.map_err(|problem| problem.detail().to_owned())
            .flatten()
            .map_err(|error| {
                self.place.end = Some(EventStreamEnd::Unreadable);
                io::Error::other(error)
            })
    }
}

/// Reads and renders a part.
fn read_part(
    api: &Api,
    filter: &DecisionFilter,
    form: DecisionForm,
    before: Option<u64>,
    rows: u32,
) -> Result<ExportPart, String> {
    let page = api
        .store
        .decision_page(filter, before, rows)
        .map_err(|error| error.to_string())?;
    let known: KnownPolicies = if page.lines.is_empty() {
        KnownPolicies::new()
    } else {
        let records = api.store.policy_records();
        known_policies(records.map_err(|error| error.to_string())?)
            .map_err(|error| error.to_string())?
    };
    let mut text = Vec::new();
    for line in &page.lines {
        let row = api.store.audit_row(line.seq);
        let Some(row) = row.map_err(|error| error.to_string())? else {
            return Err(format!("decision {} is not in the log any more", line.id));
        };
        let decision = decode_decision_row(&row, |digest| known.get(&digest).cloned())
            .map_err(|error| error.to_string())?;
        let Some(decision) = decision else {
            continue;
        };
        let line = ExportLine {
            seq: line.seq,
            decision: form.show_record(&decision),
        };
        serde_json::to_writer(&mut text, &WithMoments(&line)).map_err(|error| error.to_string())?;
        text.push(b'\n');
    }
    Ok(ExportPart {
        text: text.into(),
        lines: u32::try_from(page.lines.len()).unwrap_or(u32::MAX),
        next: page.next,
    })
}
