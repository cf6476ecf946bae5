//! The file that has the results of a validation for CI systems, which may read it whatever became of the command.
//!
//! Invariants: from the begin of the command on it has no results of an earlier one: until there are some it says that the validation has not ended. It is
//! replaced as a whole.

use std::fs::{File, Permissions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use ark_deploy::validate::{ValidationReport, report_unfinished};

use crate::usage::UsageError;

/// What a file says that nothing has replaced.
const NOT_ENDED: &str = "the validation has not ended: it goes on, or was killed";

/// The file that `--junit` names.
pub(super) struct JunitFile {
    /// As it was given.
    shown: PathBuf,
    place: Place,
}

/// Where the results go.
enum Place {
    /// To a file, whose links are followed, with the rights that it has.
    File(PathBuf, Permissions),
    /// To what is no file, e.g. a pipe: it gets the results alone.
    Stream(File),
}

impl JunitFile {
    /// Makes the file, or takes the one that is there, before anything is asked of the host: the results would be lost. `categories`: those whose tests
    /// are not made yet.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn begin(path: &Path, categories: &[String]) -> anyhow::Result<Self> {
        let opened = File::options().create(true).append(true).open(path);
        let place = opened.and_then(|file| {
            let found = file.metadata()?;
            Ok(if found.is_file() {
                Place::File(path.canonicalize()?, found.permissions())
            } else {
                Place::Stream(file)
            })
        });
        let place = place.map_err(|error| {
            UsageError(format!(
                "--junit {}: {error}; name a file in a directory that is there and that this user may write to",
                path.display()
            ))
        })?;
        let file = Self {
            shown: path.to_owned(),
            place,
        };
        if matches!(file.place, Place::File(..)) {
            file.write_report(&report_unfinished(categories, Vec::new(), NOT_ENDED))?;
        }
        Ok(file)
    }

    /// Writes the results, in the stead of what was there.
    ///
    /// # Errors
    /// They cannot be written.
    pub(super) fn write_report(&self, report: &ValidationReport) -> anyhow::Result<()> {
        let text = report.to_junit();
        let written = match &self.place {
            Place::File(path, rights) => replace_file(path, rights, &text),
            Place::Stream(file) => {
                let mut stream: &File = file;
                stream.write_all(text.as_bytes())
            }
        };
        written.with_context(|| format!("--junit {}", self.shown.display()))
    }
}

/// Replaces a file as a whole, with the rights that it had. Where the directory takes no other file, its content is replaced.
fn replace_file(path: &Path, rights: &Permissions, text: &str) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let Ok(mut partial) = tempfile::NamedTempFile::new_in(directory) else {
        return std::fs::write(path, text);
    };
    partial.write_all(text.as_bytes())?;
    partial.as_file().set_permissions(rights.clone())?;
    partial.as_file().sync_all()?;
    partial.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn an_earlier_report_is_gone_at_once_and_the_next_one_is_there_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("junit.xml");
        std::fs::write(&path, "<testsuites>all passed</testsuites>").expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("a mode");
        let link = dir.path().join("link.xml");
        symlink(&path, &link).expect("a link");
        let read = || std::fs::read_to_string(&path).expect("a report");
        let ethics = ["ethics".to_owned()];
        let file = JunitFile::begin(&link, &ethics).expect("a file");
        let begun = read();
        assert!(
            begun.contains("tests=\"5\" failures=\"0\" skipped=\"4\" errors=\"1\"")
                && begun.contains("the validation has not ended"),
            "{begun}"
        );
        let ended = report_unfinished(&ethics, Vec::new(), "the host does not answer");
        file.write_report(&ended).expect("a report");
        assert_eq!(read(), ended.to_junit());
        let mode = std::fs::metadata(&path).expect("a file").permissions();
        assert_eq!(mode.mode() & 0o777, 0o640);
        assert!(link.is_symlink(), "it leads to the file still");
        let names = std::fs::read_dir(dir.path()).expect("a directory").count();
        assert_eq!(names, 2, "nothing else is left");
        // A command line with a category that there is not has a report too.
        JunitFile::begin(&path, &["nope".to_owned()]).expect("a file");
        assert!(read().contains("tests=\"1\" failures=\"0\" skipped=\"0\" errors=\"1\""));
    }

    #[test]
    fn what_is_no_file_gets_the_results_alone_and_is_not_replaced() {
        let file = JunitFile::begin(Path::new("/dev/null"), &[]).expect("a device");
        assert!(matches!(file.place, Place::Stream(_)));
        let report = report_unfinished(&[], Vec::new(), "the host does not answer");
        file.write_report(&report).expect("a device");
        let found = std::fs::metadata("/dev/null").expect("a device");
        assert!(!found.is_file());
        let refused = JunitFile::begin(Path::new("/proc/none/x.xml"), &[]);
        let refused = refused.err().expect("no directory").to_string();
        assert!(refused.contains("--junit /proc/none/x.xml"), "{refused}");
    }
}
