//! A journal on disk: what a command has begun on a host and not undone yet, so that the next run can undo it after a kill at any point.
//!
//! The first line says whose journal it is: the command and the host. An entry is a line of JSON, on disk before the step that it announces. A
//! line that a kill cut off announces a step that was never taken.
//!
//! Invariant: a file that is not the journal of this command and this host is not changed.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ark_client::normalize_address;
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::durable::{make_directory, sync_entry};

/// The most bytes of a journal, which is read as a whole. That of rollbacks is their history, with a few thousand bytes each; the others are emptied.
const MAX_JOURNAL: u64 = 64 << 20;

/// The room that an exchange reserves in its journal before the host is stopped, in bytes: its entries from there on have a few hundred bytes each,
/// one that begins a rollback has a few thousand.
pub(crate) const EXCHANGE_ROOM: u64 = 128 << 10;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("the journal {path}: {cause}; {remedy}", path = path.display(), remedy = find_remedy(cause, *option))]
    File {
        /// The file.
        path: PathBuf,
        /// The option that names it; `None`: the command has none for it.
        option: Option<&'static str>,
        /// What the system reports.
        cause: std::io::Error,
    },
    /// The file is something else. Nothing in it was changed.
    #[error("{path} is not the journal of `{command}` for {host}; {remedy}", path = path.display(), remedy = name_place(*option))]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The option that names it; `None`: the command has none for it.
        option: Option<&'static str>,
        /// The command whose journal was wanted.
        command: String,
        /// The address of the host it was wanted for.
        host: String,
    },
    /// A line is damaged, so what an earlier run left is not known. Nothing in the file was changed.
    #[error("the journal {path}, line {line}: {cause}; undo by hand what the lines around it say, then remove the file", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
    /// It has more than any run reads, as those of earlier versions can. Nothing in the file was changed.
    #[error("the journal {path} has more than {most} bytes, which no run reads; undo by hand what its last lines began and did not end, then move it away and run the command again", path = path.display(), most = MAX_JOURNAL)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// With the next entry it would have more than any run reads.
    #[error("the journal {path} is full: with the next entry it would have more than {most} bytes, which no run reads; the step was not begun: run the command again, which goes on by the journal, or move it away once nothing that it names is under way", path = path.display(), most = MAX_JOURNAL)]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Another run uses it.
    #[error("another run uses the journal {path}; wait for its end{other}", path = path.display(), other = option.map_or_else(String::new, |option| format!(", or give another one with {option}")))]
    InUse {
        /// The file.
        path: PathBuf,
        /// The option that names it; `None`: the command has none for it.
        option: Option<&'static str>,
    },
}

impl JournalError {
    /// The error of a command whose option for this journal is another one; `None`: it has none.
    pub(crate) fn with_option(mut self, named: Option<&'static str>) -> Self {
        match &mut self {
            Self::File { option, .. }
            | Self::Foreign { option, .. }
            | Self::InUse { option, .. } => *option = named,
            Self::Damaged { .. } | Self::TooLarge { .. } | Self::Full { .. } => {}
        }
        self
    }

    /// What is wrong, without what is said of a step that is not begun: for one that is taken all the same.
    pub(crate) fn describe_cause(&self) -> String {
        match self {
            Self::File { path, cause, .. } => format!("{}: {cause}", path.display()),
            error => error.to_string(),
        }
    }
}

/// What to do about a file that cannot be used. A journal without room stays where it is: what was begun is in it.
fn find_remedy(cause: &std::io::Error, option: Option<&'static str>) -> String {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match cause.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => {
            "the step was not begun: make room there, then run the command again".to_owned()
        }
        _ => name_place(option),
    }
}

/// How a journal gets another place.
fn name_place(option: Option<&'static str>) -> String {
    option.map_or_else(
        || "correct that, or move it away, then run the command again".to_owned(),
        |option| format!("give another place with {option}"),
    )
}

/// The option by which a command names its own journal.
pub(crate) const OWN_JOURNAL: Option<&str> = Some("--journal");

/// Whose journal a file is: its first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JournalOwner {
    /// The command, e.g. `ark synthetic`.
    #[serde(rename = "journal")]
    pub command: &'static str,
    /// The address of the host that it works on, as [`normalize_address`] spells it.
    pub host: String,
    /// The option by which the command that runs names it; `None`: it has none for it.
    #[serde(skip)]
    pub option: Option<&'static str>,
}

/// A file is something else, or another owner's.
struct ForeignOwner;

impl JournalOwner {
    /// Where the entries of a file with this text begin; `None`: it has no whole first line. `header`: the first line, with its end. Earlier versions spelt
    /// the address as it was given.
    fn find_entries(&self, header: &str, text: &[u8]) -> Result<Option<usize>, ForeignOwner> {
        #[derive(Deserialize)]
        struct FoundOwner {
            journal: String,
            host: String,
        }
        // A header that a kill cut off is followed by nothing.
        if text.len() < header.len() && header.as_bytes().starts_with(text) {
            return Ok(None);
        }
        let end = text.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or(ForeignOwner)?;
        let line = text.get(..end).unwrap_or_default();
        let found: FoundOwner = serde_json::from_slice(line).map_err(|_| ForeignOwner)?;
        let is_own = found.journal == self.command
            && normalize_address(&found.host) == normalize_address(&self.host);
        if is_own {
            Ok(Some(end + 1))
        } else {
            Err(ForeignOwner)
        }
    }
}

/// A journal that this process alone writes to.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// The first line, with its end.
    header: String,
    is_empty: bool,
    /// The option that names it.
    option: Option<&'static str>,
}

impl Journal {
    /// Opens a journal, or makes one. Returns the entries that an earlier run left in it, in their order.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open<E: DeserializeOwned>(
        path: &Path,
        owner: &JournalOwner,
    ) -> Result<(Self, Vec<E>), JournalError> {
        let failed = |cause| JournalError::File {
            path: path.to_owned(),
            option: owner.option,
            cause,
        };
        let foreign = || JournalError::Foreign {
            path: path.to_owned(),
            option: owner.option,
            command: owner.command.to_owned(),
            host: owner.host.clone(),
        };
        // What is no file is not opened: a pipe would block, and a device may act.
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(foreign());
        }
        let header = serde_json::to_string(owner).map_err(|error| failed(error.into()))? + "\n";
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            make_directory(dir).map_err(failed)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(JournalError::InUse {
                path: path.to_owned(),
                option: owner.option,
            });
        }
        let mut text = Vec::new();
        (&mut file)
            .take(MAX_JOURNAL + 1)
            .read_to_end(&mut text)
            .map_err(failed)?;
        let found = owner
            .find_entries(&header, &text)
            .map_err(|ForeignOwner| foreign())?;
        check_size(path, &text)?;
        let begin = found.unwrap_or(text.len());
        let (entries, whole) = read_lines(path, text.get(begin..).unwrap_or_default())?;
        let is_empty = found.is_none();
        if is_empty {
            // It may be new.
            sync_entry(path).map_err(failed)?;
        }
        // What comes next must not be joined to a line that was cut off.
        let kept = found.map_or(0, |begin| begin + whole);
        let length = file.metadata().map_err(failed)?.len();
        if length != kept as u64 {
            file.set_len(kept as u64).map_err(failed)?;
        }
        // Room that is reserved behind the end would be given up by a change of the length.
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        let journal = Self {
            path: path.to_owned(),
            file,
            header,
            is_empty,
            option: owner.option,
        };
        Ok((journal, entries))
    }

    /// The entries of a journal, which another process may use; none if there is no journal.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn read_entries<E: DeserializeOwned>(
        path: &Path,
        owner: &JournalOwner,
    ) -> Result<Vec<E>, JournalError> {
        let failed = |cause| JournalError::File {
            path: path.to_owned(),
            option: owner.option,
            cause,
        };
        let mut text = Vec::new();
        match File::open(path) {
            Ok(file) => file
                .take(MAX_JOURNAL + 1)
                .read_to_end(&mut text)
                .map_err(failed)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        check_size(path, &text)?;
        let header = serde_json::to_string(owner).map_err(|error| failed(error.into()))? + "\n";
        let Ok(found) = owner.find_entries(&header, &text) else {
            return Err(JournalError::Foreign {
                path: path.to_owned(),
                option: owner.option,
                command: owner.command.to_owned(),
                host: owner.host.clone(),
            });
        };
        let Some(entries) = found.and_then(|begin| text.get(begin..)) else {
            return Ok(Vec::new());
        };
        // The last line may be one that is being written.
        read_lines(path, entries).map(|(entries, _)| entries)
    }

    /// Its file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A handle that keeps the journal in use until it is closed, also when this process has ended.
    ///
    /// # Errors
    /// [`JournalError::File`]: the system gives none.
    pub(crate) fn share_lock(&self) -> Result<File, JournalError> {
        self.file
            .try_clone()
            .map_err(|cause| self.make_error(cause))
    }

    /// Reserves room on disk behind the last entry, so that so many bytes of further ones need none. It stays reserved when the journal is closed and
    /// opened again, until [`Self::release_room`] or [`Self::clear_entries`]. A file system that reserves nothing is no error.
    ///
    /// # Errors
    /// [`JournalError::File`]: there is no such room.
    pub(crate) fn reserve_room(&self, bytes: u64) -> Result<(), JournalError> {
        let reserved = self.file.metadata().and_then(|found| {
            match fallocate(&self.file, FallocateFlags::KEEP_SIZE, found.len(), bytes) {
                Ok(()) => self.file.sync_all(),
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
                Err(error) => Err(error.into()),
            }
        });
        reserved.map_err(|cause| self.make_error(cause))
    }

    /// Gives back the room that is reserved and was not needed. What cannot be given back is no error.
    pub(crate) fn release_room(&self) {
        let _released = self
            .file
            .metadata()
            .and_then(|found| self.file.set_len(found.len()));
    }

    /// Adds an entry, which is on disk when this returns.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn record_entry(&mut self, entry: &impl Serialize) -> Result<(), JournalError> {
        let header = if self.is_empty { &self.header } else { "" };
        let entry = serde_json::to_string(entry).map_err(|cause| self.make_error(cause.into()))?;
        let line = format!("{header}{entry}\n");
        let end = self.file.stream_position();
        let end = end.map_err(|cause| self.make_error(cause))?;
        if end.saturating_add(line.len() as u64) > MAX_JOURNAL {
            return Err(JournalError::Full {
                path: self.path.clone(),
            });
        }
        self.append_line(&line, end)
            .map_err(|cause| self.make_error(cause))
    }

    fn append_line(&mut self, line: &str, end: u64) -> std::io::Result<()> {
        let written = self
            .file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.sync_data());
        if written.is_err() {
            // The next entry must not be joined to a part of this one.
            self.file.set_len(end)?;
            self.file.seek(SeekFrom::End(0))?;
        } else {
            self.is_empty = false;
        }
        written
    }

    /// Forgets everything: all that was begun is undone.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn clear_entries(&mut self) -> Result<(), JournalError> {
        let emptied = self.file.set_len(0);
        emptied.map_err(|cause| self.make_error(cause))?;
        self.is_empty = true;
        let cleared = self
            .file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.sync_data());
        cleared.map_err(|cause| self.make_error(cause))
    }

    fn make_error(&self, cause: std::io::Error) -> JournalError {
        JournalError::File {
            path: self.path.clone(),
            option: self.option,
            cause,
        }
    }
}

fn check_size(path: &Path, text: &[u8]) -> Result<(), JournalError> {
    if text.len() as u64 > MAX_JOURNAL {
        return Err(JournalError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// Reads entries, one a line, up to the last line that has an end. Returns how many bytes these lines have, too.
fn read_lines<E: DeserializeOwned>(
    path: &Path,
    text: &[u8],
) -> Result<(Vec<E>, usize), JournalError> {
    let whole = text.iter().rposition(|byte| *byte == b'\n');
    let whole = whole.map_or(0, |end| end + 1);
    let lines = text.get(..whole).unwrap_or_default();
    let mut entries = Vec::new();
    for (line, number) in lines.split_inclusive(|byte| *byte == b'\n').zip(2..) {
        let entry = serde_json::from_slice(line).map_err(|cause| JournalError::Damaged {
            path: path.to_owned(),
            line: number,
            cause,
        })?;
        entries.push(entry);
    }
    Ok((entries, whole))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn build_owner() -> JournalOwner {
        JournalOwner {
            command: "ark synthetic",
            host: "http://127.0.0.1:8000".to_owned(),
            option: OWN_JOURNAL,
        }
    }

    fn open(path: &Path) -> Result<(Journal, Vec<u32>), JournalError> {
        Journal::open(path, &build_owner())
    }

    #[test]
    fn what_was_recorded_is_there_after_a_kill_and_a_cut_line_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/journal");
        let (mut journal, found) = open(&path).unwrap();
        assert!(found.is_empty());
        journal.record_entry(&1).unwrap();
        journal.record_entry(&2).unwrap();
        assert!(matches!(open(&path), Err(JournalError::InUse { .. })));
        assert_eq!(
            Journal::read_entries::<u32>(&path, &build_owner()).unwrap(),
            [1, 2]
        );
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"3").unwrap();
        drop(file);
        let (mut journal, found) = open(&path).unwrap();
        assert_eq!(found, [1, 2]);
        journal.record_entry(&4).unwrap();
        drop(journal);
        let (mut journal, found) = open(&path).unwrap();
        assert_eq!(found, [1, 2, 4]);
        journal.clear_entries().unwrap();
        drop(journal);
        let (mut journal, found) = open(&path).unwrap();
        assert!(found.is_empty());
        journal.record_entry(&5).unwrap();
        drop(journal);
        assert_eq!(open(&path).unwrap().1, [5]);
        // Cut off at any byte, it is the journal still.
        let text = std::fs::read(&path).unwrap();
        for length in 0..text.len() {
            std::fs::write(&path, &text[..length]).unwrap();
            let (mut journal, found) = open(&path).unwrap();
            assert!(found.is_empty(), "{length}");
            journal.record_entry(&6).unwrap();
            drop(journal);
            assert_eq!(open(&path).unwrap().1, [6]);
        }
    }

    #[test]
    fn a_file_that_is_something_else_is_not_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ark.toml");
        let another = JournalOwner {
            host: "http://127.0.0.1:8001".to_owned(),
            ..build_owner()
        };
        let (mut journal, _) = Journal::open::<u32>(&path, &another).unwrap();
        journal.record_entry(&1).unwrap();
        drop(journal);
        let of_another_host = std::fs::read(&path).unwrap();
        for content in [
            b"listen = \"127.0.0.1:8000\"\n".as_slice(),
            b"no line",
            b"\n",
            b"\xff\xfe",
            b"1\n2\n",
            &of_another_host,
        ] {
            std::fs::write(&path, content).unwrap();
            let refused = open(&path).unwrap_err();
            assert!(matches!(refused, JournalError::Foreign { .. }), "{refused}");
            assert_eq!(std::fs::read(&path).unwrap(), content);
        }
        assert!(matches!(
            open(dir.path()),
            Err(JournalError::Foreign { .. })
        ));
    }

    #[test]
    fn a_journal_belongs_to_its_host_however_the_address_was_spelt() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let text = "{\"journal\":\"ark synthetic\",\"host\":\"http://localhost:8000\"}\n1\n";
        std::fs::write(&path, text).unwrap();
        let read = Journal::read_entries::<u32>(&path, &build_owner()).unwrap();
        assert_eq!(read, [1]);
        let (mut journal, found) = open(&path).unwrap();
        assert_eq!(found, [1]);
        journal.record_entry(&2).unwrap();
        drop(journal);
        assert_eq!(open(&path).unwrap().1, [1, 2]);
    }

    #[test]
    fn a_damaged_line_is_told_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, _) = open(&path).unwrap();
        journal.record_entry(&1).unwrap();
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"x\n2\n").unwrap();
        drop(file);
        let begin = std::fs::read(&path).unwrap();
        let header = begin.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        // Also where it is no text, or empty: the journal is not to be given up for another one.
        for (lines, line) in [
            (b"1\nx\n2\n".as_slice(), 3),
            (b"1\n\xff\xfe\n2\n", 3),
            (b"\xff\n", 2),
            (b"1\n\n2\n", 3),
            (b"\0\0\0\0\n", 2),
        ] {
            let text = [&begin[..header], lines].concat();
            std::fs::write(&path, &text).unwrap();
            let read = Journal::read_entries::<u32>(&path, &build_owner()).unwrap_err();
            for refused in [open(&path).unwrap_err(), read] {
                let JournalError::Damaged { line: found, .. } = refused else {
                    panic!("{refused}");
                };
                assert_eq!(found, line);
            }
            assert_eq!(std::fs::read(&path).unwrap(), text);
        }
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(MAX_JOURNAL * 2).unwrap();
        for refused in [
            open(&path).unwrap_err(),
            Journal::read_entries::<u32>(&path, &build_owner()).unwrap_err(),
        ] {
            assert!(
                matches!(refused, JournalError::TooLarge { .. }),
                "{refused}"
            );
            let told = refused.to_string();
            assert!(
                told.contains("more than 67108864 bytes") && told.contains("move it away"),
                "{told}"
            );
        }
    }

    #[test]
    fn a_journal_takes_no_entry_that_makes_it_larger_than_what_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, _) = open(&path).unwrap();
        journal.record_entry(&1).unwrap();
        let length = || std::fs::metadata(&path).unwrap().len();
        // An entry of a digit has two bytes, with the end of its line.
        journal.file.set_len(MAX_JOURNAL - 3).unwrap();
        journal.file.seek(SeekFrom::End(0)).unwrap();
        journal.record_entry(&2).unwrap();
        assert_eq!(length(), MAX_JOURNAL - 1);
        let refused = journal.record_entry(&3).unwrap_err();
        assert!(matches!(refused, JournalError::Full { .. }), "{refused}");
        let told = refused.to_string();
        assert!(
            told.contains("the step was not begun") && told.contains("run the command again"),
            "{told}"
        );
        assert_eq!(length(), MAX_JOURNAL - 1, "nothing of it was written");
        journal.clear_entries().unwrap();
        journal.record_entry(&3).unwrap();
        drop(journal);
        assert_eq!(open(&path).unwrap().1, [3]);
    }

    #[test]
    fn reserved_room_outlives_the_process_and_is_used_by_entries_and_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        // Blocks of 512 bytes, whatever those of the file system are.
        let blocks = || std::fs::metadata(&path).unwrap().blocks();
        let (mut journal, _) = open(&path).unwrap();
        journal.record_entry(&1).unwrap();
        let before = blocks();
        journal.reserve_room(EXCHANGE_ROOM).unwrap();
        let reserved = blocks();
        assert!(reserved >= before + (EXCHANGE_ROOM >> 10), "{reserved}");
        drop(journal);
        let (mut journal, entries) = open(&path).unwrap();
        assert_eq!((entries, blocks()), (vec![1], reserved));
        for entry in 0..500 {
            journal.record_entry(&entry).unwrap();
        }
        assert_eq!(blocks(), reserved, "no entry needs more room");
        journal.release_room();
        assert!(blocks() < reserved);
        drop(journal);
        assert_eq!(open(&path).unwrap().1.len(), 501);
    }
}
