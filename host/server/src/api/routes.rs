//! The routes: every call with its handler.

use std::sync::Arc;

use axum::Router as Routes;
use axum::extract::Request;
use axum::http::HeaderValue;
use tokio::sync::watch;

use ark_model::check::clip_for_error;

use crate::background::BackgroundTask;

use super::auth::Auth;
use super::auth::access::TABLE;
use super::call::ServeCalls;
use super::events::{EventFeed, StreamPlaces};
use super::http::problem::Problem;
use super::openapi::{self, Documents};
use super::server::{allow_origins, compress_answers};
use super::state::{Api, ApiDeps, DescribedRoutes};
use super::v1;

/// Where a key in the path may have an unescaped `/`.
const KEYED_PATHS: [&str; 3] = ["/v1/state/", "/v1/config/", "/v1/truth/"];

/// How many segments a path of the table of calls has at most.
const MAX_PATH_SEGMENTS: usize = 8;
/// How similar each segment of a near path must be to the one that was given (1: the same).
const MIN_SEGMENT_SIMILARITY: f64 = 0.6;

/// Every call with its description: the routes and the document are made from the same list.
pub(super) fn described_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .merge(openapi::list_routes())
        .merge(v1::health::list_routes())
        .merge(v1::policies::graveyard::list_routes())
        .merge(v1::actions::decisions::list_routes())
        .merge(v1::actions::traces::list_routes())
        .merge(v1::actions::propose::list_routes())
        .merge(v1::signals::list_routes())
        .merge(v1::failed_signals::list_routes())
        .merge(v1::actions::executions::list_routes())
        .merge(v1::events::list_routes())
        .merge(v1::control::orders::list_routes())
        .merge(v1::control::watchdog::list_routes())
        .merge(v1::control::deployments::list_routes())
        .merge(v1::control::webhooks::list_routes())
        .merge(v1::agents::versions::list_routes())
        .merge(v1::actions::approvals::list_routes())
        .merge(v1::ledger::lists::list_routes())
        .merge(v1::ledger::account::list_routes())
        .merge(v1::policies::reading::list_routes())
        .merge(v1::policies::changes::list_routes())
        .merge(v1::operations::list_routes())
        .merge(v1::state::agent_state::list_routes())
        .merge(v1::state::memories::list_routes())
        .merge(v1::state::config_entries::list_routes())
        .merge(v1::state::truths::list_routes())
        .merge(v1::session_log::list_routes())
        .merge(v1::tokens::list_routes())
}

/// The calls with their descriptions, which a thread makes while the parts of the host start.
pub struct PreparedRoutes(BackgroundTask<DescribedRoutes>);

impl PreparedRoutes {
    /// Starts to make them.
    #[must_use]
    pub fn start() -> Self {
        Self(BackgroundTask::start("ark-routes", described_routes))
    }
}

/// Makes the router of all calls, with their state and their layers.
pub(super) fn build_routes(
    prepared: PreparedRoutes,
    deps: ApiDeps,
    auth: Arc<Auth>,
    streams: (EventFeed, Arc<StreamPlaces>),
    closing: watch::Receiver<bool>,
    origins: &[HeaderValue],
) -> Routes {
    let (routes, described) = prepared.0.finish().split_for_parts();
    let documents = Documents::from_routes(described);
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
        // As one layer: the router would box each, and what it calls in it, for each call. The first is the outermost.
        .layer((compress_answers(), ServeCalls { meters, auth }))
        .with_state(api);
    match allow_origins(origins) {
        Some(cors) => routes.layer(cors),
        None => routes,
    }
}

async fn answer_unknown_path(request: Request) -> Problem {
    let path = request.uri().path();
    let detail = format!("there is no {} {}", request.method(), clip_for_error(path));
    if KEYED_PATHS.iter().any(|start| path.starts_with(start)) {
        return Problem::not_found(detail, "path", "in a key, write `/` as %2F");
    }
    let described = "GET /docs describes every call, GET /openapi.json does it for programs";
    match find_near_path(path) {
        Some(near) => {
            Problem::not_found(detail, "path", &format!("did you mean {near}? {described}"))
        }
        None => Problem::not_found(detail, "path", described),
    }
}

/// Returns the path of the table of calls that was probably meant: the most similar one with as many segments, where a parameter of the path
/// stands for any text.
fn find_near_path(path: &str) -> Option<&'static str> {
    // A hostile path may be long; every path of the table is shorter.
    let given: Vec<&str> = path
        .trim_end_matches('/')
        .split('/')
        .skip(1)
        .take(MAX_PATH_SEGMENTS + 1)
        .collect();
    let similarity = |known: &'static str| -> Option<f64> {
        let segments: Vec<&str> = known.split('/').skip(1).collect();
        // `/actions` is `/v1/actions` without its version.
        let compared = match segments.strip_prefix(&["v1"]) {
            Some(rest) if rest.len() == given.len() => rest,
            _ => segments.as_slice(),
        };
        if compared.len() != given.len() {
            return None;
        }
        let pairs = compared.iter().zip(&given);
        // All have as many segments, so their sums compare.
        pairs
            .map(|(known, given)| compare_segments(known, given))
            .try_fold(0.0, |sum, alike| Some(sum + alike?))
    };
    TABLE
        .iter()
        .filter_map(|row| Some((similarity(row.path)?, row.path)))
        // The first of the best, in the order of the table.
        .fold(None, |best: Option<(f64, &'static str)>, found| {
            if best.is_some_and(|best| best.0 >= found.0) {
                best
            } else {
                Some(found)
            }
        })
        .map(|(_, path)| path)
}

/// Returns how similar a segment of a path is to one of the table of calls; `None`: too little for a slip.
fn compare_segments(known: &str, given: &str) -> Option<f64> {
    if known.starts_with('{') {
        return (!given.is_empty()).then_some(1.0);
    }
    if given.len() > 2 * known.len() {
        return None;
    }
    let given = given.to_ascii_lowercase();
    let alike = strsim::normalized_damerau_levenshtein(known, &given);
    // One slip in a short segment, e.g. `v2` for `v1`, makes it rather different.
    let is_slip = strsim::damerau_levenshtein(known, &given) <= 1 && !given.is_empty();
    (is_slip || alike >= MIN_SEGMENT_SIMILARITY).then_some(alike)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::api::openapi::build_document;

    #[test]
    fn a_near_miss_of_a_path_names_the_path() {
        for (path, near) in [
            ("/v1/action", Some("/v1/actions")),
            ("/v1/Actions/", Some("/v1/actions")),
            ("/actions", Some("/v1/actions")),
            ("/v2/actions", Some("/v1/actions")),
            ("/v1/action/batch", Some("/v1/actions/batch")),
            ("/v1/decision/7", Some("/v1/decisions/{id}")),
            ("/v1/approval/7/aprove", Some("/v1/approvals/{id}/approve")),
            ("/health", Some("/healthz")),
            ("/v1/nothing-of-the-kind", None),
            ("/v1/a/b/c/d/e/f/g/h/i/j/k", None),
            ("*", None),
        ] {
            assert_eq!(find_near_path(path), near, "{path}");
        }
        let longest = TABLE.iter().map(|row| row.path.split('/').skip(1).count());
        assert!(longest.max() <= Some(MAX_PATH_SEGMENTS));
    }

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
