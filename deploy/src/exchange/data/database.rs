//! The database in an exchange: snapshots, migrations, and what is kept for the way back.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use ark_model::ids::Millis;
use ark_store::{
    MaintenanceError, OpenError, RestoreReport, SnapshotManifest, SnapshotOrigin,
    check_known_schema, check_restorable, count_decisions_after, create_snapshot, find_origin,
    give_to_owner, is_restore_pending, read_schema, restore_snapshot_keeping,
};
use serde::Serialize;

use crate::durable::{make_directory, move_entry, parent_of};
use crate::snapshots::read_manifest;

use super::token::TokenFile;
use crate::exchange::error::ExchangeError;
use crate::exchange::programs::version::ask_version;

/// The files of a database, whose copy a snapshot is.
pub(in crate::exchange) const DATABASE_FILES: [&str; 2] = ["ark.db", "ark.db-wal"];

/// Bytes in a MiB.
pub(super) const MIB: u64 = 1 << 20;

/// Which schema a new version would make of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Migration {
    /// The schema of the database.
    pub from: u32,
    /// The schema of the new version.
    pub to: u32,
    /// How many bytes the files of the database have, which are copied while no host runs.
    pub bytes: u64,
}

impl Migration {
    /// What the way back needs, for people.
    #[must_use]
    pub fn describe_migration(&self) -> String {
        format!(
            "the new version migrates the database from schema {} to {}, which this version cannot open: until the new version has judged the way back is the snapshot that is made when the old host has ended, and loses no decision; after that it is `ark rollback` to that snapshot, which needs a number of decisions that may be lost to the ledger. The {} MiB of the database are copied while no host runs: the run measures its first snapshot and the trial of the migration, and says before the stop for how long that will be (`expected-pause`); fronts park requests for 30 s unless their --hold-for says otherwise",
            self.from,
            self.to,
            self.bytes.div_ceil(MIB)
        )
    }
}

/// Asks the new version for its schema. `None`: it is the one of the database. That of this program says nothing: it may be the new version.
///
/// # Errors
/// The version cannot be run, or says something else; it writes an older schema, which no migration leads to; the database cannot be read.
pub fn find_migration(binary: &Path, data_dir: &Path) -> Result<Option<Migration>, ExchangeError> {
    let migration = Migration {
        from: read_schema(data_dir).map_err(MaintenanceError::from)?,
        to: ask_version(binary)?.schema,
        bytes: measure_database(data_dir),
    };
    match migration.to.cmp(&migration.from) {
        Ordering::Less => Err(ExchangeError::OlderSchema {
            binary: binary.to_owned(),
            writes: migration.to,
            database: migration.from,
        }),
        Ordering::Equal => Ok(None),
        Ordering::Greater => Ok(Some(migration)),
    }
}

/// How many bytes the files of a database have. One that cannot be looked at has none.
pub(in crate::exchange) fn measure_database(data_dir: &Path) -> u64 {
    let size = |name: &&str| std::fs::metadata(data_dir.join(name)).map_or(0, |found| found.len());
    DATABASE_FILES.iter().map(size).sum()
}

/// Refuses to stop a host for another one where no version would start on the database, since somebody has changed its schema. Whatever else is wrong with
/// the database is found by what reads it.
pub(crate) fn refuse_foreign_schema(data_dir: &Path) -> Result<(), ExchangeError> {
    match check_known_schema(data_dir) {
        Err(error @ OpenError::ForeignSchema { .. }) => Err(ExchangeError::ForeignSchema(error)),
        _ => Ok(()),
    }
}

/// A path that no earlier run can have begun to write to.
pub(crate) fn new_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}-{}", Millis::now().0))
}

/// Makes a snapshot of a data directory, on which a host may run, in the directory of snapshots.
pub(crate) fn make_snapshot(
    data_dir: &Path,
    snapshots: &Path,
    name: &str,
) -> Result<PathBuf, ExchangeError> {
    make_directory(snapshots).map_err(ExchangeError::for_file(snapshots))?;
    let to = new_path(snapshots, name);
    create_snapshot(data_dir, &to).map_err(ExchangeError::for_copy(&to))?;
    give_to_owner(&to, data_dir).map_err(ExchangeError::for_file(&to))?;
    Ok(to)
}

/// Removes what a run of the exchange with this id had copied to the directory of snapshots when it was killed. No later run has its name. `keeps_trials`:
/// a copy that was judged otherwise is there to be looked at. The lock of the exchange's journal must be held.
///
/// # Errors
/// Something cannot be removed.
fn remove_partial_copies(
    snapshots: &Path,
    id: &str,
    keeps_trials: bool,
) -> Result<(), ExchangeError> {
    let ignore_missing = |result: std::io::Result<()>, path: &Path| match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ExchangeError::for_file(path)(error))
        }
        _ => Ok(()),
    };
    let entries = match std::fs::read_dir(snapshots) {
        Ok(entries) => entries,
        Err(error) => return ignore_missing(Err(error), snapshots),
    };
    let prefix = format!("{id}-");
    for entry in entries {
        let entry = entry.map_err(ExchangeError::for_file(snapshots))?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let is_left = name.ends_with(".partial") || (!keeps_trials && name.ends_with(".trial"));
        if !is_left || !name.starts_with(&prefix) {
            continue;
        }
        let is_dir = entry.file_type().is_ok_and(|found| found.is_dir());
        let removed = if is_dir {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        ignore_missing(removed, &path)?;
    }
    Ok(())
}

/// Removes what a killed run of an exchange copied; what cannot be removed is told, and holds nothing up.
pub(crate) fn clear_partial_copies(
    snapshots: &Path,
    id: &str,
    keeps_trials: bool,
    tell: &mut dyn FnMut(&str, serde_json::Value),
) {
    if let Err(error) = remove_partial_copies(snapshots, id, keeps_trials) {
        let reason = format!("a copy that a killed run left: {error}; remove it by hand");
        tell("left", serde_json::json!({"reason": reason}));
    }
}

/// Removes a snapshot that another one has replaced. A kill on the way leaves what [`clear_partial_copies`] removes, not half a snapshot under its name.
pub(crate) fn remove_snapshot(snapshot: &Path) -> std::io::Result<()> {
    let partial = snapshot.with_extension("partial");
    move_entry(snapshot, &partial)?;
    std::fs::remove_dir_all(&partial)
}

/// Where the database is kept as the old version left it.
pub(crate) fn kept_path(snapshots: &Path, id: &str) -> PathBuf {
    snapshots.join(format!("{id}-before-migration"))
}

/// Keeps the database where the new version will migrate it. No host may run, so that nothing is missing. What an earlier run kept is renewed: a
/// host may have served since. It stays beside, and so does what was kept before a migration of which a part was made.
pub(crate) fn keep_before_migration(
    binary: &Path,
    data_dir: &Path,
    kept: &Path,
) -> Result<(), ExchangeError> {
    let Some(migration) = find_migration(binary, data_dir)? else {
        return Ok(());
    };
    let failed = ExchangeError::for_file(kept);
    if kept.exists() {
        let earlier = read_manifest(kept);
        if earlier.is_some_and(|earlier| earlier.schema < migration.from) {
            return Ok(());
        }
        // A kill from here on leaves a database that was not migrated: the next run keeps it.
        let beside = format!("{}-superseded", file_name(kept));
        move_entry(kept, &new_path(parent_of(kept), &beside)).map_err(&failed)?;
    }
    // What a run that was killed had copied. It is this one's: the journal's lock is held.
    match std::fs::remove_dir_all(kept.with_extension("partial")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    create_snapshot(data_dir, kept).map_err(ExchangeError::for_copy(kept))?;
    give_to_owner(kept, data_dir).map_err(failed)
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Counts the decisions of a database that a snapshot lacks; `None`: that cannot be counted, since the database cannot be read, or since rows that the
/// snapshot lacks are in an archive.
///
/// # Errors
/// The snapshot is of another database.
pub(crate) fn count_lost(
    data_dir: &Path,
    snapshot: &Path,
    manifest: &SnapshotManifest,
) -> Result<Option<u64>, ExchangeError> {
    let seq = manifest.audit.seq;
    match find_origin(data_dir, snapshot, manifest.audit) {
        Ok(SnapshotOrigin::Own | SnapshotOrigin::Ahead) => {
            Ok(count_decisions_after(data_dir, seq).ok())
        }
        Ok(SnapshotOrigin::Foreign) => Err(ExchangeError::ForeignSnapshot {
            snapshot: snapshot.to_owned(),
            seq,
            data_dir: data_dir.to_owned(),
        }),
        Ok(SnapshotOrigin::Archived) | Err(_) => Ok(None),
    }
}

/// What the way back to the version that kept a database does with the one that is there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WayBack {
    /// It goes on with it: it was not migrated, or the kept one has taken its place already.
    GoOn,
    /// The kept one takes its place, and nothing is lost.
    Restore,
}

/// Decides what the way back does with the database.
///
/// # Errors
/// Decisions since the kept one would be lost; the database is damaged, so that they cannot be counted; it cannot be read.
pub(crate) fn decide_way_back(data_dir: &Path, kept: &Path) -> Result<WayBack, ExchangeError> {
    let Some(manifest) = read_manifest(kept) else {
        if kept.symlink_metadata().is_err() {
            return Ok(WayBack::GoOn);
        }
        // Whether the database was migrated is not known then: nothing may be stopped for a way back that may not exist.
        return Err(ExchangeError::for_file(kept)(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            "the manifest of the database that was kept cannot be read",
        )));
    };
    // A run was killed while it restored: nothing has served since.
    if is_restore_pending(data_dir) {
        return Ok(WayBack::Restore);
    }
    check_restorable(kept, manifest.schema)?;
    let decisions = match read_schema(data_dir) {
        Ok(schema) if schema <= manifest.schema => return Ok(WayBack::GoOn),
        Ok(_) => count_lost(data_dir, kept, &manifest)?,
        Err(error) => {
            return Err(match error.find_damage() {
                Some(finding) => ExchangeError::Damaged {
                    data_dir: data_dir.to_owned(),
                    finding,
                    kept: kept.to_owned(),
                },
                None => MaintenanceError::from(error).into(),
            });
        }
    };
    if decisions == Some(0) {
        return Ok(WayBack::Restore);
    }
    Err(ExchangeError::Served {
        kept: kept.to_owned(),
        decisions: decisions.map_or_else(|| "unknown".to_owned(), |count| count.to_string()),
    })
}

/// Restores a snapshot over a database, which is moved aside. Its schema stays as it is: the version that goes on with it may be an earlier one than this
/// program. What is written belongs to the owner of the data
/// directory, so that the host can read it. A token that is made is in `token_file` before it counts. `label`: the name by which
/// `find_finished_restore` finds the restore. No host may run.
pub(crate) fn restore_over(
    snapshot: &Path,
    data_dir: &Path,
    label: &str,
    token_file: &TokenFile,
) -> Result<RestoreReport, ExchangeError> {
    let key = ark_store::SecretKey::from_environment().ok().flatten();
    let mut keep = |token: &str| token_file.write_token(token);
    restore_snapshot_keeping(snapshot, data_dir, true, key.as_ref(), label, &mut keep)
        .map_err(ExchangeError::for_copy(data_dir))
}

#[cfg(test)]
mod tests {

    use ark_store::{Store, StoreConfig, current_schema};

    use crate::fixtures::{record_decisions, write_printer};

    use super::*;

    #[test]
    fn what_is_kept_before_a_migration_is_that_of_the_last_stop() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        drop(Store::open(&StoreConfig::in_dir(data.clone())).unwrap());
        let schema = current_schema();
        let kept = dir.path().join("kept");
        let manifest = kept.join("manifest.json");
        let keep = |schema: u32| {
            let says = format!("{{\"version\": \"2\", \"schema\": {schema}}}");
            keep_before_migration(&write_printer(dir.path(), &says), &data, &kept).unwrap();
            let names = std::fs::read_dir(dir.path()).unwrap().flatten();
            let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
            let superseded = names.filter(|name| name.starts_with("kept-superseded-"));
            (kept.exists(), superseded.count())
        };
        assert_eq!(keep(schema), (false, 0), "nothing is migrated");
        assert_eq!(keep(schema + 1), (true, 0));
        // Each run keeps it again, since a host may have served in between.
        assert_eq!(keep(schema + 1), (true, 1));
        std::fs::write(&manifest, "{").unwrap();
        assert_eq!(keep(schema + 1), (true, 2), "what is damaged is replaced");
        assert_eq!(read_manifest(&kept).unwrap().schema, schema);
        // That of before a migration that was made in part stays.
        let text = std::fs::read_to_string(&manifest).unwrap();
        let [now, before] = [schema, schema - 1].map(|schema| format!("\"schema\": {schema}"));
        std::fs::write(&manifest, text.replace(&now, &before)).unwrap();
        assert_eq!(keep(schema + 1), (true, 2));
        assert_eq!(read_manifest(&kept).unwrap().schema, schema - 1);
        // A database of a later schema than that, without a decision since: it is restored. While a restore has not ended, likewise.
        assert_eq!(decide_way_back(&data, &kept).unwrap(), WayBack::Restore);
        std::fs::write(&manifest, text).unwrap();
        assert_eq!(decide_way_back(&data, &kept).unwrap(), WayBack::GoOn);
        std::fs::write(data.join("restore.pending"), "{}").unwrap();
        assert_eq!(decide_way_back(&data, &kept).unwrap(), WayBack::Restore);
        std::fs::remove_dir_all(&kept).unwrap();
        assert_eq!(decide_way_back(&data, &kept).unwrap(), WayBack::GoOn);
    }

    #[test]
    fn a_kept_copy_of_another_database_is_no_way_back() {
        let dir = tempfile::tempdir().unwrap();
        let [data, other, kept] = ["data", "other", "kept"].map(|name| dir.path().join(name));
        record_decisions(&data, 1);
        record_decisions(&other, 2);
        create_snapshot(&other, &kept).unwrap();
        // The database has a later schema than what was kept.
        let manifest = kept.join("manifest.json");
        let text = std::fs::read_to_string(&manifest).unwrap();
        let schema = current_schema();
        let [now, before] = [schema, schema - 1].map(|schema| format!("\"schema\": {schema}"));
        std::fs::write(&manifest, text.replace(&now, &before)).unwrap();
        let refused = decide_way_back(&data, &kept).unwrap_err();
        assert!(
            matches!(refused, ExchangeError::ForeignSnapshot { seq: 2, .. }),
            "{refused}"
        );
    }

    #[test]
    fn a_damaged_database_is_said_to_be_damaged_and_names_the_way_back() {
        let dir = tempfile::tempdir().unwrap();
        let [data, kept] = ["data", "kept"].map(|name| dir.path().join(name));
        record_decisions(&data, 1);
        create_snapshot(&data, &kept).unwrap();
        // What a host that ended leaves of its log would stand in for the file.
        for file in ["ark.db-wal", "ark.db-shm"] {
            let _absent = std::fs::remove_file(data.join(file));
        }
        std::fs::write(data.join("ark.db"), "no database at all".repeat(100)).unwrap();
        let refused = decide_way_back(&data, &kept).unwrap_err();
        assert!(
            matches!(refused, ExchangeError::Damaged { .. }),
            "{refused}"
        );
        let refused = refused.to_string();
        let remedy = "`ark rollback --accept-loss-of-decisions unknown`";
        assert!(refused.contains(remedy), "{refused}");
        // One that is not there may be on a disk that is not mounted.
        std::fs::remove_file(data.join("ark.db")).unwrap();
        let refused = decide_way_back(&data, &kept).unwrap_err();
        assert_eq!(refused.find_damage(), None, "{refused}");
    }

    #[test]
    fn a_kept_database_whose_manifest_cannot_be_read_is_no_way_back() {
        let dir = tempfile::tempdir().unwrap();
        let (data, kept) = (dir.path().join("data"), dir.path().join("kept"));
        drop(Store::open(&StoreConfig::in_dir(data.clone())).unwrap());
        create_snapshot(&data, &kept).unwrap();
        let manifest = kept.join("manifest.json");
        let text = std::fs::read_to_string(&manifest).unwrap();
        for damage in ["", "{", "[]", &text[..text.len() / 2]] {
            std::fs::write(&manifest, damage).unwrap();
            let refused = decide_way_back(&data, &kept).unwrap_err().to_string();
            let named = format!("{}: the manifest of the database", kept.display());
            assert!(refused.contains(&named), "{refused}");
            // Nor while a restore has not ended.
            std::fs::write(data.join("restore.pending"), "{}").unwrap();
            assert!(decide_way_back(&data, &kept).is_err());
            std::fs::remove_file(data.join("restore.pending")).unwrap();
        }
        std::fs::remove_file(&manifest).unwrap();
        assert!(decide_way_back(&data, &kept).is_err());
        std::fs::create_dir(&manifest).unwrap();
        assert!(decide_way_back(&data, &kept).is_err());
        std::fs::remove_dir(&manifest).unwrap();
        std::fs::write(&manifest, text).unwrap();
        assert_eq!(decide_way_back(&data, &kept).unwrap(), WayBack::GoOn);
    }

    #[test]
    fn a_version_of_a_later_schema_than_that_of_the_database_migrates_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        drop(Store::open(&StoreConfig::in_dir(data.clone())).unwrap());
        let (from, says) = (current_schema(), |schema: u32| {
            format!("{{\"version\": \"2\", \"schema\": {schema}, \"other\": []}}")
        });
        for (prints, expected) in [
            (says(from), Ok(None)),
            (format!("{{\"schema\": {from}}}"), Ok(None)),
            (says(from + 1), Ok(Some(from + 1))),
            (says(from - 1), Err("`ark rollback`")),
            (
                "{\"version\": \"2\"}".to_owned(),
                Err("missing field `schema`"),
            ),
            (
                "{\"schema\": -1}".to_owned(),
                Err("says nothing that is understood"),
            ),
            (String::new(), Err("says nothing that is understood")),
        ] {
            let program = write_printer(dir.path(), &prints);
            let found = find_migration(&program, &data).map_err(|error| error.to_string());
            match expected {
                Ok(to) => {
                    let bytes = measure_database(&data);
                    assert!(bytes > 0);
                    let expected = to.map(|to| Migration { from, to, bytes });
                    assert_eq!(found, Ok(expected), "{prints}");
                }
                Err(problem) => {
                    let error = found.unwrap_err();
                    assert!(error.contains(problem), "{prints}: {error}");
                }
            }
        }
        let program = write_printer(dir.path(), &says(from));
        for (binary, data_dir, problem) in [
            (dir.path().join("none"), data.clone(), "cannot be run"),
            (program, dir.path().join("empty"), "there is no database at"),
        ] {
            let error = find_migration(&binary, &data_dir).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
