//! Which rollback a run takes up, by what its journal says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use ark_model::ids::Millis;

use crate::canary::read_state;
use crate::exchange::HostClients;
use crate::exclusion::ExchangeKind;
use crate::fixtures::{build_client, build_rollback, write_journal};
use crate::validate::reserve_validation;

use super::journal::{PastStep, RollbackEntry, RollbackStart};
use super::steps::recording::record_taken;
use super::{
    Rollback, RollbackError, RollbackPlan, RollbackStep, give_up_for_upgrade, may_give_up,
};

/// `upgrade`: whose way back it is.
fn build_plan(dir: &Path, upgrade: Option<&str>) -> RollbackPlan {
    RollbackPlan {
        upgrade: upgrade.map(str::to_owned),
        ..build_rollback(dir)
    }
}

#[test]
fn an_upgrades_way_back_takes_up_no_other_rollback_and_nothing_else_is_begun_beside_one() {
    let dir = tempfile::tempdir().unwrap();
    let begun = |id: &str, upgrade| {
        RollbackEntry::Started(Box::new(RollbackStart {
            id: id.to_owned(),
            plan: build_plan(dir.path(), upgrade),
            began_at: Millis(1),
            schema: 1,
            build: None,
            weights: BTreeMap::new(),
        }))
    };
    let ended = || RollbackEntry::Finished {
        at_ms: Millis(2),
        passed: true,
        result: "done".to_owned(),
    };
    let under_way = "of `it is slow`, was begun and has not ended";
    // What the journal has, what is asked for (a rollback, of which upgrade), and what is taken up, or why nothing is.
    let entries_and_ends = [
        (vec![], None, Err("no rollback of")),
        // It would begin, and there is no such program.
        (vec![], Some(None), Err("cannot be run")),
        (vec![], Some(Some("u1")), Err("cannot be run")),
        (vec![begun("r1", None)], None, Ok("r1")),
        (vec![begun("r1", None)], Some(None), Ok("r1")),
        (vec![begun("r1", None)], Some(Some("u1")), Err(under_way)),
        (vec![begun("r1", Some("u1"))], Some(None), Ok("r1")),
        (vec![begun("r1", Some("u1"))], Some(Some("u1")), Ok("r1")),
        (
            vec![
                begun("r1", Some("u1")),
                RollbackEntry::Step(RollbackStep::Start),
            ],
            Some(Some("u2")),
            Err(under_way),
        ),
        (
            vec![begun("r1", Some("u1")), ended()],
            Some(Some("u2")),
            Err("cannot be run"),
        ),
        (
            vec![begun("r1", None), ended()],
            None,
            Err("no rollback of"),
        ),
        (
            vec![begun("r1", None), ended(), begun("r2", Some("u2"))],
            Some(Some("u1")),
            Err(under_way),
        ),
    ];
    for (number, (entries, wanted, expected)) in entries_and_ends.into_iter().enumerate() {
        let path = dir.path().join(format!("journal-{number}"));
        let client = build_client();
        write_journal(&client, ExchangeKind::Rollback, &path, &entries);
        let before = std::fs::read(&path).unwrap();
        let mut told = Vec::new();
        let mut tell = |what: &str, said: serde_json::Value| {
            assert_eq!(what, "goes-on");
            told.push(said["reason"].as_str().unwrap_or_default().to_owned());
        };
        let clients = HostClients {
            client: &client,
            submitter: &client,
        };
        let wanted = wanted.map(|upgrade| build_plan(dir.path(), upgrade));
        let stop = AtomicBool::new(false);
        let opened = Rollback::open(clients, &path, wanted, &[], None, &stop, &mut tell).map(drop);
        match expected {
            Ok(id) => {
                opened.unwrap();
                assert_eq!(told, [id], "case {number}");
            }
            Err(problem) => {
                let error = opened.unwrap_err();
                let is_under_way = matches!(error, RollbackError::UnderWay { .. });
                assert!(
                    error.to_string().contains(problem),
                    "case {number}: {error}"
                );
                assert_eq!(is_under_way, problem == under_way, "case {number}");
                assert_eq!(told, [""; 0], "case {number}");
            }
        }
        assert_eq!(std::fs::read(&path).unwrap(), before, "case {number}");
    }
}

#[test]
fn each_step_is_recorded_once_in_order_and_waits_while_the_host_is_away() {
    let taken: Vec<PastStep> = RollbackStep::ALL
        .into_iter()
        .map(|step| PastStep {
            step,
            at_ms: Millis(1),
            passed: true,
            detail: String::new(),
        })
        .collect();
    // How many steps are taken by then, how many more the host takes before it is away, and how many it is asked for.
    let calls = [
        (1, 9, 1),
        (1, 9, 0),
        // The host is away: the first that waits is tried, no other.
        (3, 0, 1),
        (4, 1, 2),
        (4, 9, 2),
        (7, 9, 3),
        (7, 9, 0),
    ];
    let (mut recorded, mut asked) = (Vec::new(), Vec::new());
    for (number, (count, room, expected)) in calls.into_iter().enumerate() {
        let before = recorded.clone();
        let mut left = room;
        let mut tried = 0;
        record_taken(&taken[..count], &mut recorded, |done| {
            tried += 1;
            assert!(!before.contains(&done.step), "case {number}: {done:?}");
            if left == 0 {
                return Err(());
            }
            left -= 1;
            asked.push(done.step);
            Ok(())
        });
        assert_eq!(tried, expected, "case {number}");
    }
    assert_eq!(asked, RollbackStep::ALL);
    assert_eq!(recorded, asked);
}

#[test]
fn a_journal_that_cannot_be_used_is_named_by_the_option_of_the_command_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    std::fs::write(&path, "something else\n").unwrap();
    let client = build_client();
    let open = |upgrade| {
        let clients = HostClients {
            client: &client,
            submitter: &client,
        };
        let plan = Some(build_plan(dir.path(), upgrade));
        let stop = AtomicBool::new(false);
        Rollback::open(clients, &path, plan, &[], None, &stop, &mut |_, _| {}).map(drop)
    };
    let given_up = give_up_for_upgrade(&client, &path, "u1", "it serves on");
    let canary = read_state(&client, &path).map(drop);
    for (refused, option) in [
        (open(None), "with --journal"),
        (open(Some("u1")), "with --rollback-journal"),
        (given_up, "with --rollback-journal"),
        (
            may_give_up(&client, &path, "u1").map(drop),
            "with --rollback-journal",
        ),
        (canary.map_err(RollbackError::from), "with --canary-journal"),
    ] {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.ends_with(option), "{option}: {refused}");
    }
    // An exchange has no option for the journal of its validation.
    let refused = reserve_validation(&client, &path).unwrap_err().to_string();
    assert!(
        refused.contains("move it away") && !refused.contains("--"),
        "{refused}"
    );
}
