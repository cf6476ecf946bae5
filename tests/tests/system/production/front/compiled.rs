//! The compiled policies of a front: kept for its next start, and of no directory into which others could have written.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ark_tests::{Host, TestDir};

use super::empty_config;

#[test]
fn compiled_policies_are_kept_for_the_next_start() {
    let dir = TestDir::new("");
    let config = empty_config(&dir);
    let cache = dir.path().join("compiled");
    let start = || {
        let args = ["--cache-dir", cache.to_str().expect("UTF-8")];
        drop(Host::start_front("http://127.0.0.1:1", &config, &args));
    };
    start();
    let compiled = list_modules(&cache);
    assert!(!compiled.is_empty());
    start();
    assert_eq!(list_modules(&cache), compiled);

    let by_others = PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&cache, by_others).expect("a mode");
    let args = ["--cache-dir", cache.to_str().expect("UTF-8")];
    let refused = Host::try_start_front("http://127.0.0.1:1", &config, &args);
    let refused = refused.err().expect("it is refused");
    assert!(
        refused.contains(cache.to_str().expect("UTF-8")) && refused.contains("0777"),
        "{refused}"
    );
}

/// The files with compiled code below a directory, each with its file's number, which another file in its place would not have.
fn list_modules(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        let metadata = entry.metadata().expect("a file");
        if metadata.is_dir() {
            found.extend(list_modules(&entry.path()));
        } else if metadata.len() > 0 && entry.path().extension().is_none() {
            found.push((entry.path(), metadata.ino()));
        }
    }
    found.sort();
    found
}
