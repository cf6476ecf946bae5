//! What the tests found, as JSON and as `JUnit` XML.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::{CaseFailure, TestCase, TestOutcome};

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CaseStatus {
    /// The host did what it must.
    Passed,
    /// It did not.
    Failed,
    /// It was not asked.
    Skipped,
}

/// The result of a test.
#[derive(Debug, Clone, Serialize)]
pub struct CaseResult {
    /// The category.
    pub category: &'static str,
    /// The name.
    pub name: &'static str,
    /// How it ended.
    pub status: CaseStatus,
    /// What was seen, or why it failed or was not made.
    pub detail: String,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl CaseResult {
    pub(super) fn new(
        case: &TestCase,
        outcome: Result<TestOutcome, CaseFailure>,
        elapsed: Duration,
    ) -> Self {
        let (status, detail) = match outcome {
            Ok(TestOutcome::Passed(detail)) => (CaseStatus::Passed, detail),
            Ok(TestOutcome::Skipped(reason)) => (CaseStatus::Skipped, reason),
            Err(CaseFailure::Problem(problem)) => (CaseStatus::Failed, problem),
            Err(CaseFailure::Interrupted) => (
                CaseStatus::Skipped,
                "the validation was interrupted in it".to_owned(),
            ),
        };
        Self {
            category: case.category,
            name: case.name,
            status,
            detail,
            seconds: elapsed.as_secs_f64(),
        }
    }
}

/// How many tests ended in each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CaseCounts {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests that were not made; none of them counts as passed.
    pub skipped: usize,
}

/// The result of a validation.
#[derive(Debug, Clone, Serialize)]
pub struct ValidationReport {
    /// Whether it went to its end, a test passed and none failed.
    pub passed: bool,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// Why it ended early; absent: it did not, or it was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What could not be told of the places that were read, and so was taken for granted; absent: nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// How many tests ended in each way.
    pub counts: CaseCounts,
    /// The results, in the order of the tests.
    pub cases: Vec<CaseResult>,
}

impl ValidationReport {
    pub(super) fn new(cases: Vec<CaseResult>, interrupted: bool, error: Option<String>) -> Self {
        let count = |status| cases.iter().filter(|case| case.status == status).count();
        let counts = CaseCounts {
            passed: count(CaseStatus::Passed),
            failed: count(CaseStatus::Failed),
            skipped: count(CaseStatus::Skipped),
        };
        let is_ended = !interrupted && error.is_none();
        Self {
            passed: is_ended && counts.passed > 0 && counts.failed == 0,
            interrupted,
            error,
            warnings: Vec::new(),
            counts,
            cases,
        }
    }

    /// How many tests ended so.
    #[must_use]
    pub fn count(&self, status: CaseStatus) -> usize {
        match status {
            CaseStatus::Passed => self.counts.passed,
            CaseStatus::Failed => self.counts.failed,
            CaseStatus::Skipped => self.counts.skipped,
        }
    }

    /// The report as `JUnit` XML, as CI systems read it.
    #[must_use]
    pub fn to_junit(&self) -> String {
        let mut xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
        let errors = usize::from(self.error.is_some());
        let seconds: f64 = self.cases.iter().map(|case| case.seconds).sum();
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            xml,
            "<testsuites><testsuite name=\"ark validate\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" errors=\"{errors}\" time=\"{seconds:.3}\">",
            self.cases.len() + errors,
            self.count(CaseStatus::Failed),
            self.count(CaseStatus::Skipped),
        );
        for case in &self.cases {
            let _ = write!(
                xml,
                "<testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\">",
                case.category, case.name, case.seconds
            );
            let detail = escape_xml(&case.detail);
            let _ = match case.status {
                CaseStatus::Passed => write!(xml, "<system-out>{detail}</system-out>"),
                CaseStatus::Failed => write!(xml, "<failure message=\"{detail}\"/>"),
                CaseStatus::Skipped => write!(xml, "<skipped message=\"{detail}\"/>"),
            };
            xml.push_str("</testcase>\n");
        }
        if let Some(error) = &self.error {
            let _ = writeln!(
                xml,
                "<testcase classname=\"validation\" name=\"host\" time=\"0.000\"><error message=\"{}\"/></testcase>",
                escape_xml(error)
            );
        }
        xml.push_str("</testsuite></testsuites>\n");
        xml
    }
}

/// Escapes a text for XML 1.0, which has no form for most control characters.
fn escape_xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(' '),
            other if other.is_control() || matches!(other, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}');
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junit_names_each_case_and_escapes_what_hosts_say() {
        let result = |name, status, detail: &str| CaseResult {
            category: "flow",
            name,
            status,
            detail: detail.to_owned(),
            seconds: 0.5,
        };
        let report = ValidationReport::new(
            vec![
                result("a", CaseStatus::Passed, "fine"),
                result("b", CaseStatus::Failed, "<\"&\u{1b}[2J\n>"),
                result("c", CaseStatus::Skipped, "no address"),
            ],
            false,
            None,
        );
        assert!(!report.passed);
        let xml = report.to_junit();
        assert!(
            xml.contains("tests=\"3\" failures=\"1\" skipped=\"1\""),
            "{xml}"
        );
        assert!(
            xml.contains("message=\"&lt;&quot;&amp;\u{fffd}[2J &gt;\""),
            "{xml}"
        );
        assert_eq!(xml.matches("<testcase ").count(), 3);
    }
}
