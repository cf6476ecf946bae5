//! Who besides root and the user of the host can change or read a path: by its owner, its mode, and the directories above it.
//!
//! An access list is seen as far as the mode shows it: its mask stands for the group. What is on a file system that is mounted read-only cannot be
//! changed here.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::process::{getegid, geteuid, getgroups};

use super::line::CheckLines;

/// How many files of a directory are looked at.
const MAX_FILES: usize = 10_000;
/// The directory in which a deletion is its owner's alone (the sticky bit).
const STICKY: u32 = 0o1000;

/// The user that the host runs as: who runs the check, or the owner of the data directory where root checks for that.
pub(super) struct HostUser {
    user: u32,
    groups: Vec<u32>,
    /// Root checks for another user: what root can read, that user may not.
    is_other: bool,
}

impl HostUser {
    pub(super) fn find_user(data_dir: &Path) -> Self {
        let own = geteuid();
        if own.is_root()
            && let Ok(found) = std::fs::metadata(data_dir)
            && found.uid() != 0
        {
            return Self {
                user: found.uid(),
                groups: vec![found.gid()],
                is_other: true,
            };
        }
        let mut groups = vec![getegid().as_raw()];
        groups.extend(
            getgroups()
                .unwrap_or_default()
                .iter()
                .map(|group| group.as_raw()),
        );
        Self {
            user: own.as_raw(),
            groups,
            is_other: false,
        }
    }

    /// Its number.
    pub(super) const fn id(&self) -> u32 {
        self.user
    }

    /// Whether root checks for this user.
    pub(super) const fn is_other(&self) -> bool {
        self.is_other
    }

    const fn is_trusted(&self, user: u32) -> bool {
        user == 0 || user == self.user
    }

    fn has_group(&self, group: u32) -> bool {
        group == 0 || self.groups.contains(&group)
    }

    /// Says who else can change a file or directory, by itself or by a directory above it.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub(super) fn find_changer(&self, path: &Path) -> io::Result<Option<String>> {
        let real = std::fs::canonicalize(path)?;
        if is_read_only(&real) {
            return Ok(None);
        }
        let found = std::fs::metadata(&real)?;
        let shown = path.display();
        if !self.is_trusted(found.uid()) {
            return Ok(Some(format!(
                "{shown} belongs to user {}, who can change it",
                found.uid()
            )));
        }
        let mode = found.mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Ok(Some(format!(
                "{shown} has mode {mode:04o}: others can change it"
            )));
        }
        self.find_replacer(path, &real)
    }

    /// Says who else could put something in the place of a path, or of a directory or a link on the way to it.
    fn find_replacer(&self, path: &Path, real: &Path) -> io::Result<Option<String>> {
        let named = std::path::absolute(path)?;
        let shown = path.display();
        let mut above: Vec<PathBuf> = real.ancestors().skip(1).map(Path::to_owned).collect();
        above.extend(named.ancestors().map(Path::to_owned));
        for each in above {
            let found = std::fs::symlink_metadata(&each)?;
            if !(found.is_dir() || found.is_symlink()) || is_read_only(&each) {
                continue;
            }
            let place = each.display();
            if !self.is_trusted(found.uid()) {
                return Ok(Some(format!(
                    "{shown}: {place} on the way to it belongs to user {}, who can put another in its place",
                    found.uid()
                )));
            }
            let mode = found.mode() & 0o7777;
            let by_group = mode & 0o020 != 0 && !self.has_group(found.gid());
            // In a sticky directory only the owner of an entry, who is looked at too, can replace it.
            if found.is_dir() && mode & STICKY == 0 && (mode & 0o002 != 0 || by_group) {
                return Ok(Some(format!(
                    "{shown}: the directory {place} has mode {mode:04o}: others can put another file in its place"
                )));
            }
        }
        Ok(None)
    }

    /// Says who else can read a file.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub(super) fn find_reader(&self, path: &Path) -> io::Result<Option<String>> {
        let found = std::fs::metadata(path)?;
        let (shown, mode) = (path.display(), found.mode() & 0o7777);
        if !self.is_trusted(found.uid()) {
            return Ok(Some(format!(
                "{shown} belongs to user {}, who can read it",
                found.uid()
            )));
        }
        let by_group = mode & 0o040 != 0 && !self.has_group(found.gid());
        Ok((mode & 0o004 != 0 || by_group)
            .then(|| format!("{shown} has mode {mode:04o}: others can read it")))
    }

    /// Says who else can read a file or list a directory, by its own rights and those of the directories on the way to it.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub(super) fn find_reader_on_way(&self, path: &Path) -> io::Result<Option<String>> {
        let Some(problem) = self.find_reader(path)? else {
            return Ok(None);
        };
        let real = std::fs::canonicalize(path)?;
        for each in real.ancestors().skip(1) {
            let found = std::fs::metadata(each)?;
            let by_group = found.mode() & 0o010 != 0 && !self.has_group(found.gid());
            let is_closed = found.mode() & 0o001 == 0 && !by_group;
            if is_closed && self.is_trusted(found.uid()) {
                return Ok(None);
            }
        }
        Ok(Some(problem))
    }

    /// Says what keeps the user of the host from a path that root, who checks for that user, can read.
    ///
    /// # Errors
    /// It cannot be looked at.
    fn find_obstacle(&self, path: &Path) -> io::Result<Option<String>> {
        if !self.is_other {
            return Ok(None);
        }
        let real = std::fs::canonicalize(path)?;
        for each in real.ancestors() {
            let found = std::fs::metadata(each)?;
            let shift = if found.uid() == self.user {
                6
            } else if self.groups.contains(&found.gid()) {
                3
            } else {
                0
            };
            let wanted = if each == real { 0o4 } else { 0o1 };
            if (found.mode() >> shift) & wanted == 0 {
                return Ok(Some(format!(
                    "{}: the user {} of the host cannot read it: {} belongs to user {} and has mode {:04o}",
                    path.display(),
                    self.user,
                    each.display(),
                    found.uid(),
                    found.mode() & 0o7777
                )));
            }
        }
        Ok(None)
    }

    /// The path is there for the user of the host, and nobody but that user and root can change it.
    pub(super) fn check_file(&self, path: &Path, mode: &str, lines: &mut CheckLines) {
        self.check_unchanged(path, mode, lines);
        self.check_readable(path, lines);
    }

    /// Nobody but root and the user of the host can change the path.
    pub(super) fn check_unchanged(&self, path: &Path, mode: &str, lines: &mut CheckLines) {
        match self.find_changer(path) {
            Ok(None) => {}
            Ok(Some(problem)) => lines.add_error(
                problem,
                format!(
                    "give it to root or to the user of the host (chown), chmod {mode} {}, and let nobody else write to the directories above it",
                    path.display()
                ),
            ),
            Err(error) => skip_unseen(path, &error, lines),
        }
    }

    /// As [`HostUser::check_file`]; besides, nobody else can read the file.
    pub(super) fn check_secret(&self, path: &Path, mode: &str, lines: &mut CheckLines) {
        match self.find_reader(path) {
            Ok(None) => self.check_file(path, mode, lines),
            Ok(Some(problem)) => lines.add_error(
                problem,
                format!(
                    "chmod {mode} {}, and give it to the user of the host (chown)",
                    path.display()
                ),
            ),
            Err(error) => skip_unseen(path, &error, lines),
        }
    }

    /// The user of the host can read the path.
    fn check_readable(&self, path: &Path, lines: &mut CheckLines) {
        match self.find_obstacle(path) {
            Ok(None) => {}
            Ok(Some(problem)) => lines.add_error(
                problem,
                "give it to the user of the host (chown), or let systemd pass it on (LoadCredential=) and check as that user",
            ),
            Err(error) => skip_unseen(path, &error, lines),
        }
    }

    /// Nobody else can put another directory in the place of one. `existing` is the closest one above it that is there, or itself.
    pub(super) fn check_place(&self, path: &Path, existing: &Path, lines: &mut CheckLines) {
        let found =
            std::fs::canonicalize(existing).and_then(|real| self.find_replacer(existing, &real));
        match found {
            Ok(None) => {}
            Ok(Some(problem)) => lines.add_error(
                problem,
                format!(
                    "give what is on the way to {} to root or to the user of the host (chown), and let nobody else write to it (chmod go-w)",
                    path.display()
                ),
            ),
            Err(error) => skip_unseen(path, &error, lines),
        }
    }

    /// A directory and its files, as [`HostUser::check_file`]. Of a directory that others can write to the files are not told.
    pub(super) fn check_files(&self, dir: &Path, lines: &mut CheckLines) {
        let before = lines.found.len();
        self.check_file(dir, "go-w", lines);
        if lines.found.len() > before {
            return;
        }
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) => return skip_unseen(dir, &error, lines),
        };
        for entry in entries.take(MAX_FILES).flatten() {
            let path = entry.path();
            if path.is_file() {
                self.check_file(&path, "go-w", lines);
            }
        }
    }
}

fn is_read_only(path: &Path) -> bool {
    statvfs(path).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// A path that is not there has a line of its own already.
fn skip_unseen(path: &Path, error: &io::Error, lines: &mut CheckLines) {
    if error.kind() != io::ErrorKind::NotFound {
        lines.add_skipped(
            format!("who can change {} is not known: {error}", path.display()),
            "run the check as the user that runs the host, or as root",
        );
    }
}
