//! The database in an exchange: snapshots, the replay of recorded decisions, migrations.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use ark_model::ids::Millis;
use ark_store::{
    MaintenanceError, RestoreReport, SnapshotManifest, SnapshotOrigin, check_restorable,
    count_decisions_after, create_snapshot, find_origin, give_to_owner, is_restore_pending,
    read_schema, restore_snapshot_keeping,
};
use serde::{Deserialize, Serialize};

use crate::durable::{make_directory, move_entry, parent_of};
use crate::snapshots::read_manifest;

use super::token::TokenFile;
use crate::exchange::error::ExchangeError;
use crate::exchange::programs::commands::{REPLAY_TIMEOUT, ask_binary};
use crate::exchange::programs::version::ask_version;

/// The rounds that a replay has at most.
const MAX_ROUNDS: usize = 3;
/// A round that takes less ends the replay: little is decided meanwhile.
const SHORT_ROUND: Duration = Duration::from_secs(10);

/// Which schema a new version would make of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Migration {
    /// The schema of the database.
    pub from: u32,
    /// The schema of the new version.
    pub to: u32,
}

impl Migration {
    /// What the way back needs, for people.
    #[must_use]
    pub fn describe_migration(&self) -> String {
        format!(
            "the new version migrates the database from schema {} to {}, which this version cannot open: until the new version has judged the way back is the snapshot that is made when the old host has ended, and loses no decision; after that it is `ark rollback` to that snapshot, which needs a number of decisions that may be lost to the ledger",
            self.from, self.to
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

/// What a new version judged again, all alike.
#[derive(Debug)]
pub(crate) struct ReplayedRounds {
    /// The last snapshot. Those before are removed: it has all that they had.
    pub(crate) snapshot: PathBuf,
    /// How many decisions each round judged alike, the first round first.
    rounds: Vec<u64>,
    /// Whether the new version can go on behind a row. An earlier one judges whole snapshots only, and has one round.
    can_go_on: bool,
}

impl ReplayedRounds {
    /// How many decisions were judged alike in all rounds.
    pub(crate) fn count_decisions(&self) -> u64 {
        let counts = self.rounds.iter();
        counts.fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How many were judged, and in which rounds, for people.
    pub(crate) fn describe_rounds(&self) -> String {
        let rounds = match self.rounds.as_slice() {
            [] | [_] => String::new(),
            several => {
                let counts: Vec<String> = several.iter().map(u64::to_string).collect();
                format!(" in {} rounds: {}", counts.len(), counts.join(", then "))
            }
        };
        let rest = if self.can_go_on {
            ""
        } else {
            "; what is decided after the snapshot is not judged again: `ark audit replay` of the new version does not say its last row (`last_seq`), so it cannot go on behind it"
        };
        format!(
            "{} decisions judged alike{rounds}{rest}",
            self.count_decisions()
        )
    }
}

/// Has the new version judge the decisions of a snapshot again, then those that came meanwhile, in a further snapshot each time: until none has come,
/// a further round was short, or there were three rounds. A snapshot replaces the one before.
pub(crate) fn replay_in_rounds(
    binary: &Path,
    data_dir: &Path,
    first: PathBuf,
    make_next: &mut dyn FnMut() -> Result<PathBuf, ExchangeError>,
    stop: &AtomicBool,
) -> Result<ReplayedRounds, ExchangeError> {
    replay_until_short(binary, data_dir, first, make_next, SHORT_ROUND, stop)
}

/// As [`replay_in_rounds`], with the time below which a further round is the last.
fn replay_until_short(
    binary: &Path,
    data_dir: &Path,
    first: PathBuf,
    make_next: &mut dyn FnMut() -> Result<PathBuf, ExchangeError>,
    short: Duration,
    stop: &AtomicBool,
) -> Result<ReplayedRounds, ExchangeError> {
    let (mut snapshot, mut from, mut rounds) = (first, None, Vec::new());
    let mut began = Instant::now();
    let can_go_on = loop {
        let round = replay_snapshot(binary, &snapshot, from, stop)?;
        rounds.push(round.identical);
        let Some(last_seq) = round.last_seq else {
            break false;
        };
        // A copy that was restored and migrated may have rows that the database has not.
        let last_seq =
            read_manifest(&snapshot).map_or(last_seq, |manifest| manifest.audit.seq.min(last_seq));
        // How long the first snapshot took is not known here, so that the first round is never the last by being short.
        let is_short = rounds.len() > 1 && began.elapsed() < short;
        // What cannot be counted is looked at in a snapshot.
        let has_none = || count_decisions_after(data_dir, last_seq).is_ok_and(|count| count == 0);
        if is_short || rounds.len() >= MAX_ROUNDS || has_none() {
            break true;
        }
        began = Instant::now();
        let next = make_next()?;
        std::fs::remove_dir_all(&snapshot).map_err(ExchangeError::for_file(&snapshot))?;
        snapshot = next;
        from = Some(last_seq.saturating_add(1));
    };
    Ok(ReplayedRounds {
        snapshot,
        rounds,
        can_go_on,
    })
}

/// What a replay of one snapshot found.
#[derive(Debug)]
struct ReplayRound {
    /// How many decisions were judged alike.
    identical: u64,
    /// The last row of the log; an earlier version does not say it.
    last_seq: Option<u64>,
}

/// Has the new version judge the decisions of a snapshot again, from the row `from` on; where it would migrate the database, after it has done so with a
/// copy beside the snapshot, which is removed unless some are judged otherwise. Returns how many were judged alike: those that were denied because a
/// policy failed are not judged again. An empty log, or one with none but such, is no problem.
fn replay_snapshot(
    binary: &Path,
    snapshot: &Path,
    from: Option<u64>,
    stop: &AtomicBool,
) -> Result<ReplayRound, ExchangeError> {
    let schema = read_manifest(snapshot).map(|manifest| manifest.schema);
    if schema == Some(ask_version(binary)?.schema) {
        return replay_directory(binary, snapshot, from, stop);
    }
    let trial = snapshot.with_extension("trial");
    if trial.exists() {
        std::fs::remove_dir_all(&trial).map_err(ExchangeError::for_file(&trial))?;
    }
    let [source, target] = [snapshot, &trial].map(|path| path.display().to_string());
    let args = ["state", "restore", &source, "--data-dir", &target];
    // It prints what it restored, or fails and says why.
    let restored: Result<(bool, serde_json::Value), _> =
        ask_binary(binary, &args, REPLAY_TIMEOUT, stop);
    if let Err(error) = restored {
        // It may have filled the disk.
        let _ = std::fs::remove_dir_all(&trial);
        return Err(error);
    }
    let replayed = replay_directory(binary, &trial, from, stop);
    // What was judged otherwise can be looked at there.
    if !matches!(replayed, Err(ExchangeError::Replay(_))) {
        std::fs::remove_dir_all(&trial).map_err(ExchangeError::for_file(&trial))?;
    }
    replayed
}

/// Has the new version judge the decisions of a data directory again, from the row `from` on.
fn replay_directory(
    binary: &Path,
    data_dir: &Path,
    from: Option<u64>,
    stop: &AtomicBool,
) -> Result<ReplayRound, ExchangeError> {
    #[derive(Deserialize)]
    struct ReplayCounts {
        decisions: u64,
        identical: u64,
        failures: u64,
        #[serde(default)]
        last_seq: Option<u64>,
    }
    let dir = data_dir.display().to_string();
    let mut args = vec!["audit", "replay", "--json", "--data-dir", dir.as_str()];
    // An earlier version does not know the option, and is not given it.
    let from = from.map(|seq| seq.to_string());
    if let Some(from) = &from {
        args.extend(["--from", from.as_str()]);
    }
    let (succeeded, replayed): (bool, ReplayCounts) =
        ask_binary(binary, &args, REPLAY_TIMEOUT, stop)?;
    let same = replayed.identical.checked_add(replayed.failures);
    let Some(differ) = same.and_then(|same| replayed.decisions.checked_sub(same)) else {
        return Err(ExchangeError::Output {
            command: format!("{} {}", binary.display(), args.join(" ")),
            problem: format!(
                "{} identical decisions and {} failures of {} decisions",
                replayed.identical, replayed.failures, replayed.decisions
            ),
        });
    };
    if succeeded && differ == 0 {
        return Ok(ReplayRound {
            identical: replayed.identical,
            last_seq: replayed.last_seq,
        });
    }
    let from = from.map_or_else(String::new, |from| format!("--from {from} "));
    Err(ExchangeError::Replay(format!(
        "{differ} of {} differ; `ark audit replay {from}--data-dir {dir}` of the new version lists them",
        replayed.decisions
    )))
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
    use std::os::unix::fs::PermissionsExt;

    use ark_store::{Store, StoreConfig, current_schema};

    use crate::fixtures::record_decisions;

    use super::*;

    /// A program that prints a text, whatever it is asked.
    fn write_program(dir: &Path, prints: &str) -> PathBuf {
        let program = dir.join("ark");
        std::fs::write(&program, format!("#!/bin/sh\necho '{prints}'\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    #[test]
    fn decisions_that_were_not_judged_again_stop_no_exchange_and_are_not_counted_as_alike() {
        let dir = tempfile::tempdir().unwrap();
        let stop = AtomicBool::new(false);
        let replay = |decisions: u64, identical: u64, failures: u64| {
            let counts = serde_json::json!({"decisions": decisions, "identical": identical, "failures": failures});
            let program = write_program(dir.path(), &counts.to_string());
            replay_directory(&program, dir.path(), None, &stop).map(|round| round.identical)
        };
        // An empty log, and one of a host whose policies have failed since its first decision.
        assert_eq!(replay(0, 0, 0).unwrap(), 0);
        assert_eq!(replay(3, 0, 3).unwrap(), 0);
        assert_eq!(replay(5, 3, 2).unwrap(), 3);
        let differs = replay(5, 3, 1).unwrap_err();
        assert!(differs.to_string().contains("1 of 5 differ"), "{differs}");
        // Another program may say anything.
        for (decisions, identical, failures) in [(5, u64::MAX, 6), (5, 6, 0), (5, 3, 3)] {
            let refused = replay(decisions, identical, failures).unwrap_err();
            assert!(matches!(refused, ExchangeError::Output { .. }), "{refused}");
        }
    }

    /// A version of a schema that answers each replay with the next of these texts, and notes what it is asked in `asked`.
    fn write_version(dir: &Path, schema: u32, answers: &[&str]) -> PathBuf {
        let program = dir.join("ark");
        let [asked, answered] = ["asked", "answers"].map(|name| dir.join(name));
        std::fs::write(&asked, "").unwrap();
        std::fs::write(&answered, format!("{}\n", answers.join("\n"))).unwrap();
        let text = format!(
            "#!/bin/sh\n\
             case \"$1\" in\n\
             state) mkdir \"$5\"; echo 0;;\n\
             audit) echo \"$*\" >>{asked}; sed -n \"$(wc -l <{asked})p\" {answered};;\n\
             *) echo '{{\"version\": \"2\", \"schema\": {schema}}}';;\n\
             esac\n",
            asked = asked.display(),
            answered = answered.display(),
        );
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    /// Replays five decisions in a snapshot. Two are decided during the first round if `goes_on`, then one during each further round. Returns the
    /// result, what the version was asked, and the directories that are left in that of the snapshots.
    fn replay_busy_host(
        schema: u32,
        answers: &[&str],
        short: Duration,
        goes_on: bool,
    ) -> (
        Result<ReplayedRounds, ExchangeError>,
        Vec<String>,
        Vec<PathBuf>,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let [data, snapshots] = ["data", "snapshots"].map(|name| dir.path().join(name));
        let binary = write_version(dir.path(), schema, answers);
        record_decisions(&data, 5);
        let first = make_snapshot(&data, &snapshots, "u").unwrap();
        if goes_on {
            record_decisions(&data, 2);
        }
        let mut make_next = || {
            let next = make_snapshot(&data, &snapshots, "u");
            record_decisions(&data, 1);
            next
        };
        let stop = AtomicBool::new(false);
        let replayed = replay_until_short(&binary, &data, first, &mut make_next, short, &stop);
        let asked = std::fs::read_to_string(dir.path().join("asked")).unwrap();
        let left = std::fs::read_dir(&snapshots).unwrap().flatten();
        (
            replayed,
            asked.lines().map(str::to_owned).collect(),
            left.map(|entry| entry.path()).collect(),
        )
    }

    const LONG: Duration = Duration::from_hours(1);
    // The first says a row more than the snapshot has, as a copy that was restored may have.
    const FIVE: &str = r#"{"decisions": 5, "identical": 5, "failures": 0, "last_seq": 6}"#;
    const TWO: &str = r#"{"decisions": 2, "identical": 2, "failures": 0, "last_seq": 7}"#;
    const ONE: &str = r#"{"decisions": 1, "identical": 1, "failures": 0, "last_seq": 8}"#;

    #[test]
    fn what_is_decided_during_a_replay_is_replayed_in_further_rounds() {
        let schema = current_schema();
        // Also where the database is migrated in a copy.
        for (schema, dir_ends) in [(schema, ""), (schema + 1, ".trial")] {
            let answers = [FIVE, TWO, ONE];
            let (replayed, asked, left) = replay_busy_host(schema, &answers, Duration::ZERO, true);
            let replayed = replayed.unwrap();
            assert_eq!(replayed.count_decisions(), 8);
            let told = replayed.describe_rounds();
            let expected = "8 decisions judged alike in 3 rounds: 5, then 2, then 1";
            assert_eq!(told, expected);
            assert_eq!(asked.len(), 3, "{asked:?}");
            for (asked, from) in asked.iter().zip(["", " --from 6", " --from 8"]) {
                assert!(asked.ends_with(&format!("{dir_ends}{from}")), "{asked}");
                assert_eq!(asked.contains("--from"), !from.is_empty(), "{asked}");
            }
            assert_eq!(left, [replayed.snapshot], "one is left");
            // A round that took little time is the last.
            let (replayed, asked, left) = replay_busy_host(schema, &answers, LONG, true);
            let replayed = replayed.unwrap();
            assert_eq!(replayed.count_decisions(), 7);
            assert_eq!(asked.len(), 2, "{asked:?}");
            assert_eq!(left, [replayed.snapshot]);
        }
    }

    #[test]
    fn a_replay_has_one_round_where_nothing_follows_or_the_version_cannot_go_on() {
        let schema = current_schema();
        let (replayed, asked, _) = replay_busy_host(schema, &[FIVE, TWO], Duration::ZERO, false);
        let told = replayed.unwrap().describe_rounds();
        assert_eq!(told, "5 decisions judged alike");
        assert_eq!(asked.len(), 1, "{asked:?}");
        let earlier = r#"{"decisions": 5, "identical": 5, "failures": 0}"#;
        let (replayed, asked, left) =
            replay_busy_host(schema, &[earlier, TWO], Duration::ZERO, true);
        let replayed = replayed.unwrap();
        let told = replayed.describe_rounds();
        assert!(
            told.starts_with("5 decisions judged alike; ") && told.contains("`last_seq`"),
            "{told}"
        );
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert_eq!(left, [replayed.snapshot]);
    }

    #[test]
    fn a_difference_in_a_further_round_names_its_snapshot_and_its_first_row() {
        let differs = r#"{"decisions": 2, "identical": 1, "failures": 0, "last_seq": 7}"#;
        let (replayed, _, left) =
            replay_busy_host(current_schema(), &[FIVE, differs], Duration::ZERO, true);
        let refused = replayed.unwrap_err().to_string();
        assert_eq!(left.len(), 1, "{left:?}");
        let named = format!(
            "1 of 2 differ; `ark audit replay --from 6 --data-dir {}`",
            left[0].display()
        );
        assert!(refused.contains(&named), "{refused}");
    }

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
            keep_before_migration(&write_program(dir.path(), &says), &data, &kept).unwrap();
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
    fn a_partial_copy_that_a_kill_left_does_not_stop_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let (data, kept) = (dir.path().join("data"), dir.path().join("kept"));
        drop(Store::open(&StoreConfig::in_dir(data.clone())).unwrap());
        let schema = current_schema();
        let says = format!(
            "{{\"version\": \"2\", \"schema\": {}, \"decisions\": 0, \"identical\": 0, \"failures\": 0}}",
            schema + 1
        );
        let binary = write_program(dir.path(), &says);
        let leave = |path: PathBuf| {
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("ark.db"), "half a").unwrap();
            path
        };
        let partial = leave(kept.with_extension("partial"));
        keep_before_migration(&binary, &data, &kept).unwrap();
        assert!(kept.join("manifest.json").exists() && !partial.exists());
        // A copy on which a replay was tried; this program's restore makes only the directory of one.
        let trial = kept.with_extension("trial");
        let text = std::fs::read_to_string(&binary).unwrap();
        let restores = format!("\ncase \"$1\" in state) mkdir {};; esac\n", trial.display());
        let text = text.replacen('\n', &restores, 1);
        std::fs::write(&binary, &text).unwrap();
        let stop = AtomicBool::new(false);
        leave(trial.clone());
        let replayed = replay_snapshot(&binary, &kept, None, &stop).unwrap();
        assert_eq!(replayed.identical, 0);
        assert!(!trial.exists());
        // A replay that is interrupted leaves none.
        let slow = text.replacen("esac", "audit) sleep 60;; esac", 1);
        std::fs::write(&binary, slow).unwrap();
        let interrupted = std::thread::scope(|scope| {
            let replays = scope.spawn(|| replay_snapshot(&binary, &kept, None, &stop));
            while !trial.exists() {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            replays.join().unwrap()
        });
        assert!(matches!(interrupted, Err(ExchangeError::Interrupted(_))));
        assert!(!trial.exists());
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
            let program = write_program(dir.path(), &prints);
            let found = find_migration(&program, &data).map_err(|error| error.to_string());
            match expected {
                Ok(to) => assert_eq!(found, Ok(to.map(|to| Migration { from, to })), "{prints}"),
                Err(problem) => {
                    let error = found.unwrap_err();
                    assert!(error.contains(problem), "{prints}: {error}");
                }
            }
        }
        let program = write_program(dir.path(), &says(from));
        for (binary, data_dir, problem) in [
            (dir.path().join("none"), data.clone(), "cannot be run"),
            (program, dir.path().join("empty"), "there is no database at"),
        ] {
            let error = find_migration(&binary, &data_dir).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
