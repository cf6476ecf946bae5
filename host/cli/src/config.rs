//! `ark config`

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;

use ark_host::config::{Config, Layers};

use super::HostArgs;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Says whether `ark serve` would accept the configuration; nothing is started.
    Check(HostArgs),
    /// Prints every key with its value in force and where that is from. Secrets are masked.
    Show {
        #[command(flatten)]
        host: HostArgs,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: ConfigCommand) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Check(host) => {
            let config = host.read_config()?;
            let file = match &host.config {
                Some(file) => file.display().to_string(),
                None if Path::new("ark.toml").is_file() => "ark.toml".to_owned(),
                None => "no file".to_owned(),
            };
            println!(
                "the configuration is in order: {file}, data in {}, listening on {}",
                config.store.dir.display(),
                config.listen
            );
        }
        ConfigCommand::Show { host, json } => {
            let layers = Layers::read(host.config.as_deref(), &host.overrides())?;
            // What cannot be in force is not shown as if it were.
            Config::from_layers(&layers)?;
            let lines = layers.lines();
            if json {
                println!("{}", serde_json::to_string_pretty(&lines)?);
            } else {
                for line in lines {
                    print!("{line}");
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
