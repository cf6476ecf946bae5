//! Reports of what became of approved trades: `/v1/executions`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::api::auth::Caller;
use crate::api::http::extract::{ApiJson, NoQuery, request_body};
use crate::api::http::fields::{VISIBLE, number_field, text_field};
use crate::api::http::problem::Problem;
use crate::api::http::respond::{json_response, with_replayed};
use crate::api::state::{DescribedRoutes, Shared};
use crate::hrm::{ExecutionReport, HrmError};
use ark_model::execution::ExecutionStatus;
use ark_model::ids::{DecisionId, Fraction, TraceId};

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new().routes(routes!(report_execution))
}

text_field! {
    /// The executor's own id of a report.
    ExecutionId("1 to 200 visible ASCII characters", bytes: 1..=200, pattern: Some(VISIBLE),
        accepts: |id| id.bytes().all(|byte| byte.is_ascii_graphic()))
}

number_field! {
    /// A fraction of capital, at most all of it: 0.05 is 5 %.
    FilledSize("a fraction of capital from 0 to 1", accepts: |size| (0.0..=1.0).contains(&size), schema: |schema| schema.minimum(Some(0)).maximum(Some(1)))
}

number_field! {
    /// A price.
    Price("a number greater than 0", accepts: |price| price > 0.0, schema: |schema| schema.exclusive_minimum(Some(0)))
}

number_field! {
    /// A result as a fraction of capital; a loss is negative.
    RealizedResult(
        "the result as a fraction of capital, a loss negative: -0.01 is a loss of 1 %",
        accepts: |result| (-100.0..=100.0).contains(&result),
        schema: |schema| schema.minimum(Some(-100)).maximum(Some(100))
    )
}

/// What an executor reports of an approved trade or close.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ExecutionRequest {
    /// The reporter's own id of this report: a second one of the same reporter changes nothing.
    execution_id: ExecutionId,
    /// The `decision_id` of an approved action.
    decision_id: DecisionId,
    /// What became of it.
    status: ExecutionStatus,
    /// How much was carried out in all so far, as a fraction of capital. It never falls. If left out: all of it when filled, nothing more when cancelled,
    /// rejected or expired; partially filled needs it.
    filled_size_pct: Option<FilledSize>,
    /// The price of what this report adds.
    price: Option<Price>,
    /// What the part that this report closes realised, as a fraction of capital; a loss is negative. Only a close realises a result.
    realized_pnl_pct: Option<RealizedResult>,
}

request_body!(ExecutionRequest);

/// A report that is on disk.
#[derive(Serialize, ToSchema)]
struct ExecutionRecorded {
    decision_id: DecisionId,
    trace_id: TraceId,
    status: ExecutionStatus,
}

/// Reports what became of an approved trade or close
///
/// The order goes from new over partially filled to filled, cancelled, rejected or expired, and stays as it ended. A report whose `execution_id` the same
/// reporter used before changes nothing, nor does one that says what is known. A fill that comes late or is more than was approved is booked, and raises
/// an alert.
#[utoipa::path(post, path = "/v1/executions", operation_id = "report_execution", tag = "actions",
    request_body = ExecutionRequest,
    responses(
        (status = 200, description = "The report was booked.", body = ExecutionRecorded),
        (status = 404, description = "There is no such decision."),
        (status = 409, description = "Nothing of that decision can be executed, or the report contradicts the state of the order."),
        (status = 422, description = "The execution id was used for another report, or the report lacks its size or states a result that cannot be."),
    ))]
async fn report_execution(
    State(api): Shared,
    caller: Caller,
    _: NoQuery,
    ApiJson { form, .. }: ApiJson<ExecutionRequest>,
) -> Result<Response, Problem> {
    let principal = caller.principal;
    let report = ExecutionReport {
        by: principal.authenticated.then(|| principal.name.clone()),
        execution_id: form.execution_id.into(),
        decision_id: form.decision_id,
        status: form.status,
        filled: form
            .filled_size_pct
            .and_then(|size| Fraction::new(size.into())),
        price: form.price.map(f64::from),
        realised: form.realized_pnl_pct.map(f64::from),
    };
    let receipt = api
        .ask_hrm(|hrm, reply| hrm.report_execution(report, reply))
        .await
        .map_err(refuse_report)?;
    api.router.wake_outbox();
    let body = ExecutionRecorded {
        decision_id: form.decision_id,
        trace_id: receipt.trace_id,
        status: form.status,
    };
    let response = json_response(StatusCode::OK, Some(receipt.trace_id), &body);
    Ok(with_replayed(response, receipt.duplicate))
}

/// The problem of a report. The HRM keeps an execution id as an idempotency key, which a reporter has not given.
fn refuse_report(error: HrmError) -> Problem {
    match error {
        HrmError::KeyReused => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency-key-reused",
            "The execution id was used for another report",
            "this execution_id was used for another report",
        )
        .at(
            "execution_id",
            "give every new report an execution_id of its own; a repetition is sent unchanged",
        ),
        error => error.into(),
    }
}
