//! The calls that serve the document: `/openapi.json`, `/docs` and `/`. None needs a token.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use utoipa_axum::routes;

use crate::api::http::preconditions::tagged_bytes;
use crate::api::http::problem::Problem;
use crate::api::state::{DescribedRoutes, Shared};

use super::page::content_security_policy;

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(serve_document))
        .routes(routes!(serve_page))
        .routes(routes!(lead_to_page))
}

/// The document of this API
///
/// To generate clients from, say.
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "about",
    responses((status = 200, description = "The document.", body = serde_json::Value, headers(("ETag" = String, description = "The digest of the answer.")))))]
async fn serve_document(State(api): Shared) -> Result<Response, Problem> {
    let json = api.run_blocking(|api| api.documents.render_json()).await?;
    Ok(tagged_bytes("application/json", json))
}

/// Leads to the page
///
/// To `/docs`.
#[utoipa::path(get, path = "/", operation_id = "root", tag = "about",
    responses((status = 307, description = "The page is elsewhere.", headers(("Location" = String, description = "Where the page is.")))))]
async fn lead_to_page() -> Response {
    // Relative: a proxy may serve this host below a path of its own.
    Redirect::temporary("docs").into_response()
}

/// The document of this API as a page to read
#[utoipa::path(get, path = "/docs", operation_id = "docs", tag = "about",
    responses((status = 200, description = "The page.", content_type = "text/html", body = String, headers(("ETag" = String, description = "The digest of the answer.")))))]
async fn serve_page(State(api): Shared) -> Result<Response, Problem> {
    let page = api.run_blocking(|api| api.documents.render_page()).await?;
    let mut response = tagged_bytes("text/html; charset=utf-8", page);
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
    Ok(response)
}
