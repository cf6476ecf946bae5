//! The Graveyard: its rules, its pin, and requests to amend it (`/v1/graveyard`). A request is recorded and changes nothing: a rule changes with
//! its source, its module and its pin, in a release.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::api::auth::Caller;
use crate::api::http::extract::{ApiHeaders, ApiJson, ApiQuery, NoQuery, request_body};
use crate::api::http::fields::{Actor, NotNull, Reason, text_field};
use crate::api::http::idempotency::IdempotencyHeader;
use crate::api::http::pagination::PageQuery;
use crate::api::http::preconditions::tagged_response;
use crate::api::http::problem::Problem;
use crate::api::http::respond::{json_response, parse_stored_json};
use crate::api::notes::{Note, list_notes, record_note};
use crate::api::state::{DescribedRoutes, Shared};
use crate::hrm::policies_in_force::EnforcedPolicy;
use ark_model::check::{FieldError, clip_for_error};
use ark_model::ids::{Digest, Millis};
use ark_model::verdict::Rule;
use ark_runtime::GraveyardSource;
use ark_store::{AuditKind, AuditRow};

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(show_graveyard))
        .routes(routes!(list_amendments, request_amendment))
}

/// The pinned Graveyard and the operator's policies.
#[derive(Serialize, ToSchema)]
struct Graveyard {
    name: String,
    version: String,
    sha256: Digest,
    source: GraveyardFrom,
    pin_holds: bool,
    vectors_passed: usize,
    rules: Vec<Rule>,
    operator_policies: Vec<OperatorPolicy>,
}

/// Where the Graveyard was loaded from.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum GraveyardFrom {
    /// From the program itself.
    Embedded,
    /// The file it was read from.
    #[schema(value_type = String)]
    File(std::path::PathBuf),
}

/// A policy of the operator.
#[derive(Serialize, ToSchema)]
struct OperatorPolicy {
    policy: String,
    version: String,
    sha256: Digest,
}

/// Reads the Graveyard: its rules and its pin
#[utoipa::path(get, path = "/v1/graveyard", operation_id = "graveyard", tag = "policies",
    responses((status = 200, description = "The Graveyard.", body = Graveyard, headers(("ETag" = String, description = "The digest of the answer.")))))]
async fn show_graveyard(State(api): Shared, _: NoQuery) -> Result<Response, Problem> {
    let identity = &api.graveyard_identity;
    let operator_policies = api
        .policies
        .in_force()
        .iter()
        .filter_map(|slot| slot.enforced.as_ref())
        .map(EnforcedPolicy::identity)
        .map(|policy| OperatorPolicy {
            policy: policy.metadata.name.clone(),
            version: policy.metadata.version.clone(),
            sha256: policy.digest,
        })
        .collect();
    let graveyard = Graveyard {
        name: identity.metadata.name.clone(),
        version: identity.metadata.version.clone(),
        sha256: identity.digest,
        source: match &api.graveyard_source {
            GraveyardSource::Embedded => GraveyardFrom::Embedded,
            GraveyardSource::File(path) => GraveyardFrom::File(path.clone()),
        },
        pin_holds: api.guards.pin_holds(),
        vectors_passed: api.graveyard_vectors,
        rules: identity.metadata.rules.clone(),
        operator_policies,
    };
    Ok(tagged_response(&graveyard))
}

text_field! {
    /// The name of a rule, of those that GET /v1/graveyard lists.
    RuleName("the name of a rule (GET /v1/graveyard lists them)", bytes: 0..=64, pattern: None, accepts: |_| true)
}

/// A request for another rule.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AmendmentRequest {
    /// The rule's name, of those that GET /v1/graveyard lists.
    rule: RuleName,
    /// What it should be.
    proposed_value: NotNull,
    /// Why the rule should change.
    justification: Reason,
    /// Who asks. With a token its name, which may be left out; without one `operator` if left out.
    by: Option<Actor>,
}

request_body!(AmendmentRequest);

/// A request for another rule, as it was recorded.
#[derive(Serialize, ToSchema)]
struct Amendment {
    id: String,
    rule: Value,
    proposed_value: Value,
    justification: Value,
    by: Value,
    at_ms: Millis,
}

impl From<AuditRow> for Amendment {
    fn from(row: AuditRow) -> Self {
        let mut body = parse_stored_json(&row.body);
        Self {
            id: row.id,
            rule: body["rule"].take(),
            proposed_value: body["proposed_value"].take(),
            justification: body["justification"].take(),
            by: body["by"].take(),
            at_ms: row.at,
        }
    }
}

/// A page of requests for other rules, newest first.
#[derive(Serialize, ToSchema)]
struct AmendmentPage {
    amendments: Vec<Amendment>,
    /// The cursor of the next page, if there may be one.
    next_cursor: Option<String>,
}

/// A request for another rule that is on disk.
#[derive(Serialize, ToSchema)]
struct AmendmentRecorded {
    id: String,
    status: &'static str,
    changes: &'static str,
}

/// Lists requests for rule changes, newest first
#[utoipa::path(get, path = "/v1/graveyard/amendments", operation_id = "list_amendments", tag = "policies", params(PageQuery),
    responses((status = 200, description = "A page.", body = AmendmentPage)))]
async fn list_amendments(
    State(api): Shared,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Response, Problem> {
    let (rows, next_cursor) = list_notes(&api, AuditKind::Amendment, query).await?;
    let page = AmendmentPage {
        amendments: rows.into_iter().map(Amendment::from).collect(),
        next_cursor,
    };
    Ok(json_response(StatusCode::OK, None, &page))
}

/// Requests a rule change
///
/// The request is recorded, and nothing changes: a rule changes with its source, module and pin, in a release.
#[utoipa::path(post, path = "/v1/graveyard/amendments", operation_id = "ask_for_amendment", tag = "policies", params(IdempotencyHeader),
    request_body = AmendmentRequest,
    responses(
        (status = 202, description = "The request is recorded.", body = AmendmentRecorded),
        (status = 422, description = "There is no such rule."),
    ))]
async fn request_amendment(
    State(api): Shared,
    caller: Caller,
    _: NoQuery,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    ApiJson { form, body }: ApiJson<AmendmentRequest>,
) -> Result<Response, Problem> {
    let rule = String::from(form.rule);
    if !api
        .graveyard_identity
        .metadata
        .rules
        .iter()
        .any(|one| one.name == rule)
    {
        let problem = format!("is {:?}, of which there is none", clip_for_error(&rule));
        let error = FieldError::new("rule", problem, "GET /v1/graveyard lists the rules");
        return Err(Problem::contradiction(&error));
    }
    let by = caller.resolve_actor("by", form.by)?;
    let record = json!({
        "rule": rule,
        "proposed_value": Value::from(form.proposed_value),
        "justification": String::from(form.justification),
        "by": by,
    });
    let note = Note {
        kind: AuditKind::Amendment,
        operation: "ask_for_amendment",
        by: &by,
        record,
    };
    let id = record_note(&api, &caller, idempotency, &body, note).await?;
    let recorded = AmendmentRecorded {
        id,
        status: "recorded",
        changes: "nothing: a rule changes in a release, with its source and its pin",
    };
    Ok(json_response(
        StatusCode::ACCEPTED,
        Some(caller.trace_id),
        &recorded,
    ))
}
