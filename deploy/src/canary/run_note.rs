//! What the process that runs a canary says of it beside the journal, in the file that names the process: it needs no room, and outlives the canary.
//!
//! Invariant: a note is one of the canary that is asked for, or none.
//!
//! Must not know: what a process does by it.

use std::path::Path;

use crate::runner::{RunMark, note_for_runner, read_note};

use super::error::CanaryEnd;

/// What a process does with a canary, or how it has ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunNote {
    /// It goes on to the next share.
    GoesOn,
    /// It goes back, or was told to.
    GoesBack,
    /// The new version has all requests.
    Promoted,
    /// Everything is undone.
    WentBack,
}

impl RunNote {
    const fn as_str(self) -> &'static str {
        match self {
            Self::GoesOn => "goes-on",
            Self::GoesBack => "goes-back",
            Self::Promoted => "promoted",
            Self::WentBack => "went-back",
        }
    }

    fn build_line(self, canary: &str) -> String {
        format!("{} {canary}", self.as_str())
    }

    /// Notes it of the canary that this process runs.
    pub(super) fn write(self, mark: &RunMark, canary: &str) {
        mark.write_note(&self.build_line(canary));
    }

    /// Notes it of a canary that another process runs.
    pub(super) fn write_for_runner(self, journal: &Path, canary: &str) {
        note_for_runner(journal, &self.build_line(canary));
    }

    /// What is noted of a canary; `None`: nothing, or it is of another one.
    pub(super) fn read(journal: &Path, canary: &str) -> Option<Self> {
        let line = read_note(journal)?;
        [Self::GoesOn, Self::GoesBack, Self::Promoted, Self::WentBack]
            .into_iter()
            .find(|note| note.build_line(canary) == line)
    }

    /// How a canary has ended that is over.
    pub(super) fn read_end(journal: &Path, canary: &str) -> CanaryEnd {
        match Self::read(journal, canary) {
            Some(Self::Promoted) => CanaryEnd::Promoted,
            Some(Self::WentBack) => CanaryEnd::WentBack,
            Some(Self::GoesOn | Self::GoesBack) | None => CanaryEnd::Unknown,
        }
    }
}
