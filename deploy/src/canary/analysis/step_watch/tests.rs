//! Each fault of a front by its tripwire, and what is none.

use std::sync::LazyLock;
use std::time::Duration;

use crate::fixtures::build_server;
use crate::haproxy::{HaproxyProcess, ServerStatus};

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
        oldest_started: Some(1000.0),
        quarantined: Vec::new(),
        host_process: Some("one".to_owned()),
        owner_processes: vec!["one".to_owned(), "one".to_owned()],
        server: ServerStatus {
            sessions: requests,
            ..build_server("canary", 10)
        },
        others: vec![ServerStatus {
            sessions: requests * 9,
            ..build_server("stable", 90)
        }],
        haproxy: None,
    }
}

static BEFORE: LazyLock<BTreeMap<String, u32>> = LazyLock::new(|| weigh(0, 100));

fn weigh(canary: u32, stable: u32) -> BTreeMap<String, u32> {
    BTreeMap::from([("canary".to_owned(), canary), ("stable".to_owned(), stable)])
}

fn build_watch(limits: &HealthBounds) -> StepWatch<'_> {
    StepWatch {
        limits,
        baseline: Baseline {
            decisions: 1000,
            denied: 100,
        },
        front_started: 1000.0,
        first: Some(Counts::from_figures(&build_figures(0))),
        recent: RecentCounts::begin(Some(Counts::from_figures(&build_figures(0)))),
        planned: Some(weigh(10, 90)),
        before: &BEFORE,
        last_sessions: 0,
        slow: 0,
        idle: 0,
        away: 0,
        hosts: BTreeSet::new(),
        elsewhere: 0,
    }
}

/// Has a step begin with what was counted by then.
fn begin_with(step: &mut StepWatch<'_>, figures: &Figures) {
    let first = Some(Counts::from_figures(figures));
    step.first = first;
    step.recent = RecentCounts::begin(first);
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
    let faults: [(Tripwire, Change); 14] = [
        (Tripwire::Down, |one| one.server.status = "DOWN".to_owned()),
        (Tripwire::Down, |one| one.server.connection_errors = 1),
        (Tripwire::Down, |one| one.server.redispatched = 1),
        (Tripwire::Restart, |one| one.front_started = Some(2000.0)),
        (Tripwire::Restart, |one| one.oldest_started = Some(900.0)),
        (Tripwire::NoWayBack, |one| {
            one.others[0].status = "DOWN".to_owned();
        }),
        (Tripwire::NoWayBack, |one| one.others.clear()),
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
            // What was left before the canary began, or in a step before, does not count; what follows the last check of that does, whenever the
            // share is given and whichever run of the command sees it.
            change(&mut before, 1000);
            begin_with(&mut step, &before);
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

#[test]
fn what_falls_between_two_watches_is_judged_by_the_next_one() {
    let limits = build_bounds();
    type Change = fn(&mut Figures);
    let faults: [(Tripwire, Change); 4] = [
        (Tripwire::Verdicts, |one| one.different = Some(51)),
        (Tripwire::Unjudged, |one| one.unable = Some(50)),
        (Tripwire::Errors, |one| one.server.server_errors = 50),
        (Tripwire::Down, |one| one.server.connection_errors = 50),
    ];
    for (tripwire, change) in faults {
        // What was there before the canary is in its first counts.
        let mut begun = build_figures(10);
        begun.different = Some(1);
        let mut step = build_watch(&limits);
        begin_with(&mut step, &begun);
        let mut healthy = build_figures(100);
        healthy.different = Some(1);
        let good = step.judge_figures(&healthy);
        assert_eq!(good.result, MeasurementResult::Success, "{}", good.reason);
        // The command is killed, or the next share given, before the next check.
        let mut faulty = build_figures(200);
        faulty.different = Some(1);
        change(&mut faulty);
        for first in [begun, healthy] {
            let mut next = build_watch(&limits);
            begin_with(&mut next, &first);
            let found = next.judge_figures(&faulty);
            assert_eq!(
                found.result,
                MeasurementResult::Failure(tripwire),
                "{}",
                found.reason
            );
        }
    }
}

#[test]
fn an_haproxy_that_was_started_again_counts_from_nothing() {
    let limits = build_bounds();
    let mut step = build_watch(&limits);
    let mut first = build_figures(1000);
    first.server.connection_errors = 5;
    begin_with(&mut step, &first);
    step.last_sessions = 1000;
    let mut now = build_figures(1100);
    now.server.sessions = 100;
    let good = step.judge_figures(&now);
    assert_ne!(
        good.result,
        MeasurementResult::Failure(Tripwire::Down),
        "{}",
        good.reason
    );
    now.server.sessions = 200;
    now.server.connection_errors = 1;
    let lost = step.judge_figures(&now);
    assert_eq!(lost.result, MeasurementResult::Failure(Tripwire::Down));
}

#[test]
fn weights_that_were_not_given_are_inconclusive() {
    let limits = build_bounds();
    type Change = fn(&mut Figures);
    let cases: [(Change, Option<&str>); 6] = [
        (|_| {}, None),
        (|one| one.server.weight = 1, Some("canary has the weight 1")),
        (
            |one| one.others[0].weight = 256,
            Some("stable has the weight 256"),
        ),
        (
            |one| one.others.push(build_server("new", 50)),
            Some("new has the weight 50, and was given 0"),
        ),
        // Servers that get no request by their weight.
        (|one| one.others.push(build_server("new", 0)), None),
        (
            |one| {
                let mut down = build_server("new", 50);
                down.status = "DOWN".to_owned();
                one.others.push(down);
            },
            None,
        ),
    ];
    for (change, expected) in cases {
        let mut figures = build_figures(100);
        change(&mut figures);
        let found = build_watch(&limits).judge_figures(&figures);
        match expected {
            None => assert_eq!(found.result, MeasurementResult::Success, "{}", found.reason),
            Some(expected) => {
                assert_eq!(found.result, MeasurementResult::Inconclusive);
                assert!(found.reason.contains(expected), "{}", found.reason);
            }
        }
        // Those of an operator are nobody's plan.
        let mut step = build_watch(&limits);
        step.planned = None;
        assert_eq!(
            step.judge_figures(&figures).result,
            MeasurementResult::Success
        );
    }
}

#[test]
fn a_share_beside_backup_servers_alone_is_inconclusive_unless_it_is_all() {
    let limits = build_bounds();
    let mut figures = build_figures(100);
    figures.others[0].is_backup = true;
    let judge = |planned: BTreeMap<String, u32>, figures: &Figures| {
        let mut step = build_watch(&limits);
        step.planned = Some(planned);
        step.judge_figures(figures)
    };
    let found = judge(weigh(10, 90), &figures);
    assert_eq!(found.result, MeasurementResult::Inconclusive);
    assert!(found.reason.contains("`backup`"), "{}", found.reason);
    // Another one that is none.
    let mut beside = figures.clone();
    beside.others.push(build_server("second", 90));
    let mut planned = weigh(10, 90);
    planned.insert("second".to_owned(), 90);
    let found = judge(planned.clone(), &beside);
    assert_eq!(found.result, MeasurementResult::Success, "{}", found.reason);
    // It is down by now, and the requests have a way back all the same.
    beside.others[1].status = "DOWN".to_owned();
    let found = judge(planned, &beside);
    assert_eq!(found.result, MeasurementResult::Inconclusive);
    // Of all requests none is left for them.
    figures.others[0].weight = 0;
    let found = judge(weigh(10, 0), &figures);
    assert_eq!(found.result, MeasurementResult::Success, "{}", found.reason);
}

#[test]
fn a_gap_in_the_figures_does_not_end_slow_checks_in_a_row() {
    let limits = build_bounds();
    let (slow, good, gap) = (Some(500.0), Some(20.0), None);
    for (checks, is_failure) in [
        (&[slow, slow, slow][..], true),
        (&[slow, gap, slow, gap, slow], true),
        (&[gap, slow, slow, gap], false),
        (&[slow, slow, good, slow, slow], false),
        (&[gap, gap, gap, gap], false),
    ] {
        let mut step = build_watch(&limits);
        let mut results = (1_u64..).zip(checks).map(|(number, p95)| {
            let mut figures = build_figures(number * 100);
            figures.p95_ms = *p95;
            step.judge_figures(&figures).result
        });
        let failure = MeasurementResult::Failure(Tripwire::Latency);
        assert_eq!(results.any(|one| one == failure), is_failure, "{checks:?}");
    }
}

#[test]
fn errors_that_the_other_servers_have_as_well_are_not_the_fault_of_the_front() {
    let limits = build_bounds();
    let (good, unclear) = (MeasurementResult::Success, MeasurementResult::Inconclusive);
    let fault = MeasurementResult::Failure(Tripwire::Errors);
    // Of 100 requests of the front, and of 900 of the others.
    for (own, others, expected) in [
        (0, 0, good),
        (2, 0, good),
        (3, 0, fault),
        // As many as elsewhere, within what may fail in any case.
        (10, 90, unclear),
        (11, 90, unclear),
        (12, 90, fault),
        (100, 900, unclear),
        (100, 450, fault),
        // The others alone.
        (0, 900, good),
        // Too few to say something of the others.
        (3, 2, fault),
    ] {
        let mut figures = build_figures(100);
        figures.server.server_errors = own;
        figures.others[0].server_errors = others;
        let found = build_watch(&limits).judge_figures(&figures);
        assert_eq!(found.result, expected, "{own} {others}: {}", found.reason);
        // What the others had before the step excuses nothing.
        let mut before = build_figures(0);
        before.others[0].server_errors = others;
        let mut step = build_watch(&limits);
        begin_with(&mut step, &before);
        let alone = step.judge_figures(&figures);
        let expected = if own < 3 { good } else { fault };
        assert_eq!(alone.result, expected, "{own} {others}: {}", alone.reason);
    }
}

/// What comes of `change`, made to the figures after a long healthy time that `then` follows.
fn judge_after_long(then: fn(&mut RecentCounts), change: fn(&mut Figures)) -> Measurement {
    let limits = build_bounds();
    let mut step = build_watch(&limits);
    let long = step.judge_figures(&build_figures(1_000_000));
    assert_eq!(long.result, MeasurementResult::Success, "{}", long.reason);
    then(&mut step.recent);
    let mut now = build_figures(1_000_100);
    change(&mut now);
    step.judge_figures(&now)
}

#[test]
fn a_long_healthy_time_hides_no_fault_that_comes_after_it() {
    type Act = fn(&mut RecentCounts);
    type Change = fn(&mut Figures);
    let (good, unclear) = (MeasurementResult::Success, MeasurementResult::Inconclusive);
    let fault = MeasurementResult::Failure;
    // The time of the step begins anew, as at the end of a pause.
    let anew: Act = RecentCounts::begin_anew;
    // The step lasts; so does a pause.
    let lasts: Act = |recent| {
        recent.move_shares();
        recent.move_shares();
    };
    let rests: Act = |recent| {
        for _ in 0..2 {
            recent.move_shares();
            recent.move_samples();
        }
    };
    let cases: [(Change, [MeasurementResult; 3]); 7] = [
        (|_| {}, [good; 3]),
        (
            |one| one.server.server_errors = 50,
            [fault(Tripwire::Errors); 3],
        ),
        (
            // As many as at the other servers.
            |one| {
                one.server.server_errors = 50;
                one.others[0].server_errors = 450;
            },
            [unclear; 3],
        ),
        (|one| one.unable = Some(50), [fault(Tripwire::Unjudged); 3]),
        (|one| one.hindered = Some(50), [unclear; 3]),
        // What is judged by then is none of this time, unless that is the step's own.
        (|one| one.judged = Some(1_000_029), [unclear, good, unclear]),
        // Of one part after the other chance would have many tries.
        (
            |one| one.denied = Some(100_060),
            [fault(Tripwire::Denials), good, good],
        ),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        for (then, expected) in [anew, lasts, rests].into_iter().zip(expected) {
            let found = judge_after_long(then, change);
            assert_eq!(found.result, expected, "{number}: {}", found.reason);
        }
    }
}

#[test]
fn another_process_of_haproxy_counts_from_nothing_however_much_it_has_counted() {
    let limits = build_bounds();
    let process = |pid: u64| -> Option<HaproxyProcess> {
        let read = serde_json::json!({"pid": pid, "started": 1});
        Some(serde_json::from_value(read).unwrap())
    };
    let mut before = build_figures(100);
    before.haproxy = process(1);
    before.server.server_errors = 50;
    before.others[0].server_errors = 400;
    // It has more requests than the one before by the next check.
    let mut now = build_figures(300);
    now.haproxy = process(2);
    now.server.server_errors = 50;
    let judge = |now: &Figures| {
        let mut step = build_watch(&limits);
        begin_with(&mut step, &before);
        step.last_sessions = before.server.sessions;
        step.judge_figures(now).result
    };
    assert_eq!(judge(&now), MeasurementResult::Failure(Tripwire::Errors));
    now.haproxy = process(1);
    assert_eq!(judge(&now), MeasurementResult::Success);
    // One that does not say which it is.
    now.haproxy = None;
    assert_eq!(judge(&now), MeasurementResult::Success);
    // What it has had by then is not idleness.
    now.haproxy = process(2);
    now.server = build_figures(100).server;
    let mut step = build_watch(&limits);
    begin_with(&mut step, &before);
    step.last_sessions = before.server.sessions;
    let _first = step.judge_figures(&now);
    assert_eq!(step.idle, 0);
}

#[test]
fn a_check_without_requests_says_that_there_were_none() {
    let limits = build_bounds();
    let mut silent = build_figures(100);
    silent.p95_ms = None;
    let found = build_watch(&limits).judge_figures(&silent);
    assert_eq!(found.result, MeasurementResult::Inconclusive);
    assert!(
        found.reason.contains("--latency-window"),
        "{}",
        found.reason
    );
    silent.judged = None;
    let found = build_watch(&limits).judge_figures(&silent);
    assert!(found.reason.contains("no figures"), "{}", found.reason);
}
