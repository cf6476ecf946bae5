//! `ark serve`

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use ark_host::api::{AccessConfig, Server, Tls, serve as serve_api};
use ark_host::app::App;
use ark_host::telemetry::{TelemetryListen, TelemetryServer};

use super::HostArgs;
use super::reload::Reload;

/// Open files that are not connections: the database and its readers, components, capsules.
const OTHER_FILES: u64 = 256;
/// Threads of the HTTP runtime: it only parses and answers.
const HTTP_THREADS: usize = 2;

pub(super) fn run(args: &HostArgs) -> anyhow::Result<ExitCode> {
    let config = args.read_config()?;
    super::start_logging_as("info", config.telemetry.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(HTTP_THREADS)
        .thread_name("ark-http")
        .enable_all()
        .build()
        .context("the HTTP runtime cannot start")?;
    // Bound first, so that a taken port is said before anything else is started; served last.
    let server = runtime.block_on(Server::bind(config.listen))?;
    let address = server.address().context("the listener has no address")?;
    let telemetry = match config.telemetry.listen {
        TelemetryListen::Off => None,
        TelemetryListen::At(listen) => Some(runtime.block_on(TelemetryServer::bind(listen))?),
    };
    let tls = config
        .access
        .tls
        .clone()
        .map(Tls::load)
        .transpose()
        .context("[tls]")?;
    let access = AccessConfig {
        connections: fit_connections(config.access.connections),
        ..config.access.clone()
    };
    let app = App::start(&config)?;
    let guarded = !app.store.all_tokens()?.is_empty();
    if access.exposed(address) && !guarded {
        app.stop();
        bail!(
            "others than this machine could reach this API, and there is no token yet; make one first: ark token create --role admin --name NAME --data-dir {}",
            config.store.dir.display()
        );
    }
    for refused in &app.refused_agents {
        eprintln!(
            "ark: agent refused: {}: {}",
            refused.manifest.display(),
            refused.reason
        );
    }
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
        let mut hang_up = signal(SignalKind::hangup()).context("SIGHUP cannot be handled")?;
        let mut reload = Reload::new(args.clone(), &app)?;
        tokio::spawn(async move {
            while hang_up.recv().await.is_some() {
                let turn = tokio::task::spawn_blocking(move || {
                    reload.reload_config();
                    reload
                });
                match turn.await {
                    Ok(done) => reload = done,
                    Err(_) => break,
                }
            }
        });
        let drain = config.drain;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("told to stop: no new connections");
            tokio::spawn(async move {
                tokio::select! {
                    _ = terminate.recv() => exit_now("told to stop a second time"),
                    _ = interrupt.recv() => exit_now("told to stop a second time"),
                    () = tokio::time::sleep(drain) => exit_now("the time to drain is over (capacity.drain_ms)"),
                }
            });
        };
        tracing::info!(
            %address,
            data_dir = %config.store.dir.display(),
            agents = app.router.list_serving().len(),
            "{}",
            if guarded {
                "ready"
            } else {
                "ready: without tokens this API serves this machine only, and whoever is on it; `ark token create` makes them"
            }
        );
        let metrics = match telemetry {
            None => None,
            Some(server) => {
                let address = server.local_addr().context("the listener has no address")?;
                println!("ark: telemetry on http://{address}");
                if address.ip().is_loopback() {
                    tracing::info!(%address, "telemetry");
                } else {
                    tracing::warn!(%address, "telemetry can be read from other machines, and asks for no token");
                }
                Some(tokio::spawn(server.serve(Arc::clone(&app.telemetry))))
            }
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        println!("ark: listening on {scheme}://{address}");
        let served = serve_api(
            server,
            &app,
            config.submitters.clone(),
            &access,
            tls.map(Arc::new),
            // The rest of the time is for what agents have under way.
            config.drain / 4 * 3,
            stop,
        )
        .await;
        if let Some(metrics) = metrics {
            metrics.abort();
        }
        served?;
        anyhow::Ok(())
    });
    // The runtime outlives the parts: it is what watches over the time that their end may take.
    app.stop();
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    tracing::info!("stopped");
    result.map(|()| ExitCode::SUCCESS)
}

/// Ends the process at once. What was acknowledged is on disk, and what is pending is resumed by the next start, as after a kill.
fn exit_now(why: &str) {
    tracing::warn!(
        why,
        "ended before everything that runs was done; the next start resumes it"
    );
    std::process::exit(0);
}

/// Raises this process's limit of open files as far as it may, and says how many connections fit into it.
fn fit_connections(connections: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHER_FILES);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let mut open = limit.current.unwrap_or(u64::MAX);
    if open < wanted {
        let raised = Rlimit {
            current: Some(wanted.min(most)),
            maximum: limit.maximum,
        };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => open = wanted.min(most),
            Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
        }
    }
    let room = usize::try_from(open.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    if room < connections {
        tracing::warn!(
            connections = room.max(1),
            wanted = connections,
            "the limit of open files allows fewer connections than configured (ulimit -n)"
        );
    }
    connections.min(room.max(1))
}
