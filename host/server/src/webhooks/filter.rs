//! Which events a webhook gets.

use ark_store::AuditKind;
use strum::VariantArray;

/// The most patterns of a webhook.
const MAX_PATTERNS: usize = 64;
/// The longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 128;

/// Patterns of event types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTypeFilter(Vec<EventTypePattern>);

/// A pattern: a type, or what it begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
struct EventTypePattern {
    /// The type without `.*`.
    text: String,
    /// Whether types that go on after it are meant too.
    is_prefix: bool,
}

/// Why patterns cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventFilterError {
    /// There is none, or there are too many.
    #[error("has {0} patterns; give 1 to {MAX_PATTERNS}, or leave it out for all events")]
    Count(usize),
    /// The pattern matches the type of no event.
    #[error(
        "has {pattern:?}, which no event's type matches; give e.g. \"ark.decision.*\" or \"ark.alert.critical\": after ark. comes one of {kinds}"
    )]
    Unknown {
        /// The pattern.
        pattern: String,
        /// The kinds of events.
        kinds: String,
    },
}

impl EventTypeFilter {
    /// Parses patterns: a type of events, e.g. `ark.decision.denied`, or what it begins with, e.g. `ark.decision.*`.
    ///
    /// # Errors
    /// See [`EventFilterError`].
    pub fn parse(patterns: &[String]) -> Result<Self, EventFilterError> {
        if patterns.is_empty() || patterns.len() > MAX_PATTERNS {
            return Err(EventFilterError::Count(patterns.len()));
        }
        let patterns = patterns.iter().map(|pattern| parse_pattern(pattern));
        Ok(Self(patterns.collect::<Result<_, _>>()?))
    }

    /// Returns the filter that every event passes.
    #[must_use]
    pub fn every() -> Self {
        Self(vec![EventTypePattern {
            text: "ark".to_owned(),
            is_prefix: true,
        }])
    }

    /// Returns whether events of this type are sent.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        self.0.iter().any(|pattern| {
            let rest = event_type.strip_prefix(pattern.text.as_str());
            rest.is_some_and(|rest| rest.is_empty() || (pattern.is_prefix && rest.starts_with('.')))
        })
    }

    /// Returns the patterns as they are configured.
    #[must_use]
    pub fn patterns(&self) -> Vec<String> {
        let patterns = self.0.iter().map(|pattern| {
            let end = if pattern.is_prefix { ".*" } else { "" };
            format!("{}{end}", pattern.text)
        });
        patterns.collect()
    }
}

fn parse_pattern(pattern: &str) -> Result<EventTypePattern, EventFilterError> {
    let kinds = || {
        AuditKind::VARIANTS
            .iter()
            .map(|kind| kind.as_str())
            .chain(["alert"])
    };
    let (text, is_prefix) = match pattern.strip_suffix(".*") {
        Some(text) => (text, true),
        None => (pattern, false),
    };
    let mut words = text.split('.');
    let is_ours = words.next() == Some("ark");
    let is_known = match words.next() {
        Some(word) => kinds().any(|kind| kind == word),
        None => is_prefix,
    };
    let is_word =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte);
    if !is_ours || !is_known || !text.bytes().all(is_word) || text.len() > MAX_PATTERN_BYTES {
        return Err(EventFilterError::Unknown {
            pattern: ark_model::check::clip_for_error(pattern),
            kinds: kinds().collect::<Vec<_>>().join(", "),
        });
    }
    Ok(EventTypePattern {
        text: text.to_owned(),
        is_prefix,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(patterns: &[&str]) -> Result<EventTypeFilter, EventFilterError> {
        let patterns: Vec<String> = patterns.iter().map(|it| (*it).to_owned()).collect();
        EventTypeFilter::parse(&patterns)
    }

    #[test]
    fn a_pattern_matches_a_type_or_its_prefix() {
        for (patterns, event_type, matches) in [
            (&["ark.*"][..], "ark.failure", true),
            (&["ark.decision.*"], "ark.decision.denied", true),
            (&["ark.decision.*"], "ark.decision", true),
            (&["ark.decision.*"], "ark.decisions.denied", false),
            (&["ark.decision.denied"], "ark.decision.denied", true),
            (&["ark.decision.denied"], "ark.decision.denied.more", false),
            (&["ark.decision"], "ark.decision.denied", false),
            (&["ark.operator.token.*"], "ark.operator.token.create", true),
            (&["ark.alert.critical", "ark.failure"], "ark.failure", true),
            (
                &["ark.alert.critical", "ark.failure"],
                "ark.alert.warning",
                false,
            ),
        ] {
            let filter = parse(patterns).unwrap();
            assert_eq!(
                filter.matches(event_type),
                matches,
                "{patterns:?} {event_type}"
            );
            assert_eq!(filter.patterns(), patterns);
            assert!(EventTypeFilter::every().matches(event_type));
        }
    }

    #[test]
    fn a_pattern_that_can_match_nothing_is_refused_with_the_kinds() {
        for bad in [
            "",
            "*",
            "ark",
            "decision.*",
            "ark.decisions.*",
            "ark.decision.Denied",
            "ark.*.denied",
        ] {
            let error = parse(&[bad]).unwrap_err().to_string();
            assert!(
                error.contains("decision, ") && error.contains("alert"),
                "{bad}: {error}"
            );
        }
        assert_eq!(parse(&[]), Err(EventFilterError::Count(0)));
    }
}
