//! The schemas of ids, names, digests, times and shares, and of an observed value.

use std::borrow::Cow;

use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// Declares the schema of each text: its name in the document, its description there, and a pattern that accepts what `FromStr` of the type
/// accepts.
macro_rules! texts {
    ($($schema:ident: $name:literal, $description:literal, $pattern:literal;)+) => {$(
        #[doc = $description]
        pub(crate) struct $schema;

        impl PartialSchema for $schema {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .description(Some($description))
                    .pattern(Some($pattern))
                    .into()
            }
        }

        impl ToSchema for $schema {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }
        }
    )+};
}

texts! {
    DecisionIdSchema: "DecisionId", "The id of a decision: a UUID.", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
    AuditIdSchema: "AuditId", "The id of a row of the audit log: a UUID.", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
    SignalIdSchema: "SignalId", "The id of a signal: a UUID.", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
    OperationIdSchema: "OperationId", "The id of an operation: a UUID.", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
    TraceIdSchema: "TraceId", "A W3C trace id, not all zero.", "^(?!0{32})[0-9a-f]{32}$";
    DigestSchema: "Digest", "A SHA-256.", "^[0-9a-f]{64}$";
    NameSchema: "Name", "The name of an agent, a policy, a token or a consumer of the API.", "^[a-z][a-z0-9_-]{0,63}$";
}

/// A share of all traces, greater than 0 and at most 1. 0.05 is 5 %.
#[derive(ToSchema)]
#[schema(as = Share)]
pub(crate) struct ShareSchema(f64);

/// Milliseconds since the Unix epoch.
#[derive(ToSchema)]
#[schema(as = Millis)]
pub(crate) struct MillisSchema(u64);

/// An observed value, or a limit: null, a boolean, a number or a text.
pub(crate) struct ObservedValueSchema;

impl PartialSchema for ObservedValueSchema {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([
                Type::Null,
                Type::Boolean,
                Type::Number,
                Type::String,
            ]))
            .description(Some(
                "An observed value, or a limit: null, a boolean, a number or a text.",
            ))
            .into()
    }
}

impl ToSchema for ObservedValueSchema {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Observed")
    }
}
