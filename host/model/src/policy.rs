//! Words about operator policies: who has the say over one, and whether its verdicts count.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Whether a policy's verdicts count.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum PolicyMode {
    /// They count.
    #[default]
    Enforce,
    /// They are recorded and compared, and change no outcome.
    Shadow,
}

impl PolicyMode {
    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
        }
    }
}

/// Who has the say over a policy's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicySource {
    /// `[[policies]]` in the configuration.
    Configuration,
    /// The policies' directory.
    Directory,
    /// Operators, over the API.
    Api,
}

impl PolicySource {
    /// Who has the say, in words.
    #[must_use]
    pub const fn owner(self) -> &'static str {
        match self {
            Self::Configuration => "[[policies]] in the configuration",
            Self::Directory => "a manifest in the policies' directory",
            Self::Api => "operators over the API",
        }
    }

    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Directory => "directory",
            Self::Api => "api",
        }
    }
}

impl fmt::Display for PolicyMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for PolicySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PolicyMode {
    /// What would be right.
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        [Self::Enforce, Self::Shadow]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or("give enforce or shadow")
    }
}

impl FromStr for PolicySource {
    /// What would be right.
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        [Self::Configuration, Self::Directory, Self::Api]
            .into_iter()
            .find(|source| source.as_str() == text)
            .ok_or("give configuration, directory or api")
    }
}
