//! How an operator policy is used: whether its verdicts affect the outcome, and where it was declared.

use serde::{Deserialize, Serialize};

/// What would have been right, for a name that is not known.
type Remedy = &'static str;

/// Whether a policy's verdicts affect the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::Display, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case", parse_err_ty = Remedy, parse_err_fn = allowed_modes)]
pub enum PolicyMode {
    /// The policy's verdicts are combined into the outcome.
    #[default]
    Enforce,
    /// The policy's verdicts are recorded and compared, and change no outcome.
    Shadow,
}

const fn allowed_modes(_: &str) -> Remedy {
    "give enforce or shadow"
}

impl PolicyMode {
    /// Returns the name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Where a policy was declared. Only the same source can change the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::Display, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case", parse_err_ty = Remedy, parse_err_fn = allowed_sources)]
pub enum PolicySource {
    /// `[[policies]]` in the configuration.
    Configuration,
    /// The policies' directory.
    Directory,
    /// The API, where operators upload versions.
    Api,
}

const fn allowed_sources(_: &str) -> Remedy {
    "give configuration, directory or api"
}

impl PolicySource {
    /// Returns who can change a policy from this source, for messages.
    #[must_use]
    pub const fn owner(self) -> &'static str {
        match self {
            Self::Configuration => "[[policies]] in the configuration",
            Self::Directory => "a manifest in the policies' directory",
            Self::Api => "operators over the API",
        }
    }

    /// Returns the name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
