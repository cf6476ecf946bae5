//! `ark serve`

use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::api::{Server, serve as serve_api};
use crate::app::App;

use super::HostArgs;
use super::reload::Reload;

/// Threads of the HTTP runtime: it only parses and answers.
const HTTP_THREADS: usize = 2;

pub(super) fn serve(args: &HostArgs) -> anyhow::Result<ExitCode> {
    super::log("info");
    let config = args.config()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(HTTP_THREADS)
        .thread_name("ark-http")
        .enable_all()
        .build()
        .context("the HTTP runtime cannot start")?;
    // Bound first, so that a taken port is said before anything else is started; served last.
    let server = runtime.block_on(Server::bind(config.listen))?;
    let address = server.address().context("the listener has no address")?;
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
        let mut hang_up = signal(SignalKind::hangup()).context("SIGHUP cannot be handled")?;
        let mut reload = Reload::new(args.clone(), &app)?;
        tokio::spawn(async move {
            while hang_up.recv().await.is_some() {
                let turn = tokio::task::spawn_blocking(move || {
                    reload.carry_out();
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
                    _ = terminate.recv() => end("told to stop a second time"),
                    _ = interrupt.recv() => end("told to stop a second time"),
                    () = tokio::time::sleep(drain) => end("the time to drain is over (capacity.drain_ms)"),
                }
            });
        };
        tracing::info!(
            %address,
            data_dir = %config.store.dir.display(),
            agents = app.router.seats().len(),
            "ready: this API has no authentication and serves this machine only"
        );
        println!("ark: listening on http://{address}");
        serve_api(
            server,
            &app,
            config.submitters.clone(),
            config.connections,
            // The rest of the time is for what agents have under way.
            config.drain / 4 * 3,
            stop,
        )
        .await;
        anyhow::Ok(())
    });
    // The runtime outlives the parts: it is what watches over the time that their end may take.
    app.stop();
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    tracing::info!("stopped");
    result.map(|()| ExitCode::SUCCESS)
}

/// Ends the process at once. What was acknowledged is on disk, and what is pending is resumed by the next start, as after a kill.
fn end(why: &str) {
    tracing::warn!(
        why,
        "ended before everything that runs was done; the next start resumes it"
    );
    std::process::exit(0);
}
