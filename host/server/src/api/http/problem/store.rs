//! What the store refuses, as problem documents.

use axum::http::StatusCode;

use ark_store::{CommitError, MissingItem, ReadError, SecretError, SubmitError, TokenRefusal};

use super::{Problem, key_reused};

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Full => Self::busy(error.to_string()),
            SubmitError::Closed => Self::unavailable(error.to_string()),
        }
    }
}

impl From<CommitError> for Problem {
    fn from(error: CommitError) -> Self {
        let detail = error.to_string();
        match error {
            CommitError::Conflict { current, .. } | CommitError::Stale { current, .. } => {
                Self::revision_conflict(detail, current)
            }
            CommitError::NoSuchRevision { current, .. } => Self {
                current_revision: Some(current),
                ..Self::not_found(
                    detail,
                    "to_revision",
                    "read the history and give a revision in it",
                )
            },
            CommitError::NotFound(item) => missing_item(&item),
            CommitError::Token(refusal) => token_refused(&refusal, detail),
            CommitError::Secret(refused) => {
                let mut remedy = refused.remedy();
                if matches!(refused, SecretError::NoKey { .. }) {
                    remedy.push_str(", or use a key outside secret/");
                }
                Self::new(
                    StatusCode::CONFLICT,
                    "no-secret-key",
                    "The secret cannot be stored",
                    refused.problem(),
                )
                .at("key", &remedy)
            }
            // A repeated request was recognised before this.
            CommitError::KeyReused { .. } | CommitError::AlreadyAnswered(_) => key_reused(detail),
            CommitError::DeliveryNotPending { .. }
            | CommitError::DeliveryNotFailed { .. }
            | CommitError::DeadlineExceeded
            | CommitError::Storage(_)
            | CommitError::Closed => Self::unavailable(detail),
        }
    }
}

/// The problem of a change of something that is not there.
pub(super) fn missing_item(item: &MissingItem) -> Problem {
    let (field, remedy) = match item {
        MissingItem::StateKey { .. } => ("key", "GET /v1/state/{agent} lists the keys of an agent"),
        MissingItem::Memory { .. } => {
            ("id", "GET /v1/memory/{agent} lists what an agent remembers")
        }
        MissingItem::ConfigEntry { .. } => ("key", "GET /v1/config lists them"),
        MissingItem::Token { .. } => ("name", "GET /v1/tokens lists them"),
        MissingItem::ListEntry { .. } => ("key", "GET /v1/lists/{list} shows what is on it"),
        MissingItem::OpenApproval { .. } => ("id", "GET /v1/approvals lists what is held"),
    };
    Problem::not_found(item.to_string(), field, remedy)
}

fn token_refused(refusal: &TokenRefusal, detail: String) -> Problem {
    let (status, field, remedy) = match refusal {
        TokenRefusal::NameTaken(_) => (StatusCode::CONFLICT, "name", "give another name"),
        TokenRefusal::NotFirst => return Problem::unauthenticated(),
        TokenRefusal::FirstMustBeAdmin => (StatusCode::CONFLICT, "role", "give admin"),
        TokenRefusal::TooMany { .. } => (
            StatusCode::CONFLICT,
            "name",
            "use tokens for longer: expired ones count too",
        ),
    };
    Problem::new(status, "token-refused", "The token cannot be made", detail).at(field, remedy)
}
