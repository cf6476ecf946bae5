//! The proof, at every start, that the limits of an invocation hold on this engine and this machine: a guest that is written to run into each of
//! them must be ended by exactly the limit it runs into.
//!
//! The guest (`probe.wat`) is loaded and invoked like any agent. In each case one limit is set so low that the guest reaches it at once, and all
//! others so high that it cannot reach them first, however slow the machine is.

use std::time::{Duration, Instant};

use ark_model::ids::{Digest, Millis, SignalId, TraceId};
use ark_model::signal::Signal;

use super::agent::{Agent, InvocationFailure, InvocationReport};
use super::engine::Engine;
use super::limits::Limits;
use super::load::LoadError;
use super::manifest::Manifest;

const COMPONENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/probe.wasm"));

/// The result of one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeResult {
    /// The name of the limit, as in a `[limits]` table.
    pub limit: &'static str,
    /// Whether the limit ended the guest that ran into it.
    pub tripped: bool,
    /// What happened.
    pub detail: String,
}

/// A deadline that a guest in the other cases does not reach, even on a machine that is busy for seconds.
const FAR_DEADLINE: Duration = Duration::from_secs(60);
/// Fuel that a guest in the other cases does not use up: seconds of computation.
const AMPLE_FUEL: u64 = 10_000_000_000;
/// Fuel that a guest cannot use up before its deadline on any machine.
const ENDLESS_FUEL: u64 = 1_000_000_000_000;

/// A limit, the letter that makes the guest run into it, and how the limit is set low.
type ProbeCase = (&'static str, char, fn(&mut Limits));

/// One case for every limit of an invocation.
const CASES: [ProbeCase; 13] = [
    ("fuel", 'f', |limits| {
        limits.fuel = 100_000;
    }),
    ("deadline_ms", 'f', |limits| {
        // More than one tick of the engine's clock, so that the guest runs when it is ended, and no more: each start waits for it.
        limits.deadline = Duration::from_millis(6);
        limits.fuel = ENDLESS_FUEL;
    }),
    ("memory_bytes", 'm', |limits| {
        limits.memory_bytes = 10 * 65_536;
    }),
    ("table_elements", 't', |limits| {
        limits.table_elements = 1_000;
    }),
    ("instances", 'x', |limits| {
        limits.instances = 1;
    }),
    ("stack_bytes", 's', |_| {}),
    ("resources", 'r', |limits| {
        limits.resources = 8;
    }),
    ("host_calls", 'h', |limits| {
        limits.host_calls = 10;
    }),
    ("host_call_bytes", 'b', |limits| {
        limits.host_call_bytes = 64 * 1024;
    }),
    ("writes", 'w', |limits| {
        limits.writes = 3;
    }),
    ("actions", 'a', |limits| {
        limits.actions = 1;
    }),
    ("output_bytes", 'a', |limits| {
        limits.output_bytes = 64;
    }),
    ("log_bytes", 'l', |limits| {
        limits.log_bytes = 1_024;
    }),
];

/// Runs into every limit of an invocation once. `ceiling` are the operator's limits, of which only the stack matters: it is the engine's.
///
/// # Errors
/// The guest cannot be loaded. See [`LoadError`].
pub fn probe_limits(engine: &Engine, ceiling: &Limits) -> Result<Vec<ProbeResult>, LoadError> {
    let roomy = Limits {
        stack_bytes: ceiling.stack_bytes,
        deadline: FAR_DEADLINE,
        fuel: AMPLE_FUEL,
        ..Limits::default()
    };
    let guest = load_guest(engine, &roomy)?;
    let mut probes = Vec::with_capacity(CASES.len() + 1);
    for (limit, letter, tighten) in CASES {
        let mut limits = roomy.clone();
        tighten(&mut limits);
        let report = invoke_guest(&guest.with_limits(limits), letter);
        probes.push(judge_report(limit, &report));
    }
    // If the guest itself did not work, everything above could have failed for that reason.
    let report = invoke_guest(&guest, 'x');
    if let Err(failure) = report.result {
        let detail = format!("the guest failed within its limits: {failure}");
        for probe in &mut probes {
            probe.tripped = false;
            probe.detail.clone_from(&detail);
        }
    }
    Ok(probes)
}

fn load_guest(engine: &Engine, limits: &Limits) -> Result<Agent, LoadError> {
    let name = "probe"
        .parse()
        .map_err(|error| LoadError::BadMetadata(format!("{error}")))?;
    let manifest = Manifest::granting_nothing(name, Digest::hash_bytes(COMPONENT));
    Agent::load(engine, COMPONENT, manifest, limits)
}

fn invoke_guest(guest: &Agent, letter: char) -> InvocationReport {
    let signal = Signal {
        id: SignalId::fresh(),
        topic: "probe".to_owned(),
        payload_json: format!("\"{letter}\""),
        trace_id: TraceId::fresh(),
        sender: None,
        causal_depth: 0,
        accepted_at: Millis::now(),
        expires_at: None,
    };
    let deadline = Instant::now() + guest.limits().deadline;
    guest.invoke_offline(&signal, deadline)
}

fn judge_report(limit: &'static str, report: &InvocationReport) -> ProbeResult {
    let tripped = match &report.result {
        Err(InvocationFailure::OutOfFuel(_)) => limit == "fuel",
        Err(InvocationFailure::DeadlineExceeded(_)) => limit == "deadline_ms",
        Err(InvocationFailure::LimitReached("stack")) => limit == "stack_bytes",
        Err(InvocationFailure::LimitReached(reached)) => *reached == limit,
        // A log that reaches its limit is cut off, which does not end the invocation.
        Ok(_) => {
            let kept: usize = report.log.iter().map(|line| line.text.len()).sum();
            limit == "log_bytes" && kept <= 1_024 && !report.log.is_empty()
        }
        Err(_) => false,
    };
    let detail = match &report.result {
        Err(failure) => failure.to_string(),
        Ok(_) if tripped => "the log was cut off".to_owned(),
        Ok(_) => "the guest ended well".to_owned(),
    };
    ProbeResult {
        limit,
        tripped,
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineConfig;

    #[test]
    fn every_limit_of_an_invocation_is_probed_and_holds() {
        let engine = Engine::new(&EngineConfig::default()).unwrap();
        let probes = probe_limits(&engine, &Limits::default()).unwrap();
        for probe in &probes {
            assert!(probe.tripped, "{probe:?}");
        }
        let probed: std::collections::BTreeSet<&str> =
            probes.iter().map(|probe| probe.limit).collect();
        let limits = serde_json::to_value(Limits::default()).unwrap();
        // These two bound the invocations of an agent together: the watchdog probes them.
        let others = ["concurrency", "actions_per_minute"];
        for limit in limits.as_object().unwrap().keys() {
            assert!(
                probed.contains(limit.as_str()) || others.contains(&limit.as_str()),
                "{limit}"
            );
        }
    }
}
