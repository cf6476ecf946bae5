//! What is proposed: the Rust side of `ark:types/actions`.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use wasmtime::component::{ComponentType, Lift, Lower};

/// Which way a trade goes.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    ComponentType,
    Lift,
    Lower,
    ToSchema,
)]
#[component(enum)]
#[repr(u8)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Opens or adds to a long position.
    #[component(name = "buy")]
    Buy,
    /// Opens or adds to a short position, or reduces a long one.
    #[component(name = "sell")]
    Sell,
}

/// How delicate data is.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    ComponentType,
    Lift,
    Lower,
    ToSchema,
)]
#[component(enum)]
#[repr(u8)]
#[serde(rename_all = "snake_case")]
pub enum Sensitivity {
    /// Harmless when it leaks.
    #[component(name = "low")]
    Low,
    /// Embarrassing when it leaks.
    #[component(name = "medium")]
    Medium,
    /// Damaging when it leaks: must be encrypted (rule 18).
    #[component(name = "high")]
    High,
}

/// How much depends on an action, by its proposer's own account.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ComponentType, Lift, Lower,
)]
#[component(enum)]
#[repr(u8)]
#[serde(rename_all = "snake_case")]
#[derive(Default, ToSchema)]
pub enum Criticality {
    /// Nothing depends on it.
    #[component(name = "low")]
    Low,
    /// Ordinary business. The default.
    #[default]
    #[component(name = "normal")]
    Normal,
    /// A mistake would hurt.
    #[component(name = "high")]
    High,
    /// A mistake could not be borne: a human must approve it (rule 26).
    #[component(name = "critical")]
    Critical,
}

/// A trade: `trade`, `order`, `buy`, `sell` and `open_position`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower, ToSchema)]
#[component(record)]
pub struct Trade {
    /// The instrument, upper case, e.g. `BTC-USD`.
    pub symbol: String,
    /// Direction; implied by the action types `buy` and `sell`, else buy when none was given.
    pub side: Side,
    /// Size as a fraction of capital, 0 to 1.
    #[component(name = "position-size-pct")]
    pub position_size_pct: f64,
    /// Leverage; 1 when none was given. More than 0.
    pub leverage: f64,
    /// The price the proposer expects to enter at. More than 0.
    #[component(name = "entry-price")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_price: Option<f64>,
    /// The price at which the position is given up. May be 0 or negative: rule 8 judges it.
    #[component(name = "stop-loss")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_loss: Option<f64>,
    /// The price at which the profit is taken.
    #[component(name = "take-profit")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take_profit: Option<f64>,
    /// Expected gain over risked loss, as the proposer states it.
    #[component(name = "risk-reward-ratio")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_reward_ratio: Option<f64>,
    /// The proposer says that it rests on material non-public information.
    #[component(name = "material-nonpublic")]
    #[serde(default)]
    pub material_nonpublic: bool,
    /// The proposer says that it is meant to move the market.
    #[component(name = "manipulative-intent")]
    #[serde(default)]
    pub manipulative_intent: bool,
    /// The proposer says that it runs ahead of a client's order.
    #[component(name = "ahead-of-client-order")]
    #[serde(default)]
    pub ahead_of_client_order: bool,
    /// Parameters this record has no field for: a JSON object.
    #[component(name = "extra-json")]
    #[serde(default = "empty_object", skip_serializing_if = "is_empty_object")]
    pub extra_json: String,
}

/// Gives up an open position, wholly or in part. It reduces risk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower, ToSchema)]
#[component(record)]
pub struct ClosePosition {
    /// The instrument.
    pub symbol: String,
    /// How much to close, as a fraction of capital; all when absent.
    #[component(name = "position-size-pct")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_size_pct: Option<f64>,
    /// Parameters this record has no field for: a JSON object.
    #[component(name = "extra-json")]
    #[serde(default = "empty_object", skip_serializing_if = "is_empty_object")]
    pub extra_json: String,
}

/// What is done with data.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    ComponentType,
    Lift,
    Lower,
    ToSchema,
)]
#[component(enum)]
#[repr(u8)]
#[serde(rename_all = "snake_case")]
pub enum DataOperation {
    /// `data_handling`: anything else than the three below.
    #[component(name = "handle")]
    Handle,
    /// `collect_data`
    #[component(name = "collect")]
    Collect,
    /// `store_data`
    #[component(name = "store")]
    Store,
    /// `share_data`
    #[component(name = "share")]
    Share,
}

/// Handling data, perhaps somebody's personal data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower, ToSchema)]
#[component(record)]
pub struct DataHandling {
    /// What is done.
    pub operation: DataOperation,
    /// Whose data it is; consents are looked up by this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The proposer says that personal data is in it.
    #[component(name = "contains-personal-data")]
    pub contains_personal_data: bool,
    /// How delicate it is; absent when the proposer does not say.
    #[component(name = "data-sensitivity")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_sensitivity: Option<Sensitivity>,
    /// It is encrypted.
    pub encryption: bool,
    /// It is anonymised.
    pub anonymized: bool,
    /// Where it goes: `internal` (also when absent) or the name of the receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// What for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// Only `false` counts: a proposer cannot grant a consent, but can report its refusal.
    #[component(name = "user-consent")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_consent: Option<bool>,
    /// Parameters this record has no field for: a JSON object.
    #[component(name = "extra-json")]
    #[serde(default = "empty_object", skip_serializing_if = "is_empty_object")]
    pub extra_json: String,
}

/// What is done to a file.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    ComponentType,
    Lift,
    Lower,
    ToSchema,
)]
#[component(enum)]
#[repr(u8)]
#[serde(rename_all = "snake_case")]
pub enum FileVerb {
    /// Looks at it. Changes nothing.
    #[component(name = "read")]
    Read,
    /// Creates or changes it.
    #[component(name = "write")]
    Write,
    /// Deletes it.
    #[component(name = "delete")]
    Delete,
    /// Removes it; the same as delete, under its other name.
    #[component(name = "remove")]
    Remove,
    /// Deletes it beyond recovery.
    #[component(name = "destroy")]
    Destroy,
}

/// A file operation: `file_operation`, `delete` and `remove`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower, ToSchema)]
#[component(record)]
pub struct FileOperation {
    /// What is done.
    pub operation: FileVerb,
    /// The path, normalised by the host (separators, `.` and `..`) before it is judged.
    pub path: String,
    /// Parameters this record has no field for: a JSON object.
    #[component(name = "extra-json")]
    #[serde(default = "empty_object", skip_serializing_if = "is_empty_object")]
    pub extra_json: String,
}

/// Running code: `execute_code`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower, ToSchema)]
#[component(record)]
pub struct ExecuteCode {
    /// The language, when the proposer says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The source.
    pub code: String,
    /// Parameters this record has no field for: a JSON object.
    #[component(name = "extra-json")]
    #[serde(default = "empty_object", skip_serializing_if = "is_empty_object")]
    pub extra_json: String,
}

/// Saying something: `message`, `publish`, `report` and `log`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower, ToSchema)]
#[component(record)]
pub struct Message {
    /// The topic it is published on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The one agent it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The instrument it speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// Words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// One JSON value for machines.
    #[component(name = "payload-json")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_json: Option<String>,
    /// Parameters this record has no field for: a JSON object.
    #[component(name = "extra-json")]
    #[serde(default = "empty_object", skip_serializing_if = "is_empty_object")]
    pub extra_json: String,
}

/// An attempt on the system itself.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    ComponentType,
    Lift,
    Lower,
    ToSchema,
)]
#[component(enum)]
#[repr(u8)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// `modify_graveyard`
    #[component(name = "modify-graveyard")]
    ModifyGraveyard,
    /// `update_ethics`
    #[component(name = "update-ethics")]
    UpdateEthics,
    /// `change_rules`
    #[component(name = "change-rules")]
    ChangeRules,
    /// `disable_watchdog`
    #[component(name = "disable-watchdog")]
    DisableWatchdog,
    /// `disable_audit`
    #[component(name = "disable-audit")]
    DisableAudit,
    /// `clear_halt`
    #[component(name = "clear-halt")]
    ClearHalt,
    /// `override_user`
    #[component(name = "override-user")]
    OverrideUser,
}

/// A change of the system: judged, and never carried out by the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower, ToSchema)]
#[component(record)]
pub struct SystemChange {
    /// Which.
    pub change: Change,
    /// All its parameters: a JSON object.
    #[component(name = "parameters-json")]
    pub parameters_json: String,
}

/// An action of a kind that ARK does not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower, ToSchema)]
#[component(record)]
pub struct Custom {
    /// Its action type.
    pub kind: String,
    /// All its parameters: a JSON object.
    #[component(name = "parameters-json")]
    pub parameters_json: String,
}

/// The parameters, typed where a rule reads them.
#[derive(Debug, Clone, PartialEq, Serialize, ComponentType, Lift, Lower)]
#[component(variant)]
#[serde(untagged)]
pub enum Parameters {
    /// The trade family.
    #[component(name = "trade")]
    Trade(Trade),
    /// `close_position`
    #[component(name = "close-position")]
    ClosePosition(ClosePosition),
    /// The data family.
    #[component(name = "data")]
    Data(DataHandling),
    /// The file family.
    #[component(name = "file")]
    File(FileOperation),
    /// `execute_code`
    #[component(name = "code")]
    Code(ExecuteCode),
    /// The message family.
    #[component(name = "message")]
    Message(Message),
    /// The system family.
    #[component(name = "system")]
    System(SystemChange),
    /// Anything else.
    #[component(name = "custom")]
    Custom(Custom),
}

/// Which family it is, its required fields tell; a trade fits the form of a closing too, so `oneOf` would be wrong.
impl PartialSchema for Parameters {
    fn schema() -> RefOr<Schema> {
        let families = [
            Trade::name(),
            ClosePosition::name(),
            DataHandling::name(),
            FileOperation::name(),
            ExecuteCode::name(),
            Message::name(),
            SystemChange::name(),
            Custom::name(),
        ];
        families
            .into_iter()
            .fold(AnyOfBuilder::new(), |any, name| {
                any.item(Ref::from_schema_name(name))
            })
            .into()
    }
}

impl ToSchema for Parameters {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        fn add<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
            schemas.push((T::name().into_owned(), T::schema()));
            T::schemas(schemas);
        }
        add::<Trade>(schemas);
        add::<ClosePosition>(schemas);
        add::<DataHandling>(schemas);
        add::<FileOperation>(schemas);
        add::<ExecuteCode>(schemas);
        add::<Message>(schemas);
        add::<SystemChange>(schemas);
        add::<Custom>(schemas);
    }
}

/// A proposal. Who proposes it is no part of it: that is a fact, attested by the host.
#[derive(Debug, Clone, PartialEq, Serialize, ComponentType, Lift, Lower, ToSchema)]
#[component(record)]
pub struct Action {
    /// Its name, e.g. `buy`. It fits the case of `parameters`; the host refuses an action where it does not.
    #[component(name = "action-type")]
    pub action_type: String,
    /// The parameters.
    pub parameters: Parameters,
    /// Why (rule 24).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Names of the data sources it rests on (rule 21).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// It can be undone. True when the proposer does not say.
    pub reversible: bool,
    /// How it would be undone (rule 25).
    #[component(name = "rollback-plan")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_plan: Option<String>,
    /// It acts outside the host; absent: by kind (trades, code, file changes, data sent to a named destination and custom
    /// kinds are external).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<bool>,
    /// How much depends on it.
    pub criticality: Criticality,
}

/// The families of action types: which case of [`Parameters`] an action type fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// `trade order buy sell open_position`
    Trade,
    /// `close_position`
    ClosePosition,
    /// `data_handling collect_data store_data share_data`
    Data,
    /// `file_operation delete remove`
    File,
    /// `execute_code`
    Code,
    /// `message publish report log`
    Message,
    /// `modify_graveyard update_ethics change_rules disable_watchdog disable_audit clear_halt override_user`
    System,
    /// Anything else.
    Custom,
}

impl Family {
    /// The family of an action type.
    #[must_use]
    pub fn from_action_type(action_type: &str) -> Self {
        match action_type {
            "trade" | "order" | "buy" | "sell" | "open_position" => Self::Trade,
            "close_position" => Self::ClosePosition,
            "data_handling" | "collect_data" | "store_data" | "share_data" => Self::Data,
            "file_operation" | "delete" | "remove" => Self::File,
            "execute_code" => Self::Code,
            "message" | "publish" | "report" | "log" => Self::Message,
            "modify_graveyard" | "update_ethics" | "change_rules" | "disable_watchdog"
            | "disable_audit" | "clear_halt" | "override_user" => Self::System,
            _ => Self::Custom,
        }
    }
}

impl Parameters {
    /// The family these parameters belong to.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            Self::Trade(_) => Family::Trade,
            Self::ClosePosition(_) => Family::ClosePosition,
            Self::Data(_) => Family::Data,
            Self::File(_) => Family::File,
            Self::Code(_) => Family::Code,
            Self::Message(_) => Family::Message,
            Self::System(_) => Family::System,
            Self::Custom(_) => Family::Custom,
        }
    }
}

impl Action {
    /// Whether it can only make what is at risk smaller: closing a position, cancelling an order. Such actions go first when there is too
    /// much to judge.
    #[must_use]
    pub fn reduces_risk(&self) -> bool {
        matches!(self.parameters, Parameters::ClosePosition(_))
            || matches!(self.action_type.as_str(), "cancel" | "cancel_order")
    }

    /// The instrument the action concerns, if any.
    #[must_use]
    pub fn symbol(&self) -> Option<&str> {
        match &self.parameters {
            Parameters::Trade(trade) => Some(&trade.symbol),
            Parameters::ClosePosition(close) => Some(&close.symbol),
            Parameters::Message(message) => message.symbol.as_deref(),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Action {
    /// Reads what `Serialize` wrote: the canonical form in the audit log, not the request form (that is [`super::form`]). In a test vector
    /// what is ordinary can be left out.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Canonical {
            action_type: String,
            parameters: serde_json::Value,
            #[serde(default)]
            reasoning: Option<String>,
            #[serde(default)]
            sources: Vec<String>,
            #[serde(default = "yes")]
            reversible: bool,
            #[serde(default)]
            rollback_plan: Option<String>,
            #[serde(default)]
            external: Option<bool>,
            #[serde(default)]
            criticality: Criticality,
        }
        let canonical = Canonical::deserialize(deserializer)?;
        let value = canonical.parameters;
        let parameters = match Family::from_action_type(&canonical.action_type) {
            Family::Trade => Trade::deserialize(value).map(Parameters::Trade),
            Family::ClosePosition => {
                ClosePosition::deserialize(value).map(Parameters::ClosePosition)
            }
            Family::Data => DataHandling::deserialize(value).map(Parameters::Data),
            Family::File => FileOperation::deserialize(value).map(Parameters::File),
            Family::Code => ExecuteCode::deserialize(value).map(Parameters::Code),
            Family::Message => Message::deserialize(value).map(Parameters::Message),
            Family::System => SystemChange::deserialize(value).map(Parameters::System),
            Family::Custom => Custom::deserialize(value).map(Parameters::Custom),
        }
        .map_err(serde::de::Error::custom)?;
        Ok(Self {
            action_type: canonical.action_type,
            parameters,
            reasoning: canonical.reasoning,
            sources: canonical.sources,
            reversible: canonical.reversible,
            rollback_plan: canonical.rollback_plan,
            external: canonical.external,
            criticality: canonical.criticality,
        })
    }
}

const fn yes() -> bool {
    true
}

fn empty_object() -> String {
    "{}".to_owned()
}

fn is_empty_object(json: &str) -> bool {
    json == "{}"
}
