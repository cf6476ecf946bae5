//! `ark serve`

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::api::{AccessConfig, Server, Tls, serve as serve_api};
use crate::app::App;
use crate::telemetry::{TelemetryListen, TelemetryServer};

use super::HostArgs;

/// Open files that are not connections: the database and its readers, components, capsules.
const OTHER_FILES: u64 = 256;
/// Threads of the HTTP runtime: it only parses and answers.
const HTTP_THREADS: usize = 2;

pub(super) fn serve(args: HostArgs) -> anyhow::Result<ExitCode> {
    let config = args.config()?;
    super::log_as("info", config.telemetry.log_format);
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
        connections: room_for(config.access.connections),
        ..config.access.clone()
    };
    let app = App::start(&config)?;
    let guarded = !app.store.tokens()?.is_empty();
    if access.exposed(address) && !guarded {
        app.stop();
        bail!(
            "others than this machine could reach this API, and there is no token yet; make one first: ark token create --role admin --name NAME --data-dir {}",
            config.store.dir.display()
        );
    }
    for refused in &app.refused {
        eprintln!(
            "ark: agent refused: {}: {}",
            refused.manifest.display(),
            refused.reason
        );
    }
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("told to stop: no new connections");
        };
        tracing::info!(
            %address,
            data_dir = %config.store.dir.display(),
            agents = app.router.seats().len(),
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
                let address = server.address().context("the listener has no address")?;
                println!("ark: telemetry on http://{address}");
                tracing::info!(%address, "telemetry");
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
            stop,
        )
        .await;
        if let Some(metrics) = metrics {
            metrics.abort();
        }
        served?;
        anyhow::Ok(())
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    app.stop();
    tracing::info!("stopped");
    result.map(|()| ExitCode::SUCCESS)
}

/// Raises this process's limit of open files as far as it may, and says how many connections fit into it.
fn room_for(connections: usize) -> usize {
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
