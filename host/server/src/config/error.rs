//! Where a value of the configuration comes from, and why a configuration is refused.

use std::fmt;
use std::path::PathBuf;

use ark_store::SecretKeyError;

/// A key, and what is wrong with its value.
pub(super) type KeyProblem = (String, String);

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueSource {
    /// The default: no other source sets the key.
    Default,
    /// This configuration file.
    File(PathBuf),
    /// The environment variable of this name.
    Environment(String),
    /// A flag of the command line.
    Flag,
}

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// Why a configuration is refused. The message names the key and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "the configuration file {path} cannot be read: {source}; correct --config (ARK_CONFIG), or leave it out",
        path = path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// A source is not of the right form: it is not TOML, or a value is of the wrong type.
    #[error("{origin}: {problem}")]
    Malformed {
        /// Where the value comes from.
        origin: ValueSource,
        /// The key, and what is wrong with its value.
        problem: String,
    },
    /// A source sets a key that does not exist.
    #[error("{origin}: unknown key `{key}`{}", suggestion.as_ref().map_or_else(String::new, |known| format!("; did you mean `{known}`?")))]
    UnknownKey {
        /// Where the key comes from.
        origin: ValueSource,
        /// The key as given.
        key: String,
        /// The existing key that is most like it; `None`: none is.
        suggestion: Option<String>,
    },
    /// The file sets what only a variable of the environment sets.
    #[error(
        "{origin}: `{key}` is no key of the file; set the variable {variable} in the environment instead"
    )]
    VariableOnly {
        /// Where the key comes from.
        origin: ValueSource,
        /// The key as given.
        key: String,
        /// The variable.
        variable: &'static str,
    },
    /// A value is not allowed.
    #[error("{key} {problem}{}", describe_origin(origin))]
    Value {
        /// The key.
        key: String,
        /// What is wrong with the value, and what is allowed.
        problem: String,
        /// Where the value comes from.
        origin: ValueSource,
    },
    /// The key that encrypts secrets cannot be read.
    #[error(transparent)]
    SecretKey(#[from] SecretKeyError),
}

/// Names the source of a value; nothing where no source sets the key.
fn describe_origin(origin: &ValueSource) -> String {
    match origin {
        ValueSource::Default => String::new(),
        origin => format!(" (set by {origin})"),
    }
}
