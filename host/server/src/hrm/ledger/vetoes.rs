//! What the action type in a veto covers.
//!
//! A veto holds for what is done, not for a word: another name for the same thing does not get past it. So the general words of a family cover
//! the family, with the declared action types of that family, and the words that say what is done cover whatever does that.
//!
//! Must not know: how vetoes are stored, who put them.

use ark_model::action::{Action, DataOperation, Family, FileVerb, Parameters, Side};
use ark_model::action_types::ActionTypes;
use ark_model::check::FieldError;

/// The actions that the action type of a veto covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum VetoScope {
    /// Every action with the parameters of a family.
    Family(Family),
    /// Every trade on a side.
    Side(Side),
    /// Every operation of this kind on data.
    DataOperation(DataOperation),
    /// Every deletion of a file, whichever word it uses.
    Deletion,
    /// The actions of this type.
    Type(String),
}

impl VetoScope {
    /// Returns what an action type covers in a veto.
    pub(super) fn of(action_type: &str) -> Self {
        if let Some(side) = Side::from_action_type(action_type) {
            return Self::Side(side);
        }
        if let Some(operation) = DataOperation::from_action_type(action_type) {
            return Self::DataOperation(operation);
        }
        if FileVerb::from_action_type(action_type).is_some() {
            return Self::Deletion;
        }
        match Family::of_built_in(action_type) {
            // Three words for the same thing.
            Some(Family::Trade) => Self::Family(Family::Trade),
            Some(family @ (Family::ClosePosition | Family::Data | Family::File | Family::Code)) => {
                Self::Family(family)
            }
            Some(Family::Message) if action_type == "message" => Self::Family(Family::Message),
            // `publish`, `report` and `log` differ in the word alone, as declared types do.
            Some(Family::Message | Family::System | Family::Custom) | None => {
                Self::Type(action_type.to_owned())
            }
        }
    }

    /// Returns whether it covers an action.
    pub(super) fn covers(&self, action: &Action) -> bool {
        match (self, &action.parameters) {
            (Self::Family(family), parameters) => parameters.family() == *family,
            (Self::Side(side), Parameters::Trade(trade)) => trade.side == *side,
            (Self::DataOperation(operation), Parameters::Data(data)) => {
                data.operation == *operation
            }
            (Self::Deletion, Parameters::File(file)) => matches!(
                file.operation,
                FileVerb::Delete | FileVerb::Remove | FileVerb::Destroy
            ),
            (Self::Type(action_type), _) => action.action_type == *action_type,
            (Self::Side(_) | Self::DataOperation(_) | Self::Deletion, _) => false,
        }
    }
}

/// Checks that a veto with these parts can match an action: its action type is built in or declared, and has an instrument if the veto names one.
///
/// # Errors
/// It can match none; the error names the field of the veto and the remedy.
pub fn check_veto(
    action_types: &ActionTypes,
    action_type: Option<&str>,
    symbol: Option<&str>,
) -> Result<(), FieldError> {
    let Some(action_type) = action_type else {
        return Ok(());
    };
    action_types.check_known("action_type", action_type)?;
    let family = action_types.find_family(action_type);
    let has_symbol = matches!(
        family,
        Some(Family::Trade | Family::ClosePosition | Family::Message)
    );
    if symbol.is_some() && !has_symbol {
        return Err(FieldError::new(
            "symbol",
            format!("is given, and an action of the type `{action_type}` concerns no instrument"),
            "leave it out, or name another action type",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use ark_model::form::parse_action;

    use super::*;

    fn action(action_type: &str, parameters: &Value) -> Action {
        let document = json!({"agent": "a", "action_type": action_type, "parameters": parameters});
        parse_action(document).unwrap().action
    }

    /// The same action under the name of a declared type.
    fn declared(name: &str, action: Action) -> Action {
        Action {
            action_type: name.to_owned(),
            ..action
        }
    }

    #[test]
    fn a_veto_covers_what_is_done_under_every_name() {
        let trade = |action_type: &str, side: &str| {
            let parameters = json!({"symbol": "X", "position_size_pct": 0.1, "side": side});
            action(action_type, &parameters)
        };
        let file = |verb: &str| action("file_operation", &json!({"path": "x", "operation": verb}));
        let data = |action_type: &str| action(action_type, &json!({}));
        let message = |action_type: &str| action(action_type, &json!({"text": "t"}));
        let actions = [
            ("trade buy", trade("trade", "buy")),
            ("trade sell", trade("trade", "sell")),
            ("order buy", trade("order", "buy")),
            ("open_position sell", trade("open_position", "sell")),
            ("buy", trade("buy", "buy")),
            ("sell", trade("sell", "sell")),
            (
                "place_order buy",
                declared("place_order", trade("trade", "buy")),
            ),
            (
                "close_position",
                action("close_position", &json!({"symbol": "X"})),
            ),
            (
                "flatten",
                declared("flatten", action("close_position", &json!({"symbol": "X"}))),
            ),
            ("data_handling", data("data_handling")),
            ("share_data", data("share_data")),
            ("export share", declared("export", data("share_data"))),
            ("file_operation read", file("read")),
            ("file_operation destroy", file("destroy")),
            ("file_operation remove", file("remove")),
            ("delete", action("delete", &json!({"path": "x"}))),
            ("purge", declared("purge", file("delete"))),
            (
                "execute_code",
                action("execute_code", &json!({"code": "1"})),
            ),
            ("message", message("message")),
            ("publish", message("publish")),
            ("clear_halt", action("clear_halt", &json!({}))),
            ("rebalance", action("rebalance", &json!({"side": "buy"}))),
        ];
        let trades: &[&str] = &[
            "trade buy",
            "trade sell",
            "order buy",
            "open_position sell",
            "buy",
            "sell",
            "place_order buy",
        ];
        let deletions: &[&str] = &[
            "file_operation destroy",
            "file_operation remove",
            "delete",
            "purge",
        ];
        for (word, covered) in [
            ("trade", trades),
            ("order", trades),
            ("open_position", trades),
            ("buy", &["trade buy", "order buy", "buy", "place_order buy"]),
            ("sell", &["trade sell", "open_position sell", "sell"]),
            ("place_order", &["place_order buy"]),
            ("close_position", &["close_position", "flatten"]),
            (
                "data_handling",
                &["data_handling", "share_data", "export share"],
            ),
            ("share_data", &["share_data", "export share"]),
            ("collect_data", &[]),
            (
                "file_operation",
                &[
                    "file_operation read",
                    "file_operation destroy",
                    "file_operation remove",
                    "delete",
                    "purge",
                ],
            ),
            ("delete", deletions),
            ("remove", deletions),
            ("execute_code", &["execute_code"]),
            ("message", &["message", "publish"]),
            ("publish", &["publish"]),
            ("clear_halt", &["clear_halt"]),
            ("rebalance", &["rebalance"]),
        ] {
            let scope = VetoScope::of(word);
            let found: Vec<&str> = actions
                .iter()
                .filter(|(_, action)| scope.covers(action))
                .map(|(name, _)| *name)
                .collect();
            assert_eq!(found, covered, "a veto on {word}");
        }
    }

    #[test]
    fn a_veto_that_can_match_nothing_names_its_part() {
        let types = ActionTypes::default();
        for (action_type, symbol, refused) in [
            (None, Some("X"), None),
            (Some("buy"), Some("X"), None),
            (Some("publish"), Some("X"), None),
            (Some("delete"), None, None),
            (Some("delete"), Some("X"), Some("symbol")),
            (Some("execute_code"), Some("X"), Some("symbol")),
            (Some("place_order"), None, Some("action_type")),
            (Some("Trade"), None, Some("action_type")),
            (Some("trade "), Some("X"), Some("action_type")),
            (Some(""), None, Some("action_type")),
        ] {
            let checked = check_veto(&types, action_type, symbol);
            let field = checked.as_ref().err().map(|error| error.field.as_str());
            assert_eq!(field, refused, "{action_type:?} {symbol:?}: {checked:?}");
        }
    }
}
