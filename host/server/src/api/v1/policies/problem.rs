//! Why a change of an operator policy is refused, as a problem document.

use axum::http::StatusCode;

use crate::hrm::HrmError;
use crate::policies::{InvalidPolicy, PolicyChangeError};
use ark_model::policy::PolicySource;
use ark_runtime::SettingsRefused;

use crate::api::http::problem::Problem;

impl From<InvalidPolicy> for Problem {
    fn from(unfit: InvalidPolicy) -> Self {
        let detail = format!("the policy is refused: {}", describe_refusal(&unfit));
        let refused = |field: &str, remedy: &str| {
            let title = "The version is refused; the policy in force is unchanged";
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            Self::new(status, "policy-refused", title, detail.clone()).at(field, remedy)
        };
        match unfit {
            InvalidPolicy::DigestMismatch { .. } => {
                refused("sha256", "state the SHA-256 of these bytes")
            }
            InvalidPolicy::Unsigned(_) => refused(
                "signature",
                "sign the component with a key that the host takes (`ark policy sign`)",
            ),
            InvalidPolicy::NameMismatch { .. } => refused("name", "upload it under its own name"),
            InvalidPolicy::ReservedName(_) => refused("component", "give the policy another name"),
            InvalidPolicy::Load(_) | InvalidPolicy::File { .. } => {
                refused("component", "see `ark inspect FILE`")
            }
            InvalidPolicy::Vectors(_) => refused("component", "see `ark policy test`"),
            InvalidPolicy::TestEvaluation(_) => {
                refused("component", "see `ark policy test`, with these settings")
            }
            InvalidPolicy::Settings(SettingsRefused::NotTaken) => {
                refused("settings", "leave them out")
            }
            InvalidPolicy::Settings(SettingsRefused::Failed(_)) => {
                refused("settings", "give other settings, or another component")
            }
            InvalidPolicy::Settings(SettingsRefused::Problems(problems)) => {
                let first = problems.first();
                let field = first.map_or("", |problem| problem.field.as_str());
                let dot = if field.is_empty() || field.starts_with('[') {
                    ""
                } else {
                    "."
                };
                let field = format!("settings{dot}{field}");
                let remedy = first.map_or("give other settings", |problem| &problem.remedy);
                refused(&field, remedy).with_problems(&problems)
            }
        }
    }
}

/// Says why a policy is refused, without the remedy where the problem document has it as its own.
fn describe_refusal(unfit: &InvalidPolicy) -> String {
    match unfit {
        InvalidPolicy::Settings(SettingsRefused::NotTaken) => "it takes no settings".to_owned(),
        InvalidPolicy::Settings(SettingsRefused::Problems(problems)) => match problems.as_slice() {
            [only] => format!("it refuses its settings: {}", only.describe()),
            _ => unfit.to_string(),
        },
        _ => unfit.to_string(),
    }
}

impl From<PolicyChangeError> for Problem {
    fn from(error: PolicyChangeError) -> Self {
        let detail = error.to_string();
        let conflict = |kind: &str, title: &'static str, field: &str, remedy: &str| {
            Self::new(StatusCode::CONFLICT, kind, title, detail.clone()).at(field, remedy)
        };
        match error {
            PolicyChangeError::Invalid(unfit) => unfit.into(),
            PolicyChangeError::UnknownPolicy(_) => {
                Self::not_found(detail, "name", "GET /v1/policies lists them")
            }
            PolicyChangeError::UnknownVersion { .. } => Self::not_found(
                detail,
                "number",
                "GET /v1/policies/{name} lists the versions",
            ),
            PolicyChangeError::NoPreviousVersion(_) => conflict(
                "no-such-version",
                "There is no version to enforce",
                "number",
                "roll out a version that GET /v1/policies/{name} lists",
            ),
            PolicyChangeError::NoShadow(_) => conflict(
                "no-such-version",
                "Nothing is on trial",
                "mode",
                "leave it out to take the policy out of force",
            ),
            PolicyChangeError::AlreadyEnforced { .. } => conflict(
                "is-enforced",
                "This version is enforced",
                "mode",
                "to end its enforcement, PATCH /v1/policies/{name} with {\"mode\": \"shadow\"} and nothing else",
            ),
            PolicyChangeError::DeclaredInFile { owner, .. } => conflict(
                "policy-declared",
                "The policy is set up in a file",
                "name",
                match owner {
                    PolicySource::Directory => {
                        "change its manifest in policies_dir, then send the host SIGHUP"
                    }
                    _ => "change [[policies]] in ark.toml, then send the host SIGHUP",
                },
            ),
            PolicyChangeError::RevisionMismatch { current, .. } => {
                Self::revision_conflict(detail, current)
            }
            PolicyChangeError::ChangedMeanwhile(_) => conflict(
                "changed-meanwhile",
                "The policy was changed meanwhile",
                "name",
                "look at GET /v1/policies/{name}, and upload it again if it is to be in force",
            ),
            PolicyChangeError::PermitEnded(_) => Self::forbidden(
                detail,
                "Authorization",
                "upload it again with a token in force",
            ),
            PolicyChangeError::TooManyPolicies(_) => conflict(
                "too-many-policies",
                "No more policies can be in force",
                "name",
                "take one out of force, or raise capacity.policies",
            ),
            PolicyChangeError::KeyReused => HrmError::KeyReused.into(),
            PolicyChangeError::Read(error) => error.into(),
            PolicyChangeError::NotRecorded(_) => Self::unavailable(detail),
            PolicyChangeError::CorruptVersion { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "policy-refused",
                "The version is refused; the policy in force is unchanged",
                detail,
            )
            .at("number", "upload it again, or roll out another version"),
        }
    }
}
