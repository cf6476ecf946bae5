//! Files that the command line names, and what is said where one of them cannot be read.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::anyhow;

/// Reads a file that an argument names. `argument` is the flag; empty: the file has no flag. `remedy` says what to give.
///
/// # Errors
/// The file cannot be read; the error names argument and file, and ends with the remedy.
pub(crate) fn read_file(argument: &str, path: &Path, remedy: &str) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        let problem = match error.kind() {
            ErrorKind::NotFound => "there is no such file".to_owned(),
            ErrorKind::IsADirectory => "it is a directory".to_owned(),
            _ => error.to_string(),
        };
        anyhow!("{}: {problem}; {remedy}", name_argument(argument, path))
    })
}

/// As [`read_file`], of a text in UTF-8.
///
/// # Errors
/// As [`read_file`]; the file is not such a text.
pub(crate) fn read_text_file(argument: &str, path: &Path, remedy: &str) -> anyhow::Result<String> {
    String::from_utf8(read_file(argument, path, remedy)?).map_err(|_| {
        anyhow!(
            "{}: it is not text in UTF-8; {remedy}",
            name_argument(argument, path)
        )
    })
}

/// Returns how an error names the file of an argument, e.g. `--settings limits.json`.
pub(crate) fn name_argument(argument: &str, path: &Path) -> String {
    if argument.is_empty() {
        path.display().to_string()
    } else {
        format!("{argument} {}", path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::{read_file, read_text_file};

    #[test]
    fn unreadable_files_are_named_with_their_argument_and_the_remedy() {
        let dir = tempfile::tempdir().expect("a directory");
        let nowhere = dir.path().join("none.json");
        let error = read_file("--settings", &nowhere, "give a file").expect_err("nothing");
        let told = format!(
            "--settings {}: there is no such file; give a file",
            nowhere.display()
        );
        assert_eq!(error.to_string(), told);
        let error = read_file("", dir.path(), "give a file").expect_err("a directory");
        let told = format!("{}: it is a directory; give a file", dir.path().display());
        assert_eq!(error.to_string(), told);
        let binary = dir.path().join("binary");
        std::fs::write(&binary, b"\xff").expect("a file");
        let error = read_text_file("", &binary, "give a file").expect_err("no text");
        assert!(error.to_string().contains("not text in UTF-8"), "{error}");
        std::fs::write(&binary, "text").expect("a file");
        let text = read_text_file("", &binary, "give a file").expect("a text");
        assert_eq!(text, "text");
    }
}
