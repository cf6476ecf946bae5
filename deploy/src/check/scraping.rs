//! What Prometheus scrapes as hosts (job `ark`), and whether this installation is among it.
//!
//! A host that runs is known by the name of its process (`ark_instance_info`), whatever address Prometheus has of it. One that does not run is known by its
//! address, or else by what Prometheus has of its last process. Other hosts may be scraped too.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use ark_client::members::text_field;
use ark_client::{ClientError, escape_query};
use ark_host::telemetry::TelemetryListen;
use ark_store::find_host_instance;
use serde_json::Value;

use crate::prometheus::PrometheusClient;

use super::address::find_address;
use super::inputs::CheckInputs;
use super::line::CheckLines;

/// The job of Prometheus' configuration on whose name the rules select.
const JOB: &str = "ark";
/// How long a host that runs may take to be scraped, where Prometheus does not say how often it scrapes.
const DEFAULT_WAIT: Duration = Duration::from_secs(6);
/// The longest wait for the next scrape, whatever Prometheus says.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// What Prometheus scrapes under the job.
#[derive(Debug, Default)]
struct ScrapeTarget {
    /// Its label `instance`, which need not be an address.
    instance: String,
    /// The address that is scraped, e.g. `http://127.0.0.1:9090/metrics`.
    url: String,
    /// How often, e.g. `5s`; empty: it is not told.
    interval: String,
    is_up: bool,
    /// The names of the processes that it says it is; none: it is no host of this version.
    processes: Vec<String>,
}

/// Whether what is scraped is this installation.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Judgement {
    Own,
    /// It is not, for this reason.
    Other(String),
    /// It does not answer.
    Down,
    /// That cannot be known, for this reason.
    Unknown(String),
}

/// What a target is compared with.
struct Installation<'a> {
    /// The configured address of telemetry.
    listen: SocketAddr,
    is_running: bool,
    /// The name of the process that holds the data directory, or held it last.
    process: Option<&'a str>,
    /// The targets, by their label `instance`, at which Prometheus found that process.
    seen_at: Vec<String>,
    /// Whether Prometheus is on this machine, as far as its address says.
    has_prometheus: bool,
}

/// Finds whether the job's targets are this installation. Returns how many targets there are.
///
/// # Errors
/// Prometheus cannot be asked.
pub(super) fn check_scraping(
    inputs: &CheckInputs,
    prometheus: &PrometheusClient,
    url: &str,
    lines: &mut CheckLines,
) -> Result<usize, ClientError> {
    let TelemetryListen::At(listen) = inputs.config.telemetry.listen else {
        lines.add_error(
            "telemetry_listen is off, so Prometheus has nothing to scrape",
            "give it an address, e.g. 127.0.0.1:9090, and add that to the job `ark` of Prometheus' configuration (scrape_configs)",
        );
        return Ok(0);
    };
    let process = find_host_instance(inputs.data_dir());
    let is_running = inputs.running_host.is_some();
    let seen_at = match process.as_deref() {
        Some(process) if !is_running => find_past_targets(prometheus, process)?,
        _ => Vec::new(),
    };
    let installation = Installation {
        listen,
        is_running,
        process: process.as_deref(),
        seen_at,
        has_prometheus: find_address(url).is_some_and(|address| is_on_this_machine(&address)),
    };
    let began = Instant::now();
    loop {
        let targets = list_targets(prometheus)?;
        let judged: Vec<Judgement> = targets
            .iter()
            .map(|target| installation.judge_target(target))
            .collect();
        // A host that began just now is known after the next scrape.
        let is_found = judged.contains(&Judgement::Own);
        let may_be_found = is_running && !targets.is_empty();
        if is_found || !may_be_found || began.elapsed() > find_wait(&targets) {
            report_targets(&targets, &judged, listen, lines);
            return Ok(targets.len());
        }
        std::thread::sleep(PAUSE);
    }
}

fn report_targets(
    targets: &[ScrapeTarget],
    judged: &[Judgement],
    listen: SocketAddr,
    lines: &mut CheckLines,
) {
    let remedy = format!(
        "correct the targets of the job `{JOB}` in Prometheus' configuration (scrape_configs): one must be the address of telemetry_listen ({listen}) as Prometheus reaches it"
    );
    if targets.is_empty() {
        return lines.add_error(
            "Prometheus scrapes no host (job ark)",
            "add the address of telemetry_listen to the job `ark` of its configuration (scrape_configs)",
        );
    }
    if judged.contains(&Judgement::Own) {
        return;
    }
    if judged.iter().all(|one| *one == Judgement::Down) {
        let down: Vec<&str> = targets.iter().map(|target| target.url.as_str()).collect();
        return lines.add_error(
            format!(
                "Prometheus does not reach the host that runs here (job ark is down: {})",
                down.join(", ")
            ),
            remedy,
        );
    }
    let told: Vec<String> = targets
        .iter()
        .zip(judged)
        .map(|(target, judgement)| match judgement {
            Judgement::Own => format!("{} is this host", target.url),
            Judgement::Down => format!("{} does not answer", target.url),
            Judgement::Other(why) | Judgement::Unknown(why) => format!("{} {why}", target.url),
        })
        .collect();
    let told = told.join("; ");
    if judged
        .iter()
        .any(|one| matches!(one, Judgement::Unknown(_)))
    {
        lines.add_warning(
            format!("whether Prometheus scrapes this host (job ark) cannot be known: {told}"),
            format!("check again while the host runs, or {remedy}"),
        );
    } else {
        lines.add_error(
            format!("Prometheus scrapes another host than this one (job ark): {told}"),
            remedy,
        );
    }
}

impl Installation<'_> {
    fn judge_target(&self, target: &ScrapeTarget) -> Judgement {
        let is_own = |process: &String| Some(process.as_str()) == self.process;
        if target.is_up && target.processes.iter().any(is_own) {
            return Judgement::Own;
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
        return (ip.is_ipv4() || own.is_ipv6()) && is_own_ip(ip);
    }
    ip == own
}

/// Whether an IP address is one of this machine's.
fn is_own_ip(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

fn is_on_this_machine(address: &str) -> bool {
    let found = address.to_socket_addrs();
    found.is_ok_and(|mut found| found.any(|one| is_own_ip(one.ip())))
}

/// The targets of the job. One that does not list its targets (what only speaks Prometheus' API) says them by `up`.
fn list_targets(prometheus: &PrometheusClient) -> Result<Vec<ScrapeTarget>, ClientError> {
    let query = |expression: &str| {
        prometheus.read_data(&format!("/api/v1/query?query={}", escape_query(expression)))
    };
    let up = query(&format!("up{{job=\"{JOB}\"}}"))?;
    let said = query(&format!("ark_instance_info{{job=\"{JOB}\"}}"))?;
    let listed = prometheus
        .read_data("/api/v1/targets?state=active")
        .unwrap_or_default();
    let label = |row: &Value, name: &str| text_field(&row["metric"], name).to_owned();
    let targets = rows_of(&up, "result").map(|row| {
        let instance = label(row, "instance");
        let active = rows_of(&listed, "activeTargets").find(|one| {
            let labels = &one["labels"];
            text_field(labels, "job") == JOB && text_field(labels, "instance") == instance
        });
        let url = active.map_or_else(
            || format!("http://{instance}"),
            |one| text_field(one, "scrapeUrl").to_owned(),
        );
        let interval = active.map(|one| text_field(one, "scrapeInterval").to_owned());
        let value = row["value"].get(1).and_then(Value::as_str);
        let of_target = rows_of(&said, "result").filter(|one| label(one, "instance") == instance);
        ScrapeTarget {
            url,
            interval: interval.unwrap_or_default(),
            is_up: value == Some("1"),
            processes: of_target.map(|one| label(one, "process")).collect(),
            instance,
        }
    });
    Ok(targets.collect())
}

/// The targets at which Prometheus found a process in the last week.
fn find_past_targets(
    prometheus: &PrometheusClient,
    process: &str,
) -> Result<Vec<String>, ClientError> {
    // It is read from a file, and is to be a string of the query.
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !process.bytes().all(is_name) {
        return Ok(Vec::new());
    }
    let found =
        format!("last_over_time(ark_instance_info{{job=\"{JOB}\",process=\"{process}\"}}[1w])");
    prometheus.query_labels(&found, "instance")
}

fn rows_of<'a>(data: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    data.get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// How long the next scrape of all targets may take.
fn find_wait(targets: &[ScrapeTarget]) -> Duration {
    let waits = targets.iter().map(|target| {
        let seconds = target.interval.strip_suffix('s');
        seconds
            .and_then(|seconds| seconds.parse().ok())
            .map_or(DEFAULT_WAIT, |seconds: u64| {
                Duration::from_secs(seconds.saturating_add(2))
            })
    });
    waits.max().unwrap_or(DEFAULT_WAIT).min(MAX_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a comparison says in one word.
    fn word_of(judgement: &Judgement) -> &'static str {
        match judgement {
            Judgement::Own => "own",
            Judgement::Other(_) => "other",
            Judgement::Down => "down",
            Judgement::Unknown(_) => "unknown",
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
