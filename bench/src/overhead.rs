//! What telemetry costs: the same load on a host with it, scraped every second, and on one without, in turns.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::load::{self, Mix};
use crate::process::{Server, get};
use crate::report::{Report, Sample};

/// How often the two are compared in a round: one after the other, so that what disturbs the machine disturbs both.
const TURNS: u32 = 4;
/// How often the host with telemetry is scraped: five times as often as by the configuration in `deploy/prometheus`.
const SCRAPE_EVERY: Duration = Duration::from_secs(1);

/// One round: decisions a second with telemetry and without, and the first as a part of the second.
///
/// # Errors
/// A host does not start, or an answer is not as the mix expects.
pub fn round(
    ark: &Path,
    data: &dyn Fn(&str) -> Result<PathBuf>,
    mix: Mix,
    connections: u64,
    time: Duration,
    report: &mut Report,
) -> Result<()> {
    let with = Server::ark_watched(ark, &data("with")?, None, None, "127.0.0.1:0")?;
    let without = Server::ark_watched(ark, &data("without")?, None, None, "off")?;
    let telemetry = with.telemetry.context("telemetry is on")?;
    ensure!(without.telemetry.is_none(), "telemetry is off");
    let over = AtomicBool::new(false);
    let turn = time / TURNS;
    let (mut on, mut off) = (0.0, 0.0);
    std::thread::scope(|scope| {
        let scraper = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // A scrape that fails shows in the rate being too good; the last one is checked below.
                let _ = get(telemetry, "/metrics");
                std::thread::sleep(SCRAPE_EVERY);
            }
        });
        let measured = (0..TURNS).try_for_each(|number| {
            // Who begins changes with every turn.
            for with_telemetry in [number % 2 == 0, number % 2 != 0] {
                let server = if with_telemetry { &with } else { &without };
                let warm_up = turn / 5;
                let rate = load::run(server.address, mix, connections, warm_up, turn)?.rate;
                *(if with_telemetry { &mut on } else { &mut off }) += rate / f64::from(TURNS);
            }
            anyhow::Ok(())
        });
        over.store(true, Ordering::Relaxed);
        let _ = scraper.join();
        measured
    })?;
    let shown = get(telemetry, "/metrics")?;
    ensure!(
        shown.contains("ark_decisions_total"),
        "the host does not show its metrics"
    );
    eprintln!("{connections} connections: {on:.0}/s with telemetry, {off:.0}/s without");
    report.add(Sample::Telemetry(connections, true), on);
    report.add(Sample::Telemetry(connections, false), off);
    report.add(Sample::TelemetryRatio(connections), on / off);
    with.stop()?;
    without.stop()
}
