//! The figures of a check, and the baseline: from Prometheus, from `HAProxy`, and from the host's API.
//!
//! Must not know: what a figure means for the canary.

use std::collections::BTreeSet;
use std::time::Duration;

use ark_client::{ClientError, HostClient};
use ark_model::meters::UnjudgedReason;
use serde::Serialize;
use serde_json::Value;

use crate::exchange::data::expected_pause::HoldTime;
use crate::haproxy::{HaproxyClient, HaproxyError, HaproxyProcess, ServerStatus};
use crate::host_identity::find_host_process_name;
use crate::prometheus::PrometheusClient;
use crate::quarantines::{QuarantineMark, read_quarantines};

use crate::canary::plan::{Baseline, BaselineSource, CanaryPlan};

/// How Prometheus calls the error of a query that it cannot read.
const UNREADABLE_QUERY: &str = "bad_data";
/// Why a front judges nothing, where the reason is what it is: it cannot read what the host says, or cannot judge by it.
const UNABLE: [UnjudgedReason; 2] = [UnjudgedReason::UnknownForm, UnjudgedReason::FailedHere];
/// Why a front judges nothing, where the reason may be its load, its memory, its token, or what it could not get: this may pass, and says nothing good of
/// the version. What is left are dry runs, which leave nothing to judge, and policies that failed at the owner.
const HINDERED: [UnjudgedReason; 4] = [
    UnjudgedReason::NoRecord,
    UnjudgedReason::NotRead,
    UnjudgedReason::PolicyMissing,
    UnjudgedReason::Overload,
];
/// The largest count: up to it each whole number is a floating-point number, as which Prometheus gives it.
const MAX_COUNT: f64 = 9_007_199_254_740_992.0;
/// The remedy where a report is none to compare with.
const NEW_REPORT: &str = "give the report of a run of `ark synthetic --json` that ends with 0";

/// Why a measurement cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The host or Prometheus does not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// `HAProxy` does not answer.
    #[error(transparent)]
    Haproxy(#[from] HaproxyError),
    /// Prometheus takes no query that selects these series.
    #[error(
        "{option} {series}: {cause}; give labels as a query has them, e.g. {option} 'job=\"ark-front\"'"
    )]
    Series {
        /// The option that has the selection.
        option: &'static str,
        /// The selection.
        series: String,
        /// What Prometheus says.
        cause: ClientError,
    },
    /// The selection is not one of the new version's front alone.
    #[error(
        "--canary-series {series}: {problem}; give labels that only the front of the new version has, e.g. --canary-series 'job=\"ark-front-canary\"', and --stable-series those of the stable fronts"
    )]
    Selection {
        /// The selection.
        series: String,
        /// What it has.
        problem: String,
    },
    /// There is no baseline.
    #[error("there is no baseline: {0}")]
    Baseline(String),
}

/// What is known of the new version's front at one moment. `None`: there is no such figure, or it is no number.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Decisions that the front judged, as often as it did so since it started.
    pub judged: Option<u64>,
    /// Of those, how many it would have denied.
    pub denied: Option<u64>,
    /// Of those, how many it judges otherwise than the host.
    pub different: Option<u64>,
    /// What it could not judge, since it cannot read what the host says or a policy failed at it.
    pub unable: Option<u64>,
    /// What it did not judge, since it could not get a policy or had too much to judge.
    pub hindered: Option<u64>,
    /// The 95th percentile of the time of a request, in milliseconds.
    pub p95_ms: Option<f64>,
    /// Resident memory, in bytes.
    pub memory_bytes: Option<f64>,
    /// When its process began, in seconds since 1970.
    pub front_started: Option<f64>,
    /// Likewise, of the oldest process that the selection has: another one where it has several.
    pub oldest_started: Option<f64>,
    /// The agents that were put into quarantine within the window, also those that were restored since.
    pub quarantined: Vec<String>,
    /// The name of the process of the host at the address; `None`: it does not say it.
    pub host_process: Option<String>,
    /// The names of the processes that the fronts work for: those of the new version, and the stable ones.
    pub owner_processes: Vec<String>,
    /// The front as `HAProxy` sees it.
    pub server: ServerStatus,
    /// The other servers of its backend. They are no part of what is recorded, which is bounded.
    #[serde(skip)]
    pub others: Vec<ServerStatus>,
    /// The process of `HAProxy` that counted them.
    #[serde(skip)]
    pub haproxy: Option<HaproxyProcess>,
}

/// Finds the process that a front works for, and that none of these is: the host, and what it was before a restart. Fronts and hosts that do not
/// name a process are left out.
pub(in crate::canary) fn find_other_host<'a>(
    owners: &'a [String],
    hosts: &BTreeSet<String>,
) -> Option<&'a String> {
    if hosts.is_empty() {
        return None;
    }
    owners.iter().find(|owner| !hosts.contains(*owner))
}

/// Series that an option selects.
struct Selection<'a> {
    option: &'static str,
    series: &'a str,
}

impl Selection<'_> {
    /// The error of a query over these series: one that Prometheus cannot read is that of the option.
    fn name_option(&self, cause: ClientError) -> MeasureError {
        match cause {
            ClientError::Problem { ref kind, .. } if kind == UNREADABLE_QUERY => {
                MeasureError::Series {
                    option: self.option,
                    series: self.series.to_owned(),
                    cause,
                }
            }
            cause => cause.into(),
        }
    }
}

/// Reads figures.
pub(in crate::canary) struct Meter<'a> {
    client: &'a HostClient,
    prometheus: PrometheusClient,
    haproxy: HaproxyClient,
}

impl<'a> Meter<'a> {
    pub(in crate::canary) fn new(
        client: &'a HostClient,
        plan: &CanaryPlan,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            client,
            prometheus: PrometheusClient::new(&plan.prometheus)?,
            haproxy: HaproxyClient::new(plan.haproxy.clone()),
        })
    }

    /// The only value of a query over a selection; `None`: there is none, or it is no number.
    fn query_value(
        &self,
        selection: &Selection<'_>,
        expression: &str,
    ) -> Result<Option<f64>, MeasureError> {
        let values = self.prometheus.query_values(expression);
        let values = values.map_err(|cause| selection.name_option(cause))?;
        Ok(values.first().copied().filter(|value| value.is_finite()))
    }

    /// Reads the figures now. `since`: quarantines of before it do not count.
    pub(in crate::canary) fn read_figures(
        &self,
        plan: &CanaryPlan,
        since: &QuarantineMark,
    ) -> Result<Figures, MeasureError> {
        let series = &plan.canary_series;
        let window = plan.latency_window.as_secs().max(1);
        let selection = Selection {
            option: "--canary-series",
            series,
        };
        let value = |expression: String| self.query_value(&selection, &expression);
        let count =
            |expression: String| Ok::<_, MeasureError>(value(expression)?.and_then(to_count));
        let unjudged = |reasons: &[UnjudgedReason]| {
            let names: Vec<&str> = reasons.iter().map(|reason| reason.as_str()).collect();
            count(format!(
                "sum(ark_front_unjudged_total{{{series},reason=~\"{}\"}})",
                names.join("|")
            ))
        };
        // Before its counts: where it is started again in between, the next check finds another one.
        let haproxy = self.haproxy.show_process()?;
        // Before Prometheus is asked, so that no connection is lost unseen while it answers.
        let (server, others) = self
            .haproxy
            .show_server_beside_others(&plan.backend, &plan.server)?;
        Ok(Figures {
            judged: count(format!("sum(ark_front_judged_total{{{series}}})"))?,
            denied: count(format!(
                "sum(ark_front_judged_total{{{series},outcome=\"denied\"}})"
            ))?,
            different: count(format!(
                "sum(ark_front_verdicts_total{{{series},result=\"different\"}})"
            ))?,
            unable: unjudged(&UNABLE)?,
            hindered: unjudged(&HINDERED)?,
            p95_ms: value(format!(
                "1000 * histogram_quantile(0.95, sum by (le) (rate(ark_front_request_duration_seconds_bucket{{{series}}}[{window}s])))"
            ))?,
            memory_bytes: value(format!("max(process_resident_memory_bytes{{{series}}})"))?,
            front_started: value(format!("max(process_start_time_seconds{{{series}}})"))?,
            oldest_started: value(format!("min(process_start_time_seconds{{{series}}})"))?,
            quarantined: read_quarantines(
                self.client,
                since,
                Some(plan.limits.quarantine_window),
                &plan.limits.quarantines_left_out,
            )?,
            host_process: find_host_process_name(self.client),
            owner_processes: self.read_owners(plan)?,
            server,
            others,
            haproxy,
        })
    }

    /// Refuses selections that are not those of one front of the new version, and of others: their figures are summed, so that those of stable
    /// fronts would count as those of the new version.
    pub(in crate::canary) fn check_selections(
        &self,
        plan: &CanaryPlan,
    ) -> Result<(), MeasureError> {
        let canary = self.list_instances("--canary-series", &plan.canary_series)?;
        let stable = self.list_instances("--stable-series", &plan.stable_series)?;
        let problem = find_selection_problem(&canary, &stable);
        problem.map_or(Ok(()), |problem| {
            Err(MeasureError::Selection {
                series: plan.canary_series.clone(),
                problem,
            })
        })
    }

    /// The instances that a selection has, one for each process.
    fn list_instances(
        &self,
        option: &'static str,
        series: &str,
    ) -> Result<Vec<String>, MeasureError> {
        let selection = Selection { option, series };
        let expression = format!("process_start_time_seconds{{{series}}}");
        let instances = self.prometheus.query_labels(&expression, "instance");
        instances.map_err(|cause| selection.name_option(cause))
    }

    /// The names of the processes that the fronts work for.
    pub(in crate::canary) fn read_owners(
        &self,
        plan: &CanaryPlan,
    ) -> Result<Vec<String>, MeasureError> {
        let mut owners = Vec::new();
        for series in [&plan.canary_series, &plan.stable_series] {
            let expression = format!("ark_front_owner_info{{{series}}}");
            owners.extend(self.prometheus.query_labels(&expression, "process")?);
        }
        Ok(owners)
    }

    /// Reads how long the fronts park a request at most: the shortest time of all. `None`: none says it, as those of earlier versions.
    pub(in crate::canary) fn read_hold(
        &self,
        plan: &CanaryPlan,
    ) -> Result<Option<Duration>, MeasureError> {
        let mut shortest = None;
        for (option, series) in [
            ("--canary-series", &plan.canary_series),
            ("--stable-series", &plan.stable_series),
        ] {
            let expression = format!("min(ark_front_hold_for_seconds{{{series}}})");
            let seconds = self.query_value(&Selection { option, series }, &expression)?;
            let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            shortest = [shortest, time].into_iter().flatten().min();
        }
        Ok(shortest)
    }

    /// Reads the baseline.
    pub(in crate::canary) fn read_baseline(
        &self,
        plan: &CanaryPlan,
    ) -> Result<Baseline, MeasureError> {
        let baseline = match &plan.baseline {
            BaselineSource::Prometheus(time) => self.ask_baseline(plan, *time)?,
            BaselineSource::Synthetic(path) => {
                let refused = |problem: String| {
                    MeasureError::Baseline(format!("{}: {problem}", path.display()))
                };
                let text = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
                let report: Value =
                    serde_json::from_slice(&text).map_err(|error| refused(error.to_string()))?;
                read_report(&report).map_err(refused)?
            }
        };
        if baseline.decisions < plan.limits.min_samples {
            return Err(MeasureError::Baseline(format!(
                "it has {} decisions, and {} are needed; wait, or give a report of `ark synthetic` with --baseline-report",
                baseline.decisions, plan.limits.min_samples
            )));
        }
        Ok(baseline)
    }

    /// What the stable fronts judged, which is what passed them: a share of the same requests is what the new version's front judges. What agents
    /// decide passes no front.
    fn ask_baseline(&self, plan: &CanaryPlan, time: Duration) -> Result<Baseline, MeasureError> {
        let (series, window) = (&plan.stable_series, time.as_secs().max(1));
        let selection = Selection {
            option: "--stable-series",
            series,
        };
        let increase = |labels: &str| {
            let judged = format!("ark_front_judged_total{{{series}{labels}}}[{window}s]");
            self.query_value(&selection, &format!("sum(increase({judged}))"))
        };
        let (Some(decisions), Some(denied)) = (increase("")?, increase(",outcome=\"denied\"")?)
        else {
            return Err(MeasureError::Baseline(format!(
                "Prometheus has no ark_front_judged_total{{{series}}} over the last {window} s: have it scrape the stable fronts (--stable-series), or give a report of `ark synthetic --json` over such a front with --baseline-report"
            )));
        };
        let (Some(decisions), Some(denied)) = (to_count(decisions), to_count(denied)) else {
            return Err(MeasureError::Baseline(format!(
                "Prometheus says that {decisions} decisions were judged over the last {window} s, {denied} of them denied, which are no counts; see what --stable-series selects"
            )));
        };
        Ok(Baseline {
            decisions,
            denied: denied.min(decisions),
        })
    }
}

/// Asks Prometheus how long the fronts park requests.
pub(in crate::canary) fn ask_hold(client: &HostClient, plan: &CanaryPlan) -> HoldTime {
    let asked = Meter::new(client, plan)
        .map_err(MeasureError::from)
        .and_then(|meter| meter.read_hold(plan));
    // That the fronts do not say it, or Prometheus does not answer, holds nothing up.
    asked
        .ok()
        .flatten()
        .map_or(HoldTime::Unknown, HoldTime::Asked)
}

/// What keeps the selection of the new version's front from being one, by the instances of both selections. One that has none is named where its
/// figures are read.
fn find_selection_problem(canary: &[String], stable: &[String]) -> Option<String> {
    if let Some(shared) = canary.iter().find(|one| stable.contains(one)) {
        return Some(format!(
            "Prometheus has process_start_time_seconds of the instance {shared} also for --stable-series"
        ));
    }
    (canary.len() > 1).then(|| {
        format!(
            "Prometheus has process_start_time_seconds of {} series, and it must be one ({})",
            canary.len(),
            canary.join(", ")
        )
    })
}

/// The baseline of a report of `ark synthetic --json`. A run that was stopped, or did not go as it must, says nothing of what is normal.
fn read_report(report: &Value) -> Result<Baseline, String> {
    let flag = |name: &str| report.get(name).and_then(Value::as_bool);
    let count = |name: &str| report.get(name).and_then(Value::as_u64);
    if flag("interrupted") == Some(true) {
        return Err(format!(
            "`interrupted` is true, the run was stopped before its end; {NEW_REPORT}"
        ));
    }
    if flag("passed") == Some(false) {
        return Err(format!(
            "`passed` is false, the run did not go as it must; {NEW_REPORT}"
        ));
    }
    let counts = (count("approved"), count("denied"), count("held"));
    let (Some(true), (Some(approved), Some(denied), Some(held))) = (flag("passed"), counts) else {
        return Err(format!(
            "it is no report of `ark synthetic --json`, which has `passed`, `approved`, `denied` and `held`; {NEW_REPORT}"
        ));
    };
    Ok(Baseline {
        decisions: approved.saturating_add(denied).saturating_add(held),
        denied,
    })
}

/// The count that a figure of Prometheus stands for, which may lie between two numbers; `None`: it is none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is between 0 and 2^53"
)]
fn to_count(value: f64) -> Option<u64> {
    let count = value.round();
    (0.0..=MAX_COUNT).contains(&count).then_some(count as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_count_is_one() {
        for (value, count) in [
            (0.0, Some(0)),
            (-0.4, Some(0)),
            (41.6, Some(42)),
            (MAX_COUNT, Some(1 << 53)),
            (1e19, None),
            (-1.0, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(to_count(value), count, "{value}");
        }
    }

    #[test]
    fn a_selection_is_one_of_a_single_front_that_is_no_stable_one() {
        type Case<'a> = (&'a [&'a str], &'a [&'a str], Option<&'a str>);
        let cases: [Case<'_>; 7] = [
            (&["c:1"], &["a:1", "b:1"], None),
            (&["c:1"], &[], None),
            (&[], &["a:1"], None),
            (
                &["c:1", "a:1"],
                &["a:1"],
                Some("a:1 also for --stable-series"),
            ),
            (&["a:1"], &["a:1"], Some("a:1 also for --stable-series")),
            (
                &["c:1", "d:1"],
                &["a:1"],
                Some("of 2 series, and it must be one (c:1, d:1)"),
            ),
            (&["c:1", "c:1"], &[], Some("of 2 series")),
        ];
        for (canary, stable, expected) in cases {
            let own = |of: &[&str]| of.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
            let found = find_selection_problem(&own(canary), &own(stable));
            match (&found, expected) {
                (None, None) => {}
                (Some(found), Some(expected)) => assert!(found.contains(expected), "{found}"),
                _ => panic!("{canary:?} {stable:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_baseline_comes_from_the_report_of_a_run_that_passed() {
        let whole =
            json!({"passed": true, "interrupted": false, "approved": 90, "denied": 9, "held": 1});
        for (field, value, expected) in [
            ("passed", json!(true), Ok((100, 9))),
            ("held", json!(u64::MAX), Ok((u64::MAX, 9))),
            ("passed", json!(false), Err("`passed` is false")),
            ("interrupted", json!(true), Err("`interrupted` is true")),
            ("passed", json!(null), Err("it is no report")),
            ("passed", json!("true"), Err("it is no report")),
            ("denied", json!(null), Err("it is no report")),
            ("held", json!(-1), Err("it is no report")),
        ] {
            let mut report = whole.clone();
            report[field] = value;
            let read = read_report(&report).map(|read| (read.decisions, read.denied));
            match (read, expected) {
                (Ok(read), Ok(expected)) => assert_eq!(read, expected, "{report}"),
                (Err(read), Err(expected)) => {
                    assert!(
                        read.contains(expected) && read.contains("ends with 0"),
                        "{read}"
                    );
                }
                (read, _) => panic!("{report}: {read:?}"),
            }
        }
    }
}
