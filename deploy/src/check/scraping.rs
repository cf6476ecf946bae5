//! What Prometheus scrapes as hosts (job `ark`), and whether this installation is among it.
//!
//! A host that runs is known by the name of its process (`ark_instance_info`), whatever address Prometheus has of it. One that does not run is known by its
//! address, or else by what Prometheus has of its last process. Other hosts may be scraped too.
//!
//! A scrape of before the host's process began says nothing of it: a host that was restarted is known after the next scrape.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use ark_client::members::text_field;
use ark_client::{ClientError, escape_query};
use ark_host::telemetry::TelemetryListen;
use ark_store::{HostProcess, find_host_instance, find_host_process};
use serde_json::Value;

use crate::process_start::read_age;
use crate::prometheus::{PrometheusClient, parse_duration};

use super::address::find_address;
use super::inputs::CheckInputs;
use super::line::CheckLines;

/// The job of Prometheus' configuration on whose name the rules select.
const JOB: &str = "ark";
/// How long a host that runs may take to be scraped, where Prometheus does not say how often it scrapes.
const DEFAULT_WAIT: Duration = Duration::from_secs(6);
/// The longest wait for the next scrape, whatever Prometheus says.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// What a scrape may take beyond its interval.
const SCRAPE_TIME: Duration = Duration::from_secs(2);
/// How long the process of a host may run before it answers Prometheus: a scrape of that time may find nobody.
const START_TIME: Duration = Duration::from_mins(1);
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
    /// How long ago it was scraped last; `None`: that is not told.
    scraped: Option<Duration>,
    /// Whether that scrape was made when the host that runs could answer it.
    is_of_this_run: bool,
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
    /// It was scraped last before the host that runs could answer.
    NotYet,
    /// That cannot be known, for this reason.
    Unknown(String),
}

/// What a scrape is compared with to tell whether the host that runs could answer it. Both are taken before Prometheus is asked.
struct ScrapeBounds {
    /// Since when the host is checked, which ran by then.
    checked_for: Duration,
    /// For how long the host's process runs; `None`: it is none of this machine's that can be seen.
    running_for: Option<Duration>,
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
        let targets = list_targets(prometheus, &ScrapeBounds::measure(inputs, began))?;
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
        .map(|(target, judgement)| target.describe_judgement(judgement))
        .collect();
    let told = told.join("; ");
    if judged.contains(&Judgement::NotYet) {
        lines.add_warning(
            format!("Prometheus has not scraped this host since its start, as far as is known (job {JOB}): {told}"),
            format!("check again after the next scrape (scrape_interval in Prometheus' configuration); where that finds another host, {remedy}"),
        );
    } else if judged
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

impl ScrapeTarget {
    /// What a judgement says of the target, for people.
    fn describe_judgement(&self, judgement: &Judgement) -> String {
        let url = &self.url;
        match judgement {
            Judgement::Own => format!("{url} is this host"),
            Judgement::Down => format!("{url} does not answer"),
            Judgement::NotYet => match self.scraped {
                Some(ago) => format!("{url} was scraped last {} s ago", ago.as_secs()),
                None => format!("{url} does not say when it was scraped last"),
            },
            Judgement::Other(why) | Judgement::Unknown(why) => format!("{url} {why}"),
        }
    }
}

impl ScrapeBounds {
    fn measure(inputs: &CheckInputs, began: Instant) -> Self {
        Self {
            checked_for: began.elapsed(),
            running_for: match find_host_process(inputs.data_dir()) {
                HostProcess::Found(pid) => read_age(pid),
                HostProcess::None | HostProcess::Hidden => None,
            },
        }
    }

    /// Whether the host that runs could answer a scrape that was made so long ago.
    fn includes(&self, scraped: Duration) -> bool {
        let could_answer = |age| scraped.saturating_add(START_TIME) <= age;
        scraped <= self.checked_for || self.running_for.is_some_and(could_answer)
    }
}

impl Installation<'_> {
    fn judge_target(&self, target: &ScrapeTarget) -> Judgement {
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
fn list_targets(
    prometheus: &PrometheusClient,
    bounds: &ScrapeBounds,
) -> Result<Vec<ScrapeTarget>, ClientError> {
    let query = |expression: &str| {
        prometheus.read_data(&format!("/api/v1/query?query={}", escape_query(expression)))
    };
    // The moments come first: what is asked for after them is of these scrapes or of later ones. They are by Prometheus' clock alone.
    let ages = query(&format!("time() - timestamp(up{{job=\"{JOB}\"}})"))?;
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
        let value_of = |row: &Value| row["value"].get(1)?.as_str().map(str::to_owned);
        let scraped = rows_of(&ages, "result")
            .find(|one| label(one, "instance") == instance)
            .and_then(|one| value_of(one)?.parse::<f64>().ok())
            .and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
        let of_target = rows_of(&said, "result").filter(|one| label(one, "instance") == instance);
        ScrapeTarget {
            url,
            interval: interval.unwrap_or_default(),
            is_up: value_of(row).as_deref() == Some("1"),
            is_of_this_run: scraped.is_some_and(|scraped| bounds.includes(scraped)),
            scraped,
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
        parse_duration(&target.interval).map_or(DEFAULT_WAIT, |interval| {
            interval.saturating_add(SCRAPE_TIME)
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
            Judgement::NotYet => "not yet",
            Judgement::Unknown(_) => "unknown",
        }
    }

    #[test]
    fn the_next_scrape_is_waited_for_as_long_as_prometheus_says() {
        let target = |interval: &str| ScrapeTarget {
            interval: interval.to_owned(),
            ..ScrapeTarget::default()
        };
        for (intervals, millis) in [
            (&["5s"][..], 7_000),
            (&["500ms"], 2_500),
            (&["15s", "1s"], 17_000),
            // Prometheus' default, and more.
            (&["1m"], 20_000),
            (&["1m30s"], 20_000),
            (&["1h"], 20_000),
            (&["500y"], 20_000),
            // It does not say.
            (&[""], 6_000),
            (&["soon"], 6_000),
            (&[], 6_000),
        ] {
            let targets: Vec<ScrapeTarget> = intervals.iter().map(|one| target(one)).collect();
            let expected = Duration::from_millis(millis);
            assert_eq!(find_wait(&targets), expected, "{intervals:?}");
        }
    }

    #[test]
    fn a_scrape_counts_that_the_host_could_answer() {
        let seconds = Duration::from_secs;
        for (scraped, checked_for, running_for, expected) in [
            // The host was restarted 5 s ago, and is scraped once a minute.
            (30, 1, Some(5), false),
            // It may have been starting.
            (3, 1, Some(5), false),
            (1, 1, Some(5), true),
            (30, 1, Some(89), false),
            (30, 1, Some(90), true),
            (30, 1, Some(86_400), true),
            // Its process is in another container.
            (30, 1, None, false),
            (1, 1, None, true),
        ] {
            let bounds = ScrapeBounds {
                checked_for: seconds(checked_for),
                running_for: running_for.map(seconds),
            };
            let told = format!("{scraped} {checked_for} {running_for:?}");
            assert_eq!(bounds.includes(seconds(scraped)), expected, "{told}");
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
    fn what_was_not_scraped_since_the_start_is_a_warning_and_another_host_an_error() {
        let listen = "127.0.0.1:9090".parse().unwrap();
        let other = || Judgement::Other("is another host (process b)".to_owned());
        for (judged, is_failure, part) in [
            (vec![Judgement::NotYet], false, "was scraped last 30 s ago"),
            (
                vec![other(), Judgement::NotYet],
                false,
                "is another host (process b); http://x was scraped last 30 s ago",
            ),
            (vec![other()], true, "scrapes another host than this one"),
            (vec![Judgement::Down], true, "does not reach the host"),
            (
                vec![Judgement::Down, Judgement::NotYet],
                false,
                "has not scraped this host since its start",
            ),
        ] {
            let target = || ScrapeTarget {
                url: "http://x".to_owned(),
                scraped: Some(Duration::from_secs(30)),
                ..ScrapeTarget::default()
            };
            let targets: Vec<ScrapeTarget> = judged.iter().map(|_| target()).collect();
            let mut lines = CheckLines::for_check("monitoring");
            report_targets(&targets, &judged, listen, &mut lines);
            let [line] = &lines.found[..] else {
                panic!("{judged:?}: {:?}", lines.found);
            };
            assert_eq!(line.status.is_failure(), is_failure, "{line:?}");
            assert!(line.found.contains(part), "{line:?}");
            assert!(line.remedy.as_ref().unwrap().contains("scrape_configs"));
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
