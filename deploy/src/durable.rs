//! Files that outlive a power cut: what a way back needs, and journals. All of this crate that must last is written here.
//!
//! A file is made beside its place, synced and moved there, and the directory is synced: after a power cut it is there whole or not at all, and once
//! the call has returned it is there. A directory that is made is synced into the one that it is in.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Puts a file in its place, in the stead of one that is there. `fill` writes it; until it changes that, its mode is 0600. No symbolic link at the
/// place is followed, nor one beside it.
pub(crate) fn place_file(
    path: &Path,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    // One that a kill left.
    match std::fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)?;
    let placed = fill(&mut file)
        .and_then(|()| file.sync_all())
        .and_then(|()| move_entry(&partial, path));
    if placed.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    placed
}

/// Gives a file or directory another name in its directory, in the stead of a file that has that name.
pub(crate) fn move_entry(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    sync_entry(to)
}

/// Makes a directory, and those above it that are not there.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    let named = path.ancestors().filter(|path| !path.as_os_str().is_empty());
    let missing: Vec<&Path> = named.take_while(|path| !path.exists()).collect();
    std::fs::create_dir_all(path)?;
    missing.into_iter().rev().try_for_each(sync_entry)
}

/// Makes it last that a file or directory is there: syncs the directory that it is in.
pub(crate) fn sync_entry(path: &Path) -> io::Result<()> {
    File::open(parent_of(path))?.sync_all()
}

/// The directory that a path is in.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn write_text(text: &'static str) -> impl FnOnce(&mut File) -> io::Result<()> {
        move |file| file.write_all(text.as_bytes())
    }

    #[test]
    fn a_file_is_there_whole_or_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let read = |name: &str| std::fs::read_to_string(at(name)).unwrap();
        let names = || std::fs::read_dir(dir.path()).unwrap().count();
        place_file(&at("a"), write_text("1")).unwrap();
        assert_eq!((read("a").as_str(), names()), ("1", 1));
        assert_eq!(std::fs::metadata(at("a")).unwrap().mode() & 0o777, 0o600);
        // What fails on the way changes nothing and leaves nothing.
        let failed = place_file(&at("a"), |file| {
            file.write_all(b"2")?;
            Err(io::Error::other("no room"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no room");
        assert_eq!((read("a").as_str(), names()), ("1", 1));
        // What a kill left, also where it is a link to something else.
        std::fs::write(at("other"), "mine").unwrap();
        symlink(at("other"), at("a.partial")).unwrap();
        place_file(&at("a"), |file| {
            file.set_permissions(std::fs::Permissions::from_mode(0o755))?;
            file.write_all(b"3")
        })
        .unwrap();
        assert_eq!((read("a").as_str(), read("other").as_str()), ("3", "mine"));
        assert_eq!(std::fs::metadata(at("a")).unwrap().mode() & 0o777, 0o755);
        symlink(at("other"), at("link")).unwrap();
        place_file(&at("link"), write_text("4")).unwrap();
        assert_eq!(
            (read("link").as_str(), read("other").as_str()),
            ("4", "mine")
        );
        assert!(place_file(&at("none/a"), write_text("5")).is_err());
        make_directory(&at("x/y/z")).unwrap();
        make_directory(&at("x/y/z")).unwrap();
        place_file(&at("x/y/z/a"), write_text("6")).unwrap();
        move_entry(&at("x/y/z"), &at("x/y/w")).unwrap();
        assert_eq!(read("x/y/w/a"), "6");
        assert!(make_directory(&at("a/b")).is_err(), "a file is in the way");
    }

    /// Reads the sources of this crate below a directory, without their tests.
    fn read_sources(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                read_sources(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                found.push((path, code.to_owned()));
            }
        }
    }

    #[test]
    fn nothing_of_this_crate_that_must_last_is_written_elsewhere() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut sources = Vec::new();
        read_sources(&root, &mut sources);
        assert!(sources.len() > 30, "the sources are found");
        // An order to a canary that runs means nothing after a power cut.
        let exempt = ["durable.rs", "tests.rs", "canary/orders.rs"];
        let writes = [
            "fs::write(",
            "fs::rename(",
            "fs::copy(",
            "fs::create_dir",
            ".persist(",
            "File::create(",
        ];
        for (path, code) in sources {
            let is_exempt = exempt.iter().any(|name| path.ends_with(name));
            for write in writes {
                assert!(
                    is_exempt || !code.contains(write),
                    "{}: {write}: use crate::durable",
                    path.display()
                );
            }
        }
    }
}
