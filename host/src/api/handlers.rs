//! One function a call.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::Router as Routes;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::app::App;
use crate::hrm::guards::Guards;
use crate::hrm::{
    Answer, ExecutionReport, ExecutionStatus, Hrm, HrmError, IdempotencyKey, Proposal,
};
use crate::model::action::{Family, Parameters};
use crate::model::check::{FieldError, check_topic, clip};
use crate::model::decision::{Decision, Outcome, PolicyIdentity};
use crate::model::form::{ActionRequest, Fields, check_idempotency_key, parse_action, parse_json};
use crate::model::ids::{DecisionId, Digest, Fraction, Millis, Name, TraceId};
use crate::router::{HOST_TOPICS, IncomingSignal, Router, RouterError};
use crate::runtime::GraveyardSource;
use crate::store::{AuditFilter, AuditKind, Store};

use super::problem::Problem;
use super::view::{DecisionSummary, DecisionView, read_decision, reasons};

/// The most bytes of a request's body.
const BODY_BYTES: usize = 256 * 1024;
/// How long a client may take to send a body.
const BODY_TIME: std::time::Duration = std::time::Duration::from_secs(10);
/// How many rows a list holds unless told otherwise, and at most.
const PAGE: (u32, u32) = (50, 500);

struct Api {
    hrm: Hrm,
    router: Router,
    store: Store,
    guards: Arc<Guards>,
    policies: Vec<Arc<PolicyIdentity>>,
    vectors: usize,
    graveyard: GraveyardSource,
    refused: Value,
    /// Who may propose: agents and submitters.
    proposers: BTreeSet<Name>,
}

type Shared = State<Arc<Api>>;

pub(super) fn routes(app: &App, submitters: Vec<Name>) -> Routes {
    let agents = app
        .router
        .seats()
        .iter()
        .map(|seat| seat.agent.manifest().name.clone());
    let api = Arc::new(Api {
        hrm: app.hrm.clone(),
        router: app.router.clone(),
        store: app.store.clone(),
        guards: Arc::clone(&app.guards),
        policies: app.policies.clone(),
        vectors: app.vectors,
        graveyard: app.graveyard.clone(),
        refused: json!(app.refused),
        proposers: agents.chain(submitters).collect(),
    });
    Routes::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/v1/actions", post(actions))
        .route("/v1/signals", post(signals))
        .route("/v1/executions", post(executions))
        .route("/v1/decisions", get(decisions))
        .route("/v1/decisions/{id}", get(decision))
        .route("/v1/traces/{id}", get(trace))
        .route("/v1/graveyard", get(graveyard))
        .route("/v1/agents", get(agents_list))
        .fallback(|request: Request| async move {
            Problem::not_found(format!(
                "there is no {} {}",
                request.method(),
                clip(request.uri().path())
            ))
        })
        .method_not_allowed_fallback(|request: Request| async move {
            let detail = format!(
                "{} does not take {}",
                clip(request.uri().path()),
                request.method()
            );
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Method not allowed",
                detail,
            )
        })
        .layer(middleware::from_fn(local_only))
        .with_state(api)
}

/// The API has no authentication yet, so it serves this machine only. A page in a browser on this machine could still send requests
/// here under a name of its own (DNS rebinding): the Host header gives it away.
async fn local_only(request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("");
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|b| b.is_ascii_digit()) {
            name
        } else {
            host
        }
    });
    if matches!(name, "localhost" | "127.0.0.1" | "[::1]" | "") {
        return next.run(request).await;
    }
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "foreign-host",
        "This API serves its own machine only",
        format!("the Host header is {:?}", clip(host)),
    )
    .at("Host", "use localhost or 127.0.0.1")
    .into_response()
}

async fn healthz() -> Response {
    json_answer(StatusCode::OK, None, &json!({"status": "alive"}))
}

async fn readyz(State(api): Shared) -> Response {
    let mut problems = Vec::new();
    if !api.guards.pin_holds() {
        problems.push("the Graveyard's pin is broken");
    }
    if !api.guards.watchdog_beating(Millis::now()) {
        problems.push("the watchdog does not beat");
    }
    if !api.store.audit_writable() {
        problems.push("the audit log cannot be written");
    }
    if api.guards.halted() {
        problems.push("everything is halted");
    }
    let status = if problems.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({
        "ready": problems.is_empty(),
        "problems": problems,
        "graveyard_vectors": api.vectors,
        "agents": api.router.seats().len(),
    });
    json_answer(status, None, &body)
}

async fn actions(
    State(api): Shared,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let dry_run = match query.get("dry_run").map(String::as_str) {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => return Err(not_a("dry_run", other, "give true or false")),
    };
    known_query(&query, &["dry_run"])?;
    let document = read_json(&headers, body).await?;
    // Only a request with a key is ever compared to another.
    let keyed =
        headers.contains_key("idempotency-key") || document.get("idempotency_key").is_some();
    let digest = keyed.then(|| Digest::of(document.to_string().as_bytes()));
    let request = parse_action(document)?;
    if !api.proposers.contains(&request.agent) {
        return Err(unknown_agent(&api, &request.agent));
    }
    let key = idempotency_key(&headers, request.idempotency_key.clone())?;
    let trace_id = trace_of(&headers, request.trace_id)?;
    let ActionRequest { agent, action, .. } = request;
    let is_message = action.parameters.family() == Family::Message;
    let proposal = Proposal {
        agent,
        trace_id,
        action,
        causal_depth: 0,
        idempotency: key
            .zip(digest)
            .map(|(key, request)| IdempotencyKey { key, request }),
    };
    if dry_run {
        let (reply, answer) = oneshot::channel();
        api.hrm.preview(
            proposal,
            None,
            Box::new(move |result| drop(reply.send(result))),
        );
        let decision = answer.await.unwrap_or(Err(HrmError::Closed))?;
        return Ok(json_answer(
            StatusCode::OK,
            Some(trace_id),
            &DecisionView::of(&decision, true),
        ));
    }
    let (reply, answer) = oneshot::channel();
    api.hrm
        .propose(proposal, Box::new(move |result| drop(reply.send(result))));
    match answer.await.unwrap_or(Err(HrmError::Closed))? {
        Answer::Decided(decision) => {
            // An announcement waits for the router's next look; a message should not.
            if is_message && decision.outcome == Outcome::Approved {
                api.router.wake_outbox();
            }
            Ok(json_answer(
                StatusCode::OK,
                Some(trace_id),
                &DecisionView::of(&decision, false),
            ))
        }
        Answer::Seen(id) => {
            let decision = find_decision(&api, id).await?.ok_or_else(|| {
                Problem::unavailable(
                    "the first request with this idempotency key was not recorded; send it again",
                )
            })?;
            let mut response = json_answer(
                StatusCode::OK,
                Some(decision.trace_id),
                &DecisionView::of(&decision, false),
            );
            response
                .headers_mut()
                .insert("idempotent-replayed", HeaderValue::from_static("true"));
            Ok(response)
        }
    }
}

async fn signals(State(api): Shared, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let document = read_json(&headers, body).await?;
    let request = Digest::of(document.to_string().as_bytes());
    let mut fields = Fields::of(document, "")?;
    let topic = fields.required_text("topic", "name the topic, e.g. market.tick")?;
    check_topic("topic", &topic)?;
    if topic.starts_with(HOST_TOPICS) {
        return Err(FieldError::new(
            "topic",
            "starts with `ark.`, which is the host's own",
            "use another topic",
        )
        .into());
    }
    let payload = fields.take("payload").unwrap_or(Value::Null);
    let trace_id = parsed(
        &mut fields,
        "trace_id",
        "give 32 lower-case hexadecimal digits, not all zero",
    )?;
    let key = idempotency_key(&headers, fields.text("idempotency_key")?)?;
    fields.finish()?;
    let trace_id = trace_of(&headers, trace_id)?;
    let incoming = IncomingSignal {
        topic,
        payload_json: payload.to_string(),
        trace_id,
        key: key.map(|key| (key, request)),
    };
    let (reply, answer) = oneshot::channel();
    api.router
        .accept(incoming, Box::new(move |result| drop(reply.send(result))));
    let accepted = answer.await.unwrap_or(Err(RouterError::Closed))?;
    let mut response = json_answer(
        StatusCode::ACCEPTED,
        Some(accepted.trace_id),
        &json!({
            "signal_id": accepted.id,
            "trace_id": accepted.trace_id,
            "delivered_to": accepted.delivered_to,
        }),
    );
    if accepted.duplicate {
        response
            .headers_mut()
            .insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

async fn executions(
    State(api): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = Fields::of(read_json(&headers, body).await?, "")?;
    let execution_id =
        fields.required_text("execution_id", "give the executor's own id of this report")?;
    check_idempotency_key("execution_id", &execution_id)?;
    let decision_id: DecisionId = parsed(
        &mut fields,
        "decision_id",
        "give the decision_id of an approved action",
    )?
    .ok_or_else(|| {
        FieldError::new(
            "decision_id",
            "is missing",
            "give the decision_id of an approved action",
        )
    })?;
    const STATUSES: &str = "give filled, partially_filled, cancelled or rejected";
    let status = match fields.required_text("status", STATUSES)?.as_str() {
        "filled" => ExecutionStatus::Filled,
        "partially_filled" => ExecutionStatus::PartiallyFilled,
        "cancelled" => ExecutionStatus::Cancelled,
        "rejected" => ExecutionStatus::Rejected,
        other => return Err(not_a("status", other, STATUSES)),
    };
    let filled = match fields.number("filled_size_pct")? {
        None => None,
        Some(size) => Some(
            Fraction::new(size)
                .filter(|size| size.get() <= 1.0)
                .ok_or_else(|| {
                    FieldError::new(
                        "filled_size_pct",
                        format!("is {size}"),
                        "give a fraction of capital from 0 to 1",
                    )
                })?,
        ),
    };
    let price = fields.number("price")?;
    if let Some(price) = price
        && !(price.is_finite() && price > 0.0)
    {
        return Err(FieldError::new(
            "price",
            format!("is {price}"),
            "give a number greater than 0",
        )
        .into());
    }
    let realised = fields.number("realized_pnl_pct")?;
    if let Some(realised) = realised
        && !(-100.0..=100.0).contains(&realised)
    {
        let remedy =
            "give the result as a fraction of capital, a loss negative: -0.01 is a loss of 1 %";
        return Err(FieldError::new("realized_pnl_pct", format!("is {realised}"), remedy).into());
    }
    fields.finish()?;
    let report = ExecutionReport {
        execution_id,
        decision_id,
        status,
        filled,
        price,
        realised,
    };
    let (reply, answer) = oneshot::channel();
    api.hrm
        .report_execution(report, Box::new(move |result| drop(reply.send(result))));
    let receipt = answer.await.unwrap_or(Err(HrmError::Closed))?;
    api.router.wake_outbox();
    let mut response = json_answer(
        StatusCode::OK,
        Some(receipt.trace_id),
        &json!({"decision_id": decision_id, "trace_id": receipt.trace_id, "status": status.as_str()}),
    );
    if receipt.duplicate {
        response
            .headers_mut()
            .insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

async fn decisions(
    State(api): Shared,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Problem> {
    known_query(
        &query,
        &[
            "agent",
            "outcome",
            "action_type",
            "trace_id",
            "limit",
            "cursor",
        ],
    )?;
    let text = |name: &str| query.get(name).map(String::as_str);
    let filter = AuditFilter {
        kind: Some(AuditKind::Decision),
        agent: text("agent")
            .map(|agent| {
                agent
                    .parse()
                    .map_err(|_| not_a("agent", agent, "give an agent's name"))
            })
            .transpose()?,
        outcome: match text("outcome") {
            None => None,
            Some("approved") => Some(Outcome::Approved),
            Some("held") => Some(Outcome::Held),
            Some("denied") => Some(Outcome::Denied),
            Some(other) => return Err(not_a("outcome", other, "give approved, held or denied")),
        },
        action_type: text("action_type").map(str::to_owned),
        trace_id: text("trace_id")
            .map(|trace| {
                trace
                    .parse()
                    .map_err(|_| not_a("trace_id", trace, "give 32 hexadecimal digits"))
            })
            .transpose()?,
    };
    let limit = match text("limit") {
        None => PAGE.0,
        Some(limit) => limit
            .parse()
            .ok()
            .filter(|limit| (1..=PAGE.1).contains(limit))
            .ok_or_else(|| not_a("limit", limit, &format!("give 1 to {}", PAGE.1)))?,
    };
    let before = text("cursor")
        .map(|cursor| {
            let remedy = "give the next_cursor of the page before";
            cursor
                .parse::<u64>()
                .ok()
                .filter(|seq| i64::try_from(*seq).is_ok())
                .ok_or_else(|| not_a("cursor", cursor, remedy))
        })
        .transpose()?;
    let rows = off_reactor(&api, move |api| {
        api.store.audit_page(&filter, before, limit)
    })
    .await??;
    let next = (rows.len() == limit as usize)
        .then(|| rows.last().map(|row| row.seq.to_string()))
        .flatten();
    let decisions: Vec<DecisionSummary> = rows.into_iter().map(DecisionSummary::of).collect();
    Ok(json_answer(
        StatusCode::OK,
        None,
        &json!({"decisions": decisions, "next_cursor": next}),
    ))
}

async fn decision(State(api): Shared, Path(id): Path<String>) -> Result<Response, Problem> {
    let id: DecisionId = id
        .parse()
        .map_err(|_| not_a("id", &id, "give the decision_id of an answer"))?;
    let decision = find_decision(&api, id)
        .await?
        .ok_or_else(|| Problem::not_found(format!("there is no decision {id}")))?;
    Ok(json_answer(
        StatusCode::OK,
        Some(decision.trace_id),
        &DecisionView::whole(&decision),
    ))
}

async fn trace(State(api): Shared, Path(id): Path<String>) -> Result<Response, Problem> {
    let trace_id: TraceId = id
        .parse()
        .map_err(|_| not_a("id", &id, "give 32 lower-case hexadecimal digits"))?;
    let (rows, known) = off_reactor(&api, move |api| {
        let rows = api.store.trace(trace_id)?;
        Ok::<_, crate::store::ReadError>((rows, api.store.policies()?))
    })
    .await??;
    if rows.signals.is_empty() && rows.audit.is_empty() {
        return Err(Problem::not_found(format!("there is no trace {trace_id}")));
    }
    let known = super::view::known_policies(known)
        .map_err(|error| Problem::unavailable(error.to_string()))?;
    let mut steps: Vec<(u64, Value)> = Vec::new();
    for signal in &rows.signals {
        let deliveries: Vec<_> = rows
            .deliveries
            .iter()
            .filter(|delivery| delivery.signal_id == signal.id)
            .collect();
        steps.push((
            signal.accepted_at.0,
            json!({
                "step": "signal",
                "at_ms": signal.accepted_at,
                "signal_id": signal.id,
                "topic": signal.topic,
                "sender": signal.sender,
                "causal_depth": signal.causal_depth,
                "deliveries": deliveries,
            }),
        ));
    }
    for row in rows.audit.iter().rev() {
        let step = match row.kind {
            AuditKind::Decision => {
                let decision = crate::hrm::decision_of(row, |digest| known.get(&digest).cloned())
                    .map_err(|error| Problem::unavailable(error.to_string()))?;
                decision.map(|decision| decision_step(&decision))
            }
            kind => {
                let body: Value = serde_json::from_str(&row.body).unwrap_or(Value::Null);
                Some(
                    json!({"step": kind, "at_ms": row.at, "agent": row.agent, "id": row.id, "detail": body}),
                )
            }
        };
        steps.extend(step.map(|step| (row.at.0, step)));
    }
    steps.sort_by_key(|(at, _)| *at);
    let pending = rows
        .deliveries
        .iter()
        .filter(|delivery| delivery.status == "pending")
        .count();
    let steps: Vec<Value> = steps.into_iter().map(|(_, step)| step).collect();
    Ok(json_answer(
        StatusCode::OK,
        Some(trace_id),
        &json!({"trace_id": trace_id, "pending_deliveries": pending, "steps": steps}),
    ))
}

fn decision_step(decision: &Decision) -> Value {
    let symbol = match &decision.action.parameters {
        Parameters::Trade(_) | Parameters::ClosePosition(_) => decision.action.symbol(),
        _ => None,
    };
    json!({
        "step": "decision",
        "at_ms": decision.decided_at,
        "decision_id": decision.id,
        "agent": decision.agent,
        "action_type": decision.action.action_type,
        "symbol": symbol,
        "outcome": decision.outcome,
        "compliance_score": decision.compliance_score,
        "reasons": reasons(decision),
    })
}

async fn graveyard(State(api): Shared) -> Result<Response, Problem> {
    let identity = api
        .policies
        .first()
        .ok_or_else(|| Problem::unavailable("there is no Graveyard"))?;
    let source = match &api.graveyard {
        GraveyardSource::Embedded => json!("embedded"),
        GraveyardSource::File(path) => json!({"file": path}),
    };
    let operator: Vec<Value> = api
        .policies
        .iter()
        .skip(1)
        .map(|policy| json!({"policy": policy.metadata.name, "version": policy.metadata.version, "sha256": policy.digest}))
        .collect();
    Ok(json_answer(
        StatusCode::OK,
        None,
        &json!({
            "name": identity.metadata.name,
            "version": identity.metadata.version,
            "sha256": identity.digest,
            "source": source,
            "pin_holds": api.guards.pin_holds(),
            "vectors_passed": api.vectors,
            "rules": identity.metadata.rules,
            "operator_policies": operator,
        }),
    ))
}

async fn agents_list(State(api): Shared) -> Response {
    use std::sync::atomic::Ordering::Relaxed;
    let agents: Vec<Value> = api
        .router
        .seats()
        .iter()
        .map(|seat| {
            let manifest = seat.agent.manifest();
            json!({
                "name": manifest.name,
                "version": manifest.version,
                "description": manifest.description,
                "sha256": seat.agent.digest(),
                "topics": manifest.topics,
                "actions": manifest.actions,
                "capabilities": manifest.capabilities,
                "handled": seat.handled.load(Relaxed),
                "failed": seat.failed.load(Relaxed),
                "waiting": seat.waiting.load(Relaxed),
            })
        })
        .collect();
    json_answer(
        StatusCode::OK,
        None,
        &json!({"agents": agents, "refused": api.refused}),
    )
}

async fn find_decision(api: &Arc<Api>, id: DecisionId) -> Result<Option<Decision>, Problem> {
    off_reactor(api, move |api| read_decision(&api.store, id))
        .await?
        .map_err(Problem::unavailable)
}

/// Runs what touches the disk on a thread that may block.
async fn off_reactor<T: Send + 'static>(
    api: &Arc<Api>,
    work: impl FnOnce(&Api) -> T + Send + 'static,
) -> Result<T, Problem> {
    let api = Arc::clone(api);
    tokio::task::spawn_blocking(move || work(&api))
        .await
        .map_err(|error| Problem::unavailable(format!("the read was given up: {error}")))
}

async fn read_json(headers: &HeaderMap, body: Body) -> Result<Value, Problem> {
    // A form post from a web page cannot carry this type without the browser asking first.
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not-json",
            "The body must be JSON",
            format!("the Content-Type is {:?}", clip(kind)),
        )
        .at("Content-Type", "send Content-Type: application/json"));
    }
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The body is too large",
            format!("the body is larger than {BODY_BYTES} bytes"),
        )
        .at("body", "send less")
    };
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > BODY_BYTES as u64) {
        return Err(too_large());
    }
    let bytes = match tokio::time::timeout(BODY_TIME, axum::body::to_bytes(body, BODY_BYTES)).await
    {
        Err(_) => {
            let title = "The body did not arrive in time";
            return Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "too-slow",
                title,
                "send it within 10 s",
            )
            .at("body", "send it within 10 s"));
        }
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) if format!("{error:?}").contains("LengthLimit") => return Err(too_large()),
        Ok(Err(error)) => {
            return Err(FieldError::new(
                "body",
                format!("did not arrive whole: {error}"),
                "send it again",
            )
            .into());
        }
    };
    Ok(parse_json(&bytes)?)
}

fn parsed<T: std::str::FromStr>(
    fields: &mut Fields,
    name: &str,
    remedy: &str,
) -> Result<Option<T>, FieldError> {
    let Some(text) = fields.text(name)? else {
        return Ok(None);
    };
    match text.parse() {
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(FieldError::new(
            name,
            format!("is {:?}", clip(&text)),
            remedy,
        )),
    }
}

/// The key from the `Idempotency-Key` header or the body; given twice, the two must agree.
fn idempotency_key(
    headers: &HeaderMap,
    body: Option<String>,
) -> Result<Option<String>, FieldError> {
    let Some(header) = headers.get("idempotency-key") else {
        return Ok(body);
    };
    let header = header.to_str().unwrap_or("").to_owned();
    check_idempotency_key("Idempotency-Key", &header)?;
    match body {
        Some(body) if body != header => Err(FieldError::new(
            "idempotency_key",
            "differs from the Idempotency-Key header",
            "give one of them",
        )),
        _ => Ok(Some(header)),
    }
}

/// The trace of the body, else of the `traceparent` header, else a fresh one.
fn trace_of(headers: &HeaderMap, body: Option<TraceId>) -> Result<TraceId, FieldError> {
    if let Some(trace_id) = body {
        return Ok(trace_id);
    }
    let Some(header) = headers.get("traceparent") else {
        return Ok(TraceId::fresh());
    };
    let parts: Vec<&str> = header.to_str().unwrap_or("").split('-').collect();
    match parts.as_slice() {
        ["00", trace_id, parent, flags] if parent.len() == 16 && flags.len() == 2 => trace_id
            .parse()
            .map_err(|error: crate::model::ids::ParseIdError| {
                FieldError::new(
                    "traceparent",
                    error.to_string(),
                    "send a W3C traceparent header, or none",
                )
            }),
        _ => Err(FieldError::new(
            "traceparent",
            "is not of the form 00-TRACE-PARENT-FLAGS",
            "send a W3C traceparent header, or none",
        )),
    }
}

fn json_answer(status: StatusCode, trace_id: Option<TraceId>, body: &impl Serialize) -> Response {
    let body = match serde_json::to_vec(body) {
        Ok(body) => body,
        Err(error) => return Problem::unavailable(error.to_string()).into_response(),
    };
    let mut response = (status, body).into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Some(trace_id) = trace_id {
        let text = trace_id.to_string();
        let parent = format!(
            "00-{text}-{}-01",
            text.get(16..).unwrap_or("0000000000000001")
        );
        if let Ok(value) = HeaderValue::from_str(&parent) {
            response.headers_mut().insert("traceparent", value);
        }
    }
    response
}

fn unknown_agent(api: &Api, agent: &Name) -> Problem {
    let known: Vec<&str> = api.proposers.iter().take(20).map(Name::as_str).collect();
    let detail = format!(
        "{agent} is neither a loaded agent nor a submitter; known are: {}",
        known.join(", ")
    );
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "unknown-agent",
        "The agent is not known",
        detail,
    )
    .at(
        "agent",
        "name a known one, or add it to `submitters` in ark.toml (or start with --submitter NAME)",
    )
}

fn known_query(query: &HashMap<String, String>, known: &[&str]) -> Result<(), Problem> {
    match query.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let remedy = if known.is_empty() {
                "leave it out".to_owned()
            } else {
                format!("known are: {}", known.join(", "))
            };
            Err(FieldError::new(clip(name), "is not a parameter of this call", remedy).into())
        }
    }
}

fn not_a(field: &str, given: &str, remedy: &str) -> Problem {
    FieldError::new(field, format!("is {:?}", clip(given)), remedy).into()
}
