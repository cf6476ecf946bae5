//! What is wrong with a change of an agent, as a problem document.

use axum::http::StatusCode;

use crate::agents::ChangeError;
use ark_runtime::LoadError;

use super::problem::Problem;

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let detail = error.to_string();
        let refused = |field: &str, remedy: &str| {
            let title = "The version is refused; what served goes on";
            Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "agent-refused",
                title,
                detail.clone(),
            )
            .at(field, remedy)
        };
        match error {
            ChangeError::Manifest(_) => refused("manifest", "correct the manifest"),
            ChangeError::OtherName { .. } => {
                refused("manifest.name", "upload it under its own name")
            }
            ChangeError::Load(LoadError::WrongDigest { .. }) => {
                refused("manifest.sha256", "state the SHA-256 of these bytes")
            }
            ChangeError::Load(LoadError::WrongMetadata { field, .. }) => refused(
                &format!("manifest.{field}"),
                "let manifest and component agree",
            ),
            ChangeError::Load(LoadError::Limits(limit)) => refused(
                &format!("manifest.limits.{}", limit.field),
                "stay within the operator's ceiling (GET /v1/watchdog)",
            ),
            ChangeError::Load(_) => refused("component", "see `ark inspect FILE`"),
            ChangeError::Heartbeat(_) => refused("component", "see `ark agent test`"),
            ChangeError::NoAgent(_) => {
                Self::not_found(detail).at("name", "GET /v1/agents lists them")
            }
            ChangeError::NoVersion { .. } => {
                Self::not_found(detail).at("number", "GET /v1/agents/{name} lists the versions")
            }
            ChangeError::NoPrevious(_) | ChangeError::Directory(_) => Self::new(
                StatusCode::CONFLICT,
                "no-such-version",
                "There is no version to serve",
                detail,
            )
            .at(
                "number",
                "roll out a version that GET /v1/agents/{name} lists",
            ),
            ChangeError::Serves { .. } => Self::new(
                StatusCode::CONFLICT,
                "version-serves",
                "The version serves already",
                detail,
            )
            .at("number", "try out another version than the one that serves"),
            ChangeError::NoTrial(_) => Self::new(
                StatusCode::CONFLICT,
                "no-trial",
                "No version is on trial",
                detail,
            )
            .at("share", "begin a trial with a number and a share above 0"),
            ChangeError::Waiting { .. } => Self::new(
                StatusCode::CONFLICT,
                "signals-wait",
                "Signals wait for the agent",
                detail,
            )
            .at("force", "wait until they are handled, or give force=true"),
            ChangeError::Read(error) => error.into(),
            ChangeError::Commit(error) => error.into(),
            ChangeError::Router(error) => error.into(),
            ChangeError::Broken { .. } => Self::unavailable(detail),
        }
    }
}
