//! What Prometheus scrapes under the job of hosts, and how old a scrape is.
//!
//! Invariant: moments of scrapes are by Prometheus' clock alone, and are asked for before what these scrapes said.
//!
//! Must not know: whether a target is this installation.

use std::time::{Duration, Instant};

use ark_client::members::text_field;
use ark_client::{ClientError, escape_query};
use ark_store::{HostProcess, find_host_process};
use serde_json::Value;

use crate::check::inputs::CheckInputs;
use crate::process_start::read_age;
use crate::prometheus::{PrometheusClient, parse_duration};

/// The job of Prometheus' configuration on whose name the rules select.
pub(super) const JOB: &str = "ark";
/// How long a host that runs may take to be scraped, where Prometheus does not say how often it scrapes.
const DEFAULT_WAIT: Duration = Duration::from_secs(6);
/// The longest wait for the next scrape, whatever Prometheus says.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// What a scrape may take beyond its interval.
const SCRAPE_TIME: Duration = Duration::from_secs(2);
/// How long the process of a host may run before it answers Prometheus: a scrape of that time may find nobody.
const START_TIME: Duration = Duration::from_mins(1);

/// What Prometheus scrapes under the job.
#[derive(Debug, Default)]
pub(super) struct ScrapeTarget {
    /// Its label `instance`, which need not be an address.
    pub(super) instance: String,
    /// The address that is scraped, e.g. `http://127.0.0.1:9090/metrics`.
    pub(super) url: String,
    /// How often, e.g. `5s`; empty: it is not told.
    pub(super) interval: String,
    pub(super) is_up: bool,
    /// How long ago it was scraped last; `None`: that is not told.
    pub(super) scraped: Option<Duration>,
    /// Whether that scrape was made when the host that runs could answer it.
    pub(super) is_of_this_run: bool,
    /// The names of the processes that it says it is; none: it is no host of this version.
    pub(super) processes: Vec<String>,
}

/// What a scrape is compared with to tell whether the host that runs could answer it. Both are taken before Prometheus is asked.
pub(super) struct ScrapeBounds {
    /// Since when the host is checked, which ran by then.
    checked_for: Duration,
    /// For how long the host's process runs; `None`: it is none of this machine's that can be seen.
    running_for: Option<Duration>,
}

impl ScrapeBounds {
    pub(super) fn measure(inputs: &CheckInputs, began: Instant) -> Self {
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

/// The targets of the job. One that does not list its targets (what only speaks Prometheus' API) says them by `up`.
pub(super) fn list_targets(
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
pub(super) fn find_past_targets(
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
pub(super) fn find_wait(targets: &[ScrapeTarget]) -> Duration {
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
}
