//! A version of `ark`: what it says of itself, and which program it becomes.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ark_model::ids::Digest;
use ark_runtime::Pin;
use ark_store::current_schema;
use serde::Deserialize;

use super::commands::{VERSION_TIMEOUT, ask_binary};
use crate::exchange::error::ExchangeError;

/// The most bytes of a program.
const MAX_PROGRAM: u64 = 4 << 30;
/// How an ELF program begins.
const ELF: [u8; 4] = *b"\x7fELF";

/// What a version of `ark` says of itself.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct VersionShown {
    /// The version of the program.
    #[serde(default)]
    pub(crate) version: String,
    /// The schema that it writes.
    pub(crate) schema: u32,
    /// The digest of its program, which a wrapper may start; `None`: it is of before versions said it, and a script.
    #[serde(default)]
    pub(crate) build: Option<Digest>,
    /// The digest of the Graveyard that it is pinned to; `None`: it is of before versions said it.
    #[serde(default)]
    pub(crate) graveyard: Option<Digest>,
}

impl VersionShown {
    /// Whether this program can read what that version writes, and judge its decisions again.
    pub(crate) fn is_readable(&self) -> bool {
        let pin = Pin::compiled_in().ok().map(Pin::digest);
        self.schema == current_schema() && pin.is_some() && self.graveyard == pin
    }
}

/// Asks a version of `ark` which one it is.
pub(crate) fn ask_version(binary: &Path) -> Result<VersionShown, ExchangeError> {
    // It is waited for too short a time to be interrupted.
    let never = AtomicBool::new(false);
    let args = ["version", "--json"];
    let (_, mut shown): (bool, VersionShown) = ask_binary(binary, &args, VERSION_TIMEOUT, &never)?;
    if shown.build.is_none() {
        shown.build = guess_build(binary).ok().flatten();
    }
    Ok(shown)
}

/// What tells a file's content from another: device, inode, length, and the nanosecond of the last change of content or inode.
type FileState = (u64, u64, u64, i128);

/// The digests of the programs that this process has read: an exchange asks for those of the same two or three in each of its steps, and reading one
/// of 100 MB takes a tenth of a second of a processor.
static HASHED: LazyLock<Mutex<HashMap<FileState, Digest>>> = LazyLock::new(Mutex::default);

/// How long a file must have been as it is for its digest to be remembered, in nanoseconds: file systems note changes a few milliseconds apart, so
/// that one that follows the reading at once could have the same time.
const SETTLED: i128 = 1_000_000_000;

/// The digest of a program, for example of the one that a process runs (`/proc/ID/exe`).
///
/// # Errors
/// The file cannot be read.
pub(in crate::exchange) fn hash_program(path: &Path) -> io::Result<Digest> {
    let program = File::open(path)?;
    let state = find_state(&program.metadata()?);
    let hashed = || HASHED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(digest) = hashed().get(&state) {
        return Ok(*digest);
    }
    let began = SystemTime::now().duration_since(UNIX_EPOCH);
    let (digest, _) = Digest::hash_reader((&program).take(MAX_PROGRAM))?;
    let is_settled = began.is_ok_and(|began| {
        i128::try_from(began.as_nanos()).is_ok_and(|began| began - state.3 > SETTLED)
    });
    if is_settled && find_state(&program.metadata()?) == state {
        hashed().insert(state, digest);
    }
    Ok(digest)
}

fn find_state(metadata: &Metadata) -> FileState {
    let changed = i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
    (metadata.dev(), metadata.ino(), metadata.len(), changed)
}

/// The digest of a program's file.
pub(crate) fn hash_file(path: &Path) -> Result<Digest, ExchangeError> {
    hash_program(path).map_err(ExchangeError::for_file(path))
}

/// The program that a version becomes which does not say it: itself, unless it is a script.
fn guess_build(binary: &Path) -> Result<Option<Digest>, ExchangeError> {
    let mut start = Vec::new();
    File::open(binary)
        .and_then(|file| file.take(ELF.len() as u64).read_to_end(&mut start))
        .map_err(ExchangeError::for_file(binary))?;
    (start == ELF).then(|| hash_file(binary)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_changed_in_place_has_another_digest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ark");
        let mut digests = Vec::new();
        for content in ["first", "other"] {
            std::fs::write(&path, content).unwrap();
            digests.push(hash_program(&path).unwrap());
            // It was changed just now, and may change again within the same instant.
            assert!(!is_remembered(&path), "{content}");
            std::thread::sleep(std::time::Duration::from_millis(1_200));
            assert_eq!(hash_program(&path).unwrap(), digests[digests.len() - 1]);
            assert!(is_remembered(&path), "{content}");
            assert_eq!(hash_program(&path).unwrap(), digests[digests.len() - 1]);
        }
        assert_eq!(digests[0], Digest::hash_bytes(b"first"));
        assert_eq!(digests[1], Digest::hash_bytes(b"other"));
    }

    fn is_remembered(path: &Path) -> bool {
        let state = find_state(&std::fs::metadata(path).unwrap());
        HASHED.lock().unwrap().contains_key(&state)
    }

    #[test]
    fn a_program_is_itself_and_a_script_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("ark");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        let this = std::env::current_exe().unwrap();
        assert_eq!(guess_build(&script).unwrap(), None);
        assert_eq!(guess_build(&this).unwrap(), Some(hash_file(&this).unwrap()));
        assert!(guess_build(&dir.path().join("none")).is_err());
    }
}
