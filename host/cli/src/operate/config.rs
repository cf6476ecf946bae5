//! `ark config`: checks, shows and documents the configuration.

use std::path::Path;
use std::process::ExitCode;

use ark_host::config::{Config, DEFAULT_FILE, Layers, render_documentation};
use clap::Subcommand;

use crate::args::HostArgs;
use crate::output::{print_json, print_line, print_own_text};

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Says whether `ark serve` would accept the configuration. Nothing is started.
    Check(HostArgs),
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
}

pub(crate) fn run(command: ConfigCommand) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Check(host) => {
            let config = host.read_config()?;
            let file = match &host.config {
                Some(file) => file.display().to_string(),
                None if Path::new(DEFAULT_FILE).is_file() => DEFAULT_FILE.to_owned(),
                None => "no file".to_owned(),
            };
            print_line!(
                "the configuration is in order: {file}, data in {}, listening on {}",
                config.store.dir.display(),
                config.listen
            );
        }
        ConfigCommand::Show { host, json } => {
            let layers = Layers::read(host.config.as_deref(), &host.overrides())?;
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
    }
    Ok(ExitCode::SUCCESS)
}
