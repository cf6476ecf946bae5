//! What Prometheus scrapes as hosts (job `ark`), and whether this installation is among it.
//!
//! A host that runs is known by the name of its process (`ark_instance_info`), whatever address Prometheus has of it. One that does not run is known by its
//! address, or else by what Prometheus has of its last process. Other hosts may be scraped too.
//!
//! A scrape of before the host's process began says nothing of it: a host that was restarted is known after the next scrape.
//!
//! Reading order: this file asks and reports, [`targets`] reads what is scraped, [`installation`] judges it.
//!
//! Must not know: `PromQL`, addresses of this machine.

mod installation;
mod targets;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ark_client::ClientError;
use ark_host::telemetry::TelemetryListen;
use ark_store::find_host_instance;

use crate::prometheus::PrometheusClient;

use super::address::find_address;
use super::inputs::CheckInputs;
use super::line::CheckLines;

use installation::{Installation, Judgement, is_on_this_machine};
use targets::{JOB, ScrapeBounds, ScrapeTarget, find_past_targets, find_wait, list_targets};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(250);

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
