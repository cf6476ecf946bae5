//! What a caller prefers of an answer: the header `Prefer` (RFC 7240), and which answers of rules are shown.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;

static PREFER: HeaderName = HeaderName::from_static("prefer");
static PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Which answers of rules are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RulesShown {
    /// Every answer.
    #[default]
    All,
    /// The answers of rules that warned, held, were violated or could not be evaluated.
    Fired,
}

/// What a caller prefers. A preference that is not known is ignored (RFC 7240, section 2).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Preferences {
    /// `return=minimal`: the answer need not repeat what the caller knows.
    pub(crate) is_minimal: bool,
}

/// The header, for the document of the API.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the type describes a header and is never made")]
pub(crate) struct PreferHeader {
    /// With `return=minimal` the answer has the outcome, the reasons, the ids and the answers of rules that fired. It says so in
    /// `Preference-Applied`.
    #[param(rename = "Prefer", example = "return=minimal")]
    prefer: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Preferences {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Ok(Self::read(&parts.headers))
    }
}

impl Preferences {
    /// Reads the header. Of the same preference given twice the first counts.
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(&PREFER).iter();
        let preferences = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','));
        let mut wanted = preferences.filter_map(|preference| {
            let (name, value) = preference.split(';').next()?.split_once('=')?;
            name.trim().eq_ignore_ascii_case("return").then(|| {
                value
                    .trim()
                    .trim_matches('"')
                    .eq_ignore_ascii_case("minimal")
            })
        });
        Self {
            is_minimal: wanted.next().unwrap_or(false),
        }
    }

    /// Says on an answer which preference it follows.
    pub(crate) fn mark_applied(self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("Prefer"));
        if self.is_minimal {
            let applied = HeaderValue::from_static("return=minimal");
            headers.insert(&PREFERENCE_APPLIED, applied);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_return_preference_counts_and_others_are_ignored() {
        for (lines, expected) in [
            (&["return=minimal"][..], true),
            (&["respond-async, Return = \"minimal\"; foo"], true),
            (&["wait=10", "return=minimal"], true),
            (&["return=representation, return=minimal"], false),
            (&["return"], false),
            (&["minimal"], false),
            (&["\u{ff}"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                let value = HeaderValue::from_bytes(line.as_bytes()).unwrap();
                headers.append(&PREFER, value);
            }
            assert_eq!(
                Preferences::read(&headers).is_minimal,
                expected,
                "{lines:?}"
            );
        }
    }
}
