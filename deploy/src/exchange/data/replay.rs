//! The replay in an exchange: the new version judges the recorded decisions of snapshots again, in rounds.
//!
//! Invariants: a round begins behind the last row of the one before; a snapshot is removed only once the next one is there.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use ark_store::count_decisions_after;
use serde::Deserialize;

use crate::exchange::data::database::remove_snapshot;
use crate::exchange::error::ExchangeError;
use crate::exchange::programs::commands::{REPLAY_TIMEOUT, ask_binary};
use crate::exchange::programs::version::ask_version;
use crate::snapshots::read_manifest;

/// The rounds that a replay has at most.
const MAX_ROUNDS: usize = 3;
/// A round that takes less ends the replay: little is decided meanwhile.
const SHORT_ROUND: Duration = Duration::from_secs(10);

/// What a new version judged again, all alike.
#[derive(Debug)]
pub(crate) struct ReplayedRounds {
    /// The last snapshot. Those before are removed: it has all that they had.
    pub(crate) snapshot: PathBuf,
    /// How many decisions each round judged alike, the first round first.
    rounds: Vec<u64>,
    /// Whether the new version can go on behind a row. An earlier one judges whole snapshots only, and has one round.
    can_go_on: bool,
    /// How long the new version took at the most to restore a copy and migrate it; `None`: it migrates none.
    pub(crate) migrated_in: Option<Duration>,
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
    let mut migrated_in = None;
    let mut began = Instant::now();
    let can_go_on = loop {
        let round = replay_snapshot(binary, &snapshot, from, stop)?;
        rounds.push(round.identical);
        migrated_in = migrated_in.max(round.migrated_in);
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
        remove_snapshot(&snapshot).map_err(ExchangeError::for_file(&snapshot))?;
        snapshot = next;
        from = Some(last_seq.saturating_add(1));
    };
    Ok(ReplayedRounds {
        snapshot,
        rounds,
        can_go_on,
        migrated_in,
    })
}

/// What a replay of one snapshot found.
#[derive(Debug)]
struct ReplayRound {
    /// How many decisions were judged alike.
    identical: u64,
    /// The last row of the log; an earlier version does not say it.
    last_seq: Option<u64>,
    /// How long the new version took to restore a copy and migrate it; `None`: it migrates none.
    migrated_in: Option<Duration>,
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
    let began = Instant::now();
    // It prints what it restored, or fails and says why.
    let restored: Result<(bool, serde_json::Value), _> =
        ask_binary(binary, &args, REPLAY_TIMEOUT, stop);
    if let Err(error) = restored {
        // It may have filled the disk.
        let _ = std::fs::remove_dir_all(&trial);
        return Err(error);
    }
    let migrated_in = Some(began.elapsed());
    let replayed = replay_directory(binary, &trial, from, stop);
    // What was judged otherwise can be looked at there.
    if !matches!(replayed, Err(ExchangeError::Replay(_))) {
        std::fs::remove_dir_all(&trial).map_err(ExchangeError::for_file(&trial))?;
    }
    Ok(ReplayRound {
        migrated_in,
        ..replayed?
    })
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
            migrated_in: None,
        });
    }
    let from = from.map_or_else(String::new, |from| format!("--from {from} "));
    Err(ExchangeError::Replay(format!(
        "{differ} of {} differ; `ark audit replay {from}--data-dir {dir}` of the new version lists them",
        replayed.decisions
    )))
}

#[cfg(test)]
mod tests {
    use ark_store::{Store, StoreConfig, current_schema};

    use crate::exchange::data::database::{keep_before_migration, make_snapshot};
    use crate::fixtures::{record_decisions, write_printer, write_program};

    use super::*;

    #[test]
    fn decisions_that_were_not_judged_again_stop_no_exchange_and_are_not_counted_as_alike() {
        let dir = tempfile::tempdir().unwrap();
        let stop = AtomicBool::new(false);
        let replay = |decisions: u64, identical: u64, failures: u64| {
            let counts = serde_json::json!({"decisions": decisions, "identical": identical, "failures": failures});
            let program = write_printer(dir.path(), &counts.to_string());
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
        let [asked, answered] = ["asked", "answers"].map(|name| dir.join(name));
        std::fs::write(&asked, "").unwrap();
        std::fs::write(&answered, format!("{}\n", answers.join("\n"))).unwrap();
        let text = format!(
            "case \"$1\" in\n\
             state) mkdir \"$5\"; echo 0;;\n\
             audit) echo \"$*\" >>{asked}; sed -n \"$(wc -l <{asked})p\" {answered};;\n\
             *) echo '{{\"version\": \"2\", \"schema\": {schema}}}';;\n\
             esac",
            asked = asked.display(),
            answered = answered.display(),
        );
        write_program(dir, &text)
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
            assert_eq!(replayed.migrated_in.is_some(), !dir_ends.is_empty());
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
    fn a_partial_copy_that_a_kill_left_does_not_stop_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let (data, kept) = (dir.path().join("data"), dir.path().join("kept"));
        drop(Store::open(&StoreConfig::in_dir(data.clone())).unwrap());
        let schema = current_schema();
        let says = format!(
            "{{\"version\": \"2\", \"schema\": {}, \"decisions\": 0, \"identical\": 0, \"failures\": 0}}",
            schema + 1
        );
        let binary = write_printer(dir.path(), &says);
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
}
