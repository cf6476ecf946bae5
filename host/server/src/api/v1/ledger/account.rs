//! The account: capital, results and exposure (`/v1/account`), facts that rules judge by and no agent may touch.

use std::collections::{BTreeMap, HashMap};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::api::auth::Caller;
use crate::api::http::answer::{answer_from, convert_rows};
use crate::api::http::extract::{ApiHeaders, ApiJson, ApiQuery, NoQuery, request_body};
use crate::api::http::fields::{Actor, Reason, number_field};
use crate::api::http::idempotency::{CanonicalRequest, IdempotencyHeader};
use crate::api::http::pagination::{PageQuery, next_cursor};
use crate::api::http::problem::Problem;
use crate::api::http::respond::json_response;
use crate::api::state::{DescribedRoutes, Shared};
use crate::hrm::AttestedFact;
use ark_model::form::parse_json;
use ark_model::ids::Millis;
use ark_model::instrument::InstrumentKey;
use ark_model::size::Size;
use ark_store::{AccountRow, MarketOrderPurpose};

use super::attestations::record_attestation;

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(show_account))
        .routes(routes!(set_capital))
        .routes(routes!(record_result))
        .routes(routes!(list_changes))
}

number_field! {
    /// Capital in the account's currency. Results are divided by it, and no fraction may become infinite.
    CapitalAmount("a number in the account's currency from 0.01 to 1e15", accepts: |amount| (0.01..=1e15).contains(&amount), schema: |schema| schema.minimum(Some(0.01)).maximum(Some(1e15)))
}

number_field! {
    /// A result in the account's currency; a loss is negative.
    ResultAmount("a number in the account's currency from -1e15 to 1e15", accepts: |amount| (-1e15..=1e15).contains(&amount), schema: |schema| schema.minimum(Some(-1e15)).maximum(Some(1e15)))
}

/// The capital.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CapitalRequest {
    /// In the account's currency.
    amount: CapitalAmount,
    /// Why, for the audit log.
    reason: Reason,
    by: Option<Actor>,
}

/// A result of today that no execution report told of; a loss is negative.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResultRequest {
    /// In the account's currency.
    amount: ResultAmount,
    /// Why, for the audit log.
    reason: Reason,
    by: Option<Actor>,
}

request_body!(CapitalRequest, ResultRequest);

/// The account now.
#[derive(Serialize, ToSchema)]
struct Account {
    /// The capital, in the currency of the account; `null` until it is set.
    capital: Option<f64>,
    /// Today's result (UTC) as a fraction of capital.
    realized_today_pct: f64,
    realized_today: Option<f64>,
    /// Today's loss as a fraction of capital; 0 on a day in profit.
    daily_loss_pct: f64,
    open_positions: usize,
    /// Exposure by instrument, both sides added up, as a fraction of capital. An instrument is named as its oldest position spells it.
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
struct ResultRecorded {
    amount: f64,
    at_ms: Millis,
    /// Today's loss with it, as a fraction of capital.
    daily_loss_pct: f64,
}

answer_from! { AccountRow =>
    /// A statement about the account, as it is stored.
    struct AccountLine {
        /// The number of the row.
        seq: u64,
        /// `capital` or `realised`.
        field: String,
        /// The amount, in the account's currency.
        amount: f64,
        /// A result as a fraction of the capital at that time.
        fraction: Option<f64>,
        /// The operator.
        by: String,
        /// The operator's reason.
        reason: String,
        /// When it was stated.
        at_ms: Millis,
    }
}

/// A page of changes of the account, newest first.
#[derive(Serialize, ToSchema)]
struct AccountHistory {
    changes: Vec<AccountLine>,
    /// The cursor of the next page, if there may be one.
    next_cursor: Option<String>,
}

/// Reads the account
#[utoipa::path(get, path = "/v1/account", operation_id = "account", tag = "account",
    responses((status = 200, description = "The account.", body = Account)))]
async fn show_account(State(api): Shared, _: NoQuery) -> Result<Response, Problem> {
    let rows = api.run_blocking(|api| api.store.load_ledger()).await??;
    let mut exposures: BTreeMap<String, Size> = BTreeMap::new();
    let mut orders: Vec<_> = rows.orders.iter().collect();
    orders.sort_by_key(|order| order.decision_id);
    let mut spellings: HashMap<InstrumentKey, &str> = HashMap::new();
    for order in orders {
        let exposure = order.exposure();
        if !exposure.is_zero() {
            let instrument = api.hrm.find_instrument(&order.symbol);
            let symbol = *spellings.entry(instrument).or_insert(&order.symbol);
            let sum = exposures.entry(symbol.to_owned()).or_default();
            *sum = sum.saturating_add(exposure);
        }
    }
    let realised_today = rows
        .realised
        .get(&Millis::now().utc_day())
        .copied()
        .unwrap_or(0.0);
    let account = Account {
        capital: rows.capital,
        realized_today_pct: realised_today,
        realized_today: rows.capital.map(|capital| capital * realised_today),
        // Adding 0.0 makes a negative zero a positive one.
        daily_loss_pct: (-realised_today).max(0.0) + 0.0,
        open_positions: rows
            .orders
            .iter()
            .filter(|order| order.purpose == MarketOrderPurpose::Open || !order.open().is_zero())
            .count(),
        exposure_pct: exposures
            .into_iter()
            .map(|(symbol, sum)| (symbol, sum.as_fraction()))
            .collect(),
    };
    Ok(json_response(StatusCode::OK, None, &account))
}

/// Sets the capital
#[utoipa::path(put, path = "/v1/account/capital", operation_id = "set_capital", tag = "account",
    request_body = CapitalRequest,
    responses((status = 200, description = "The change is in force and on disk.", body = CapitalSet)))]
async fn set_capital(
    State(api): Shared,
    caller: Caller,
    _: NoQuery,
    ApiJson { form, .. }: ApiJson<CapitalRequest>,
) -> Result<Response, Problem> {
    let capital = form.amount.into();
    let fact = AttestedFact::Capital(capital);
    let receipt = record_attestation(&api, &caller, fact, form.reason, form.by, None).await?;
    let body = CapitalSet {
        capital,
        at_ms: receipt.at,
    };
    Ok(json_response(StatusCode::OK, Some(receipt.trace_id), &body))
}

/// Records a result of today that no execution report told of
#[utoipa::path(post, path = "/v1/account/results", operation_id = "note_result", tag = "account", params(IdempotencyHeader),
    request_body = ResultRequest,
    responses(
        (status = 200, description = "The change is in force and on disk.", body = ResultRecorded),
        (status = 409, description = "The capital is not known."),
    ))]
async fn record_result(
    State(api): Shared,
    caller: Caller,
    _: NoQuery,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    ApiJson { form, body }: ApiJson<ResultRequest>,
) -> Result<Response, Problem> {
    let key = idempotency.for_request(&CanonicalRequest {
        operation: "note_result",
        parameters: json!({}),
        body: &body,
        legacy: parse_json(&body)?.to_string(),
    });
    let amount = form.amount.into();
    let fact = AttestedFact::Result(amount);
    let receipt = record_attestation(&api, &caller, fact, form.reason, form.by, key).await?;
    let body = ResultRecorded {
        amount,
        at_ms: receipt.at,
        daily_loss_pct: receipt.daily_loss,
    };
    Ok(json_response(StatusCode::OK, Some(receipt.trace_id), &body))
}

/// Lists the changes of the account, newest first
#[utoipa::path(get, path = "/v1/account/history", operation_id = "account_history", tag = "account", params(PageQuery),
    responses((status = 200, description = "A page.", body = AccountHistory)))]
async fn list_changes(
    State(api): Shared,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Response, Problem> {
    let (limit, before) = query.into_parts();
    let rows = api
        .run_blocking(move |api| api.store.account_history(before, limit))
        .await??;
    let page = AccountHistory {
        next_cursor: next_cursor(&rows, limit, |row| row.seq.to_string()),
        changes: convert_rows(rows),
    };
    Ok(json_response(StatusCode::OK, None, &page))
}
