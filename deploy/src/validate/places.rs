//! Whether what a validation reads beside the API is of the host that it tests: the record in a data directory, and the objectives of a telemetry.
//!
//! Invariant: nothing is changed.

use std::path::Path;

use ark_client::HostClient;

use crate::host_identity::{HostDifference, TelemetryMatch, compare_telemetry, find_other_holder};

use super::ValidateError;

/// Refuses a data directory that the host at the address does not hold.
///
/// # Errors
/// [`ValidateError::OtherHost`].
pub(crate) fn check_data_dir(client: &HostClient, data_dir: &Path) -> Result<(), ValidateError> {
    match find_other_holder(client, data_dir) {
        None => Ok(()),
        Some(found) => {
            let place = ("--data-dir", data_dir.display().to_string());
            Err(make_error(client, place, "leave it out", found))
        }
    }
}

/// Refuses a telemetry that is another host's, or names no host. Returns a warning where it cannot be told whose it is; one that does not answer is found
/// by the test that reads it, too.
///
/// # Errors
/// [`ValidateError::OtherHost`].
pub(crate) fn check_telemetry(
    client: &HostClient,
    telemetry: &str,
) -> Result<Option<String>, ValidateError> {
    match compare_telemetry(client, telemetry) {
        TelemetryMatch::Same => Ok(None),
        TelemetryMatch::Unknown(warning) => Ok(Some(warning)),
        TelemetryMatch::Other(found) => {
            let place = ("--telemetry", telemetry.to_owned());
            Err(make_error(client, place, "give --telemetry off", found))
        }
    }
}

fn make_error(
    client: &HostClient,
    (option, place): (&'static str, String),
    without: &'static str,
    found: HostDifference,
) -> ValidateError {
    ValidateError::OtherHost {
        url: client.url().to_owned(),
        answering: found.answering,
        option,
        place,
        other: found.other,
        without,
    }
}
