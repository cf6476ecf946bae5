//! An agent's manifest: what the operator grants it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use ark_model::check::check_topic;
use ark_model::ids::{Digest, Name};

use super::limits::LimitsTable;

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML of the right form.
    #[error("{path}: {problem}")]
    Malformed {
        /// The file.
        path: String,
        /// What and where.
        problem: String,
    },
}

/// A manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The agent's name.
    pub name: Name,
    /// Its version (semver).
    pub version: String,
    /// Its component, beside the manifest.
    pub component: String,
    /// The component's SHA-256.
    pub sha256: Digest,
    /// What it does.
    #[serde(default)]
    pub description: String,
    /// The topics it receives: exact, or `prefix.*`.
    #[serde(default)]
    pub topics: Vec<String>,
    /// The action types it may propose.
    #[serde(default)]
    pub actions: Vec<String>,
    /// What else it may do: `truth-set`.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Limits tighter than the operator's ceiling.
    #[serde(default)]
    pub limits: LimitsTable,
    /// Values for `config-get`.
    #[serde(default)]
    pub config: BTreeMap<String, serde_json::Value>,
}

impl Manifest {
    /// Reads a manifest file.
    ///
    /// # Errors
    /// See [`ManifestError`]; it names the field.
    pub fn read_file(path: &Path) -> Result<Self, ManifestError> {
        let text = std::fs::read_to_string(path).map_err(|source| ManifestError::Unreadable {
            path: path.display().to_string(),
            source,
        })?;
        Self::parse(&text).map_err(|problem| ManifestError::Malformed {
            path: path.display().to_string(),
            problem,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        manifest.check_fields()?;
        Ok(manifest)
    }

    /// Checks what its form alone does not say.
    ///
    /// # Errors
    /// The field, and what is wrong with it.
    pub fn check_fields(&self) -> Result<(), String> {
        for topic in &self.topics {
            let exact = topic.strip_suffix(".*").unwrap_or(topic);
            check_topic("topics", exact).map_err(|error| error.to_string())?;
        }
        if self.component.is_empty() || self.component.contains(['/', '\\', '\0']) {
            return Err(format!(
                "component: {:?} is not the name of a file beside the manifest",
                self.component
            ));
        }
        if let Some(unknown) = self
            .capabilities
            .iter()
            .find(|capability| *capability != "truth-set")
        {
            return Err(format!(
                "capabilities: {unknown:?} is unknown; there is: truth-set"
            ));
        }
        Ok(())
    }

    /// Whether the agent receives signals of this topic.
    #[must_use]
    pub fn subscribes_to(&self, topic: &str) -> bool {
        self.topics
            .iter()
            .any(|pattern| match pattern.strip_suffix(".*") {
                Some(prefix) => topic
                    .strip_prefix(prefix)
                    .is_some_and(|rest| rest.starts_with('.')),
                None => pattern == topic,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(rest: &str) -> Result<Manifest, String> {
        let digest = "0".repeat(64);
        Manifest::parse(&format!(
            "name = \"a\"\nversion = \"1.0.0\"\ncomponent = \"a.wasm\"\nsha256 = \"{digest}\"\n{rest}"
        ))
    }

    #[test]
    fn subscriptions_are_exact_or_by_prefix() {
        let manifest = manifest("topics = [\"market.*\", \"kyle.score\"]").unwrap();
        for (topic, subscribed) in [
            ("market.tick", true),
            ("market.tick.btc", true),
            ("market", false),
            ("marketing.tick", false),
            ("kyle.score", true),
            ("kyle.score.x", false),
        ] {
            assert_eq!(manifest.subscribes_to(topic), subscribed, "{topic}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (rest, named) in [
            ("topic = [\"a\"]", "topic"),
            ("topics = [\"A b\"]", "topics"),
            ("topics = [\"*\"]", "topics"),
            ("capabilities = [\"root\"]", "root"),
            ("limits = { fule = 1 }", "fule"),
            ("limits = { fuel = -1 }", "fuel"),
        ] {
            let error = manifest(rest).unwrap_err();
            assert!(error.contains(named), "{rest}: {error}");
        }
        assert!(
            Manifest::parse("name = \"a\"")
                .unwrap_err()
                .contains("version")
        );
    }
}
