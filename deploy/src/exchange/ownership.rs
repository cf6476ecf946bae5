//! The owner of what root writes for a host that is another user.
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

use super::error::ExchangeError;

/// How the names begin of what a restore writes in a data directory.
const RESTORED: [&str; 5] = [
    "ark.db",
    "ark.lock",
    "anchors.jsonl",
    "before-restore-",
    "restore.pending",
];

/// Who a file belongs to.
#[derive(Clone, Copy)]
struct FileOwner {
    user: u32,
    group: u32,
}

/// Gives what a restore wrote to the owner of the data directory, if this is root and the owner is not.
pub(crate) fn give_restored(data_dir: &Path) -> Result<(), ExchangeError> {
    let Some(owner) = find_other_owner(data_dir)? else {
        return Ok(());
    };
    for entry in std::fs::read_dir(data_dir).map_err(ExchangeError::for_file(data_dir))? {
        let entry = entry.map_err(ExchangeError::for_file(data_dir))?;
        let name = entry.file_name();
        let is_restored = |begin: &str| name.as_encoded_bytes().starts_with(begin.as_bytes());
        if RESTORED.iter().any(|begin| is_restored(begin)) {
            give(&entry.path(), owner)?;
        }
    }
    Ok(())
}

/// Gives a snapshot to the owner of the data directory that it is of, if this is root and the owner is not.
pub(super) fn give_snapshot(snapshot: &Path, data_dir: &Path) -> Result<(), ExchangeError> {
    find_other_owner(data_dir)?.map_or(Ok(()), |owner| give(snapshot, owner))
}

fn find_other_owner(data_dir: &Path) -> Result<Option<FileOwner>, ExchangeError> {
    let found = std::fs::metadata(data_dir).map_err(ExchangeError::for_file(data_dir))?;
    let owner = FileOwner {
        user: found.uid(),
        group: found.gid(),
    };
    Ok((geteuid().is_root() && owner.user != 0).then_some(owner))
}

/// Gives a file, or a directory with what it holds, which comes first: until then nobody else can change what is in it.
fn give(path: &Path, owner: FileOwner) -> Result<(), ExchangeError> {
    let failed = ExchangeError::for_file(path);
    let file = match open_unfollowed(path) {
        Ok(file) => file,
        // A file of SQLite's that has ended, or a symbolic link, which no restore makes.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) =>
        {
            return Ok(());
        }
        Err(error) => return Err(failed(error)),
    };
    let found = file.metadata().map_err(&failed)?;
    if found.uid() != 0 || !(found.is_dir() || (found.is_file() && found.nlink() == 1)) {
        return Ok(());
    }
    if found.is_dir() {
        for entry in std::fs::read_dir(path).map_err(&failed)? {
            give(&entry.map_err(&failed)?.path(), owner)?;
        }
    }
    fchown(&file, Some(owner.user), Some(owner.group)).map_err(failed)
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
    fn what_root_restored_belongs_to_the_owner_of_the_directory() {
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
        give_restored(&data).unwrap();
        for name in given.iter().chain(&["before-restore-1"]) {
            let found = std::fs::metadata(at(name)).unwrap();
            assert_eq!((found.uid(), found.gid()), (other, other), "{name}");
        }
        // What no restore wrote stays, and nothing is given by a link.
        for path in [at("graveyard.txt"), foreign] {
            assert_eq!(std::fs::metadata(&path).unwrap().uid(), 0, "{path:?}");
        }
    }
}
