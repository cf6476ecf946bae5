//! Which calls may be sent a second time when it is not known whether the first arrived.
//!
//! Read from the descriptions of the calls: those that only read, and those that take an idempotency key and are given one.

use axum::http::Method;
use serde_json::Value;

use super::routes::described_routes;

/// Reports of executions have a key of their own: `execution_id`.
const EXECUTIONS: &str = "/v1/executions";
/// The header with the key.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The calls that take an idempotency key.
pub(crate) struct KeyedCalls(Vec<(Method, Vec<Segment>)>);

/// A part of a path.
enum Segment {
    Literal(String),
    Parameter,
}

impl KeyedCalls {
    /// Reads them from the descriptions of the calls.
    pub(crate) fn from_descriptions() -> Self {
        let document = serde_json::to_value(described_routes().into_openapi()).unwrap_or_default();
        let paths = document["paths"].as_object().into_iter().flatten();
        let operations = paths.flat_map(|(path, item)| {
            let operations = item.as_object().into_iter().flatten();
            operations.map(move |(method, operation)| (path, method, operation))
        });
        let keyed = operations.filter(|(_, _, operation)| takes_key(operation));
        Self(
            keyed
                .filter_map(|(path, method, _)| {
                    let method = method.to_uppercase().parse().ok()?;
                    Some((method, read_template(path)))
                })
                .collect(),
        )
    }

    /// Whether a call takes a key.
    pub(crate) fn takes_key(&self, method: &Method, path: &str) -> bool {
        self.0
            .iter()
            .any(|(keyed, template)| keyed == method && matches_template(template, path))
    }

    /// Whether a call may be sent a second time. `has_key`: it is given an idempotency key.
    pub(crate) fn may_repeat(&self, method: &Method, path: &str, has_key: bool) -> bool {
        method.is_safe()
            || (method == Method::POST && path == EXECUTIONS)
            || (has_key && self.takes_key(method, path))
    }
}

fn takes_key(operation: &Value) -> bool {
    let mut parameters = operation["parameters"].as_array().into_iter().flatten();
    parameters.any(|parameter| {
        parameter["in"] == "header"
            && parameter["name"]
                .as_str()
                .is_some_and(|name| name.eq_ignore_ascii_case(IDEMPOTENCY_KEY))
    })
}

fn read_template(path: &str) -> Vec<Segment> {
    path.split('/')
        .map(|part| {
            if part.starts_with('{') {
                Segment::Parameter
            } else {
                Segment::Literal(part.to_owned())
            }
        })
        .collect()
}

fn matches_template(template: &[Segment], path: &str) -> bool {
    let mut parts = path.split('/');
    let fits = template.iter().all(|segment| {
        parts.next().is_some_and(|part| match segment {
            Segment::Literal(literal) => literal == part,
            Segment::Parameter => !part.is_empty(),
        })
    });
    fits && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_keyed_requests_may_be_repeated() {
        let calls = KeyedCalls::from_descriptions();
        for (method, path, has_key, may) in [
            (Method::GET, "/v1/decisions", false, true),
            (Method::HEAD, "/healthz", false, true),
            (Method::POST, "/v1/actions", true, true),
            (Method::POST, "/v1/actions", false, false),
            (Method::POST, "/v1/actions/batch", true, true),
            (Method::POST, "/v1/signals", true, true),
            (Method::POST, "/v1/approvals/17/approve", true, true),
            (Method::POST, "/v1/approvals//approve", true, false),
            (Method::POST, "/v1/halt", true, true),
            (Method::POST, "/v1/executions", false, true),
            // A new token is shown once, so its call takes no key.
            (Method::POST, "/v1/tokens", true, false),
            (Method::POST, "/v1/nothing", true, false),
            (Method::DELETE, "/v1/tokens/ada", true, false),
        ] {
            assert_eq!(
                calls.may_repeat(&method, path, has_key),
                may,
                "{method} {path} {has_key}"
            );
        }
    }
}
