//! The requests go back to the stable version, share by share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ark_client::HostClient;

use crate::exchange::traffic::{set_weights, weigh_servers};
use crate::haproxy::{HaproxyClient, HaproxyError, ServerStatus};
use crate::rollback::error::RollbackError;
use crate::rollback::plan::TrafficPlan;

use super::health::read_health;

/// The share of requests that may fail in a step.
const MAX_ERROR_SHARE: f64 = 0.01;
/// A single failure in few requests says nothing.
const MIN_ERRORS: u64 = 3;
/// The longest time between two looks at whether the run is to end.
const TICK: Duration = Duration::from_millis(50);

/// Reads the weights before, and checks that the server could get requests.
pub(in crate::rollback) fn read_weights(
    plan: &TrafficPlan,
) -> Result<BTreeMap<String, u32>, RollbackError> {
    let haproxy = HaproxyClient::new(plan.haproxy.clone());
    let server = haproxy.show_server(&plan.backend, &plan.server)?;
    // The rights of the socket show before anything changes.
    haproxy.set_weight(&plan.backend, &plan.server, server.weight)?;
    let servers = haproxy.show_servers(&plan.backend)?;
    Ok(servers
        .into_iter()
        .map(|server| (server.name, server.weight))
        .collect())
}

/// Gives the server its shares, and watches each. What fails gives the weights of before back. Returns what was done.
pub(super) fn return_traffic(
    client: &HostClient,
    plan: &TrafficPlan,
    before: &BTreeMap<String, u32>,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(u32),
) -> Result<String, RollbackError> {
    let haproxy = HaproxyClient::new(plan.haproxy.clone());
    let weight = before.get(&plan.server).copied().unwrap_or(0);
    if weight > 0 && before.values().sum::<u32>() == weight {
        return Ok(format!("{} has all requests already", plan.server));
    }
    for share in &plan.shares {
        tell(*share);
        let weights = weigh_servers(before, &plan.server, *share);
        let watched = set_weights(&haproxy, &plan.backend, &weights)
            .map_err(RollbackError::from)
            .and_then(|()| watch_share(client, &haproxy, plan, *share, stop));
        if let Err(error) = watched {
            set_weights(&haproxy, &plan.backend, before)?;
            return Err(error);
        }
    }
    let shares: Vec<String> = plan.shares.iter().map(u32::to_string).collect();
    Ok(format!("{} got {} %", plan.server, shares.join(", ")))
}

/// Watches a share for its time: the server is up, its answers are good, and the host behind it is healthy.
fn watch_share(
    client: &HostClient,
    haproxy: &HaproxyClient,
    plan: &TrafficPlan,
    share: u32,
    stop: &AtomicBool,
) -> Result<(), RollbackError> {
    let failed = |problem: String| RollbackError::Traffic {
        server: plan.server.clone(),
        share,
        problem,
    };
    let show = || -> Result<ServerStatus, HaproxyError> {
        haproxy.show_server(&plan.backend, &plan.server)
    };
    let first = show()?;
    let ends = Instant::now() + plan.step;
    loop {
        // Where the host has ended its front fails, too: the host is what is named.
        read_health(client).map_err(|problem| failed(format!("the host: {problem}")))?;
        let now = show()?;
        if !now.is_up() {
            return Err(failed(format!(
                "HAProxy says {} ({})",
                now.status, now.check
            )));
        }
        let since = |of: fn(&ServerStatus) -> u64| of(&now).saturating_sub(of(&first));
        let lost = since(ServerStatus::count_lost_connections);
        if lost > 0 {
            return Err(failed(format!("{lost} connections to it failed")));
        }
        let errors = since(ServerStatus::count_failures);
        let sessions = since(|one| one.sessions);
        if errors >= MIN_ERRORS && errors as f64 > MAX_ERROR_SHARE * sessions as f64 {
            return Err(failed(format!("{errors} of {sessions} requests failed")));
        }
        let looks_again = Instant::now() + plan.interval;
        while Instant::now() < looks_again.min(ends) {
            if stop.load(Ordering::Relaxed) {
                return Err(RollbackError::Interrupted);
            }
            std::thread::sleep(TICK);
        }
        if Instant::now() >= ends {
            return Ok(());
        }
    }
}
