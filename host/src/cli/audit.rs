//! `ark audit`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;

use crate::hrm::replay::replay;
use crate::runtime::{Engine, EngineConfig, GraveyardSource, Pin, PinnedGraveyard, Policy};
use crate::store::Archive;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Walks the hash chain from the first row and compares it with the anchors.
    Verify {
        /// The data directory.
        #[arg(long, env = "ARK_DATA_DIR", default_value = "ark-data")]
        data_dir: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Judges every recorded decision again: each must come out the same.
    Replay {
        /// The data directory.
        #[arg(long, env = "ARK_DATA_DIR", default_value = "ark-data")]
        data_dir: PathBuf,
        /// An operator policy that was in force; may be given more than once.
        #[arg(long, value_name = "FILE")]
        policy: Vec<PathBuf>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: AuditCommand) -> anyhow::Result<ExitCode> {
    match command {
        AuditCommand::Verify { data_dir, json } => verify(&data_dir, json),
        AuditCommand::Replay {
            data_dir,
            policy,
            json,
        } => {
            let engine = Engine::new(&EngineConfig::default())?;
            let mut policies = vec![
                PinnedGraveyard::load(&engine, &GraveyardSource::Embedded, Pin::compiled_in()?)?
                    .policy,
            ];
            for file in policy {
                let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
                policies.push(
                    Policy::load(&engine, &bytes).with_context(|| file.display().to_string())?,
                );
            }
            replay_all(&data_dir, &policies, json)
        }
    }
}

/// Verifies and prints; the exit code says whether the log is whole.
pub(super) fn verify(data_dir: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let report = Archive::open(data_dir)?.verify()?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        match &report.fault {
            None => println!(
                "the audit log is whole: {} rows, {} anchors, head {}",
                report.rows, report.anchors, report.head
            ),
            Some(fault) => println!(
                "the audit log is NOT whole: row {} {}",
                fault.seq, fault.problem
            ),
        }
    }
    Ok(if report.fault.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Replays and prints; the exit code says whether everything came out the same.
pub(super) fn replay_all(
    data_dir: &Path,
    policies: &[Policy],
    json: bool,
) -> anyhow::Result<ExitCode> {
    let report = replay(&Archive::open(data_dir)?, policies)?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!(
            "{} decisions replayed: {} identical, {} denied for a policy's failure",
            report.decisions, report.identical, report.failures
        );
        for difference in &report.differences {
            println!(
                "row {} ({}): {}",
                difference.seq, difference.decision_id, difference.problem
            );
        }
    }
    let same = report.identical + report.failures == report.decisions;
    Ok(if same {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
