//! `ark state snapshot|restore|check|rekey`: the database of a data directory as a whole.
//!
//! Snapshot and check read it, with or without a running host; restore and rekey need the host to be stopped.

use std::path::PathBuf;
use std::process::ExitCode;

use ark_store::{
    ReadOnlyStore, SecretKey, check_snapshot, create_snapshot, rekey_secrets, restore_snapshot,
};
use clap::Subcommand;
use serde_json::json;

use crate::args::DataDirArgs;
use crate::output::{exit_code, print_json};

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Copies the database as it is at one moment into a new directory. A host may run.
    Snapshot {
        /// The directory to make.
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
    /// Encrypts all secrets with a new key; the present one comes from the environment. No host may run.
    Rekey {
        /// A file (mode 0400) with the new key: 64 hexadecimal digits.
        #[arg(long, value_name = "FILE")]
        new_key_file: PathBuf,
        #[command(flatten)]
        data: DataDirArgs,
    },
}

pub(crate) fn run(command: DataCommand) -> anyhow::Result<ExitCode> {
    match command {
        DataCommand::Snapshot { to, data } => print_json(&create_snapshot(&data.data_dir, &to)?)?,
        DataCommand::Restore {
            from,
            replace,
            data,
        } => {
            let key = SecretKey::from_environment()?;
            print_json(&restore_snapshot(
                &from,
                &data.data_dir,
                replace,
                key.as_ref(),
            )?)?;
        }
        DataCommand::Check { snapshot, data } => {
            let key = SecretKey::from_environment()?;
            if let Some(snapshot) = snapshot {
                print_json(&check_snapshot(&snapshot, key.as_ref())?)?;
            } else {
                let report = ReadOnlyStore::open(&data.data_dir)?.check_state(key.as_ref())?;
                print_json(&report)?;
                return Ok(exit_code(report.fault.is_none()));
            }
        }
        DataCommand::Rekey { new_key_file, data } => {
            let new = SecretKey::from_file(&new_key_file)?;
            let old = SecretKey::from_environment()?;
            let count = rekey_secrets(&data.data_dir, old.as_ref(), &new)?;
            print_json(&json!({"secrets": count, "key": new.id()}))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
