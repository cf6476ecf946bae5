//! The parameters of each family of action types, with a typed field for everything that a rule reads.

use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentType, Lift, Lower};

/// The direction of a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Side {
    /// Opens or adds to a long position.
    #[component(name = "buy")]
    Buy,
    /// Opens or adds to a short position, or reduces a long one.
    #[component(name = "sell")]
    Sell,
}

impl Side {
    /// Returns the name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// How sensitive data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[derive(strum::VariantArray)]
pub enum Sensitivity {
    /// A leak does no harm.
    #[component(name = "low")]
    Low,
    /// A leak does limited harm.
    #[component(name = "medium")]
    Medium,
    /// A leak does serious harm: the data must be encrypted (rule 18).
    #[component(name = "high")]
    High,
}

/// The parameters of `trade`, `order`, `buy`, `sell` and `open_position`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Trade {
    /// The instrument, in the proposer's spelling, e.g. `BTC-USD`.
    pub symbol: String,
    /// The direction. The action types `buy` and `sell` imply it; for the others it is `buy` when the request names none.
    pub side: Side,
    /// The size as a fraction of capital, 0 to 1.
    #[component(name = "position-size-pct")]
    pub position_size_pct: f64,
    /// The leverage, greater than 0; 1 when the request names none.
    pub leverage: f64,
    /// The price at which the proposer expects to enter, greater than 0.
    #[component(name = "entry-price")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_price: Option<f64>,
    /// The price at which the position is closed at a loss. Any finite number is accepted here; rule 8 judges it.
    #[component(name = "stop-loss")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_loss: Option<f64>,
    /// The price at which the position is closed at a profit, greater than 0.
    #[component(name = "take-profit")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take_profit: Option<f64>,
    /// Expected gain divided by possible loss, as the proposer states it; 0 or greater.
    #[component(name = "risk-reward-ratio")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_reward_ratio: Option<f64>,
    /// Whether the proposer says that the trade is based on material non-public information.
    #[component(name = "material-nonpublic")]
    #[serde(default)]
    pub material_nonpublic: bool,
    /// Whether the proposer says that the trade is meant to move the market.
    #[component(name = "manipulative-intent")]
    #[serde(default)]
    pub manipulative_intent: bool,
    /// Whether the proposer says that the trade runs ahead of a client's order.
    #[component(name = "ahead-of-client-order")]
    #[serde(default)]
    pub ahead_of_client_order: bool,
    /// Parameters without a field of their own, as the text of a JSON object.
    #[component(name = "extra-json")]
    #[serde(default = "empty_object", skip_serializing_if = "is_empty_object")]
    pub extra_json: String,
}

/// The parameters of `close_position`: closing an open position, in whole or in part. It reduces risk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(record)]
pub struct ClosePosition {
    /// The instrument, in the proposer's spelling.
    pub symbol: String,
    /// The part to close, as a fraction of capital, 0 to 1; absent: all of it.
    #[component(name = "position-size-pct")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_size_pct: Option<f64>,
    /// Parameters without a field of their own, as the text of a JSON object.
    #[component(name = "extra-json")]
    #[serde(default = "empty_object", skip_serializing_if = "is_empty_object")]
    pub extra_json: String,
}

/// An operation on data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[derive(strum::VariantArray)]
pub enum DataOperation {
    /// `data_handling`: any operation except the three below.
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

/// The parameters of `data_handling`, `collect_data`, `store_data` and `share_data`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(record)]
pub struct DataHandling {
    /// The operation.
    pub operation: DataOperation,
    /// The person the data is about, as named in the list of consents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Whether the proposer says that the data contains personal data.
    #[component(name = "contains-personal-data")]
    pub contains_personal_data: bool,
    /// The sensitivity; absent when the proposer does not state it.
    #[component(name = "data-sensitivity")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_sensitivity: Option<Sensitivity>,
    /// Whether the data is encrypted.
    pub encryption: bool,
    /// Whether the data is anonymised.
    pub anonymized: bool,
    /// The name of the receiver; `internal` or absent: the data stays inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// The purpose of the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The person's consent as the proposer reports it. Only `false` has an effect: a proposer cannot grant a consent.
    #[component(name = "user-consent")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_consent: Option<bool>,
    /// Parameters without a field of their own, as the text of a JSON object.
    #[component(name = "extra-json")]
    #[serde(default = "empty_object", skip_serializing_if = "is_empty_object")]
    pub extra_json: String,
}

/// An operation on a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum FileVerb {
    /// Reads the file and changes nothing.
    #[component(name = "read")]
    Read,
    /// Creates or changes the file.
    #[component(name = "write")]
    Write,
    /// Deletes the file.
    #[component(name = "delete")]
    Delete,
    /// Deletes the file, as the action type `remove` names it.
    #[component(name = "remove")]
    Remove,
    /// Deletes the file so that it cannot be recovered.
    #[component(name = "destroy")]
    Destroy,
}

impl FileVerb {
    /// Returns the name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The parameters of `file_operation`, `delete` and `remove`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(record)]
pub struct FileOperation {
    /// The operation.
    pub operation: FileVerb,
    /// The path. The host normalises separators, `.` and `..` before the action is judged.
    pub path: String,
    /// Parameters without a field of their own, as the text of a JSON object.
    #[component(name = "extra-json")]
    #[serde(default = "empty_object", skip_serializing_if = "is_empty_object")]
    pub extra_json: String,
}

/// The parameters of `execute_code`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(record)]
pub struct ExecuteCode {
    /// The language of the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The source text; not empty.
    pub code: String,
    /// Parameters without a field of their own, as the text of a JSON object.
    #[component(name = "extra-json")]
    #[serde(default = "empty_object", skip_serializing_if = "is_empty_object")]
    pub extra_json: String,
}

/// The parameters of `message`, `publish`, `report` and `log`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Message {
    /// The topic on which the message is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The only agent that receives the message; absent: every subscriber of the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The instrument that the message is about, in the proposer's spelling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// A text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A JSON value for programs, as text.
    #[component(name = "payload-json")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_json: Option<String>,
    /// Parameters without a field of their own, as the text of a JSON object.
    #[component(name = "extra-json")]
    #[serde(default = "empty_object", skip_serializing_if = "is_empty_object")]
    pub extra_json: String,
}

/// A change of one of the host's own guards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[derive(strum::VariantArray)]
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

/// The parameters of an action of the system family. Such an action is judged and never carried out by the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(record)]
pub struct SystemChange {
    /// The change.
    pub change: Change,
    /// All parameters, as the text of a JSON object.
    #[component(name = "parameters-json")]
    pub parameters_json: String,
}

/// The parameters of an action type that ARK does not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Custom {
    /// The action type.
    pub kind: String,
    /// All parameters, as the text of a JSON object.
    #[component(name = "parameters-json")]
    pub parameters_json: String,
}

/// The parameters of an action: one case for each [`Family`](super::Family).
#[derive(Debug, Clone, PartialEq, Serialize, ComponentType, Lift, Lower)]
#[component(variant)]
#[serde(untagged)]
pub enum Parameters {
    /// See [`Trade`].
    #[component(name = "trade")]
    Trade(Trade),
    /// See [`ClosePosition`].
    #[component(name = "close-position")]
    ClosePosition(ClosePosition),
    /// See [`DataHandling`].
    #[component(name = "data")]
    Data(DataHandling),
    /// See [`FileOperation`].
    #[component(name = "file")]
    File(FileOperation),
    /// See [`ExecuteCode`].
    #[component(name = "code")]
    Code(ExecuteCode),
    /// See [`Message`].
    #[component(name = "message")]
    Message(Message),
    /// See [`SystemChange`].
    #[component(name = "system")]
    System(SystemChange),
    /// See [`Custom`].
    #[component(name = "custom")]
    Custom(Custom),
}

impl Parameters {
    /// Returns the parameters without a field of their own, as the text of a JSON object; `None`: the family has no typed fields.
    #[must_use]
    pub fn extra_json(&self) -> Option<&str> {
        match self {
            Self::Trade(trade) => Some(&trade.extra_json),
            Self::ClosePosition(close) => Some(&close.extra_json),
            Self::Data(data) => Some(&data.extra_json),
            Self::File(file) => Some(&file.extra_json),
            Self::Code(code) => Some(&code.extra_json),
            Self::Message(message) => Some(&message.extra_json),
            Self::System(_) | Self::Custom(_) => None,
        }
    }
}

fn empty_object() -> String {
    "{}".to_owned()
}

fn is_empty_object(json: &str) -> bool {
    json == "{}"
}
