//! The schemas of an agent's limits and of a `[limits]` table, made from the declaration of the limits (`ark_runtime::Limits::KEYS`).

use std::borrow::Cow;

use utoipa::openapi::schema::{AdditionalProperties, SchemaType};
use utoipa::openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use ark_runtime::{LimitKey, Limits, Quotas};

/// The description of the limits of an agent.
const LIMITS: &str = "The limits of one agent's invocations. All of them are always in force: no value switches one off.\n\n\
    An invocation that reaches a limit ends and has no effect, unless the documentation of the limit says otherwise. The failure names\n\
    the limit. The limits of policies are constants of the host but for `capacity.policy_fuel`, since their evaluations must be reproducible.";

/// The description of a `[limits]` table.
const LIMITS_TABLE: &str = "A `[limits]` table. In `ark.toml` it sets the operator's ceiling, and an absent limit has its default. \
    In a manifest it tightens the\nceiling for one agent, and an absent limit stays at the ceiling.";

/// The description of a `[quotas]` table.
const QUOTAS_TABLE: &str = "A `[quotas]` table of a manifest. It tightens the operator's quotas for one agent; an absent quota stays as the operator set it.";

/// All limits, each with a value.
pub(crate) struct LimitsSchema;

impl PartialSchema for LimitsSchema {
    fn schema() -> RefOr<Schema> {
        Limits::KEYS
            .iter()
            .fold(ObjectBuilder::new(), |object, key| {
                object
                    .property(key.name, describe_limit(key, Type::Integer.into()))
                    .required(key.name)
            })
            .description(Some(LIMITS))
            .into()
    }
}

impl ToSchema for LimitsSchema {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Limits")
    }
}

/// A table that gives some limits.
pub(crate) struct LimitsTableSchema;

impl PartialSchema for LimitsTableSchema {
    fn schema() -> RefOr<Schema> {
        let optional = || SchemaType::from_iter([Type::Integer, Type::Null]);
        Limits::KEYS
            .iter()
            .fold(ObjectBuilder::new(), |object, key| {
                object.property(key.name, describe_limit(key, optional()))
            })
            .description(Some(LIMITS_TABLE))
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
            .into()
    }
}

impl ToSchema for LimitsTableSchema {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("LimitsTable")
    }
}

/// A table that gives some quotas.
pub(crate) struct QuotasTableSchema;

impl PartialSchema for QuotasTableSchema {
    fn schema() -> RefOr<Schema> {
        Quotas::KEYS
            .iter()
            .fold(ObjectBuilder::new(), |object, key| {
                let kind = SchemaType::from_iter([Type::Integer, Type::Null]);
                let format = Some(SchemaFormat::KnownFormat(KnownFormat::Int64));
                object.property(
                    key.name,
                    ObjectBuilder::new()
                        .schema_type(kind)
                        .format(format)
                        .minimum(Some(0))
                        .description(Some(join_lines(key.documentation))),
                )
            })
            .description(Some(QUOTAS_TABLE))
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
            .into()
    }
}

impl ToSchema for QuotasTableSchema {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("QuotasTable")
    }
}

/// The lines of a documentation comment as one text.
fn join_lines(documentation: &str) -> String {
    let lines: Vec<&str> = documentation.trim_end().lines().map(str::trim).collect();
    lines.join("\n")
}

/// The schema of one limit. Its documentation is the description.
fn describe_limit(key: &LimitKey, kind: SchemaType) -> ObjectBuilder {
    let format = match key.value_type {
        "u64" => Some(KnownFormat::Int64),
        "u32" => Some(KnownFormat::Int32),
        _ => None,
    };
    ObjectBuilder::new()
        .schema_type(kind)
        .format(format.map(SchemaFormat::KnownFormat))
        .minimum(Some(0))
        .description(Some(join_lines(key.documentation)))
}
