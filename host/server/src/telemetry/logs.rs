//! Log lines: for people or as JSON, one event in a line, without credentials and personal data.
//!
//! Every text in a line is redacted as proposals are ([`crate::hrm::redaction`]), except ids, names and digests that the host makes: some of
//! them look like a card's number by chance. An event about a trace has its `trace_id`.
//!
//! Texts in a line can come from guests, callers and files. What a terminal would obey, what nobody sees and what reorders a text is escaped
//! ([`ark_model::printable`]), line breaks too, so that no text can look like another line.
//!
//! A JSON line has `timestamp`, `level`, `target`, `message` and the event's fields beside them. `ARK_LOG` selects what is logged (in the form
//! of `RUST_LOG`); `ARK_LOG_FORMAT` overrides `telemetry.log_format`.

use std::env::VarError;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use ark_model::printable::{escape_json, escape_line};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::hrm::redaction::redact_text;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Human,
    /// One JSON object in a line.
    Json,
}

impl LogFormat {
    /// Returns its name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Json => "json",
        }
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            other => Err(format!("is {other:?}; give human or json")),
        }
    }
}

/// Starts logging to standard error. `default_filter` is used without `ARK_LOG`, and `format` without `ARK_LOG_FORMAT`; an empty variable
/// counts as not set. A reader of standard error that goes away ends the log and nothing else.
///
/// # Errors
/// `ARK_LOG_FORMAT` is neither `human` nor `json`, or `ARK_LOG` is no filter.
pub fn init_logging(default_filter: &str, format: LogFormat) -> Result<(), String> {
    let format = read_format()?.unwrap_or(format);
    let filter = read_filter()?.unwrap_or_else(|| EnvFilter::new(default_filter));
    // Fails only where the process has a subscriber already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Such an error would be printed on standard error; when that is closed, the thread that logs would panic.
        .log_internal_errors(false)
        .event_format(RedactingFormat { format })
        .try_init();
    Ok(())
}

/// Refuses what [`init_logging`] would refuse. Starts nothing.
///
/// # Errors
/// As [`init_logging`].
pub fn check_log_variables() -> Result<(), String> {
    read_format()?;
    read_filter().map(drop)
}

fn read_format() -> Result<Option<LogFormat>, String> {
    let text = read_variable("ARK_LOG_FORMAT")?;
    let format = text.map(|text| text.parse::<LogFormat>()).transpose();
    format.map_err(|problem| format!("ARK_LOG_FORMAT {problem}"))
}

fn read_filter() -> Result<Option<EnvFilter>, String> {
    let Some(text) = read_variable("ARK_LOG")? else {
        return Ok(None);
    };
    let filter = EnvFilter::try_new(&text);
    filter
        .map(Some)
        .map_err(|error| format!("ARK_LOG is {text:?}, {error}; give e.g. info"))
}

/// The value of an environment variable; `None`: it is not set, or empty.
fn read_variable(name: &str) -> Result<Option<String>, String> {
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(format!("{name} is not UTF-8")),
    }
}

/// Fields whose values the host makes itself; they hold no text from outside.
const UNREDACTED_FIELDS: [&str; 10] = [
    "trace_id",
    "signal_id",
    "decision_id",
    "sha256",
    "hash",
    "address",
    "agent",
    "version",
    "outcome",
    "kind",
];

/// Writes one event in a line.
struct RedactingFormat {
    format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for RedactingFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = RedactedFields(Map::new());
        event.record(&mut fields);
        let mut fields = fields.0;
        let message = match fields.remove("message") {
            Some(Value::String(message)) => message,
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let metadata = event.metadata();
        match self.format {
            LogFormat::Human => {
                let mut line = format!("{timestamp} {:>5} {message}", metadata.level());
                for (name, value) in &fields {
                    write!(line, " {name}={value}")?;
                }
                writeln!(writer, "{}", escape_line(&line))
            }
            LogFormat::Json => {
                let mut line = Map::new();
                line.insert("timestamp".to_owned(), timestamp.into());
                line.insert("level".to_owned(), metadata.level().as_str().into());
                line.insert("target".to_owned(), metadata.target().into());
                line.insert("message".to_owned(), message.into());
                for (name, value) in fields {
                    // A field named like one of these does not replace it.
                    line.entry(name).or_insert(value);
                }
                let line = Value::Object(line).to_string();
                writeln!(writer, "{}", escape_json(&line))
            }
        }
    }
}

/// An event's fields with their texts redacted.
struct RedactedFields(Map<String, Value>);

impl RedactedFields {
    fn insert_text(&mut self, field: &Field, text: &str) {
        let name = field.name();
        let text = if UNREDACTED_FIELDS.contains(&name) {
            text.to_owned()
        } else {
            redact_text(text)
        };
        self.0.insert(name.to_owned(), text.into());
    }
}

impl Visit for RedactedFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert_text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert_text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.insert_text(field, &value.to_string());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use ark_model::printable::is_unprintable;

    use super::*;

    #[derive(Clone, Default)]
    struct CapturedLog(Arc<Mutex<Vec<u8>>>);

    impl Write for CapturedLog {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn log_line(format: LogFormat, log: impl Fn()) -> String {
        let kept = CapturedLog::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .event_format(RedactingFormat { format })
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn log_sample(format: LogFormat) -> String {
        log_line(format, || {
            let address = "alice@example.com";
            tracing::warn!(
                trace_id = %"0192f1e2a3b4c5d6e7f8091a2b3c4d5e",
                reason = %format!("cannot reach {address}, password = hunter22"),
                count = 3,
                "call {address}\nback",
            );
        })
    }

    #[test]
    fn no_text_of_a_guest_is_obeyed_by_a_terminal_or_looks_like_another_line() {
        let hostile = "\u{1b}[2J\u{9b}31m\u{7}\r\nERROR halted \u{202e}\u{200b}\u{2028}";
        for format in [LogFormat::Human, LogFormat::Json] {
            let line = log_line(format, || {
                tracing::warn!(reason = hostile, error = %hostile, agent = ?hostile, "{hostile}");
            });
            let shown = line.strip_suffix('\n').expect("a line");
            assert!(!shown.chars().any(is_unprintable), "{shown:?}");
            if format == LogFormat::Json {
                let json: Value = serde_json::from_str(shown).unwrap();
                assert_eq!(json["message"], hostile);
                assert_eq!(json["reason"], hostile);
            }
        }
    }

    #[test]
    fn credentials_and_personal_data_are_in_no_line_and_the_trace_is() {
        for format in [LogFormat::Human, LogFormat::Json] {
            let line = log_sample(format);
            assert!(
                !line.contains("alice") && !line.contains("hunter22"),
                "{line}"
            );
            assert!(line.contains("0192f1e2a3b4c5d6e7f8091a2b3c4d5e"), "{line}");
        }
        let json: Value = serde_json::from_str(&log_sample(LogFormat::Json)).unwrap();
        assert_eq!(json["count"], 3);
        assert_eq!(json["level"], "WARN");
        assert_eq!(json["message"], "call [personal:email]\nback");
    }
}
