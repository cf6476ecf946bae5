//! Extractors: a handler's arguments are its request, already read and checked.
//!
//! [`ApiPath`] and [`ApiQuery`] read any type that derives `Deserialize` and `IntoParams`, [`ApiHeaders`] one that is [`HeaderFields`] too; [`ApiJson`]
//! reads a body that is a [`RequestBody`]. A request that does not fit is answered with a problem document that names the field and the remedy; the
//! handler is not called. An unknown query parameter is refused (a misspelt `dry_run` must not be carried out), an unknown header is not.

use std::collections::HashSet;

use axum::extract::rejection::{QueryRejection, RawPathParamsRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use bytes::Bytes;
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
    /// Reads and checks the body.
    ///
    /// # Errors
    /// It is no JSON document; those of [`Self::from_document`].
    fn from_body(body: &[u8]) -> Result<Self, FieldError> {
        parse_json(body).and_then(Self::from_document)
    }

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
        let reading = {
            // The head ends here: what is held while the body is waited for makes the future of every call larger.
            let (parts, body) = request.into_parts();
            read_body(&parts.headers, body, BodyLimits::DEFAULT)
        };
        let body = reading.await?;
        let form = T::from_body(&body).map_err(T::convert_refusal)?;
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
    if parts.uri.query().is_none_or(str::is_empty) {
        return Ok(Vec::new());
    }
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

/// A type whose fields are headers.
pub(crate) trait HeaderFields {
    /// Lists the headers.
    fn list_fields() -> &'static [HeaderField];
}

/// A header that a type names as its field.
pub(crate) struct HeaderField {
    /// As it is documented, and as serde knows the field.
    name: String,
    header: HeaderName,
}

/// Makes types that derive `Deserialize` and `IntoParams` readable with [`ApiHeaders`].
macro_rules! header_fields {
    ($($name:ty),+ $(,)?) => {$(
        impl $crate::api::http::extract::HeaderFields for $name {
            fn list_fields() -> &'static [$crate::api::http::extract::HeaderField] {
                // Once: a description is a schema that is built.
                static FIELDS: std::sync::LazyLock<Vec<$crate::api::http::extract::HeaderField>> =
                    std::sync::LazyLock::new($crate::api::http::extract::describe_headers::<$name>);
                &FIELDS
            }
        }
    )+};
}
pub(crate) use header_fields;

/// The headers that the description of a type names.
pub(crate) fn describe_headers<T: IntoParams>() -> Vec<HeaderField> {
    T::into_params(|| None)
        .into_iter()
        .filter_map(|parameter| {
            let header = parameter.name.parse::<HeaderName>().ok()?;
            let name = parameter.name;
            Some(HeaderField { name, header })
        })
        .collect()
}

/// The headers that a type names as its fields.
pub(crate) struct ApiHeaders<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + HeaderFields> FromRequestParts<S> for ApiHeaders<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Ok(Self(read_headers(&parts.headers)?))
    }
}

/// Reads the headers that a type names as its fields.
///
/// # Errors
/// A header is malformed, or is given more than once.
fn read_headers<T: DeserializeOwned + HeaderFields>(headers: &HeaderMap) -> Result<T, FieldError> {
    let mut texts = Vec::new();
    for HeaderField { name, header } in T::list_fields() {
        let mut values = headers.get_all(header).iter();
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

/// The description of a parameter.
fn parameter_description<T: IntoParams>(name: &str) -> Option<String> {
    T::into_params(|| None)
        .into_iter()
        .find(|parameter| parameter.name == name)?
        .description
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::api::http::idempotency::IdempotencyHeader;
    use crate::api::http::preconditions::Preconditions;

    #[tokio::test]
    async fn a_query_may_be_empty() {
        for (uri, expected) in [
            ("/v1/lists", &[][..]),
            ("/v1/lists?", &[]),
            ("/v1/lists?&", &[]),
            ("/v1/lists?limit=1", &["limit"]),
        ] {
            let request = axum::http::Request::builder().uri(uri).body(());
            let (mut parts, ()) = request.unwrap().into_parts();
            let read = read_query(&mut parts, &()).await.unwrap();
            let names: Vec<&str> = read.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, expected, "{uri}");
            let fits = NoQuery::from_request_parts(&mut parts, &()).await.is_ok();
            assert_eq!(fits, expected.is_empty(), "{uri}");
        }
    }

    #[test]
    fn headers_are_read_by_their_documented_names_once() {
        let list = |fields: &[HeaderField]| -> Vec<(String, String)> {
            let names = |field: &HeaderField| (field.name.clone(), field.header.to_string());
            fields.iter().map(names).collect()
        };
        let pair = |name: &str| (name.to_owned(), name.to_ascii_lowercase());
        let listed = list(IdempotencyHeader::list_fields());
        assert_eq!(listed, [pair("Idempotency-Key")]);
        let listed = list(Preconditions::list_fields());
        assert_eq!(listed, [pair("If-Match"), pair("If-None-Match")]);

        let mut headers = HeaderMap::new();
        let read = |headers: &HeaderMap| -> Result<Option<String>, String> {
            let read = read_headers::<IdempotencyHeader>(headers);
            read.map_err(|error| error.to_string())?
                .or_field(None)
                .map_err(|problem| problem.detail().to_owned())
        };
        assert_eq!(read(&headers), Ok(None));
        headers.append("idempotency-key", HeaderValue::from_static(" one "));
        assert_eq!(read(&headers), Ok(Some("one".to_owned())));
        headers.append("idempotency-key", HeaderValue::from_static("two"));
        let repeated = repeated_header("Idempotency-Key").to_string();
        assert_eq!(read(&headers), Err(repeated));
    }
}
