//! The command line: the edge where errors become words and an exit code.
//!
//! Exit codes: 0 it is as it should be; 1 it failed, or what was checked is not whole; 2 the command line is wrong.

mod account;
mod advice;
mod agent;
mod approvals;
mod audit;
mod author;
mod call;
mod config;
mod demo;
mod explain;
mod explanation;
mod graveyard;
mod guest_crate;
mod inspect;
mod lists;
mod moment;
mod policies;
mod policy;
mod policy_author;
mod policy_diff;
mod reload;
mod remote;
mod serve;
mod state;
mod token;
mod versions;
mod watchdog;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use ark_host::config::{Config, Overrides};
use ark_host::telemetry::TelemetryListen;
use ark_host::telemetry::logs::LogFormat;
use ark_model::ids::Name;

/// An action is allocated where its request is read, judged on the HRM's thread and freed on the writer's: an allocator whose threads
/// take back each other's memory without a lock saves more than any other line here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    run()
}

/// ARK runs agents nobody has to trust.
#[derive(Debug, Parser)]
#[command(name = "ark", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the host.
    Serve(HostArgs),
    /// The configuration: whether it is in order, and what is in force.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Shows everything at work: five agents, their decisions, a runaway agent, the audit log.
    Demo(demo::DemoArgs),
    /// The Graveyard: the 26 rules.
    #[command(subcommand)]
    Graveyard(graveyard::GraveyardCommand),
    /// The audit log.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Agents' state, memories, configuration, truths; snapshots.
    State(state::StateArgs),
    /// Halts, quarantines, health: what a running host's watchdog sees and does.
    #[command(subcommand)]
    Watchdog(watchdog::WatchdogCommand),
    /// What is held and waits for a person: list, approve, reject.
    #[command(subcommand)]
    Approvals(approvals::ApprovalsCommand),
    /// The operator's lists that rules judge by: restricted symbols, client orders, sources, consents, vetoes.
    #[command(subcommand)]
    Lists(lists::ListsCommand),
    /// The account's facts that rules judge by: capital, results.
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Agents: what failed, and running it again.
    #[command(subcommand)]
    Agent(agent::AgentCommand),
    /// Operator policies: writing them, which are in force and on trial, exchanging them while the host runs, and what another version would
    /// have decided.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Says why a decision came out as it did, and what would make it pass.
    Explain(explain::ExplainArgs),
    /// Bearer tokens: who may call the API.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Says what a component is, what it imports, and why it would be refused.
    Inspect(inspect::InspectArgs),
    /// Prints a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// How the host is set up. Flags come before the environment (`ARK_DATA_DIR`, `ARK_CAPACITY_WORKERS`… for every key), that before
/// ark.toml.
#[derive(Debug, Clone, Args)]
struct HostArgs {
    /// The configuration; without it `ark.toml` in the working directory, if there is one.
    #[arg(long, env = "ARK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the host keeps its data [default: ark-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address and port of the API [default: 127.0.0.1:8000]. Port 0: a free one.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Address and port of telemetry, or `off` [default: 127.0.0.1:9090]. Port 0: a free one.
    #[arg(long, value_name = "ADDR:PORT")]
    telemetry_listen: Option<TelemetryListen>,
    /// A proxy stands before the host, ends TLS and passes on what others send. Needs tokens.
    #[arg(long)]
    behind_proxy: bool,
    /// A directory with agents: manifests, components beside them.
    #[arg(long, value_name = "DIR")]
    agents: Option<PathBuf>,
    /// The Graveyard as a file, mode 0444, instead of the one in this program.
    #[arg(long, value_name = "FILE")]
    graveyard: Option<PathBuf>,
    /// A name that may propose actions over HTTP; may be given more than once.
    #[arg(long, value_name = "NAME")]
    submitter: Vec<Name>,
}

impl HostArgs {
    fn overrides(&self) -> Overrides {
        Overrides {
            data_dir: self.data_dir.clone(),
            listen: self.listen,
            telemetry_listen: self.telemetry_listen,
            behind_proxy: self.behind_proxy,
            agents_dir: self.agents.clone(),
            graveyard: self.graveyard.clone(),
            submitters: self.submitter.clone(),
        }
    }

    fn read_config(&self) -> anyhow::Result<Config> {
        Ok(Config::read(self.config.as_deref(), &self.overrides())?)
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Config(command) => config::run(command),
        Command::Demo(args) => demo::run(args),
        Command::Graveyard(command) => graveyard::run(command),
        Command::Audit(command) => audit::run(command),
        Command::State(args) => state::run(args),
        Command::Watchdog(command) => watchdog::run(command),
        Command::Approvals(command) => approvals::run(command),
        Command::Lists(command) => lists::run(command),
        Command::Account(command) => account::run(command),
        Command::Agent(command) => agent::run(command),
        Command::Policy(command) => policy::run(command),
        Command::Explain(args) => explain::run(&args),
        Command::Token(command) => token::run(command),
        Command::Inspect(args) => inspect::run(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "ark", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("ark: {error:#}");
        ExitCode::FAILURE
    })
}

/// Starts logging to standard error, for people unless `ARK_LOG_FORMAT` says otherwise.
fn start_logging(default: &str) {
    start_logging_as(default, LogFormat::Human);
}

fn start_logging_as(default: &str, format: LogFormat) {
    if let Err(problem) = ark_host::telemetry::logs::init_logging(default, format) {
        eprintln!("ark: {problem}");
    }
}
