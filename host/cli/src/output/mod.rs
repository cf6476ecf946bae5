//! Everything that this program prints: lines and JSON on standard output, notices and errors on standard error, the log, the exit code.
//!
//! Invariant: no character reaches a terminal that it would obey, that nobody sees or that reorders what is read
//! ([`ark_model::printable`]). No other module writes to standard output or standard error: clippy refuses it (`clippy.toml` of this crate and
//! the lints at the top of `main.rs`).
//!
//! Printing does not fail: a command does its work whether or not somebody reads on ([`stream`]), and [`finish_output`] says at its end if what it
//! printed is lost.

mod stream;

use std::fmt;
use std::process::ExitCode;

use ark_host::telemetry::{LogFormat, logs};
use ark_model::printable::{escape_json, escape_line};
use serde::Serialize;

pub(crate) use stream::{hold_output, is_read};

/// Prints a line on standard output; a line break in it is escaped like any other control character.
macro_rules! print_line {
    () => { $crate::output::write_line(::std::format_args!("")) };
    ($($part:tt)*) => { $crate::output::write_line(::std::format_args!($($part)*)) };
}

/// Prints a notice for the user on standard error, after the name of the program. Where it has several lines, those after the first are
/// indented.
macro_rules! print_notice {
    ($($part:tt)*) => { $crate::output::write_notice(::std::format_args!($($part)*)) };
}

/// Says on standard error that a list for people is empty, so that standard output stays empty for whoever counts lines, and nobody takes an
/// empty answer for a command that did nothing. With `--json` nothing is added: the empty list is the answer.
macro_rules! print_empty {
    ($($part:tt)*) => { $crate::output::write_notice(::std::format_args!($($part)*)) };
}

pub(crate) use {print_empty, print_line, print_notice};

/// The exit code of a command that checked something, or that asked for something which may not have happened.
pub(crate) const fn exit_code(success: bool) -> ExitCode {
    if success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// See [`print_line!`].
pub(crate) fn write_line(line: fmt::Arguments<'_>) {
    let line = line.to_string();
    stream::write_output(&format!("{}\n", escape_line(&line)));
}

/// See [`print_notice!`].
pub(crate) fn write_notice(notice: fmt::Arguments<'_>) {
    stream::write_error(&indent_lines("ark: ", "     ", &notice.to_string()));
}

/// A line on standard error that changes while something takes long. It is removed when this is dropped.
pub(crate) struct StatusLine {
    is_shown: bool,
}

impl StatusLine {
    /// Returns the line; `None` where standard error is not a terminal.
    pub(crate) fn on_terminal() -> Option<Self> {
        stream::is_error_terminal().then_some(Self { is_shown: false })
    }

    /// Shows a text in the place of the last.
    pub(crate) fn show(&mut self, text: &str) {
        self.is_shown = true;
        stream::write_error(&format!("\r\u{1b}[Kark: {}", escape_line(text)));
    }

    /// Removes the text until the next one is shown.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            stream::write_error("\r\u{1b}[K");
        }
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Prints a text of several lines, each after `indent`, so that none of them looks like a line of this program's own.
pub(crate) fn print_lines(indent: &str, text: &str) {
    stream::write_output(&indent_lines(indent, indent, text));
}

/// Prints a text that this program made itself, with nothing from outside in it, as it is.
pub(crate) fn print_own_text(text: &str) {
    stream::write_output(text);
}

/// Whether standard output is a terminal on which own texts may be styled.
pub(crate) fn shows_styles() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream::is_terminal()
        && !is_set("NO_COLOR")
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Prints what is wrong with the command line.
pub(crate) fn print_usage_error(text: &str) {
    stream::write_error(&indent_lines("", "", text));
}

fn indent_lines(first: &str, others: &str, text: &str) -> String {
    let mut printed = String::with_capacity(text.len() + 16);
    for (index, line) in text.trim_end_matches('\n').split('\n').enumerate() {
        printed.push_str(if index == 0 { first } else { others });
        printed.push_str(&escape_line(line));
        printed.push('\n');
    }
    printed
}

/// Prints a value as indented JSON.
///
/// # Errors
/// The value has no form in JSON.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    write_json(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Returns an error with its causes, each said once: many messages hold their cause's already.
pub(crate) fn describe_error(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Prints the failure of a command of which JSON was asked and which has printed nothing, so that its standard output has an answer in any case.
pub(crate) fn print_failure(error: &anyhow::Error) {
    if !stream::is_used() {
        let failure = serde_json::json!({"error": describe_error(error)});
        write_json(&format!("{failure:#}"));
    }
}

/// With `json`, prints the failure of a command that says whether something passed, so that its standard output has an answer in any case.
///
/// # Errors
/// As `result`.
pub(crate) fn report_failure<T>(json: bool, result: anyhow::Result<T>) -> anyhow::Result<T> {
    if json && let Err(error) = &result {
        print_json(&serde_json::json!({"passed": false, "error": describe_error(error)}))?;
    }
    result
}

/// Prints a value as one line of JSON.
///
/// # Errors
/// The value has no form in JSON.
pub(crate) fn print_json_line(value: &impl Serialize) -> anyhow::Result<()> {
    write_json(&serde_json::to_string(value)?);
    Ok(())
}

fn write_json(json: &str) {
    stream::write_output(&format!("{}\n", escape_json(json)));
}

/// Starts logging to standard error. `ARK_LOG` comes before `default_filter`, `ARK_LOG_FORMAT` before `format`.
///
/// # Errors
/// One of the two variables is not of its form.
pub(crate) fn start_logging(default_filter: &str, format: LogFormat) -> anyhow::Result<()> {
    logs::init_logging(default_filter, format).map_err(anyhow::Error::msg)
}

/// Ends the output of a command that ended with `code`. A reader that has closed the pipe wanted no more and changes nothing; output that is
/// lost for another reason is a failure.
pub(crate) fn finish_output(code: ExitCode) -> ExitCode {
    match stream::close_output() {
        Ok(()) => code,
        Err(error) => {
            print_notice!("what was printed is lost; standard output: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::indent_lines;

    #[test]
    fn no_line_of_an_error_begins_like_one_of_this_program() {
        assert_eq!(
            indent_lines("ark: ", "     ", "a\nark: \u{1b}[2Jb\r\n\n"),
            "ark: a\n     ark: \\u{1b}[2Jb\\r\n"
        );
    }
}
