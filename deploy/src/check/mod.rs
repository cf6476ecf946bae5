//! `ark check` and `ark config check`: everything `ark serve` would refuse, and what an experienced operator would look at before going live.
//!
//! Invariants: nothing is changed but for a file that is made in the data directory and removed at once, to measure how long a write takes to
//! be on disk, a copy of the last snapshot beside the snapshots, which is removed again, and compiled modules in the host's cache. A host may
//! run meanwhile. A check that cannot be made says so ([`Status::Skipped`]); it never passes.
//!
//! Reading order: [`run_checks`], the table [`CHECKS`], then the rooms in its order.

mod access;
mod address;
mod alerting;
mod certificates;
mod client_variables;
mod clock;
mod control_groups;
mod data_directory;
mod database;
mod guests;
mod inputs;
mod line;
mod listeners;
mod memory;
mod monitoring;
mod open_files;
mod port_holder;
mod process_limits;
mod redis;
mod redis_commands;
mod rules;
mod scraping;
mod secrets;
mod settings;
mod snapshots;
mod threads;
mod webhooks;

use std::path::{Path, PathBuf};

use ark_host::config::{Config, Layers, Overrides};
use ark_runtime::GraveyardSource;

use crate::env_file::{EnvFile, EnvFileError};

pub use line::{CheckLine, Status};

use inputs::CheckInputs;
use line::CheckLines;

/// What is checked.
pub struct CheckOptions {
    /// The configuration file; `None`: `ark.toml` in the working directory, if there is one.
    pub config: Option<PathBuf>,
    /// What flags set.
    pub overrides: Overrides,
    /// The file of environment variables, as it was read.
    pub env_file: Option<Result<EnvFile, EnvFileError>>,
    /// The address of the Prometheus that scrapes the host.
    pub prometheus: Option<String>,
    /// The directory in which snapshots are kept.
    pub snapshots: Option<PathBuf>,
}

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The configuration, and the files that it names.
    Configuration,
    /// The machine, the database and the neighbours as well.
    Everything,
}

/// A check: its name, the smallest scope that has it, and what makes it.
type CheckRow = (&'static str, Scope, fn(&CheckInputs, &mut CheckLines));

/// The first check, by whose result the others go.
const CONFIGURATION: &str = "configuration";

/// The check of the file of environment variables, without which nothing else is known.
const ENV_FILE: &str = "env-file";

/// The checks after that of the configuration itself, in their order.
const CHECKS: [CheckRow; 26] = [
    (ENV_FILE, Scope::Configuration, settings::check_env_file),
    (
        "config-file",
        Scope::Configuration,
        settings::check_config_file,
    ),
    (
        "secret-key",
        Scope::Configuration,
        secrets::check_secret_key,
    ),
    ("tls", Scope::Configuration, certificates::check_tls),
    (
        "certificate",
        Scope::Configuration,
        certificates::check_certificate,
    ),
    ("tokens", Scope::Configuration, secrets::check_tokens),
    ("webhooks", Scope::Configuration, webhooks::check_webhooks),
    (
        "listeners",
        Scope::Configuration,
        listeners::check_listeners,
    ),
    (
        "agents-directory",
        Scope::Configuration,
        guests::check_agents_directory,
    ),
    ("ports", Scope::Everything, listeners::check_ports),
    (
        "open-files",
        Scope::Everything,
        open_files::check_open_files,
    ),
    ("threads", Scope::Everything, threads::check_threads),
    ("memory", Scope::Everything, memory::check_memory),
    (
        "data-directory",
        Scope::Everything,
        data_directory::check_directory,
    ),
    ("disk-space", Scope::Everything, data_directory::check_space),
    ("disk-sync", Scope::Everything, data_directory::check_sync),
    ("database", Scope::Configuration, database::check_database),
    ("audit-log", Scope::Everything, database::check_audit_log),
    ("state", Scope::Everything, database::check_state),
    ("clock", Scope::Everything, clock::check_clock),
    ("graveyard", Scope::Configuration, guests::check_graveyard),
    ("guests", Scope::Everything, guests::check_guests),
    ("redis", Scope::Everything, redis::check_redis),
    (
        "monitoring",
        Scope::Everything,
        monitoring::check_monitoring,
    ),
    ("traces", Scope::Everything, monitoring::check_traces),
    ("snapshot", Scope::Everything, snapshots::check_snapshot),
];

/// The checks of a scope, in their order, by the names that their lines have.
#[must_use]
pub fn list_checks(scope: Scope) -> Vec<&'static str> {
    let rows = CHECKS.iter().filter(|(_, smallest, _)| *smallest <= scope);
    let names = rows.map(|(name, _, _)| *name);
    std::iter::once(CONFIGURATION).chain(names).collect()
}

/// Makes the checks of a scope in their order. `begun` is told the name of each, `found` each line as it is found.
///
/// A configuration that would be refused ends the checks: nothing else can be judged by it. So does a file of environment variables, and one line says
/// how many others were skipped for it.
pub fn run_checks(
    options: CheckOptions,
    scope: Scope,
    begun: &mut dyn FnMut(&str),
    found: &mut dyn FnMut(&CheckLine),
) -> Vec<CheckLine> {
    let mut all: Vec<CheckLine> = Vec::new();
    let mut add = |lines: CheckLines| {
        for line in lines.found {
            found(&line);
            all.push(line);
        }
    };
    if let Some(Err(error)) = &options.env_file {
        // The file may set any key of the configuration: what was read without it is not what the host would be.
        begun(ENV_FILE);
        let mut lines = CheckLines::for_check(ENV_FILE);
        settings::refuse_env_file(error, &mut lines);
        add(lines);
        let mut lines = CheckLines::for_check(CONFIGURATION);
        let others = list_checks(scope).len() - 1;
        lines.add_skipped(
            format!("neither this nor anything else was checked ({others} checks)"),
            format!("see the line `{ENV_FILE}`"),
        );
        add(lines);
        return all;
    }
    begun(CONFIGURATION);
    let mut lines = CheckLines::for_check(CONFIGURATION);
    let layers = Layers::read(options.config.as_deref(), &options.overrides);
    let read = layers.and_then(|layers| Ok((Config::from_layers(&layers)?, layers)));
    let (config, layers) = match read {
        Ok(read) => read,
        Err(error) => {
            lines.add_error(
                error.to_string(),
                "correct the configuration; `ark config docs` describes every key",
            );
            add(lines);
            return all;
        }
    };
    settings::check_lowered_quota(&config, &layers, &mut lines);
    lines.add_ok(format!(
        "{}, data in {}, listening on {}",
        describe_file(options.config.as_deref()),
        config.store.dir.display(),
        config.listen
    ));
    add(lines);
    let inputs = CheckInputs::new(options, scope, config, layers);
    for (name, smallest, check) in CHECKS {
        if smallest > scope {
            continue;
        }
        begun(name);
        let mut lines = CheckLines::for_check(name);
        check(&inputs, &mut lines);
        add(lines);
    }
    all
}

/// The configuration file in words; `None`: the one in the working directory, if there is one.
#[must_use]
pub fn describe_file(config: Option<&Path>) -> String {
    let default = Path::new(ark_host::config::DEFAULT_FILE);
    match config {
        Some(file) => file.display().to_string(),
        None if default.is_file() => default.display().to_string(),
        None => "no file".to_owned(),
    }
}

/// Where the Graveyard comes from, in words.
fn describe_source(source: &GraveyardSource) -> String {
    match source {
        GraveyardSource::Embedded => "the module in this program".to_owned(),
        GraveyardSource::File(path) => path.display().to_string(),
    }
}
