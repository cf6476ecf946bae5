//! `ark serve`

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::api::{Server, Serving, serve as serve_api};
use crate::app::App;
use crate::telemetry::{TelemetryListen, TelemetryServer};

use super::HostArgs;

/// Threads of the HTTP runtime: it only parses and answers.
const HTTP_THREADS: usize = 2;

pub(super) fn serve(args: HostArgs) -> anyhow::Result<ExitCode> {
    let config = args.config()?;
    super::log_as("info", config.telemetry.log_format);
    more_files();
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
    let app = App::start(&config)?;
    if !config.listen.ip().is_loopback() && !app.tokens.required() {
        let dir = config.store.dir.display().to_string();
        app.stop();
        bail!(
            "{address} can be reached from other machines and there is no token yet: make an admin's first, \
             `ark token create --role admin --name NAME --data-dir {dir}`, or listen on 127.0.0.1"
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
            tokens = app.tokens.required(),
            tls = config.tls.is_some(),
            "ready"
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
        let scheme = if config.tls.is_some() {
            "https"
        } else {
            "http"
        };
        println!("ark: listening on {scheme}://{address}");
        let serving = Serving {
            submitters: config.submitters.clone(),
            connections: config.connections,
            rate: config.requests_per_second,
            tls: config.tls.clone(),
        };
        let served = serve_api(server, &app, serving, stop).await;
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

/// Every connection is a file: as many as the system lets this process have.
fn more_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}
