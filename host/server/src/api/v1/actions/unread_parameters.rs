//! Parameters that no rule reads and whose name resembles that of one that rules read: most likely a mistake of the proposer.
//!
//! One that differs in case or separators only is refused with the request, and is found here only in what was recorded before.
//!
//! The warnings follow from the recorded action alone, so an answer that is given again has them too.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use ark_model::action::{Action, TypedField};
use ark_model::check::clip_for_error;

/// The most warnings of an action.
const MAX_WARNINGS: usize = 20;
/// A longer name resembles nothing.
const MAX_NAME_BYTES: usize = 64;

/// A parameter that no rule reads, though its name resembles that of one that rules read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ParameterWarning {
    /// The parameter as it was given.
    pub parameter: String,
    /// The parameter that rules read.
    pub known: String,
    /// Both in a sentence, for people.
    pub message: String,
}

/// Finds the parameters of an action that resemble one that rules read.
pub(super) fn find_unread_parameters(action: &Action) -> Vec<ParameterWarning> {
    let known = action.parameters.family().typed_fields();
    let extra = action.parameters.extra_json().filter(|text| *text != "{}");
    let (Some(extra), false) = (extra, known.is_empty()) else {
        return Vec::new();
    };
    let extra: Map<String, Value> = serde_json::from_str(extra).unwrap_or_default();
    extra
        .keys()
        .filter_map(|name| {
            let known = find_resembling(name, known)?;
            let shown = clip_for_error(name);
            Some(ParameterWarning {
                message: format!("no rule reads `{shown}`; did you mean `{known}`?"),
                parameter: shown,
                known: known.to_owned(),
            })
        })
        .take(MAX_WARNINGS)
        .collect()
}

/// The field whose name a name resembles most.
fn find_resembling(name: &str, known: &'static [TypedField]) -> Option<&'static str> {
    if name.len() > MAX_NAME_BYTES {
        return None;
    }
    let folded = fold_name(name);
    let mut nearest: Option<(usize, &'static str)> = None;
    for field in known {
        let wanted = fold_name(field.name);
        // Of short names too many differ by a letter: `size` is not `side`.
        let most = match wanted.len().min(folded.len()) {
            0..=4 => 0,
            5..=8 => 1,
            _ => 2,
        };
        if wanted.len().abs_diff(folded.len()) > most {
            continue;
        }
        let distance = strsim::damerau_levenshtein(&folded, &wanted);
        if distance <= most && nearest.is_none_or(|(least, _)| distance < least) {
            nearest = Some((distance, field.name));
        }
    }
    nearest.map(|(_, name)| name)
}

/// A name without what differs between ways of writing it: case and separators.
fn fold_name(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use ark_model::action::Family;

    use super::*;

    #[test]
    fn names_that_resemble_a_field_are_found_and_others_are_not() {
        let trade = Family::Trade.typed_fields();
        for (name, expected) in [
            ("stoploss", Some("stop_loss")),
            ("stopLoss", Some("stop_loss")),
            ("Stop-Loss", Some("stop_loss")),
            ("stop_los", Some("stop_loss")),
            ("take_proft", Some("take_profit")),
            ("position_size_pc", Some("position_size_pct")),
            ("levarage", Some("leverage")),
            ("symbols", Some("symbol")),
            ("size", None),
            ("sid", None),
            ("strategy", None),
            ("note", None),
            ("", None),
            ("\u{645}", None),
        ] {
            assert_eq!(find_resembling(name, trade), expected, "{name}");
        }
        assert_eq!(find_resembling(&"stop_loss".repeat(9), trade), None);
    }
}
