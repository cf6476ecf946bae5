//! `ark audit`: verifies, replays, exports and archives the audit log of a data directory.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use ark_host::hrm::evidence::{check_evidence, collect_evidence};
use ark_host::hrm::library::PolicyLibrary;
use ark_host::hrm::replay::replay_log;
use ark_model::ids::DecisionId;
use ark_model::printable::format_count;
use ark_runtime::{Engine, EngineConfig, GraveyardSource, Pin, PinnedGraveyard, Policy};
use ark_store::{ChainHead, ReadOnlyStore, archive_audit, check_archive};
use clap::Subcommand;

use crate::args::DataDirArgs;
use crate::output::{
    exit_code, hold_output, is_read, print_empty, print_json, print_json_line, print_line,
};
use crate::time::parse_moment;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Checks the hash chain from the first row on and compares it with the anchors; or checks archive and evidence files by themselves.
    Verify {
        /// Archive files (in their order) or evidence files to check, instead of a data directory.
        files: Vec<PathBuf>,
        /// An operator policy that judged the decision of an evidence file; may be given more than once.
        #[arg(long, value_name = "FILE")]
        policy: Vec<PathBuf>,
        #[command(flatten)]
        data: DataDirArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prints the log as JSON lines, or the evidence of one decision.
    Export {
        #[command(flatten)]
        data: DataDirArgs,
        /// Print the evidence of this decision: a file that `ark audit verify FILE` checks with nothing but the policies.
        #[arg(long, value_name = "DECISION_ID")]
        decision: Option<DecisionId>,
        /// The first row to print.
        #[arg(long, default_value_t = 1)]
        from: u64,
    },
    /// Moves the rows before a moment into a file that can be verified by itself. No host may run.
    Archive {
        /// The file to make.
        to: PathBuf,
        /// The moment: milliseconds since 1970 (UTC), RFC 3339, or an age such as 30d, 12h, 90m.
        #[arg(long)]
        before: String,
        #[command(flatten)]
        data: DataDirArgs,
    },
    /// Judges every recorded decision again and compares the results. The JSON has the last row of the log as `last_seq`: a later replay goes on with `--from` the next one.
    Replay {
        #[command(flatten)]
        data: DataDirArgs,
        /// The first row to read: decisions before it are not judged again.
        #[arg(long, value_name = "SEQ", default_value_t = 1)]
        from: u64,
        /// An operator policy that the database does not keep (it keeps those that judged since schema 4); may be given more than once.
        #[arg(long, value_name = "FILE")]
        policy: Vec<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run_command(command: AuditCommand) -> anyhow::Result<ExitCode> {
    match command {
        AuditCommand::Verify {
            files, data, json, ..
        } if files.is_empty() => Ok(exit_code(verify_log(&data.find_data_dir()?, json)?)),
        AuditCommand::Verify { files, policy, .. } => verify_files(&files, &policy),
        AuditCommand::Export {
            data,
            decision: Some(decision),
            ..
        } => export_evidence(&data.find_data_dir()?, decision),
        AuditCommand::Export { data, from, .. } => export_log(&data.find_data_dir()?, from),
        AuditCommand::Archive { to, before, data } => {
            let before = parse_moment("--before", &before)?;
            print_json_line(&archive_audit(&data.find_data_dir()?, before, &to)?)?;
            Ok(ExitCode::SUCCESS)
        }
        AuditCommand::Replay {
            data,
            from,
            policy,
            json,
        } => Ok(exit_code(replay_decisions(
            &data.find_data_dir()?,
            &policy,
            from,
            json,
        )?)),
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

fn export_evidence(data_dir: &Path, id: DecisionId) -> anyhow::Result<ExitCode> {
    let evidence = collect_evidence(&ReadOnlyStore::open(data_dir)?, id)?.with_context(|| {
        format!("there is no decision {id} in the database; look in the archives")
    })?;
    print_json(&evidence)?;
    Ok(ExitCode::SUCCESS)
}

fn export_log(data_dir: &Path, from: u64) -> anyhow::Result<ExitCode> {
    let archive = ReadOnlyStore::open(data_dir)?;
    let mut result = Ok(());
    let mut is_empty = true;
    let held = hold_output();
    archive.visit_audit_rows_from(from, |row| {
        is_empty = false;
        result = print_json_line(&row);
        result.is_ok() && is_read()
    })?;
    drop(held);
    result?;
    if is_empty {
        print_empty!(
            "no rows from {from} on in the audit log of {}",
            data_dir.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks files by themselves, and that archives given together connect.
fn verify_files(files: &[PathBuf], policy: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let mut valid = true;
    let mut before: Option<ChainHead> = None;
    for file in files {
        let name = file.display();
        let text = std::fs::read(file).with_context(|| name.to_string())?;
        if let Ok(evidence) = serde_json::from_slice(&text) {
            let engine = Engine::new(&EngineConfig::default())?;
            let library = PolicyLibrary::from_policies(load_policies(&engine, policy)?)
                .with_earlier_graveyards(&engine);
            let report = check_evidence(&evidence, library);
            match &report.problem {
                None => print_line!(
                    "{name}: decision {} is as it was recorded (row {}, hash {})",
                    report.decision_id,
                    report.seq,
                    report.hash
                ),
                Some(problem) => print_line!("{name}: NOT as it was recorded: {problem}"),
            }
            valid &= report.problem.is_none();
            continue;
        }
        let report = check_archive(file)?;
        let gap = before.is_some_and(|before| before != report.header.after);
        match &report.fault {
            Some(fault) => print_line!("{name}: NOT whole: row {} {}", fault.seq, fault.problem),
            None if gap => print_line!("{name}: does NOT connect to the archive before it"),
            None => print_line!(
                "{name}: whole: rows {} to {}, after {}, head {}",
                report.header.after.seq + 1,
                report.header.last.seq,
                report.header.after.hash,
                report.header.last.hash
            ),
        }
        valid &= report.fault.is_none() && !gap;
        before = Some(report.header.last);
    }
    Ok(exit_code(valid))
}

/// Verifies the log of a data directory, prints the result, and returns whether the log is whole.
pub(crate) fn verify_log(data_dir: &Path, json: bool) -> anyhow::Result<bool> {
    let report = ReadOnlyStore::open(data_dir)?.verify_audit_log()?;
    if json {
        print_json_line(&report)?;
    } else {
        match &report.fault {
            None => print_line!(
                "the audit log is whole: {}, {}, head {}",
                format_count(report.rows, "row", "rows"),
                format_count(report.anchors, "anchor", "anchors"),
                report.head
            ),
            Some(fault) => print_line!(
                "the audit log is NOT whole: row {} {}",
                fault.seq,
                fault.problem
            ),
        }
    }
    Ok(report.fault.is_none())
}

/// Judges every recorded decision, from the row `from` on, again with the policies that the database keeps, the Graveyards in this program (this
/// release's and the earlier ones) and those of these files.
/// Prints the result, and returns whether every decision came out the same.
pub(crate) fn replay_decisions(
    data_dir: &Path,
    files: &[PathBuf],
    from: u64,
    json: bool,
) -> anyhow::Result<bool> {
    let engine = Engine::new(&EngineConfig::default())?;
    let policies = load_policies(&engine, files)?;
    let archive = ReadOnlyStore::open(data_dir)?;
    let library = PolicyLibrary::from_policies(policies)
        .with_earlier_graveyards(&engine)
        .with_database(&engine, &archive);
    let report = replay_log(&archive, &library, from)?;
    if json {
        print_json_line(&report)?;
    } else {
        print_line!(
            "{} replayed: {} identical, {} denied because a policy failed",
            format_count(report.decisions, "decision", "decisions"),
            report.identical,
            report.failures
        );
        for difference in &report.differences {
            print_line!(
                "row {} ({}): {}",
                difference.seq,
                difference.decision_id,
                difference.problem
            );
        }
    }
    Ok(report.identical + report.failures == report.decisions)
}
