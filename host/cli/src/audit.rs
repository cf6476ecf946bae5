//! `ark audit`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Subcommand;

use ark_host::hrm::evidence;
use ark_host::hrm::library::PolicyLibrary;
use ark_host::hrm::replay::replay_log;
use ark_model::ids::DecisionId;
use ark_runtime::{Engine, EngineConfig, GraveyardSource, Pin, PinnedGraveyard, Policy};
use ark_store::{ChainHead, ReadOnlyStore, archive_audit, check_archive};

use super::moment::parse_moment;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Walks the hash chain from the first row and compares it with the anchors; or checks files by themselves.
    Verify {
        /// Archive files (in their order) or evidence files to check, instead of a data directory.
        files: Vec<PathBuf>,
        /// An operator policy that judged an evidence file's decision; may be given more than once.
        #[arg(long, value_name = "FILE")]
        policy: Vec<PathBuf>,
        /// The data directory.
        #[arg(long, env = "ARK_DATA_DIR", default_value = "ark-data")]
        data_dir: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prints the log as JSON lines, or the evidence of one decision.
    Export {
        /// The data directory.
        #[arg(long, env = "ARK_DATA_DIR", default_value = "ark-data")]
        data_dir: PathBuf,
        /// One decision: a file that `ark audit verify FILE` checks with nothing but the policies.
        #[arg(long, value_name = "DECISION_ID")]
        decision: Option<DecisionId>,
        /// Rows from this one on.
        #[arg(long, default_value_t = 1)]
        from: u64,
    },
    /// Moves the rows before a moment into a file that can be verified by itself; no host may run.
    Archive {
        /// The file to make.
        to: PathBuf,
        /// The moment: milliseconds since 1970 (UTC), or an age such as 30d, 12h, 90m.
        #[arg(long)]
        before: String,
        /// The data directory.
        #[arg(long, env = "ARK_DATA_DIR", default_value = "ark-data")]
        data_dir: PathBuf,
    },
    /// Judges every recorded decision again: each must come out the same.
    Replay {
        /// The data directory.
        #[arg(long, env = "ARK_DATA_DIR", default_value = "ark-data")]
        data_dir: PathBuf,
        /// An operator policy that the database does not keep (it keeps those that judged since schema 4); may be given more than once.
        #[arg(long, value_name = "FILE")]
        policy: Vec<PathBuf>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: AuditCommand) -> anyhow::Result<ExitCode> {
    match command {
        AuditCommand::Verify {
            files,
            data_dir,
            json,
            ..
        } if files.is_empty() => verify_log(&data_dir, json),
        AuditCommand::Verify { files, policy, .. } => verify_files(&files, &policy),
        AuditCommand::Export {
            data_dir,
            decision,
            from,
        } => export_log(&data_dir, decision, from),
        AuditCommand::Archive {
            to,
            before,
            data_dir,
        } => {
            let archived = archive_audit(&data_dir, parse_moment("--before", &before)?, &to)?;
            println!("{}", serde_json::to_string(&archived)?);
            Ok(ExitCode::SUCCESS)
        }
        AuditCommand::Replay {
            data_dir,
            policy,
            json,
        } => {
            let engine = Engine::new(&EngineConfig::default())?;
            let policies = load_policies(&engine, &policy)?;
            replay_decisions(&data_dir, &engine, policies, json)
        }
    }
}

/// The Graveyard in this program and the operator policies of these files.
fn load_policies(engine: &Engine, files: &[PathBuf]) -> anyhow::Result<Vec<Arc<Policy>>> {
    let graveyard = PinnedGraveyard::load(engine, &GraveyardSource::Embedded, Pin::compiled_in()?)?;
    let mut policies = vec![Arc::new(graveyard.policy)];
    for file in files {
        let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
        let policy = Policy::load(engine, &bytes).with_context(|| file.display().to_string())?;
        policies.push(Arc::new(policy));
    }
    Ok(policies)
}

fn export_log(
    data_dir: &Path,
    decision: Option<DecisionId>,
    from: u64,
) -> anyhow::Result<ExitCode> {
    let archive = ReadOnlyStore::open(data_dir)?;
    if let Some(id) = decision {
        let evidence = evidence::collect_evidence(&archive, id)?.with_context(|| {
            format!("there is no decision {id} in the database; look in the archives")
        })?;
        println!("{}", serde_json::to_string_pretty(&evidence)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut result = Ok(());
    archive.visit_audit_rows(|row| {
        if row.seq >= from {
            result = serde_json::to_string(&row)
                .map_err(std::io::Error::other)
                .and_then(|line| writeln!(out, "{line}"));
        }
        result.is_ok()
    })?;
    result
        .and_then(|()| out.flush())
        .context("standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// Checks files by themselves, and that archives given together connect.
fn verify_files(files: &[PathBuf], policy: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let mut whole = true;
    let mut before: Option<ChainHead> = None;
    for file in files {
        let name = file.display();
        let text = std::fs::read(file).with_context(|| name.to_string())?;
        if let Ok(evidence) = serde_json::from_slice(&text) {
            let engine = Engine::new(&EngineConfig::default())?;
            let report = evidence::check_evidence(&evidence, &load_policies(&engine, policy)?);
            match &report.problem {
                None => println!(
                    "{name}: decision {} is as it was recorded (row {}, hash {})",
                    report.decision_id, report.seq, report.hash
                ),
                Some(problem) => println!("{name}: NOT as it was recorded: {problem}"),
            }
            whole &= report.problem.is_none();
            continue;
        }
        let report = check_archive(file)?;
        let gap = before.is_some_and(|before| before != report.header.after);
        match &report.fault {
            Some(fault) => println!("{name}: NOT whole: row {} {}", fault.seq, fault.problem),
            None if gap => println!("{name}: does NOT connect to the archive before it"),
            None => println!(
                "{name}: whole: rows {} to {}, behind {}, head {}",
                report.header.after.seq + 1,
                report.header.last.seq,
                report.header.after.hash,
                report.header.last.hash
            ),
        }
        whole &= report.fault.is_none() && !gap;
        before = Some(report.header.last);
    }
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Verifies and prints; the exit code says whether the log is whole.
pub(super) fn verify_log(data_dir: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let report = ReadOnlyStore::open(data_dir)?.verify_audit_log()?;
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

/// Replays and prints; the exit code says whether everything came out the same. The database keeps the operator policies that judged.
pub(super) fn replay_decisions(
    data_dir: &Path,
    engine: &Engine,
    policies: Vec<Arc<Policy>>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let archive = ReadOnlyStore::open(data_dir)?;
    let report = replay_log(
        &archive,
        &PolicyLibrary::from_policies(policies).with_database(engine, &archive),
    )?;
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
