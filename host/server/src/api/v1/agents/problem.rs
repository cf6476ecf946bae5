//! What is wrong with a change of an agent, as a problem document.

use axum::http::StatusCode;

use crate::agents::AgentChangeError;
use ark_runtime::LoadError;

use crate::api::http::problem::Problem;

impl From<AgentChangeError> for Problem {
    fn from(error: AgentChangeError) -> Self {
        let detail = error.to_string();
        let refused = |field: &str, remedy: &str| {
            let title = "The version is refused; the serving version is unchanged";
            Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "agent-refused",
                title,
                detail.clone(),
            )
            .at(field, remedy)
        };
        match error {
            AgentChangeError::Manifest(_) => refused("manifest", "correct the manifest"),
            AgentChangeError::NameMismatch { .. } => {
                refused("manifest.name", "upload it under its own name")
            }
            AgentChangeError::Load(LoadError::Unsigned(_)) => refused(
                "manifest.signature",
                "sign the component with a key that the host takes (`ark agent sign`)",
            ),
            AgentChangeError::Load(LoadError::WrongDigest { .. }) => {
                refused("manifest.sha256", "state the SHA-256 of these bytes")
            }
            AgentChangeError::Load(LoadError::WrongMetadata { field, .. }) => refused(
                &format!("manifest.{field}"),
                "let manifest and component agree",
            ),
            AgentChangeError::Load(LoadError::Limits(limit)) => refused(
                &format!("manifest.limits.{}", limit.field),
                "stay within the operator's ceiling (GET /v1/watchdog)",
            ),
            AgentChangeError::Load(LoadError::Quotas(quota)) => refused(
                &format!("manifest.quotas.{}", quota.field),
                "stay within the operator's quotas (`ark config show`)",
            ),
            AgentChangeError::Load(_) => refused("component", "see `ark inspect FILE`"),
            AgentChangeError::Heartbeat(_) => refused("component", "see `ark agent test`"),
            AgentChangeError::UnknownAgent(_) => {
                Self::not_found(detail, "name", "GET /v1/agents lists them")
            }
            AgentChangeError::UnknownVersion { .. } => {
                Self::not_found(detail, "number", "GET /v1/agents/{name} lists the versions")
            }
            AgentChangeError::NoPreviousVersion(_) | AgentChangeError::Directory(_) => Self::new(
                StatusCode::CONFLICT,
                "no-such-version",
                "There is no version to serve",
                detail,
            )
            .at(
                "number",
                "roll out a version that GET /v1/agents/{name} lists",
            ),
            AgentChangeError::AlreadyServing { .. } => Self::new(
                StatusCode::CONFLICT,
                "version-serves",
                "The version serves already",
                detail,
            )
            .at("number", "try out another version than the one that serves"),
            AgentChangeError::NoTrial(_) => Self::new(
                StatusCode::CONFLICT,
                "no-trial",
                "No version is on trial",
                detail,
            )
            .at("share", "begin a trial with a number and a share above 0"),
            AgentChangeError::PendingDeliveries { .. } => Self::new(
                StatusCode::CONFLICT,
                "signals-wait",
                "Signals wait for the agent",
                detail,
            )
            .at("force", "wait until they are handled, or give force=true"),
            AgentChangeError::ChangedMeanwhile(_) => Self::new(
                StatusCode::CONFLICT,
                "changed-meanwhile",
                "The agent was changed meanwhile",
                detail,
            )
            .at(
                "rollout",
                "look at GET /v1/agents/{name}, and upload it again if it is to serve",
            ),
            AgentChangeError::PermitEnded(_) => Self::forbidden(
                detail,
                "Authorization",
                "upload it again with a token in force",
            ),
            AgentChangeError::Read(error) => error.into(),
            AgentChangeError::Commit(error) => error.into(),
            AgentChangeError::Router(error) => error.into(),
            AgentChangeError::CorruptVersion { .. } => Self::unavailable(detail),
        }
    }
}
