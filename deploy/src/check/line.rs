//! The result lines of `ark check`.

use serde::Serialize;

/// How grave what was found is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// What was looked at is as it should be.
    Ok,
    /// The host would serve, and an operator should look.
    Warning,
    /// The check could not be made, for a reason that its line or another one names. It counts as an error does.
    Skipped,
    /// The host would not serve, or not safely.
    Error,
}

/// One line of the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckLine {
    /// The name of the check, e.g. `tls`.
    pub check: &'static str,
    /// How grave it is.
    pub status: Status,
    /// What was found.
    pub found: String,
    /// What to do about it; `None` where nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Collects what one check finds.
pub(super) struct CheckLines {
    check: &'static str,
    pub(super) found: Vec<CheckLine>,
}

impl Status {
    /// Whether a host with such a line is not fit to serve, as far as is known.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Skipped | Self::Error)
    }

    /// The word that stands before the line.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Skipped => "SKIPPED",
            Self::Error => "ERROR",
        }
    }
}

impl CheckLines {
    pub(super) fn for_check(check: &'static str) -> Self {
        Self {
            check,
            found: Vec::new(),
        }
    }

    /// Whether nothing was found that an operator should look at.
    pub(super) fn is_good(&self) -> bool {
        self.found.iter().all(|found| found.status == Status::Ok)
    }

    pub(super) fn add_ok(&mut self, found: impl Into<String>) {
        self.add_line(Status::Ok, found.into(), None);
    }

    pub(super) fn add_warning(&mut self, found: impl Into<String>, remedy: impl Into<String>) {
        self.add_line(Status::Warning, found.into(), Some(remedy.into()));
    }

    /// Says that the check, or a part of it, was not made.
    pub(super) fn add_skipped(&mut self, found: impl Into<String>, remedy: impl Into<String>) {
        self.add_line(Status::Skipped, found.into(), Some(remedy.into()));
    }

    pub(super) fn add_error(&mut self, found: impl Into<String>, remedy: impl Into<String>) {
        self.add_line(Status::Error, found.into(), Some(remedy.into()));
    }

    fn add_line(&mut self, status: Status, found: String, remedy: Option<String>) {
        self.found.push(CheckLine {
            check: self.check,
            status,
            found,
            remedy,
        });
    }
}
