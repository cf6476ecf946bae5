//! Measures what the sandbox costs, in this process: evaluations of the Graveyard and invocations of an agent, without HTTP and disk.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ark_host::agents::{Ceiling, load_agent};
use ark_host::hrm::combine_verdicts;
use ark_host::hrm::policies_in_force::PoliciesInForce;
use ark_model::action::Action;
use ark_model::decision::Outcome;
use ark_model::facts::Facts;
use ark_model::form::{parse_action, parse_json};
use ark_model::ids::{Millis, SignalId, TraceId};
use ark_model::signal::Signal;
use ark_model::state::{Memory, StateEntry, Truth};
use ark_runtime::{
    Engine, EngineConfig, GraveyardSource, HostServices, Pin, PinnedGraveyard, Preview,
    ServiceError,
};
use hdrhistogram::Histogram;

use crate::load::new_histogram;

/// Latencies in nanoseconds.
pub struct Sandbox {
    /// Evaluations in the instance that the HRM keeps warm.
    pub warm: Histogram<u64>,
    /// Evaluations in fresh instances.
    pub fresh: Histogram<u64>,
    /// Invocations, each in a fresh instance with one action.
    pub invocation: Histogram<u64>,
}

/// Measures each for `time`.
///
/// # Errors
/// The Graveyard or the agent cannot be loaded, or one of them does not answer as it should.
pub fn measure_sandbox(cache: &Path, agent: &Path, body: &str, time: Duration) -> Result<Sandbox> {
    let engine = Engine::new(&EngineConfig {
        cache_dir: Some(cache.to_owned()),
        ..EngineConfig::default()
    })?;
    let graveyard =
        PinnedGraveyard::load(&engine, &GraveyardSource::Embedded, Pin::compiled_in()?)?;
    let chain = PoliciesInForce::new(Arc::new(graveyard.policy), Vec::new());
    let action = parse_action(parse_json(body.as_bytes())?)?.action;
    let facts = Facts {
        agent: "api".to_owned(),
        now_ms: Millis::now().0,
        audit_writable: true,
        pin_holds: true,
        watchdog_beating: true,
        ..Facts::default()
    };
    let mut judge = chain.new_judge();
    let verdicts = judge.collect_verdicts(&action, &facts);
    let (outcome, _) = combine_verdicts(&verdicts);
    ensure!(
        outcome == Outcome::Approved,
        "the Graveyard does not approve: {verdicts:?}"
    );
    let warm = time_repeatedly(time, || {
        std::hint::black_box(judge.collect_verdicts(&action, &facts));
        Ok(())
    })?;
    let fresh = time_repeatedly(time, || {
        std::hint::black_box(chain.new_judge().collect_verdicts(&action, &facts));
        Ok(())
    })?;
    let agent = load_agent(&engine, agent, &Ceiling::default())?;
    let signal = Signal {
        id: SignalId::fresh(),
        topic: "bench.go".to_owned(),
        payload_json: "{}".to_owned(),
        trace_id: TraceId::fresh(),
        sender: None,
        causal_depth: 0,
        accepted_at: Millis::now(),
        expires_at: None,
    };
    let services: Arc<dyn HostServices> = Arc::new(Alone);
    let invocation = time_repeatedly(time, || {
        let deadline = Instant::now() + Duration::from_secs(1);
        let report = agent.invoke(&signal, Arc::clone(&services), deadline);
        let effects = report.result.context("the agent failed")?;
        ensure!(
            effects.actions.len() == 1,
            "the agent proposed {} actions",
            effects.actions.len()
        );
        Ok(())
    })?;
    Ok(Sandbox {
        warm,
        fresh,
        invocation,
    })
}

fn time_repeatedly(time: Duration, mut once: impl FnMut() -> Result<()>) -> Result<Histogram<u64>> {
    let mut latency = new_histogram()?;
    for _ in 0..1000 {
        once()?;
    }
    let until = Instant::now() + time;
    let mut before = Instant::now();
    while before < until {
        once()?;
        let after = Instant::now();
        latency.record(u64::try_from((after - before).as_nanos())?.max(1))?;
        before = after;
    }
    Ok(latency)
}

/// The services of an agent that uses none.
struct Alone;

fn unused_service<T>() -> Result<T, ServiceError> {
    Err(ServiceError(
        "the benchmark's agent uses no services".to_owned(),
    ))
}

impl HostServices for Alone {
    fn state_get(&self, _: &str) -> Result<(u64, Option<StateEntry>), ServiceError> {
        unused_service()
    }

    fn state_list(&self, _: &str, _: u32) -> Result<Vec<String>, ServiceError> {
        unused_service()
    }

    fn memory_recent(&self, _: Option<&str>, _: u32) -> Result<Vec<Memory>, ServiceError> {
        unused_service()
    }

    fn truth_get(&self, _: &str) -> Result<Option<Truth>, ServiceError> {
        unused_service()
    }

    fn check_action(&self, _: Action) -> Result<Preview, ServiceError> {
        unused_service()
    }
}
