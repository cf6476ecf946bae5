//! The database: what a start would refuse, its pages, its chains.

use ark_model::ids::Millis;
use ark_model::printable::format_count;
use ark_store::{
    ChainReport, OpenError, ReadOnlyStore, check_directory, describe_schema_remedy, has_lock_record,
};

use super::Scope;
use super::inputs::CheckInputs;
use super::line::CheckLines;

/// How long after its first row a log has an anchor at the latest, in milliseconds: a host anchors every minute.
const ANCHORED_AFTER_MS: u64 = 180_000;

/// A start would take the database, and, where everything is checked, its pages are sound and its journal is the one that a host relies on.
pub(super) fn check_database(inputs: &CheckInputs, lines: &mut CheckLines) {
    let dir = inputs.data_dir();
    let found = match check_directory(dir) {
        Ok(found) => found,
        Err(error) => return refuse_database(&error, lines),
    };
    if !found && inputs.config.store.require_database {
        return lines.add_error(
            format!(
                "there is none in {}, and require_database is set",
                dir.display()
            ),
            "mount its disk, or restore a snapshot with `ark state restore`; a new host's first token makes it: `ark token create --role admin --name NAME --data-dir DIR`",
        );
    }
    if !found {
        return lines.add_ok("there is none yet; the first start makes it");
    }
    let store = match ReadOnlyStore::open(dir) {
        Ok(store) => store,
        Err(error) => return refuse_database(&error, lines),
    };
    if inputs.scope == Scope::Configuration {
        return lines.add_ok("is there; `ark check` reads what it holds");
    }
    let checked = store
        .check_pages()
        .and_then(|pages| Ok((pages, store.journal_mode()?)))
        .map_err(|error| error.to_string());
    match checked {
        Err(error) | Ok((Some(error), _)) => lines.add_error(
            format!("the database is damaged: {error}"),
            "stop the host, keep the files, and restore a snapshot with `ark state restore --replace`",
        ),
        Ok((None, journal_mode)) if journal_mode != "wal" => lines.add_warning(
            format!("the journal mode is {journal_mode}, not the write-ahead log: no host has opened this database since it was made"),
            "a start changes it; if a host runs, another program has changed it: restart the host",
        ),
        Ok((None, _)) => check_schema_notes(inputs, lines),
    }
}

/// The schema has nothing beside what the host makes, and lacks no index. What would end a start is found before.
fn check_schema_notes(inputs: &CheckInputs, lines: &mut CheckLines) {
    let notes = ReadOnlyStore::open(inputs.data_dir())
        .map_err(|error| error.to_string())
        .and_then(|store| store.schema_notes().map_err(|error| error.to_string()));
    match notes {
        Ok(notes) => {
            for note in notes {
                lines.add_warning(
                    note,
                    "find out who wrote to the file; it changes no row, so hosts start and snapshots restore all the same",
                );
            }
        }
        Err(error) => lines.add_error(error, "see that the database can be read"),
    }
    if lines.is_good() {
        lines.add_ok("sound, in WAL mode");
    }
}

/// Says why a start would refuse the database, with one remedy: what the error advises itself is left out where this says it better.
fn refuse_database(error: &OpenError, lines: &mut CheckLines) {
    let remedy = match error {
        OpenError::RestoreInterrupted { .. } => "run `ark state restore` again to its end",
        OpenError::Evidence { path, cause } => {
            let path = path.display();
            return lines.add_error(
                format!("{path} cannot be read, so the database beside it cannot be compared with it: {cause}"),
                format!("keep a copy as evidence, and put back {path} alone, from a backup or the last snapshot; where there is none, move it away if `ark audit verify` finds no other fault. Do not restore the database for it: that loses decisions"),
            );
        }
        OpenError::ForeignSchema {
            path,
            findings,
            removals,
        } => {
            return lines.add_error(
                format!("{} has another schema than this program makes: {findings}; no start takes it, and no snapshot of it restores as it is", path.display()),
                describe_schema_remedy(path, removals),
            );
        }
        OpenError::Newer { .. } => "install the newer version of ark that wrote it",
        OpenError::Directory { .. } | OpenError::Inaccessible { .. } => {
            "run the check as the user that runs the host, and see the lines `data-directory` and `disk-space`"
        }
        _ => {
            "stop the host, keep the files, and restore a snapshot with `ark state restore --replace`, or find the database that belongs here"
        }
    };
    lines.add_error(error.to_string(), remedy);
}

/// The database to check; `None`: there is none yet, or it cannot be opened, which is said.
fn open_for_check(inputs: &CheckInputs, lines: &mut CheckLines) -> Option<ReadOnlyStore> {
    inputs.open_database().unwrap_or_else(|_| {
        lines.add_skipped(
            "was not checked: the database cannot be opened",
            "see the line `database`",
        );
        None
    })
}

/// Every row of the audit log is as it was written, and none is missing.
pub(super) fn check_audit_log(inputs: &CheckInputs, lines: &mut CheckLines) {
    let Some(store) = open_for_check(inputs, lines) else {
        return;
    };
    match store.verify_audit_log() {
        Err(error) => lines.add_error(error.to_string(), "see the line `database`"),
        Ok(report) => match report.fault {
            None => {
                check_evidence(inputs, &store, &report, lines);
                if lines.is_good() {
                    lines.add_ok(format!(
                        "{}, {}",
                        format_count(report.rows, "row", "rows"),
                        format_count(report.anchors, "anchor", "anchors")
                    ));
                }
            }
            Some(fault) => lines.add_error(
                format!("row {} {}", fault.seq, fault.problem),
                "keep a copy as evidence, find out who wrote to the file, and restore a snapshot",
            ),
        },
    }
}

/// What shows that the end of the log was cut off is there: anchors, and the attestation in the lock's file. Without them a log that was cut is as
/// sound as a whole one.
fn check_evidence(
    inputs: &CheckInputs,
    store: &ReadOnlyStore,
    report: &ChainReport,
    lines: &mut CheckLines,
) {
    if report.rows == 0 {
        return;
    }
    let rows = format_count(report.rows, "row", "rows");
    if report.anchors == 0 && !is_young(inputs, store) {
        lines.add_warning(
            format!(
                "{rows} and no anchor: anchors.jsonl in {} is not there or empty, so that the end of the log was cut off would not show",
                inputs.data_dir().display()
            ),
            "compare the last row with the anchors in a snapshot or in the log of the host (`audit log anchored`), and find out who removed the file; a host that was killed in its first minute anchors again when it has started",
        );
    }
    match has_lock_record(inputs.data_dir()) {
        Ok(true) => {}
        Ok(false) => lines.add_warning(
            format!(
                "{rows} and no ark.lock in {}, which attests the last row after each commit: it was removed, or the database was copied without it",
                inputs.data_dir().display()
            ),
            "compare the last row with the anchors and a snapshot, and find out who removed the file; take `ark state restore` for a copy. The next start makes it again",
        ),
        Err(error) => lines.add_skipped(
            format!("ark.lock cannot be read: {error}"),
            "run the check as the user that runs the host",
        ),
    }
}

/// Whether a host runs that need not have anchored its log yet: it anchors a minute after a row, and when it ends.
fn is_young(inputs: &CheckInputs, store: &ReadOnlyStore) -> bool {
    let first = store.first_recorded_at().ok().flatten();
    inputs.running_host.is_some()
        && first.is_some_and(|first| Millis::now().0.saturating_sub(first.0) < ANCHORED_AFTER_MS)
}

/// Every revision of state is as it was written, and every secret decrypts.
pub(super) fn check_state(inputs: &CheckInputs, lines: &mut CheckLines) {
    let Some(store) = open_for_check(inputs, lines) else {
        return;
    };
    let checked = store
        .check_state_history(inputs.usable_key())
        .map_err(|error| error.to_string());
    match checked.and_then(|report| Ok((report, inputs.compare_access()?))) {
        // The audit log of an earlier schema can be checked, its state only after the migration.
        Err(error) => lines.add_warning(error, "see the line `database`"),
        Ok((report, access)) => {
            for difference in &access.orders {
                lines.add_error(
                    format!("not as the audit log says: {difference}"),
                    "treat it as an intrusion: keep a copy as evidence, find out who wrote to the file, and restore a snapshot, or give the order again",
                );
            }
            if let Some(fault) = report.fault {
                lines.add_error(
                    format!("revision {} {}", fault.seq, fault.problem),
                    "keep a copy as evidence, and restore a snapshot; a secret that does not decrypt needs its own key",
                );
            } else if report.secrets_unchecked > 0 {
                lines.add_error(
                    format!(
                        "the key of {} is not given, so whether they decrypt is not known",
                        format_count(
                            report.secrets_unchecked,
                            "encrypted revision",
                            "encrypted revisions"
                        )
                    ),
                    "name the file of the key in ARK_SECRET_KEY_FILE",
                );
            } else if lines.is_good() {
                lines.add_ok(format!(
                    "{} of {}, {}",
                    format_count(report.revisions, "revision", "revisions"),
                    format_count(report.keys, "key", "keys"),
                    format_count(report.secrets, "secret", "secrets")
                ));
            }
        }
    }
}
