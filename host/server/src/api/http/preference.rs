//! How a caller wants a long request answered (RFC 7240).

use std::time::Duration;

use serde::Deserialize;
use utoipa::IntoParams;

/// The longest wait that is granted.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// How the caller wants the request answered.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct PreferHeader {
    /// `respond-async`: the request is answered with 202 and an operation as soon as it is accepted; with `wait=N` as well, only if it is not done
    /// after N seconds. Without it the answer comes when it is done. Other preferences are ignored (RFC 7240).
    #[serde(rename = "Prefer")]
    #[param(example = "respond-async")]
    prefer: Option<String>,
}

impl PreferHeader {
    /// Returns how long the caller waits for the end of the request before it is answered with an operation; `None`: until it is done.
    pub(crate) fn patience(&self) -> Option<Duration> {
        let preferences = self.prefer.as_deref().unwrap_or_default().split(',');
        let mut is_async = false;
        let mut wait = Duration::ZERO;
        for preference in preferences {
            // Parameters of a preference come after a semicolon; these two have none.
            let preference = preference.split(';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "respond-async" => is_async = true,
                "wait" => {
                    let seconds = value.trim().trim_matches('"').parse().unwrap_or(0);
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
    fn only_who_prefers_it_is_answered_before_the_end() {
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
            let header = PreferHeader {
                prefer: prefer.map(str::to_owned),
            };
            let patience = patience.map(Duration::from_secs);
            assert_eq!(header.patience(), patience, "{prefer:?}");
        }
    }
}
