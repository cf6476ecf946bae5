//! `ark rollback`: back to the stable version.

use std::path::PathBuf;
use std::process::ExitCode;

use ark_client::HostClient;
use ark_deploy::exchange::{GivenOption, HostClients};
use ark_deploy::rollback::{
    AcceptedLoss, PastRollback, Rollback, RollbackError, RollbackPlan, RollbackReport,
    read_history, rehearse_rollback,
};
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::args::configured_data_dir;
use crate::client::connection::Connection;
use crate::output::{exit_code, print_empty, print_json, print_line, print_notice};
use crate::time::format_moment;
use crate::usage::{UsageError, ensure_usage};

use super::host_commands::{
    HostPlaceArgs, INTERRUPT_GRACE, TrafficArgs, ValidationArgs, parse_seconds, parse_version_name,
};
use super::interrupts::watch_interrupts_within;
use super::journals::{choose_journal, default_journal};
use super::{describe_step, print_steps, print_unrecorded, report_problems};

/// How often the health is checked where nothing else is said.
const HEALTH_TRIES: u32 = 10;
/// The pause between two of these checks likewise, in seconds.
const HEALTH_PAUSE: f64 = 5.0;

/// The exit code is 0 if the stable version serves and passes its validation. Run it again after a kill: it goes on, and takes options that correct it.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    #[command(flatten)]
    connection: Connection,
    /// The journal file, which is also the history [default: in the user's state directory, one for each host].
    #[arg(long, global = true, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<RollbackCommand>,
    #[command(flatten)]
    start: RollbackStartArgs,
}

#[derive(Debug, Subcommand)]
enum RollbackCommand {
    /// Shows the rollbacks of this host.
    History,
}

#[derive(Debug, Args)]
struct RollbackStartArgs {
    /// The `ark` of the stable version.
    #[arg(long, value_name = "FILE")]
    stable_binary: Option<PathBuf>,
    /// The name of the stable version, for the record [default: what its `ark version` says].
    #[arg(long, value_name = "NAME", value_parser = parse_version_name)]
    name: Option<String>,
    /// Why, for the record [default: an operator goes back].
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    place: HostPlaceArgs,
    /// Starts the stable version, and returns; also where it runs.
    #[arg(long, value_name = "COMMAND", conflicts_with = "unit")]
    start_command: Option<String>,
    /// The snapshot that takes the database's place where the stable version cannot open that [default: the last one that it can open].
    #[arg(long, value_name = "DIR")]
    snapshot: Option<PathBuf>,
    /// How many decisions may be set aside with a database that the stable version cannot open, at most; `unknown` for one that cannot be read.
    #[arg(long, value_name = "N")]
    accept_loss_of_decisions: Option<AcceptedLoss>,
    /// How often the health of the stable version is checked until it is good [default: 10].
    #[arg(long, value_name = "N")]
    health_tries: Option<u32>,
    /// The pause between two of these checks, in seconds [default: 5].
    #[arg(long, value_name = "SECONDS")]
    health_pause: Option<f64>,
    #[command(flatten)]
    traffic: TrafficArgs,
    #[command(flatten)]
    validation: ValidationArgs,
    /// The journal of this host's canaries, if it has another place than its own.
    #[arg(long, value_name = "FILE")]
    canary_journal: Option<PathBuf>,
    /// The journal of this host's upgrades, none of which may be under way, likewise.
    #[arg(long, value_name = "FILE")]
    upgrade_journal: Option<PathBuf>,
    /// End a rollback that cannot go on: nothing is undone, and what serves then, database and requests stay as they are.
    #[arg(long, conflicts_with_all = ["stable_binary", "dry_run", "stop_command", "start_command", "unit"])]
    give_up: bool,
    /// Show the steps that would be taken, also of a rollback that goes on, and check all that they need. Nothing is changed.
    #[arg(long)]
    dry_run: bool,
}

impl RollbackStartArgs {
    /// What is given, for a rollback that goes on. Values are checked in any case.
    fn list_given(&self, client: &HostClient) -> anyhow::Result<Vec<GivenOption>> {
        let mut given = Vec::new();
        given.extend(self.name.clone().map(GivenOption::Name));
        given.extend(self.reason.clone().map(GivenOption::Reason));
        given.extend(self.stable_binary.clone().map(GivenOption::StableBinary));
        self.place.list_given(&mut given)?;
        given.extend(self.start_command.clone().map(GivenOption::StartCommand));
        given.extend(self.snapshot.clone().map(GivenOption::Snapshot));
        if let Some(tries) = self.health_tries {
            ensure_usage!(
                (1..=1000).contains(&tries),
                "--health-tries {tries}: give 1 to 1000"
            );
            given.push(GivenOption::HealthTries(tries));
        }
        if let Some(pause) = self.health_pause {
            let pause = parse_seconds("--health-pause", pause)?;
            given.push(GivenOption::HealthPause(pause));
        }
        self.traffic.list_given(&mut given)?;
        self.validation.list_given(client.url(), &mut given)?;
        given.extend(self.canary_journal.clone().map(GivenOption::CanaryJournal));
        given.extend(
            self.upgrade_journal
                .clone()
                .map(GivenOption::UpgradeJournal),
        );
        Ok(given)
    }

    /// What is asked for; `None`: nothing, so that a rollback that was begun goes on. `given`: what [`Self::list_given`] returned.
    fn into_plan(
        self,
        client: &HostClient,
        given: &[GivenOption],
    ) -> anyhow::Result<Option<RollbackPlan>> {
        let Some(binary) = self.stable_binary else {
            return Ok(None);
        };
        let timeout = self.place.timeout()?;
        let traffic = TrafficArgs::plan_traffic(given);
        let control = self
            .place
            .control("--start-command", self.start_command.as_deref())?;
        Ok(Some(RollbackPlan {
            // Empty: what the program says.
            version: self.name.unwrap_or_default(),
            reason: self
                .reason
                .unwrap_or_else(|| "an operator goes back".to_owned()),
            upgrade: None,
            binary,
            data_dir: match self.place.data_dir {
                Some(dir) => dir,
                None => configured_data_dir(None)?,
            },
            snapshots: self
                .place
                .snapshots
                .ok_or_else(|| UsageError::new("give --snapshots"))?,
            snapshot: self.snapshot,
            control,
            timeout,
            tries: self.health_tries.unwrap_or(HEALTH_TRIES),
            pause: parse_seconds("--health-pause", self.health_pause.unwrap_or(HEALTH_PAUSE))?,
            traffic,
            validation: self.validation.into_plan(
                &default_journal("validate", client)?,
                client.url(),
                None,
                None,
            )?,
            canary_journal: choose_journal(self.canary_journal, "canary", client)?,
            upgrade_journal: Some(choose_journal(self.upgrade_journal, "upgrade", client)?),
        }))
    }
}

pub(crate) fn run_command(args: RollbackArgs) -> anyhow::Result<ExitCode> {
    report_problems(args.json, run_rollback(args))
}

fn run_rollback(args: RollbackArgs) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    let journal = choose_journal(args.journal, "rollback", &client)?;
    if let Some(RollbackCommand::History) = args.command {
        let history = read_history(&client, &journal)?;
        if args.json {
            print_json(&history)?;
        } else {
            if history.is_empty() {
                print_empty!("no rollback of this host has been recorded");
            }
            history.iter().for_each(print_past);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let submitter_token = args.start.validation.submitter_token_file.as_deref();
    let submitter = args
        .connection
        .client_with_other(submitter_token, &client)?;
    let (dry_run, accepted) = (args.start.dry_run, args.start.accept_loss_of_decisions);
    let give_up = args.start.give_up;
    let mut given = args.start.list_given(&client)?;
    if give_up {
        // What the environment says is of no use then: nothing is done by it.
        given.clear();
    }
    let plan = args.start.into_plan(&client, &given)?;
    let refuse = |error| {
        match error {
        RollbackError::None(_) if !given.is_empty() => {
            UsageError::new("give --stable-binary, the `ark` of the stable version: no rollback is under way that could take the other options").into()
        }
        error => anyhow::Error::from(error),
    }
    };
    let clients = HostClients {
        client: &client,
        submitter: &submitter,
    };
    if dry_run {
        let steps = rehearse_rollback(clients, &journal, plan, &given, accepted).map_err(refuse)?;
        print_steps(&steps, args.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let stop = watch_interrupts_within(INTERRUPT_GRACE)?;
    // Progress goes to standard error, so that the report can be piped.
    let mut tell = |step: &str, detail: Value| print_notice!("{}", describe_step(step, &detail));
    let opened = Rollback::open(clients, &journal, plan, &given, accepted, &stop, &mut tell);
    let rollback = opened.map_err(refuse)?;
    if give_up {
        print_report(&rollback.give_up()?, args.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = rollback.run_steps(&stop)?;
    print_report(&report, args.json)?;
    Ok(exit_code(report.past.passed))
}

/// Prints a rollback of the history.
fn print_past(past: &PastRollback) {
    print_line!(
        "{} {} to {}: {}",
        format_moment(past.began_at_ms),
        past.id,
        past.version,
        past.reason
    );
    for step in &past.steps {
        print_line!("    {:<11} {}", step.step.as_str(), step.detail);
    }
    for failure in &past.failures {
        print_line!("    failed: {failure}");
    }
    let result = past.result.as_deref();
    print_line!(
        "    {}",
        result.unwrap_or(
            "it has not ended; `ark rollback` goes on with it, `ark rollback --give-up` ends it"
        )
    );
}

/// Prints what a rollback came to.
pub(super) fn print_report(report: &RollbackReport, json: bool) -> anyhow::Result<()> {
    print_unrecorded(&report.unrecorded);
    if json {
        return print_json(report);
    }
    print_past(&report.past);
    if let Some(file) = &report.token_file {
        print_line!(
            "the snapshot has no token; a new one of an administrator is in {}",
            file.display()
        );
    }
    Ok(())
}
