//! What a canary needs before it begins.

use std::collections::BTreeMap;

use ark_client::HostClient;
use ark_model::ids::{Millis, TraceId};

use crate::exchange::serving::find_build;
use crate::haproxy::{HaproxyClient, ServerStatus};

use super::error::CanaryError;
use super::journal::CanaryStart;
use super::measure::Meter;
use super::plan::CanaryPlan;

/// Checks `HAProxy`, front, host and Prometheus, and reads what is there before.
pub(super) fn prepare_canary(
    client: &HostClient,
    plan: CanaryPlan,
) -> Result<CanaryStart, CanaryError> {
    let ready = client.get("/readyz")?;
    if ready.status != 200 {
        return Err(CanaryError::Front(format!(
            "the host is not ready: {}",
            ready.body
        )));
    }
    let haproxy = HaproxyClient::new(plan.haproxy.clone());
    let server = haproxy.show_server(&plan.backend, &plan.server)?;
    if !server.is_up() {
        return Err(CanaryError::Front(format!(
            "HAProxy says that {} is {}; start the front of the new version first",
            plan.server, server.status
        )));
    }
    if server.weight != 0 {
        return Err(CanaryError::Front(format!(
            "{} has weight {} already; give it `weight 0` in HAProxy's configuration",
            plan.server, server.weight
        )));
    }
    let servers = haproxy.show_servers(&plan.backend)?;
    let serves = |one: &ServerStatus| one.is_up() && one.weight > 0;
    if !servers.iter().any(serves) {
        return Err(CanaryError::Front(format!(
            "no other server of {} is up: there would be no way back",
            plan.backend
        )));
    }
    // The rights of the socket show before the first request moves.
    haproxy.set_weight(&plan.backend, &plan.server, 0)?;
    let weights: BTreeMap<String, u32> = servers
        .into_iter()
        .map(|server| (server.name, server.weight))
        .collect();
    let meter = Meter::new(client, &plan)?;
    let baseline = meter.read_baseline(&plan)?;
    let began_at = Millis::now();
    let figures = meter.read_figures(&plan, began_at)?;
    let front_started = figures.front_started.ok_or_else(|| {
        CanaryError::Front(format!(
            "Prometheus has no process_start_time_seconds{{{}}}: does it scrape the front of the new version?",
            plan.canary_series
        ))
    })?;
    Ok(CanaryStart {
        id: format!("canary-{}", TraceId::fresh()),
        baseline,
        began_at,
        stable_build: plan
            .take_over
            .as_ref()
            .and_then(|plan| find_build(&plan.data_dir)),
        plan,
        weights,
        front_started,
    })
}
