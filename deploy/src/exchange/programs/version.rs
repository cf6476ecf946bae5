//! A version of `ark`: what it says of itself, and which program it becomes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::AtomicBool;

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

pub(in crate::exchange) fn hash_program(path: &Path) -> io::Result<Digest> {
    let program = File::open(path)?.take(MAX_PROGRAM);
    Digest::hash_reader(program).map(|(digest, _)| digest)
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
