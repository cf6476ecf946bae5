//! What happens to the database: the stable version goes on with it, or a snapshot takes its place.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use ark_client::HostClient;
use ark_store::{
    MaintenanceError, OpenError, check_restorable, count_decisions_after, is_restore_pending,
    read_schema,
};

use crate::canary::read_state;
use crate::exchange::ExchangeError;
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

/// Decides what happens to the database, as it is now. `schema`: that of the stable version. `damage`: what is wrong with the database, if it
/// cannot be copied.
///
/// # Errors
/// There is no database, or no snapshot that could take its place.
pub(super) fn decide_way(
    plan: &RollbackPlan,
    schema: u32,
    damage: Option<&str>,
) -> Result<DatabaseChoice, RollbackError> {
    let found = match read_schema(&plan.data_dir) {
        Ok(found) => Ok(found),
        Err(OpenError::Damaged { finding, .. }) => Err(finding),
        Err(error) => return Err(ExchangeError::from(MaintenanceError::from(error)).into()),
    };
    let reason = match (found, damage) {
        (Err(damage), _) => format!("it is damaged: {damage}"),
        (_, Some(damage)) => format!("it is damaged: {damage}"),
        (Ok(found), None) if found > schema => {
            format!("its schema is {found}, and the stable version opens {schema} at most")
        }
        (Ok(found), None) => {
            let reason = format!("its schema is {found}, and the stable version opens {schema}");
            return Ok(DatabaseChoice::Keep { reason });
        }
    };
    let snapshot = find_snapshot(plan, schema)?;
    let manifest = read_manifest(&snapshot)
        .ok_or_else(|| RollbackError::NoSnapshot(snapshot.display().to_string()))?;
    check_restorable(&snapshot, manifest.schema).map_err(ExchangeError::from)?;
    Ok(DatabaseChoice::Restore(SetAside {
        decisions: count_decisions_after(&plan.data_dir, manifest.audit.seq).ok(),
        snapshot,
        reason,
    }))
}

fn find_snapshot(plan: &RollbackPlan, schema: u32) -> Result<PathBuf, RollbackError> {
    if let Some(snapshot) = &plan.snapshot {
        return Ok(snapshot.clone());
    }
    let can_open = |manifest: &ark_store::SnapshotManifest| manifest.schema <= schema;
    let latest = find_latest(&plan.snapshots, can_open).map_err(|error| {
        RollbackError::NoSnapshot(format!("{}: {error}", plan.snapshots.display()))
    })?;
    latest.map(|(path, _)| path).ok_or_else(|| {
        RollbackError::NoSnapshot(format!(
            "{} holds none of schema {schema} or earlier",
            plan.snapshots.display()
        ))
    })
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
    use std::path::Path;

    use ark_store::{Store, StoreConfig, create_snapshot, current_schema};

    use crate::fixtures::build_rollback;

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
            decide_way(&plan, current_schema(), Some("a page is broken"))
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
}
