//! Arguments that several commands share.

use std::net::SocketAddr;
use std::path::PathBuf;

use ark_host::config::{Config, Overrides};
use ark_host::telemetry::TelemetryListen;
use ark_model::ids::Name;
use clap::Args;

/// How the host is configured. Flags come before the environment (`ARK_DATA_DIR`, `ARK_CAPACITY_WORKERS` and so on for every key), the
/// environment before ark.toml.
#[derive(Debug, Clone, Args)]
pub(crate) struct HostArgs {
    /// The configuration file [default: `ark.toml` in the working directory, if there is one].
    #[arg(long, env = "ARK_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The directory in which the host keeps its data [default: ark-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address and port of the API; port 0: a free one [default: 127.0.0.1:8000].
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Address and port of metrics, or `off`; port 0: a free one [default: 127.0.0.1:9090].
    #[arg(long, value_name = "ADDR:PORT")]
    telemetry_listen: Option<TelemetryListen>,
    /// A proxy stands before the host, ends TLS and forwards requests of other machines. Requests then need tokens.
    #[arg(long)]
    behind_proxy: bool,
    /// A directory with agents: manifests, each with its component beside it.
    #[arg(long, value_name = "DIR")]
    agents: Option<PathBuf>,
    /// A file with the Graveyard (mode 0444), instead of the one in this program.
    #[arg(long, value_name = "FILE")]
    graveyard: Option<PathBuf>,
    /// A name that may propose actions over HTTP; may be given more than once.
    #[arg(long, value_name = "NAME")]
    submitter: Vec<Name>,
}

impl HostArgs {
    /// What the flags set.
    pub(crate) fn overrides(&self) -> Overrides {
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

    /// Reads and checks the whole configuration.
    pub(crate) fn read_config(&self) -> anyhow::Result<Config> {
        Ok(Config::read(self.config.as_deref(), &self.overrides())?)
    }
}

/// The data directory of an offline command.
#[derive(Debug, Args)]
pub(crate) struct DataDirArgs {
    /// The data directory.
    #[arg(
        long,
        env = "ARK_DATA_DIR",
        default_value = "ark-data",
        value_name = "DIR"
    )]
    pub(crate) data_dir: PathBuf,
}
