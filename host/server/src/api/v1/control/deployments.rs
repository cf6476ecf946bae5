//! Deployments (`/v1/deployments`): the steps by which a version of the host came, or went, as the commands that took them report them.
//! A step is recorded in the audit log and changes nothing.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::api::auth::Caller;
use crate::api::http::extract::{ApiHeaders, ApiJson, ApiQuery, NoQuery, request_body};
use crate::api::http::fields::{Actor, NotNull, Reason, integer_field, text_field};
use crate::api::http::idempotency::IdempotencyHeader;
use crate::api::http::pagination::PageQuery;
use crate::api::http::problem::Problem;
use crate::api::http::respond::{json_response, parse_stored_json};
use crate::api::notes::{Note, list_notes, record_note};
use crate::api::state::{DescribedRoutes, Shared};
use ark_model::check::FieldError;
use ark_model::deployment::{NAME_BYTES, NAME_PATTERN, has_name_form};
use ark_model::ids::Millis;
use ark_store::{AuditKind, AuditRow};

/// The most bytes of the figures of a step.
const MAX_FIGURES: usize = 16 * 1024;

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new().routes(routes!(list_deployments, record_deployment))
}

text_field! {
    /// A name of letters, digits, `.`, `_`, `+` and `-`.
    StepName("1 to 128 letters, digits, `.`, `_`, `+` and `-`", bytes: NAME_BYTES, pattern: Some(NAME_PATTERN), accepts: has_name_form)
}

integer_field! {
    /// A share of the requests, in percent.
    SharePercent("0 to 100", 0..=100)
}

/// What is deployed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum DeploymentKind {
    /// A new version in front of a part of the requests.
    Canary,
    /// The way back to an earlier version.
    Rollback,
    /// A new version on one machine.
    Upgrade,
}

/// A step of a deployment.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DeploymentRequest {
    /// The id of the deployment, which all its steps share.
    deployment: StepName,
    /// What is deployed.
    kind: DeploymentKind,
    /// The version that comes, or comes back.
    version: StepName,
    /// The step, e.g. `started`, `share`, `promoted`, `went-back`.
    step: StepName,
    /// The share of the requests that the version gets with this step, in percent.
    share_pct: Option<SharePercent>,
    /// Why, for the audit log.
    reason: Reason,
    /// What was measured: any JSON value of at most 16 KiB.
    figures: Option<NotNull>,
    by: Option<Actor>,
}

request_body!(DeploymentRequest);

/// A step of a deployment, as it was recorded.
#[derive(Serialize, ToSchema)]
struct DeploymentStep {
    /// The id of the audit row.
    id: String,
    deployment: Value,
    kind: Value,
    version: Value,
    step: Value,
    share_pct: Value,
    reason: Value,
    figures: Value,
    by: Value,
    at_ms: Millis,
}

impl From<AuditRow> for DeploymentStep {
    fn from(row: AuditRow) -> Self {
        let mut body = parse_stored_json(&row.body);
        let mut take = |name: &str| body.get_mut(name).map(Value::take).unwrap_or_default();
        Self {
            deployment: take("deployment"),
            kind: take("kind"),
            version: take("version"),
            step: take("step"),
            share_pct: take("share_pct"),
            reason: take("reason"),
            figures: take("figures"),
            by: take("by"),
            id: row.id,
            at_ms: row.at,
        }
    }
}

/// A page of steps of deployments, newest first.
#[derive(Serialize, ToSchema)]
struct DeploymentPage {
    steps: Vec<DeploymentStep>,
    /// The cursor of the next page, if there may be one.
    next_cursor: Option<String>,
}

/// A step that is on disk.
#[derive(Serialize, ToSchema)]
struct DeploymentRecorded {
    /// The id of the audit row.
    id: String,
}

/// Lists the steps of deployments, newest first
#[utoipa::path(get, path = "/v1/deployments", operation_id = "list_deployments", tag = "control", params(PageQuery),
    responses((status = 200, description = "A page.", body = DeploymentPage)))]
async fn list_deployments(
    State(api): Shared,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Response, Problem> {
    let (rows, next_cursor) = list_notes(&api, AuditKind::Deployment, query).await?;
    let page = DeploymentPage {
        steps: rows.into_iter().map(DeploymentStep::from).collect(),
        next_cursor,
    };
    Ok(json_response(StatusCode::OK, None, &page))
}

/// Records a step of a deployment
///
/// A step is an audit row and an event, and changes nothing. `ark canary` records its steps.
#[utoipa::path(post, path = "/v1/deployments", operation_id = "record_deployment", tag = "control", params(IdempotencyHeader),
    request_body = DeploymentRequest,
    responses(
        (status = 200, description = "The change is on disk.", body = DeploymentRecorded),
    ))]
async fn record_deployment(
    State(api): Shared,
    caller: Caller,
    _: NoQuery,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    ApiJson { form, body }: ApiJson<DeploymentRequest>,
) -> Result<Response, Problem> {
    let figures = form.figures.map(Value::from);
    let size = figures.as_ref().map_or(0, |it| it.to_string().len());
    if size > MAX_FIGURES {
        let problem = format!("has {size} bytes");
        let remedy = format!("give {MAX_FIGURES} at most");
        return Err(FieldError::new("figures", problem, remedy).into());
    }
    let by = caller.resolve_actor("by", form.by)?;
    let record = json!({
        "deployment": String::from(form.deployment),
        "kind": form.kind,
        "version": String::from(form.version),
        "step": String::from(form.step),
        "share_pct": form.share_pct.map(u64::from),
        "reason": String::from(form.reason),
        "figures": figures,
        "by": by,
    });
    let note = Note {
        kind: AuditKind::Deployment,
        operation: "record_deployment",
        by: &by,
        record,
    };
    let id = record_note(&api, &caller, idempotency, &body, note).await?;
    let recorded = DeploymentRecorded { id };
    Ok(json_response(
        StatusCode::OK,
        Some(caller.trace_id),
        &recorded,
    ))
}
