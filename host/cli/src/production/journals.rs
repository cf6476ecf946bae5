//! Paths of the journals that commands keep.

use std::path::PathBuf;

use anyhow::Context;
use ark_client::{HostClient, normalize_address};
use ark_model::ids::Digest;

/// The journal that was given, else that of this user for the host.
///
/// # Errors
/// As [`default_journal`].
pub(super) fn choose_journal(
    given: Option<PathBuf>,
    command: &str,
    client: &HostClient,
) -> anyhow::Result<PathBuf> {
    given.map_or_else(|| default_journal(command, client), Ok)
}

/// A journal of this user for a host, however its address is spelt.
///
/// # Errors
/// Neither `XDG_STATE_HOME` nor `HOME` is set.
pub(super) fn default_journal(command: &str, client: &HostClient) -> anyhow::Result<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let state = set("XDG_STATE_HOME")
        .or_else(|| Some(set("HOME")?.join(".local/state")))
        .context("there is no place for the journal; name one with --journal FILE")?;
    let host = Digest::hash_bytes(normalize_address(client.url()).as_bytes()).to_string();
    let host: String = host.chars().take(12).collect();
    Ok(state.join("ark").join(format!("{command}-{host}.journal")))
}
