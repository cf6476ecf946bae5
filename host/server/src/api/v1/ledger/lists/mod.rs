//! The operator's lists: what rules judge by and no agent may touch (`/v1/lists`).

mod entry_request;
mod view;

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use crate::api::auth::Caller;
use crate::api::http::extract::{ApiJson, ApiPath, ApiQuery, NoQuery};
use crate::api::http::fields::{Actor, Key, Reason};
use crate::api::http::pagination::{KeyPageQuery, PageQuery, next_cursor};
use crate::api::http::preconditions::tagged_response;
use crate::api::http::problem::Problem;
use crate::api::http::respond::json_response;
use crate::api::state::{Api, DescribedRoutes, Shared};
use crate::api::v1::ledger::attestations::record_attestation;
use crate::hrm::{AttestedFact, check_veto};
use ark_model::check::clip_for_error;
use ark_store::{List, ListEntry, ListRow, ReadError};

use entry_request::ListEntryRequest;
use view::{EntryChanged, EntryHistory, EntryPage, EntryRow, EntryShown};

pub(crate) fn list_routes() -> DescribedRoutes {
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
        (status = 422, description = "The entry has the form of another list, or could match no action."),
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
