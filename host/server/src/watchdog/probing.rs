//! Proves that the limits hold, before anything is approved.

use std::time::Instant;

use ark_runtime::{Engine, Limits, ProbeResult, probe_limits};

use super::rate_limits::{ActionRateLimit, ConcurrencyLimit};

/// What came of probing the limits. Only [`probe_all_limits`] makes it, so nobody can leave the probes out.
pub struct ProbedLimits(Vec<ProbeResult>);

impl ProbedLimits {
    /// Returns what came of each probe.
    pub(super) fn results(&self) -> &[ProbeResult] {
        &self.0
    }

    /// Returns whether every limit held.
    pub(super) fn hold(&self) -> bool {
        self.0.iter().all(|probe| probe.tripped)
    }
}

/// Runs into every limit once: those of an invocation in a scratch instance, those of an agent over all its invocations here. A limit that does
/// not hold, or a probe that cannot be loaded, is logged. `ceiling` are the operator's limits for agents.
pub fn probe_all_limits(engine: &Engine, ceiling: &Limits) -> ProbedLimits {
    #[cfg(feature = "faults")]
    if crate::faults::has_fault(crate::faults::Fault::SkipsProbes) {
        return ProbedLimits(Vec::new());
    }
    let mut probes = match probe_limits(engine, ceiling) {
        Ok(probes) => probes,
        Err(error) => {
            tracing::error!(%error, "the limits cannot be probed: nothing is approved");
            return ProbedLimits(vec![ProbeResult {
                limit: "all",
                tripped: false,
                detail: format!("the probe cannot be loaded: {error}"),
            }]);
        }
    };
    let mut concurrency = ConcurrencyLimit::new(1);
    let mut rate = ActionRateLimit::new(1, Instant::now());
    for (limit, tripped) in [
        (
            "concurrency",
            concurrency.try_acquire() && !concurrency.try_acquire(),
        ),
        (
            "actions_per_minute",
            rate.try_acquire(1, Instant::now()) && !rate.try_acquire(1, Instant::now()),
        ),
    ] {
        let detail = if tripped {
            "the second was refused"
        } else {
            "the second was not refused"
        };
        probes.push(ProbeResult {
            limit,
            tripped,
            detail: detail.to_owned(),
        });
    }
    for probe in probes.iter().filter(|probe| !probe.tripped) {
        tracing::error!(
            limit = probe.limit,
            detail = probe.detail,
            "a limit does not hold: nothing is approved"
        );
    }
    ProbedLimits(probes)
}
