//! The owner of what root writes for a host that is another user: a command, or a host, that root runs on the data directory of that user leaves
//! nothing there that the user cannot write to.
//!
//! Invariant: only files and directories of root, with no other name (hard link), are given away, and no symbolic link is followed: the host's user
//! may write to these directories, and must not get a file of the machine by a link to it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use rustix::fs::OFlags;
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
    let failed = |error| name_file(data_dir, &error);
    for entry in std::fs::read_dir(data_dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let is_made = |begin: &str| name.as_encoded_bytes().starts_with(begin.as_bytes());
        if MADE.iter().any(|begin| is_made(begin)) {
            give(&entry.path(), owner)?;
        }
    }
    Ok(())
}

/// Gives a file, or a directory with what it holds, to the owner of a data directory, if this is root and the owner is not.
///
/// # Errors
/// Something of it cannot be given; the message names it.
pub fn give_to_owner(path: &Path, data_dir: &Path) -> io::Result<()> {
    find_other_owner(data_dir)?.map_or(Ok(()), |owner| give(path, owner))
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

/// Gives a file, or a directory with what it holds, which comes first: until then nobody else can change what is in it.
fn give(path: &Path, owner: FileOwner) -> io::Result<()> {
    let failed = |error| name_file(path, &error);
    let file = match open_unfollowed(path) {
        Ok(file) => file,
        // A file of SQLite's that has ended, or a symbolic link, which nothing here makes.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) =>
        {
            return Ok(());
        }
        Err(error) => return Err(failed(error)),
    };
    let found = file.metadata().map_err(failed)?;
    if found.uid() != 0 || !(found.is_dir() || (found.is_file() && found.nlink() == 1)) {
        return Ok(());
    }
    if found.is_dir() {
        for entry in std::fs::read_dir(path).map_err(failed)? {
            give(&entry.map_err(failed)?.path(), owner)?;
        }
    }
    match fchown(&file, Some(owner.user), Some(owner.group)) {
        // A container's root may have lost the right to; it could work on the directory all the same, and still can.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!(path = %path.display(), user = owner.user, "root may not give this away: that user's host cannot use it");
            Ok(())
        }
        given => given.map_err(failed),
    }
}

fn open_unfollowed(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn what_root_wrote_belongs_to_the_owner_of_the_directory() {
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
        give_made(&data).unwrap();
        for name in given.iter().chain(&["before-restore-1"]) {
            let found = std::fs::metadata(at(name)).unwrap();
            assert_eq!((found.uid(), found.gid()), (other, other), "{name}");
        }
        // What this crate did not write stays, and nothing is given by a link.
        for path in [at("graveyard.txt"), foreign] {
            assert_eq!(std::fs::metadata(&path).unwrap().uid(), 0, "{path:?}");
        }
    }
}
