//! What a canary needs before it begins.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ark_client::HostClient;
use ark_model::ids::{Millis, TraceId};

use crate::exchange::data::database::refuse_foreign_schema;
use crate::exchange::hosts::identity::check_same_host;
use crate::exchange::hosts::serving::find_build;
use crate::exchange::preflight::Preflight;
use crate::exchange::traffic::has_server_beside;
use crate::haproxy::{HaproxyClient, ServerStatus};
use crate::host_identity::find_host_process_name;
use crate::prometheus::PrometheusClient;
use crate::quarantines::QuarantineMark;

use super::analysis::{Counts, Meter, find_other_host};
use super::error::CanaryError;
use super::journal::CanaryStart;
use super::plan::{Baseline, BaselineSource, CanaryPlan};

/// How long Prometheus may know what was before a restart of the host, and nothing of a new front: longer than it usually waits between two scrapes.
const SCRAPE_PATIENCE: Duration = Duration::from_secs(18);
/// The pause between two questions.
const SCRAPE_PAUSE: Duration = Duration::from_millis(500);

/// Checks `HAProxy`, front, host and Prometheus, and reads what is there before.
pub(super) fn prepare_canary(
    client: &HostClient,
    plan: CanaryPlan,
) -> Result<CanaryStart, CanaryError> {
    check_ready(client)?;
    check_taken_data(client, &plan)?;
    let haproxy = HaproxyClient::new(plan.haproxy.clone());
    let servers = haproxy.show_servers(&plan.backend)?;
    let server = haproxy.show_server(&plan.backend, &plan.server)?;
    let problems = find_server_problems(&plan, &server, &servers);
    if let Some(problem) = problems.into_iter().next() {
        return Err(problem);
    }
    // The rights of the socket show before the first request moves.
    haproxy.set_weight(&plan.backend, &plan.server, 0)?;
    let baseline = read_baseline(client, &plan)?;
    let watched = begin_watch(client, &plan)?;
    check_owners(client, &plan)?;
    Ok(build_start(plan, &servers, baseline, watched))
}

/// As [`prepare_canary`], and changes nothing: every problem goes to `found`.
pub(super) fn rehearse_start(
    client: &HostClient,
    plan: CanaryPlan,
    found: &mut Preflight,
) -> Option<CanaryStart> {
    found.take(check_ready(client));
    found.take(check_taken_data(client, &plan));
    let haproxy = HaproxyClient::new(plan.haproxy.clone());
    let servers = found.take(haproxy.show_servers(&plan.backend));
    if let Some(servers) = &servers {
        found.take(haproxy.check_rights());
        let server = haproxy.show_server(&plan.backend, &plan.server);
        if let Some(server) = found.take(server) {
            for problem in find_server_problems(&plan, &server, servers) {
                found.take::<(), _>(Err(problem));
            }
        }
    }
    let asked =
        PrometheusClient::new(&plan.prometheus).and_then(|asked| asked.query_values("vector(1)"));
    let asked = asked.map_err(|error| format!("--prometheus {}: {error}", plan.prometheus));
    // What is asked of it fails for that reason, once is enough.
    let has_prometheus = found.take(asked).is_some();
    let is_given = matches!(plan.baseline, BaselineSource::Synthetic(_));
    let baseline = (has_prometheus || is_given)
        .then(|| read_baseline(client, &plan))
        .and_then(|read| found.take(read));
    if has_prometheus {
        found.take(check_owners(client, &plan));
    }
    let watched = has_prometheus
        .then(|| begin_watch(client, &plan))
        .and_then(|read| found.take(read));
    Some(build_start(plan, &servers?, baseline?, watched?))
}

fn check_ready(client: &HostClient) -> Result<(), CanaryError> {
    let ready = client.get("/readyz")?;
    if ready.is_ready() {
        return Ok(());
    }
    Err(CanaryError::Front(format!(
        "the host is not ready: {}",
        ready.body
    )))
}

/// The data that are to be taken over are those of the host, and a version would start on them.
fn check_taken_data(client: &HostClient, plan: &CanaryPlan) -> Result<(), CanaryError> {
    if let Some(take_over) = &plan.take_over {
        check_same_host(client, &take_over.data_dir)?;
        refuse_foreign_schema(&take_over.data_dir)?;
    }
    Ok(())
}

/// The fronts work for the host at the address. A difference is asked for again, since what Prometheus knows may be of before a restart of the host.
fn check_owners(client: &HostClient, plan: &CanaryPlan) -> Result<(), CanaryError> {
    let meter = Meter::new(client, plan)?;
    let ends = Instant::now() + SCRAPE_PATIENCE;
    loop {
        let hosts: BTreeSet<String> = find_host_process_name(client).into_iter().collect();
        let owners = meter.read_owners(plan)?;
        let Some(other) = find_other_host(&owners, &hosts) else {
            return Ok(());
        };
        if Instant::now() > ends {
            let host = hosts.first().map_or("away", String::as_str);
            return Err(CanaryError::Front(format!(
                "a front works for another host (ark_front_owner_info: process {other}) than the one at {url} (instance {host}), so that requests would go into other data: give each front that host as --owner, or correct --url, --canary-series or --stable-series",
                url = client.url()
            )));
        }
        std::thread::sleep(SCRAPE_PAUSE);
    }
}

/// What keeps a canary from moving requests to the server, and back.
fn find_server_problems(
    plan: &CanaryPlan,
    server: &ServerStatus,
    servers: &[ServerStatus],
) -> Vec<CanaryError> {
    let mut problems = Vec::new();
    if !server.is_up() {
        problems.push(format!(
            "HAProxy says that {} is {}; start the front of the new version first",
            plan.server, server.status
        ));
    }
    if server.weight != 0 {
        problems.push(format!(
            "{} has weight {} already; give it `weight 0` in HAProxy's configuration",
            plan.server, server.weight
        ));
    }
    let is_way_back = |one: &ServerStatus| one.name != server.name && one.is_up() && one.weight > 0;
    if !servers.iter().any(is_way_back) {
        problems.push(format!(
            "no other server of {} is up: there would be no way back",
            plan.backend
        ));
    } else if plan.shares.iter().any(|share| *share < 100)
        && !has_server_beside(&server.name, servers)
    {
        problems.push(format!(
            "of the other servers of {backend} only such are up that are `backup`: HAProxy gives them nothing while {name} has a weight, so that each share would be all requests; start a front that is not `backup`, or give --shares 100",
            backend = plan.backend,
            name = plan.server,
        ));
    }
    problems.into_iter().map(CanaryError::Front).collect()
}

fn read_baseline(client: &HostClient, plan: &CanaryPlan) -> Result<Baseline, CanaryError> {
    Ok(Meter::new(client, plan)?.read_baseline(plan)?)
}

/// What is there when a canary begins, from which on it is watched.
struct WatchStart {
    quarantines: QuarantineMark,
    /// When the front of the new version was started, in seconds since 1970.
    front_started: f64,
    counts: Counts,
}

fn begin_watch(client: &HostClient, plan: &CanaryPlan) -> Result<WatchStart, CanaryError> {
    let quarantines = QuarantineMark::read_host(client)?;
    let meter = Meter::new(client, plan)?;
    meter.check_selections(plan)?;
    let ends = Instant::now() + SCRAPE_PATIENCE;
    loop {
        let figures = meter.read_figures(plan, &quarantines)?;
        if let Some(front_started) = figures.front_started {
            return Ok(WatchStart {
                quarantines,
                front_started,
                counts: Counts::from_figures(&figures),
            });
        }
        // A front that was just started may not have been scraped yet.
        if Instant::now() > ends {
            return Err(CanaryError::Front(format!(
                "Prometheus has no process_start_time_seconds{{{}}}: does it scrape the front of the new version?",
                plan.canary_series
            )));
        }
        std::thread::sleep(SCRAPE_PAUSE);
    }
}

fn build_start(
    plan: CanaryPlan,
    servers: &[ServerStatus],
    baseline: Baseline,
    watched: WatchStart,
) -> CanaryStart {
    let weights: BTreeMap<String, u32> = servers
        .iter()
        .map(|server| (server.name.clone(), server.weight))
        .collect();
    CanaryStart {
        id: format!("canary-{}", TraceId::fresh()),
        baseline,
        began_at: Millis::now(),
        quarantines: Some(watched.quarantines),
        counts: Some(watched.counts),
        stable_build: plan
            .take_over
            .as_ref()
            .and_then(|plan| find_build(&plan.data_dir)),
        plan,
        weights,
        front_started: watched.front_started,
    }
}
