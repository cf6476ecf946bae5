//! One exchange of a host's version at a time: a canary, an upgrade and a rollback of a host exclude each other, and a second one of their own kind.
//!
//! What is under way is what the three journals say, also where no process runs it any more: it is to be ended by its own command. The only one that
//! may begin beside another is a rollback beside a canary, which it undoes first.
//!
//! Invariant: between the look at the journals of the others and the first entry in its own, who begins holds the locks of all that it excludes. Of
//! two that begin at the same moment both may be refused, and never is neither.
//!
//! Must not know: what the entries say, but for those that begin and end an exchange.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ark_client::{HostClient, normalize_address};
use ark_model::ids::Millis;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::journal::{Journal, JournalError, JournalOwner, OWN_JOURNAL};
use crate::runner::{RunMark, Runner, find_runner};

/// The pause between two looks at whether a journal is free.
const PAUSE: Duration = Duration::from_millis(50);
/// How long another command that begins may hold a journal.
const BEGINNING: Duration = Duration::from_secs(2);
/// How long a command that outlives the process which began it is waited for.
const OUTLIVING: Duration = Duration::from_mins(10);

/// What exchanges the version of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeKind {
    /// `ark canary`
    Canary,
    /// `ark upgrade`
    Upgrade,
    /// `ark rollback`
    Rollback,
}

impl ExchangeKind {
    /// The command whose journal it is.
    const fn command(self) -> &'static str {
        match self {
            Self::Canary => "ark canary",
            Self::Upgrade => "ark upgrade",
            Self::Rollback => "ark rollback",
        }
    }

    /// The option by which the commands of the other kinds name its journal.
    pub(crate) const fn journal_option(self) -> &'static str {
        match self {
            Self::Canary => "--canary-journal",
            Self::Upgrade => "--upgrade-journal",
            Self::Rollback => "--rollback-journal",
        }
    }

    /// Whose journal that of a host is, for its own command.
    pub(crate) fn owner_for(self, client: &HostClient) -> JournalOwner {
        JournalOwner {
            command: self.command(),
            host: normalize_address(client.url()),
            option: OWN_JOURNAL,
        }
    }

    /// As [`Self::owner_for`], for a command of another kind.
    pub(crate) fn owner_beside(self, client: &HostClient) -> JournalOwner {
        JournalOwner {
            option: Some(self.journal_option()),
            ..self.owner_for(client)
        }
    }
}

/// An exchange that is under way, and keeps another from its beginning.
#[derive(Debug, thiserror::Error)]
pub struct UnderWay {
    kind: ExchangeKind,
    /// Its id; `None`: it is only beginning.
    id: Option<String>,
    /// When it began; `None`: its journal does not say it.
    since: Option<Millis>,
    runner: Runner,
    journal: PathBuf,
}

impl fmt::Display for UnderWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = self.kind.command();
        match &self.id {
            Some(id) => write!(f, "{id} (`{command}`) was begun and has not ended")?,
            None => write!(f, "another `{command}` is beginning")?,
        }
        let since = self.since.and_then(|at| i64::try_from(at.0 / 1000).ok());
        if let Some(since) = since.and_then(|at| Timestamp::from_second(at).ok()) {
            write!(f, ", since {since}")?;
        }
        let journal = self.journal.display();
        match self.runner {
            Runner::Process(pid) => write!(f, "; process {pid} runs it: wait for its end, or ")?,
            Runner::Hidden => write!(
                f,
                "; a process runs it that cannot be seen from here: wait for its end, or "
            )?,
            Runner::None => write!(f, "; no process runs it (journal {journal}): ")?,
        }
        let is_run = self.runner != Runner::None;
        match (self.kind, is_run) {
            (ExchangeKind::Canary, true) => write!(f, "undo it with `ark canary abort`"),
            (ExchangeKind::Canary, false) => write!(
                f,
                "`ark canary resume` goes on with it, `ark canary abort` undoes it"
            ),
            (ExchangeKind::Upgrade, true) => write!(
                f,
                "interrupt it (SIGINT) and undo it with `ark upgrade --back`"
            ),
            (ExchangeKind::Upgrade, false) => write!(
                f,
                "`ark upgrade` goes on with it, `ark upgrade --back` undoes it"
            ),
            (ExchangeKind::Rollback, true) => write!(
                f,
                "interrupt it (SIGINT); `ark rollback --journal {journal}` goes on with it"
            ),
            (ExchangeKind::Rollback, false) => {
                write!(
                    f,
                    "end it with `ark rollback --journal {journal}`, or leave everything as it is with `ark rollback --give-up --journal {journal}`"
                )
            }
        }
    }
}

/// Why an exchange cannot begin beside another.
#[derive(Debug, thiserror::Error)]
pub enum ExclusionError {
    /// A journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Another one is under way.
    #[error(transparent)]
    UnderWay(Box<UnderWay>),
    /// A command that an earlier run began goes on and on.
    #[error(
        "what an earlier `{command}` began has not ended after {waited:?} and holds its journal {journal}: see what it waits for (`fuser -v {journal}`), end it, then run this again",
        journal = journal.display()
    )]
    Outlives {
        /// The command.
        command: &'static str,
        /// The journal.
        journal: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// Another process exchanges the version that serves the data directory: for another address, or with another journal.
    #[error(
        "another canary, upgrade or rollback exchanges the version on {dir}, for another --url or with another --journal: `lslocks` names its process; wait for its end, or interrupt it (SIGINT) and end it with its own command",
        dir = .0.display()
    )]
    DataDirectory(PathBuf),
    /// The data directory cannot be locked.
    #[error("--data-dir {dir}: {cause}; run this as a user that may read it", dir = dir.display())]
    Lock {
        /// The directory.
        dir: PathBuf,
        /// What the system reports.
        cause: std::io::Error,
    },
    /// A signal ended the wait.
    #[error("interrupted while it waited for what an earlier run began; run it again to go on")]
    Interrupted,
}

impl ExclusionError {
    /// That of what a run of this kind began, which holds its journal.
    pub(crate) fn outlives(kind: ExchangeKind, journal: &Path, waited: Duration) -> Self {
        Self::Outlives {
            command: kind.command(),
            journal: journal.to_owned(),
            waited,
        }
    }
}

/// The journal of an exchange that excludes another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OtherJournal<'a> {
    pub(crate) kind: ExchangeKind,
    pub(crate) path: &'a Path,
}

impl OtherJournal<'_> {
    /// Refuses where the exchange of this journal is under way, as it is now: in a command of another kind. Changes nothing.
    pub(crate) fn refuse_other(self, client: &HostClient) -> Result<(), ExclusionError> {
        self.refuse_begun(&self.kind.owner_beside(client))
    }

    /// As [`Self::refuse_other`], in the command of this kind.
    pub(crate) fn refuse_own(self, client: &HostClient) -> Result<(), ExclusionError> {
        self.refuse_begun(&self.kind.owner_for(client))
    }

    fn refuse_begun(self, owner: &JournalOwner) -> Result<(), ExclusionError> {
        let entries = Journal::read_entries::<Value>(self.path, owner)?;
        match read_last(&entries) {
            None => Ok(()),
            found => Err(self.describe_other(found)),
        }
    }

    /// Holds the journal, so that no exchange of its kind begins, unless one is under way.
    fn hold_journal(self, client: &HostClient) -> Result<Journal, ExclusionError> {
        let owner = self.kind.owner_beside(client);
        let ends = Instant::now() + BEGINNING;
        loop {
            match Journal::open::<Value>(self.path, &owner) {
                Ok((journal, entries)) => {
                    return match read_last(&entries) {
                        None => Ok(journal),
                        found => Err(self.describe_other(found)),
                    };
                }
                Err(JournalError::InUse { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            self.refuse_other(client)?;
            // Who only looks at it holds it for a moment; who begins has said who runs it.
            if find_runner(self.path) != Runner::None || Instant::now() > ends {
                return Err(self.describe_other(None));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn describe_other(self, found: Option<(String, Option<Millis>)>) -> ExclusionError {
        let (id, since) = found.unzip();
        ExclusionError::UnderWay(Box::new(UnderWay {
            kind: self.kind,
            id,
            since: since.flatten(),
            runner: find_runner(self.path),
            journal: self.path.to_owned(),
        }))
    }
}

/// Which exchange the entries begin last without ending it, and when.
fn read_last(entries: &[Value]) -> Option<(String, Option<Millis>)> {
    let mut last = None;
    for entry in entries {
        if let Some(begin) = entry.get("started") {
            let id = begin.get("id").and_then(Value::as_str);
            let since = begin.get("began_at").and_then(Value::as_u64);
            last = Some((id.unwrap_or_default().to_owned(), since.map(Millis)));
        } else if entry.get("finished").is_some() {
            last = None;
        }
    }
    last
}

/// Refuses where a process runs the own exchange of this journal. Changes nothing.
pub(crate) fn refuse_run(
    client: &HostClient,
    kind: ExchangeKind,
    path: &Path,
) -> Result<(), ExclusionError> {
    if find_runner(path) == Runner::None {
        return Ok(());
    }
    let entries = Journal::read_entries::<Value>(path, &kind.owner_for(client))?;
    Err(OtherJournal { kind, path }.describe_other(read_last(&entries)))
}

/// Refuses where one of these exchanges is under way, and returns what keeps them from beginning until it is dropped.
pub(crate) fn hold_others(
    client: &HostClient,
    others: &[OtherJournal<'_>],
) -> Result<Vec<Journal>, ExclusionError> {
    others
        .iter()
        .map(|other| other.hold_journal(client))
        .collect()
}

/// The own journal of an exchange that this process runs from now on.
pub(crate) struct OwnJournal<E> {
    pub(crate) journal: Journal,
    /// Says that this process runs it, while it is kept.
    pub(crate) mark: Option<RunMark>,
    pub(crate) entries: Vec<E>,
    /// Whether it had to be waited for.
    pub(crate) waited: bool,
}

/// Opens the own journal of an exchange. What another process runs is refused; what a process began that has ended is waited for, until `stop` is set.
pub(crate) fn open_own<E: DeserializeOwned>(
    client: &HostClient,
    kind: ExchangeKind,
    path: &Path,
    stop: &AtomicBool,
) -> Result<OwnJournal<E>, ExclusionError> {
    open_own_as(&kind.owner_for(client), kind, path, stop)
}

/// As [`open_own`], for a command that names the journal by the option of `owner`.
pub(crate) fn open_own_as<E: DeserializeOwned>(
    owner: &JournalOwner,
    kind: ExchangeKind,
    path: &Path,
    stop: &AtomicBool,
) -> Result<OwnJournal<E>, ExclusionError> {
    let own = OtherJournal { kind, path };
    let (began, mut waited) = (Instant::now(), false);
    loop {
        match Journal::open(path, owner) {
            Ok((journal, entries)) => {
                return Ok(OwnJournal {
                    journal,
                    mark: RunMark::set_mark(path),
                    entries,
                    waited,
                });
            }
            Err(JournalError::InUse { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if find_runner(path) != Runner::None {
            let entries = Journal::read_entries::<Value>(path, owner)?;
            return Err(own.describe_other(read_last(&entries)));
        }
        if stop.load(Ordering::Relaxed) {
            return Err(ExclusionError::Interrupted);
        }
        if began.elapsed() > OUTLIVING {
            return Err(ExclusionError::outlives(kind, path, OUTLIVING));
        }
        waited = true;
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::fixtures::build_client;

    use super::*;

    const KINDS: [ExchangeKind; 3] = [
        ExchangeKind::Canary,
        ExchangeKind::Upgrade,
        ExchangeKind::Rollback,
    ];

    fn journal_path(dir: &Path, kind: ExchangeKind) -> PathBuf {
        dir.join(kind.command().replace(' ', "-"))
    }

    #[test]
    fn what_is_under_way_is_named_with_its_age_and_its_remedy() {
        let (dir, client) = (tempfile::tempdir().unwrap(), build_client());
        for (kind, remedy) in KINDS.into_iter().zip([
            "`ark canary resume` goes on with it, `ark canary abort` undoes it",
            "`ark upgrade` goes on with it, `ark upgrade --back` undoes it",
            "end it with `ark rollback --journal ",
        ]) {
            let path = journal_path(dir.path(), kind);
            let other = OtherJournal { kind, path: &path };
            other.refuse_other(&client).unwrap();
            assert!(!path.exists(), "a look changes nothing");
            let open = || Journal::open::<Value>(&path, &kind.owner_for(&client)).unwrap();
            let (mut journal, _) = open();
            // Somebody holds it who does not say that he begins.
            let refused = hold_others(&client, &[other]).unwrap_err().to_string();
            assert!(refused.contains("is beginning"), "{refused}");
            let began = json!({"started": {"id": "x-1", "began_at": 1_790_000_000_123_u64}});
            journal.record_entry(&began).unwrap();
            journal.record_entry(&json!({"phase": "check"})).unwrap();
            drop(journal);
            for refused in [
                other.refuse_other(&client).unwrap_err(),
                hold_others(&client, &[other]).map(drop).unwrap_err(),
            ] {
                let refused = refused.to_string();
                for part in [
                    "x-1 (`ark ",
                    "was begun and has not ended, since 2026-09-21T14:13:20Z",
                    "no process runs it",
                    remedy,
                ] {
                    assert!(refused.contains(part), "{part}: {refused}");
                }
            }
            let (mut journal, entries) = open();
            assert_eq!(entries.len(), 2);
            journal.record_entry(&json!({"finished": {}})).unwrap();
            drop(journal);
            let held = hold_others(&client, &[other]).unwrap();
            assert!(matches!(
                Journal::open::<Value>(&path, &kind.owner_for(&client)),
                Err(JournalError::InUse { .. })
            ));
            drop(held);
            open();
        }
    }

    #[test]
    fn of_those_that_begin_at_the_same_moment_one_at_most_begins() {
        let (dir, client) = (tempfile::tempdir().unwrap(), build_client());
        let mut begun = 0;
        for _ in 0..20 {
            let gate = std::sync::Barrier::new(KINDS.len());
            let begin = |kind: ExchangeKind| {
                let paths = KINDS.map(|kind| journal_path(dir.path(), kind));
                let all = KINDS.iter().zip(&paths);
                let others = all.filter(|(one, _)| **one != kind);
                let others = others.map(|(kind, path)| OtherJournal { kind: *kind, path });
                let others: Vec<_> = others.collect();
                gate.wait();
                let stop = AtomicBool::new(false);
                let own = open_own::<Value>(&client, kind, &journal_path(dir.path(), kind), &stop);
                let Ok(mut own) = own else { return false };
                let Ok(held) = hold_others(&client, &others) else {
                    return false;
                };
                let began = json!({"started": {"id": "x", "began_at": 1}});
                own.journal.record_entry(&began).unwrap();
                drop(held);
                true
            };
            let found = std::thread::scope(|scope| {
                let started = KINDS.map(|kind| scope.spawn(move || begin(kind)));
                let ended = started.map(|one| u32::from(one.join().unwrap()));
                ended.iter().sum::<u32>()
            });
            assert!(found <= 1, "{found} have begun");
            begun += found;
            for kind in KINDS {
                let path = journal_path(dir.path(), kind);
                let owner = kind.owner_for(&client);
                let (mut journal, entries) = Journal::open::<Value>(&path, &owner).unwrap();
                assert!(entries.len() <= 1);
                journal.clear_entries().unwrap();
            }
        }
        println!("{begun} of 20 rounds had one that began");
    }

    #[test]
    fn what_outlives_its_run_is_waited_for_until_a_signal() {
        let (dir, client) = (tempfile::tempdir().unwrap(), build_client());
        let (kind, path) = (ExchangeKind::Upgrade, dir.path().join("journal"));
        let (journal, _) = Journal::open::<Value>(&path, &kind.owner_for(&client)).unwrap();
        // A command of a run that has ended, so that nobody marks it.
        let lock = journal.share_lock().unwrap();
        drop(journal);
        let stop = AtomicBool::new(true);
        let refused = open_own::<Value>(&client, kind, &path, &stop).map(drop);
        assert!(matches!(refused, Err(ExclusionError::Interrupted)));
        let stop = AtomicBool::new(false);
        let opened = std::thread::scope(|scope| {
            let opens = scope.spawn(|| open_own::<Value>(&client, kind, &path, &stop).unwrap());
            std::thread::sleep(PAUSE * 4);
            assert!(!opens.is_finished());
            drop(lock);
            opens.join().unwrap()
        });
        assert!(opened.waited && opened.entries.is_empty());
        // A second one beside the one that runs is refused at once.
        let refused = open_own::<Value>(&client, kind, &path, &stop).map(drop);
        assert!(matches!(refused, Err(ExclusionError::UnderWay(_))));
    }

    #[test]
    fn a_journal_that_cannot_be_used_is_named_by_its_option() {
        let dir = tempfile::tempdir().unwrap();
        let client = build_client();
        for kind in KINDS {
            let path = journal_path(dir.path(), kind);
            std::fs::write(&path, "something else\n").unwrap();
            let other = OtherJournal { kind, path: &path };
            let own = other.refuse_own(&client).unwrap_err().to_string();
            assert!(own.ends_with("give another place with --journal"), "{own}");
            let named = format!("give another place with {}", kind.journal_option());
            for refused in [
                other.refuse_other(&client),
                hold_others(&client, &[other]).map(drop),
            ] {
                let refused = refused.unwrap_err().to_string();
                assert!(refused.ends_with(&named), "{refused}");
            }
        }
    }
}
