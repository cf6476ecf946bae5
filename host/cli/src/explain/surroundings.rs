//! What a decision does not say itself and its explanation needs: how a held action was judged again, and what the vetoes that forbid the action
//! are called.
//!
//! Invariant: it is read after the decision and is of now. What cannot be read, e.g. since it is in an archive, is left out: the decision itself
//! is explained without it.

use ark_client::MAX_PAGE;
use ark_host::api::view::DecisionRecord;
use ark_model::decision::Outcome;
use ark_store::{List, ListEntry, ReadOnlyStore};
use serde_json::Value;

use crate::client::connection::Connection;
use crate::client::request::ApiRequest;

/// How many entries of the list of vetoes are read at most; a list holds fewer.
const MAX_VETOES: u64 = 10_000;

/// What happened to a decision after it was recorded.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    /// The outcome of the second judgement, after an approval.
    pub(super) judged_again: Option<Outcome>,
    /// The names of the standing vetoes with the words that forbid the action, as the API knows them.
    pub(super) veto_names: Vec<String>,
    /// Whether the configuration has a veto with these words.
    pub(super) veto_is_configured: bool,
}

impl Surroundings {
    /// Reads them from a running host.
    pub(super) fn fetch(connection: &Connection, record: &DecisionRecord) -> Self {
        let again = record.waiting.as_ref().and_then(|it| it.decision_id);
        let judged_again = again.and_then(|id| {
            let second = ApiRequest::get(&["v1", "decisions", &id.to_string()])
                .send(connection)
                .ok()?;
            serde_json::from_value(second["outcome"].clone()).ok()
        });
        let mut found = Self {
            judged_again,
            ..Self::default()
        };
        if let Some(words) = find_veto_words(record) {
            found.fetch_vetoes(connection, words);
        }
        found
    }

    fn fetch_vetoes(&mut self, connection: &Connection, words: &str) {
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_VETOES.div_ceil(MAX_PAGE) {
            let page = ApiRequest::get(&["v1", "lists", List::Vetoes.as_str()])
                .with_query("limit", Some(MAX_PAGE))
                .with_query("cursor", cursor)
                .send(connection);
            let Ok(page) = page else {
                return;
            };
            let items = |name: &str| page[name].as_array().cloned().unwrap_or_default();
            let says = |entry: &Value| entry["words"].as_str() == Some(words);
            self.veto_is_configured |= items("configured").iter().any(says);
            self.veto_names.extend(
                items("entries")
                    .iter()
                    .filter(|row| says(&row["entry"]))
                    .filter_map(|row| Some(row["key"].as_str()?.to_owned())),
            );
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return;
            }
        }
    }

    /// Reads them from a data directory.
    pub(super) fn read(store: &ReadOnlyStore, record: &DecisionRecord) -> Self {
        let again = record.waiting.as_ref().and_then(|it| it.decision_id);
        let judged_again = again.and_then(|id| store.audit_entry(&id.to_string()).ok()??.outcome);
        let mut found = Self {
            judged_again,
            ..Self::default()
        };
        if let Some(words) = find_veto_words(record) {
            let says = |entry: &ListEntry| matches!(entry, ListEntry::Veto { words: said, .. } if said == words);
            let configured = store.configured_entries(List::Vetoes).unwrap_or_default();
            found.veto_is_configured = configured.iter().any(says);
            let limit = u32::try_from(MAX_VETOES).unwrap_or(u32::MAX);
            let rows = store.list_page(List::Vetoes, None, limit);
            found.veto_names = rows
                .unwrap_or_default()
                .into_iter()
                .filter(|row| row.entry.as_ref().is_some_and(says))
                .map(|row| row.key)
                .collect();
        }
        found
    }
}

/// The words of the veto that forbade the action.
fn find_veto_words<'a>(record: &'a DecisionRecord) -> Option<&'a str> {
    record.decision.facts.as_deref()?.veto.as_deref()
}
