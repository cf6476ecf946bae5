//! The requests that change operator policies.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use ark_model::check::FieldError;
use ark_model::ids::Digest;
use ark_model::policy::PolicyMode;
use ark_model::settings::Settings;

use crate::api::http::extract::{RequestBody, read_described, request_body};
use crate::api::http::fields::{
    Actor, JsonValue, Reason, RevisionNumber, VersionNumber, field_schema, integer_field,
};
use crate::api::v1::uploads::ComponentBytes;
use crate::policies::LAST_PLACE;

/// A policy's settings, of which it says itself what they may be. 64 KiB at most.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct PolicySettings(pub(super) Settings);

field_schema! {
    /// A policy's settings, of which it says itself what they may be. 64 KiB at most.
    PolicySettings => ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(utoipa::openapi::Ref::from_schema_name(JsonValue::name())))
}

integer_field! {
    /// A policy's place among the others: lower ones are asked first, equal ones by name.
    PolicyPlace("0 to 1000000; lower ones are asked first", 0..=u64::from(LAST_PLACE))
}

impl PolicyPlace {
    pub(super) fn to_number(self) -> u32 {
        u32::try_from(self.0).unwrap_or(LAST_PLACE)
    }
}

/// A version of an operator policy: its component pinned by its digest. The component may have 64 MiB.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyUploadRequest {
    /// The component in standard Base64 with padding.
    pub(super) component: ComponentBytes,
    /// The component's SHA-256.
    pub(super) sha256: Digest,
    /// The component's signature, as `ark policy sign` or `ark policy pull --verify-key` writes it. Needed where the host demands one.
    pub(super) signature: Option<String>,
    /// Its settings; none if left out.
    pub(super) settings: Option<PolicySettings>,
    /// Whether its verdicts count (`enforce`, also if left out) or are recorded and compared (`shadow`).
    pub(super) mode: Option<PolicyMode>,
    /// Its place among the others; as it was, or the last, if left out.
    #[serde(rename = "order")]
    pub(super) place: Option<PolicyPlace>,
    /// The revision that must still be the latest; 0: there must be none. In place of `If-Match` or `If-None-Match`.
    pub(super) expected_revision: Option<RevisionNumber>,
    /// Why, for the audit log.
    pub(super) reason: Option<Reason>,
    pub(super) by: Option<Actor>,
}

/// What is to be different of a policy whose component stays; at least one of settings, mode and order.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevisionFields {
    /// Its settings; `null`: none.
    #[serde(default, deserialize_with = "deserialize_given")]
    #[schema(value_type = Option<PolicySettings>)]
    pub(super) settings: Option<GivenSettings>,
    /// Whether its verdicts count (`enforce`) or are recorded and compared (`shadow`).
    pub(super) mode: Option<PolicyMode>,
    /// Its place among the others.
    #[serde(rename = "order")]
    pub(super) place: Option<PolicyPlace>,
    /// The revision that must still be the latest. In place of `If-Match`.
    pub(super) expected_revision: Option<RevisionNumber>,
    /// Why, for the audit log.
    pub(super) reason: Option<Reason>,
    pub(super) by: Option<Actor>,
}

/// Settings that are given, possibly as `null`.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct GivenSettings(pub(super) Option<PolicySettings>);

/// Tells `null` from a field that is left out.
fn deserialize_given<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<GivenSettings>, D::Error> {
    GivenSettings::deserialize(deserializer).map(Some)
}

/// [`RevisionFields`] of which at least one changes something.
pub(super) struct PolicyRevisionRequest(pub(super) RevisionFields);

impl PolicyRevisionRequest {
    /// The fields that change something, and whether `null` does.
    const CHANGES: [(&str, bool); 3] = [("settings", true), ("mode", false), ("order", false)];
}

impl RequestBody for PolicyRevisionRequest {
    fn from_document(document: Value) -> Result<Self, FieldError> {
        let fields: RevisionFields = read_described(document)?;
        if fields.settings.is_none() && fields.mode.is_none() && fields.place.is_none() {
            let remedy = "give some of settings (null: none), mode (enforce or shadow) and order";
            return Err(FieldError::new("body", "changes nothing", remedy));
        }
        Ok(Self(fields))
    }
}

impl PartialSchema for PolicyRevisionRequest {
    fn schema() -> RefOr<Schema> {
        let RefOr::T(Schema::Object(fields)) = RevisionFields::schema() else {
            return RevisionFields::schema();
        };
        let alternatives = Self::CHANGES.map(|(name, is_nullable)| {
            let mut object = fields.clone();
            object.required = vec![name.to_owned()];
            if !is_nullable && let Some(field) = object.properties.get_mut(name) {
                without_null(field);
            }
            object
        });
        let schema = alternatives
            .into_iter()
            .fold(AnyOfBuilder::new(), AnyOfBuilder::item);
        schema.description(fields.description.clone()).into()
    }
}

impl ToSchema for PolicyRevisionRequest {
    fn name() -> std::borrow::Cow<'static, str> {
        std::borrow::Cow::Borrowed("PolicyRevisionRequest")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        RevisionFields::schemas(schemas);
    }
}

/// The alternative of a schema that is not `null`.
fn without_null(schema: &mut RefOr<Schema>) {
    let alternative = match schema {
        RefOr::T(Schema::OneOf(one_of)) => {
            let mut items = one_of.items.iter();
            items.find(|item| matches!(item, RefOr::Ref(_))).cloned()
        }
        _ => None,
    };
    if let Some(alternative) = alternative {
        *schema = alternative;
    }
}

/// Which version is to be in force.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyRolloutRequest {
    /// The version's number (GET /v1/policies/{name}).
    pub(super) number: VersionNumber,
    /// Whether its verdicts count (`enforce`, also if left out) or are recorded and compared (`shadow`).
    pub(super) mode: Option<PolicyMode>,
    /// The revision that must still be the latest. In place of `If-Match`.
    pub(super) expected_revision: Option<RevisionNumber>,
    /// Why, for the audit log.
    pub(super) reason: Option<Reason>,
    pub(super) by: Option<Actor>,
}

/// The version that was enforced before is to be so again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyRollbackRequest {
    /// The revision that must still be the latest. In place of `If-Match`.
    pub(super) expected_revision: Option<RevisionNumber>,
    /// Why, for the audit log.
    pub(super) reason: Option<Reason>,
    pub(super) by: Option<Actor>,
}

request_body!(
    PolicyUploadRequest,
    PolicyRolloutRequest,
    PolicyRollbackRequest
);

/// What of a policy is taken out of force, unless all of it is.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnlyShadow {
    Shadow,
}

/// What is taken out of force, by whom and why.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct DeletePolicyQuery {
    /// Only what is on trial.
    #[param(inline)]
    pub(super) mode: Option<OnlyShadow>,
    /// The revision that must still be the latest. In place of `If-Match`.
    #[param(inline)]
    pub(super) expected_revision: Option<RevisionNumber>,
    /// Why, for the audit log.
    #[param(inline)]
    pub(super) reason: Option<Reason>,
    /// Who does it. With a token its name, which may be left out.
    #[param(inline)]
    pub(super) by: Option<Actor>,
}
