//! `ark canary`: a new version in front of real traffic, until it has all of it and the data, or none.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ark_client::{Answer, ClientError, HostClient};
use ark_deploy::canary::{
    BaselineSource, CanaryError, CanaryOrder, CanaryPlan, CanaryReport, CanaryState,
    ExcludedJournals, HealthBounds, HostCanary, TakeOverPlan, read_state, rehearse_canary,
    rehearse_order, send_request,
};
use ark_deploy::exchange::find_migration;
use ark_deploy::haproxy::HaproxyAddress;
use ark_deploy::{SYNTHETIC_REQUESTER, VALIDATION_PROBE};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::connection::Connection;
use crate::output::{exit_code, print_json, print_line, print_notice};
use crate::usage::{UsageError, ensure_usage};

use super::host_commands::{GoOnArgs, RehearsalArgs, parse_seconds, parse_version_name};
use super::interrupts::watch_interrupts;
use super::journals::choose_journal;
use super::{describe_step, print_steps, print_unrecorded, report_problems};

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

/// Where the journals of the exchanges are beside which a canary does not go on.
#[derive(Debug, Default, Args)]
struct OtherJournalArgs {
    /// The journal of this host's upgrades, none of which may be under way, if it has another place than its own.
    #[arg(long, value_name = "FILE")]
    upgrade_journal: Option<PathBuf>,
    /// The journal of this host's rollbacks, likewise.
    #[arg(long, value_name = "FILE")]
    rollback_journal: Option<PathBuf>,
}

impl OtherJournalArgs {
    fn choose_journals(&self, client: &HostClient) -> anyhow::Result<ExcludedJournals> {
        Ok(ExcludedJournals {
            upgrade: choose_journal(self.upgrade_journal.clone(), "upgrade", client)?,
            rollback: choose_journal(self.rollback_journal.clone(), "rollback", client)?,
        })
    }
}

#[derive(Debug, Args)]
struct CanaryStartArgs {
    /// The name of the new version, for the record.
    #[arg(long, value_name = "NAME", value_parser = parse_version_name)]
    name: String,
    /// The runtime socket of `HAProxy`: a path, or HOST:PORT. It needs `level admin`.
    #[arg(long, env = "ARK_HAPROXY", value_name = "SOCKET")]
    haproxy: HaproxyAddress,
    /// The backend of `HAProxy` with the fronts.
    #[arg(long, default_value = "ark", value_name = "NAME")]
    backend: String,
    /// The server of the backend that is the front of the new version.
    #[arg(long, default_value = "canary", value_name = "NAME")]
    server: String,
    /// The Prometheus that scrapes the host and the front.
    #[arg(long, env = "ARK_PROMETHEUS", value_name = "URL")]
    prometheus: String,
    /// Selects the series of the stable fronts in Prometheus, with which the new version's front is compared.
    #[arg(long, default_value = "job=\"ark-front\"", value_name = "MATCHERS")]
    stable_series: String,
    /// Selects the series of the new version's front.
    #[arg(
        long,
        default_value = "job=\"ark-front-canary\"",
        value_name = "MATCHERS"
    )]
    canary_series: String,
    /// The shares in percent.
    #[arg(long, value_delimiter = ',', default_value = "10,25,50,100")]
    shares: Vec<u32>,
    /// How long each share is kept, in seconds.
    #[arg(long, default_value_t = 600.0, value_name = "SECONDS")]
    step: f64,
    /// The pause between two checks, in seconds.
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    interval: f64,
    /// How long a step is prolonged while its measurements say too little, in seconds. Then everything goes back.
    #[arg(long, default_value_t = 600.0, value_name = "SECONDS")]
    deadline: f64,
    /// The time before that is compared with, in seconds: what the stable fronts judged in it, from Prometheus.
    #[arg(long, default_value_t = 3600.0, value_name = "SECONDS")]
    baseline: f64,
    /// A report of `ark synthetic --json` over a stable front to compare with, in place of the time before.
    #[arg(long, value_name = "FILE")]
    baseline_report: Option<PathBuf>,
    /// Over which time the percentile of a check is computed, in seconds. Prometheus needs two scrapes in it.
    #[arg(long, default_value_t = 60.0, value_name = "SECONDS")]
    latency_window: f64,
    /// How many decisions a measurement needs at least.
    #[arg(long, default_value_t = 30, value_name = "N")]
    min_samples: u64,
    /// How many standard deviations more denials than before are too many.
    #[arg(long, default_value_t = 3.0)]
    sigmas: f64,
    /// The 95th percentile of the time of a request, at most, in milliseconds.
    #[arg(long, default_value_t = 400, value_name = "MS")]
    max_p95: u64,
    /// In how many checks in a row it must be above that.
    #[arg(long, default_value_t = 3, value_name = "N")]
    slow_checks: u32,
    /// Decisions that the new version may judge otherwise, in one step: for a release that changes policies.
    #[arg(long, default_value_t = 0, value_name = "N")]
    max_different: u64,
    /// The share of requests that may fail, in percent.
    #[arg(long, default_value_t = 1.0, value_name = "PERCENT")]
    max_errors: f64,
    /// The resident memory of the front, at most, in MiB.
    #[arg(long, default_value_t = 2048, value_name = "MIB")]
    max_memory: u32,
    /// In how many checks in a row the new version may get no request.
    #[arg(long, default_value_t = 2, value_name = "N")]
    idle_checks: u32,
    /// How long a quarantine counts after it began, in seconds, also when it was ended meanwhile.
    #[arg(long, default_value_t = 600.0, value_name = "SECONDS")]
    quarantine_window: f64,
    /// The agents whose quarantine does not count: the probe of `ark validate`, and the requester of `ark synthetic`.
    #[arg(
        long,
        value_delimiter = ',',
        default_values = [VALIDATION_PROBE, SYNTHETIC_REQUESTER],
        value_name = "NAME"
    )]
    ignore_quarantine: Vec<String>,
    /// The `ark` of the new version, with which it takes the data over at the end. It needs the four options below.
    #[arg(long, value_name = "FILE", requires_all = ["data_dir", "snapshots", "stop_command", "start_command", "start_stable_command"])]
    new_binary: Option<PathBuf>,
    /// The data directory of the host, which is on this machine.
    #[arg(long, value_name = "DIR", requires = "new_binary")]
    data_dir: Option<PathBuf>,
    /// The directory in which snapshots are made.
    #[arg(long, env = "ARK_SNAPSHOTS", value_name = "DIR")]
    snapshots: Option<PathBuf>,
    /// Stops the host that runs, and returns when it has ended; also where none runs. E.g. `systemctl stop ark`.
    #[arg(long, value_name = "COMMAND", requires = "new_binary")]
    stop_command: Option<String>,
    /// Starts the new version, and returns; also where it runs.
    #[arg(long, value_name = "COMMAND", requires = "new_binary")]
    start_command: Option<String>,
    /// Starts the stable version again, and returns.
    #[arg(long, value_name = "COMMAND", requires = "new_binary")]
    start_stable_command: Option<String>,
    #[command(flatten)]
    others: OtherJournalArgs,
    /// How long each of these commands, and the start of a host, may take, in seconds. Fronts park requests for 30 s (`--hold-for`).
    #[arg(long, default_value_t = 25.0, value_name = "SECONDS")]
    take_over_timeout: f64,
    #[command(flatten)]
    rehearsal: RehearsalArgs,
}

impl CanaryStartArgs {
    fn into_plan(self) -> anyhow::Result<CanaryPlan> {
        let growing = self.shares.windows(2).all(|pair| pair[0] < pair[1]);
        ensure_usage!(
            growing
                && self.shares.first().is_some_and(|first| *first > 0)
                && self.shares.last() == Some(&100),
            "--shares {:?}: give growing numbers from 1 to 100, the last 100",
            self.shares
        );
        ensure_usage!(
            self.sigmas.is_finite() && (0.0..=10.0).contains(&self.sigmas),
            "--sigmas {}: give 0 to 10",
            self.sigmas
        );
        ensure_usage!(
            (0.0..=100.0).contains(&self.max_errors),
            "--max-errors {}: give 0 to 100",
            self.max_errors
        );
        ensure_usage!(
            self.min_samples > 0 && self.slow_checks > 0 && self.idle_checks > 0,
            "--min-samples, --slow-checks and --idle-checks: give 1 or more"
        );
        let interval = parse_seconds("--interval", self.interval)?;
        let quarantine_window = parse_seconds("--quarantine-window", self.quarantine_window)?;
        // One that is over before the next check would not be seen.
        ensure_usage!(
            quarantine_window >= interval,
            "--quarantine-window {}: give --interval ({}) or more",
            self.quarantine_window,
            self.interval
        );
        let timeout = parse_seconds("--take-over-timeout", self.take_over_timeout)?;
        let take_over = match self.new_binary {
            None => None,
            Some(new_binary) => {
                let needed = "--new-binary needs --data-dir, --snapshots, --stop-command, --start-command and --start-stable-command";
                let missing = || UsageError::new(needed);
                Some(TakeOverPlan {
                    new_binary,
                    data_dir: self.data_dir.ok_or_else(missing)?,
                    snapshots: self.snapshots.ok_or_else(missing)?,
                    stop_command: self.stop_command.ok_or_else(missing)?,
                    start_command: self.start_command.ok_or_else(missing)?,
                    start_stable_command: self.start_stable_command.ok_or_else(missing)?,
                    timeout,
                })
            }
        };
        Ok(CanaryPlan {
            version: self.name,
            haproxy: self.haproxy,
            backend: self.backend,
            server: self.server,
            prometheus: self.prometheus,
            stable_series: self.stable_series,
            canary_series: self.canary_series,
            latency_window: parse_seconds("--latency-window", self.latency_window)?,
            shares: self.shares,
            step: parse_seconds("--step", self.step)?,
            interval,
            deadline: parse_seconds("--deadline", self.deadline)?,
            baseline: match self.baseline_report {
                Some(path) => BaselineSource::Synthetic(path),
                None => BaselineSource::Prometheus(parse_seconds("--baseline", self.baseline)?),
            },
            limits: HealthBounds {
                min_samples: self.min_samples,
                sigmas: self.sigmas,
                max_p95: Duration::from_millis(self.max_p95),
                slow_checks: self.slow_checks,
                max_different: self.max_different,
                max_error_share: self.max_errors / 100.0,
                max_memory_bytes: f64::from(self.max_memory) * 1024.0 * 1024.0,
                quarantine_window,
                quarantines_left_out: self.ignore_quarantine,
                idle_checks: self.idle_checks,
            },
            take_over,
        })
    }
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
    let is_taken = send_request(client, journal, request, stop)?;
    let was_paused = canary.as_ref().map(|canary| canary.paused);
    let (id, version) = canary.map(|canary| (canary.id, canary.version)).unzip();
    if is_taken && json {
        print_json(
            &json!({"request": request.as_str(), "id": id, "version": version, "was_paused": was_paused}),
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
        if let Some(file) = &report.token_file {
            print_line!(
                "the database of before has no token; a new one of an administrator is in {}",
                file.display()
            );
        }
    }
    Ok(())
}

/// How many pages of agents, and of policies, are looked through for canaries.
const MAX_PAGES: u32 = 200;

/// What the host says of canaries.
struct HostCanaries {
    /// The last steps of deployments, newest first.
    steps: Value,
    /// The agents with a version on trial.
    agents: Vec<Value>,
    /// The policies with a version on trial.
    policies: Vec<Value>,
}

impl HostCanaries {
    fn read(client: &HostClient) -> Result<Self, ClientError> {
        let steps = client
            .get("/v1/deployments?limit=20")
            .and_then(Answer::into_success)?;
        let on_trial = |list: &str, member: &str| -> Result<Vec<Value>, ClientError> {
            let items = client.read_list(&format!("/v1/{list}"), list, MAX_PAGES)?;
            let items = items.rows.iter();
            Ok(items
                .filter(|item| item.get(member).is_some_and(|trial| !trial.is_null()))
                .map(|item| json!({"name": item.get("name"), member: item.get(member)}))
                .collect())
        };
        Ok(Self {
            steps: steps.get("steps").cloned().unwrap_or_default(),
            agents: on_trial("agents", "canary")?,
            policies: on_trial("policies", "shadow")?,
        })
    }
}

/// Shows all canaries: the host's by its journal, which needs no host, and what the host says. Without that the exit code is not 0.
fn show_status(
    client: &HostClient,
    journal: &std::path::Path,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let state = read_state(client, journal)?;
    let read = HostCanaries::read(client).map_err(|error| match error {
        ClientError::NoAnswer { .. } | ClientError::CutOff(_) => {
            format!("the host does not answer: {error}")
        }
        other => format!("the host does not say it: {other}"),
    });
    if json {
        let (found, error) = (read.as_ref().ok(), read.as_ref().err());
        let mut report = json!({
            "host": state,
            "steps": found.map(|found| &found.steps),
            "agents": found.map(|found| &found.agents),
            "policies": found.map(|found| &found.policies),
        });
        if let Some(error) = error {
            report["error"] = json!(error);
        }
        print_json(&report)?;
        return Ok(exit_code(read.is_ok()));
    }
    match &state {
        None => print_line!("host      no canary is under way"),
        Some(state) => print_line!("host      {}", describe_state(state)),
    }
    let found = match &read {
        Ok(found) => found,
        Err(error) => {
            print_line!("error     {error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    for (kind, list) in [("agent", &found.agents), ("policy", &found.policies)] {
        for item in list {
            print_line!("{kind:<9} {}", describe_trial(item));
        }
    }
    for step in found.steps.as_array().into_iter().flatten() {
        print_line!(
            "step      {}",
            describe_step(step["step"].as_str().unwrap_or_default(), step)
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the host's canary stands.
fn describe_state(state: &CanaryState) -> String {
    let doing = match (&state.going_back, state.paused, state.take_over) {
        (Some(reason), ..) => format!(", and goes back: {reason}"),
        (None, true, _) => ", and keeps them: it is paused".to_owned(),
        (None, false, Some(step)) => format!(", and takes the data over ({})", step.as_str()),
        (None, false, None) => String::new(),
    };
    format!(
        "{} has {} % of the requests{doing}",
        state.version, state.share_pct
    )
}

/// An agent's or a policy's version on trial on one line.
fn describe_trial(item: &Value) -> String {
    let trial = item.get("canary").or_else(|| item.get("shadow"));
    let member = |name: &str| trial.and_then(|trial| trial.get(name));
    let text = |name: &str| match member(name) {
        None | Some(Value::Null) => "?".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let name = item.get("name").and_then(Value::as_str).unwrap_or("?");
    let mut line = format!(
        "{name}: version {} ({}) is on trial",
        text("number"),
        text("version")
    );
    if member("share").is_some() {
        line = format!(
            "{line} with a share of {}; handled {}, failed {}",
            text("share"),
            text("handled"),
            text("failed")
        );
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::describe_trial;

    #[test]
    fn a_trial_is_told_in_a_sentence() {
        for (item, told) in [
            (
                json!({"name": "scout", "canary": {"number": 1, "version": "0.2.0", "sha256": "ab", "share": 0.5, "handled": 3, "failed": 0}}),
                "scout: version 1 (0.2.0) is on trial with a share of 0.5; handled 3, failed 0",
            ),
            (
                json!({"name": "size", "shadow": {"number": 2, "version": "1.0.0", "sha256": "ab"}}),
                "size: version 2 (1.0.0) is on trial",
            ),
            (
                json!({"name": "size", "shadow": {"number": 2, "version": null}}),
                "size: version 2 (?) is on trial",
            ),
        ] {
            assert_eq!(describe_trial(&item), told);
        }
    }
}
