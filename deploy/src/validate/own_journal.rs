//! The journal of a validation, which a run may have to wait for: one with the same journal is another validation of the host as one with its own is.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::journal::{Journal, JournalError, JournalOwner};

use super::lease::{ProbeUser, longest_wait};
use super::{ValidateError, ValidationEvent};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(300);

/// Opens a journal, with the entries in it. A run that has it is waited for as long as one that has the lease, and `tell` is told of it. Returns `None`
/// if `stop` was set first.
///
/// # Errors
/// [`ValidateError::Busy`]: another run has it for too long. The journal cannot be used.
pub(super) fn open_own<E: DeserializeOwned>(
    path: &Path,
    owner: &JournalOwner,
    patience: Duration,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(ValidationEvent<'_>),
) -> Result<Option<(Journal, Vec<E>)>, ValidateError> {
    let begun = Instant::now();
    let mut is_told = false;
    loop {
        let path = match Journal::open(path, owner) {
            Err(JournalError::InUse { path, .. }) => path,
            opened => return Ok(Some(opened?)),
        };
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let user = ProbeUser::WithJournal(path);
        if begun.elapsed() >= longest_wait(patience) {
            return Err(ValidateError::Busy(user));
        }
        if !is_told {
            let text = format!("waiting for the end of another validation of the host ({user})");
            tell(ValidationEvent::Waiting(&text));
            is_told = true;
        }
        std::thread::sleep(PAUSE);
    }
}
