//! The routes: every call with its handler.

use std::sync::Arc;

use axum::Router as Routes;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware;
use tokio::sync::watch;

use ark_model::check::clip_for_error;

use super::auth::Auth;
use super::call::serve_call;
use super::events::{EventFeed, StreamPlaces};
use super::http::problem::Problem;
use super::openapi::{self, Documents};
use super::server::{allow_origins, compress_answers};
use super::state::{Api, ApiDeps, DescribedRoutes};
use super::v1;

/// Where a key in the path may have an unescaped `/`.
const KEYED_PATHS: [&str; 3] = ["/v1/state/", "/v1/config/", "/v1/truth/"];

/// Every call with its description: the routes and the document are made from the same list.
pub(super) fn described_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .merge(openapi::routes())
        .merge(v1::health::routes())
        .merge(v1::policies::graveyard::routes())
        .merge(v1::actions::decisions::routes())
        .merge(v1::actions::traces::routes())
        .merge(v1::actions::propose::routes())
        .merge(v1::signals::routes())
        .merge(v1::failed_signals::routes())
        .merge(v1::actions::executions::routes())
        .merge(v1::events::routes())
        .merge(v1::control::orders::routes())
        .merge(v1::control::watchdog::routes())
        .merge(v1::control::deployments::routes())
        .merge(v1::control::webhooks::routes())
        .merge(v1::agents::versions::routes())
        .merge(v1::actions::approvals::routes())
        .merge(v1::ledger::lists::routes())
        .merge(v1::ledger::account::routes())
        .merge(v1::policies::reading::routes())
        .merge(v1::policies::changes::routes())
        .merge(v1::operations::routes())
        .merge(v1::state::agent_state::routes())
        .merge(v1::state::memories::routes())
        .merge(v1::state::settings::routes())
        .merge(v1::state::truths::routes())
        .merge(v1::session_log::routes())
        .merge(v1::tokens::routes())
}

/// The routes with everything they stand on.
pub(super) fn build_routes(
    deps: ApiDeps,
    auth: Arc<Auth>,
    streams: (EventFeed, Arc<StreamPlaces>),
    closing: watch::Receiver<bool>,
    origins: &[HeaderValue],
) -> Routes {
    let (routes, described) = described_routes().split_for_parts();
    let documents = Documents::from_routes(&described);
    let meters = Arc::clone(&deps.meters);
    let api = Arc::new(Api::new(
        deps,
        Arc::clone(&auth),
        documents,
        streams,
        closing,
    ));
    let routes = routes
        .fallback(answer_unknown_path)
        .layer(middleware::from_fn_with_state((meters, auth), serve_call))
        .layer(compress_answers())
        .with_state(api);
    match allow_origins(origins) {
        Some(cors) => routes.layer(cors),
        None => routes,
    }
}

async fn answer_unknown_path(request: Request) -> Problem {
    let path = request.uri().path();
    let detail = format!("there is no {} {}", request.method(), clip_for_error(path));
    let problem = Problem::not_found(detail);
    if KEYED_PATHS.iter().any(|start| path.starts_with(start)) {
        return problem.at("path", "in a key, write `/` as %2F");
    }
    problem
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::api::auth::access::TABLE;
    use crate::api::openapi::build_document;

    #[test]
    fn every_served_call_has_its_row_and_every_row_its_call() {
        let document = build_document(&described_routes().into_openapi());
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
            "calls without a row in api/auth/access.rs: {bare:?}"
        );
        let idle: Vec<_> = rows.difference(&served).collect();
        assert!(
            idle.is_empty(),
            "rows of api/auth/access.rs without a call: {idle:?}"
        );
    }

    /// Every reference in the document has its target.
    #[test]
    fn the_document_is_whole() {
        let document = build_document(&described_routes().into_openapi());
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

    /// A route registered without `routes!` would be served and not be in the document.
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
