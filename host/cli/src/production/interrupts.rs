//! SIGINT and SIGTERM of a command that has to tidy up before it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::output::print_notice;

/// Returns a flag that the first SIGINT or SIGTERM sets. A second one ends the process at once; the journal says what it left.
///
/// # Errors
/// The system does not let the signals be handled.
pub(crate) fn watch_interrupts() -> anyhow::Result<Arc<AtomicBool>> {
    watch(None)
}

/// As [`watch_interrupts`], for a command that goes on by its journal wherever it was ended: what does not look at the flag, e.g. a copy that is made
/// or a host that does not answer, holds it up for no longer than this.
///
/// # Errors
/// As [`watch_interrupts`].
pub(crate) fn watch_interrupts_within(grace: Duration) -> anyhow::Result<Arc<AtomicBool>> {
    watch(Some(grace))
}

fn watch(grace: Option<Duration>) -> anyhow::Result<Arc<AtomicBool>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("signals cannot be handled")?;
    let entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    drop(entered);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    // The thread lives as long as the process.
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            stopped.store(true, Ordering::Relaxed);
            let grace_ends = async {
                match grace {
                    Some(grace) => tokio::time::sleep(grace).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = grace_ends => print_notice!(
                    "interrupted amid a step, as by a kill: run the command again, it goes on by its journal"
                ),
            }
            std::process::exit(1);
        });
    });
    Ok(stop)
}
