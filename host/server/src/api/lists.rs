//! The operator's lists and account facts: what rules judge by and no agent may touch.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::hrm::{Attestation, AttestationReceipt, AttestedFact, HrmError, IdempotencyKey};
use ark_model::check::{FieldError, clip_for_error};
use ark_model::form::Fields;
use ark_model::ids::{Millis, Name};
use ark_model::principal::Principal;
use ark_store::{AccountRow, List, ListEntry, ListRow};

use super::control::words;
use super::envelope::{by_of, key_of_header};
use super::exchange::{
    Asked, json_answer, not_a, parsed, path_text, query_of, read_json, trace_of,
};
use super::openapi::{Described, EntryPath, KeyPageQuery, Keyed, MustSayWhy, PageQuery};
use super::operating::{limit_of, next_of, place_of};
use super::problem::Problem;
use super::reading::{PathText, off_reactor};
use super::routes::{Api, Shared};
use super::state::PathPair;

/// The most bytes of a symbol, a source, a subject or a veto's name.
const KEY_BYTES: usize = 256;
/// The least that capital can be, in the account's currency: results are divided by it, and no fraction may become infinite.
const LEAST_CAPITAL: f64 = 0.01;
/// The most that capital or a result can be, in the account's currency.
const MOST: f64 = 1e15;

pub(super) fn routes() -> Described {
    Described::new()
        .routes(routes!(entries))
        .routes(routes!(changes))
        .routes(routes!(entry, put_entry, take_off))
        .routes(routes!(entry_changes))
        .routes(routes!(account))
        .routes(routes!(capital))
        .routes(routes!(result))
        .routes(routes!(account_history))
}

/// What an entry says, in the form of its list.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum EntryShown {
    /// Of `restricted` and `client_orders`.
    Symbol { symbol: String },
    /// Of `validated_sources`.
    Source { source: String },
    /// Of `consents`.
    Consent { subject: String, granted: bool },
    /// Of `vetoes`: it holds for what matches every part that is not `null`.
    Veto {
        agent: Option<Name>,
        action_type: Option<String>,
        symbol: Option<String>,
        words: String,
    },
}

/// An entry as it stands, or as it was changed.
#[derive(Serialize, ToSchema)]
struct EntryRow {
    key: String,
    /// What it says; `null` in a history: it was taken off.
    entry: Option<EntryShown>,
    by: String,
    reason: String,
    at_ms: Millis,
}

/// A page of a list, by key.
#[derive(Serialize, ToSchema)]
struct EntryPage {
    list: List,
    /// What was put on it over the API.
    entries: Vec<EntryRow>,
    /// What the configuration puts on it.
    configured: Vec<EntryShown>,
    /// The cursor of the page behind it, if there may be one.
    next_cursor: Option<String>,
}

/// A page of changes, the latest first.
#[derive(Serialize, ToSchema)]
struct EntryHistory {
    list: List,
    changes: Vec<EntryRow>,
    /// The cursor of the page behind it, if there may be one.
    next_cursor: Option<String>,
}

/// A change of a list that is in force and on disk.
#[derive(Serialize, ToSchema)]
struct EntryChanged {
    list: List,
    key: String,
    at_ms: Millis,
}

/// How the account stands.
#[derive(Serialize, ToSchema)]
struct Account {
    /// In its currency; `null` until somebody says it.
    capital: Option<f64>,
    /// Today's result (UTC) as a fraction of capital.
    realized_today_pct: f64,
    realized_today: Option<f64>,
    /// Today's loss as a fraction of capital; 0 on a day in profit.
    daily_loss_pct: f64,
    open_positions: usize,
    /// Exposure by symbol, both sides added up, as a fraction of capital.
    exposure_pct: BTreeMap<String, f64>,
}

/// The capital that counts from now on.
#[derive(Serialize, ToSchema)]
struct CapitalSet {
    capital: f64,
    at_ms: Millis,
}

/// A result that counts from now on.
#[derive(Serialize, ToSchema)]
struct ResultNoted {
    amount: f64,
    at_ms: Millis,
    /// Today's loss with it, as a fraction of capital.
    daily_loss_pct: f64,
}

/// A page of what was said of the account, the latest first.
#[derive(Serialize, ToSchema)]
struct AccountHistory {
    changes: Vec<AccountRow>,
    /// The cursor of the page behind it, if there may be one.
    next_cursor: Option<String>,
}

fn list_of(list: &str) -> Result<List, Problem> {
    List::parse(list).ok_or_else(|| {
        let known: Vec<&str> = List::ALL.into_iter().map(List::as_str).collect();
        Problem::not_found(format!(
            "there is no list {:?}; there are {}",
            clip_for_error(list),
            known.join(", ")
        ))
    })
}

fn place(path: PathPair) -> Result<(List, String), Problem> {
    let axum::extract::Path((list, key)) =
        path.map_err(|rejection| FieldError::new("path", rejection.body_text(), "send UTF-8"))?;
    let list = list_of(&list)?;
    if key.is_empty() || key.len() > KEY_BYTES || key.chars().any(char::is_control) {
        let remedy = format!("give 1 to {KEY_BYTES} bytes of plain text");
        return Err(not_a("key", &key, &remedy));
    }
    Ok((list, key))
}

fn entry_view(entry: &ListEntry) -> EntryShown {
    match entry.clone() {
        ListEntry::Restricted(symbol) | ListEntry::ClientOrder(symbol) => {
            EntryShown::Symbol { symbol }
        }
        ListEntry::ValidatedSource(source) => EntryShown::Source { source },
        ListEntry::Consent { subject, granted } => EntryShown::Consent { subject, granted },
        ListEntry::Veto {
            agent,
            action_type,
            symbol,
            words,
        } => EntryShown::Veto {
            agent,
            action_type,
            symbol,
            words,
        },
    }
}

fn row_view(row: &ListRow) -> EntryRow {
    EntryRow {
        key: row.key.clone(),
        entry: row.entry.as_ref().map(entry_view),
        by: row.by.clone(),
        reason: row.reason.clone(),
        at_ms: row.at_ms,
    }
}

/// Lists the entries of a list
#[utoipa::path(get, path = "/v1/lists/{list}", operation_id = "list_entries", tag = "lists",
    params(("list" = List, Path, description = "The list."), KeyPageQuery),
    responses((status = 200, description = "A page.", body = EntryPage)))]
async fn entries(State(api): Shared, list: PathText, query: Asked) -> Result<Response, Problem> {
    let list = list_of(&path_text(list)?)?;
    let query = query_of(query, &["limit", "cursor"])?;
    let limit = limit_of(&query)?;
    let after = query.get("cursor").cloned();
    let (rows, configured) = off_reactor(&api, move |api| {
        let rows = api.store.list_page(list, after.as_deref(), limit)?;
        Ok::<_, ark_store::ReadError>((rows, api.store.configured_entries(list)?))
    })
    .await??;
    let next = next_of(&rows, limit, |row| row.key.clone());
    let page = EntryPage {
        list,
        entries: rows.iter().map(row_view).collect(),
        configured: configured.iter().map(entry_view).collect(),
        next_cursor: next,
    };
    Ok(json_answer(StatusCode::OK, None, &page))
}

/// An entry of a list that was put there over the API
#[utoipa::path(get, path = "/v1/lists/{list}/entries/{key}", operation_id = "read_entry", tag = "lists", params(EntryPath),
    responses((status = 200, description = "The entry.", body = EntryRow)))]
async fn entry(State(api): Shared, path: PathPair, query: Asked) -> Result<Response, Problem> {
    let (list, key) = place(path)?;
    query_of(query, &[])?;
    let wanted = key.clone();
    let row = off_reactor(&api, move |api| api.store.list_entry(list, &wanted))
        .await??
        .ok_or_else(|| {
            let problem = "was not put on the list over the API";
            Problem::not_found(format!(
                "{:?} {problem} {}",
                clip_for_error(&key),
                list.as_str()
            ))
        })?;
    Ok(json_answer(StatusCode::OK, None, &row_view(&row)))
}

/// Lists the changes of a list, the latest first
#[utoipa::path(get, path = "/v1/lists/{list}/history", operation_id = "list_changes", tag = "lists",
    params(("list" = List, Path, description = "The list."), PageQuery),
    responses((status = 200, description = "A page.", body = EntryHistory)))]
async fn changes(State(api): Shared, list: PathText, query: Asked) -> Result<Response, Problem> {
    let list = list_of(&path_text(list)?)?;
    history(&api, list, None, query).await
}

/// Lists the changes of an entry, the latest first
#[utoipa::path(get, path = "/v1/lists/{list}/entries/{key}/history", operation_id = "list_entry_changes", tag = "lists",
    params(EntryPath, PageQuery),
    responses((status = 200, description = "A page.", body = EntryHistory)))]
async fn entry_changes(
    State(api): Shared,
    path: PathPair,
    query: Asked,
) -> Result<Response, Problem> {
    let (list, key) = place(path)?;
    history(&api, list, Some(key), query).await
}

async fn history(
    api: &Arc<Api>,
    list: List,
    key: Option<String>,
    query: Asked,
) -> Result<Response, Problem> {
    let query = query_of(query, &["limit", "cursor"])?;
    let limit = limit_of(&query)?;
    let before = place_of(&query, "cursor", "give the next_cursor of the page before")?;
    let rows = off_reactor(api, move |api| {
        api.store.list_history(list, key.as_deref(), before, limit)
    })
    .await??;
    let next = next_of(&rows, limit, |row| row.seq.to_string());
    let page = EntryHistory {
        list,
        changes: rows.iter().map(row_view).collect(),
        next_cursor: next,
    };
    Ok(json_answer(StatusCode::OK, None, &page))
}

/// Puts an entry on a list, or changes it
///
/// The next judgement sees it.
#[utoipa::path(put, path = "/v1/lists/{list}/entries/{key}", operation_id = "put_entry", tag = "lists", params(EntryPath),
    request_body = ref("#/components/schemas/ListEntryRequest"),
    responses(
        (status = 200, description = "It is in force and on disk.", body = EntryChanged),
        (status = 422, description = "It is an entry of another list."),
    ))]
async fn put_entry(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    path: PathPair,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (list, key) = place(path)?;
    query_of(query, &[])?;
    let document = read_json(&headers, body).await?;
    of_this_list(list, &document)?;
    let mut fields = Fields::from_document(document, "")?;
    let entry = match list {
        List::Restricted => ListEntry::Restricted(key.clone()),
        List::ClientOrders => ListEntry::ClientOrder(key.clone()),
        List::ValidatedSources => ListEntry::ValidatedSource(key.clone()),
        List::Consents => {
            let granted = fields.take_flag("granted")?.ok_or_else(|| {
                FieldError::new("granted", "is missing", "give true, or false for a refusal")
            })?;
            ListEntry::Consent {
                subject: key.clone(),
                granted,
            }
        }
        List::Vetoes => {
            let part = |text: Option<String>, field: &str| match text {
                Some(text) if text.is_empty() || text.len() > KEY_BYTES => {
                    let remedy = format!("give 1 to {KEY_BYTES} bytes, or leave it out");
                    Err(not_a(field, &text, &remedy))
                }
                text => Ok(text),
            };
            ListEntry::Veto {
                agent: parsed(&mut fields, "agent", "give an agent's name")?,
                action_type: part(fields.take_text("action_type")?, "action_type")?,
                symbol: part(fields.take_text("symbol")?, "symbol")?,
                words: words(
                    "words",
                    &fields.required_text("words", "give the user's words")?,
                )?,
            }
        }
    };
    let what = AttestedFact::List {
        list,
        key: key.clone(),
        entry: Some(entry),
    };
    let receipt = attest(&api, &principal, fields, what, &headers, None).await?;
    Ok(json_answer(
        StatusCode::OK,
        Some(receipt.trace_id),
        &EntryChanged {
            list,
            key,
            at_ms: receipt.at,
        },
    ))
}

/// Takes an entry off a list
///
/// What the configuration puts there stays.
#[utoipa::path(delete, path = "/v1/lists/{list}/entries/{key}", operation_id = "take_entry_off", tag = "lists",
    params(EntryPath, MustSayWhy),
    responses((status = 200, description = "It is off, and that is on disk.", body = EntryChanged)))]
async fn take_off(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    path: PathPair,
    query: Asked,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (list, key) = place(path)?;
    let query = query_of(query, &["reason", "by"])?;
    let fields: serde_json::Map<String, Value> = query
        .into_iter()
        .map(|(name, value)| (name, Value::from(value)))
        .collect();
    let fields = Fields::from_document(Value::Object(fields), "")?;
    let what = AttestedFact::List {
        list,
        key: key.clone(),
        entry: None,
    };
    let receipt = attest(&api, &principal, fields, what, &headers, None).await?;
    Ok(json_answer(
        StatusCode::OK,
        Some(receipt.trace_id),
        &EntryChanged {
            list,
            key,
            at_ms: receipt.at,
        },
    ))
}

/// An entry in the form of another list is well-formed, and cannot be put here.
fn of_this_list(list: List, document: &Value) -> Result<(), Problem> {
    let Some(fields) = document.as_object() else {
        return Ok(());
    };
    let (own, needed): (&[&str], Option<&str>) = match list {
        List::Restricted | List::ClientOrders | List::ValidatedSources => (&[], None),
        List::Consents => (&["granted"], Some("granted")),
        List::Vetoes => (&["words", "agent", "action_type", "symbol"], Some("words")),
    };
    let others = ["granted", "words", "agent", "action_type", "symbol"];
    let foreign = others
        .into_iter()
        .find(|field| !own.contains(field) && fields.contains_key(*field));
    let missing = needed.filter(|field| !fields.contains_key(*field));
    let (field, problem) = match (foreign, missing) {
        (Some(field), _) => (field, "is a field of another list's entries"),
        (None, Some(field)) => (field, "is missing"),
        (None, None) => return Ok(()),
    };
    let remedy = match list {
        List::Restricted | List::ClientOrders | List::ValidatedSources => "give reason and by only",
        List::Consents => "give granted: true, or false for a refusal",
        List::Vetoes => "give words, and if you like agent, action_type and symbol",
    };
    Err(Problem::contradiction(&FieldError::new(
        field, problem, remedy,
    )))
}

async fn attest(
    api: &Arc<Api>,
    principal: &Principal,
    mut fields: Fields,
    what: AttestedFact,
    headers: &HeaderMap,
    idempotency: Option<IdempotencyKey>,
) -> Result<AttestationReceipt, Problem> {
    let reason = fields.required_text("reason", "say why, for the audit log")?;
    let attestation = Attestation {
        fact: what,
        trace_id: trace_of(headers, None)?,
        reason: words("reason", &reason)?,
        by: by_of(principal, "by", fields.take_text("by")?)?,
        idempotency,
    };
    fields.reject_unknown()?;
    let (reply, answer) = oneshot::channel();
    // Handing it over waits for a place when the host is flooded.
    off_reactor(api, move |api| {
        api.hrm.record_attestation(
            attestation,
            Box::new(move |result| drop(reply.send(result))),
        );
    })
    .await?;
    Ok(answer.await.unwrap_or(Err(HrmError::Closed))?)
}

/// How the account stands
#[utoipa::path(get, path = "/v1/account", operation_id = "account", tag = "account",
    responses((status = 200, description = "The account.", body = Account)))]
async fn account(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let rows = off_reactor(&api, |api| api.store.load_ledger(Millis::now())).await??;
    let mut exposure_pct: BTreeMap<String, f64> = BTreeMap::new();
    for position in &rows.positions {
        *exposure_pct.entry(position.symbol.clone()).or_default() += position.size.get();
    }
    let account = Account {
        capital: rows.capital,
        realized_today_pct: rows.realised_today,
        realized_today: rows.capital.map(|capital| capital * rows.realised_today),
        daily_loss_pct: (-rows.realised_today).max(0.0) + 0.0,
        open_positions: rows.positions.len(),
        exposure_pct,
    };
    Ok(json_answer(StatusCode::OK, None, &account))
}

/// Says what the capital is
#[utoipa::path(put, path = "/v1/account/capital", operation_id = "set_capital", tag = "account",
    request_body = ref("#/components/schemas/CapitalRequest"),
    responses((status = 200, description = "It counts, and is on disk.", body = CapitalSet)))]
async fn capital(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let mut fields = Fields::from_document(read_json(&headers, body).await?, "")?;
    let amount = amount_of(&mut fields)?;
    if amount < LEAST_CAPITAL {
        let remedy = format!("give {LEAST_CAPITAL} or more");
        return Err(not_a("amount", &amount.to_string(), &remedy));
    }
    let receipt = attest(
        &api,
        &principal,
        fields,
        AttestedFact::Capital(amount),
        &headers,
        None,
    )
    .await?;
    Ok(json_answer(
        StatusCode::OK,
        Some(receipt.trace_id),
        &CapitalSet {
            capital: amount,
            at_ms: receipt.at,
        },
    ))
}

/// Tells of a result of today that no execution report told of
#[utoipa::path(post, path = "/v1/account/results", operation_id = "note_result", tag = "account", params(Keyed),
    request_body = ref("#/components/schemas/ResultRequest"),
    responses(
        (status = 200, description = "It counts, and is on disk.", body = ResultNoted),
        (status = 409, description = "The capital is not known."),
        (status = 422, description = "The idempotency key was used for another request."),
    ))]
async fn result(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let document = read_json(&headers, body).await?;
    let key = key_of_header(&headers, &document.to_string())?;
    let mut fields = Fields::from_document(document, "")?;
    let amount = amount_of(&mut fields)?;
    let receipt = attest(
        &api,
        &principal,
        fields,
        AttestedFact::Result(amount),
        &headers,
        key,
    )
    .await?;
    Ok(json_answer(
        StatusCode::OK,
        Some(receipt.trace_id),
        &ResultNoted {
            amount,
            at_ms: receipt.at,
            daily_loss_pct: receipt.daily_loss,
        },
    ))
}

fn amount_of(fields: &mut Fields) -> Result<f64, FieldError> {
    let remedy = "give a number in the account's currency";
    let amount = fields
        .take_number("amount")?
        .ok_or_else(|| FieldError::new("amount", "is missing", remedy))?;
    if (-MOST..=MOST).contains(&amount) {
        return Ok(amount);
    }
    Err(FieldError::new("amount", format!("is {amount}"), remedy))
}

/// Lists what was said of the account, the latest first
#[utoipa::path(get, path = "/v1/account/history", operation_id = "account_history", tag = "account", params(PageQuery),
    responses((status = 200, description = "A page.", body = AccountHistory)))]
async fn account_history(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    let query = query_of(query, &["limit", "cursor"])?;
    let limit = limit_of(&query)?;
    let before = place_of(&query, "cursor", "give the next_cursor of the page before")?;
    let rows = off_reactor(&api, move |api| api.store.account_history(before, limit)).await??;
    let next = next_of(&rows, limit, |row| row.seq.to_string());
    Ok(json_answer(
        StatusCode::OK,
        None,
        &AccountHistory {
            changes: rows,
            next_cursor: next,
        },
    ))
}
