//! The check of a whole action.

use crate::action::{
    Action, Change, ClosePosition, Custom, DataHandling, DataOperation, ExecuteCode, Family,
    FileOperation, FileVerb, Message, Parameters, Side, SystemChange, Trade,
};
use crate::ids::Name;

use super::error::FieldError;
use super::fields::{
    MAX_TEXT, check_action_type, check_finite, check_fraction, check_label, check_not_negative,
    check_optional_label, check_optional_text, check_positive, check_symbol, check_text_length,
    check_topic,
};
use super::json::{canonical_json, check_extra_json};
use super::path::normalize_path;
use super::text::clip_for_error;

/// The most sources that one action may name.
pub const MAX_SOURCES: usize = 64;

/// Checks and normalises an action. Whether an action type that is not built in is declared, and for which family, is checked by
/// [`ActionTypes`](crate::action_types::ActionTypes).
///
/// # Errors
/// The first field that is out of its documented range or form, or parameters that do not fit the action type.
pub fn check_action(mut action: Action) -> Result<Action, FieldError> {
    check_action_type(&action.action_type)?;
    check_family(&action)?;
    check_optional_text("reasoning", action.reasoning.as_deref())?;
    check_optional_text("rollback_plan", action.rollback_plan.as_deref())?;
    if action.sources.len() > MAX_SOURCES {
        return Err(FieldError::new(
            "sources",
            format!("names {} sources", action.sources.len()),
            format!("name {MAX_SOURCES} at most"),
        ));
    }
    for (index, source) in action.sources.iter().enumerate() {
        check_label(&format!("sources[{index}]"), source)?;
    }
    let action_type = &action.action_type;
    match &mut action.parameters {
        Parameters::Trade(trade) => check_trade(action_type, trade),
        Parameters::ClosePosition(close) => check_close_position(close),
        Parameters::Data(data) => check_data(action_type, data),
        Parameters::File(file) => check_file(action_type, file),
        Parameters::Code(code) => check_code(code),
        Parameters::Message(message) => check_message(message),
        Parameters::System(system) => check_system(action_type, system),
        Parameters::Custom(custom) => check_custom(action_type, custom),
    }?;
    Ok(action)
}

/// Checks that the parameters belong to the family of a built-in action type. Any other type may have those of every family but system.
fn check_family(action: &Action) -> Result<(), FieldError> {
    let action_type = &action.action_type;
    let found = action.parameters.family();
    let (problem, remedy) = match Family::of_built_in(action_type) {
        Some(expected) if expected != found => (
            format!(
                "belong to the {found} family, and the action type `{action_type}` to the {expected} family"
            ),
            format!("give the parameters of the {expected} family"),
        ),
        None if found == Family::System => (
            format!("belong to the system family, and the action type `{action_type}` does not"),
            "give the parameters of another family".to_owned(),
        ),
        _ => return Ok(()),
    };
    Err(FieldError::new("parameters", problem, remedy))
}

fn check_trade(action_type: &str, trade: &mut Trade) -> Result<(), FieldError> {
    check_symbol("parameters.symbol", &trade.symbol)?;
    if Side::from_action_type(action_type).is_some_and(|side| side != trade.side) {
        return Err(FieldError::new(
            "parameters.side",
            format!("contradicts the action type `{action_type}`"),
            "leave it out, or use the action type trade",
        ));
    }
    check_fraction(
        "parameters.position_size_pct",
        Some(trade.position_size_pct),
    )?;
    check_positive("parameters.leverage", Some(trade.leverage))?;
    check_positive("parameters.entry_price", trade.entry_price)?;
    check_finite("parameters.stop_loss", trade.stop_loss)?;
    check_positive("parameters.take_profit", trade.take_profit)?;
    check_not_negative("parameters.risk_reward_ratio", trade.risk_reward_ratio)?;
    check_extra_json(&mut trade.extra_json, Family::Trade)
}

fn check_close_position(close: &mut ClosePosition) -> Result<(), FieldError> {
    check_symbol("parameters.symbol", &close.symbol)?;
    check_fraction("parameters.position_size_pct", close.position_size_pct)?;
    check_extra_json(&mut close.extra_json, Family::ClosePosition)
}

fn check_data(action_type: &str, data: &mut DataHandling) -> Result<(), FieldError> {
    let implied = DataOperation::from_action_type(action_type);
    if implied.is_some_and(|operation| operation != data.operation) {
        return Err(contradiction_error("parameters.operation", action_type));
    }
    for (field, value) in [
        ("parameters.subject", &data.subject),
        ("parameters.destination", &data.destination),
        ("parameters.purpose", &data.purpose),
    ] {
        check_optional_label(field, value.as_deref())?;
    }
    check_extra_json(&mut data.extra_json, Family::Data)
}

fn check_file(action_type: &str, file: &mut FileOperation) -> Result<(), FieldError> {
    let implied = FileVerb::from_action_type(action_type);
    // Destroying is deleting and removing too.
    if implied.is_some_and(|verb| ![verb, FileVerb::Destroy].contains(&file.operation)) {
        return Err(contradiction_error("parameters.operation", action_type));
    }
    file.path = normalize_path(&file.path)?;
    check_extra_json(&mut file.extra_json, Family::File)
}

fn check_code(code: &mut ExecuteCode) -> Result<(), FieldError> {
    check_optional_label("parameters.language", code.language.as_deref())?;
    if code.code.is_empty() {
        return Err(FieldError::new(
            "parameters.code",
            "is empty",
            "give the source text",
        ));
    }
    check_text_length("parameters.code", &code.code, MAX_TEXT)?;
    check_extra_json(&mut code.extra_json, Family::Code)
}

fn check_message(message: &mut Message) -> Result<(), FieldError> {
    if let Some(topic) = &message.topic {
        check_topic("parameters.topic", topic)?;
        if topic.starts_with("ark.") {
            return Err(FieldError::new(
                "parameters.topic",
                "starts with `ark.`, which is reserved for the host",
                "use another topic",
            ));
        }
    }
    if let Some(to) = &message.to
        && to.parse::<Name>().is_err()
    {
        return Err(FieldError::new(
            "parameters.to",
            format!("is {:?}, not the name of an agent", clip_for_error(to)),
            "give 1 to 64 of a-z, 0-9, '-', '_', starting with a letter",
        ));
    }
    if let Some(symbol) = &message.symbol {
        check_symbol("parameters.symbol", symbol)?;
    }
    check_optional_text("parameters.text", message.text.as_deref())?;
    if let Some(payload) = &mut message.payload_json {
        *payload = canonical_json("parameters.payload", payload)?.to_string();
    }
    check_extra_json(&mut message.extra_json, Family::Message)
}

fn check_system(action_type: &str, system: &mut SystemChange) -> Result<(), FieldError> {
    if Change::from_action_type(action_type) != Some(system.change) {
        return Err(contradiction_error("parameters.change", action_type));
    }
    check_extra_json(&mut system.parameters_json, Family::System)
}

fn check_custom(action_type: &str, custom: &mut Custom) -> Result<(), FieldError> {
    if custom.kind != action_type {
        return Err(contradiction_error("parameters.kind", action_type));
    }
    check_extra_json(&mut custom.parameters_json, Family::Custom)
}

fn contradiction_error(field: &str, action_type: &str) -> FieldError {
    FieldError::new(
        field,
        format!("contradicts the action type `{action_type}`"),
        "leave it out, or make the two agree",
    )
}
