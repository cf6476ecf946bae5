//! What uploads of agents and of policies share: how large they may be, how their component is read, and who asks for a change and why.

use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;
use utoipa::openapi::{ObjectBuilder, Type};

use ark_model::check::FieldError;
use ark_model::form::parse_json;
use ark_model::ids::{Digest, Millis};

use crate::api::auth::Caller;
use crate::api::http::answer::answer_from;
use crate::api::http::body::{BodyLimits, read_body};
use crate::api::http::extract::RequestBody;
use crate::api::http::fields::{Actor, Reason, VersionNumber, field_schema};
use crate::api::http::problem::Problem;
use crate::api::state::Api;
use crate::changes::{ChangeRequest, Permit, UploadRefusal};

/// Base64 with padding, and no bits behind the last byte.
const BASE64: &str =
    "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";

/// A component's bytes.
pub(crate) struct ComponentBytes(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for ComponentBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(&text).map(Self).map_err(|error| {
            let given = format!("not Base64: {error}");
            let given = serde::de::Unexpected::Other(&given);
            let form = "the component in standard Base64 with padding";
            serde::de::Error::invalid_value(given, &form)
        })
    }
}

field_schema! {
    /// A component in standard Base64 with padding; 64 MiB of bytes at most.
    ComponentBytes => ObjectBuilder::new()
        .schema_type(Type::String)
        .content_encoding("base64")
        .pattern(Some(BASE64))
}

/// A version of an agent or a policy in the path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct VersionPath {
    /// The agent or the policy.
    pub(crate) name: ark_model::ids::Name,
    /// The version's number.
    #[param(inline)]
    pub(crate) number: VersionNumber,
}

/// Receives an upload: reads its body and its form. What is refused before its content is looked at goes to `record_refusal`, with the reason.
///
/// # Errors
/// The body is too large, late or no JSON, or a field of it is out of form.
pub(crate) async fn receive_upload<T: RequestBody + Send + 'static>(
    api: &Arc<Api>,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
    record_refusal: impl FnOnce(&Api, String, &ChangeRequest) + Send + 'static,
) -> Result<T, Problem> {
    let (reason, problem) = match read_body(headers, body, BodyLimits::UPLOAD).await {
        Ok(body) => match api.run_blocking(move |_| parse_upload::<T>(&body)).await? {
            Ok(form) => return Ok(form),
            Err(error) => (error.to_string(), error.into()),
        },
        Err(problem) => (problem.detail().to_owned(), problem),
    };
    let Ok(request) = change_request_of(caller, None, None) else {
        return Err(problem);
    };
    let recorded = api
        .run_blocking(move |api| record_refusal(api, reason, &request))
        .await;
    Err(recorded.err().unwrap_or(problem))
}

fn parse_upload<T: RequestBody>(body: &[u8]) -> Result<T, FieldError> {
    T::from_document(parse_json(body)?)
}

/// Who asks for a change of a version, and why.
///
/// # Errors
/// The caller may not act under the name in `by`.
pub(crate) fn change_request_of(
    caller: &Caller,
    by: Option<Actor>,
    reason: Option<Reason>,
) -> Result<ChangeRequest, Problem> {
    Ok(ChangeRequest {
        by: caller.resolve_operator(by)?,
        reason: reason.unwrap_or_else(Reason::none_given).into(),
        trace_id: caller.trace_id,
        idempotency_key: None,
        permit: Permit::default(),
    })
}

/// As [`change_request_of`], for an upload, which is made later: it is permitted as long as the caller's token is in force.
///
/// # Errors
/// The caller may not act under the name in `by`.
pub(crate) fn upload_requester(
    api: &Api,
    caller: &Caller,
    by: Option<Actor>,
    reason: Option<Reason>,
) -> Result<ChangeRequest, Problem> {
    let (auth, token) = (Arc::clone(&api.auth), caller.token);
    Ok(ChangeRequest {
        permit: Permit::while_true(move || auth.is_in_force(token)),
        ..change_request_of(caller, by, reason)?
    })
}

answer_from! { UploadRefusal =>
    /// Why the last refused upload of a name was refused.
    #[schema(as = Refusal)]
    pub(crate) struct RefusalView {
        /// When it was refused.
        at_ms: Millis,
        /// Who uploaded it.
        by: String,
        /// The SHA-256 that was stated; absent when the upload was refused before it could be read.
        sha256: Option<Digest>,
        /// Why it was refused.
        reason: String,
    }
}
