//! Why an exchange does not go on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ark_client::ClientError;
use ark_store::{MaintenanceError, OpenError};

/// Why an exchange, or the way back from it, does not go on.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// A dry run, or a run before it changes anything, found what the run would fail for.
    #[error("nothing was changed; the run would fail: {}", .0.join("; "))]
    Rehearsal(Vec<String>),
    /// A command cannot be run, fails, or takes too long.
    #[error("`{command}` {problem}")]
    Command {
        /// The command.
        command: String,
        /// What went wrong.
        problem: String,
    },
    /// A command, or a version that was asked, takes too long.
    #[error(
        "`{command}` does not end within {timeout:?}, and its processes were ended; run it by hand to see what it waits for"
    )]
    TooSlow {
        /// The command.
        command: String,
        /// How long it may take.
        timeout: Duration,
    },
    /// A command, or a version that was asked, prints too much.
    #[error(
        "`{command}` prints more than {limit} bytes, and its processes were ended; run it by hand to see what it prints, or give another one"
    )]
    PrintsTooMuch {
        /// The command.
        command: String,
        /// How many bytes it may print.
        limit: u64,
    },
    /// A command that was to be ended goes on.
    #[error(
        "the processes of `{command}` cannot be ended: {cause}; end them by hand, then run this again"
    )]
    NotEnded {
        /// The command.
        command: String,
        /// What the system reports.
        cause: std::io::Error,
    },
    /// An operator interrupts the run.
    #[error("interrupted while it waited for {0}")]
    Interrupted(String),
    /// Somebody has changed the schema of the database.
    #[error("no version starts on the database, so that no host is stopped for another one: {0}")]
    ForeignSchema(OpenError),
    /// A snapshot cannot be made or restored.
    #[error(transparent)]
    Snapshot(#[from] MaintenanceError),
    /// The database cannot be copied.
    #[error(
        "the database cannot be copied to {to}: {cause}; if the disk is full make room there, then run the command again",
        to = to.display()
    )]
    NotCopied {
        /// Where the copy was to be.
        to: PathBuf,
        /// What is wrong.
        cause: MaintenanceError,
    },
    /// The new version is older than the database.
    #[error(
        "{binary} writes schema {writes}, and the database has schema {database}, which only a newer version writes and no migration leads back from: give a version with that schema or a later one, or go back to a snapshot with `ark rollback`",
        binary = binary.display()
    )]
    OlderSchema {
        /// The new version.
        binary: PathBuf,
        /// The schema that it writes.
        writes: u32,
        /// The schema of the database.
        database: u32,
    },
    /// The new version judges recorded decisions otherwise.
    #[error("the new version judges recorded decisions otherwise: {0}")]
    Replay(String),
    /// The host is not ready in time.
    #[error("the host is not ready after {timeout:?}: {found}; its log says why")]
    NotReady {
        /// How long it was waited for.
        timeout: Duration,
        /// Which process holds the data directory.
        found: String,
    },
    /// The host was started and has ended.
    #[error(
        "the host has ended: no process holds {data_dir} any more; its log, or that of its process manager, says why",
        data_dir = .0.display()
    )]
    Ended(PathBuf),
    /// The host was started, and does not come.
    #[error(
        "no process has taken {data_dir} for {silence:.1?} since what starts the host ended without an error, and nothing that it started is left: the host ended before it opened its database, or was given another data directory; its log, or that of its process manager, says why",
        data_dir = data_dir.display()
    )]
    NeverCame {
        /// The data directory.
        data_dir: PathBuf,
        /// For how long nothing has taken it.
        silence: Duration,
    },
    /// The host that answers at the address is not the one of the data directory.
    #[error(
        "the host that answers at {url} ({answering}) is not the one of the data directory {data_dir} ({holder}): correct --url or --data-dir, so that both are those of the host whose version is exchanged; nothing was changed",
        data_dir = data_dir.display()
    )]
    OtherHost {
        /// The address.
        url: String,
        /// What answers there.
        answering: String,
        /// The data directory.
        data_dir: PathBuf,
        /// What holds it.
        holder: String,
    },
    /// What answers at the address is a front, which answers also while the host is away.
    #[error(
        "a front answers at {0}, which is ready also while no host is, so that it cannot say which version serves: give --url the address of the host itself (--owner of the front); nothing was changed"
    )]
    Front(String),
    /// The host that is ready is not the version.
    #[error(
        "the host that serves is not {wanted}: {found}; start that version, or see why the commands leave another one running"
    )]
    OtherVersion {
        /// The version that was to serve.
        wanted: String,
        /// What serves.
        found: String,
    },
    /// An output of a version has another form.
    #[error("`{command}` says nothing that is understood: {problem}")]
    Output {
        /// The command.
        command: String,
        /// What is wrong.
        problem: String,
    },
    /// The administrator's token that a restore made cannot be used.
    #[error("the new administrator's token cannot be used: {0}")]
    Token(ClientError),
    /// A snapshot that is to take the database's place is of another one.
    #[error(
        "{snapshot} is of another host, or of a database that was replaced since: row {seq} of its audit log is not that of {data_dir}, so that what would be lost cannot be counted; name one of this host's database (`ark rollback --snapshot DIR`), or restore this one by hand (`ark state restore --replace`)",
        snapshot = snapshot.display(),
        data_dir = data_dir.display()
    )]
    ForeignSnapshot {
        /// The snapshot.
        snapshot: PathBuf,
        /// The last row of its audit log.
        seq: u64,
        /// The data directory.
        data_dir: PathBuf,
    },
    /// The new version has migrated the database and judged: the way back would lose decisions.
    #[error(
        "the new version has migrated the database and decided since {kept} was made, which would be lost (decisions: {decisions}): `ark canary resume` finishes the take-over; `ark rollback --accept-loss-of-decisions {decisions}`, with the same --snapshots, goes back without them",
        kept = kept.display()
    )]
    Served {
        /// The database as the old host left it.
        kept: PathBuf,
        /// How many decisions there are, or `unknown`.
        decisions: String,
    },
    /// The database is damaged, so that nobody can tell what the way back to the kept one would lose.
    #[error(
        "the database in {data_dir} is damaged ({finding}), and what was decided since {kept} was made cannot be counted: `ark rollback --accept-loss-of-decisions unknown`, with the same --snapshots, keeps it aside as evidence and goes back to a snapshot without them",
        data_dir = data_dir.display(),
        kept = kept.display()
    )]
    Damaged {
        /// The data directory.
        data_dir: PathBuf,
        /// What is wrong with the database.
        finding: String,
        /// The database as the old host left it.
        kept: PathBuf,
    },
    /// An option would make what goes on another exchange, or comes too late.
    #[error(
        "{option}{space}{given} cannot be taken by what goes on: its journal has {journal}; leave the option out",
        space = if given.is_empty() { "" } else { " " }
    )]
    Fixed {
        /// The option.
        option: &'static str,
        /// Its value; empty: it is named elsewhere, or has none.
        given: String,
        /// What the journal has, in words.
        journal: String,
    },
    /// A file or directory cannot be made or moved.
    #[error("{path}: {cause}", path = path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system reports.
        cause: std::io::Error,
    },
}

impl ExchangeError {
    /// Returns what is wrong with the database itself, where that is why it could not be read or copied (see [`MaintenanceError::find_damage`]).
    pub(crate) fn find_damage(&self) -> Option<String> {
        match self {
            Self::Snapshot(cause) | Self::NotCopied { cause, .. } => cause.find_damage(),
            _ => None,
        }
    }

    /// Makes the error of a copy: it names the place, but for what is wrong with the database itself.
    pub(crate) fn for_copy(to: &Path) -> impl Fn(MaintenanceError) -> Self + use<> {
        let to = to.to_owned();
        move |cause| match cause {
            MaintenanceError::Open(_) => Self::Snapshot(cause),
            cause => Self::NotCopied {
                to: to.clone(),
                cause,
            },
        }
    }

    /// Makes the error of a file from what the system reports.
    pub(crate) fn for_file(path: &Path) -> impl Fn(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |cause| Self::File {
            path: path.clone(),
            cause,
        }
    }
}
