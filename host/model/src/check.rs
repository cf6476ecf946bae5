//! What makes an action judgeable: every number finite and in its range, every text within its length, every name in its form. The
//! one gate for both ways in: the request form over HTTP and the typed form from a guest.
//!
//! [`check`] also normalises what rules compare (symbols to upper case, paths lexically), so that another spelling cannot slip
//! past a rule that looks a name up.

use super::action::{Action, Change, DataOperation, Family, FileVerb, Parameters, Side};

/// The longest reasoning, rollback plan, code, message text or JSON parameter, in bytes.
pub const MAX_TEXT: usize = 64 * 1024;
/// The longest open parameters, in bytes: what the Graveyard can read within its fuel, names of attempts on a guard in every key included.
pub const MAX_OPEN_JSON: usize = 16 * 1024;
/// The longest path, in bytes (`PATH_MAX` on Linux).
pub const MAX_PATH: usize = 4096;
/// The longest name of a source, subject, destination, purpose or language, in bytes.
pub const MAX_LABEL: usize = 256;
/// The most sources one action may name.
pub const MAX_SOURCES: usize = 64;

/// An input that cannot be judged: which field, what is wrong with it, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}; {remedy}")]
pub struct FieldError {
    /// The field, as a dotted path, e.g. `parameters.position_size_pct`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
}

impl FieldError {
    /// A new error.
    pub fn new(
        field: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// Checks and normalises an action.
///
/// # Errors
/// The first field that is out of its documented range or form, or parameters that do not fit the action type.
pub fn check_action(mut action: Action) -> Result<Action, FieldError> {
    check_action_type(&action.action_type)?;
    let family = Family::from_action_type(&action.action_type);
    if action.parameters.family() != family {
        return Err(FieldError::new(
            "parameters",
            format!(
                "are of the {:?} family, which `{}` is not",
                action.parameters.family(),
                action.action_type
            ),
            format!("give the parameters of the {family:?} family"),
        ));
    }
    check_optional_text("reasoning", action.reasoning.as_deref(), MAX_TEXT)?;
    check_optional_text("rollback_plan", action.rollback_plan.as_deref(), MAX_TEXT)?;
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
    check_parameters(&action.action_type, &mut action.parameters)?;
    Ok(action)
}

fn check_action_type(action_type: &str) -> Result<(), FieldError> {
    let fits = action_type.len() <= 64
        && action_type.starts_with(|c: char| c.is_ascii_lowercase())
        && action_type.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'.' || b == b'-'
        });
    if fits {
        return Ok(());
    }
    let problem = if action_type.is_empty() {
        "is empty".to_owned()
    } else {
        format!("is {:?}", clip_for_error(action_type))
    };
    Err(FieldError::new(
        "action_type",
        problem,
        "give 1 to 64 of a-z, 0-9, '_', '.', '-', starting with a letter, e.g. trade",
    ))
}

fn check_parameters(action_type: &str, parameters: &mut Parameters) -> Result<(), FieldError> {
    match parameters {
        Parameters::Trade(trade) => {
            normalize_symbol(&mut trade.symbol)?;
            let implied = match action_type {
                "buy" => Some(Side::Buy),
                "sell" => Some(Side::Sell),
                _ => None,
            };
            if implied.is_some_and(|side| side != trade.side) {
                return Err(FieldError::new(
                    "parameters.side",
                    format!("contradicts the action type `{action_type}`"),
                    "leave it out, or use the action type trade",
                ));
            }
            check_fraction("parameters.position_size_pct", trade.position_size_pct)?;
            check_positive("parameters.leverage", Some(trade.leverage))?;
            check_positive("parameters.entry_price", trade.entry_price)?;
            check_finite("parameters.stop_loss", trade.stop_loss)?;
            check_positive("parameters.take_profit", trade.take_profit)?;
            check_not_negative("parameters.risk_reward_ratio", trade.risk_reward_ratio)?;
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
            check_extra_json(&mut trade.extra_json, FIELDS)
        }
        Parameters::ClosePosition(close) => {
            normalize_symbol(&mut close.symbol)?;
            if let Some(size) = close.position_size_pct {
                check_fraction("parameters.position_size_pct", size)?;
            }
            check_extra_json(&mut close.extra_json, &["symbol", "position_size_pct"])
        }
        Parameters::Data(data) => {
            let implied = match action_type {
                "collect_data" => DataOperation::Collect,
                "store_data" => DataOperation::Store,
                "share_data" => DataOperation::Share,
                _ => data.operation,
            };
            if implied != data.operation {
                return Err(contradiction_error("parameters.operation", action_type));
            }
            for (field, value) in [
                ("parameters.subject", &data.subject),
                ("parameters.destination", &data.destination),
                ("parameters.purpose", &data.purpose),
            ] {
                check_optional_label(field, value.as_deref())?;
            }
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
            check_extra_json(&mut data.extra_json, FIELDS)
        }
        Parameters::File(file) => {
            let fits = match action_type {
                "delete" => matches!(file.operation, FileVerb::Delete | FileVerb::Destroy),
                "remove" => matches!(file.operation, FileVerb::Remove | FileVerb::Destroy),
                _ => true,
            };
            if !fits {
                return Err(contradiction_error("parameters.operation", action_type));
            }
            file.path = normalize_path(&file.path)?;
            check_extra_json(&mut file.extra_json, &["operation", "path"])
        }
        Parameters::Code(code) => {
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
        Parameters::Message(message) => {
            if let Some(topic) = &message.topic {
                check_topic("parameters.topic", topic)?;
                if topic.starts_with("ark.") {
                    return Err(FieldError::new(
                        "parameters.topic",
                        "starts with `ark.`, which is the host's own",
                        "use another topic",
                    ));
                }
            }
            if let Some(to) = &message.to
                && to.parse::<super::ids::Name>().is_err()
            {
                return Err(FieldError::new(
                    "parameters.to",
                    format!("is {:?}, not the name of an agent", clip_for_error(to)),
                    "give 1 to 64 of a-z, 0-9, '-', '_', starting with a letter",
                ));
            }
            if let Some(name) = &mut message.symbol {
                normalize_symbol(name)?;
            }
            check_optional_text("parameters.text", message.text.as_deref(), MAX_TEXT)?;
            if let Some(payload) = &mut message.payload_json {
                *payload = canonical_json("parameters.payload", payload)?.to_string();
            }
            check_extra_json(
                &mut message.extra_json,
                &["topic", "to", "symbol", "text", "payload"],
            )
        }
        Parameters::System(system) => {
            if system_change(action_type) != Some(system.change) {
                return Err(contradiction_error("parameters.change", action_type));
            }
            check_extra_json(&mut system.parameters_json, &[])
        }
        Parameters::Custom(custom) => {
            if custom.kind != action_type {
                return Err(contradiction_error("parameters.kind", action_type));
            }
            check_extra_json(&mut custom.parameters_json, &[])
        }
    }
}

/// The change that a system action type names.
#[must_use]
pub fn system_change(action_type: &str) -> Option<Change> {
    Some(match action_type {
        "modify_graveyard" => Change::ModifyGraveyard,
        "update_ethics" => Change::UpdateEthics,
        "change_rules" => Change::ChangeRules,
        "disable_watchdog" => Change::DisableWatchdog,
        "disable_audit" => Change::DisableAudit,
        "clear_halt" => Change::ClearHalt,
        "override_user" => Change::OverrideUser,
        _ => return None,
    })
}

/// Checks a topic: 1 to 128 of `a-z 0-9 . _ -`, starting with a letter.
///
/// # Errors
/// Names `field`.
pub fn check_topic(field: &str, topic: &str) -> Result<(), FieldError> {
    let fits = topic.len() <= 128
        && topic.starts_with(|c: char| c.is_ascii_lowercase())
        && topic
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
    if fits {
        return Ok(());
    }
    Err(FieldError::new(
        field,
        format!("is {:?}, not a topic", clip_for_error(topic)),
        "give 1 to 128 of a-z, 0-9, '.', '_', '-', starting with a letter, e.g. market.tick",
    ))
}

/// Parses one JSON value; its text form is canonical (object keys sorted, no white space).
///
/// # Errors
/// Names `field`: too long, not JSON, or nested more than 128 deep.
pub fn canonical_json(field: &str, json: &str) -> Result<serde_json::Value, FieldError> {
    check_text_length(field, json, MAX_TEXT)?;
    serde_json::from_str(json).map_err(|error| {
        FieldError::new(
            field,
            format!("is not JSON: {error}"),
            "give one JSON value, nested 127 deep at most",
        )
    })
}

fn check_extra_json(json: &mut String, taken: &[&str]) -> Result<(), FieldError> {
    if json == "{}" {
        return Ok(());
    }
    check_text_length("parameters", json, MAX_OPEN_JSON)?;
    let value = canonical_json("parameters", json)?;
    let Some(object) = value.as_object() else {
        return Err(FieldError::new(
            "parameters",
            "has extra JSON that is no object",
            "give a JSON object",
        ));
    };
    // A typed field must have one value only: what a rule reads and what an executor reads must be the same.
    if let Some(key) = taken.iter().find(|key| object.contains_key(**key)) {
        return Err(FieldError::new(
            format!("parameters.{key}"),
            "stands both in the typed parameters and in the extra JSON",
            "give it once, typed",
        ));
    }
    *json = value.to_string();
    Ok(())
}

fn contradiction_error(field: &str, action_type: &str) -> FieldError {
    FieldError::new(
        field,
        format!("contradicts the action type `{action_type}`"),
        "leave it out, or make the two agree",
    )
}

fn normalize_symbol(symbol: &mut str) -> Result<(), FieldError> {
    symbol.make_ascii_uppercase();
    let fits = (1..=32).contains(&symbol.len())
        && symbol
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"-._/:".contains(&b));
    if fits {
        return Ok(());
    }
    Err(FieldError::new(
        "parameters.symbol",
        if symbol.is_empty() {
            "is empty".to_owned()
        } else {
            format!("is {:?}", clip_for_error(symbol))
        },
        "give 1 to 32 of A-Z, 0-9, '-', '.', '_', '/', ':', e.g. BTC-USD",
    ))
}

fn check_fraction(field: &str, value: f64) -> Result<(), FieldError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(FieldError::new(
        field,
        format!("is {value}"),
        "give a number from 0 to 1: a fraction of capital, 0.05 is 5 %",
    ))
}

fn check_finite(field: &str, value: Option<f64>) -> Result<(), FieldError> {
    match value {
        Some(value) if !value.is_finite() => Err(FieldError::new(
            field,
            format!("is {value}"),
            "give a finite number",
        )),
        _ => Ok(()),
    }
}

fn check_positive(field: &str, value: Option<f64>) -> Result<(), FieldError> {
    match value {
        Some(value) if !(value.is_finite() && value > 0.0) => Err(FieldError::new(
            field,
            format!("is {value}"),
            "give a finite number greater than 0",
        )),
        _ => Ok(()),
    }
}

fn check_not_negative(field: &str, value: Option<f64>) -> Result<(), FieldError> {
    match value {
        Some(value) if !(value.is_finite() && value >= 0.0) => Err(FieldError::new(
            field,
            format!("is {value}"),
            "give a finite number, 0 or greater",
        )),
        _ => Ok(()),
    }
}

fn check_text_length(field: &str, value: &str, max: usize) -> Result<(), FieldError> {
    if value.len() <= max {
        return Ok(());
    }
    Err(FieldError::new(
        field,
        format!("is {} bytes long", value.len()),
        format!("give {max} bytes at most"),
    ))
}

fn check_optional_text(field: &str, value: Option<&str>, max: usize) -> Result<(), FieldError> {
    value.map_or(Ok(()), |value| check_text_length(field, value, max))
}

fn check_label(field: &str, value: &str) -> Result<(), FieldError> {
    if !value.is_empty() && !value.chars().any(char::is_control) {
        return check_text_length(field, value, MAX_LABEL);
    }
    let problem = if value.is_empty() {
        "is empty"
    } else {
        "holds control characters"
    };
    Err(FieldError::new(
        field,
        problem,
        format!("give 1 to {MAX_LABEL} bytes of plain text"),
    ))
}

fn check_optional_label(field: &str, value: Option<&str>) -> Result<(), FieldError> {
    value.map_or(Ok(()), |value| check_label(field, value))
}

/// Normalises a path lexically: `\` to `/`, no `.` and no empty parts, `..` resolved where there is a part to drop; above the root of
/// an absolute path there is nothing.
fn normalize_path(path: &str) -> Result<String, FieldError> {
    const FIELD: &str = "parameters.path";
    check_text_length(FIELD, path, MAX_PATH)?;
    if path.is_empty() || path.chars().any(char::is_control) {
        let problem = if path.is_empty() {
            "is empty"
        } else {
            "holds control characters"
        };
        return Err(FieldError::new(FIELD, problem, "give a path"));
    }
    let path = path.replace('\\', "/");
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    Ok(match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    })
}

/// The start of a text, fit for an error message.
#[must_use]
pub fn clip_for_error(text: &str) -> String {
    clip_to(text, 60)
}

/// The first `most` characters of a text, with a mark where it goes on.
#[must_use]
pub fn clip_to(text: &str, most: usize) -> String {
    let mut clipped: String = text.chars().take(most).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    clipped
}

/// What a guest wrote, fit for a terminal: as [`clip_to`], with blanks in the place of control characters.
#[must_use]
pub fn to_printable(text: &str, most: usize) -> String {
    clip_to(text, most)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::normalize_path;

    #[test]
    fn paths_are_normalised_before_they_are_judged() {
        for (given, normal) in [
            ("a/b", "a/b"),
            ("./a//b/.", "a/b"),
            (
                "/etc/../policies/./graveyard.wasm",
                "/policies/graveyard.wasm",
            ),
            ("/../../x", "/x"),
            ("../../x", "../../x"),
            ("a/../../x", "../x"),
            (r"policies\graveyard.wasm", "policies/graveyard.wasm"),
            (r"C:\x\..\graveyard.wasm", "C:/graveyard.wasm"),
            ("a/..", "."),
            ("/", "/"),
        ] {
            assert_eq!(normalize_path(given).as_deref(), Ok(normal), "{given}");
        }
        for bad in ["", "a\0b", "a\nb", &"a".repeat(5000)] {
            assert!(normalize_path(bad).is_err(), "{bad:?}");
        }
    }
}
