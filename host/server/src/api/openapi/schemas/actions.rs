//! The schemas of an action and of its parameters, field by field as `ark_model::action` serialises them. A test compares the two.

use std::borrow::Cow;

use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use ark_model::action::{
    Change, Criticality, DataOperation, Family, FileVerb, Parameters, Sensitivity, Side,
};

/// What somebody wants done. The requester is not part of it: that is a fact, attested by the host.
#[derive(ToSchema)]
#[schema(as = Action)]
pub(crate) struct ActionSchema {
    /// The action type, e.g. `buy`. The host refuses an action whose parameters are not of this type's family.
    action_type: String,
    /// The family of the parameters, where the action type alone does not say it: that of a declared action type with typed parameters.
    family: Option<Family>,
    /// The parameters.
    parameters: Parameters,
    /// The proposer's reasoning (rule 24).
    reasoning: Option<String>,
    /// The names of the data sources that the proposal is based on (rule 21).
    #[serde(default)]
    sources: Vec<String>,
    /// Whether the action can be undone; `true` when the request does not say.
    reversible: bool,
    /// How the action would be undone (rule 25).
    rollback_plan: Option<String>,
    /// Whether the action has an effect outside the host; absent: decided by its family (trades, code, file changes, data sent to a named
    /// destination and custom action types are external).
    external: Option<bool>,
    /// How much damage a mistake would do.
    criticality: Criticality,
}

/// The parameters of `trade`, `order`, `buy`, `sell` and `open_position`.
#[derive(ToSchema)]
#[schema(as = Trade)]
pub(crate) struct TradeSchema {
    /// The instrument, in the proposer's spelling, e.g. `BTC-USD`.
    symbol: String,
    /// The direction. The action types `buy` and `sell` imply it; for the others it is `buy` when the request names none.
    side: Side,
    /// The size as a fraction of capital, 0 to 1.
    position_size_pct: f64,
    /// The leverage, greater than 0; 1 when the request names none.
    leverage: f64,
    /// The price at which the proposer expects to enter, greater than 0.
    entry_price: Option<f64>,
    /// The price at which the position is closed at a loss. Any finite number is accepted here; rule 8 judges it.
    stop_loss: Option<f64>,
    /// The price at which the position is closed at a profit, greater than 0.
    take_profit: Option<f64>,
    /// Expected gain divided by possible loss, as the proposer states it; 0 or greater.
    risk_reward_ratio: Option<f64>,
    /// Whether the proposer says that the trade is based on material non-public information.
    #[serde(default)]
    material_nonpublic: bool,
    /// Whether the proposer says that the trade is meant to move the market.
    #[serde(default)]
    manipulative_intent: bool,
    /// Whether the proposer says that the trade runs ahead of a client's order.
    #[serde(default)]
    ahead_of_client_order: bool,
    /// Parameters without a field of their own, as the text of a JSON object.
    #[serde(default)]
    extra_json: String,
}

/// The parameters of `close_position`: closing an open position, in whole or in part. It reduces risk.
#[derive(ToSchema)]
#[schema(as = ClosePosition)]
pub(crate) struct ClosePositionSchema {
    /// The instrument, in the proposer's spelling.
    symbol: String,
    /// The part to close, as a fraction of capital, 0 to 1; absent: all of it.
    position_size_pct: Option<f64>,
    /// Parameters without a field of their own, as the text of a JSON object.
    #[serde(default)]
    extra_json: String,
}

/// The parameters of `data_handling`, `collect_data`, `store_data` and `share_data`.
#[derive(ToSchema)]
#[schema(as = DataHandling)]
pub(crate) struct DataHandlingSchema {
    /// The operation.
    operation: DataOperation,
    /// The person the data is about, as named in the list of consents.
    subject: Option<String>,
    /// Whether the proposer says that the data contains personal data.
    contains_personal_data: bool,
    /// The sensitivity; absent when the proposer does not state it.
    data_sensitivity: Option<Sensitivity>,
    /// Whether the data is encrypted.
    encryption: bool,
    /// Whether the data is anonymised.
    anonymized: bool,
    /// The name of the receiver; `internal` or absent: the data stays inside.
    destination: Option<String>,
    /// The purpose of the operation.
    purpose: Option<String>,
    /// The person's consent as the proposer reports it. Only `false` has an effect: a proposer cannot grant a consent.
    user_consent: Option<bool>,
    /// Parameters without a field of their own, as the text of a JSON object.
    #[serde(default)]
    extra_json: String,
}

/// The parameters of `file_operation`, `delete` and `remove`.
#[derive(ToSchema)]
#[schema(as = FileOperation)]
pub(crate) struct FileOperationSchema {
    /// The operation.
    operation: FileVerb,
    /// The path. The host normalises separators, `.` and `..` before the action is judged.
    path: String,
    /// Parameters without a field of their own, as the text of a JSON object.
    #[serde(default)]
    extra_json: String,
}

/// The parameters of `execute_code`.
#[derive(ToSchema)]
#[schema(as = ExecuteCode)]
pub(crate) struct ExecuteCodeSchema {
    /// The language of the code.
    language: Option<String>,
    /// The source text; not empty.
    code: String,
    /// Parameters without a field of their own, as the text of a JSON object.
    #[serde(default)]
    extra_json: String,
}

/// The parameters of `message`, `publish`, `report` and `log`.
#[derive(ToSchema)]
#[schema(as = Message)]
pub(crate) struct MessageSchema {
    /// The topic on which the message is published.
    topic: Option<String>,
    /// The only agent that receives the message; absent: every subscriber of the topic.
    to: Option<String>,
    /// The instrument that the message is about, in the proposer's spelling.
    symbol: Option<String>,
    /// A text for people.
    text: Option<String>,
    /// A JSON value for programs, as text.
    payload_json: Option<String>,
    /// Parameters without a field of their own, as the text of a JSON object.
    #[serde(default)]
    extra_json: String,
}

/// The parameters of an action of the system family. Such an action is judged and never carried out by the host.
#[derive(ToSchema)]
#[schema(as = SystemChange)]
pub(crate) struct SystemChangeSchema {
    /// The change.
    change: Change,
    /// All parameters, as the text of a JSON object.
    parameters_json: String,
}

/// The parameters of an action type that ARK does not know.
#[derive(ToSchema)]
#[schema(as = Custom)]
pub(crate) struct CustomSchema {
    /// The action type.
    kind: String,
    /// All parameters, as the text of a JSON object.
    parameters_json: String,
}

/// The parameters of an action: one case for each family.
pub(crate) struct ParametersSchema;

// `anyOf`, not `oneOf`: the parameters of a trade are also valid parameters of `close_position`.
impl PartialSchema for ParametersSchema {
    fn schema() -> RefOr<Schema> {
        let mut families = Vec::new();
        describe_families(&mut families);
        families
            .into_iter()
            .fold(AnyOfBuilder::new(), |any, (name, _)| {
                any.item(Ref::from_schema_name(name))
            })
            .into()
    }
}

impl ToSchema for ParametersSchema {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Parameters")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        describe_families(schemas);
        TradeSchema::schemas(schemas);
        DataHandlingSchema::schemas(schemas);
        FileOperationSchema::schemas(schemas);
        SystemChangeSchema::schemas(schemas);
    }
}

/// Adds the schema of each family's parameters.
fn describe_families(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    fn describe_schema<T: ToSchema>() -> (String, RefOr<Schema>) {
        (T::name().into_owned(), T::schema())
    }
    schemas.extend([
        describe_schema::<TradeSchema>(),
        describe_schema::<ClosePositionSchema>(),
        describe_schema::<DataHandlingSchema>(),
        describe_schema::<FileOperationSchema>(),
        describe_schema::<ExecuteCodeSchema>(),
        describe_schema::<MessageSchema>(),
        describe_schema::<SystemChangeSchema>(),
        describe_schema::<CustomSchema>(),
    ]);
}
