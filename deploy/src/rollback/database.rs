//! What happens to the database: the stable version goes on with it, or a snapshot takes its place.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ark_client::HostClient;
use ark_store::{
    MaintenanceError, SecretKey, SnapshotManifest, check_restorable, check_snapshot,
    is_restore_pending, read_schema,
};

use crate::canary::read_state;
use crate::exchange::ExchangeError;
use crate::exchange::data::database::{count_lost, refuse_foreign_schema};
use crate::snapshots::{find_latest, read_manifest};

use super::error::RollbackError;
use super::journal::SetAside;
use super::plan::RollbackPlan;

/// How many decisions an operator lets be set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceptedLoss {
    /// This many at most.
    AtMost(u64),
    /// However many a database holds that cannot be read.
    Unknown,
}

impl FromStr for AcceptedLoss {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unknown" {
            return Ok(Self::Unknown);
        }
        let count = text.parse().map(Self::AtMost);
        count.map_err(|_| {
            "give a number, or `unknown` for a database that cannot be read".to_owned()
        })
    }
}

/// What happens to the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseChoice {
    /// The stable version goes on with it: nothing is lost.
    Keep {
        /// Why it can be kept.
        reason: String,
    },
    /// It is set aside, and a snapshot takes its place.
    Restore(SetAside),
}

impl fmt::Display for DatabaseChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep { reason } => write!(f, "the database stays: {reason}"),
            Self::Restore(aside) => write!(f, "{aside}"),
        }
    }
}

/// Refuses to begin over a restore of somebody else's that was interrupted, but for that of a canary, which is undone first, where the database is
/// there.
pub(super) fn check_no_restore(
    client: &HostClient,
    plan: &RollbackPlan,
) -> Result<(), RollbackError> {
    if !is_restore_pending(&plan.data_dir) {
        return Ok(());
    }
    let has_canary = read_state(client, &plan.canary_journal)?.is_some();
    if has_canary && read_schema(&plan.data_dir).is_ok() {
        return Ok(());
    }
    Err(RollbackError::RestoreInterrupted {
        dir: plan.data_dir.clone(),
    })
}

/// The snapshots that a run has read to their end, and what is wrong with each: none is read twice, since that takes minutes of a large one.
#[derive(Debug, Default)]
pub(super) struct CheckedSnapshots {
    problems: BTreeMap<PathBuf, Option<String>>,
}

impl CheckedSnapshots {
    /// Checks a snapshot as its restore does before it changes anything. The error is what is wrong with it.
    fn check(&mut self, snapshot: &Path) -> Result<(), String> {
        let checked = self.problems.entry(snapshot.to_owned());
        let problem = checked.or_insert_with(|| {
            let key = SecretKey::from_environment().ok().flatten();
            let problem = check_snapshot(snapshot, key.as_ref()).err();
            problem.map(|error| error.to_string())
        });
        problem.clone().map_or(Ok(()), Err)
    }
}

/// Decides what happens to the database, as it is now. `schema`: that of the stable version. `damage`: what is wrong with the database, if it
/// cannot be copied. A snapshot that is to take its place has passed its check.
///
/// # Errors
/// There is no database, no version would start on it, or no snapshot could take its place.
pub(super) fn decide_way(
    plan: &RollbackPlan,
    schema: u32,
    damage: Option<&str>,
    checked: &mut CheckedSnapshots,
) -> Result<DatabaseChoice, RollbackError> {
    let found = match read_schema(&plan.data_dir) {
        Ok(found) => Ok(found),
        Err(error) => match error.find_damage() {
            Some(finding) => Err(finding),
            None => return Err(ExchangeError::from(MaintenanceError::from(error)).into()),
        },
    };
    let reason = match (found, damage) {
        (Err(damage), _) => format!("it is damaged: {damage}"),
        (_, Some(damage)) => format!("it is damaged: {damage}"),
        (Ok(found), None) if found > schema => {
            format!("its schema is {found}, and the stable version opens {schema} at most")
        }
        (Ok(found), None) => {
            refuse_foreign_schema(&plan.data_dir)?;
            let reason = format!("its schema is {found}, and the stable version opens {schema}");
            return Ok(DatabaseChoice::Keep { reason });
        }
    };
    let found = find_snapshot(plan, schema, checked)?;
    let reason = if found.broken.is_empty() {
        reason
    } else {
        format!("{reason} (passed over: {})", found.broken.join("; "))
    };
    Ok(DatabaseChoice::Restore(SetAside {
        decisions: found.lost,
        snapshot: found.path,
        reason,
    }))
}

/// A snapshot that can take the database's place.
struct FoundSnapshot {
    path: PathBuf,
    /// How many decisions of the database it lacks; `None`: that cannot be counted.
    lost: Option<u64>,
    /// What is wrong with later ones that would not restore.
    broken: Vec<String>,
}

/// The snapshot that is named, or the last one that the stable version can open, that is of this database, and that restores.
fn find_snapshot(
    plan: &RollbackPlan,
    schema: u32,
    checked: &mut CheckedSnapshots,
) -> Result<FoundSnapshot, RollbackError> {
    let examine = |path: &Path, manifest: &SnapshotManifest| {
        check_restorable(path, manifest.schema)?;
        count_lost(&plan.data_dir, path, manifest)
    };
    if let Some(path) = &plan.snapshot {
        let manifest = read_manifest(path)
            .ok_or_else(|| RollbackError::NoSnapshot(path.display().to_string()))?;
        let lost = examine(path, &manifest)?;
        checked.check(path).map_err(RollbackError::NoSnapshot)?;
        return Ok(FoundSnapshot {
            path: path.clone(),
            lost,
            broken: Vec::new(),
        });
    }
    let (mut lost, mut refused, mut broken) = (None, Vec::new(), Vec::new());
    let latest = find_latest(&plan.snapshots, |path, manifest| {
        if manifest.schema > schema {
            return false;
        }
        match examine(path, manifest) {
            Ok(count) => lost = count,
            Err(error) => {
                refused.push(error.to_string());
                return false;
            }
        }
        // It is read to its end, so only once it is the one.
        let problem = checked.check(path).err();
        let is_sound = problem.is_none();
        broken.extend(problem);
        is_sound
    });
    let latest = latest.map_err(|error| {
        RollbackError::NoSnapshot(format!("{}: {error}", plan.snapshots.display()))
    })?;
    if let Some((path, _)) = latest {
        return Ok(FoundSnapshot { path, lost, broken });
    }
    refused.extend(broken);
    let mut problem = format!(
        "{} holds none of schema {schema} or earlier",
        plan.snapshots.display()
    );
    if !refused.is_empty() {
        problem.push_str(" that is of this database and restores (");
        problem.push_str(&refused.join("; "));
        problem.push(')');
    }
    Err(RollbackError::NoSnapshot(problem))
}

/// Refuses to set more decisions aside than were accepted. `is_stopped`: the host is, so that their number is final.
pub(super) fn check_accepted(
    aside: &SetAside,
    accepted: Option<AcceptedLoss>,
    is_stopped: bool,
) -> Result<(), RollbackError> {
    let is_accepted = match (aside.decisions, accepted) {
        (Some(0), _) | (None, Some(AcceptedLoss::Unknown)) => true,
        (Some(decisions), Some(AcceptedLoss::AtMost(most))) => decisions <= most,
        _ => false,
    };
    if is_accepted {
        return Ok(());
    }
    Err(RollbackError::Loss {
        aside: Box::new(aside.clone()),
        flag: aside
            .decisions
            .map_or_else(|| "unknown".to_owned(), |count| count.to_string()),
        is_stopped,
    })
}

/// Whether an earlier run's acceptance, with which it began to set `begun` aside, is one of `aside`, too.
pub(super) fn covers_loss(begun: &SetAside, aside: &SetAside) -> bool {
    let has_no_more = match (begun.decisions, aside.decisions) {
        (Some(begun), Some(now)) => now <= begun,
        (None, None) => true,
        _ => false,
    };
    has_no_more && begun.snapshot == aside.snapshot
}

impl fmt::Display for SetAside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.snapshot.display();
        write!(
            f,
            "the database is set aside and {snapshot} takes its place, since {}; ",
            self.reason
        )?;
        match self.decisions {
            Some(count) => write!(f, "{count} decisions are newer than that snapshot"),
            None => write!(
                f,
                "it cannot be counted how many decisions are newer than that snapshot"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use ark_store::{Store, StoreConfig, create_snapshot, current_schema};

    use crate::fixtures::{build_rollback, record_decisions};

    use super::*;

    fn build_plan(dir: &Path, snapshot: Option<&Path>) -> RollbackPlan {
        RollbackPlan {
            snapshot: snapshot.map(Path::to_owned),
            ..build_rollback(dir)
        }
    }

    #[test]
    fn a_snapshot_whose_manifest_cannot_be_read_takes_no_databases_place() {
        let dir = tempfile::tempdir().unwrap();
        let (data, snapshots) = (dir.path().join("data"), dir.path().join("snapshots"));
        drop(Store::open(&StoreConfig::in_dir(data.clone())).unwrap());
        std::fs::create_dir(&snapshots).unwrap();
        let [good, bad] = ["good", "bad"].map(|name| snapshots.join(name));
        create_snapshot(&data, &good).unwrap();
        create_snapshot(&data, &bad).unwrap();
        let manifest = bad.join("manifest.json");
        let text = std::fs::read_to_string(&manifest).unwrap();
        // The database is damaged, so that a snapshot must take its place.
        let decide = |snapshot: Option<&Path>| {
            let plan = build_plan(dir.path(), snapshot);
            let checked = &mut CheckedSnapshots::default();
            decide_way(&plan, current_schema(), Some("a page is broken"), checked)
        };
        let found = |way: Result<DatabaseChoice, RollbackError>| match way {
            Ok(DatabaseChoice::Restore(aside)) => aside.snapshot,
            other => panic!("{other:?}"),
        };
        for damage in ["", "{", "[]", "\u{0}\u{0}", &text[..text.len() / 2]] {
            std::fs::write(&manifest, damage).unwrap();
            // It is passed over where another one can be found, and refused by its name where it is wanted.
            assert_eq!(found(decide(None)), good, "{damage}");
            let refused = decide(Some(&bad)).unwrap_err();
            assert!(matches!(refused, RollbackError::NoSnapshot(_)), "{refused}");
            let refused = refused.to_string();
            assert!(
                refused.contains(&bad.display().to_string()) && refused.contains("--snapshot DIR"),
                "{refused}"
            );
        }
        std::fs::remove_file(&manifest).unwrap();
        std::fs::create_dir(&manifest).unwrap();
        assert_eq!(found(decide(None)), good);
        assert!(decide(Some(&bad)).is_err());
        // A directory that only looks like one that is being made.
        std::fs::remove_dir_all(&good).unwrap();
        let refused = decide(None).unwrap_err();
        assert!(matches!(refused, RollbackError::NoSnapshot(_)), "{refused}");
        std::fs::remove_dir(&manifest).unwrap();
        std::fs::write(&manifest, text).unwrap();
        assert_eq!(found(decide(None)), bad);
    }

    #[test]
    fn a_database_whose_header_is_destroyed_gives_way_to_a_snapshot_and_a_missing_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let (data, snapshots) = (dir.path().join("data"), dir.path().join("snapshots"));
        std::fs::create_dir(&snapshots).unwrap();
        let first = snapshots.join("first");
        record_decisions(&data, 2);
        create_snapshot(&data, &first).unwrap();
        let decide = || {
            let checked = &mut CheckedSnapshots::default();
            decide_way(
                &build_plan(dir.path(), None),
                current_schema(),
                None,
                checked,
            )
        };
        assert!(matches!(decide(), Ok(DatabaseChoice::Keep { .. })));
        let database = data.join("ark.db");
        // What a host that ended leaves of its log would stand in for the file.
        for file in ["ark.db-wal", "ark.db-shm"] {
            let _absent = std::fs::remove_file(data.join(file));
        }
        for damage in [&b"no database here"[..], b""] {
            std::fs::write(&database, damage).unwrap();
            let Ok(DatabaseChoice::Restore(aside)) = decide() else {
                panic!("{damage:?}");
            };
            assert_eq!((&aside.snapshot, aside.decisions), (&first, None));
            assert!(aside.reason.starts_with("it is damaged: "), "{aside}");
            // Nobody knows how many decisions are lost: a number does not accept that.
            let most = Some(AcceptedLoss::AtMost(u64::MAX));
            let refused = check_accepted(&aside, most, false).unwrap_err().to_string();
            let flag = "--accept-loss-of-decisions unknown";
            assert!(refused.contains(flag), "{refused}");
            check_accepted(&aside, Some(AcceptedLoss::Unknown), false).unwrap();
        }
        // It may be on a disk that is not mounted.
        std::fs::remove_file(&database).unwrap();
        let refused = decide().unwrap_err().to_string();
        assert!(refused.contains("there is no database at"), "{refused}");
    }

    /// Changes one byte in the middle of a file.
    fn change_byte(file: &Path) {
        let mut bytes = std::fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(file, bytes).unwrap();
    }

    #[test]
    fn a_snapshot_that_does_not_restore_is_passed_over_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let (data, snapshots) = (dir.path().join("data"), dir.path().join("snapshots"));
        std::fs::create_dir(&snapshots).unwrap();
        let [first, last] = ["first", "last"].map(|name| snapshots.join(name));
        record_decisions(&data, 2);
        create_snapshot(&data, &first).unwrap();
        record_decisions(&data, 1);
        create_snapshot(&data, &last).unwrap();
        let decide = |snapshot: Option<&Path>, checked: &mut CheckedSnapshots| {
            let plan = build_plan(dir.path(), snapshot);
            decide_way(&plan, current_schema(), Some("a page is broken"), checked)
        };
        let found = |way: Result<DatabaseChoice, RollbackError>| match way {
            Ok(DatabaseChoice::Restore(aside)) => aside,
            other => panic!("{other:?}"),
        };
        let mut earlier = CheckedSnapshots::default();
        let aside = found(decide(None, &mut earlier));
        assert_eq!((&aside.snapshot, aside.decisions), (&last, Some(0)));
        assert!(!aside.reason.contains("passed over"), "{aside}");
        change_byte(&last.join("ark.db"));
        // What this run has read is not read again; its restore reads it once more.
        assert_eq!(found(decide(None, &mut earlier)).snapshot, last);
        let aside = found(decide(None, &mut CheckedSnapshots::default()));
        assert_eq!((&aside.snapshot, aside.decisions), (&first, Some(1)));
        let passed_over = format!(
            "passed over: the snapshot {}: ark.db does not match its checksum",
            last.display()
        );
        assert!(aside.reason.contains(&passed_over), "{aside}");
        let refused = decide(Some(&last), &mut CheckedSnapshots::default()).unwrap_err();
        assert!(
            matches!(&refused, RollbackError::NoSnapshot(problem) if problem.contains("checksum")),
            "{refused}"
        );
        change_byte(&first.join("ark.db"));
        let refused = decide(None, &mut CheckedSnapshots::default()).unwrap_err();
        let refused = refused.to_string();
        for snapshot in [&first, &last] {
            let named = snapshot.display().to_string();
            assert!(refused.contains(&named), "{refused}");
        }
    }

    #[test]
    fn a_snapshot_of_another_database_does_not_take_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let (data, snapshots) = (dir.path().join("data"), dir.path().join("snapshots"));
        std::fs::create_dir(&snapshots).unwrap();
        let [own, foreign, longer] = ["own", "foreign", "longer"].map(|name| snapshots.join(name));
        record_decisions(&data, 3);
        create_snapshot(&data, &own).unwrap();
        record_decisions(&data, 2);
        // Another host keeps its snapshots in the same place; they are the last ones, and have fewer or more rows.
        let other = dir.path().join("other");
        record_decisions(&other, 4);
        create_snapshot(&other, &foreign).unwrap();
        record_decisions(&other, 4);
        create_snapshot(&other, &longer).unwrap();
        let decide = |snapshot: Option<&Path>| {
            let plan = build_plan(dir.path(), snapshot);
            let checked = &mut CheckedSnapshots::default();
            decide_way(&plan, current_schema(), Some("a page is broken"), checked)
        };
        let found = |way: Result<DatabaseChoice, RollbackError>| match way {
            Ok(DatabaseChoice::Restore(aside)) => (aside.snapshot, aside.decisions),
            other => panic!("{other:?}"),
        };
        for named in [None, Some(own.as_path())] {
            assert_eq!(found(decide(named)), (own.clone(), Some(2)));
        }
        for named in [&foreign, &longer] {
            let refused = decide(Some(named)).unwrap_err().to_string();
            assert!(
                refused.contains(&format!("{} is of another host", named.display()))
                    && refused.contains("--snapshot DIR"),
                "{refused}"
            );
        }
        // A database that has lost rows is an earlier state of its snapshot.
        let ahead = snapshots.join("ahead");
        create_snapshot(&data, &ahead).unwrap();
        std::fs::remove_dir_all(&data).unwrap();
        ark_store::restore_snapshot(&own, &data, false, None).unwrap();
        // The restore has added a row of its own, so that the two have parted.
        assert_eq!(found(decide(None)), (own.clone(), Some(0)));
        let shorter = dir.path().join("shorter");
        std::fs::create_dir(&shorter).unwrap();
        std::fs::copy(own.join("ark.db"), shorter.join("ark.db")).unwrap();
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::rename(&shorter, &data).unwrap();
        assert_eq!(found(decide(None)), (ahead.clone(), Some(0)));
        // One that cannot be read does not restore: that before it takes the place.
        std::fs::write(ahead.join("ark.db"), "no database at all".repeat(100)).unwrap();
        assert_eq!(found(decide(None)), (own.clone(), Some(0)));
        std::fs::remove_dir_all(&data).unwrap();
        record_decisions(&data, 1);
        for name in [&own, &ahead] {
            std::fs::remove_dir_all(name).unwrap();
        }
        let refused = decide(None).unwrap_err();
        assert!(matches!(refused, RollbackError::NoSnapshot(_)), "{refused}");
        let refused = refused.to_string();
        assert!(
            refused.contains("or earlier that is of this database")
                && refused.contains(&format!("{} is of another host", longer.display())),
            "{refused}"
        );
    }
}
