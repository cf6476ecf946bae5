//! `ark canary`: a new version in front of real traffic, until it has all of it and the data, or none.
//!
//! Reading order: the commands and what runs them are here; [`start`] has the arguments of a canary that begins, [`other_journals`] those of what may not
//! go on beside it, [`status`] shows what is under way.
//!
//! Must not know: how a canary is run, which is in `ark-deploy`.

mod other_journals;
mod start;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use ark_client::HostClient;
use ark_deploy::canary::{
    CanaryError, CanaryOrder, CanaryReport, HostCanary, OrderAnswer, read_state, rehearse_canary,
    rehearse_order, send_request,
};
use ark_deploy::exchange::find_migration;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::connection::Connection;
use crate::output::{exit_code, print_json, print_line, print_notice};

use super::host_commands::{GoOnArgs, RehearsalArgs};
use super::interrupts::watch_interrupts;
use super::journals::choose_journal;
use super::{describe_step, print_steps, print_unrecorded, report_problems};

use other_journals::OtherJournalArgs;
use start::CanaryStartArgs;
use status::show_status;

#[derive(Debug, Args)]
pub(crate) struct CanaryArgs {
    #[command(flatten)]
    connection: Connection,
    /// The journal file, by which a canary goes on or is undone [default: in the user's state directory, one for each host].
    #[arg(long, global = true, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: CanaryCommand,
}

#[derive(Debug, Subcommand)]
enum CanaryCommand {
    /// Moves requests to a front of the new version in steps, then hands over the data; moves them back when a check fails. The exit code is 0
    /// if the new version has requests and data.
    Start(Box<CanaryStartArgs>),
    /// Shows the canaries: the host's, and those of agents and policies.
    Status,
    /// Keeps the share that the new version has, and goes on checking.
    Pause(RehearsalArgs),
    /// Ends a pause; or goes on with a canary whose command was killed.
    Resume(ResumeArgs),
    /// Goes on to the next share at the next check that is a success.
    Promote(RehearsalArgs),
    /// Moves all requests back to the stable fronts; after a kill, undoes what was begun.
    Abort(GoOnArgs),
}

impl CanaryCommand {
    /// The order that is only to be tried.
    const fn find_rehearsed(&self) -> Option<CanaryOrder> {
        let (args, order) = match self {
            Self::Start(_) | Self::Status => return None,
            Self::Pause(args) => (args, CanaryOrder::Pause),
            Self::Resume(args) => (&args.go_on.rehearsal, CanaryOrder::Resume),
            Self::Promote(args) => (args, CanaryOrder::Promote),
            Self::Abort(args) => (&args.rehearsal, CanaryOrder::Abort),
        };
        if args.dry_run { Some(order) } else { None }
    }
}

#[derive(Debug, Args)]
struct ResumeArgs {
    #[command(flatten)]
    go_on: GoOnArgs,
    #[command(flatten)]
    others: OtherJournalArgs,
}

pub(crate) fn run_command(args: CanaryArgs) -> anyhow::Result<ExitCode> {
    report_problems(args.json, run_canary(args))
}

fn run_canary(args: CanaryArgs) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    let journal = choose_journal(args.journal, "canary", &client)?;
    // Progress goes to standard error, so that the report can be piped.
    let mut tell = |step: &str, detail: Value| print_notice!("{}", describe_step(step, &detail));
    if let Some(order) = args.command.find_rehearsed() {
        let mut others = OtherJournalArgs::default();
        let given = match args.command {
            CanaryCommand::Resume(args) => {
                others = args.others;
                args.go_on.list_given()?
            }
            CanaryCommand::Abort(args) => args.list_given()?,
            _ => Vec::new(),
        };
        let excluded = others.choose_journals(&client)?;
        let steps = rehearse_order(&client, &journal, order, &given, &excluded)?;
        print_steps(&steps, args.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = match args.command {
        CanaryCommand::Status => {
            return show_status(&client, &journal, args.json);
        }
        CanaryCommand::Start(start) => {
            let dry_run = start.rehearsal.dry_run;
            let excluded = start.others.choose_journals(&client)?;
            let plan = start.into_plan()?;
            if !dry_run
                && let Some(take_over) = &plan.take_over
                && let Some(migration) = find_migration(&take_over.new_binary, &take_over.data_dir)?
            {
                print_notice!("{}", migration.describe_migration());
            }
            if dry_run {
                let steps = rehearse_canary(&client, plan, &journal, &excluded)?;
                print_steps(&steps, args.json)?;
                return Ok(ExitCode::SUCCESS);
            }
            let stop = watch_interrupts()?;
            HostCanary::start(&client, plan, &journal, &excluded, &stop, &mut tell)?
                .resume(&stop)?
        }
        CanaryCommand::Pause(_) => {
            return ask_canary(&client, &journal, CanaryOrder::Pause, args.json);
        }
        CanaryCommand::Promote(_) => {
            return ask_canary(&client, &journal, CanaryOrder::Promote, args.json);
        }
        CanaryCommand::Resume(more) => {
            let excluded = more.others.choose_journals(&client)?;
            let given = more.go_on.list_given()?;
            let stop = watch_interrupts()?;
            let request = CanaryOrder::Resume;
            // A process that runs it takes no options: with some, the canary is taken up or that is refused.
            if given.is_empty() && send_and_print(&client, &journal, request, &stop, args.json)? {
                return Ok(ExitCode::SUCCESS);
            }
            let canary = HostCanary::take_up(&client, &journal, &given, &mut tell)?;
            canary.refuse_others(&excluded)?;
            canary.check_weights()?;
            canary.check_token()?;
            canary.resume(&stop)?
        }
        CanaryCommand::Abort(more) => {
            let given = more.list_given()?;
            let stop = watch_interrupts()?;
            let request = CanaryOrder::Abort;
            if given.is_empty() && send_and_print(&client, &journal, request, &stop, args.json)? {
                return Ok(ExitCode::SUCCESS);
            }
            let canary = HostCanary::take_up(&client, &journal, &given, &mut tell)?;
            let report = canary.abort("an operator ended it", &stop)?;
            print_report(&report, args.json)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    print_report(&report, args.json)?;
    Ok(exit_code(report.promoted))
}

/// Asks something of the command that runs the canary, and prints that it was taken. Returns whether it was.
fn send_and_print(
    client: &HostClient,
    journal: &std::path::Path,
    request: CanaryOrder,
    stop: &AtomicBool,
    json: bool,
) -> anyhow::Result<bool> {
    let canary = read_state(client, journal)?;
    let answer = send_request(client, journal, request, stop)?;
    let (is_taken, has_ended) = (answer != OrderAnswer::NotRun, answer == OrderAnswer::Ended);
    let was_paused = canary.as_ref().map(|canary| canary.paused);
    let (id, version) = canary.map(|canary| (canary.id, canary.version)).unzip();
    if is_taken && json {
        print_json(
            &json!({"request": request.as_str(), "id": id, "version": version, "was_paused": was_paused, "noted": !has_ended}),
        )?;
    } else if is_taken {
        let version = version.as_deref().unwrap_or("the version");
        let note = if request == CanaryOrder::Resume && was_paused == Some(false) {
            "; it was not paused, and its step goes on"
        } else {
            ""
        };
        print_line!(
            "the canary of {version} has taken it: {}{note}",
            request.as_str()
        );
    }
    if has_ended {
        print_notice!(
            "there was no room for the order or its entry in the journal {}, so that its end was waited for: the canary is over; make room there before another one begins",
            journal.display()
        );
    }
    Ok(is_taken)
}

fn ask_canary(
    client: &HostClient,
    journal: &std::path::Path,
    request: CanaryOrder,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let stop = watch_interrupts()?;
    if !send_and_print(client, journal, request, &stop, json)? {
        return Err(CanaryError::NotRun.into());
    }
    Ok(ExitCode::SUCCESS)
}

fn print_report(report: &CanaryReport, json: bool) -> anyhow::Result<()> {
    print_unrecorded(&report.unrecorded);
    if json {
        return print_json(report);
    }
    if report.promoted {
        print_line!("{} is promoted: {}", report.version, report.reason);
        print_line!(
            "the other fronts have the stable version: start them with the new one, then give them their weights again"
        );
    } else {
        let tripwire = report.tripwire.map_or("", |tripwire| tripwire.as_str());
        print_line!(
            "{} went BACK ({tripwire}): {}",
            report.version,
            report.reason
        );
        if let Some(unweighed) = &report.unweighed {
            print_line!("{unweighed}");
        }
        if let Some(unnoted) = &report.unnoted {
            print_line!("{unnoted}");
        }
        if let Some(file) = &report.token_file {
            print_line!(
                "the database of before has no token; a new one of an administrator is in {}",
                file.display()
            );
        }
    }
    Ok(())
}
