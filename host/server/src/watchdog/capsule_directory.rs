//! Where capsules are kept: one file each, `capsules/AGENT/TIME-ID.json` in the data directory, readable by the host's user only.
//!
//! A capsule is bounded in size, those of an agent in their number, and all of them in the sum of their sizes and in their age. The oldest are
//! removed first.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ark_model::check::clip_for_error;
use ark_model::ids::{Digest, Name};
use ark_store::give_to_owner;

use super::capsule::{Capsule, CapsuleError, read_capsule};

/// How many capsules are kept, how large and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapsuleRetention {
    /// The largest capsule, in bytes. A larger one loses parts.
    pub capsule_bytes: usize,
    /// How many capsules of one agent are kept.
    pub per_agent: usize,
    /// The sum of the sizes of all capsules, in bytes.
    pub total_bytes: u64,
    /// The age from which on a capsule is removed, in days.
    pub days: u64,
}

impl Default for CapsuleRetention {
    fn default() -> Self {
        Self {
            capsule_bytes: 1024 * 1024,
            per_agent: 50,
            total_bytes: 256 * 1024 * 1024,
            days: 30,
        }
    }
}

/// A capsule's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapsuleFile {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    written: SystemTime,
}

/// The capsules of a data directory.
#[derive(Debug, Clone)]
pub struct CapsuleDirectory {
    dir: PathBuf,
    retention: CapsuleRetention,
}

impl CapsuleDirectory {
    /// Returns the directory of the capsules in a data directory. It is created with the first capsule.
    #[must_use]
    pub fn in_data_dir(data_dir: &Path, retention: CapsuleRetention) -> Self {
        Self {
            dir: data_dir.join("capsules"),
            retention,
        }
    }

    /// Writes a capsule and returns its digest. The agent's oldest capsules are removed where it has too many.
    ///
    /// The file is not synced: a failing agent must not occupy the disk of the others.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_capsule(&self, capsule: Capsule) -> std::io::Result<Digest> {
        let dir = self.dir.join(capsule.manifest.name.as_str());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)?;
        let name = format!("{:013}-{}.json", capsule.at_ms.0, capsule.id);
        let bytes = capsule
            .encode_within(self.retention.capsule_bytes)
            .map_err(std::io::Error::other)?;
        let unfinished = dir.join(format!(".{name}"));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        let written = file
            .write_all(&bytes)
            .and_then(|()| fs::rename(&unfinished, dir.join(&name)));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written?;
        // The directory of a host that root runs may be another user's, who runs the next one.
        if let Some(data_dir) = self.dir.parent() {
            for made in [&dir.join(&name), &dir, &self.dir] {
                give_to_owner(made, data_dir)?;
            }
        }
        let mut of_agent = list_files(&dir)?;
        of_agent.sort_by(|a, b| a.path.cmp(&b.path));
        let surplus = of_agent.len().saturating_sub(self.retention.per_agent);
        for old in of_agent.iter().take(surplus) {
            let _ = fs::remove_file(&old.path);
        }
        Ok(Digest::hash_bytes(&bytes))
    }

    /// Lists the capsules, oldest first: all of them, or those of one agent.
    ///
    /// # Errors
    /// [`CapsuleError::Unreadable`].
    pub fn list_capsules(&self, agent: Option<&Name>) -> Result<Vec<CapsuleFile>, CapsuleError> {
        let unreadable = |path: &Path, source| CapsuleError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mut found = Vec::new();
        let agents = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
            other => other.map_err(|error| unreadable(&self.dir, error))?,
        };
        for entry in agents {
            let dir = entry.map_err(|error| unreadable(&self.dir, error))?;
            if agent.is_none_or(|agent| dir.file_name() == agent.as_str()) {
                let path = dir.path();
                found.extend(list_files(&path).map_err(|error| unreadable(&path, error))?);
            }
        }
        found.sort_by(|a, b| a.path.file_name().cmp(&b.path.file_name()));
        Ok(found)
    }

    /// Reads a capsule by its id, or by the path of its file.
    ///
    /// # Errors
    /// See [`CapsuleError`].
    pub fn find_capsule(&self, id_or_path: &str) -> Result<Capsule, CapsuleError> {
        let path = Path::new(id_or_path);
        if path.is_file() {
            return read_capsule(path);
        }
        let ending = format!("-{id_or_path}.json");
        let found = self.list_capsules(None)?.into_iter().find(|file| {
            let name = file.path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.ends_with(&ending))
        });
        match found {
            Some(file) => read_capsule(&file.path),
            None => Err(CapsuleError::Unknown(clip_for_error(id_or_path))),
        }
    }

    /// Removes the capsules that are too old, then the oldest until the rest is within the sum of the sizes.
    pub fn prune_capsules(&self) {
        let files = match self.list_capsules(None) {
            Ok(files) => files,
            Err(error) => {
                tracing::warn!(%error, "capsules cannot be pruned");
                return;
            }
        };
        let max_age = Duration::from_secs(self.retention.days.saturating_mul(86_400));
        let now = SystemTime::now();
        let mut total: u64 = files.iter().map(|file| file.bytes).sum();
        for file in files {
            let age = now.duration_since(file.written).unwrap_or_default();
            if age <= max_age && total <= self.retention.total_bytes {
                continue;
            }
            match fs::remove_file(&file.path) {
                Ok(()) => total = total.saturating_sub(file.bytes),
                Err(error) => {
                    tracing::warn!(%error, path = %file.path.display(), "a capsule cannot be removed");
                }
            }
        }
    }
}

fn list_files(dir: &Path) -> std::io::Result<Vec<CapsuleFile>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
            && let Ok(metadata) = fs::metadata(&path)
            && metadata.is_file()
        {
            found.push(CapsuleFile {
                path,
                bytes: metadata.len(),
                written: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_capsules_make_room_for_the_latest() {
        let data = tempfile::tempdir().unwrap();
        let retention = CapsuleRetention {
            total_bytes: 250,
            ..CapsuleRetention::default()
        };
        let capsules = CapsuleDirectory::in_data_dir(data.path(), retention);
        capsules.prune_capsules();
        for (agent, name) in [("a", "1-x"), ("b", "2-y"), ("a", "3-z"), ("b", "4-w")] {
            let dir = data.path().join("capsules").join(agent);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(format!("{name}.json")), [b'x'; 100]).unwrap();
        }
        capsules.prune_capsules();
        let left = capsules.list_capsules(None).unwrap();
        let names: Vec<_> = left
            .iter()
            .filter_map(|file| file.path.file_name()?.to_str())
            .collect();
        assert_eq!(names, ["3-z.json", "4-w.json"]);
    }
}
