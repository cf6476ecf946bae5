//! Which upgrade a run takes up, by what its journal says.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::exchange::{HostClients, HostControl};
use crate::exclusion::ExchangeKind;
use crate::fixtures::{build_client, write_journal};

use super::journal::{UpgradeEntry, UpgradePlan, UpgradeStart};
use super::{Upgrade, UpgradeError, UpgradeStep};

fn build_plan(dir: &Path, binary: &str) -> UpgradePlan {
    let control = HostControl::Commands {
        stop: "true".to_owned(),
        start: "true".to_owned(),
    };
    UpgradePlan {
        version: "2".to_owned(),
        new_binary: PathBuf::from(binary),
        stable_binary: "/opt/ark-1".into(),
        data_dir: dir.join("data"),
        snapshots: dir.join("snapshots"),
        control: control.clone(),
        stable_control: control,
        check_args: Vec::new(),
        timeout: Duration::from_secs(1),
        validation: None,
        rollback_journal: dir.join("rollback"),
        canary_journal: dir.join("canary"),
    }
}

#[test]
fn an_upgrade_to_another_program_is_under_way_until_it_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let begun = |id: &str, binary: &str| {
        UpgradeEntry::Started(Box::new(UpgradeStart {
            id: id.to_owned(),
            // As a program recorded it that knew the path alone.
            began_at: None,
            digest: None,
            build: None,
            plan: build_plan(dir.path(), binary),
        }))
    };
    // What the journal has, what is asked for, and what is taken up: the id of the upgrade, or why there is none.
    let entries_and_ends = [
        (vec![], None, Err("no upgrade of")),
        (vec![begun("u1", "/opt/ark-2")], None, Ok("u1")),
        (
            vec![begun("u1", "/opt/ark-2")],
            Some("/opt/ark-2"),
            Ok("u1"),
        ),
        (
            vec![begun("u1", "/opt/ark-2")],
            Some("/opt/ark-3"),
            Err("u1, to /opt/ark-2, was begun and has not ended"),
        ),
        (
            vec![
                begun("u1", "/opt/ark-2"),
                UpgradeEntry::Phase(UpgradeStep::Stop),
                UpgradeEntry::GoingBack("it fails".to_owned()),
            ],
            Some("/opt/ark-3"),
            Err("u1, to /opt/ark-2, was begun and has not ended"),
        ),
        (
            vec![begun("u1", "/opt/ark-2"), begun("u2", "/opt/ark-3")],
            Some("/opt/ark-2"),
            Err("u2, to /opt/ark-3, was begun and has not ended"),
        ),
        (
            vec![begun("u1", "/opt/ark-2"), begun("u2", "/opt/ark-3")],
            Some("/opt/ark-3"),
            Ok("u2"),
        ),
    ];
    for (number, (entries, wanted, expected)) in entries_and_ends.into_iter().enumerate() {
        let path = dir.path().join(format!("journal-{number}"));
        let client = build_client();
        write_journal(&client, ExchangeKind::Upgrade, &path, &entries);
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
        let wanted = wanted.map(|binary| build_plan(dir.path(), binary));
        let stop = AtomicBool::new(false);
        let opened = Upgrade::open(clients, &path, wanted, &[], None, &stop, &mut tell).map(drop);
        match expected {
            Ok(id) => {
                opened.unwrap();
                assert_eq!(told, [id], "case {number}");
            }
            Err(problem) => {
                let error = opened.unwrap_err();
                assert!(
                    error.to_string().contains(problem),
                    "case {number}: {error}"
                );
                assert_eq!(
                    matches!(error, UpgradeError::UnderWay { .. }),
                    problem.starts_with('u')
                );
                assert_eq!(told, [""; 0], "case {number}");
            }
        }
        assert_eq!(std::fs::read(&path).unwrap(), before, "case {number}");
    }
}

#[test]
fn a_new_version_is_known_by_what_its_program_holds() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, holds: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, holds).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (begun, copy) = (write("ark-2", "two"), write("copy-of-ark-2", "two"));
    let (other, same_path) = (write("ark-3", "three"), begun.clone());
    for (number, (holds_now, wanted, is_taken_up)) in [
        ("two", &same_path, true),
        ("two", &copy, true),
        ("two", &other, false),
        ("three", &same_path, false),
    ]
    .into_iter()
    .enumerate()
    {
        write("ark-2", holds_now);
        let path = dir.path().join(format!("journal-{number}"));
        let client = build_client();
        let started = UpgradeStart {
            id: "u1".to_owned(),
            began_at: None,
            digest: Some(ark_model::ids::Digest::hash_bytes(b"two")),
            build: None,
            plan: build_plan(dir.path(), &begun),
        };
        let begun_before = [UpgradeEntry::Started(Box::new(started))];
        write_journal(&client, ExchangeKind::Upgrade, &path, &begun_before);
        let clients = HostClients {
            client: &client,
            submitter: &client,
        };
        let wanted = Some(build_plan(dir.path(), wanted));
        let stop = AtomicBool::new(false);
        let mut tell = |_: &str, _: serde_json::Value| {};
        let opened = Upgrade::open(clients, &path, wanted, &[], None, &stop, &mut tell).map(drop);
        match opened {
            Ok(()) => assert!(is_taken_up, "case {number}"),
            Err(error) => assert!(
                !is_taken_up && matches!(error, UpgradeError::UnderWay { .. }),
                "case {number}: {error}"
            ),
        }
    }
}
