//! The document of this API (`OpenAPI` 3.1), made from the annotated handlers.
//!
//! The routes and the operations are one thing ([`utoipa_axum`]): a call cannot be served and be left out. What holds for many calls is
//! said once, here: who may call (from the table of calls), what every request may carry, and how every error looks.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;
use utoipa::{IntoParams, PartialSchema, ToSchema};
use utoipa_axum::routes;

use ark_model::ids::Name;
use ark_runtime::Manifest;
use ark_store::List;

use super::access::{Found, find};
use super::problem::Problem;
use super::routes::{Api, Shared};

/// The document and its readable form.
pub(super) struct Documents {
    json: Bytes,
    page: Bytes,
}

impl Documents {
    /// From what the routes say of themselves.
    pub(super) fn of(routes: &OpenApi) -> Self {
        let document = document(routes);
        Self {
            json: Bytes::from(document.to_string()),
            page: Bytes::from(super::page::render(&document)),
        }
    }
}

/// Which page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it describes what `page_of` and `limit_of` read")]
pub(super) struct PageQuery {
    /// How many rows at most; 50 if left out.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// Where to go on: the `next_cursor` of the page before.
    #[param(minimum = 0, maximum = 9_223_372_036_854_775_807_u64)]
    cursor: Option<u64>,
}

/// Which page of a list that is ordered by its keys.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it describes what `limit_of` reads")]
pub(super) struct KeyPageQuery {
    /// How many rows at most; 50 if left out.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// Where to go on: the `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The answer to a repetition of this request under the same key is the first one's.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "it describes what `idempotency_key` reads")]
pub(super) struct Keyed {
    /// Unique for the caller and this kind of request. The first answer is given again to the same request (with `Idempotent-Replayed:
    /// true`); another request under the same key is refused.
    #[param(rename = "Idempotency-Key", pattern = "^[!-~]{1,200}$")]
    key: Option<String>,
}

/// Who takes something away, and why.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it describes what `by_of` and `words` read")]
pub(super) struct ReasonQuery {
    /// Why, for the audit log.
    #[param(
        min_length = 1,
        max_length = 1024,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*[^\\s\\x00-\\x1f\\x7f-\\x9f][^\\x00-\\x1f\\x7f-\\x9f]*$"
    )]
    reason: Option<String>,
    /// Who does it. With a token its name, which may be left out.
    #[param(
        min_length = 1,
        max_length = 128,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*[^\\s\\x00-\\x1f\\x7f-\\x9f][^\\x00-\\x1f\\x7f-\\x9f]*$"
    )]
    by: Option<String>,
}

/// Who takes something off a list, and why.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it describes what `attest` reads")]
pub(super) struct MustSayWhy {
    /// Why, for the audit log.
    #[param(
        min_length = 1,
        max_length = 1024,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*[^\\s\\x00-\\x1f\\x7f-\\x9f][^\\x00-\\x1f\\x7f-\\x9f]*$"
    )]
    reason: String,
    /// Who does it. With a token its name, which may be left out.
    #[param(
        min_length = 1,
        max_length = 128,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$"
    )]
    by: Option<String>,
}

/// Which entry of which list.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "it describes what `place` reads")]
pub(super) struct EntryPath {
    /// The list.
    list: List,
    /// The symbol, source or subject; of a veto the name it was given. One segment: `/` in it is written %2F.
    #[param(
        min_length = 1,
        max_length = 256,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$"
    )]
    key: String,
}

/// Which key of which agent.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "it describes what `place` reads")]
pub(super) struct StatePath {
    /// The agent.
    agent: Name,
    /// The key, as one segment: `/` in it is written %2F.
    #[param(
        min_length = 1,
        max_length = 256,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$"
    )]
    key: String,
}

/// Which key.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "it describes what `key_text` reads")]
pub(super) struct KeyPath {
    /// The key, as one segment: `/` in it is written %2F.
    #[param(
        min_length = 1,
        max_length = 256,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$"
    )]
    key: String,
}

/// Who revokes a token.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it describes what `by_of` reads")]
pub(super) struct RevokedBy {
    /// Who does it. With a token its name, which may be left out.
    #[param(
        min_length = 1,
        max_length = 128,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$"
    )]
    by: Option<String>,
}

/// Who takes a value away.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it describes what `by_of` reads")]
pub(super) struct UpdatedBy {
    /// Who does it. With a token its name, which may be left out.
    #[param(
        min_length = 1,
        max_length = 128,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$"
    )]
    updated_by: Option<String>,
}

/// On which revision a change is made, said in the query.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it describes what `place_of` reads")]
pub(super) struct ExpectedRevision {
    /// The revision that must still be the latest. In place of `If-Match`.
    #[param(minimum = 0, maximum = 9_223_372_036_854_775_807_u64)]
    expected_revision: Option<u64>,
}

/// On which revision a change is made.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "it describes what `Expected` reads")]
pub(super) struct Conditional {
    /// The `ETag` of the revision that must still be the latest, e.g. `"3"`.
    #[param(rename = "If-Match", pattern = "^\"[0-9]{1,18}\"$", example = "\"3\"")]
    matched: Option<String>,
    /// There must be none yet.
    #[param(rename = "If-None-Match", pattern = "^\\*$", example = "*")]
    none: Option<String>,
}

pub(super) fn routes() -> Described {
    Described::new()
        .routes(routes!(openapi))
        .routes(routes!(docs))
}

/// The document of this API
///
/// To generate clients from, say.
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "about",
    responses((status = 200, description = "The document.", body = serde_json::Value)))]
async fn openapi(State(api): Shared) -> Response {
    of_type("application/json", api.documents.json.clone())
}

/// The document of this API as a page to read
#[utoipa::path(get, path = "/docs", operation_id = "docs", tag = "about",
    responses((status = 200, description = "The page.", content_type = "text/html", body = String)))]
async fn docs(State(api): Shared) -> Response {
    let mut response = of_type("text/html; charset=utf-8", api.documents.page.clone());
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&super::page::policy()) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    response
}

fn of_type(kind: &'static str, body: Bytes) -> Response {
    let kind = HeaderValue::from_static(kind);
    (StatusCode::OK, [(header::CONTENT_TYPE, kind)], body).into_response()
}

/// The calls' routes with their description.
pub(super) type Described = utoipa_axum::router::OpenApiRouter<Arc<Api>>;

/// The whole document.
pub(super) fn document(routes: &OpenApi) -> Value {
    let mut document = serde_json::to_value(routes).unwrap_or_default();
    document["info"] = json!({
        "title": "ARK",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "A host that judges what agents propose. Errors are problem documents (RFC 9457) that name the field at fault and \
            the remedy. On a host without tokens, which serves its own machine only, no call needs one.",
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    });
    document["components"]["securitySchemes"] = json!({
        "token": {"type": "http", "scheme": "bearer", "description": "A token made with `ark token create`."},
    });
    document["components"]["parameters"] = json!({
        "Traceparent": {
            "name": "traceparent", "in": "header", "required": false,
            "description": "The trace this belongs to (W3C Trace Context); a fresh one if left out. Every answer names its trace so.",
            "schema": {"type": "string", "format": "traceparent", "pattern": "^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$"},
            "example": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        },
        "Deadline": {
            "name": "Ark-Deadline-Ms", "in": "header", "required": false,
            "description": "How long the caller waits, in milliseconds. What is not committed by then is not committed at all.",
            "schema": {"type": "integer", "minimum": 1, "maximum": 600_000},
        },
        "IfNoneMatch": {
            "name": "If-None-Match", "in": "header", "required": false,
            "description": "ETags that the caller has; if it is still one of them, the answer is 304. What is none is ignored.",
            "schema": {"type": "string"},
            "example": "\"3\"",
        },
    });
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        // What no answer refers to: the errors, and the manifest of an upload.
        let mut more = vec![
            (Problem::name(), Problem::schema()),
            (Manifest::name(), Manifest::schema()),
        ]
        .into_iter()
        .map(|(name, schema)| (name.into_owned(), schema))
        .collect();
        Problem::schemas(&mut more);
        Manifest::schemas(&mut more);
        for (name, schema) in more {
            schemas.insert(name, json!(schema));
        }
        schemas.extend(
            super::forms::all()
                .into_iter()
                .map(|(name, form)| (name.to_owned(), form)),
        );
    }
    let Some(paths) = document["paths"].as_object_mut() else {
        return document;
    };
    for (path, item) in paths {
        let Some(operations) = item.as_object_mut() else {
            continue;
        };
        for (method, operation) in operations {
            complete(&method.to_uppercase(), path, operation);
        }
    }
    document
}

/// Adds to an operation what holds for all of its kind.
fn complete(method: &str, path: &str, operation: &mut Value) {
    let role = match axum::http::Method::from_bytes(method.as_bytes()).map(|it| find(&it, path)) {
        Ok(Found::Call(row)) => row.role,
        _ => None,
    };
    let role_text = role.map_or("No token is needed.".to_owned(), |role| {
        format!("Role: {}.", role.as_str())
    });
    let text = operation["description"].as_str().unwrap_or_default();
    operation["description"] = json!(format!("{text}\n\n{role_text}").trim());
    operation["security"] = if role.is_some() {
        json!([{"token": []}])
    } else {
        json!([])
    };
    operation["x-ark-role"] = json!(role);
    let has_body = operation.get("requestBody").is_some();
    if has_body {
        operation["requestBody"]["required"] = json!(true);
    }
    let tagged = operation["responses"]["200"]["headers"]
        .get("ETag")
        .is_some();
    let reads = method == "GET";

    let mut parameters = match operation["parameters"].take() {
        Value::Array(parameters) => parameters,
        _ => Vec::new(),
    };
    for parameter in &mut parameters {
        without_null(&mut parameter["schema"]);
        let format = match parameter["name"].as_str() {
            Some("If-Match") => "etag",
            Some("If-None-Match") => "any-etag",
            Some("Last-Event-ID") => "event-id",
            _ => continue,
        };
        parameter["schema"]["format"] = json!(format);
    }
    let mut shared = vec!["Traceparent", "Deadline"];
    if tagged && reads {
        shared.push("IfNoneMatch");
    }
    parameters.extend(
        shared
            .iter()
            .map(|name| json!({"$ref": format!("#/components/parameters/{name}")})),
    );
    let names_something = parameters.iter().any(|parameter| parameter["in"] == "path");
    operation["parameters"] = Value::Array(parameters);

    let Some(responses) = operation["responses"].as_object_mut() else {
        return;
    };
    let mut add = |status: &str, what: &str| {
        responses
            .entry(status)
            .or_insert_with(|| json!({"description": what}));
    };
    add(
        "400",
        "A parameter, header or field is malformed; `field` names it.",
    );
    add(
        "421",
        "The Host header names another machine, on a host that serves its own only.",
    );
    add(
        "504",
        "The deadline of Ark-Deadline-Ms was over; nothing of it counts.",
    );
    if role.is_some() {
        add("401", "No token in force was shown.");
        add("403", "The token's role or names do not allow it.");
        add("429", "The token sent too many requests; see Retry-After.");
        add("503", "The host cannot do it now; see Retry-After.");
    }
    if names_something {
        add("404", "There is no such thing.");
    }
    if has_body {
        add("408", "The body did not arrive in time.");
        add("413", "The body is too large.");
        add("415", "The body is not said to be application/json.");
    }
    if tagged && reads {
        add("304", "It is what If-None-Match says.");
    }
    for (status, response) in responses {
        describe(status, response);
    }
}

fn describe(status: &str, response: &mut Value) {
    let is_problem = status >= "400" && response.get("content").is_none();
    if is_problem {
        let problem = json!({"$ref": "#/components/schemas/Problem"});
        response["content"] = json!({"application/problem+json": {"schema": problem}});
    }
    let mut headers = match response["headers"].take() {
        Value::Object(headers) => headers,
        _ => Map::new(),
    };
    headers.insert(
        "traceparent".to_owned(),
        json!({"required": true, "description": "The trace.", "schema": {"type": "string"}}),
    );
    let more = match status {
        "304" => Some(("ETag", "The revision.")),
        "401" => Some(("WWW-Authenticate", "Bearer.")),
        "429" => Some(("Retry-After", "Seconds to wait.")),
        _ => None,
    };
    if let Some((name, what)) = more {
        headers.insert(
            name.to_owned(),
            json!({"required": true, "description": what, "schema": {"type": "string"}}),
        );
    }
    response["headers"] = Value::Object(headers);
}

/// A parameter that may be left out cannot be `null`: it would be the text `null`.
fn without_null(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            object.insert("type".to_owned(), one);
        }
    }
    for alternatives in ["oneOf", "anyOf"] {
        if let Some(Value::Array(options)) = object.get_mut(alternatives) {
            options.retain(|option| option["type"] != "null");
            if let [one] = options.as_slice() {
                *schema = one.clone();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::access::TABLE;

    #[test]
    fn every_served_call_has_its_row_and_every_row_its_call() {
        let document = document(&super::super::routes::described().into_openapi());
        let mut served = BTreeSet::new();
        let mut names = BTreeSet::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("operations") {
                let call = format!("{} {path}", method.to_uppercase());
                assert!(operation["summary"].is_string(), "{call} has no summary");
                assert!(
                    operation["tags"].as_array().is_some_and(|it| it.len() == 1),
                    "{call} has no tag"
                );
                let name = operation["operationId"].as_str().expect("an operation id");
                assert!(names.insert(name.to_owned()), "{call}: {name} is taken");
                served.insert(call);
            }
        }
        let rows: BTreeSet<String> = TABLE
            .iter()
            .map(|row| format!("{} {}", row.method, row.path))
            .collect();
        assert_eq!(rows.len(), TABLE.len(), "a call is in the table twice");
        let bare: Vec<_> = served.difference(&rows).collect();
        assert!(
            bare.is_empty(),
            "calls without a row in api/access.rs: {bare:?}"
        );
        let idle: Vec<_> = rows.difference(&served).collect();
        assert!(
            idle.is_empty(),
            "rows of api/access.rs without a call: {idle:?}"
        );
    }

    /// What is referred to is there, under a name that means one thing.
    #[test]
    fn the_document_is_whole() {
        let document = document(&super::super::routes::described().into_openapi());
        assert_eq!(document["openapi"], "3.1.0");
        let mut open = vec![&document];
        while let Some(value) = open.pop() {
            match value {
                Value::Object(object) => {
                    if let Some(Value::String(to)) = object.get("$ref") {
                        let pointer = to.strip_prefix('#').expect("a part of this document");
                        assert!(document.pointer(pointer).is_some(), "{to} is not there");
                    }
                    open.extend(object.values());
                }
                Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
    }

    /// A route that is registered past the description would be served and not be in the document.
    #[test]
    fn no_route_is_registered_without_its_description() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api");
        let mut open = vec![dir];
        let mut files = Vec::new();
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(dir).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    files.push(path);
                }
            }
        }
        assert!(files.len() > 30, "{files:?}");
        for path in files {
            let text = std::fs::read_to_string(&path).expect("a source file");
            for call in ["route", "route_service", "nest", "nest_service"] {
                let call = format!(".{call}(");
                let found = text.contains(&call);
                assert!(
                    !found,
                    "{}: use routes!() in place of {call}",
                    path.display()
                );
            }
        }
    }
}
