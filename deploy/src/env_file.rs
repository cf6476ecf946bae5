//! Files of environment variables, one `NAME=value` a line.
//!
//! A value stands as it is, or in double or single quotes that belong to both its ends. Blank lines and lines that begin with `#` mean
//! nothing. Nothing is expanded. systemd, Docker and Compose read files of this kind by rules of their own; a value without quotes, `\`, `$`
//! and ` #` means the same to all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ark_host::config::{Layers, Overrides};

/// The longest file that is read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// Why a file of environment variables is refused.
#[derive(Debug, thiserror::Error)]
pub enum EnvFileError {
    /// The file cannot be read.
    #[error("--env-file {path}: {cause}; name a file that this user can read", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system reports.
        cause: std::io::Error,
    },
    /// A line is not of the right form, or sets what the host refuses.
    #[error("--env-file {path}, line {line}: {problem}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong with it, and what to write.
        problem: String,
    },
}

/// A variable that a file sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The number of its line, from 1.
    pub line: usize,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// The variables of a file.
#[derive(Debug, Clone)]
pub struct EnvFile {
    /// The file.
    pub path: PathBuf,
    /// Its variables, in their order; each name once.
    pub variables: Vec<Variable>,
}

impl EnvFile {
    /// Reads a file. Each `ARK_…` variable in it is checked as the host would check it.
    ///
    /// # Errors
    /// See [`EnvFileError`]; what is wrong with the content names the line.
    pub fn read_file(path: &Path) -> Result<Self, EnvFileError> {
        let unreadable = |cause| EnvFileError::Unreadable {
            path: path.to_owned(),
            cause,
        };
        if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_BYTES {
            let cause = std::io::Error::other(format!("it is longer than {MAX_BYTES} bytes"));
            return Err(unreadable(cause));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let mut lines_by_name = BTreeMap::new();
        let mut variables = Vec::new();
        for (text, line) in text.lines().zip(1..) {
            let refused = |problem: String| EnvFileError::Line {
                path: path.to_owned(),
                line,
                problem,
            };
            let Some((name, value)) = parse_line(text).map_err(refused)? else {
                continue;
            };
            if let Some(first) = lines_by_name.insert(name.clone(), line) {
                let problem = format!("{name} is set in line {first} already; set it once");
                return Err(refused(problem));
            }
            check_variable(&name, &value).map_err(refused)?;
            variables.push(Variable { line, name, value });
        }
        Ok(Self {
            path: path.to_owned(),
            variables,
        })
    }
}

/// Reads a line; `None`: it sets nothing.
fn parse_line(line: &str) -> Result<Option<(String, String)>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, value) = line
        .split_once('=')
        .ok_or("is no variable; write NAME=value, or # before a comment")?;
    let name = name.trim_end();
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let is_name = |each: char| each.is_ascii_alphanumeric() || each == '_';
    if !starts_well || !name.chars().all(is_name) {
        return Err(format!(
            "{name:?} is no name of a variable; write NAME=value, with letters, digits and _ in the name"
        ));
    }
    let value = value.trim_start();
    for quote in ['"', '\''] {
        let Some(rest) = value.strip_prefix(quote) else {
            continue;
        };
        return match rest.strip_suffix(quote) {
            Some(inner) if !inner.contains(quote) => Ok(Some((name.to_owned(), inner.to_owned()))),
            _ => Err(format!(
                "the value of {name} begins with {quote} and does not end with the next one; quote all of it, or nothing"
            )),
        };
    }
    Ok(Some((name.to_owned(), value.to_owned())))
}

/// Refuses what the host would refuse of one variable by itself: an unknown name, or a value of the wrong form.
fn check_variable(name: &str, value: &str) -> Result<(), String> {
    let variable = [(name.into(), value.into())];
    let layers = Layers::merge(None, variable, &Overrides::default());
    layers.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<EnvFile, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        EnvFile::read_file(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_taken_as_they_stand() {
        let text = "# a comment\n\nARK_LISTEN=127.0.0.1:1\n ARK_DATA_DIR = \"/var/lib/a b\"\nPASSWORD='a\"$b#'\nEMPTY=\n";
        let file = read_text(text).unwrap();
        let found: Vec<_> = file
            .variables
            .iter()
            .map(|one| (one.line, one.name.as_str(), one.value.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (3, "ARK_LISTEN", "127.0.0.1:1"),
                (4, "ARK_DATA_DIR", "/var/lib/a b"),
                (5, "PASSWORD", "a\"$b#"),
                (6, "EMPTY", ""),
            ]
        );
    }

    #[test]
    fn what_is_wrong_names_its_line() {
        for (text, named) in [
            ("A=1\nexport", "line 2"),
            ("export ARK_LISTEN=127.0.0.1:1", "no name of a variable"),
            ("A=1\nB=2\nA=3", "line 3: A is set in line 1"),
            ("A=\"b", "quote all of it"),
            ("A='b'c", "quote all of it"),
            ("\nARK_LISTN=127.0.0.1:1", "line 2"),
            ("ARK_LISTN=127.0.0.1:1", "did you mean `ARK_LISTEN`?"),
            ("ARK_CAPACITY_WORKERS=many", "capacity.workers"),
        ] {
            let error = read_text(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
