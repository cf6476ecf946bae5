//! Measures what telemetry costs: the same load on a host with telemetry, scraped every second, and on a host without, in turns.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::load::{self, Mix};
use crate::process::{ServerProcess, get_text};
use crate::report::{BenchReport, MeasuredQuantity};

/// How long one host is loaded before the other's turn: short, so that disturbances of the machine hit both.
const TURN: Duration = Duration::from_millis(500);
/// The interval of scrapes: a fifth of the one in `deploy/prometheus`.
const SCRAPE_EVERY: Duration = Duration::from_secs(1);

/// The work of one of the two hosts in a round.
#[derive(Default)]
struct Done {
    rates: f64,
    answers: u64,
}

/// Measures one round: decisions a second and processor time a decision, with telemetry and without, and their ratio in each pair of turns.
///
/// # Errors
/// A host does not start, or an answer is not as the mix expects.
pub fn measure_round(
    ark: &Path,
    data: &dyn Fn(&str) -> Result<PathBuf>,
    mix: Mix,
    connections: u64,
    time: Duration,
    report: &mut BenchReport,
) -> Result<()> {
    let with =
        ServerProcess::start_ark_with_telemetry(ark, &data("with")?, None, None, "127.0.0.1:0")?;
    let without =
        ServerProcess::start_ark_with_telemetry(ark, &data("without")?, None, None, "off")?;
    let telemetry = with.telemetry.context("telemetry is on")?;
    ensure!(without.telemetry.is_none(), "telemetry is off");
    let turns = (time.as_millis() / TURN.as_millis()).max(2);
    let before = [with.processor_time()?, without.processor_time()?];
    let mut done: [Done; 2] = Default::default();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let scraper = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // One that fails is caught by the last one, below.
                let _ = get_text(telemetry, "/metrics");
                std::thread::sleep(SCRAPE_EVERY);
            }
        });
        let measured = (0..turns).try_for_each(|turn| {
            let mut rates = [0.0; 2];
            // Who begins changes with every turn.
            for which in [turn % 2, (turn + 1) % 2] {
                let which = usize::from(which == 1);
                let server = [&with, &without][which];
                let loaded = load::run_load(server.address, mix, connections, TURN / 5, TURN)?;
                rates[which] = loaded.rate;
                done[which].rates += loaded.rate;
                done[which].answers += loaded.answers;
            }
            report.add_sample(
                MeasuredQuantity::TelemetryRatio(connections),
                rates[0] / rates[1],
            );
            anyhow::Ok(())
        });
        over.store(true, Ordering::Relaxed);
        let _ = scraper.join();
        measured
    })?;
    let shown = get_text(telemetry, "/metrics")?;
    ensure!(
        shown.contains("ark_decisions_total"),
        "the host does not show its metrics"
    );
    let mut micros = [0.0; 2];
    for (which, server) in [&with, &without].into_iter().enumerate() {
        let used = server.processor_time()?.saturating_sub(before[which]);
        micros[which] = used.as_secs_f64() * 1e6 / done[which].answers as f64;
        let rate = done[which].rates / turns as f64;
        report.add_sample(MeasuredQuantity::Telemetry(connections, which == 0), rate);
        report.add_sample(
            MeasuredQuantity::TelemetryCost(connections, which == 0),
            micros[which],
        );
    }
    eprintln!(
        "{connections} connections: {:.1} µs of processor a decision with telemetry, {:.1} without",
        micros[0], micros[1]
    );
    with.stop()?;
    without.stop()
}
