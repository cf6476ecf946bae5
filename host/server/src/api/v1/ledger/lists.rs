//! The operator's lists: what rules judge by and no agent may touch (`/v1/lists`).

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::api::auth::Caller;
use crate::api::http::extract::{ApiJson, ApiPath, ApiQuery, NoQuery, RequestBody, read_described};
use crate::api::http::fields::{Actor, Key, Reason, optional_symbol_schema, text_field};
use crate::api::http::pagination::{KeyPageQuery, PageQuery, next_cursor};
use crate::api::http::preconditions::tagged_response;
use crate::api::http::problem::Problem;
use crate::api::http::respond::json_response;
use crate::api::state::{Api, DescribedRoutes, Shared};
use crate::hrm::{AttestedFact, Hrm, check_veto};
use ark_model::check::{FieldError, check_symbol, clip_for_error};
use ark_model::ids::{Millis, Name};
use ark_store::{List, ListEntry, ListRow, ReadError};

use super::attestations::record_attestation;

pub(crate) fn routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(list_entries))
        .routes(routes!(list_changes))
        .routes(routes!(read_entry, put_entry, remove_entry))
        .routes(routes!(list_entry_changes))
}

/// A list in the path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct ListPath {
    /// The list.
    #[param(value_type = List)]
    list: String,
}

/// An entry of a list in the path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct EntryPath {
    /// The list.
    #[param(value_type = List)]
    list: String,
    /// The symbol, in any spelling; the source or subject; of a veto the name it was given. One segment: `/` in it is written %2F.
    #[param(inline)]
    key: Key,
}

impl ListPath {
    fn find_list(&self) -> Result<List, Problem> {
        find_list(&self.list)
    }
}

impl EntryPath {
    fn into_parts(self) -> Result<(List, String), Problem> {
        Ok((find_list(&self.list)?, self.key.into()))
    }
}

/// The name of an unknown list is a resource that does not exist: 404.
fn find_list(list: &str) -> Result<List, Problem> {
    List::parse(list).ok_or_else(|| {
        let known: Vec<&str> = List::ALL.into_iter().map(List::as_str).collect();
        Problem::not_found(
            format!("there is no list {:?}", clip_for_error(list)),
            "list",
            &format!("give {}", known.join(", ")),
        )
    })
}

/// Who removes an entry, and why.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct RemoveQuery {
    /// Why, for the audit log.
    #[param(inline)]
    reason: Reason,
    /// Who does it. With a token its name, which may be left out.
    #[param(inline)]
    by: Option<Actor>,
}

text_field! {
    /// What a veto matches exactly.
    VetoPart("1 to 256 bytes, or leave it out", bytes: 1..=256, pattern: None, accepts: |_| true)
}

/// An entry of `restricted`, `client_orders` or `validated_sources`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NamedEntry {
    /// Why, for the audit log.
    reason: Reason,
    by: Option<Actor>,
}

/// An entry of `consents`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConsentEntry {
    /// Granted, or refused.
    granted: bool,
    /// Why, for the audit log.
    reason: Reason,
    by: Option<Actor>,
}

/// An entry of `vetoes`. It holds for what matches every part it names.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct VetoEntry {
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
enum ListEntryRequest {
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
    fn into_entry(
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

/// What an entry says, in the form of its list.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum EntryShown {
    /// An entry of `restricted` and `client_orders`.
    Symbol { symbol: String },
    /// An entry of `validated_sources`.
    Source { source: String },
    /// An entry of `consents`.
    Consent { subject: String, granted: bool },
    /// An entry of `vetoes`: it holds for what matches every part that is not `null`.
    Veto {
        agent: Option<Name>,
        action_type: Option<String>,
        symbol: Option<String>,
        words: String,
    },
}

impl From<ListEntry> for EntryShown {
    fn from(entry: ListEntry) -> Self {
        match entry {
            ListEntry::Restricted(symbol) | ListEntry::ClientOrder(symbol) => {
                Self::Symbol { symbol }
            }
            ListEntry::ValidatedSource(source) => Self::Source { source },
            ListEntry::Consent { subject, granted } => Self::Consent { subject, granted },
            ListEntry::Veto {
                agent,
                action_type,
                symbol,
                words,
            } => Self::Veto {
                agent,
                action_type,
                symbol,
                words,
            },
        }
    }
}

/// An entry now, or as it was changed.
#[derive(Serialize, ToSchema)]
struct EntryRow {
    key: String,
    /// The key of the instrument that the entry names, which all spellings of it share; left out where it names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    instrument: Option<String>,
    /// What it says; `null` in a history: it was removed.
    entry: Option<EntryShown>,
    by: String,
    reason: String,
    at_ms: Millis,
}

impl EntryRow {
    fn new(row: ListRow, hrm: &Hrm) -> Self {
        let symbol = match &row.entry {
            Some(ListEntry::Restricted(symbol) | ListEntry::ClientOrder(symbol)) => Some(symbol),
            Some(ListEntry::Veto { symbol, .. }) => symbol.as_ref(),
            _ => None,
        };
        Self {
            instrument: symbol.map(|symbol| hrm.find_instrument(symbol).to_string()),
            key: row.key,
            entry: row.entry.map(EntryShown::from),
            by: row.by,
            reason: row.reason,
            at_ms: row.at_ms,
        }
    }
}

/// A page of a list, by key.
#[derive(Serialize, ToSchema)]
struct EntryPage {
    list: List,
    /// What was put on it over the API.
    entries: Vec<EntryRow>,
    /// What the configuration puts on it.
    configured: Vec<EntryShown>,
    /// The cursor of the next page, if there may be one.
    next_cursor: Option<String>,
}

/// A page of changes, newest first.
#[derive(Serialize, ToSchema)]
struct EntryHistory {
    list: List,
    changes: Vec<EntryRow>,
    /// The cursor of the next page, if there may be one.
    next_cursor: Option<String>,
}

/// A change of a list that is in force and on disk.
#[derive(Serialize, ToSchema)]
struct EntryChanged {
    list: List,
    key: String,
    /// The keys of entries in other spellings of the same symbol, which were taken off with this change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_spellings: Vec<String>,
    at_ms: Millis,
}

/// Lists the entries of a list
#[utoipa::path(get, path = "/v1/lists/{list}", operation_id = "list_entries", tag = "lists", params(ListPath, KeyPageQuery),
    responses((status = 200, description = "A page.", body = EntryPage, headers(("ETag" = String, description = "The digest of the answer.")))))]
async fn list_entries(
    State(api): Shared,
    ApiPath(path): ApiPath<ListPath>,
    ApiQuery(query): ApiQuery<KeyPageQuery>,
) -> Result<Response, Problem> {
    let list = path.find_list()?;
    let (limit, after) = query.into_parts();
    let (rows, configured) = api
        .run_blocking(move |api| {
            let rows = api.store.list_page(list, after.as_deref(), limit)?;
            Ok::<_, ReadError>((rows, api.store.configured_entries(list)?))
        })
        .await??;
    let page = EntryPage {
        list,
        next_cursor: next_cursor(&rows, limit, |row| row.key.clone()),
        entries: rows
            .into_iter()
            .map(|row| EntryRow::new(row, &api.hrm))
            .collect(),
        configured: configured.into_iter().map(EntryShown::from).collect(),
    };
    Ok(tagged_response(&page))
}

/// Reads an entry of a list that was put there over the API
///
/// An entry of `restricted` and `client_orders` is found by every spelling of its symbol.
#[utoipa::path(get, path = "/v1/lists/{list}/entries/{key}", operation_id = "read_entry", tag = "lists", params(EntryPath),
    responses((status = 200, description = "The entry.", body = EntryRow)))]
async fn read_entry(
    State(api): Shared,
    ApiPath(path): ApiPath<EntryPath>,
    _: NoQuery,
) -> Result<Response, Problem> {
    let (list, key) = path.into_parts()?;
    let wanted = key.clone();
    let row = api
        .run_blocking(move |api| read_addressed_entry(api, list, &wanted))
        .await??
        .ok_or_else(|| {
            let problem = "was not put on the list over the API";
            Problem::not_found(
                format!("{:?} {problem} {}", clip_for_error(&key), list.as_str()),
                "key",
                "GET /v1/lists/{list} shows what is on it",
            )
        })?;
    let row = EntryRow::new(row, &api.hrm);
    Ok(json_response(StatusCode::OK, None, &row))
}

/// Reads the entry with this key, or else the one in another spelling of it.
fn read_addressed_entry(api: &Api, list: List, key: &str) -> Result<Option<ListRow>, ReadError> {
    let row = api.store.list_entry(list, key)?;
    if row.is_some() || !list.names_instruments() {
        return Ok(row);
    }
    let keys = api.store.list_keys(list)?;
    match keys
        .iter()
        .find(|other| api.hrm.is_same_entry(list, other, key))
    {
        Some(other) => api.store.list_entry(list, other),
        None => Ok(None),
    }
}

/// Lists the changes of a list, newest first
#[utoipa::path(get, path = "/v1/lists/{list}/history", operation_id = "list_changes", tag = "lists", params(ListPath, PageQuery),
    responses((status = 200, description = "A page.", body = EntryHistory)))]
async fn list_changes(
    State(api): Shared,
    ApiPath(path): ApiPath<ListPath>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Response, Problem> {
    answer_history(&api, path.find_list()?, None, query).await
}

/// Lists the changes of an entry, newest first
#[utoipa::path(get, path = "/v1/lists/{list}/entries/{key}/history", operation_id = "list_entry_changes", tag = "lists",
    params(EntryPath, PageQuery),
    responses((status = 200, description = "A page.", body = EntryHistory)))]
async fn list_entry_changes(
    State(api): Shared,
    ApiPath(path): ApiPath<EntryPath>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Response, Problem> {
    let (list, key) = path.into_parts()?;
    answer_history(&api, list, Some(key), query).await
}

async fn answer_history(
    api: &Arc<Api>,
    list: List,
    key: Option<String>,
    query: PageQuery,
) -> Result<Response, Problem> {
    let (limit, before) = query.into_parts();
    let rows = api
        .run_blocking(move |api| {
            let keys = key.map(|key| -> Result<_, ReadError> {
                let mut keys = api.store.list_history_keys(list)?;
                keys.retain(|other| api.hrm.is_same_entry(list, other, &key));
                Ok(keys)
            });
            let keys = keys.transpose()?;
            api.store.list_history(list, keys.as_deref(), before, limit)
        })
        .await??;
    let page = EntryHistory {
        list,
        next_cursor: next_cursor(&rows, limit, |row| row.seq.to_string()),
        changes: rows
            .into_iter()
            .map(|row| EntryRow::new(row, &api.hrm))
            .collect(),
    };
    Ok(json_response(StatusCode::OK, None, &page))
}

/// Puts an entry on a list, or changes it
///
/// The next judgement sees it. An entry of `restricted` and `client_orders` counts for every spelling of its symbol: putting it in another
/// spelling takes the place of the first.
#[utoipa::path(put, path = "/v1/lists/{list}/entries/{key}", operation_id = "put_entry", tag = "lists", params(EntryPath),
    request_body = ListEntryRequest,
    responses(
        (status = 200, description = "The entry is in force and on disk.", body = EntryChanged),
        (status = 422, description = "It is an entry of another list, or could match no action."),
    ))]
async fn put_entry(
    State(api): Shared,
    caller: Caller,
    ApiPath(path): ApiPath<EntryPath>,
    _: NoQuery,
    ApiJson { form, .. }: ApiJson<ListEntryRequest>,
) -> Result<Response, Problem> {
    let (list, key) = path.into_parts()?;
    let (entry, reason, by) = form.into_entry(list, key.clone())?;
    if let ListEntry::Veto {
        action_type,
        symbol,
        ..
    } = &entry
    {
        check_veto(
            &api.hrm.action_types(),
            action_type.as_deref(),
            symbol.as_deref(),
        )
        .map_err(|error| Problem::contradiction(&error))?;
    }
    change_entry(&api, &caller, list, key, Some(entry), reason, by).await
}

/// Removes an entry from a list
///
/// What the configuration puts there stays. An entry of `restricted` and `client_orders` is taken off by every spelling of its symbol.
#[utoipa::path(delete, path = "/v1/lists/{list}/entries/{key}", operation_id = "take_entry_off", tag = "lists",
    params(EntryPath, RemoveQuery),
    responses((status = 200, description = "The entry was removed, and that is on disk.", body = EntryChanged)))]
async fn remove_entry(
    State(api): Shared,
    caller: Caller,
    ApiPath(path): ApiPath<EntryPath>,
    ApiQuery(query): ApiQuery<RemoveQuery>,
) -> Result<Response, Problem> {
    let (list, key) = path.into_parts()?;
    change_entry(&api, &caller, list, key, None, query.reason, query.by).await
}

async fn change_entry(
    api: &Arc<Api>,
    caller: &Caller,
    list: List,
    key: String,
    entry: Option<ListEntry>,
    reason: Reason,
    by: Option<Actor>,
) -> Result<Response, Problem> {
    let fact = AttestedFact::List {
        list,
        key: key.clone(),
        entry,
    };
    let receipt = record_attestation(api, caller, fact, reason, by, None).await?;
    let body = EntryChanged {
        list,
        key,
        other_spellings: receipt.other_spellings,
        at_ms: receipt.at,
    };
    Ok(json_response(StatusCode::OK, Some(receipt.trace_id), &body))
}
