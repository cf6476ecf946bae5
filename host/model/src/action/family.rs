//! The families of action types, and what an action type alone says about the parameters.

use std::fmt;

use serde::{Deserialize, Serialize};
use strum::VariantArray;

use super::parameters::{
    Change, ClosePosition, Custom, DataHandling, DataOperation, ExecuteCode, FileOperation,
    FileVerb, Message, Parameters, Side, SystemChange, Trade,
};

/// A family of action types. It says which case of [`Parameters`] an action type fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Family {
    /// `trade`, `order`, `buy`, `sell`, `open_position`
    Trade,
    /// `close_position`
    ClosePosition,
    /// `data_handling`, `collect_data`, `store_data`, `share_data`
    Data,
    /// `file_operation`, `delete`, `remove`
    File,
    /// `execute_code`
    Code,
    /// `message`, `publish`, `report`, `log`
    Message,
    /// `modify_graveyard`, `update_ethics`, `change_rules`, `disable_watchdog`, `disable_audit`, `clear_halt`, `override_user`
    System,
    /// Action types without a typed parameter. None is built in: the operator declares them.
    Custom,
}

/// Every built-in action type with its family. What is not here is refused unless the operator declares it.
pub const BUILT_IN_TYPES: [(&str, Family); 25] = [
    ("trade", Family::Trade),
    ("order", Family::Trade),
    ("buy", Family::Trade),
    ("sell", Family::Trade),
    ("open_position", Family::Trade),
    ("close_position", Family::ClosePosition),
    ("data_handling", Family::Data),
    ("collect_data", Family::Data),
    ("store_data", Family::Data),
    ("share_data", Family::Data),
    ("file_operation", Family::File),
    ("delete", Family::File),
    ("remove", Family::File),
    ("execute_code", Family::Code),
    ("message", Family::Message),
    ("publish", Family::Message),
    ("report", Family::Message),
    ("log", Family::Message),
    ("modify_graveyard", Family::System),
    ("update_ethics", Family::System),
    ("change_rules", Family::System),
    ("disable_watchdog", Family::System),
    ("disable_audit", Family::System),
    ("clear_halt", Family::System),
    ("override_user", Family::System),
];

impl Family {
    /// Every family, in the order of declaration.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Returns the family of a built-in action type; `None` when the action type is not built in.
    #[must_use]
    pub fn of_built_in(action_type: &str) -> Option<Self> {
        BUILT_IN_TYPES
            .iter()
            .find(|(name, _)| *name == action_type)
            .map(|(_, family)| *family)
    }

    /// Returns the family that the name alone says: that of a built-in action type, else [`Family::Custom`].
    #[must_use]
    pub fn from_action_type(action_type: &str) -> Self {
        Self::of_built_in(action_type).unwrap_or(Self::Custom)
    }

    /// Returns the name in JSON and in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Parameters {
    /// Returns the family that these parameters belong to.
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

    /// Reads the canonical form of the parameters of a family.
    pub(super) fn from_canonical(
        family: Family,
        value: serde_json::Value,
    ) -> Result<Self, serde_json::Error> {
        match family {
            Family::Trade => Trade::deserialize(value).map(Self::Trade),
            Family::ClosePosition => ClosePosition::deserialize(value).map(Self::ClosePosition),
            Family::Data => DataHandling::deserialize(value).map(Self::Data),
            Family::File => FileOperation::deserialize(value).map(Self::File),
            Family::Code => ExecuteCode::deserialize(value).map(Self::Code),
            Family::Message => Message::deserialize(value).map(Self::Message),
            Family::System => SystemChange::deserialize(value).map(Self::System),
            Family::Custom => Custom::deserialize(value).map(Self::Custom),
        }
    }
}

impl Side {
    /// Returns the side that an action type implies; `None` when the parameters say it.
    #[must_use]
    pub fn from_action_type(action_type: &str) -> Option<Self> {
        match action_type {
            "buy" => Some(Self::Buy),
            "sell" => Some(Self::Sell),
            _ => None,
        }
    }
}

impl DataOperation {
    /// Returns the operation that an action type implies; `None` when the parameters say it.
    #[must_use]
    pub fn from_action_type(action_type: &str) -> Option<Self> {
        match action_type {
            "collect_data" => Some(Self::Collect),
            "store_data" => Some(Self::Store),
            "share_data" => Some(Self::Share),
            _ => None,
        }
    }
}

impl FileVerb {
    /// Returns the operation that an action type implies when its parameters name none; `None` when they must name one.
    #[must_use]
    pub fn from_action_type(action_type: &str) -> Option<Self> {
        match action_type {
            "delete" => Some(Self::Delete),
            "remove" => Some(Self::Remove),
            _ => None,
        }
    }
}

impl Change {
    /// Returns the change that an action type of the system family names; `None` for every other action type.
    #[must_use]
    pub fn from_action_type(action_type: &str) -> Option<Self> {
        Some(match action_type {
            "modify_graveyard" => Self::ModifyGraveyard,
            "update_ethics" => Self::UpdateEthics,
            "change_rules" => Self::ChangeRules,
            "disable_watchdog" => Self::DisableWatchdog,
            "disable_audit" => Self::DisableAudit,
            "clear_halt" => Self::ClearHalt,
            "override_user" => Self::OverrideUser,
            _ => return None,
        })
    }
}
