//! The host's checks of an action, for authors: the builders apply them, and so does the mock host to actions that were made without a builder.
//! The host checks every action again.
//!
//! Unlike the host, these checks normalise nothing.

use crate::instrument;

use super::{Action, Change, Error, Parameters, Side};

/// The longest reasoning, rollback plan, code, text or payload, in bytes.
const MAX_TEXT: usize = 64 * 1024;
/// The longest open parameters, in bytes.
const MAX_OPEN_JSON: usize = 16 * 1024;
/// The longest path, in bytes.
const MAX_PATH: usize = 4096;
/// The longest name of a source, subject, destination, purpose or language, in bytes.
const MAX_LABEL: usize = 256;
/// The most sources one action may name.
const MAX_SOURCES: usize = 64;

type Checked = Result<(), String>;

/// Checks whether the host would accept this action as a proposal. What the policies say of it, only [`Host::check`](super::Host::check) knows.
///
/// # Errors
/// [`Error::Failed`] names the action type, the first field that is out of range or malformed, and what would be right.
pub fn check_action(action: &Action) -> Result<(), Error> {
    check_fields(action).map_err(|problem| {
        Error::Failed(format!(
            "action {:?}: {problem}",
            clip_text(&action.action_type)
        ))
    })
}

fn check_fields(action: &Action) -> Checked {
    let action_type = action.action_type.as_str();
    if !is_name(action_type, 64, b"_.-") {
        return Err(
            "action_type: give 1 to 64 of a-z, 0-9, '_', '.', '-', starting with a letter"
                .to_owned(),
        );
    }
    if !matches_action_type(action_type, &action.parameters) {
        return Err(
            "parameters: are of another family than the action type, or contradict it".to_owned(),
        );
    }
    check_length("reasoning", action.reasoning.as_deref(), MAX_TEXT)?;
    check_length("rollback_plan", action.rollback_plan.as_deref(), MAX_TEXT)?;
    if action.sources.len() > MAX_SOURCES {
        return Err(format!(
            "sources: are {}; name {MAX_SOURCES} at most",
            action.sources.len()
        ));
    }
    for source in &action.sources {
        check_label("sources", Some(source))?;
    }
    check_parameters(&action.parameters)
}

/// Whether an action type may have these parameters.
fn matches_action_type(action_type: &str, parameters: &Parameters) -> bool {
    use super::{DataOperation as D, FileVerb as F};
    match (action_type, parameters) {
        ("buy", Parameters::Trade(trade)) => trade.side == Side::Buy,
        ("sell", Parameters::Trade(trade)) => trade.side == Side::Sell,
        ("trade" | "order" | "open_position", Parameters::Trade(_))
        | ("close_position", Parameters::ClosePosition(_))
        | ("data_handling", Parameters::Data(_))
        | ("file_operation", Parameters::File(_))
        | ("execute_code", Parameters::Code(_))
        | ("message" | "publish" | "report" | "log", Parameters::Message(_)) => true,
        ("collect_data", Parameters::Data(data)) => data.operation == D::Collect,
        ("store_data", Parameters::Data(data)) => data.operation == D::Store,
        ("share_data", Parameters::Data(data)) => data.operation == D::Share,
        ("delete", Parameters::File(file)) => matches!(file.operation, F::Delete | F::Destroy),
        ("remove", Parameters::File(file)) => matches!(file.operation, F::Remove | F::Destroy),
        (action_type, Parameters::System(system)) => action_type == change_name(system.change),
        (action_type, Parameters::Custom(custom)) => {
            action_type == custom.kind && !is_built_in(action_type)
        }
        // A declared action type; only the host knows for which family it is declared.
        _ => !is_built_in(action_type),
    }
}

/// The action type of a system change.
pub(super) fn change_name(change: Change) -> &'static str {
    match change {
        Change::ModifyGraveyard => "modify_graveyard",
        Change::UpdateEthics => "update_ethics",
        Change::ChangeRules => "change_rules",
        Change::DisableWatchdog => "disable_watchdog",
        Change::DisableAudit => "disable_audit",
        Change::ClearHalt => "clear_halt",
        Change::OverrideUser => "override_user",
    }
}

/// Whether an action type is built in, so that its name says the family of its parameters.
fn is_built_in(action_type: &str) -> bool {
    const KNOWN: [&str; 25] = [
        "trade",
        "order",
        "buy",
        "sell",
        "open_position",
        "close_position",
        "data_handling",
        "collect_data",
        "store_data",
        "share_data",
        "file_operation",
        "delete",
        "remove",
        "execute_code",
        "message",
        "publish",
        "report",
        "log",
        "modify_graveyard",
        "update_ethics",
        "change_rules",
        "disable_watchdog",
        "disable_audit",
        "clear_halt",
        "override_user",
    ];
    KNOWN.contains(&action_type)
}

#[expect(
    clippy::too_many_lines,
    reason = "one arm for each family of actions, each a list of its fields' checks"
)]
fn check_parameters(parameters: &Parameters) -> Checked {
    match parameters {
        Parameters::Trade(trade) => {
            check_symbol(&trade.symbol)?;
            check_fraction("position_size_pct", trade.position_size_pct)?;
            check_positive("leverage", Some(trade.leverage))?;
            check_positive("entry_price", trade.entry_price)?;
            check_number(
                "stop_loss",
                trade.stop_loss,
                f64::is_finite,
                "a finite number",
            )?;
            check_positive("take_profit", trade.take_profit)?;
            check_number(
                "risk_reward_ratio",
                trade.risk_reward_ratio,
                |it| it.is_finite() && it >= 0.0,
                "0 or more",
            )?;
            check_extra_json(
                &trade.extra_json,
                &[
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
                ],
            )
        }
        Parameters::ClosePosition(close) => {
            check_symbol(&close.symbol)?;
            close
                .position_size_pct
                .map_or(Ok(()), |size| check_fraction("position_size_pct", size))?;
            check_extra_json(&close.extra_json, &["symbol", "position_size_pct"])
        }
        Parameters::Data(data) => {
            check_label("subject", data.subject.as_deref())?;
            check_label("destination", data.destination.as_deref())?;
            check_label("purpose", data.purpose.as_deref())?;
            check_extra_json(
                &data.extra_json,
                &[
                    "operation",
                    "subject",
                    "contains_personal_data",
                    "data_sensitivity",
                    "encryption",
                    "anonymized",
                    "destination",
                    "purpose",
                    "user_consent",
                ],
            )
        }
        Parameters::File(file) => {
            if file.path.is_empty()
                || file.path.len() > MAX_PATH
                || file.path.chars().any(char::is_control)
            {
                return Err(format!(
                    "parameters.path: give 1 to {MAX_PATH} bytes without control characters"
                ));
            }
            check_extra_json(&file.extra_json, &["operation", "path"])
        }
        Parameters::Code(code) => {
            check_label("language", code.language.as_deref())?;
            if code.code.is_empty() {
                return Err("parameters.code: is empty; give the source text".to_owned());
            }
            check_length("parameters.code", Some(&code.code), MAX_TEXT)?;
            check_extra_json(&code.extra_json, &["language", "code"])
        }
        Parameters::Message(message) => {
            match message.topic.as_deref() {
                Some(topic) if !is_name(topic, 128, b"._-") => {
                    return Err(format!(
                        "parameters.topic: is {:?}; give 1 to 128 of a-z, 0-9, '.', '_', '-', starting with a letter",
                        clip_text(topic)
                    ));
                }
                Some(topic) if topic.starts_with("ark.") => {
                    return Err(
                        "parameters.topic: starts with `ark.`, which is the host's own; use another".to_owned(),
                    );
                }
                _ => {}
            }
            if let Some(to) = message.to.as_deref().filter(|to| !is_name(to, 64, b"-_")) {
                return Err(format!(
                    "parameters.to: is {:?}, not the name of an agent",
                    clip_text(to)
                ));
            }
            message.symbol.as_deref().map_or(Ok(()), check_symbol)?;
            check_length("parameters.text", message.text.as_deref(), MAX_TEXT)?;
            message.payload_json.as_deref().map_or(Ok(()), |payload| {
                parse_json("parameters.payload", payload).map(drop)
            })?;
            check_extra_json(
                &message.extra_json,
                &["topic", "to", "symbol", "text", "payload"],
            )
        }
        Parameters::System(system) => check_extra_json(&system.parameters_json, &[]),
        Parameters::Custom(custom) => check_extra_json(&custom.parameters_json, &[]),
    }
}

/// Whether a text is a name: a lower-case letter, then lower-case letters, digits and the bytes in `more`.
fn is_name(value: &str, longest: usize, more: &[u8]) -> bool {
    value.len() <= longest
        && value.starts_with(|first: char| first.is_ascii_lowercase())
        && value
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || more.contains(&b))
}

/// Whether the host would accept this symbol: see [`instrument::check_symbol`](crate::instrument::check_symbol), which says what is wrong with one.
#[must_use]
pub fn is_symbol(value: &str) -> bool {
    instrument::check_symbol(value).is_ok()
}

fn check_symbol(value: &str) -> Checked {
    instrument::check_symbol(value).map_err(|error| format!("parameters.symbol: {error}"))
}

fn check_number(
    field: &str,
    value: Option<f64>,
    right: impl Fn(f64) -> bool,
    remedy: &str,
) -> Checked {
    match value {
        Some(value) if !right(value) => {
            Err(format!("parameters.{field}: is {value}; give {remedy}"))
        }
        _ => Ok(()),
    }
}

fn check_fraction(field: &str, value: f64) -> Checked {
    let remedy = "a number from 0 to 1: a fraction of capital, 0.05 is 5 %";
    check_number(field, Some(value), |it| (0.0..=1.0).contains(&it), remedy)
}

fn check_positive(field: &str, value: Option<f64>) -> Checked {
    check_number(
        field,
        value,
        |it| it.is_finite() && it > 0.0,
        "a finite number greater than 0",
    )
}

fn check_length(field: &str, value: Option<&str>, longest: usize) -> Checked {
    match value {
        Some(value) if value.len() > longest => Err(format!(
            "{field}: is {} bytes long; give {longest} at most",
            value.len()
        )),
        _ => Ok(()),
    }
}

fn check_label(field: &str, value: Option<&str>) -> Checked {
    let fits = |it: &str| (1..=MAX_LABEL).contains(&it.len()) && !it.chars().any(char::is_control);
    match value {
        Some(value) if !fits(value) => Err(format!(
            "{field}: is {:?}; give 1 to {MAX_LABEL} bytes of plain text",
            clip_text(value)
        )),
        _ => Ok(()),
    }
}

/// Checks the parameters that have no type: one JSON object, without the keys of typed parameters.
fn check_extra_json(value: &str, typed: &[&str]) -> Checked {
    check_length("parameters", Some(value), MAX_OPEN_JSON)?;
    let value = parse_json("parameters", value)?;
    let Some(object) = value.as_object() else {
        return Err("parameters: the extra parameters are not a JSON object".to_owned());
    };
    match typed.iter().find(|key| object.contains_key(**key)) {
        Some(key) => Err(format!(
            "parameters.{key}: is given both as a typed and as an extra parameter; give it once, typed"
        )),
        None => Ok(()),
    }
}

/// Parses one JSON value of no more than the longest text.
pub(super) fn parse_json(field: &str, value: &str) -> Result<serde_json::Value, String> {
    check_length(field, Some(value), MAX_TEXT)?;
    serde_json::from_str(value).map_err(|error| format!("{field}: is not JSON: {error}"))
}

/// The first 60 characters of a text, for an error message.
pub(super) fn clip_text(value: &str) -> String {
    value.chars().take(60).collect()
}
