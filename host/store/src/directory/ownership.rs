//! The owner of what root writes for a host that is another user: a command, or a host, that root runs on the data directory of that user leaves
//! nothing there that the user cannot write to.
//!
//! Invariant: only files and directories of root, with no other name (hard link), are given away, and no symbolic link below the directory is
//! followed, whatever is renamed meanwhile: each entry is opened from the open directory that it is in. The host's user may write to these
//! directories, and must not get a file of the machine by a link to it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Component, Path};

use rustix::fs::{Dir, Mode, OFlags, open, openat};
use rustix::io::Errno;
use rustix::process::geteuid;

/// How the names begin of what this crate writes in a data directory. `SQLite` gives the log and its index to the owner of the database itself.
const MADE: [&str; 7] = [
    "ark.db",
    "ark.lock",
    "anchors.jsonl",
    "before-anew-",
    "before-restore-",
    "rescued-",
    "restore.pending",
];

/// Who a file belongs to.
#[derive(Clone, Copy)]
struct FileOwner {
    user: u32,
    group: u32,
}

/// Gives what this crate wrote in a data directory to the owner of the directory, if this is root and the owner is not.
///
/// # Errors
/// Something of it cannot be given; the message names it.
pub fn give_made(data_dir: &Path) -> io::Result<()> {
    let Some(owner) = find_other_owner(data_dir)? else {
        return Ok(());
    };
    let failed = |error: Errno| name_file(data_dir, &error.into());
    let directory = open_directory(data_dir)?;
    for entry in Dir::read_from(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if MADE.iter().any(|begin| name.starts_with(begin.as_bytes())) {
            give_entry(directory.as_fd(), name, owner)
                .map_err(|error| name_file(data_dir, &error))?;
        }
    }
    Ok(())
}

/// Gives a file, or a directory with what it holds, to the owner of a data directory, if this is root and the owner is not.
///
/// # Errors
/// Something of it cannot be given; the message names it.
pub fn give_to_owner(path: &Path, data_dir: &Path) -> io::Result<()> {
    let Some(owner) = find_other_owner(data_dir)? else {
        return Ok(());
    };
    // Below the data directory the user may have put links; anywhere else the directory is the one that the operator named.
    let (base, below) = match path.strip_prefix(data_dir) {
        Ok(below) => (data_dir, below),
        Err(_) => match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => (parent, Path::new(name)),
            _ => return Ok(()),
        },
    };
    let base = if base.as_os_str().is_empty() {
        Path::new(".")
    } else {
        base
    };
    let mut directory = open_directory(base)?;
    let mut names = below.components().peekable();
    while let Some(Component::Normal(name)) = names.next() {
        if names.peek().is_none() {
            let given = give_entry(directory.as_fd(), name.as_bytes(), owner);
            return given.map_err(|error| name_file(path, &error));
        }
        let Some(next) = open_entry(directory.as_fd(), name.as_bytes())? else {
            return Ok(());
        };
        directory = next;
    }
    Ok(())
}

fn find_other_owner(data_dir: &Path) -> io::Result<Option<FileOwner>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let found = std::fs::metadata(data_dir).map_err(|error| name_file(data_dir, &error))?;
    let owner = FileOwner {
        user: found.uid(),
        group: found.gid(),
    };
    Ok((owner.user != 0).then_some(owner))
}

fn name_file(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The flag for opening a file of a data directory that root may write to while its user can put links there.
pub(crate) fn no_follow() -> i32 {
    i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0)
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|error| name_file(path, &error.into()))
}

/// Opens an entry of a directory. `None`: it is there no more, or it is a symbolic link or a socket, which nothing here makes.
fn open_entry(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(directory, name, flags, Mode::empty()) {
        Ok(entry) => Ok(Some(entry)),
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Gives an entry of a directory: a file, or a directory with what it holds, which comes first: until then nobody else can change what is in it.
fn give_entry(directory: BorrowedFd<'_>, name: &[u8], owner: FileOwner) -> io::Result<()> {
    let Some(entry) = open_entry(directory, name)? else {
        return Ok(());
    };
    let entry = File::from(entry);
    let found = entry.metadata()?;
    if found.uid() != 0 || !(found.is_dir() || (found.is_file() && found.nlink() == 1)) {
        return Ok(());
    }
    if found.is_dir() {
        for held in Dir::read_from(&entry)? {
            let held = held?;
            let name = held.file_name().to_bytes();
            if name != b"." && name != b".." {
                give_entry(entry.as_fd(), name, owner)?;
            }
        }
    }
    match fchown(&entry, Some(owner.user), Some(owner.group)) {
        // A container's root may have lost the right to; it could work on the directory all the same, and still can.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let name = String::from_utf8_lossy(name).into_owned();
            tracing::warn!(
                name,
                user = owner.user,
                "root may not give this away: that user's host cannot use it"
            );
            Ok(())
        }
        given => given,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn files_written_by_root_get_the_owner_of_the_directory() {
        if !geteuid().is_root() {
            return;
        }
        let other = 65_534;
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let at = |name: &str| data.join(name);
        std::fs::create_dir_all(at("before-restore-1")).unwrap();
        chown(&data, Some(other), Some(other)).unwrap();
        let given = [
            "ark.db",
            "ark.lock",
            "anchors.jsonl",
            "before-restore-1/ark.db",
        ];
        for name in given.iter().chain(&["graveyard.txt"]) {
            std::fs::write(at(name), b"").unwrap();
        }
        let foreign = dir.path().join("shadow");
        std::fs::write(&foreign, b"").unwrap();
        symlink(&foreign, at("ark.db-wal")).unwrap();
        std::fs::hard_link(&foreign, at("ark.db-shm")).unwrap();
        // A directory of the user's in the place of one that root made leads nowhere, either.
        let elsewhere = dir.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        std::fs::write(elsewhere.join("ark.db"), b"").unwrap();
        symlink(&elsewhere, at("before-restore-2")).unwrap();
        symlink(&elsewhere, at("capsules")).unwrap();
        give_to_owner(&at("capsules/ark.db"), &data).unwrap();
        give_made(&data).unwrap();
        for name in given.iter().chain(&["before-restore-1"]) {
            let found = std::fs::metadata(at(name)).unwrap();
            assert_eq!((found.uid(), found.gid()), (other, other), "{name}");
        }
        // What this crate did not write stays, and nothing is given by a link.
        for path in [
            at("graveyard.txt"),
            foreign,
            elsewhere.join("ark.db"),
            elsewhere,
        ] {
            assert_eq!(std::fs::metadata(&path).unwrap().uid(), 0, "{path:?}");
        }
    }
}
