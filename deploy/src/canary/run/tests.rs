//! A canary that goes on, is left to a rollback or is ended, without a host.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ark_model::ids::Millis;

use crate::canary::analysis::Counts;
use crate::canary::journal::TakeOverStep;
use crate::canary::orders::{CanaryOrder, OrderAnswer, OrderNote, SentOrder, TICK};
use crate::canary::plan::{Baseline, BaselineSource, HealthBounds};
use crate::fixtures::{build_client, write_journal};
use crate::scripted_host::start_scripted_host;

use super::steps::{ENDED, StepTimes};
use super::*;

/// A canary in a directory whose `HAProxy` is away.
fn build_begin(dir: &Path) -> CanaryStart {
    let plan = CanaryPlan {
        version: "2".to_owned(),
        haproxy: dir
            .join("haproxy.sock")
            .display()
            .to_string()
            .parse()
            .unwrap(),
        backend: "ark".to_owned(),
        server: "canary".to_owned(),
        prometheus: "http://127.0.0.1:9".to_owned(),
        stable_series: "job=\"ark-front\"".to_owned(),
        canary_series: "job=\"ark-front-canary\"".to_owned(),
        latency_window: Duration::from_secs(1),
        shares: vec![100],
        step: Duration::from_secs(1),
        interval: Duration::from_secs(1),
        deadline: Duration::from_secs(1),
        baseline: BaselineSource::Prometheus(Duration::from_secs(1)),
        limits: HealthBounds {
            min_samples: 1,
            sigmas: 3.0,
            max_p95: Duration::from_secs(1),
            slow_checks: 1,
            max_different: 0,
            max_error_share: 0.01,
            max_memory_bytes: 1e9,
            quarantine_window: Duration::from_secs(1),
            quarantines_left_out: Vec::new(),
            idle_checks: 1,
        },
        take_over: None,
    };
    CanaryStart {
        id: "canary-1".to_owned(),
        plan,
        baseline: Baseline {
            decisions: 10,
            denied: 1,
        },
        began_at: Millis(1),
        quarantines: None,
        counts: None,
        weights: BTreeMap::from([("canary".to_owned(), 0), ("stable".to_owned(), 100)]),
        stable_build: None,
        front_started: 1.0,
    }
}

/// Writes the journal of a canary that has a share, and whose command was killed.
fn write_begun(client: &HostClient, path: &Path, begin: CanaryStart) {
    let begun = CanaryEntry::Started(Box::new(begin));
    let entries = [begun, CanaryEntry::Share(100)];
    write_journal(client, ExchangeKind::Canary, path, &entries);
}

#[test]
fn a_resume_begins_the_time_of_a_step_anew_only_after_a_pause() {
    let (dir, client) = (tempfile::tempdir().unwrap(), build_client());
    let path = dir.path().join("canary.journal");
    write_begun(&client, &path, build_begin(dir.path()));
    let mut told = Vec::new();
    let mut tell = |step: &str, detail: Value| told.push(format!("{step}: {detail}"));
    let mut canary = HostCanary::take_up(&client, &path, &[], &mut tell).unwrap();
    let started = Instant::now();
    let mut times = StepTimes {
        started,
        promoted: false,
    };
    let noted = canary.obey_order(CanaryOrder::Resume, &mut times);
    assert_eq!(noted, OrderNote::Noted);
    assert_eq!(times.started, started);
    let noted = canary.obey_order(CanaryOrder::Pause, &mut times);
    assert_eq!(noted, OrderNote::Noted);
    assert!(canary.state.paused && times.started == started);
    let noted = canary.obey_order(CanaryOrder::Resume, &mut times);
    assert_eq!(noted, OrderNote::Noted);
    assert!(!canary.state.paused && times.started > started);
    drop(canary);
    let [first, _, last] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(first.contains("it was not paused"), "{first}");
    assert!(last.contains("an operator ended the pause"), "{last}");
}

#[test]
fn what_an_order_asks_for_is_in_the_journal_when_it_is_obeyed() {
    let (dir, client) = (tempfile::tempdir().unwrap(), build_client());
    let path = dir.path().join("canary.journal");
    write_begun(&client, &path, build_begin(dir.path()));
    let read = || crate::canary::read_state(&client, &path).unwrap().unwrap();
    let mut tell = |_: &str, _: Value| {};
    let mut canary = HostCanary::take_up(&client, &path, &[], &mut tell).unwrap();
    let mut times = StepTimes {
        started: Instant::now(),
        promoted: false,
    };
    let mut obey = |order| {
        let noted = canary.obey_order(order, &mut times);
        assert_eq!(noted, OrderNote::Noted, "{order:?}");
        // As a run finds it that takes the canary up after a kill.
        let state = read();
        assert_eq!(state.promoting, canary.state.promoting, "{order:?}");
        state
    };
    assert!(obey(CanaryOrder::Pause).paused);
    assert!(!obey(CanaryOrder::Resume).paused);
    assert_eq!(obey(CanaryOrder::Promote).promoting, Some(100));
    // It holds when the share is given again, and is no word for another one.
    let mut state = read();
    state.set_share(100, None);
    assert_eq!(state.promoting, Some(100));
    // A pause that comes after it takes it back.
    let state = obey(CanaryOrder::Pause);
    assert!(state.paused && state.promoting.is_none());
    let state = obey(CanaryOrder::Abort);
    assert_eq!(state.tripwire, Some(Tripwire::Aborted));
    assert_eq!(state.going_back.as_deref(), Some(ENDED));
}

#[test]
fn what_was_counted_before_a_share_outlives_a_kill_and_a_journal_without_it_is_read() {
    let counts = |different| Counts {
        different: Some(different),
        ..Counts::default()
    };
    let begun = |counted| {
        let mut begin = build_begin(Path::new("/"));
        begin.counts = counted;
        CanaryEntry::Started(Box::new(begin))
    };
    let (counted, share) = (CanaryEntry::Counted, CanaryEntry::Share);
    type Case = (Vec<CanaryEntry>, Option<Counts>, u32, Option<Counts>);
    let cases: [Case; 5] = [
        // Of an earlier version.
        (vec![begun(None), share(10)], None, 10, None),
        (vec![begun(Some(counts(1)))], Some(counts(1)), 0, None),
        (
            vec![begun(Some(counts(1))), counted(counts(1)), share(10)],
            Some(counts(1)),
            10,
            Some(counts(1)),
        ),
        // The share of an entry is not given: the one before is measured again, with its own.
        (
            vec![
                begun(Some(counts(1))),
                counted(counts(1)),
                share(10),
                counted(counts(2)),
            ],
            Some(counts(1)),
            10,
            Some(counts(1)),
        ),
        (
            vec![
                begun(Some(counts(1))),
                counted(counts(1)),
                share(10),
                counted(counts(2)),
                share(25),
            ],
            Some(counts(1)),
            25,
            Some(counts(2)),
        ),
    ];
    for (entries, at_start, share_pct, at_share) in cases {
        // As a journal has them.
        let text = serde_json::to_string(&entries).unwrap();
        let entries: Vec<CanaryEntry> = serde_json::from_str(&text).unwrap();
        let (begin, state) = read_entries(&entries).unwrap();
        assert_eq!(begin.counts, at_start, "{text}");
        assert_eq!(
            (state.share_pct, state.counted),
            (share_pct, at_share),
            "{text}"
        );
    }
    // An earlier version writes no such field at all.
    let mut begin = serde_json::to_value(build_begin(Path::new("/"))).unwrap();
    begin.as_object_mut().unwrap().remove("counts").unwrap();
    let begin: CanaryStart = serde_json::from_value(begin).unwrap();
    assert_eq!(begin.counts, None);
}

/// Where a canary looks for an order for the last time before it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastLook {
    /// Before a step ends.
    StepEnd,
    /// Before the take-over stops the host.
    BeforeStop,
}

/// What each order comes to at such a look: whether the share is kept; `None`: the canary goes back.
const LAST_ORDERS: [(CanaryOrder, Option<bool>); 4] = [
    (CanaryOrder::Pause, Some(true)),
    (CanaryOrder::Promote, Some(false)),
    (CanaryOrder::Resume, Some(false)),
    (CanaryOrder::Abort, None),
];

/// Has a canary find this order at its last look, and checks what it makes of it.
fn assert_obeyed(look: LastLook, order: CanaryOrder, is_kept: Option<bool>) {
    let case = format!("{look:?} {order:?}");
    let (dir, client) = (tempfile::tempdir().unwrap(), build_client());
    let path = dir.path().join("canary.journal");
    write_begun(&client, &path, build_begin(dir.path()));
    let mut tell = |_: &str, _: Value| {};
    let mut canary = HostCanary::take_up(&client, &path, &[], &mut tell).unwrap();
    let takes_over = look == LastLook::BeforeStop;
    let begun: &[TakeOverStep] = if takes_over {
        &[TakeOverStep::Snapshot, TakeOverStep::Replay]
    } else {
        &[]
    };
    for phase in begun {
        let entry = CanaryEntry::TakingOver(*phase);
        canary.journal.record_entry(&entry).unwrap();
        canary.state.enter_step(*phase);
    }
    let sent = SentOrder::new(&path, "canary-1", order);
    assert!(sent.place_order().unwrap());
    let never = AtomicBool::new(false);
    // The step ends by an operator's word, which a later pause takes back.
    let mut times = StepTimes {
        started: Instant::now(),
        promoted: true,
    };
    let looked = if takes_over {
        canary.look_before_stop(&never)
    } else {
        let inbox = OrderInbox::new(&path, "canary-1");
        canary.look_at_step_end(&inbox, &mut times, &never)
    };
    match (looked, is_kept) {
        (Ok(found), Some(expected)) => assert_eq!(found, expected, "{case}"),
        (Err(Stop::Back(tripwire, _)), None) => assert_eq!(tripwire, Tripwire::Aborted),
        _ => panic!("{case}"),
    }
    assert_eq!(sent.find_answer(), Some(OrderAnswer::Noted), "{case}");
    let is_paused = order == CanaryOrder::Pause;
    assert_eq!(times.promoted, takes_over || !is_paused, "{case}");
    // As a run finds it that takes the canary up after a kill.
    let state = crate::canary::read_state(&client, &path).unwrap().unwrap();
    let take_over = (takes_over && !is_paused).then_some(TakeOverStep::Replay);
    assert_eq!(
        (state.share_pct, state.take_over),
        (100, take_over),
        "{case}"
    );
    for state in [&state, &canary.state] {
        assert_eq!(state.paused, is_paused, "{case}");
        assert_eq!(state.going_back.is_some(), is_kept.is_none(), "{case}");
    }
}

#[test]
fn an_order_of_the_last_check_is_obeyed_before_the_step_ends() {
    for (order, is_kept) in LAST_ORDERS {
        assert_obeyed(LastLook::StepEnd, order, is_kept);
    }
}

#[test]
fn an_order_is_obeyed_before_the_host_is_stopped() {
    for (order, is_kept) in LAST_ORDERS {
        assert_obeyed(LastLook::BeforeStop, order, is_kept);
    }
}

/// A canary that has a share, and checks it after these pauses.
fn build_checked(dir: &Path, interval: Duration, deadline: Duration) -> CanaryStart {
    let mut begin = build_begin(dir);
    begin.plan.interval = interval;
    begin.plan.deadline = deadline;
    begin
}

#[test]
fn orders_are_obeyed_beside_the_work_of_a_take_over_which_a_pause_or_an_abort_ends() {
    for (order, ends_work) in [
        (CanaryOrder::Resume, false),
        (CanaryOrder::Promote, false),
        (CanaryOrder::Pause, true),
        (CanaryOrder::Abort, true),
    ] {
        let (dir, client) = (tempfile::tempdir().unwrap(), build_client());
        let path = dir.path().join("canary.journal");
        let long = Duration::from_hours(1);
        let begin = build_checked(dir.path(), long, long);
        write_begun(&client, &path, begin.clone());
        let mut tell = |_: &str, _: Value| {};
        let mut canary = HostCanary::take_up(&client, &path, &[], &mut tell).unwrap();
        let mut watch = canary.begin_replay_watch(&begin, None).unwrap();
        let sent = SentOrder::new(&path, "canary-1", order);
        assert!(sent.place_order().unwrap());
        // Works until the order is taken, and until it is to end, or for the time of a few looks.
        let work = |ends: &AtomicBool| {
            let most = Instant::now() + Duration::from_mins(1);
            while sent.is_waiting() && Instant::now() < most {
                std::thread::sleep(Duration::from_millis(1));
            }
            let most = if ends_work {
                most
            } else {
                Instant::now() + TICK * 6
            };
            while !ends.load(Ordering::Relaxed) && Instant::now() < most {
                std::thread::sleep(Duration::from_millis(1));
            }
            ends.load(Ordering::Relaxed)
        };
        let stop = AtomicBool::new(false);
        let done = canary.do_watched(Some(&mut watch), &stop, &work);
        match (order, done) {
            (CanaryOrder::Resume | CanaryOrder::Promote, Ok(Some(false)))
            | (CanaryOrder::Pause, Ok(None))
            | (CanaryOrder::Abort, Err(Stop::Back(Tripwire::Aborted, _))) => {}
            _ => panic!("{order:?}"),
        }
        // It is answered while the work goes on, and what it asks for is in the journal.
        assert_eq!(sent.find_answer(), Some(OrderAnswer::Noted), "{order:?}");
        let state = crate::canary::read_state(&client, &path).unwrap().unwrap();
        assert_eq!(state.paused, order == CanaryOrder::Pause);
        assert_eq!(state.going_back.is_some(), order == CanaryOrder::Abort);
        // The work of a run that was told to end ends, too.
        if order == CanaryOrder::Resume {
            let stop = AtomicBool::new(true);
            let done = canary.do_watched(Some(&mut watch), &stop, &|ends: &AtomicBool| {
                while !ends.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            assert!(matches!(done, Err(Stop::Back(Tripwire::Aborted, _))));
        }
    }
}

#[test]
fn the_share_is_checked_beside_the_work_of_a_take_over() {
    let dir = tempfile::tempdir().unwrap();
    let (short, long) = (Duration::from_millis(10), Duration::from_hours(1));
    let stop = AtomicBool::new(false);
    // Nothing can be measured: the host is away, or HAProxy alone is.
    let away = build_client();
    let there = start_scripted_host(|_| (200, json!({})));
    for (client, tripwire) in [(&away, Tripwire::HostDown), (&there, Tripwire::Error)] {
        let path = dir.path().join(format!("{tripwire:?}.journal"));
        let checks = AtomicUsize::new(0);
        let mut tell = |step: &str, _: Value| {
            if step == "check" {
                checks.fetch_add(1, Ordering::Relaxed);
            }
        };
        let begin = build_checked(dir.path(), short, Duration::from_millis(100));
        write_begun(client, &path, begin.clone());
        let mut canary = HostCanary::take_up(client, &path, &[], &mut tell).unwrap();
        // Where that lasts for the deadline, the work is ended.
        let mut watch = canary.begin_replay_watch(&begin, None).unwrap();
        let ended = canary.do_watched(Some(&mut watch), &stop, &|ends: &AtomicBool| {
            while !ends.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        match ended {
            Err(Stop::Back(found, _)) => assert_eq!(found, tripwire),
            _ => panic!("{tripwire:?}"),
        }
        assert!(checks.load(Ordering::Relaxed) > 1, "{tripwire:?}");
        // Else the work comes to its end; after a check that was no success no host is stopped, unless that was since the host has ended.
        let begin = build_checked(dir.path(), short, long);
        let mut watch = canary.begin_replay_watch(&begin, None).unwrap();
        let (before, most) = (checks.load(Ordering::Relaxed), Instant::now() + long);
        let done = canary.do_watched(Some(&mut watch), &stop, &|_: &AtomicBool| {
            while checks.load(Ordering::Relaxed) == before && Instant::now() < most {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        assert!(matches!(done, Ok(Some(()))), "{tripwire:?}");
        let before = checks.load(Ordering::Relaxed);
        let (ends, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
        let healthy = std::thread::scope(|scope| {
            let ender = scope.spawn(|| {
                // Two more checks have been made, or it was not waited for any.
                while checks.load(Ordering::Relaxed) < before + 2
                    && !is_over.load(Ordering::Relaxed)
                {
                    std::thread::sleep(Duration::from_millis(1));
                }
                ends.store(true, Ordering::Relaxed);
            });
            let healthy = canary.wait_healthy(&mut watch, &ends);
            is_over.store(true, Ordering::Relaxed);
            ender.join().unwrap();
            healthy
        });
        match (tripwire, healthy) {
            (Tripwire::HostDown, Ok(false)) => {
                assert_eq!(checks.load(Ordering::Relaxed), before);
            }
            (Tripwire::Error, Err(Stop::Back(Tripwire::Aborted, _))) => {
                assert!(checks.load(Ordering::Relaxed) >= before + 2);
            }
            _ => panic!("{tripwire:?}"),
        }
    }
}

#[test]
fn a_take_over_ends_the_pause_that_an_operator_had_it_go_on_from() {
    let begun = CanaryEntry::Started(Box::new(build_begin(Path::new("/"))));
    let mut entries = vec![
        begun,
        CanaryEntry::Share(100),
        CanaryEntry::Paused(true),
        CanaryEntry::Promoting(100),
    ];
    let read = |entries: &[CanaryEntry]| read_entries(entries).unwrap().1;
    assert!(read(&entries).paused);
    entries.push(CanaryEntry::TakingOver(TakeOverStep::Snapshot));
    let state = read(&entries);
    assert!(!state.paused && state.take_over == Some(TakeOverStep::Snapshot));
    // One in the take-over gives that up.
    entries.extend([CanaryEntry::Share(100), CanaryEntry::Paused(true)]);
    let state = read(&entries);
    assert!(state.paused && state.take_over.is_none());
}

#[test]
fn a_run_that_takes_a_canary_up_obeys_an_abort_that_waits() {
    let (dir, client) = (tempfile::tempdir().unwrap(), build_client());
    let path = dir.path().join("canary.journal");
    write_begun(&client, &path, build_begin(dir.path()));
    let abort = SentOrder::new(&path, "canary-1", CanaryOrder::Abort);
    assert!(abort.place_order().unwrap());
    let mut tell = |_: &str, _: Value| {};
    let canary = HostCanary::take_up(&client, &path, &[], &mut tell).unwrap();
    assert_eq!(abort.find_answer(), Some(OrderAnswer::Noted));
    assert_eq!(canary.state.tripwire, Some(Tripwire::Aborted));
    drop(canary);
    // A kill of this run does not lose it either.
    let state = crate::canary::read_state(&client, &path).unwrap();
    assert_eq!(state.unwrap().going_back.as_deref(), Some(ENDED));
}

#[test]
fn a_canary_whose_haproxy_is_away_is_left_to_a_rollback_and_says_so() {
    let (dir, client) = (tempfile::tempdir().unwrap(), build_client());
    let path = dir.path().join("canary.journal");
    write_begun(&client, &path, build_begin(dir.path()));
    let mut tell = |_: &str, _: Value| {};
    let canary = HostCanary::take_up(&client, &path, &[], &mut tell).unwrap();
    let left = canary.leave_to_rollback(&AtomicBool::new(false)).unwrap();
    let unweighed = left.unweighed.unwrap();
    for part in ["haproxy.sock", "canary 0, stable 100"] {
        assert!(unweighed.contains(part), "{unweighed}");
    }
    let state = crate::canary::read_state(&client, &path).unwrap();
    assert!(state.is_none(), "the canary is over");
}

#[test]
fn a_canary_whose_haproxy_is_away_is_ended_by_another_address_or_with_its_weights_left() {
    let (dir, client) = (tempfile::tempdir().unwrap(), build_client());
    let path = dir.path().join("canary.journal");
    write_begun(&client, &path, build_begin(dir.path()));
    let stop = AtomicBool::new(false);
    let take_up = |given: &[GivenOption]| {
        let mut tell = |_: &str, _: Value| {};
        let canary = HostCanary::take_up(&client, &path, given, &mut tell).unwrap();
        let weights = canary.check_weights().err().map(|error| error.to_string());
        (weights, canary.abort(ENDED, &stop))
    };
    let (weights, ended) = take_up(&[]);
    assert_eq!(weights, None);
    let refused = ended.unwrap_err().to_string();
    for part in ["haproxy.sock", "--haproxy", "--leave-weights"] {
        assert!(refused.contains(part), "{refused}");
    }
    // What corrects it is kept.
    let other: crate::haproxy::HaproxyAddress = "127.0.0.1:9".parse().unwrap();
    let (_, ended) = take_up(&[GivenOption::Haproxy(other)]);
    assert!(ended.unwrap_err().to_string().contains("tcp:127.0.0.1:9"));
    let (_, ended) = take_up(&[]);
    assert!(ended.unwrap_err().to_string().contains("tcp:127.0.0.1:9"));
    let (_, ended) = take_up(&[GivenOption::LeaveWeights]);
    let report = ended.unwrap();
    assert_eq!(report.tripwire, Some(Tripwire::Aborted));
    let unweighed = report.unweighed.unwrap();
    assert!(unweighed.contains("canary 0, stable 100"), "{unweighed}");
    // One that gives shares needs them.
    write_begun(&client, &path, build_begin(dir.path()));
    let mut tell = |_: &str, _: Value| {};
    let given = [GivenOption::LeaveWeights];
    let canary = HostCanary::take_up(&client, &path, &given, &mut tell).unwrap();
    let refused = canary.check_weights().unwrap_err().to_string();
    assert!(refused.starts_with("--leave-weights: "), "{refused}");
}

#[test]
fn a_canary_does_not_go_on_beside_a_rollback_that_has_begun() {
    let (dir, client) = (tempfile::tempdir().unwrap(), build_client());
    let path = dir.path().join("canary.journal");
    write_begun(&client, &path, build_begin(dir.path()));
    let excluded = ExcludedJournals {
        upgrade: dir.path().join("upgrade.journal"),
        rollback: dir.path().join("rollback.journal"),
    };
    let mut tell = |_: &str, _: Value| {};
    let mut canary = HostCanary::take_up(&client, &path, &[], &mut tell).unwrap();
    canary.refuse_others(&excluded).unwrap();
    let began = [json!({"started": {"id": "rollback-1", "began_at": 1}})];
    write_journal(&client, ExchangeKind::Rollback, &excluded.rollback, &began);
    let refused = canary.refuse_others(&excluded).unwrap_err().to_string();
    assert!(refused.contains("rollback-1 (`ark rollback`)"), "{refused}");
    let stop = AtomicBool::new(false);
    let rehearsed = crate::canary::rehearse_order;
    drop(canary);
    let order = CanaryOrder::Resume;
    let refused = rehearsed(&client, &path, order, &[], &excluded).unwrap_err();
    assert!(refused.to_string().contains("rollback-1"), "{refused}");
    // What goes back does so, and what is ended is.
    let given = [GivenOption::LeaveWeights];
    canary = HostCanary::take_up(&client, &path, &given, &mut tell).unwrap();
    canary.note_abort();
    canary.refuse_others(&excluded).unwrap();
    canary.abort(ENDED, &stop).unwrap();
}
