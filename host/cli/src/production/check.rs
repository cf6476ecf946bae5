//! `ark check`: a line for each thing that a host needs in production.

use std::path::PathBuf;
use std::process::ExitCode;

use ark_deploy::check::{CheckLine, CheckOptions, Scope, Status, list_checks, run_checks};
use ark_model::printable::format_count;
use clap::Args;
use serde_json::json;

use crate::args::HostArgs;
use crate::output::{StatusLine, exit_code, print_json, print_line, print_notice};

use super::report_problems;

/// The exit code is 0 if nothing is an error and every check could be made, 1 otherwise.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    host: HostArgs,
    /// The Prometheus that scrapes the host.
    #[arg(long, env = "ARK_PROMETHEUS", value_name = "URL")]
    prometheus: Option<String>,
    /// The directory in which snapshots are kept, each a directory of its own.
    #[arg(long, env = "ARK_SNAPSHOTS", value_name = "DIR")]
    snapshots: Option<PathBuf>,
    /// Exit with 1 for warnings too.
    #[arg(long)]
    strict: bool,
    /// List the checks, and make none.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run_command(args: CheckArgs) -> anyhow::Result<ExitCode> {
    report_problems(args.json, make_checks(args))
}

fn make_checks(args: CheckArgs) -> anyhow::Result<ExitCode> {
    if args.dry_run {
        let names = list_checks(Scope::Everything);
        if args.json {
            print_json(&names)?;
        } else {
            for name in names {
                print_line!("{name}");
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let env_file = args.host.files.enter_env_file()?;
    let options = CheckOptions {
        config: args.host.files.config.clone(),
        overrides: args.host.overrides(),
        env_file,
        prometheus: args.prometheus,
        snapshots: args.snapshots,
    };
    let line = std::cell::RefCell::new(StatusLine::on_terminal());
    let lines = run_checks(
        options,
        Scope::Everything,
        &mut |name| {
            if let Some(line) = line.borrow_mut().as_mut() {
                line.show(&format!("checking: {name}"));
            } else if args.json {
                // The report goes to standard output alone.
                print_notice!("checking: {name}");
            }
        },
        &mut |found| {
            if !args.json {
                if let Some(line) = line.borrow_mut().as_mut() {
                    line.clear();
                }
                print_check_line(found);
            }
        },
    );
    drop(line);
    let count = |status| lines.iter().filter(|one| one.status == status).count();
    let (errors, warnings) = (count(Status::Error), count(Status::Warning));
    let skipped = count(Status::Skipped);
    if args.json {
        print_json(
            &json!({"errors": errors, "warnings": warnings, "skipped": skipped, "lines": lines}),
        )?;
    } else {
        print_line!(
            "{}, {skipped} skipped, {}, {} in order",
            format_count(errors, "error", "errors"),
            format_count(warnings, "warning", "warnings"),
            count(Status::Ok)
        );
    }
    Ok(exit_code(
        errors + skipped == 0 && !(args.strict && warnings > 0),
    ))
}

/// Prints what was found on one line, and its remedy on the next.
pub(crate) fn print_check_line(found: &CheckLine) {
    print_line!(
        "{:<8} {:<17} {}",
        found.status.label(),
        found.check,
        found.found
    );
    if let Some(remedy) = &found.remedy {
        print_line!("{:<26} -> {remedy}", "");
    }
}
