//! Each fault of a front by its tripwire, and what is none.

use std::time::Duration;

use crate::fixtures::build_server;
use crate::haproxy::ServerStatus;

use super::*;

fn build_bounds() -> HealthBounds {
    HealthBounds {
        min_samples: 30,
        sigmas: 3.0,
        max_p95: Duration::from_millis(400),
        slow_checks: 3,
        max_different: 0,
        max_error_share: 0.01,
        max_memory_bytes: 1e9,
        quarantine_window: Duration::from_mins(10),
        quarantines_left_out: Vec::new(),
        idle_checks: 2,
    }
}

fn build_figures(requests: u64) -> Figures {
    Figures {
        judged: Some(requests),
        denied: Some(requests / 10),
        different: Some(0),
        unable: Some(0),
        hindered: Some(0),
        p95_ms: Some(20.0),
        memory_bytes: Some(1e8),
        front_started: Some(1000.0),
        quarantined: Vec::new(),
        host_process: Some("one".to_owned()),
        owner_processes: vec!["one".to_owned(), "one".to_owned()],
        server: ServerStatus {
            sessions: requests,
            ..build_server("canary", 10)
        },
    }
}

fn build_watch(limits: &HealthBounds) -> StepWatch<'_> {
    StepWatch {
        limits,
        baseline: Baseline {
            decisions: 1000,
            denied: 100,
        },
        front_started: 1000.0,
        first: Some(build_figures(0)),
        last_sessions: 0,
        slow: 0,
        idle: 0,
        away: 0,
        hosts: BTreeSet::new(),
        elsewhere: 0,
    }
}

#[test]
fn a_front_of_another_host_is_a_fault_and_one_that_was_scraped_before_a_restart_is_none() {
    let limits = build_bounds();
    let judge = |step: &mut StepWatch<'_>, host: Option<&str>, owners: &[&str]| {
        let mut figures = build_figures(100);
        figures.server.sessions = step.last_sessions + 100;
        figures.host_process = host.map(str::to_owned);
        figures.owner_processes = owners.iter().map(|owner| (*owner).to_owned()).collect();
        step.judge_figures(&figures).result
    };
    let failure = MeasurementResult::Failure(Tripwire::OtherHost);
    let (good, unclear) = (MeasurementResult::Success, MeasurementResult::Inconclusive);
    type Check<'a> = (Option<&'a str>, &'a [&'a str], MeasurementResult);
    let cases: [&[Check<'_>]; 5] = [
        &[
            (Some("one"), &["other", "one"], unclear),
            (Some("one"), &["other", "one"], failure),
        ],
        &[
            (Some("one"), &["one", "other"], unclear),
            (Some("one"), &["one"], good),
            (Some("one"), &["other"], unclear),
        ],
        // The host is started again: the fronts were scraped before.
        &[
            (Some("one"), &["one"], good),
            (Some("two"), &["one", "two"], good),
            (Some("two"), &["one"], good),
            (Some("two"), &["two"], good),
        ],
        // The host is away, or of a version that does not say it.
        &[(None, &["one"], good), (None, &["other"], good)],
        &[(Some("one"), &[], good)],
    ];
    for (number, checks) in cases.into_iter().enumerate() {
        let mut step = build_watch(&limits);
        for (host, owners, expected) in checks {
            let found = judge(&mut step, *host, owners);
            assert_eq!(found, *expected, "{number}: {host:?} {owners:?}");
        }
    }
}

#[test]
fn each_fault_has_its_own_tripwire_and_a_good_front_none() {
    let limits = build_bounds();
    assert_eq!(
        build_watch(&limits)
            .judge_figures(&build_figures(100))
            .result,
        MeasurementResult::Success
    );
    type Change = fn(&mut Figures);
    let faults: [(Tripwire, Change); 11] = [
        (Tripwire::Down, |one| one.server.status = "DOWN".to_owned()),
        (Tripwire::Down, |one| one.server.connection_errors = 1),
        (Tripwire::Down, |one| one.server.redispatched = 1),
        (Tripwire::Restart, |one| one.front_started = Some(2000.0)),
        (Tripwire::Quarantine, |one| {
            one.quarantined = vec!["kyle".to_owned()];
        }),
        (Tripwire::Verdicts, |one| one.different = Some(1)),
        (Tripwire::Unjudged, |one| one.unable = Some(3)),
        (Tripwire::Denials, |one| one.denied = Some(40)),
        (Tripwire::Errors, |one| one.server.server_errors = 5),
        (Tripwire::Errors, |one| {
            // Another front answered them.
            one.server.repeated = 5;
            one.server.redispatched = 5;
        }),
        (Tripwire::Memory, |one| one.memory_bytes = Some(2e9)),
    ];
    for (tripwire, change) in faults {
        let mut faulty = build_figures(100);
        change(&mut faulty);
        let found = build_watch(&limits).judge_figures(&faulty);
        assert_eq!(
            found.result,
            MeasurementResult::Failure(tripwire),
            "{}",
            found.reason
        );
    }
}

#[test]
fn slowness_and_silence_are_faults_when_they_last() {
    let limits = build_bounds();
    let mut step = build_watch(&limits);
    for requests in [100, 200, 300] {
        let mut slow = build_figures(requests);
        slow.p95_ms = Some(500.0);
        let expected = if requests == 300 {
            MeasurementResult::Failure(Tripwire::Latency)
        } else {
            MeasurementResult::Inconclusive
        };
        assert_eq!(step.judge_figures(&slow).result, expected);
    }
    let mut step = build_watch(&limits);
    assert_eq!(
        step.judge_figures(&build_figures(0)).result,
        MeasurementResult::Inconclusive
    );
    let silent = step.judge_figures(&build_figures(0)).result;
    assert_eq!(silent, MeasurementResult::Failure(Tripwire::NoTraffic));
}

#[test]
fn a_host_that_stays_away_is_a_fault_and_one_that_comes_back_is_none() {
    let limits = build_bounds();
    let mut step = build_watch(&limits);
    let mut judge = |is_away| step.judge_error(is_away, "no answer".to_owned()).result;
    assert_eq!(judge(true), MeasurementResult::Error);
    // Prometheus alone.
    assert_eq!(judge(false), MeasurementResult::Error);
    assert_eq!(judge(true), MeasurementResult::Error);
    assert_eq!(judge(true), MeasurementResult::Failure(Tripwire::HostDown));
    let mut step = build_watch(&limits);
    for round in 1..=3 {
        let away = step.judge_error(true, "no answer".to_owned());
        assert_eq!(away.result, MeasurementResult::Error);
        let back = step.judge_figures(&build_figures(round * 100));
        assert_eq!(back.result, MeasurementResult::Success);
    }
}

#[test]
fn too_few_samples_are_inconclusive() {
    let limits = build_bounds();
    let lacking: [fn(&mut Figures); 9] = [
        |one| one.judged = None,
        |one| one.denied = None,
        |one| one.p95_ms = None,
        |one| one.memory_bytes = None,
        |one| one.front_started = None,
        |one| one.different = None,
        |one| one.unable = None,
        |one| one.hindered = None,
        |one| one.hindered = Some(3),
    ];
    for change in lacking {
        let mut figures = build_figures(100);
        change(&mut figures);
        let found = build_watch(&limits).judge_figures(&figures);
        assert_eq!(
            found.result,
            MeasurementResult::Inconclusive,
            "{}",
            found.reason
        );
    }
    assert_eq!(
        build_watch(&limits)
            .judge_figures(&build_figures(29))
            .result,
        MeasurementResult::Inconclusive
    );
}

#[test]
fn what_a_front_cannot_judge_counts_by_its_share_in_the_step() {
    let limits = build_bounds();
    // Judged, and not judged in the step: a few are chance, and so is a small share.
    for (judged, unjudged, is_too_much) in [
        (30, 2, false),
        (30, 3, true),
        (0, 3, true),
        (297, 3, false),
        (296, 3, true),
        (1000, 10, false),
        (1000, 11, true),
    ] {
        let judge = |change: fn(&mut Figures, u64)| {
            let mut step = build_watch(&limits);
            let mut before = build_figures(0);
            // What was left before the step began does not count.
            change(&mut before, 1000);
            step.first = Some(before);
            let mut now = build_figures(judged);
            now.server.sessions = judged + unjudged;
            change(&mut now, 1000 + unjudged);
            step.judge_figures(&now)
        };
        let unable = judge(|one, count| one.unable = Some(count));
        let failure = MeasurementResult::Failure(Tripwire::Unjudged);
        assert_eq!(unable.result == failure, is_too_much, "{}", unable.reason);
        let hindered = judge(|one, count| one.hindered = Some(count));
        let expected = if is_too_much {
            MeasurementResult::Inconclusive
        } else {
            MeasurementResult::Success
        };
        assert_eq!(hindered.result, expected, "{}", hindered.reason);
        if !is_too_much {
            assert_eq!(unable.result, MeasurementResult::Success);
            let figure = format!("{unjudged} unjudged");
            assert!(unable.reason.contains(&figure), "{}", unable.reason);
        }
    }
}
