//! The check of a whole action.

use crate::action::{
    Action, Change, ClosePosition, Custom, DataHandling, DataOperation, ExecuteCode, Family,
    FileOperation, FileVerb, Message, Parameters, Side, SystemChange, Trade,
};
use crate::ids::Name;

use super::error::FieldError;
use super::fields::{
    MAX_TEXT, canonical_json, check_action_type, check_extra_json, check_finite, check_fraction,
    check_label, check_not_negative, check_optional_label, check_optional_text, check_positive,
    check_symbol, check_text_length, check_topic,
};
use super::path::normalize_path;
use super::text::clip_for_error;

/// The most sources that one action may name.
pub const MAX_SOURCES: usize = 64;

/// Checks and normalises an action.
///
/// # Errors
/// The first field that is out of its documented range or form, or parameters that do not fit the action type.
pub fn check_action(mut action: Action) -> Result<Action, FieldError> {
    check_action_type(&action.action_type)?;
    let expected = Family::from_action_type(&action.action_type);
    let found = action.parameters.family();
    if found != expected {
        return Err(FieldError::new(
            "parameters",
            format!(
                "belong to the {found:?} family, and the action type `{}` to the {expected:?} family",
                action.action_type
            ),
            format!("give the parameters of the {expected:?} family"),
        ));
    }
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

fn check_trade(action_type: &str, trade: &mut Trade) -> Result<(), FieldError> {
    const FIELDS: &[&str] = &[
        "symbol",
        "side",
        "position_size_pct",
        "leverage",
        "entry_price",
        "stop_loss",
        "take_profit",
        "risk_reward_ratio",
        "material_nonpublic",
        "manipulative_intent",
        "ahead_of_client_order",
    ];
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
    check_extra_json(&mut trade.extra_json, FIELDS)
}

fn check_close_position(close: &mut ClosePosition) -> Result<(), FieldError> {
    check_symbol("parameters.symbol", &close.symbol)?;
    check_fraction("parameters.position_size_pct", close.position_size_pct)?;
    check_extra_json(&mut close.extra_json, &["symbol", "position_size_pct"])
}

fn check_data(action_type: &str, data: &mut DataHandling) -> Result<(), FieldError> {
    const FIELDS: &[&str] = &[
        "operation",
        "subject",
        "contains_personal_data",
        "data_sensitivity",
        "encryption",
        "anonymized",
        "destination",
        "purpose",
        "user_consent",
    ];
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
    check_extra_json(&mut data.extra_json, FIELDS)
}

fn check_file(action_type: &str, file: &mut FileOperation) -> Result<(), FieldError> {
    let implied = FileVerb::from_action_type(action_type);
    // Destroying is deleting and removing too.
    if implied.is_some_and(|verb| ![verb, FileVerb::Destroy].contains(&file.operation)) {
        return Err(contradiction_error("parameters.operation", action_type));
    }
    file.path = normalize_path(&file.path)?;
    check_extra_json(&mut file.extra_json, &["operation", "path"])
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
    check_extra_json(&mut code.extra_json, &["language", "code"])
}

fn check_message(message: &mut Message) -> Result<(), FieldError> {
    const FIELDS: &[&str] = &["topic", "to", "symbol", "text", "payload"];
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
    check_extra_json(&mut message.extra_json, FIELDS)
}

fn check_system(action_type: &str, system: &mut SystemChange) -> Result<(), FieldError> {
    if Change::from_action_type(action_type) != Some(system.change) {
        return Err(contradiction_error("parameters.change", action_type));
    }
    check_extra_json(&mut system.parameters_json, &[])
}

fn check_custom(action_type: &str, custom: &mut Custom) -> Result<(), FieldError> {
    if custom.kind != action_type {
        return Err(contradiction_error("parameters.kind", action_type));
    }
    check_extra_json(&mut custom.parameters_json, &[])
}

fn contradiction_error(field: &str, action_type: &str) -> FieldError {
    FieldError::new(
        field,
        format!("contradicts the action type `{action_type}`"),
        "leave it out, or make the two agree",
    )
}
