//! What is wrong with a source of the configuration, in words that need no knowledge of Rust.

use ark_model::check::clip_for_error;

use super::file::list_sections;
use super::quantities::describe_expected;

/// How similar a known key must be to an unknown one to be suggested (Jaro-Winkler; 1: the same). More than for other names, since the keys of a
/// table begin alike.
const MIN_SIMILARITY: f64 = 0.85;

/// The known name that is most similar to `given`, compared as a whole or, for a key given without its table, by its last part.
pub(super) fn suggest_key(given: &str, known: &[String]) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    known
        .iter()
        .map(|key| {
            let whole = strsim::jaro_winkler(given, key);
            // `workers` for `capacity.workers` counts a little less than a slip of the finger in the whole name.
            let part = strsim::jaro_winkler(&last(given), &last(key)) - 0.02;
            (whole.max(part), key)
        })
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, key)| key.clone())
}

/// What is wrong with the form of a file, and for a text without quotes, which is the usual fault, the line as it should be.
pub(super) fn describe_syntax(text: &str, error: &toml::de::Error) -> String {
    let problem = error.to_string();
    let unquoted = error.span().and_then(|span| {
        let before = text.get(..span.start)?;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = text.get(start..)?.lines().next()?;
        let (key, value) = line.split_once('=')?;
        // A comment is no part of the value; a value that holds a quote or a bracket is wrong in another way.
        let value = value.split('#').next()?.trim();
        let is_bare = !value.is_empty() && !value.contains(['"', '\'', '[', '{', '\\']);
        is_bare.then(|| format!("{} = \"{value}\"", key.trim()))
    });
    match unquoted {
        Some(line) => format!("{}\na text stands in quotes: {line}", problem.trim_end()),
        None => problem,
    }
}

/// What to do about a field that an entry of a list lacks.
fn advise_on_missing(field: &str) -> &'static str {
    match field {
        "`sha256`" => "give the SHA-256 of the file, as `sha256sum FILE` prints it",
        _ => "add it: `ark config docs` describes every key",
    }
}

/// What is wrong with a value that is none of a choice; `None`: the problem is another one.
fn describe_choice(key: &str, problem: &str) -> Option<String> {
    let (given, expected) = problem
        .strip_prefix("unknown variant `")?
        .split_once("`, expected ")?;
    let choices: Vec<String> = expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    let given = clip_for_error(given);
    Some(match suggest_key(&given, &choices) {
        Some(near) => format!(
            "{key} is {given:?}; did you mean `{near}`? It is one of: {}",
            choices.join(", ")
        ),
        None => format!("{key} is {given:?}; give one of: {}", choices.join(", ")),
    })
}

/// What is wrong with a value, in words that need no knowledge of Rust.
pub(super) fn describe_problem(key: &str, problem: &str) -> String {
    if let Some(described) = describe_choice(key, problem) {
        return described;
    }
    let wrong = problem
        .strip_prefix("invalid type: ")
        .or_else(|| problem.strip_prefix("invalid value: "));
    let Some((found, expected)) = wrong.and_then(|wrong| wrong.rsplit_once(", expected ")) else {
        return match problem.strip_prefix("missing field ") {
            Some(field) => format!("{key}: {field} is missing; {}", advise_on_missing(field)),
            None => format!("{key}: {problem}"),
        };
    };
    let sections = list_sections();
    let default = sections
        .iter()
        .flat_map(|section| &section.keys)
        .find(|known| known.name == key)
        .map(|known| &known.default);
    let expected = describe_expected(key, expected, default);
    format!("{key} is {found}; give {expected}")
}
