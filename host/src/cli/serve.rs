//! `ark serve`

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::api::{Server, serve as serve_api};
use crate::app::App;
use crate::telemetry::{TelemetryListen, TelemetryServer};

use super::HostArgs;

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
    let app = App::start(&config)?;
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
            "ready: this API has no authentication and serves this machine only"
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
        println!("ark: listening on http://{address}");
        serve_api(
            server,
            &app,
            config.submitters.clone(),
            config.connections,
            stop,
        )
        .await;
        if let Some(metrics) = metrics {
            metrics.abort();
        }
        anyhow::Ok(())
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    app.stop();
    tracing::info!("stopped");
    result.map(|()| ExitCode::SUCCESS)
}
