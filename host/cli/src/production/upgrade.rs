//! `ark upgrade`: a new version in the place of the host on this machine.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use ark_client::HostClient;
use ark_deploy::exchange::{GivenOption, HostClients};
use ark_deploy::rollback::AcceptedLoss;
use ark_deploy::upgrade::{
    Upgrade, UpgradeError, UpgradePlan, UpgradeReport, UpgradeVerb, rehearse_upgrade,
};
use clap::Args;
use serde_json::Value;

use crate::args::configured_data_dir;
use crate::client::connection::Connection;
use crate::output::{exit_code, print_json, print_line, print_notice};
use crate::usage::UsageError;

use super::host_commands::{HostPlaceArgs, INTERRUPT_GRACE, ValidationArgs, parse_version_name};
use super::interrupts::watch_interrupts_within;
use super::journals::{choose_journal, default_journal};
use super::{describe_step, print_steps, print_unrecorded, report_problems};

/// The exit code is 0 if the new version serves and passes its validation. Run it again after a kill: it goes on, and takes options that correct it.
#[derive(Debug, Args)]
pub(crate) struct UpgradeArgs {
    #[command(flatten)]
    connection: Connection,
    /// The `ark` of the new version; none: go on with an upgrade whose command was killed.
    #[arg(value_name = "NEW_BINARY")]
    new_binary: Option<PathBuf>,
    /// Undo an upgrade whose command was killed: the stable version serves again.
    #[arg(long, conflicts_with = "new_binary")]
    back: bool,
    /// Stay with the new version: end an upgrade whose command was killed, or that cannot go back, once the new version serves.
    #[arg(long, conflicts_with_all = ["new_binary", "back"])]
    keep: bool,
    /// The name of the new version, for the record [default: what its `ark version` says].
    #[arg(long, value_name = "NAME", value_parser = parse_version_name)]
    name: Option<String>,
    #[command(flatten)]
    place: HostPlaceArgs,
    /// The `ark` of the version that serves [default: this program; with --unit the program of the unit].
    #[arg(long, value_name = "FILE")]
    stable_binary: Option<PathBuf>,
    /// Starts the new version, and returns; also where it runs.
    #[arg(long, value_name = "COMMAND", conflicts_with = "unit")]
    start_command: Option<String>,
    /// Starts the version that serves now again, and returns.
    #[arg(long, value_name = "COMMAND", conflicts_with = "unit")]
    start_stable_command: Option<String>,
    /// The configuration file of the host, for the check of the new version.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The file of environment variables of the host, likewise.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// How many decisions of the new version may be set aside on the way back, at most, where it has migrated the database.
    #[arg(long, value_name = "N")]
    accept_loss_of_decisions: Option<AcceptedLoss>,
    #[command(flatten)]
    validation: ValidationArgs,
    /// The journal file [default: in the user's state directory, one for each host].
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// The journal of this host's rollbacks, if it has another place than its own.
    #[arg(long, value_name = "FILE")]
    rollback_journal: Option<PathBuf>,
    /// The journal of this host's canaries, if it has another place than its own.
    #[arg(long, value_name = "FILE")]
    canary_journal: Option<PathBuf>,
    /// Show the steps that would be taken, also of an upgrade that goes on or is undone, and check all that they need. Nothing is changed.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl UpgradeArgs {
    /// What is given, for an upgrade that goes on. Values are checked in any case.
    fn list_given(&self, client: &HostClient) -> anyhow::Result<Vec<GivenOption>> {
        let mut given = Vec::new();
        given.extend(self.name.clone().map(GivenOption::Name));
        self.place.list_given(&mut given)?;
        given.extend(self.stable_binary.clone().map(GivenOption::StableBinary));
        given.extend(self.start_command.clone().map(GivenOption::StartCommand));
        let stable = self.start_stable_command.clone();
        given.extend(stable.map(GivenOption::StartStableCommand));
        given.extend(self.config.clone().map(GivenOption::Config));
        given.extend(self.env_file.clone().map(GivenOption::EnvFile));
        self.validation.list_given(client.url(), &mut given)?;
        let journal = self.rollback_journal.clone();
        given.extend(journal.map(GivenOption::RollbackJournal));
        given.extend(self.canary_journal.clone().map(GivenOption::CanaryJournal));
        Ok(given)
    }

    /// What is asked for; `None`: nothing, so that an upgrade that was begun goes on.
    fn into_plan(self, client: &HostClient) -> anyhow::Result<Option<UpgradePlan>> {
        let Some(new_binary) = self.new_binary else {
            return Ok(None);
        };
        let timeout = self.place.timeout()?;
        let place = &self.place;
        let control = place.control("--start-command", self.start_command.as_deref())?;
        let stable_control = place.control(
            "--start-stable-command",
            self.start_stable_command.as_deref(),
        )?;
        let stable_binary = match self.stable_binary {
            Some(binary) => binary,
            None if place.has_unit() => place.program(),
            None => std::env::current_exe().context("the path of this program")?,
        };
        let data_dir = match self.place.data_dir.clone() {
            Some(dir) => dir,
            None => configured_data_dir(self.config.as_deref())?,
        };
        let mut check_args = Vec::new();
        for (option, file) in [("--config", &self.config), ("--env-file", &self.env_file)] {
            if let Some(file) = file {
                let file = file
                    .to_str()
                    .ok_or_else(|| UsageError(format!("{option}: the path is not UTF-8")))?;
                check_args.extend([option.to_owned(), file.to_owned()]);
            }
        }
        Ok(Some(UpgradePlan {
            // Empty: what the program says.
            version: self.name.unwrap_or_default(),
            new_binary,
            stable_binary,
            data_dir,
            snapshots: self
                .place
                .snapshots
                .ok_or_else(|| UsageError::new("give --snapshots"))?,
            control,
            stable_control,
            check_args,
            timeout,
            validation: self.validation.into_plan(
                &default_journal("validate", client)?,
                client.url(),
                self.config.as_deref(),
                self.env_file.as_deref(),
            )?,
            rollback_journal: choose_journal(self.rollback_journal, "rollback", client)?,
            canary_journal: choose_journal(self.canary_journal, "canary", client)?,
        }))
    }
}

pub(crate) fn run_command(args: UpgradeArgs) -> anyhow::Result<ExitCode> {
    report_problems(args.json, run_upgrade(args))
}

fn run_upgrade(args: UpgradeArgs) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    let submitter_token = args.validation.submitter_token_file.as_deref();
    let submitter = args
        .connection
        .client_with_other(submitter_token, &client)?;
    let journal = choose_journal(args.journal.clone(), "upgrade", &client)?;
    let (json, dry_run, back, keep) = (args.json, args.dry_run, args.back, args.keep);
    let accepted = args.accept_loss_of_decisions;
    let given = args.list_given(&client)?;
    let plan = args.into_plan(&client)?;
    let refuse = |error| {
        match error {
        UpgradeError::None(_) if !given.is_empty() => {
            UsageError::new("give the `ark` of the new version: no upgrade is under way that could take the options").into()
        }
        error => anyhow::Error::from(error),
    }
    };
    let clients = HostClients {
        client: &client,
        submitter: &submitter,
    };
    if dry_run {
        let verb = match (back, keep) {
            (true, _) => UpgradeVerb::Back,
            (_, true) => UpgradeVerb::Keep,
            _ => UpgradeVerb::Run,
        };
        let steps = rehearse_upgrade(clients, &journal, plan, &given, verb).map_err(refuse)?;
        print_steps(&steps, json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let stop = watch_interrupts_within(INTERRUPT_GRACE)?;
    // Progress goes to standard error, so that the report can be piped.
    let mut tell = |step: &str, detail: Value| print_notice!("{}", describe_step(step, &detail));
    let opened = Upgrade::open(clients, &journal, plan, &given, accepted, &stop, &mut tell);
    let upgrade = opened.map_err(refuse)?;
    let report = if keep {
        upgrade.keep_version()?
    } else if back {
        upgrade.undo_upgrade(&stop)?
    } else {
        upgrade.run_steps(&stop)?
    };
    print_report(&report, json)?;
    Ok(exit_code(report.upgraded != back))
}

fn print_report(report: &UpgradeReport, json: bool) -> anyhow::Result<()> {
    print_unrecorded(&report.unrecorded);
    if json {
        return print_json(report);
    }
    if report.upgraded {
        print_line!("{} serves: {}", report.version, report.reason);
        if let Some(pause) = report.pause_ms {
            print_line!("{pause} ms from the order to stop until the new version was ready");
        }
        if let Some(why) = &report.pause_unknown {
            print_line!("nobody knows how long no host was there: {why}");
        }
    } else {
        print_line!("{} went BACK: {}", report.version, report.reason);
    }
    if let Some(rollback) = &report.rollback {
        super::rollback::print_report(rollback, false)?;
    }
    Ok(())
}
