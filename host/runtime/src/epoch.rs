//! The engine's clock. An epoch deadline is a number of ticks from now; a guest that runs past it is interrupted.

use std::time::{Duration, Instant};

use wasmtime::EngineWeak;

/// The time between two ticks: the precision of deadlines.
const EPOCH_TICK: Duration = Duration::from_millis(5);

/// Starts the thread `ark-epoch`, which advances the engine's epoch at every tick and ends when the engine is dropped.
pub(crate) fn spawn_clock(engine: EngineWeak) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("ark-epoch".to_owned())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(EPOCH_TICK);
            }
        })
        .map(|_| ())
}

/// Returns the number of ticks from now to a deadline, rounded up; at least 1.
pub(crate) fn ticks_until(deadline: Instant) -> u64 {
    ticks_within(deadline.saturating_duration_since(Instant::now()))
}

/// Returns the number of ticks from now to the end of a time that begins now, rounded up; at least 1.
pub(crate) fn ticks_within(time: Duration) -> u64 {
    u64::try_from(time.as_micros().div_ceil(EPOCH_TICK.as_micros()))
        .unwrap_or(u64::MAX / 2)
        .saturating_add(1)
}
