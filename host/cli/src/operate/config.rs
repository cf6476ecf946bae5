//! `ark config`: checks, shows and documents the configuration.

use std::process::ExitCode;

use ark_deploy::check::{CheckOptions, Scope, Status, describe_file, run_checks};
use ark_host::config::{Config, Layers, render_documentation, render_env_file};
use clap::Subcommand;

use crate::args::HostArgs;
use crate::output::{exit_code, print_json, print_line, print_own_text};
use crate::production::check::print_check_line;

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Says whether `ark serve` would accept the configuration, and what else is wrong with it and the files that it names. Nothing is
    /// started. `ark check` looks at the machine, the database and the neighbours as well.
    Check {
        #[command(flatten)]
        host: HostArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prints every key with its value in force and its source. Secrets are masked.
    Show {
        #[command(flatten)]
        host: HostArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prints the documentation of every key, as Markdown.
    Docs,
    /// Prints a file of environment variables that documents each of them, for `--env-file`.
    Env,
}

pub(crate) fn run_command(command: ConfigCommand) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Check { host, json } => return check_configuration(&host, json),
        ConfigCommand::Show { host, json } => {
            host.files.require_env_file()?;
            let layers = Layers::read(host.files.config.as_deref(), &host.overrides())?;
            // A configuration that would be refused is never in force.
            Config::from_layers(&layers)?;
            let lines = layers.lines();
            if json {
                print_json(&lines)?;
            } else {
                for line in lines {
                    print_line!("{line}");
                }
            }
        }
        ConfigCommand::Docs => print_own_text(&render_documentation()),
        ConfigCommand::Env => print_own_text(&render_env_file()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the checks of `ark check` that need nothing but the configuration and the files that it names.
fn check_configuration(host: &HostArgs, json: bool) -> anyhow::Result<ExitCode> {
    host.files.require_env_file()?;
    let config = host.read_config_without_key()?;
    let options = CheckOptions {
        config: host.files.config.clone(),
        overrides: host.overrides(),
        env_file: host.files.enter_env_file()?,
        prometheus: None,
        snapshots: None,
    };
    let lines = run_checks(options, Scope::Configuration, &mut |_| {}, &mut |found| {
        if !json && found.status != Status::Ok {
            print_check_line(found);
        }
    });
    let is_refused = lines.iter().any(|one| one.status.is_failure());
    if json {
        print_json(&lines)?;
    } else if !is_refused {
        print_line!(
            "the configuration is in order: {}, data in {}, listening on {}",
            describe_file(host.files.config.as_deref()),
            config.store.dir.display(),
            config.listen
        );
    }
    Ok(exit_code(!is_refused))
}
