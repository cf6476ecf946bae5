//! `ark validate`: the tests that a host must pass after a deployment.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ark_client::HostClient;
use ark_deploy::VALIDATION_PROBE;
use ark_deploy::exchange::{HostClients, rehearse_validation};
use ark_deploy::validate::{
    CaseResult, CaseStatus, ValidateOptions, ValidationEvent, ValidationReport, list_cases,
    report_unfinished, validate_host,
};
use clap::Args;

use crate::client::connection::Connection;
use crate::output::{StatusLine, describe_error, exit_code, print_json, print_line, print_notice};
use crate::usage::{UsageError, ensure_usage};

use super::interrupts::watch_interrupts;
use super::journals::choose_journal;
use super::junit_file::JunitFile;
use super::report_problems;
use super::telemetry::{TelemetryChoice, find_telemetry};

/// The longest patience, in seconds.
const MAX_PATIENCE: u64 = 3600;

/// The exit code is 0 if no test failed, 1 otherwise.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    connection: Connection,
    /// A file with the token that proposes and sends signals, where the other one is an operator's [default: the same token].
    #[arg(long, value_name = "FILE")]
    submitter_token_file: Option<PathBuf>,
    /// A category of tests: ethics, flow, state, watchdog, isolation, beyond; may be given more than once [default: all].
    #[arg(long, value_name = "CATEGORY")]
    category: Vec<String>,
    /// The address of the host's telemetry, whose objectives are read, or `off` [default: from the configuration, where the API of that is asked].
    #[arg(long, value_name = "URL")]
    telemetry: Option<TelemetryChoice>,
    /// The data directory of the host, on its own machine: the audit log is verified, and the last 1,000 decisions are judged again.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How long something that must come is waited for, in seconds. What has a bound of its own is held to that; the end of another validation of the
    /// host is waited for ten times as long.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    patience: u64,
    /// Write the results to this file, as XML that CI systems read (the form of `junit`).
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// The journal file. The next run reads it and removes what a killed run left [default: in the user's state directory, one for each host].
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// List the tests, and try what they need: the host, the tokens, the journal and the files. Nothing is changed.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run_command(args: &ValidateArgs) -> anyhow::Result<ExitCode> {
    let junit = args.junit.as_ref().filter(|_| !args.dry_run);
    // Before anything else: it may have the results of an earlier run.
    let junit = junit
        .map(|path| JunitFile::begin(path, &args.category))
        .transpose()?;
    let prepared =
        check_arguments(args).and_then(|()| report_problems(args.json, prepare_validation(args)));
    let (client, submitter, options) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            if let Some(junit) = &junit {
                let report = report_unfinished(&args.category, Vec::new(), &describe_error(&error));
                write_junit(junit, &report);
            }
            return Err(error);
        }
    };
    if args.dry_run {
        let clients = HostClients {
            client: &client,
            submitter: &submitter,
        };
        let rehearsed = rehearse_validation(clients, &options, args.junit.as_deref());
        for warning in report_problems(args.json, rehearsed.map_err(Into::into))? {
            print_notice!("{warning}");
        }
        let cases = list_cases(&args.category).map_err(UsageError::new)?;
        if args.json {
            print_json(&cases)?;
        } else {
            print_line!(
                "the agent {VALIDATION_PROBE} is uploaded, used by these tests, and removed:"
            );
            for case in cases {
                print_line!("{case}");
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let stop = watch_interrupts()?;
    let line = RefCell::new(StatusLine::on_terminal());
    let results = RefCell::new(Vec::new());
    let validated = validate_host(
        &client,
        &submitter,
        &options,
        &stop,
        &mut |event| match event {
            ValidationEvent::Begun(name) => {
                if let Some(line) = line.borrow_mut().as_mut() {
                    line.show(name);
                }
            }
            ValidationEvent::Waiting(text)
            | ValidationEvent::LeftOpen(text)
            | ValidationEvent::Warning(text) => {
                if let Some(line) = line.borrow_mut().as_mut() {
                    line.clear();
                }
                print_notice!("{text}");
            }
            ValidationEvent::Ended(result) => {
                results.borrow_mut().push(result.clone());
                if args.json {
                    // The report goes to standard output alone. A terminal has its line.
                    if line.borrow().is_none() {
                        print_notice!("{}", describe_result(result));
                    }
                    return;
                }
                if let Some(line) = line.borrow_mut().as_mut() {
                    line.clear();
                }
                print_line!("{}", describe_result(result));
            }
        },
    );
    drop(line);
    let (report, error) = match validated {
        Ok(report) => (report, None),
        Err(error) => {
            let made = results.take();
            let report = report_unfinished(&options.categories, made, &error.to_string());
            (report, Some(error))
        }
    };
    // Also where standard output takes nothing.
    let written = junit.map(|junit| junit.write_report(&report));
    print_report(&report, args.json)?;
    written.transpose()?;
    match error {
        None => Ok(exit_code(report.passed)),
        Some(error) => Err(error.into()),
    }
}

/// Checks what the command line says by itself.
fn check_arguments(args: &ValidateArgs) -> anyhow::Result<()> {
    ensure_usage!(
        (1..=MAX_PATIENCE).contains(&args.patience),
        "--patience {}: give 1 to {MAX_PATIENCE} seconds",
        args.patience
    );
    list_cases(&args.category).map_err(UsageError::new)?;
    if let Some(data_dir) = args.data_dir.as_ref().filter(|_| !args.dry_run) {
        ensure_usage!(
            data_dir.is_dir(),
            "--data-dir {}: there is no such directory; give the directory of the host's data (data_dir of its configuration), or leave the option out",
            data_dir.display()
        );
    }
    Ok(())
}

/// Writes the report of a command that fails otherwise, whose error is to be told.
fn write_junit(junit: &JunitFile, report: &ValidationReport) {
    if let Err(error) = junit.write_report(report) {
        print_notice!("{}", describe_error(&error));
    }
}

/// The clients of operator and submitter, and what is tested.
fn prepare_validation(
    args: &ValidateArgs,
) -> anyhow::Result<(HostClient, HostClient, ValidateOptions)> {
    let client = args.connection.client()?;
    let submitter_token = args.submitter_token_file.as_deref();
    let submitter = args
        .connection
        .client_with_other(submitter_token, &client)?;
    let options = ValidateOptions {
        categories: args.category.clone(),
        telemetry: find_telemetry(args.telemetry.clone(), client.url()),
        data_dir: args.data_dir.clone(),
        journal: choose_journal(args.journal.clone(), "validate", &client)?,
        patience: Duration::from_secs(args.patience),
    };
    Ok((client, submitter, options))
}

fn print_report(report: &ValidationReport, json: bool) -> anyhow::Result<()> {
    if json {
        print_json(report)?;
    } else {
        print_line!(
            "{} passed, {} failed, {} skipped{}",
            report.count(CaseStatus::Passed),
            report.count(CaseStatus::Failed),
            report.count(CaseStatus::Skipped),
            match (report.interrupted, &report.error) {
                (true, _) => "; INTERRUPTED: the rest was not tested",
                (false, Some(_)) => "; ENDED EARLY: the rest was not tested",
                (false, None) => "",
            }
        );
    }
    Ok(())
}

/// The result of a test on one line.
fn describe_result(result: &CaseResult) -> String {
    let status = match result.status {
        CaseStatus::Passed => "ok",
        CaseStatus::Failed => "FAILED",
        CaseStatus::Skipped => "skipped",
    };
    format!(
        "{status:<8} {:<10} {:<23} {}",
        result.category, result.name, result.detail
    )
}
