//! The requests go back to the stable version, share by share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ark_client::HostClient;

use crate::exchange::traffic::{list_left_out, list_weights, set_weights, weigh_servers};
use crate::haproxy::{HaproxyClient, HaproxyError, ServerStatus};
use crate::rollback::error::RollbackError;
use crate::rollback::plan::TrafficPlan;

use super::health::read_health;

/// The share of requests that may fail in a step.
const MAX_ERROR_SHARE: f64 = 0.01;
/// A single failure in few requests says nothing.
const MIN_ERRORS: u64 = 3;
/// How many looks in a row find the host unwell where it is: one may fall on a moment in which it has no capacity.
const UNWELL_LOOKS: u32 = 2;
/// The longest time between two looks at whether the run is to end.
const TICK: Duration = Duration::from_millis(50);

/// Reads the weights before, and whether the socket permits to change them. Changes nothing.
pub(in crate::rollback) fn read_weights(
    plan: &TrafficPlan,
) -> Result<BTreeMap<String, u32>, RollbackError> {
    let haproxy = HaproxyClient::new(plan.haproxy.clone());
    haproxy.show_server(&plan.backend, &plan.server)?;
    haproxy.check_rights()?;
    let servers = haproxy.show_servers(&plan.backend)?;
    Ok(servers
        .into_iter()
        .map(|server| (server.name, server.weight))
        .collect())
}

/// Tries whether the weight of the server can be set, by setting the one that it has: a backend whose balancing is static refuses that.
pub(in crate::rollback) fn try_weight(plan: &TrafficPlan) -> Result<(), RollbackError> {
    let haproxy = HaproxyClient::new(plan.haproxy.clone());
    let server = haproxy.show_server(&plan.backend, &plan.server)?;
    haproxy.set_weight(&plan.backend, &plan.server, server.weight)?;
    Ok(())
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
    let all = before.values().copied().fold(0, u32::saturating_add);
    if weight > 0 && all == weight {
        return Ok(format!("{} has all requests already", plan.server));
    }
    for share in &plan.shares {
        tell(*share);
        let watched = haproxy
            .show_servers(&plan.backend)
            .map_err(RollbackError::from)
            .and_then(|servers| {
                let left_out = list_left_out(&servers, &plan.server);
                let weights = weigh_servers(before, &left_out, &plan.server, *share);
                set_weights(&haproxy, &plan.backend, &weights)?;
                watch_share(client, &haproxy, plan, (*share, &weights), stop)
            });
        if let Err(error) = watched {
            return Err(match set_weights(&haproxy, &plan.backend, before) {
                Ok(()) => error,
                Err(cause) => RollbackError::Weights {
                    reason: Box::new(error),
                    weights: list_weights(before),
                    cause,
                },
            });
        }
    }
    let shares: Vec<String> = plan.shares.iter().map(u32::to_string).collect();
    Ok(format!("{} got {} %", plan.server, shares.join(", ")))
}

/// Watches a share for its time, which these weights give: the server is up, its answers are good, the host behind it is healthy, and no other server
/// gets more than it was left.
fn watch_share(
    client: &HostClient,
    haproxy: &HaproxyClient,
    plan: &TrafficPlan,
    (share, planned): (u32, &BTreeMap<String, u32>),
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
    let mut unwell = 0;
    loop {
        // Where the host has ended its front fails, too: the host is what is named.
        match read_health(client) {
            Ok(_) => unwell = 0,
            Err(problem) => {
                unwell += 1;
                if unwell == UNWELL_LOOKS {
                    return Err(failed(format!("the host: {problem}")));
                }
            }
        }
        if let Some(problem) = find_excess(planned, &haproxy.show_servers(&plan.backend)?) {
            return Err(failed(problem));
        }
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
        // At the end of its time a share is looked at once more where the host was unwell.
        let waits_until = if unwell == 0 {
            looks_again.min(ends)
        } else {
            looks_again
        };
        while Instant::now() < waits_until {
            if stop.load(Ordering::Relaxed) {
                return Err(RollbackError::Interrupted);
            }
            std::thread::sleep(TICK);
        }
        if Instant::now() >= ends && unwell == 0 {
            return Ok(());
        }
    }
}

/// A server that has a greater weight than was planned, in words: somebody else gives it requests.
fn find_excess(planned: &BTreeMap<String, u32>, servers: &[ServerStatus]) -> Option<String> {
    servers.iter().find_map(|server| {
        let most = *planned.get(&server.name)?;
        (server.weight > most).then(|| {
            format!(
                "{} has the weight {}, and was left {most}: something else changes the weights",
                server.name, server.weight
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use crate::haproxy::HaproxyAddress;

    use super::*;

    /// Answers as the runtime socket of an `HAProxy` whose front of the canary has a tenth of the requests. Returns the commands that it is sent.
    fn answer_as_haproxy(socket: &Path) -> Arc<Mutex<Vec<String>>> {
        let listener = UnixListener::bind(socket).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut command = String::new();
                BufReader::new(&stream).read_line(&mut command).unwrap();
                let command = command.trim();
                let answer = match command {
                    "show cli level" => "admin\n\n",
                    "show stat ark 4 -1" => {
                        "# pxname,svname,scur,stot,econ,eresp,wretr,wredis,status,weight,chkfail,chkdown,check_status,hrsp_5xx,\n\
                         ark,stable,1,17,0,0,0,0,UP,230,0,0,L7OK,0,\nark,canary,0,5,0,0,0,0,UP,26,0,0,L7OK,0,\n\n"
                    }
                    _ => "\n",
                };
                noted.lock().unwrap().push(command.to_owned());
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        asked
    }

    fn plan_for(socket: &Path) -> TrafficPlan {
        TrafficPlan::of_haproxy(HaproxyAddress::Unix(socket.to_owned()))
    }

    #[test]
    fn a_server_that_gets_more_than_it_was_left_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan_for(&dir.path().join("socket"));
        answer_as_haproxy(&dir.path().join("socket"));
        let found = HaproxyClient::new(plan.haproxy)
            .show_servers("ark")
            .unwrap();
        let planned =
            |canary| BTreeMap::from([("stable".to_owned(), 256), ("canary".to_owned(), canary)]);
        assert_eq!(find_excess(&planned(26), &found), None);
        let problem = find_excess(&planned(0), &found).unwrap();
        assert!(problem.starts_with("canary has the weight 26"), "{problem}");
    }

    #[test]
    fn only_a_run_writes_to_haproxy() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let (plan, asked) = (plan_for(&socket), answer_as_haproxy(&socket));
        let weights = read_weights(&plan).unwrap();
        assert_eq!(
            weights,
            BTreeMap::from([("stable".to_owned(), 230), ("canary".to_owned(), 26)])
        );
        let sent = asked.lock().unwrap().clone();
        assert!(
            sent.iter().all(|command| command.starts_with("show ")),
            "{sent:?}"
        );
        assert!(sent.contains(&"show cli level".to_owned()), "{sent:?}");
        try_weight(&plan).unwrap();
        let sent = asked.lock().unwrap().clone();
        assert_eq!(sent.last().unwrap(), "set server ark/stable weight 230");
    }
}
