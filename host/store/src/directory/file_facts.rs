//! What identifies a file, and its length, without its times.
//!
//! The writer asks for them around every commit. On file systems that keep fine timestamps only of files whose times somebody asks for (Linux
//! 6.13 and later: `Documentation/filesystems/multigrain-ts.rst`), a question for the times gives the next write a new one. Its inode is then
//! written too when the log is synced, for which ext4 without a journal waits a second time.

use std::fs::File;
use std::io::Result;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Statx, StatxFlags, makedev, statx};
use rustix::io::Errno;

/// What is asked for. The device is always told.
const MASK: StatxFlags = StatxFlags::INO.union(StatxFlags::SIZE);

/// Which file it is, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileFacts {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// The length in bytes.
    pub(crate) bytes: u64,
}

impl FileFacts {
    /// Reads the facts of the file that a path leads to, through symbolic links.
    ///
    /// # Errors
    /// There is no such file, or it may not be looked at.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        match statx(CWD, path, AtFlags::empty(), MASK) {
            Ok(found) => Ok(Self::from_statx(&found)),
            // A kernel without the call, or a sandbox that refuses it.
            Err(Errno::NOSYS | Errno::PERM) => Ok(Self::from_metadata(&std::fs::metadata(path)?)),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the facts of an open file, wherever its path leads by now.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub(crate) fn read_open(file: &File) -> Result<Self> {
        match statx(file, "", AtFlags::EMPTY_PATH, MASK) {
            Ok(found) => Ok(Self::from_statx(&found)),
            Err(Errno::NOSYS | Errno::PERM) => Ok(Self::from_metadata(&file.metadata()?)),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether both are of the same file, whatever its length.
    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    fn from_statx(found: &Statx) -> Self {
        Self {
            device: makedev(found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
            bytes: found.stx_size,
        }
    }

    fn from_metadata(found: &std::fs::Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn a_path_and_the_open_file_have_the_same_facts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, [7; 5000]).unwrap();
        let facts = FileFacts::read(&path).unwrap();
        assert_eq!(facts.bytes, 5000);
        let file = File::open(&path).unwrap();
        assert_eq!(FileFacts::read_open(&file).unwrap(), facts);

        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(FileFacts::read(&link).unwrap(), facts);

        std::fs::write(dir.path().join("other"), b"").unwrap();
        std::fs::rename(dir.path().join("other"), &path).unwrap();
        assert!(!FileFacts::read(&path).unwrap().is_same_file(&facts));
        assert_eq!(FileFacts::read_open(&file).unwrap(), facts);

        std::fs::remove_file(&path).unwrap();
        let error = FileFacts::read(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
