//! Extractors: a handler's arguments are its request, already read and checked.
//!
//! [`ApiPath`], [`ApiQuery`] and [`ApiHeaders`] read any type that derives `Deserialize` and `IntoParams`; [`ApiJson`] reads a body that is a
//! [`RequestBody`]. A request that does not fit is answered with a problem document that names the field and the remedy; the handler is not
//! called. An unknown query parameter is refused (a misspelt `dry_run` must not be carried out), an unknown header is not.

use std::any::TypeId;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use axum::extract::rejection::{QueryRejection, RawPathParamsRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use bytes::Bytes;
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, ToSchema};

use ark_model::check::{FieldError, clip_for_error};
use ark_model::form::parse_json;

use super::body::{BodyLimits, read_body};
use super::form::{read_document, read_parameters};
use super::head::repeated_header;
use super::problem::Problem;

/// A request body: how it is read from its JSON document.
pub(crate) trait RequestBody: Sized {
    /// Reads and checks the document.
    ///
    /// # Errors
    /// The first field that is missing, unknown, of another type or out of its range.
    fn from_document(document: Value) -> Result<Self, FieldError>;

    /// The answer to a document that is out of form.
    fn convert_refusal(error: FieldError) -> Problem {
        error.into()
    }
}

/// Makes types that derive `Deserialize` and `ToSchema` request bodies.
macro_rules! request_body {
    ($($name:ty),+ $(,)?) => {$(
        impl $crate::api::http::extract::RequestBody for $name {
            fn from_document(document: serde_json::Value) -> Result<Self, ark_model::check::FieldError> {
                $crate::api::http::extract::read_described(document)
            }
        }
    )+};
}
pub(crate) use request_body;

/// Reads a request body whose schema describes its fields.
///
/// # Errors
/// As [`RequestBody::from_document`].
pub(crate) fn read_described<T: DeserializeOwned + ToSchema>(
    document: Value,
) -> Result<T, FieldError> {
    read_document(document, field_description::<T>)
}

/// The description of a field in the schema of a request body.
fn field_description<T: ToSchema>(field: &str) -> Option<String> {
    let RefOr::T(Schema::Object(object)) = T::schema() else {
        return None;
    };
    match object.properties.get(field)? {
        RefOr::Ref(reference) => Some(reference.description.clone()),
        RefOr::T(Schema::Object(property)) => property.description.clone(),
        RefOr::T(Schema::Array(property)) => property.description.clone(),
        RefOr::T(Schema::OneOf(property)) => property.description.clone(),
        RefOr::T(_) => None,
    }
    .filter(|description| !description.is_empty())
}

/// A JSON body. Each name in an object stands once.
pub(crate) struct ApiJson<T> {
    /// The request.
    pub(crate) form: T,
    /// The bytes it was read from.
    pub(crate) body: Bytes,
}

impl<S: Send + Sync, T: RequestBody> FromRequest<S> for ApiJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let body = read_body(&parts.headers, body, BodyLimits::DEFAULT).await?;
        let form = parse_json(&body)
            .and_then(T::from_document)
            .map_err(T::convert_refusal)?;
        Ok(Self { form, body })
    }
}

/// The parameters of the path.
pub(crate) struct ApiPath<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for ApiPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let texts = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|rejection: RawPathParamsRejection| {
                FieldError::new("path", rejection.body_text(), "send UTF-8")
            })?;
        let texts = texts
            .iter()
            .map(|(name, text)| (name.to_owned(), text.to_owned()));
        Ok(Self(read_parameters(texts, |_| None)?))
    }
}

/// The parameters of the query.
pub(crate) struct ApiQuery<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + IntoParams> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let texts = read_query(parts, state).await?;
        let describe = |name: &str| parameter_description::<T>(name);
        Ok(Self(read_parameters(texts, describe)?))
    }
}

/// The query of a call that takes no parameter.
pub(crate) struct NoQuery;

impl<S: Send + Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match read_query(parts, state).await?.first() {
            None => Ok(Self),
            Some((name, _)) => {
                let problem = "unknown parameter; this call takes none";
                Err(FieldError::new(clip_for_error(name), problem, "leave it out").into())
            }
        }
    }
}

/// The query's names and texts, each name once.
async fn read_query<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<Vec<(String, String)>, Problem> {
    let Query(texts) = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
        .await
        .map_err(|rejection: QueryRejection| {
            let remedy = "send name=value pairs in UTF-8";
            FieldError::new("query", rejection.body_text(), remedy)
        })?;
    let mut names = HashSet::with_capacity(texts.len());
    if let Some((name, _)) = texts.iter().find(|(name, _)| !names.insert(name.as_str())) {
        return Err(FieldError::new(
            clip_for_error(name),
            "is given more than once",
            "give it once",
        )
        .into());
    }
    Ok(texts)
}

/// The headers that a type names as its fields.
pub(crate) struct ApiHeaders<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + IntoParams + 'static> FromRequestParts<S>
    for ApiHeaders<T>
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Ok(Self(read_headers(&parts.headers)?))
    }
}

/// Reads the headers that a type names as its fields.
///
/// # Errors
/// A header is malformed, or is given more than once.
pub(crate) fn read_headers<T: DeserializeOwned + IntoParams + 'static>(
    headers: &HeaderMap,
) -> Result<T, FieldError> {
    let mut texts = Vec::new();
    for name in parameter_names::<T>().iter() {
        let mut values = headers.get_all(name.as_str()).iter();
        let Some(value) = values.next() else {
            continue;
        };
        if values.next().is_some() {
            return Err(repeated_header(name));
        }
        // What is not visible ASCII is in no header's form.
        let text = value.to_str().unwrap_or("\u{fffd}").trim().to_owned();
        texts.push((name.clone(), text));
    }
    read_parameters(texts, |_| None)
}

/// The names of the parameters of a type. They are read from its description once: that builds a schema.
fn parameter_names<T: IntoParams + 'static>() -> Arc<[String]> {
    static KNOWN: LazyLock<RwLock<HashMap<TypeId, Arc<[String]>>>> = LazyLock::new(RwLock::default);
    let id = TypeId::of::<T>();
    if let Some(names) = KNOWN.read().get(&id) {
        return Arc::clone(names);
    }
    let parameters = T::into_params(|| None).into_iter();
    let names: Arc<[String]> = parameters.map(|parameter| parameter.name).collect();
    KNOWN.write().insert(id, Arc::clone(&names));
    names
}

/// The description of a parameter.
fn parameter_description<T: IntoParams>(name: &str) -> Option<String> {
    T::into_params(|| None)
        .into_iter()
        .find(|parameter| parameter.name == name)?
        .description
}
