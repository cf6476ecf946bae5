//! Whether a target of Prometheus is this installation: by the name of its process, else by its address.
//!
//! Invariant: a scrape of before the host's process began is no verdict on the host.
//!
//! Must not know: how Prometheus is asked, what is said of a judgement.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use crate::check::address::{find_address, is_own_address};

use super::targets::ScrapeTarget;

/// Whether what is scraped is this installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    Own,
    /// It is not, for this reason.
    Other(String),
    /// It does not answer.
    Down,
    /// It was scraped last before the host that runs could answer.
    NotYet,
    /// That cannot be known, for this reason.
    Unknown(String),
}

/// What a target is compared with.
pub(super) struct Installation<'a> {
    /// The configured address of telemetry.
    pub(super) listen: SocketAddr,
    pub(super) is_running: bool,
    /// The name of the process that holds the data directory, or held it last.
    pub(super) process: Option<&'a str>,
    /// The targets, by their label `instance`, at which Prometheus found that process.
    pub(super) seen_at: Vec<String>,
    /// Whether Prometheus is on this machine, as far as its address says.
    pub(super) has_prometheus: bool,
}

impl Installation<'_> {
    pub(super) fn judge_target(&self, target: &ScrapeTarget) -> Judgement {
        let is_own = |process: &String| Some(process.as_str()) == self.process;
        if target.is_up && target.processes.iter().any(is_own) {
            return Judgement::Own;
        }
        // A host of an earlier version names no process: it is known by its address, whenever it was scraped.
        let is_by_address = target.is_up && target.processes.is_empty() && self.process.is_none();
        if self.is_running && !target.is_of_this_run && !is_by_address {
            return Judgement::NotYet;
        }
        if let (true, Some(process)) = (target.is_up, target.processes.first()) {
            return Judgement::Other(format!("is another host (process {process})"));
        }
        let is_known_by_process = self.is_running && self.process.is_some();
        match (target.is_up, is_known_by_process) {
            (true, true) => {
                Judgement::Other("is no host of ARK (it has no ark_instance_info)".to_owned())
            }
            (true, false) if !self.is_running => Judgement::Other(
                "answers while the host of the data directory does not run".to_owned(),
            ),
            (false, _) if self.is_running => Judgement::Down,
            // A host that does not run, or one of a version that does not name its process.
            _ => self.judge_address(target),
        }
    }

    fn judge_address(&self, target: &ScrapeTarget) -> Judgement {
        let judgement = compare_address(&target.url, self.listen, self.has_prometheus);
        match judgement {
            Judgement::Unknown(_) if self.seen_at.contains(&target.instance) => Judgement::Own,
            other => other,
        }
    }
}

/// Compares the address that is scraped with that on which telemetry listens. `has_prometheus`: it is scraped from this machine.
fn compare_address(url: &str, listen: SocketAddr, has_prometheus: bool) -> Judgement {
    let address = find_address(url).unwrap_or_default();
    if listen.port() == 0 {
        return Judgement::Unknown(
            "cannot be compared with telemetry_listen, whose port is 0: another one with each start"
                .to_owned(),
        );
    }
    let Ok(found) = address.to_socket_addrs() else {
        return Judgement::Unknown("has a name that this machine cannot resolve".to_owned());
    };
    let found: Vec<SocketAddr> = found.collect();
    if !has_prometheus && !found.is_empty() && found.iter().all(|one| one.ip().is_loopback()) {
        return Judgement::Other("is on the machine of Prometheus, which is another".to_owned());
    }
    let is_reached = |one: &SocketAddr| one.port() == listen.port() && reaches(one.ip(), listen);
    if found.iter().any(is_reached) {
        return Judgement::Own;
    }
    let differs = format!("is not the address of telemetry_listen ({listen})");
    if listen.ip().is_loopback() {
        Judgement::Other(differs)
    } else {
        // Containers and clusters publish an address as another one.
        Judgement::Unknown(format!("{differs}, unless something passes it on to there"))
    }
}

/// Whether who connects to the IP address comes to what listens there.
fn reaches(ip: IpAddr, listen: SocketAddr) -> bool {
    let (ip, own) = (ip.to_canonical(), listen.ip().to_canonical());
    if own.is_unspecified() {
        // `[::]` takes what comes to addresses of IPv4 too.
        return (ip.is_ipv4() || own.is_ipv6()) && is_own_address(ip);
    }
    ip == own
}

pub(super) fn is_on_this_machine(address: &str) -> bool {
    let found = address.to_socket_addrs();
    found.is_ok_and(|mut found| found.any(|one| is_own_address(one.ip())))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What a comparison says in one word.
    fn word_of(judgement: &Judgement) -> &'static str {
        match judgement {
            Judgement::Own => "own",
            Judgement::Other(_) => "other",
            Judgement::Down => "down",
            Judgement::NotYet => "not yet",
            Judgement::Unknown(_) => "unknown",
        }
    }

    #[test]
    fn a_scrape_of_before_the_start_is_no_verdict_on_the_host() {
        let own = "http://127.0.0.1:9090/metrics";
        let is_of_this_run = false;
        for (is_running, process, is_up, said, expected) in [
            // Prometheus has the process of before the restart, nothing of it, or an address that nobody answered at.
            (true, Some("a"), true, Some("b"), "not yet"),
            (true, Some("a"), true, None, "not yet"),
            (true, Some("a"), false, None, "not yet"),
            (true, None, true, Some("b"), "not yet"),
            (true, None, false, None, "not yet"),
            (true, Some("a"), true, Some("a"), "own"),
            // A host of an earlier version.
            (true, None, true, None, "own"),
            // None runs: nothing is waited for.
            (false, Some("a"), true, Some("b"), "other"),
            (false, Some("a"), false, None, "own"),
        ] {
            let target = ScrapeTarget {
                url: own.to_owned(),
                is_up,
                is_of_this_run,
                scraped: Some(Duration::from_secs(30)),
                processes: said.map(str::to_owned).into_iter().collect(),
                ..ScrapeTarget::default()
            };
            let installation = Installation {
                listen: "127.0.0.1:9090".parse().unwrap(),
                is_running,
                process,
                seen_at: Vec::new(),
                has_prometheus: true,
            };
            let found = installation.judge_target(&target);
            let told = format!("{is_running} {process:?} {target:?}: {found:?}");
            assert_eq!(word_of(&found), expected, "{told}");
        }
    }

    #[test]
    fn an_address_that_is_scraped_is_compared_with_that_of_telemetry() {
        for (target, listen, has_prometheus, expected) in [
            ("127.0.0.1:9090", "127.0.0.1:9090", true, "own"),
            ("localhost:9090", "127.0.0.1:9090", true, "own"),
            ("localhost:9090", "0.0.0.0:9090", true, "own"),
            ("localhost:9090", "[::]:9090", true, "own"),
            ("127.0.0.1:9090", "[::]:9090", true, "own"),
            ("[::ffff:127.0.0.1]:9090", "127.0.0.1:9090", true, "own"),
            ("127.0.0.1:9090", "[::ffff:127.0.0.1]:9090", true, "own"),
            ("127.0.0.1:9091", "127.0.0.1:9090", true, "other"),
            ("127.0.0.2:9090", "127.0.0.1:9090", true, "other"),
            // Documentation's addresses are nobody's.
            ("192.0.2.1:9090", "127.0.0.1:9090", true, "other"),
            ("192.0.2.1:9090", "192.0.2.1:9090", true, "own"),
            // Something may pass it on.
            ("192.0.2.1:9090", "0.0.0.0:9090", true, "unknown"),
            ("127.0.0.1:19090", "0.0.0.0:9090", true, "unknown"),
            ("127.0.0.1:9090", "127.0.0.1:0", true, "unknown"),
            ("ark.invalid:9090", "127.0.0.1:9090", true, "unknown"),
            ("no address", "127.0.0.1:9090", true, "unknown"),
            // Prometheus' own machine is another.
            ("127.0.0.1:9090", "127.0.0.1:9090", false, "other"),
            ("127.0.0.1:9090", "0.0.0.0:9090", false, "other"),
        ] {
            let url = format!("http://{target}/metrics");
            let found = compare_address(&url, listen.parse().unwrap(), has_prometheus);
            assert_eq!(word_of(&found), expected, "{target} {listen}: {found:?}");
        }
    }

    #[test]
    fn a_target_is_this_installation_by_its_process_or_where_none_runs_by_its_address() {
        let own = "http://127.0.0.1:9090/metrics";
        let far = "http://ark.invalid:9090/metrics";
        for (is_running, process, url, is_up, said, expected) in [
            (true, Some("a"), far, true, Some("a"), "own"),
            (true, Some("a"), own, true, Some("b"), "other"),
            (true, Some("a"), own, true, None, "other"),
            (true, Some("a"), own, false, None, "down"),
            // A host of an earlier version.
            (true, None, own, true, None, "own"),
            (true, None, far, true, None, "unknown"),
            (true, None, own, true, Some("b"), "other"),
            (false, Some("a"), own, false, None, "own"),
            (false, None, own, false, None, "own"),
            (false, None, far, false, None, "unknown"),
            // What it was stopped at is not forgotten.
            (false, Some("seen"), far, false, None, "own"),
            // Just stopped, or its address is somebody else's.
            (false, Some("a"), own, true, Some("a"), "own"),
            (false, Some("a"), own, true, Some("b"), "other"),
            (false, Some("a"), own, true, None, "other"),
        ] {
            let target = ScrapeTarget {
                instance: "x".to_owned(),
                url: url.to_owned(),
                is_up,
                is_of_this_run: true,
                processes: said.map(str::to_owned).into_iter().collect(),
                ..ScrapeTarget::default()
            };
            let seen = process == Some("seen");
            let installation = Installation {
                listen: "127.0.0.1:9090".parse().unwrap(),
                is_running,
                process,
                seen_at: seen.then(|| "x".to_owned()).into_iter().collect(),
                has_prometheus: true,
            };
            let found = installation.judge_target(&target);
            assert_eq!(
                word_of(&found),
                expected,
                "{is_running} {process:?} {target:?}: {found:?}"
            );
        }
    }
}
