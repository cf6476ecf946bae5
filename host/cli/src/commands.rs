//! The command line: every command, and which part of this program carries it out.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use ark_model::printable::escape_line;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::args::HostArgs;
use crate::author::{self, AgentAuthorCommand, PolicyAuthorCommand};
use crate::client::connection::Connection;
use crate::client::{self, agents, policies, state};
use crate::operate::{self, capsules, data};
use crate::output::{self, print_notice};
use crate::registry::{self, AgentRegistryCommand, PolicyRegistryCommand};
use crate::usage::UsageError;
use crate::{demo, environment, explain, production, serve, time};

/// ARK runs agents that nobody has to trust: every action is a proposal that pinned rules judge first.
#[derive(Debug, Parser)]
#[command(name = "ark", version = ark_host::VERSION, about, max_term_width = 100)]
struct Cli {
    /// Print moments in UTC in place of the zone of this machine. JSON has milliseconds since 1970 in any case.
    #[arg(long, global = true)]
    utc: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the host.
    Serve(HostArgs),
    /// Runs a front: a host without a database of its own, which passes requests on to the host that owns the data and judges its decisions again.
    Front(serve::front::FrontArgs),
    /// Checks everything that a host needs in production: configuration, secrets, TLS, disk, database, guests, neighbours, snapshots.
    Check(production::check::CheckArgs),
    /// Checks whether a host is alive, or may judge.
    Health(client::health::HealthArgs),
    /// Drives a live host with signals and proposals, some of which break a rule, and proves that it does what it must.
    Synthetic(production::synthetic::SyntheticArgs),
    /// Tests a live host after a deployment, with a probe agent that is removed again.
    Validate(production::validate::ValidateArgs),
    /// Moves requests to a new version in steps, then hands over the data; moves them back when a check fails.
    Canary(production::canary::CanaryArgs),
    /// Replaces the host on this machine by a new version: check, snapshot, replay, exchange, validation. Restores the old version when a step fails.
    Upgrade(Box<production::upgrade::UpgradeArgs>),
    /// Restores the stable version: host, database if needed, requests; then validates it.
    Rollback(Box<production::rollback::RollbackArgs>),
    /// Prints the version of this program and of the schema of its database.
    Version(operate::version::VersionArgs),
    /// Collects what a bug report needs into one file, without secrets.
    Doctor(operate::doctor::DoctorArgs),
    /// Checks, shows and documents the configuration.
    #[command(subcommand)]
    Config(operate::config::ConfigCommand),
    /// Runs a demonstration: six agents, their decisions, an agent that never returns, the audit log.
    Demo(demo::DemoArgs),
    /// Shows and checks the Graveyard, the 26 pinned rules.
    #[command(subcommand)]
    Graveyard(operate::graveyard::GraveyardCommand),
    /// Verifies, replays, exports and archives the audit log.
    #[command(subcommand)]
    Audit(operate::audit::AuditCommand),
    /// Reads and changes state, memories, configuration values and truths; makes and checks snapshots.
    State(StateArgs),
    /// Shows the health of a running host; halts it and quarantines its agents.
    #[command(subcommand)]
    Watchdog(client::watchdog::WatchdogCommand),
    /// Shows how a running host reads from its Redis and sends to it.
    #[command(subcommand)]
    Redis(client::redis::RedisCommand),
    /// Lists the webhooks of a running host and the events that they could not deliver; sends those again.
    #[command(subcommand)]
    Webhooks(client::webhooks::WebhooksCommand),
    /// Lists signals that an agent failed to handle, and delivers them again.
    #[command(subcommand)]
    Signals(client::signals::SignalsCommand),
    /// Lists, approves and rejects held actions.
    #[command(subcommand)]
    Approvals(client::approvals::ApprovalsCommand),
    /// Shows and changes the operator's lists that rules judge by: restricted symbols, client orders, sources, consents, vetoes.
    #[command(subcommand)]
    Lists(client::lists::ListsCommand),
    /// Shows and changes the account that rules judge by: capital and results.
    #[command(subcommand)]
    Account(client::account::AccountCommand),
    /// Builds, signs, pushes and pulls agents, manages their versions in a running host, and replays failed invocations.
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Builds, signs, pushes and pulls operator policies, manages them in a running host, and compares versions on recorded decisions.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Explains why a decision came out as it did, and what would make the action pass.
    Explain(explain::ExplainArgs),
    /// Manages the bearer tokens of the API.
    #[command(subcommand)]
    Token(client::tokens::TokenCommand),
    /// Shows what a component is, what it imports, and why it would be refused.
    Inspect(author::inspect::InspectArgs),
    /// Prints a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Writes the manual pages, one for each command, into a directory.
    Manual {
        /// The directory, which is made if there is none.
        dir: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum AgentCommand {
    #[command(flatten)]
    Author(AgentAuthorCommand),
    #[command(flatten)]
    Registry(AgentRegistryCommand),
    #[command(flatten)]
    Version(agents::AgentVersionCommand),
    #[command(flatten)]
    Capsule(capsules::CapsuleCommand),
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    #[command(flatten)]
    Author(PolicyAuthorCommand),
    #[command(flatten)]
    Registry(PolicyRegistryCommand),
    #[command(flatten)]
    Version(policies::PolicyVersionCommand),
    /// Judges recorded decisions under two versions of a policy, and lists each that would come out differently.
    Diff(operate::policy_diff::DiffArgs),
}

#[derive(Debug, Args)]
struct StateArgs {
    #[command(flatten)]
    connection: Connection,
    /// The name that the audit log records for a change, where no token gives one.
    #[arg(long, global = true, value_name = "NAME")]
    by: Option<String>,
    #[command(subcommand)]
    command: StateCommand,
}

#[derive(Debug, Subcommand)]
enum StateCommand {
    #[command(flatten)]
    Client(state::AgentStateCommand),
    #[command(flatten)]
    Data(data::DataCommand),
}

/// The exit code of a wrong command line; clap's is the same.
const WRONG_COMMAND_LINE: u8 = 2;

/// Runs the command line of this process.
pub(crate) fn run() -> ExitCode {
    let code = match parse_command_line() {
        Ok((cli, json)) => {
            if cli.utc {
                time::print_in_utc();
            }
            let result = check_usage(&cli.command).map_err(anyhow::Error::from);
            let result = result.and_then(|()| run_command(cli.command));
            result.unwrap_or_else(|error| {
                if json {
                    output::print_failure(&error);
                }
                print_notice!("{}", output::describe_error(&error));
                match error.downcast_ref::<UsageError>() {
                    Some(_) => ExitCode::from(WRONG_COMMAND_LINE),
                    None => ExitCode::FAILURE,
                }
            })
        }
        Err(answer) => print_answer(&answer),
    };
    output::finish_output(code)
}

/// Reads the command line and the environment. Returns the command, and whether it was asked for JSON.
///
/// # Errors
/// The command line is wrong, or asks for help or the version.
fn parse_command_line() -> Result<(Cli, bool), clap::Error> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    parse_arguments(&arguments).map_err(|error| {
        // What is wrong is said of the arguments as they can be printed, each on one line.
        let printable: Vec<OsString> = arguments
            .iter()
            .map(|argument| escape_line(&argument.to_string_lossy()).into_owned().into())
            .collect();
        parse_arguments(&printable).err().unwrap_or(error)
    })
}

fn parse_arguments(arguments: &[OsString]) -> Result<(Cli, bool), clap::Error> {
    let mut command = environment::apply_environment(Cli::command(), arguments);
    let matches = command.try_get_matches_from_mut(arguments)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    Ok((cli, wants_json(&matches)))
}

/// Checks what the argument parser does not.
///
/// # Errors
/// An argument is missing, of which the command needs one of several.
fn check_usage(command: &Command) -> Result<(), UsageError> {
    match command {
        Command::Webhooks(command) => command.check_usage(),
        Command::Signals(command) => command.check_usage(),
        Command::Agent(AgentCommand::Version(command)) => command.check_usage(),
        Command::Policy(PolicyCommand::Version(command)) => command.check_usage(),
        _ => Ok(()),
    }
}

/// Whether a command, or the one below it that is run, has `--json`.
fn wants_json(matches: &ArgMatches) -> bool {
    let is_set = matches.try_get_one::<bool>("json");
    is_set.is_ok_and(|is_set| is_set.copied().unwrap_or(false))
        || matches
            .subcommand()
            .is_some_and(|(_, below)| wants_json(below))
}

/// What the standard library says of a text that is not a number, and the text that people see in its place.
const NUMBER_PROBLEMS: [(&str, &str); 5] = [
    (": invalid digit found in string", ": give a whole number"),
    (
        ": cannot parse integer from empty string",
        ": give a whole number",
    ),
    (
        ": number too large to fit in target type",
        ": the number is too large",
    ),
    (": invalid float literal", ": give a number"),
    (": cannot parse float from empty string", ": give a number"),
];

fn name_numbers(text: String) -> String {
    let text = NUMBER_PROBLEMS
        .iter()
        .fold(text, |text, (problem, told)| text.replace(problem, told));
    if text.contains("invalid value '-") {
        // A negative number is a whole one, too.
        return text.replace(": give a whole number", ": give a whole number, 0 or more");
    }
    text
}

/// Prints what clap answers in the place of a command, and returns the exit code.
fn print_answer(answer: &clap::Error) -> ExitCode {
    let text = answer.render();
    if answer.use_stderr() {
        output::print_usage_error(&name_numbers(text.to_string()));
    } else if output::shows_styles() {
        output::print_own_text(&text.ansi().to_string());
    } else {
        output::print_own_text(&text.to_string());
    }
    u8::try_from(answer.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn run_command(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::run_command(&args),
        Command::Front(args) => serve::front::run_command(&args),
        Command::Check(args) => production::check::run_command(args),
        Command::Health(args) => client::health::run_command(args),
        Command::Synthetic(args) => production::synthetic::run_command(args),
        Command::Validate(args) => production::validate::run_command(&args),
        Command::Canary(args) => production::canary::run_command(args),
        Command::Upgrade(args) => production::upgrade::run_command(*args),
        Command::Rollback(args) => production::rollback::run_command(*args),
        Command::Version(args) => operate::version::run_command(&args),
        Command::Doctor(args) => operate::doctor::run_command(args),
        Command::Config(command) => operate::config::run_command(command),
        Command::Demo(args) => demo::run_command(args),
        Command::Graveyard(command) => operate::graveyard::run_command(command),
        Command::Audit(command) => operate::audit::run_command(command),
        Command::State(args) => match args.command {
            StateCommand::Client(command) => state::run_command(command, args.by, &args.connection),
            StateCommand::Data(command) => data::run_command(command, args.by.as_deref()),
        },
        Command::Watchdog(command) => client::watchdog::run_command(command),
        Command::Redis(command) => client::redis::run_command(command),
        Command::Webhooks(command) => client::webhooks::run_command(command),
        Command::Signals(command) => client::signals::run_command(command),
        Command::Approvals(command) => client::approvals::run_command(command),
        Command::Lists(command) => client::lists::run_command(command),
        Command::Account(command) => client::account::run_command(command),
        Command::Agent(AgentCommand::Author(command)) => author::run_agent(command),
        Command::Agent(AgentCommand::Registry(command)) => registry::run_agent(command),
        Command::Agent(AgentCommand::Version(command)) => agents::run_command(command),
        Command::Agent(AgentCommand::Capsule(command)) => capsules::run_command(command),
        Command::Policy(PolicyCommand::Author(command)) => author::run_policy(command),
        Command::Policy(PolicyCommand::Registry(command)) => registry::run_policy(command),
        Command::Policy(PolicyCommand::Version(command)) => policies::run_command(command),
        Command::Policy(PolicyCommand::Diff(args)) => operate::policy_diff::run_command(&args),
        Command::Explain(args) => explain::run_command(&args),
        Command::Token(command) => client::tokens::run_command(command),
        Command::Inspect(args) => author::inspect::run_command(&args, None),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ark", &mut script);
            output::print_own_text(&String::from_utf8_lossy(&script));
            Ok(ExitCode::SUCCESS)
        }
        Command::Manual { dir } => {
            write_manual(&dir).with_context(|| dir.display().to_string())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn write_manual(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir)
}

#[cfg(test)]
mod documentation;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use clap::CommandFactory;

    use super::Cli;

    /// Adds the variables of a command's arguments, and of those of the commands below it.
    fn add_variables(command: &clap::Command, found: &mut BTreeSet<String>) {
        let variables = command.get_arguments().filter_map(clap::Arg::get_env);
        found.extend(variables.map(|name| name.to_str().expect("UTF-8").to_owned()));
        for below in command.get_subcommands() {
            add_variables(below, found);
        }
    }

    #[test]
    fn each_variable_of_an_argument_is_documented_and_in_the_example() {
        let mut variables = BTreeSet::new();
        add_variables(&Cli::command(), &mut variables);
        // The system's own.
        variables.remove("USER");
        assert!(
            variables.contains("ARK_HAPROXY") && variables.contains("ARK_URL"),
            "{variables:?}"
        );
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let read = |name: &str| fs::read_to_string(root.join(name)).expect("a file");
        let (page, example) = (
            read("docs/configuration.md"),
            read("deploy/env.production.example"),
        );
        let is_set = |name: &str| {
            let mut lines = example.lines().map(|line| line.trim_start_matches('#'));
            lines.any(|line| line.starts_with(&format!("{name}=")))
        };
        for name in &variables {
            let quoted = format!("`{name}`");
            // The page lists the variables of keys by their keys.
            let key = name.trim_start_matches("ARK_").to_lowercase();
            assert!(
                page.contains(&quoted) || page.contains(&format!("\n| `{key}` |")),
                "docs/configuration.md lacks {name}; add it to OTHER_VARIABLES in host/server/src/config/layers.rs"
            );
            // A short name is in the comment of the full one.
            assert!(
                is_set(name) || example.contains(&quoted),
                "deploy/env.production.example lacks {name}"
            );
        }
    }
}
