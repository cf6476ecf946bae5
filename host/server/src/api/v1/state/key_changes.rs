//! Changes of single keys by operators: of agents' state, configuration values, truths and memories. Each is one operation in one commit.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::api::auth::Caller;
use crate::api::http::fields::{Actor, Key, RevisionNumber};
use crate::api::http::idempotency::{CanonicalRequest, IdempotencyHeader};
use crate::api::http::pagination::{Limit, PageQuery, next_cursor, page_rows};
use crate::api::http::preconditions::{ExpectedRevision, with_etag};
use crate::api::http::problem::Problem;
use crate::api::http::respond::json_response;
use crate::api::state::{Api, quota_holder_of};
use ark_model::ids::Millis;
use ark_store::{
    AttributedChange, CommitError, IdempotencyRecord, OperatorChange, ReadError, Reader, Unit,
};

use crate::api::v1::legacy_digests::describe_operator_change;

/// A key in the path.
#[derive(serde::Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct KeyPath {
    /// The key, as one segment: `/` in it is written %2F.
    #[param(inline)]
    pub(crate) key: Key,
}

/// Which keys are listed.
#[derive(serde::Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PrefixQuery {
    /// Only keys that start with this.
    pub(crate) prefix: Option<String>,
    /// How many rows at most; 50 if left out.
    #[param(inline)]
    pub(crate) limit: Option<Limit>,
    /// Where to go on: the `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

impl PrefixQuery {
    /// Reads the page, and the cursor of the next one.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) async fn read_page<R: Send + 'static>(
        self,
        api: &Arc<Api>,
        read: impl FnOnce(&Reader, &str, Option<&str>, u32) -> Result<Vec<R>, ReadError>
        + Send
        + 'static,
        key: impl Fn(&R) -> String,
    ) -> Result<(Vec<R>, Option<String>), Problem> {
        let limit = page_rows(self.limit);
        let prefix = self.prefix.unwrap_or_default();
        let rows = api
            .run_blocking(move |api| read(&api.store, &prefix, self.cursor.as_deref(), limit))
            .await??;
        let next = next_cursor(&rows, limit, key);
        Ok((rows, next))
    }
}

/// Reads a page of a key's revisions, newest first, and the cursor of the next page.
///
/// # Errors
/// The database cannot be read; there never was such a key, as `missing` says.
pub(crate) async fn read_revisions<R: Send + 'static>(
    api: &Arc<Api>,
    query: PageQuery,
    read: impl FnOnce(&Reader, Option<u64>, u32) -> Result<Vec<R>, ReadError> + Send + 'static,
    revision: impl Fn(&R) -> u64,
    missing: String,
) -> Result<(Vec<R>, Option<String>), Problem> {
    let (limit, before) = query.into_parts();
    let rows = api
        .run_blocking(move |api| read(&api.store, before, limit))
        .await??;
    if rows.is_empty() && before.is_none() {
        return Err(Problem::not_found(
            missing,
            "key",
            "read the list without the key: it shows those that there are",
        ));
    }
    let next = next_cursor(&rows, limit, |row| revision(row).to_string());
    Ok((rows, next))
}

/// Reads the revisions of a key before one of them, the latest first, and at most a number of them.
type ReadHistory<R> = fn(&Reader, &str, Option<u64>, u32) -> Result<Vec<R>, ReadError>;

/// Reads a page of the history of a key that all agents share, and the cursor of the next page. `noun` says what the key names.
///
/// # Errors
/// As [`read_revisions`].
pub(crate) async fn read_key_history<R: Send + 'static>(
    api: &Arc<Api>,
    (key, noun): (&str, &str),
    query: PageQuery,
    read: ReadHistory<R>,
    revision: impl Fn(&R) -> u64,
) -> Result<(Vec<R>, Option<String>), Problem> {
    let missing = format!("there never was a {noun} {key:?}");
    let wanted = key.to_owned();
    let read = move |store: &Reader, before, limit| read(store, &wanted, before, limit);
    read_revisions(api, query, read, revision, missing).await
}

/// Who deletes a value, and at which revision.
#[derive(serde::Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteKeyQuery {
    /// The revision that must still be the latest. In place of `If-Match`.
    #[param(inline)]
    pub(crate) expected_revision: Option<RevisionNumber>,
    /// Who does it. With a token its name, which may be left out.
    #[param(inline)]
    pub(crate) updated_by: Option<Actor>,
}

/// A change that is on disk.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyChanged {
    key: String,
    /// The revision it made.
    revision: u64,
}

/// What a request for the change of a key states beside the change itself.
pub(crate) struct KeyChange<'a> {
    /// Who makes it.
    by: String,
    /// The revision it is made on.
    expected: ExpectedRevision,
    /// The body it came in; empty where there is none.
    body: &'a [u8],
    /// The key under which it is made once.
    idempotency: IdempotencyHeader,
}

impl<'a> KeyChange<'a> {
    /// Attributes a change to `updated_by`, or to the caller's token where that is left out.
    ///
    /// # Errors
    /// The caller must not act in this name, or nobody is named.
    pub(crate) fn attribute(
        caller: &Caller,
        updated_by: Option<Actor>,
        expected: ExpectedRevision,
        body: &'a [u8],
        idempotency: IdempotencyHeader,
    ) -> Result<Self, Problem> {
        Ok(Self {
            by: caller.resolve_actor("updated_by", updated_by)?,
            expected,
            body,
            idempotency,
        })
    }

    /// Hands the change to the writer. Returns its number (the new revision; of a memory its id) once it is durable. `operation` is the
    /// operation's name in the document, `path` what the path says.
    ///
    /// # Errors
    /// The revision is another one, the key was used for another request, or the change cannot be made.
    pub(crate) async fn commit(
        self,
        api: &Arc<Api>,
        caller: &Caller,
        operation: &'static str,
        path: Value,
        change: OperatorChange,
    ) -> Result<u64, Problem> {
        let _reserved = api.reserve_quota(&caller.principal, self.body.len())?;
        let key = self.idempotency.for_request(&CanonicalRequest {
            operation,
            parameters: json!({"path": path, "expected_revision": self.expected.revision}),
            body: self.body,
            legacy: describe_operator_change(&change),
        });
        let unit = Unit {
            idempotency: key.as_ref().map(|key| IdempotencyRecord {
                scope: format!("operate:{}", self.by),
                key: key.key.clone(),
                request: key.request_digest,
                // The number that the change makes.
                answer: String::new(),
            }),
            operator_changes: vec![AttributedChange {
                by: self.by,
                change,
            }],
            trace_id: Some(caller.trace_id),
            charged_to: Some(quota_holder_of(&caller.principal)),
            at: Millis::now(),
            ..Unit::default()
        };
        let receipt = match api.commit(unit).await? {
            Ok(receipt) => receipt,
            Err(CommitError::AlreadyAnswered(first))
                if key.is_some_and(|key| key.matches(first.request)) =>
            {
                let malformed = |_| Problem::unavailable("the stored answer is malformed");
                return first.answer.parse().map_err(malformed);
            }
            Err(error) => return Err(self.expected.explain(error)),
        };
        receipt
            .operator_changes
            .first()
            .copied()
            .ok_or_else(|| Problem::unavailable("the writer gave no answer"))
    }

    /// Commits the change of a key that all agents share, and answers with its new revision.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub(crate) async fn answer(
        self,
        api: &Arc<Api>,
        caller: &Caller,
        operation: &'static str,
        key: String,
        change: OperatorChange,
    ) -> Result<Response, Problem> {
        let path = json!([key]);
        let revision = self.commit(api, caller, operation, path, change).await?;
        let body = KeyChanged { key, revision };
        let response = json_response(StatusCode::OK, Some(caller.trace_id), &body);
        Ok(with_etag(response, revision))
    }
}
