//! One exchange of the version on a data directory at a time, whatever address and journal the commands were given: who exchanges it holds a lock on the
//! directory itself, which leaves nothing behind when its process ends.
//!
//! The lock of the host, `ark.lock` in the directory, is another one. What was begun and is run by no process is in the journals alone
//! ([`crate::exclusion`]).
//!
//! Must not know: what an exchange does.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::exclusion::ExclusionError;

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a lock is waited for: a dry run looks at it for a moment, and a command that was ended gives it back when it has.
const PATIENCE: Duration = Duration::from_secs(2);

/// The lock, until it is dropped.
#[derive(Debug)]
pub(crate) struct DataDirLock {
    /// `None`: there is no directory that could be locked.
    _dir: Option<File>,
}

impl DataDirLock {
    /// Takes the lock of a data directory. One that is not there yet has none.
    ///
    /// # Errors
    /// Another process has it, or the directory cannot be opened.
    pub(crate) fn acquire(data_dir: &Path) -> Result<Self, ExclusionError> {
        lock_directory(data_dir, FlockOperation::NonBlockingLockExclusive)
    }

    /// Refuses where another process has the lock. Changes nothing.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub(crate) fn refuse_other(data_dir: &Path) -> Result<(), ExclusionError> {
        lock_directory(data_dir, FlockOperation::NonBlockingLockShared).map(drop)
    }
}

fn lock_directory(
    data_dir: &Path,
    operation: FlockOperation,
) -> Result<DataDirLock, ExclusionError> {
    let failed = |cause| ExclusionError::Lock {
        dir: data_dir.to_owned(),
        cause,
    };
    let dir = match File::open(data_dir) {
        Ok(dir) => dir,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(DataDirLock { _dir: None }),
        Err(error) => return Err(failed(error)),
    };
    let ends = Instant::now() + PATIENCE;
    loop {
        match flock(&dir, operation) {
            Ok(()) => return Ok(DataDirLock { _dir: Some(dir) }),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < ends => {
                std::thread::sleep(PAUSE);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(ExclusionError::DataDirectory(data_dir.to_owned()));
            }
            Err(error) => return Err(failed(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_exchanged_by_one_at_a_time_by_whatever_path() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        DataDirLock::acquire(&data).unwrap();
        std::fs::create_dir(&data).unwrap();
        let other = dir.path().join("other");
        std::os::unix::fs::symlink(&data, &other).unwrap();
        let held = DataDirLock::acquire(&data).unwrap();
        for refused in [
            DataDirLock::acquire(&other).map(drop),
            DataDirLock::refuse_other(&data),
        ] {
            assert!(matches!(refused, Err(ExclusionError::DataDirectory(_))));
        }
        drop(held);
        DataDirLock::refuse_other(&data).unwrap();
        DataDirLock::acquire(&other).unwrap();
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
    }
}
