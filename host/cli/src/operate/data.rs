//! `ark state snapshot|restore|reinitialize|check|prune|rekey|give-up-secrets`: the database of a data directory as a whole.
//!
//! Snapshot and check read it, with or without a running host; the others need the host to be stopped.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use ark_host::api::validate_reason;
use ark_store::{
    ReadOnlyStore, SecretKey, begin_anew, check_snapshot, create_snapshot, give_up_secrets,
    prune_signals, rekey_secrets, restore_snapshot, restore_snapshot_dropping,
};
use clap::Subcommand;
use serde_json::json;

use crate::args::DataDirArgs;
use crate::output::{exit_code, print_json};
use crate::time::parse_moment;

/// The most that is read of a key on standard input: its digits, and blanks around them.
const MAX_KEY_BYTES: u64 = 1024;

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Copies the database as it is at one moment into a new directory. A host may run.
    Snapshot {
        /// The directory to make. The one around it is made too where that alone is missing.
        to: PathBuf,
        #[command(flatten)]
        data: DataDirArgs,
    },
    /// Replaces the database with a snapshot. No host may run.
    Restore {
        /// The snapshot.
        from: PathBuf,
        /// Move an existing database aside.
        #[arg(long)]
        replace: bool,
        /// Leave out what somebody has added to the schema: triggers, constraints. Without it such a snapshot is refused.
        #[arg(long)]
        drop_added: bool,
        #[command(flatten)]
        data: DataDirArgs,
    },
    /// Gives up a database that is lost and makes a new one: halted, and with a new administrator's token if calls needed one. What is left of
    /// the old one is kept aside. No host may run.
    #[command(alias = "begin-anew")]
    Reinitialize {
        /// Why, for the audit log of the new database.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        data: DataDirArgs,
    },
    /// Checks every revision against the hash chain and every key against its history; with the key given, secrets too.
    Check {
        /// A snapshot to check, instead of a data directory.
        #[arg(long, value_name = "DIR")]
        snapshot: Option<PathBuf>,
        #[command(flatten)]
        data: DataDirArgs,
    },
    /// Removes the signals before a moment whose deliveries have ended, with their idempotency keys, and the lines of the session log before it.
    /// Decisions stay (see `ark audit archive`). No host may run.
    Prune {
        /// The moment: milliseconds since 1970 (UTC), RFC 3339, or an age such as 30d, 36h. Signals of the last day stay.
        #[arg(long)]
        before: String,
        #[command(flatten)]
        data: DataDirArgs,
    },
    /// Encrypts all secrets with a new key; the present one comes from the environment. No host may run.
    Rekey {
        /// A file (mode 0400) with the new key: 64 hexadecimal digits; `-`: standard input.
        #[arg(long, value_name = "FILE")]
        new_key_file: PathBuf,
        #[command(flatten)]
        data: DataDirArgs,
    },
    /// Gives up the secrets whose encryption key is lost, so that the host can start with another key. They are deleted and must be written
    /// anew; nobody can read them any more. No host may run.
    GiveUpSecrets {
        /// The id of the lost key, as a refused start names it.
        #[arg(long, value_name = "ID")]
        lost_key: String,
        /// Why, for the audit log.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        data: DataDirArgs,
    },
}

/// The most bytes of the name of who does something.
const MAX_ACTOR_BYTES: usize = 128;

/// Reads the new key from a file, or for `-` from standard input: in a container nobody may be able to make a file of the mode that a key needs.
///
/// # Errors
/// It cannot be read, others could read or change the file, or it is no key.
fn read_new_key(file: &Path) -> anyhow::Result<SecretKey> {
    if file != Path::new("-") {
        return Ok(SecretKey::from_file(file)?);
    }
    let mut text = String::new();
    let input = std::io::stdin().lock();
    input
        .take(MAX_KEY_BYTES)
        .read_to_string(&mut text)
        .context("--new-key-file -: the key on standard input")?;
    Ok(SecretKey::parse(&text, "--new-key-file -")?)
}

/// `by`: the name that the audit log records for a change.
pub(crate) fn run_command(command: DataCommand, by: Option<&str>) -> anyhow::Result<ExitCode> {
    match command {
        DataCommand::Snapshot { to, data } => {
            print_json(&create_snapshot(&data.find_data_dir()?, &to)?)?;
        }
        DataCommand::Restore {
            from,
            replace,
            drop_added,
            data,
        } => {
            let key = SecretKey::from_environment()?;
            let restore = if drop_added {
                restore_snapshot_dropping
            } else {
                restore_snapshot
            };
            print_json(&restore(
                &from,
                &data.find_data_dir()?,
                replace,
                key.as_ref(),
            )?)?;
        }
        DataCommand::Reinitialize { reason, data } => {
            let (by, reason) = validate_order(by, &reason)?;
            let key = SecretKey::from_environment()?;
            print_json(&begin_anew(
                &data.find_data_dir()?,
                &by,
                &reason,
                key.as_ref(),
            )?)?;
        }
        DataCommand::Check { snapshot, data } => {
            let key = SecretKey::from_environment()?;
            if let Some(snapshot) = snapshot {
                print_json(&check_snapshot(&snapshot, key.as_ref())?)?;
            } else {
                let report =
                    ReadOnlyStore::open(&data.find_data_dir()?)?.check_state(key.as_ref())?;
                print_json(&report)?;
                return Ok(exit_code(report.is_sound()));
            }
        }
        DataCommand::Prune { before, data } => {
            let before = parse_moment("--before", &before)?;
            print_json(&prune_signals(&data.find_data_dir()?, before)?)?;
        }
        DataCommand::Rekey { new_key_file, data } => {
            let new = read_new_key(&new_key_file)?;
            let old = SecretKey::from_environment()?;
            let count = rekey_secrets(&data.find_data_dir()?, old.as_ref(), &new)?;
            print_json(&json!({"secrets": count, "key": new.id()}))?;
        }
        DataCommand::GiveUpSecrets {
            lost_key,
            reason,
            data,
        } => {
            let (by, reason) = validate_order(by, &reason)?;
            if let Some(key) = SecretKey::from_environment()?
                && key.id() == lost_key
            {
                anyhow::bail!(
                    "--lost-key: the key {lost_key} is here, in the environment, and can read the secrets; to replace it use `ark state rekey`"
                );
            }
            print_json(&give_up_secrets(
                &data.find_data_dir()?,
                &lost_key,
                &by,
                &reason,
            )?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks who orders something and why. Returns both as the audit log records them.
fn validate_order(by: Option<&str>, reason: &str) -> anyhow::Result<(String, String)> {
    let reason = validate_reason(reason)
        .context("--reason: give 1 to 1024 bytes of plain text that is not blank")?;
    let by = validate_reason(by.unwrap_or("operator"))
        .filter(|by| by.len() <= MAX_ACTOR_BYTES)
        .context("--by: give 1 to 128 bytes of plain text that is not blank")?;
    Ok((by, reason))
}
