//! The calls that serve the document: `/openapi.json` and `/docs`. Neither needs a token.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use utoipa_axum::routes;

use crate::api::http::respond::bytes_response;
use crate::api::state::{DescribedRoutes, Shared};

use super::page::content_security_policy;

pub(crate) fn routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(serve_document))
        .routes(routes!(serve_page))
}

/// The document of this API
///
/// To generate clients from, say.
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "about",
    responses((status = 200, description = "The document.", body = serde_json::Value)))]
async fn serve_document(State(api): Shared) -> Response {
    bytes_response("application/json", api.documents.json.clone())
}

/// The document of this API as a page to read
#[utoipa::path(get, path = "/docs", operation_id = "docs", tag = "about",
    responses((status = 200, description = "The page.", content_type = "text/html", body = String)))]
async fn serve_page(State(api): Shared) -> Response {
    let mut response = bytes_response("text/html; charset=utf-8", api.documents.page.clone());
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&content_security_policy()) {
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
