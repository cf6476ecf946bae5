//! `ark front`: a host without a database of its own, which passes requests on and judges the owner's decisions again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use ark_host::api::ConnectionThreads;
use ark_host::app::threads::count_front_threads;
use ark_host::config::{Config, FrontOverrides, Layers, Overrides};
use ark_host::front::{Front, FrontListeners, serve_front};
use ark_host::telemetry::TelemetryListen;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::ConfigFileArgs;
use crate::output::{print_line, start_logging};

use super::manager::{PassedListeners, tell_ready};
use super::open_files::fit_connections;
use super::signals::StopSignals;
use super::{Listeners, RUNTIME_SHUTDOWN, build_runtime, start_connection_threads};

/// The open files of a connection: its own, and that to the owner on which its request is passed on.
const FILES_PER_CONNECTION: u64 = 2;
/// The error for a front that has no owner.
const NO_OWNER: &str = "no owner is named; give the API of the host that owns the data: --owner URL, or front.owner in ark.toml";

/// How the front is configured. Flags come before the environment (`ARK_FRONT_OWNER` and so on for every key), the environment before ark.toml.
#[derive(Debug, Clone, Args)]
pub(crate) struct FrontArgs {
    /// The API of the host that owns the data, e.g. `https://ark.example.com:8000`; http only on this machine.
    #[arg(long, value_name = "URL")]
    owner: Option<String>,
    /// A PEM file with the authorities that may have signed the owner's certificate [default: the public ones].
    #[arg(long, value_name = "FILE")]
    owner_ca: Option<PathBuf>,
    /// A file with a token of the role `reader`, with which the front reads the decisions that it judges again.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Milliseconds for which a request is parked at most while the owner is away [default: 30000].
    #[arg(long, value_name = "MILLISECONDS")]
    hold_for: Option<u64>,
    /// Requests that are parked at the same time [default: 1000].
    #[arg(long, value_name = "N")]
    hold_limit: Option<usize>,
    /// A directory of this user alone that keeps compiled policies for the next start [default: each start compiles them].
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    #[command(flatten)]
    files: ConfigFileArgs,
    /// Address and port on which the front takes requests; port 0: a free one [default: 127.0.0.1:8000].
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Address and port of metrics and of the differing verdicts, or `off`; port 0: a free one [default: 127.0.0.1:9090].
    #[arg(long, value_name = "ADDR:PORT")]
    telemetry_listen: Option<TelemetryListen>,
    /// A proxy stands before the front, ends TLS and forwards requests of other machines.
    #[arg(long)]
    behind_proxy: bool,
    /// A file with the Graveyard (mode 0444), instead of the one in this program.
    #[arg(long, value_name = "FILE")]
    graveyard: Option<PathBuf>,
}

impl FrontArgs {
    /// Reads and checks the whole configuration.
    fn read_config(&self) -> anyhow::Result<Config> {
        let overrides = Overrides {
            listen: self.listen,
            telemetry_listen: self.telemetry_listen,
            behind_proxy: self.behind_proxy,
            graveyard: self.graveyard.clone(),
            front: FrontOverrides {
                owner: self.owner.clone(),
                owner_ca: self.owner_ca.clone(),
                token_file: self.token_file.clone(),
                hold_ms: self.hold_for,
                hold_limit: self.hold_limit,
                cache_dir: self.cache_dir.clone(),
            },
            ..Overrides::default()
        };
        let layers = Layers::read(self.files.config.as_deref(), &overrides)?;
        Ok(Config::from_layers(&layers)?)
    }
}

pub(crate) fn run_command(args: &FrontArgs) -> anyhow::Result<ExitCode> {
    args.files.require_env_file()?;
    let passed = PassedListeners::from_environment()?;
    let config = args.read_config()?;
    let owner = config.front.clone().context(NO_OWNER)?;
    start_logging("info", config.telemetry.log_format)?;
    let runtime = build_runtime()?;
    let threads = start_connection_threads(count_front_threads())?;
    let listeners = runtime.block_on(Listeners::bind(&config, passed))?;
    let front = {
        // Its tasks judge decisions again.
        let _entered = runtime.enter();
        Arc::new(Front::start(&owner, &config.front_policies())?)
    };
    let served = runtime.block_on(serve_until_stopped(
        args,
        &config,
        (listeners, &threads),
        &front,
    ));
    threads.stop(RUNTIME_SHUTDOWN);
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN);
    tracing::info!("stopped");
    served.map(|()| ExitCode::SUCCESS)
}

async fn serve_until_stopped(
    args: &FrontArgs,
    config: &Config,
    (listeners, threads): (Listeners, &ConnectionThreads),
    front: &Arc<Front>,
) -> anyhow::Result<()> {
    let address = listeners
        .api
        .address()
        .context("the listener has no address")?;
    let stop = StopSignals::listen()?.wait_then_limit_drain(config.drain);
    reload_on_hangup(args.clone(), Arc::clone(front))?;
    if let Some(server) = &listeners.telemetry {
        let address = server.local_addr().context("the listener has no address")?;
        print_line!("ark: telemetry on http://{address}");
    }
    let scheme = listeners.scheme();
    tracing::info!(%address, "ready");
    print_line!("ark: listening on {scheme}://{address}");
    tell_ready();
    let listeners = FrontListeners {
        api: listeners.api,
        tls: listeners.tls,
        telemetry: listeners.telemetry,
        connections: fit_connections(config.access.connections, FILES_PER_CONNECTION),
        is_exposed: config.access.is_exposed(address),
    };
    // A quarter of the time is left for what is still to be judged again.
    serve_front(front, threads, listeners, config.drain / 4 * 3, stop).await;
    Ok(())
}

/// Reads the configuration, the declared policies, the token and the authorities again at every SIGHUP. What is refused changes nothing.
fn reload_on_hangup(args: FrontArgs, front: Arc<Front>) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup()).context("SIGHUP cannot be handled")?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let (args, front) = (args.clone(), Arc::clone(&front));
            let turn = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
                let config = args.read_config()?;
                let owner = config.front.as_ref().context(NO_OWNER)?;
                front.reload(owner, &config.front_policies())?;
                Ok(())
            });
            match turn.await {
                Ok(Ok(())) => tracing::warn!("policies, token and authorities were read again"),
                Ok(Err(error)) => {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "the configuration or a file is refused; nothing changes"
                    );
                }
                Err(_) => break,
            }
        }
    });
    Ok(())
}
