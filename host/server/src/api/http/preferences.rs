//! What a caller prefers of an answer: the header `Prefer` (RFC 7240), and which answers of rules are shown. A preference that is not known is
//! ignored (RFC 7240, section 2).

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::extract::header_fields;
use super::problem::Problem;

static PREFER: HeaderName = HeaderName::from_static("prefer");
static PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The longest wait that is granted.
const MAX_WAIT: Duration = Duration::from_mins(1);

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

/// How much the caller wants to read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Preferences {
    /// `return=minimal`: the answer need not repeat what the caller knows.
    pub(crate) is_minimal: bool,
}

/// The header of [`Preferences`], for the document of the API.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the type describes a header and is never made")]
pub(crate) struct PreferReturnHeader {
    /// With `return=minimal` the answer has the outcome, the reasons, the ids and the answers of rules that fired. It says so in
    /// `Preference-Applied`.
    #[param(rename = "Prefer", example = "return=minimal")]
    prefer: Option<String>,
}

/// How the caller wants a long request answered.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct PreferAsyncHeader {
    /// `respond-async`: the request is answered with 202 and an operation as soon as it is accepted; with `wait=N` as well, only if it is not done
    /// after N seconds. Without it the answer comes when it is done. Other preferences are ignored (RFC 7240).
    #[serde(rename = "Prefer")]
    #[param(example = "respond-async")]
    prefer: Option<String>,
}

header_fields!(PreferAsyncHeader);

/// Returns the preferences of a line: each name in lower case, and its value without quotes. Their parameters are left out.
fn parse_preferences(line: &str) -> impl Iterator<Item = (String, &str)> {
    line.split(',').map(|preference| {
        let preference = preference.split(';').next().unwrap_or_default();
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        (
            name.trim().to_ascii_lowercase(),
            value.trim().trim_matches('"'),
        )
    })
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
        let mut wanted = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(parse_preferences)
            .filter(|(name, value)| name == "return" && !value.is_empty());
        Self {
            is_minimal: wanted
                .next()
                .is_some_and(|(_, value)| value.eq_ignore_ascii_case("minimal")),
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

impl PreferAsyncHeader {
    /// Returns how long the caller waits for the end of the request before it is answered with an operation; `None`: until it is done.
    pub(crate) fn patience(&self) -> Option<Duration> {
        let mut is_async = false;
        let mut wait = Duration::ZERO;
        for (name, value) in parse_preferences(self.prefer.as_deref().unwrap_or_default()) {
            match &*name {
                "respond-async" => is_async = true,
                "wait" => {
                    let seconds = value.parse().unwrap_or(0);
                    wait = Duration::from_secs(seconds).min(MAX_WAIT);
                }
                _ => {}
            }
        }
        is_async.then_some(wait)
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

    #[test]
    fn only_callers_that_prefer_it_are_answered_early() {
        for (prefer, patience) in [
            (None, None),
            (Some(""), None),
            (Some("wait=10"), None),
            (Some("return=minimal"), None),
            (Some("respond-async"), Some(0)),
            (Some("Respond-Async, wait=10"), Some(10)),
            (Some("wait = \"3\" ,respond-async; x=y"), Some(3)),
            (Some("respond-async, wait=a day"), Some(0)),
            (Some("respond-async, wait=99999999999"), Some(60)),
        ] {
            let header = PreferAsyncHeader {
                prefer: prefer.map(str::to_owned),
            };
            let patience = patience.map(Duration::from_secs);
            assert_eq!(header.patience(), patience, "{prefer:?}");
        }
    }
}
