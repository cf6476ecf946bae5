//! The form of a journal's file: the first line says whose it is, each one behind it is an entry as JSON.
//!
//! Must not know: how a file is opened, locked or written.

use std::path::Path;

use ark_client::normalize_address;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::{JournalError, MAX_JOURNAL};

/// Whose journal a file is: its first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JournalOwner {
    /// The command, e.g. `ark synthetic`.
    #[serde(rename = "journal")]
    pub command: &'static str,
    /// The address of the host that it works on, as [`normalize_address`] spells it.
    pub host: String,
    /// The option by which the command that runs names it; `None`: it has none for it.
    #[serde(skip)]
    pub option: Option<&'static str>,
}

/// A file is something else, or another owner's.
pub(super) struct ForeignOwner;

impl JournalOwner {
    /// Where the entries of a file with this text begin; `None`: it has no whole first line. `header`: the first line, with its end. Earlier versions spelt
    /// the address as it was given.
    pub(super) fn find_entries(
        &self,
        header: &str,
        text: &[u8],
    ) -> Result<Option<usize>, ForeignOwner> {
        #[derive(Deserialize)]
        struct FoundOwner {
            journal: String,
            host: String,
        }
        // A header that a kill cut off is followed by nothing.
        if text.len() < header.len() && header.as_bytes().starts_with(text) {
            return Ok(None);
        }
        let end = text.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or(ForeignOwner)?;
        let line = text.get(..end).unwrap_or_default();
        let found: FoundOwner = serde_json::from_slice(line).map_err(|_| ForeignOwner)?;
        let is_own = found.journal == self.command
            && normalize_address(&found.host) == normalize_address(&self.host);
        if is_own {
            Ok(Some(end + 1))
        } else {
            Err(ForeignOwner)
        }
    }
}

/// Refuses a text with more than what is read.
pub(super) fn check_size(path: &Path, text: &[u8]) -> Result<(), JournalError> {
    if text.len() as u64 > MAX_JOURNAL {
        return Err(JournalError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// Reads entries, one a line, up to the last line that has an end. Returns how many bytes these lines have, too.
pub(super) fn read_lines<E: DeserializeOwned>(
    path: &Path,
    text: &[u8],
) -> Result<(Vec<E>, usize), JournalError> {
    let whole = text.iter().rposition(|byte| *byte == b'\n');
    let whole = whole.map_or(0, |end| end + 1);
    let lines = text.get(..whole).unwrap_or_default();
    let mut entries = Vec::new();
    for (line, number) in lines.split_inclusive(|byte| *byte == b'\n').zip(2..) {
        let entry = serde_json::from_slice(line).map_err(|cause| JournalError::Damaged {
            path: path.to_owned(),
            line: number,
            cause,
        })?;
        entries.push(entry);
    }
    Ok((entries, whole))
}
