//! Programs that listen: `ark serve`, here, and `ark front` ([`front`]).
//!
//! `ark serve`: the configuration becomes listeners and parts, these run until a signal ends the process, and they end in order.

pub(crate) mod front;
mod manager;
mod open_files;
mod reload;
mod signals;

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use ark_host::api::{AccessConfig, ConnectionThreads, PreparedRoutes, Server, Tls, serve_api};
use ark_host::app::App;
use ark_host::app::threads::{BLOCKING_THREADS, PORT_THREADS, count_connection_threads};
use ark_host::config::Config;
use ark_host::telemetry::{TelemetryListen, TelemetryServer};
use tokio::task::JoinHandle;

use crate::args::HostArgs;
use crate::output::{print_line, start_logging};

use manager::PassedListeners;
use open_files::fit_connections;
use reload::Reload;
use signals::StopSignals;

/// How long a runtime may take to end once everything it served has ended.
const RUNTIME_SHUTDOWN: Duration = Duration::from_millis(100);

/// What is bound before any part starts.
struct Listeners {
    api: Server,
    telemetry: Option<TelemetryServer>,
    tls: Option<Tls>,
}

impl Listeners {
    /// Takes the ports that were passed, binds the others and loads certificate and key, so that a port in use is reported before anything else
    /// is started.
    async fn bind(config: &Config, mut passed: PassedListeners) -> anyhow::Result<Self> {
        let api = match passed.take_api(config.listen)? {
            Some(listener) => {
                let address = listener
                    .local_addr()
                    .context("the socket passed for listen")?;
                if let Err(problem) = config.check_passed_address(address) {
                    bail!("listen: the socket that the service manager passes {problem}");
                }
                Server::from_listener(listener)?
            }
            None => Server::bind(config.listen).await?,
        };
        let telemetry = match config.telemetry.listen {
            TelemetryListen::Off => {
                ensure!(
                    !passed.has_telemetry(),
                    "the service manager passes a socket for telemetry, and `telemetry_listen` is off: take the socket out of its unit"
                );
                None
            }
            TelemetryListen::At(listen) => Some(match passed.take_telemetry(listen)? {
                Some(listener) => TelemetryServer::from_listener(listener)?,
                None => TelemetryServer::bind(listen).await?,
            }),
        };
        let tls = config.access.tls.clone().map(Tls::load);
        Ok(Self {
            api,
            telemetry,
            tls: tls.transpose().context("[tls]")?,
        })
    }

    /// The scheme of the API's address.
    const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// Makes the runtime of the ports: in it the main thread accepts connections; its own threads serve telemetry and watch over the end. It has the threads
/// for what waits for the disk.
fn build_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(PORT_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("ark-ports")
        .enable_all()
        .build()
        .context("the runtime of the ports cannot start")
}

/// Starts the threads that serve the API's connections.
fn start_connection_threads(count: NonZeroUsize) -> anyhow::Result<ConnectionThreads> {
    ConnectionThreads::start(count).context("the threads that serve connections cannot start")
}

pub(crate) fn run_command(args: &HostArgs) -> anyhow::Result<ExitCode> {
    args.files.require_env_file()?;
    let passed = PassedListeners::from_environment()?;
    let config = args.read_config()?;
    start_logging("info", config.telemetry.log_format)?;
    let routes = PreparedRoutes::start();
    let runtime = build_runtime()?;
    let threads = start_connection_threads(count_connection_threads())?;
    let listeners = runtime.block_on(Listeners::bind(&config, passed))?;
    // Before the parts: they open files too, and the probes of the limits fail for want of them.
    let connections = fit_connections(config.access.connections, 1);
    let app = App::start(&config)?;
    let result = runtime.block_on(serve_until_stopped(
        args,
        &config,
        (listeners, routes, &threads),
        connections,
        &app,
    ));
    // The runtimes end last: that of the ports watches over the time that the end of the parts may take.
    app.stop();
    threads.stop(RUNTIME_SHUTDOWN);
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN);
    tracing::info!("stopped");
    result.map(|()| ExitCode::SUCCESS)
}

async fn serve_until_stopped(
    args: &HostArgs,
    config: &Config,
    (listeners, routes, threads): (Listeners, PreparedRoutes, &ConnectionThreads),
    connections: usize,
    app: &App,
) -> anyhow::Result<()> {
    let address = listeners
        .api
        .address()
        .context("the listener has no address")?;
    let has_tokens = !app.store.all_tokens()?.is_empty();
    if config.access.is_exposed(address) && !has_tokens {
        bail!(
            "other machines could reach this API, and there is no token yet; make one first: ark token create --role admin --name NAME --data-dir {}",
            config.store.dir.display()
        );
    }
    let stop = StopSignals::listen()?.wait_then_limit_drain(config.drain);
    Reload::new(args.clone(), app)?.run_on_hangup()?;
    tracing::info!(
        %address,
        data_dir = %config.store.dir.display(),
        agents = app.router.list_serving().len(),
        "{}",
        if has_tokens {
            "ready"
        } else {
            "ready; without tokens this API serves every user of this machine, and no other machine (`ark token create` makes tokens)"
        }
    );
    let scheme = listeners.scheme();
    let metrics = listeners
        .telemetry
        .map(|server| serve_telemetry(server, app))
        .transpose()?;
    print_line!("ark: listening on {scheme}://{address}");
    manager::tell_ready();
    let access = AccessConfig {
        connections,
        ..config.access.clone()
    };
    let served = serve_api(
        (listeners.api, routes),
        threads,
        app.api_deps(config.submitters.clone()),
        &access,
        listeners.tls,
        // A quarter of the time is left for the invocations of agents.
        config.drain / 4 * 3,
        stop,
    )
    .await;
    if let Some(metrics) = metrics {
        metrics.abort();
    }
    served?;
    Ok(())
}

fn serve_telemetry(server: TelemetryServer, app: &App) -> anyhow::Result<JoinHandle<()>> {
    let address = server.local_addr().context("the listener has no address")?;
    print_line!("ark: telemetry on http://{address}");
    if address.ip().is_loopback() {
        tracing::info!(%address, "serving telemetry");
    } else {
        tracing::warn!(%address, "other machines can read telemetry, which asks for no token");
    }
    Ok(tokio::spawn(server.serve(Arc::clone(&app.telemetry))))
}
