//! An entry that is put on a list: its form, which is that of the list.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::http::extract::{RequestBody, read_described};
use crate::api::http::fields::{Actor, Reason, optional_symbol_schema, text_field};
use crate::api::http::problem::Problem;
use ark_model::check::{FieldError, check_symbol};
use ark_model::ids::Name;
use ark_store::{List, ListEntry};

text_field! {
    /// What a veto matches exactly.
    VetoPart("1 to 256 bytes, or leave it out", bytes: 1..=256, pattern: None, accepts: |_| true)
}

/// An entry of `restricted`, `client_orders` or `validated_sources`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedEntry {
    /// Why, for the audit log.
    reason: Reason,
    by: Option<Actor>,
}

/// An entry of `consents`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsentEntry {
    /// Granted, or refused.
    granted: bool,
    /// Why, for the audit log.
    reason: Reason,
    by: Option<Actor>,
}

/// An entry of `vetoes`. It holds for what matches every part it names.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VetoEntry {
    /// The user's words.
    words: Reason,
    /// The agent.
    agent: Option<Name>,
    /// The action type.
    action_type: Option<VetoPart>,
    /// The symbol. Every spelling of it is meant.
    #[schema(schema_with = optional_symbol_schema)]
    symbol: Option<VetoPart>,
    /// Why, for the audit log.
    reason: Reason,
    by: Option<Actor>,
}

/// An entry of a list, in the form of that list.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum ListEntryRequest {
    Named(NamedEntry),
    Consent(ConsentEntry),
    Veto(VetoEntry),
}

impl RequestBody for ListEntryRequest {
    fn from_document(document: Value) -> Result<Self, FieldError> {
        let has = |field: &str| document.get(field).is_some();
        if ["words", "agent", "action_type", "symbol"]
            .into_iter()
            .any(has)
        {
            read_described(document).map(Self::Veto)
        } else if has("granted") {
            read_described(document).map(Self::Consent)
        } else {
            read_described(document).map(Self::Named)
        }
    }
}

impl ListEntryRequest {
    /// The entry under a key of a list, with its reason and who makes it.
    ///
    /// # Errors
    /// 400: the veto's symbol is none. 422: it is well-formed, and an entry of another list, or could match no action.
    pub(super) fn into_entry(
        self,
        list: List,
        key: String,
    ) -> Result<(ListEntry, Reason, Option<Actor>), Problem> {
        if list.names_instruments() {
            check_symbol("key", &key).map_err(|error| Problem::contradiction(&error))?;
        }
        Ok(match (list, self) {
            (List::Restricted, Self::Named(form)) => {
                (ListEntry::Restricted(key), form.reason, form.by)
            }
            (List::ClientOrders, Self::Named(form)) => {
                (ListEntry::ClientOrder(key), form.reason, form.by)
            }
            (List::ValidatedSources, Self::Named(form)) => {
                (ListEntry::ValidatedSource(key), form.reason, form.by)
            }
            (List::Consents, Self::Consent(form)) => {
                let entry = ListEntry::Consent {
                    subject: key,
                    granted: form.granted,
                };
                (entry, form.reason, form.by)
            }
            (List::Vetoes, Self::Veto(form)) => {
                if let Some(symbol) = &form.symbol {
                    check_symbol("symbol", symbol.as_ref())?;
                }
                let entry = ListEntry::Veto {
                    agent: form.agent,
                    action_type: form.action_type.map(String::from),
                    symbol: form.symbol.map(String::from),
                    words: form.words.into(),
                };
                (entry, form.reason, form.by)
            }
            (list, form) => return Err(form.other_list(list)),
        })
    }

    /// What is wrong with an entry in the form of another list.
    fn other_list(&self, list: List) -> Problem {
        let foreign = "is a field of another list's entries";
        let (field, problem) = match (list, self) {
            (List::Consents, Self::Named(_)) => ("granted", "is missing"),
            (List::Vetoes, Self::Named(_)) => ("words", "is missing"),
            (_, Self::Consent(_)) => ("granted", foreign),
            (_, Self::Veto(_) | Self::Named(_)) => ("words", foreign),
        };
        let remedy = match list {
            List::Restricted | List::ClientOrders | List::ValidatedSources => {
                "give reason and by only"
            }
            List::Consents => "give granted: true, or false for a refusal",
            List::Vetoes => "give words, and if you like agent, action_type and symbol",
        };
        Problem::contradiction(&FieldError::new(field, problem, remedy))
    }
}
