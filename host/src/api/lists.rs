//! The operator's lists and account facts: what rules judge by and no agent may touch.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post, put};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::hrm::{Attestation, AttestationReceipt, Attested, HrmError, IdempotencyKey};
use crate::model::check::{FieldError, clip};
use crate::model::form::Fields;
use crate::model::ids::Millis;
use crate::model::principal::Principal;
use crate::store::{List, ListEntry, ListRow};

use super::control::words;
use super::envelope::{by_of, key_of_header};
use super::exchange::{Asked, json_answer, not_a, parsed, path_text, query_of, read_json};
use super::operating::{limit_of, next_of, place_of};
use super::problem::Problem;
use super::reading::{PathText, off_reactor};
use super::routes::{Api, Shared};
use super::state::PathPair;

/// The most bytes of a symbol, a source, a subject or a veto's name.
const KEY_BYTES: usize = 256;
/// The most that capital or a result can be, in the account's currency.
const MOST: f64 = 1e15;

pub(super) fn routes() -> axum::Router<Arc<Api>> {
    axum::Router::new()
        .route("/v1/lists/{list}", get(entries))
        .route("/v1/lists/{list}/history", get(changes))
        .route(
            "/v1/lists/{list}/entries/{key}",
            get(entry).put(put_entry).delete(take_off),
        )
        .route("/v1/lists/{list}/entries/{key}/history", get(entry_changes))
        .route("/v1/account", get(account))
        .route("/v1/account/capital", put(capital))
        .route("/v1/account/results", post(result))
        .route("/v1/account/history", get(account_history))
}

fn list_of(list: &str) -> Result<List, Problem> {
    List::parse(list).ok_or_else(|| {
        let known: Vec<&str> = List::ALL.into_iter().map(List::as_str).collect();
        Problem::not_found(format!(
            "there is no list {:?}; there are {}",
            clip(list),
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

fn entry_view(entry: &ListEntry) -> Value {
    match entry {
        ListEntry::Restricted(symbol) | ListEntry::ClientOrder(symbol) => json!({"symbol": symbol}),
        ListEntry::ValidatedSource(source) => json!({"source": source}),
        ListEntry::Consent { subject, granted } => {
            json!({"subject": subject, "granted": granted})
        }
        ListEntry::Veto {
            agent,
            action_type,
            symbol,
            words,
        } => json!({"agent": agent, "action_type": action_type, "symbol": symbol, "words": words}),
    }
}

fn row_view(row: &ListRow) -> Value {
    json!({
        "key": row.key,
        "entry": row.entry.as_ref().map(entry_view),
        "by": row.by,
        "reason": row.reason,
        "at_ms": row.at_ms,
    })
}

/// Role: reader.
async fn entries(State(api): Shared, list: PathText, query: Asked) -> Result<Response, Problem> {
    let list = list_of(&path_text(list)?)?;
    let query = query_of(query, &["limit", "cursor"])?;
    let limit = limit_of(&query)?;
    let after = query.get("cursor").cloned();
    let (rows, configured) = off_reactor(&api, move |api| {
        let rows = api.store.list_page(list, after.as_deref(), limit)?;
        Ok::<_, crate::store::ReadError>((rows, api.store.configured_entries(list)?))
    })
    .await??;
    let next = next_of(&rows, limit, |row| row.key.clone());
    let rows: Vec<Value> = rows.iter().map(row_view).collect();
    let configured: Vec<Value> = configured.iter().map(entry_view).collect();
    Ok(json_answer(
        StatusCode::OK,
        None,
        &json!({"list": list, "entries": rows, "configured": configured, "next_cursor": next}),
    ))
}

/// Role: reader.
async fn entry(State(api): Shared, path: PathPair, query: Asked) -> Result<Response, Problem> {
    let (list, key) = place(path)?;
    query_of(query, &[])?;
    let wanted = key.clone();
    let row = off_reactor(&api, move |api| api.store.list_entry(list, &wanted))
        .await??
        .ok_or_else(|| {
            let problem = "was not put on the list over the API";
            Problem::not_found(format!("{:?} {problem} {}", clip(&key), list.as_str()))
        })?;
    Ok(json_answer(StatusCode::OK, None, &row_view(&row)))
}

/// Role: reader.
async fn changes(State(api): Shared, list: PathText, query: Asked) -> Result<Response, Problem> {
    let list = list_of(&path_text(list)?)?;
    history(&api, list, None, query).await
}

/// Role: reader.
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
    let rows: Vec<Value> = rows.iter().map(row_view).collect();
    Ok(json_answer(
        StatusCode::OK,
        None,
        &json!({"list": list, "changes": rows, "next_cursor": next}),
    ))
}

/// Role: operator.
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
    let mut fields = Fields::of(read_json(&headers, body).await?, "")?;
    let entry = match list {
        List::Restricted => ListEntry::Restricted(key.clone()),
        List::ClientOrders => ListEntry::ClientOrder(key.clone()),
        List::ValidatedSources => ListEntry::ValidatedSource(key.clone()),
        List::Consents => {
            let granted = fields.flag("granted")?.ok_or_else(|| {
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
                action_type: part(fields.text("action_type")?, "action_type")?,
                symbol: part(fields.text("symbol")?, "symbol")?,
                words: words(
                    "words",
                    &fields.required_text("words", "give the user's words")?,
                )?,
            }
        }
    };
    let what = Attested::List {
        list,
        key: key.clone(),
        entry: Some(entry),
    };
    let receipt = attest(&api, &principal, fields, what, None).await?;
    Ok(json_answer(
        StatusCode::OK,
        Some(receipt.trace_id),
        &json!({"list": list, "key": key, "at_ms": receipt.at}),
    ))
}

/// Role: operator.
async fn take_off(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    path: PathPair,
    query: Asked,
) -> Result<Response, Problem> {
    let (list, key) = place(path)?;
    let query = query_of(query, &["reason", "by"])?;
    let fields: serde_json::Map<String, Value> = query
        .into_iter()
        .map(|(name, value)| (name, Value::from(value)))
        .collect();
    let fields = Fields::of(Value::Object(fields), "")?;
    let what = Attested::List {
        list,
        key: key.clone(),
        entry: None,
    };
    let receipt = attest(&api, &principal, fields, what, None).await?;
    Ok(json_answer(
        StatusCode::OK,
        Some(receipt.trace_id),
        &json!({"list": list, "key": key, "at_ms": receipt.at}),
    ))
}

async fn attest(
    api: &Arc<Api>,
    principal: &Principal,
    mut fields: Fields,
    what: Attested,
    idempotency: Option<IdempotencyKey>,
) -> Result<AttestationReceipt, Problem> {
    let reason = fields.required_text("reason", "say why, for the audit log")?;
    let attestation = Attestation {
        what,
        reason: words("reason", &reason)?,
        by: by_of(principal, "by", fields.text("by")?)?,
        idempotency,
    };
    fields.finish()?;
    let (reply, answer) = oneshot::channel();
    // Handing it over waits for a place when the host is flooded.
    off_reactor(api, move |api| {
        api.hrm.attest(
            attestation,
            Box::new(move |result| drop(reply.send(result))),
        );
    })
    .await?;
    Ok(answer.await.unwrap_or(Err(HrmError::Closed))?)
}

/// Role: reader.
async fn account(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let rows = off_reactor(&api, |api| api.store.load_ledger(Millis::now())).await??;
    let mut exposure: std::collections::BTreeMap<&str, f64> = std::collections::BTreeMap::new();
    for position in &rows.positions {
        *exposure.entry(&position.symbol).or_default() += position.size.get();
    }
    Ok(json_answer(
        StatusCode::OK,
        None,
        &json!({
            "capital": rows.capital,
            "realized_today_pct": rows.realised_today,
            "realized_today": rows.capital.map(|capital| capital * rows.realised_today),
            "daily_loss_pct": (-rows.realised_today).max(0.0),
            "open_positions": rows.positions.len(),
            "exposure_pct": exposure,
        }),
    ))
}

/// Role: operator.
async fn capital(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let mut fields = Fields::of(read_json(&headers, body).await?, "")?;
    let amount = amount_of(&mut fields)?;
    if amount <= 0.0 {
        return Err(not_a("amount", &amount.to_string(), "give more than 0"));
    }
    let receipt = attest(&api, &principal, fields, Attested::Capital(amount), None).await?;
    Ok(json_answer(
        StatusCode::OK,
        Some(receipt.trace_id),
        &json!({"capital": amount, "at_ms": receipt.at}),
    ))
}

/// Role: operator.
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
    let mut fields = Fields::of(document, "")?;
    let amount = amount_of(&mut fields)?;
    let receipt = attest(&api, &principal, fields, Attested::Result(amount), key).await?;
    Ok(json_answer(
        StatusCode::OK,
        Some(receipt.trace_id),
        &json!({"amount": amount, "at_ms": receipt.at, "daily_loss_pct": receipt.daily_loss}),
    ))
}

fn amount_of(fields: &mut Fields) -> Result<f64, FieldError> {
    let remedy = "give a number in the account's currency";
    let amount = fields
        .number("amount")?
        .ok_or_else(|| FieldError::new("amount", "is missing", remedy))?;
    if (-MOST..=MOST).contains(&amount) {
        return Ok(amount);
    }
    Err(FieldError::new("amount", format!("is {amount}"), remedy))
}

/// Role: reader.
async fn account_history(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    let query = query_of(query, &["limit", "cursor"])?;
    let limit = limit_of(&query)?;
    let before = place_of(&query, "cursor", "give the next_cursor of the page before")?;
    let rows = off_reactor(&api, move |api| api.store.account_history(before, limit)).await??;
    let next = next_of(&rows, limit, |row| row.seq.to_string());
    Ok(json_answer(
        StatusCode::OK,
        None,
        &json!({"changes": rows, "next_cursor": next}),
    ))
}
