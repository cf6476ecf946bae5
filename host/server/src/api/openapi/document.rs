//! The document of this API (`OpenAPI` 3.1), made from the annotated handlers.
//!
//! Routes and operations are registered together ([`utoipa_axum`]), so a served call is always in the document. What holds for many calls is
//! added here: who may call (from the table of calls), what every request may carry, and the form of errors.

use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;
use utoipa::{PartialSchema, ToSchema};

use crate::api::auth::access::{Lookup, find_endpoint};
use crate::api::http::fields::NotNull;
use crate::api::http::problem::Problem;

use super::action_forms::all_forms;
use super::moments::add_moments;
use super::page::render_page;

/// The document and its readable form, which are made when somebody asks for one of them: a start need not wait for them.
pub(crate) struct Documents {
    routes: OpenApi,
    rendered: OnceLock<RenderedDocuments>,
}

/// The bytes of both.
struct RenderedDocuments {
    json: Bytes,
    page: Bytes,
}

impl Documents {
    /// Keeps the descriptions of the routes.
    pub(crate) const fn from_routes(routes: OpenApi) -> Self {
        Self {
            routes,
            rendered: OnceLock::new(),
        }
    }

    /// The document as JSON. The first call of this or of [`Self::render_page`] makes both, which takes some ten milliseconds.
    pub(super) fn render_json(&self) -> Bytes {
        self.render().json.clone()
    }

    /// The document as a page to read.
    pub(super) fn render_page(&self) -> Bytes {
        self.render().page.clone()
    }

    fn render(&self) -> &RenderedDocuments {
        self.rendered.get_or_init(|| {
            let document = build_document(&self.routes);
            RenderedDocuments {
                json: Bytes::from(document.to_string()),
                page: Bytes::from(render_page(&document)),
            }
        })
    }
}

/// Builds the whole document.
pub(crate) fn build_document(routes: &OpenApi) -> Value {
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
        // What no call refers to by itself: the errors.
        let mut more = vec![(Problem::name().into_owned(), Problem::schema())];
        Problem::schemas(&mut more);
        for (name, schema) in more {
            schemas.insert(name, json!(schema));
        }
        schemas.extend(all_forms());
        if let Some(schema) = schemas.get_mut(NotNull::name().as_ref()) {
            schema["not"] = json!({"type": "null"});
        }
    }
    add_moments(&mut document);
    let Some(paths) = document["paths"].as_object_mut() else {
        return document;
    };
    for (path, item) in paths {
        let Some(operations) = item.as_object_mut() else {
            continue;
        };
        for (method, operation) in operations {
            complete_operation(&method.to_uppercase(), path, operation);
        }
    }
    document
}

/// Adds to an operation what holds for all of its kind.
fn complete_operation(method: &str, path: &str, operation: &mut Value) {
    let role = match axum::http::Method::from_bytes(method.as_bytes())
        .map(|it| find_endpoint(&it, path))
    {
        Ok(Lookup::Call(row)) => row.role,
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

    let parameters = complete_parameters(operation["parameters"].take(), tagged && reads);
    let takes_key = parameters
        .iter()
        .any(|parameter| parameter["name"] == "Idempotency-Key");
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
        "431",
        "The head of the request has more than 64 lines or 32 KiB.",
    );
    add(
        "504",
        "The deadline of Ark-Deadline-Ms passed. `deadline-exceeded`: nothing was recorded; `outcome-unknown`: the request may have taken effect; `in-force-not-recorded`: a halt or a quarantine is in force.",
    );
    if role.is_some() {
        add("401", "No token in force was shown.");
        add("403", "The token's role or names do not allow it.");
        add(
            "429",
            "The token sent too many requests, or a quota of it is used up; see Retry-After.",
        );
        add("503", "The host cannot do this now; see Retry-After.");
    }
    if names_something {
        add("404", "The resource that the path names does not exist.");
    }
    if has_body {
        add("408", "The body did not arrive in time.");
        add("413", "The body is too large.");
        add(
            "415",
            "The body is not said to be application/json in UTF-8, or is compressed.",
        );
    }
    if tagged && reads {
        add("304", "The answer has an ETag that If-None-Match names.");
    }
    if takes_key {
        add_key_reused(responses);
    }
    for (status, response) in responses {
        complete_response(status, response);
    }
}

/// Returns the parameters of an operation with the formats of their texts, and with those that all calls take. `is_conditional`: the call also takes
/// `If-None-Match`.
fn complete_parameters(parameters: Value, is_conditional: bool) -> Vec<Value> {
    let mut parameters = match parameters {
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
    if is_conditional {
        shared.push("IfNoneMatch");
    }
    parameters.extend(
        shared
            .iter()
            .map(|name| json!({"$ref": format!("#/components/parameters/{name}")})),
    );
    parameters
}

/// Adds what 422 means of a call that takes an idempotency key, beside what the call itself says of it.
fn add_key_reused(responses: &mut Map<String, Value>) {
    const REUSED: &str = "The idempotency key was used for another request.";
    let own = responses
        .get("422")
        .and_then(|response| response["description"].as_str());
    let description = own.map_or_else(|| REUSED.to_owned(), |own| format!("{own} Also: {REUSED}"));
    responses.entry("422").or_insert_with(|| json!({}))["description"] = json!(description);
}

fn complete_response(status: &str, response: &mut Value) {
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
