//! Arguments that several commands share.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use ark_deploy::env_file::{EnvFile, EnvFileError};
use ark_host::config::{Config, Layers, Overrides};
use ark_host::telemetry::TelemetryListen;
use ark_model::ids::Name;
use clap::Args;

/// The files from which a process of the host reads its configuration.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigFileArgs {
    /// The configuration file [default: `ark.toml` in the working directory, if there is one].
    #[arg(long, env = "ARK_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A file of environment variables, one NAME=value a line. A variable that the environment has already comes before it.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

impl ConfigFileArgs {
    /// As [`enter_env_file`], with the file that `--env-file` names.
    ///
    /// # Errors
    /// As [`enter_env_file`].
    pub(crate) fn enter_env_file(&self) -> anyhow::Result<Option<Result<EnvFile, EnvFileError>>> {
        enter_env_file(self.env_file.as_deref())
    }

    /// As [`ConfigFileArgs::enter_env_file`], for commands that need the file.
    ///
    /// # Errors
    /// The file is refused, or the program cannot be executed.
    pub(crate) fn require_env_file(&self) -> anyhow::Result<()> {
        self.enter_env_file()?.transpose()?;
        Ok(())
    }
}

/// How the host is configured. Flags come before the environment (`ARK_DATA_DIR`, `ARK_CAPACITY_WORKERS` and so on for every key), the
/// environment before ark.toml.
#[derive(Debug, Clone, Args)]
pub(crate) struct HostArgs {
    #[command(flatten)]
    pub(crate) files: ConfigFileArgs,
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
            ..Overrides::default()
        }
    }

    /// Reads and checks the whole configuration.
    pub(crate) fn read_config(&self) -> anyhow::Result<Config> {
        Ok(Config::read(
            self.files.config.as_deref(),
            &self.overrides(),
        )?)
    }

    /// As [`HostArgs::read_config`], without the key that encrypts secrets.
    pub(crate) fn read_config_without_key(&self) -> anyhow::Result<Config> {
        let layers = Layers::read(self.files.config.as_deref(), &self.overrides())?;
        Ok(Config::from_layers(&layers)?)
    }
}

/// The data directory of an offline command.
#[derive(Debug, Args)]
pub(crate) struct DataDirArgs {
    /// The data directory [default: that of ark.toml, else ark-data].
    #[arg(long, env = "ARK_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl DataDirArgs {
    /// Returns the directory that was given, else the one that a host would use here.
    ///
    /// # Errors
    /// None was given, and the configuration is refused.
    pub(crate) fn find_data_dir(&self) -> anyhow::Result<PathBuf> {
        self.data_dir
            .clone()
            .map_or_else(|| configured_data_dir(None), Ok)
    }
}

/// The data directory according to the configuration of this machine. `file`: the configuration file, where one was named.
///
/// # Errors
/// The configuration is refused.
pub(crate) fn configured_data_dir(file: Option<&Path>) -> anyhow::Result<PathBuf> {
    let config = read_local_config(file, &Overrides::default());
    let config = config.context("the data directory is not known; give it with --data-dir")?;
    Ok(config.store.dir)
}

/// The configuration of this machine, without the key that encrypts secrets. `file`: the configuration file, where one was named.
///
/// # Errors
/// The configuration is refused.
pub(crate) fn read_local_config(
    file: Option<&Path>,
    overrides: &Overrides,
) -> anyhow::Result<Config> {
    let named = std::env::var_os("ARK_CONFIG").filter(|file| !file.is_empty());
    let file = file.or(named.as_deref().map(Path::new));
    let layers = Layers::read(file, overrides)?;
    Ok(Config::from_layers(&layers)?)
}

/// Takes over the variables of the file that an argument names, and returns the file. It is read as the environment is: once, at the start.
///
/// The environment of a process cannot be changed safely while it runs, so this program is executed again, in the same process, with the
/// variables that are not there yet.
///
/// # Errors
/// The file is refused: the inner result, so that a check can report it. The program cannot be executed: the outer one.
pub(crate) fn enter_env_file(
    path: Option<&Path>,
) -> anyhow::Result<Option<Result<EnvFile, EnvFileError>>> {
    let Some(path) = path else {
        return Ok(None);
    };
    let file = match EnvFile::read_file(path) {
        Ok(file) => file,
        Err(error) => return Ok(Some(Err(error))),
    };
    let mut missing = file
        .variables
        .iter()
        .filter(|variable| std::env::var_os(&variable.name).is_none())
        .peekable();
    if missing.peek().is_none() {
        return Ok(Some(Ok(file)));
    }
    let program = std::env::current_exe().context("the path of this program")?;
    let mut arguments = std::env::args_os();
    let mut command = Command::new(&program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let error = command
        .args(arguments)
        .envs(missing.map(|variable| (&variable.name, &variable.value)))
        .exec();
    Err(error).with_context(|| format!("{} cannot be executed again", program.display()))
}
