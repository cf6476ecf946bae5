//! Proves that the limits hold, before anything is approved.

use std::time::Instant;

use ark_runtime::{Probe, probe_limits};

use super::{Allowance, Turns, Watched};

/// Runs into every limit once: those of an invocation in a scratch instance, those of an agent over all its invocations here.
pub(super) fn probe(watched: &Watched) -> Vec<Probe> {
    let mut probes = match probe_limits(&watched.engine, &watched.ceiling) {
        Ok(probes) => probes,
        Err(error) => {
            tracing::error!(%error, "the limits cannot be probed: nothing is approved");
            return vec![Probe {
                limit: "all",
                tripped: false,
                detail: format!("the probe cannot be loaded: {error}"),
            }];
        }
    };
    let mut turns = Turns::new(1);
    let mut allowance = Allowance::new(1, Instant::now());
    for (limit, tripped) in [
        ("concurrency", turns.take() && !turns.take()),
        (
            "actions_per_minute",
            allowance.take(1, Instant::now()) && !allowance.take(1, Instant::now()),
        ),
    ] {
        let detail = if tripped {
            "the second was refused"
        } else {
            "the second was not refused"
        };
        probes.push(Probe {
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
    probes
}
