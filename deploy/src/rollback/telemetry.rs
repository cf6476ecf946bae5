//! Whether the telemetry that the validation of a rollback reads is that of the host. An operator's rollback compares them before it begins or goes on, and
//! once the stable version is healthy, before that gets requests: what is rolled back may be a host that does not answer.
//!
//! Must not know: journals' entries, how the validation reads the telemetry.

use ark_client::HostClient;
use ark_store::{HostProcess, find_host_process};

use crate::host_identity::TelemetryMatch;

use super::error::RollbackError;
use super::plan::RollbackPlan;

/// Compares the host with its telemetry, where a validation is to read that. The way back of an upgrade is held up by nothing that the upgrade has compared
/// before it began. Returns a warning where it cannot be told, as while no host runs.
///
/// # Errors
/// [`RollbackError::Telemetry`]: it is another host's, or names no host.
pub(super) fn compare_telemetry(
    client: &HostClient,
    plan: &RollbackPlan,
) -> Result<Option<String>, RollbackError> {
    let validation = plan.validation.as_ref().filter(|_| plan.upgrade.is_none());
    let Some(telemetry) = validation.and_then(|plan| plan.telemetry.as_deref()) else {
        return Ok(None);
    };
    // The open socket of a unit takes a connection also while no host does.
    let found = if find_host_process(&plan.data_dir) == HostProcess::None {
        TelemetryMatch::unknown(telemetry, "no host runs on the data directory")
    } else {
        crate::host_identity::compare_telemetry(client, telemetry)
    };
    match found {
        TelemetryMatch::Same => Ok(None),
        TelemetryMatch::Unknown(warning) => Ok(Some(warning)),
        TelemetryMatch::Other(found) => Err(RollbackError::Telemetry {
            url: client.url().to_owned(),
            answering: found.answering,
            telemetry: telemetry.to_owned(),
            other: found.other,
        }),
    }
}
