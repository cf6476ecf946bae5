//! The manifest of an agent: what the operator grants it.

use std::collections::BTreeMap;
use std::path::Path;

use ark_model::check::check_topic;
use ark_model::ids::{Digest, Name};
use serde::{Deserialize, Serialize};

use super::limits::LimitsTable;
use super::quotas::QuotasTable;

/// The only capability that a manifest can grant.
pub const TRUTH_SET: &str = "truth-set";

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file cannot be read.
    #[error(
        "{path}: {source}; give the manifest of an agent (.toml), with the component beside it"
    )]
    Unreadable {
        /// The file.
        path: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file is not a manifest.
    #[error("{path}: {problem}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong with it, and in which field or line.
        problem: String,
    },
}

/// The manifest of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The agent's name.
    pub name: Name,
    /// The agent's version (semver).
    pub version: String,
    /// The name of the component's file, in the directory of the manifest.
    pub component: String,
    /// The SHA-256 of the component.
    pub sha256: Digest,
    /// What the agent does, for people.
    #[serde(default)]
    pub description: String,
    /// The topics that the agent receives: exact, or `prefix.*`.
    #[serde(default)]
    pub topics: Vec<String>,
    /// The action types that the agent may propose.
    #[serde(default)]
    pub actions: Vec<String>,
    /// What else the agent may do. There is one capability: `truth-set`.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Limits that are tighter than the operator's ceiling.
    #[serde(default)]
    pub limits: LimitsTable,
    /// Quotas that are tighter than the operator's.
    #[serde(default, skip_serializing_if = "QuotasTable::is_empty")]
    pub quotas: QuotasTable,
    /// The component's signature, as `ark agent sign` or `ark agent pull --verify-key` writes it. Needed where the host demands one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The values that `config-get` returns unless an operator has set others.
    #[serde(default)]
    pub config: BTreeMap<String, serde_json::Value>,
}

impl Manifest {
    /// Makes the manifest of a component that is granted nothing.
    pub(crate) fn granting_nothing(name: Name, sha256: Digest) -> Self {
        Self {
            name,
            version: "1.0.0".to_owned(),
            component: "component.wasm".to_owned(),
            sha256,
            description: String::new(),
            topics: Vec::new(),
            actions: Vec::new(),
            capabilities: Vec::new(),
            limits: LimitsTable::default(),
            quotas: QuotasTable::default(),
            signature: None,
            config: BTreeMap::new(),
        }
    }

    /// Reads a manifest file and checks it.
    ///
    /// # Errors
    /// The file cannot be read or is not a manifest. The error names the file, and the field or line at fault.
    pub fn read_file(path: &Path) -> Result<Self, ManifestError> {
        let bytes = std::fs::read(path).map_err(|source| ManifestError::Unreadable {
            path: path.display().to_string(),
            source,
        })?;
        Self::parse_bytes(&bytes).map_err(|problem| ManifestError::Malformed {
            path: path.display().to_string(),
            problem,
        })
    }

    fn parse_bytes(bytes: &[u8]) -> Result<Self, String> {
        if bytes.starts_with(b"\0asm") {
            return Err("it is a component; give the manifest (.toml) beside it, which `ark agent add` writes for a component that has none".to_owned());
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| "it is not text in UTF-8; give the manifest of an agent (.toml)")?;
        Self::parse(text)
    }

    /// Reads the text of a manifest and checks it.
    ///
    /// # Errors
    /// What is wrong with it: the line or the field.
    pub fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|error| {
            let table: toml::Table = toml::from_str(text).unwrap_or_default();
            if table.get("sha256").and_then(toml::Value::as_str) == Some("") {
                return "sha256 is empty: build first; `ark agent build` writes the complete manifest into `dist`".to_owned();
            }
            error.to_string()
        })?;
        manifest.check_fields()?;
        Ok(manifest)
    }

    /// Checks what the types of the fields do not express: the topics, the file name and the capabilities. The limits are checked when the agent is
    /// loaded, against the operator's ceiling.
    ///
    /// # Errors
    /// The first field that is wrong, and what is wrong with it.
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
            .find(|capability| *capability != TRUTH_SET)
        {
            return Err(format!(
                "capabilities: unknown capability {unknown:?}; there is only {TRUTH_SET:?}"
            ));
        }
        Ok(())
    }

    /// Returns whether the manifest grants a capability.
    pub(crate) fn grants(&self, capability: &str) -> bool {
        self.capabilities
            .iter()
            .any(|granted| granted == capability)
    }

    /// Returns whether the agent receives signals of this topic.
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

    fn parse_manifest(rest: &str) -> Result<Manifest, String> {
        let digest = "0".repeat(64);
        Manifest::parse(&format!(
            "name = \"a\"\nversion = \"1.0.0\"\ncomponent = \"a.wasm\"\nsha256 = \"{digest}\"\n{rest}"
        ))
    }

    #[test]
    fn subscriptions_are_exact_or_by_prefix() {
        let manifest = parse_manifest("topics = [\"market.*\", \"kyle.score\"]").unwrap();
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
    fn a_binary_file_is_not_taken_for_a_manifest() {
        for (bytes, told) in [
            (
                &b"\0asm\r\0\x01\0"[..],
                "it is a component; give the manifest",
            ),
            (b"name = \"\xff\"", "it is not text in UTF-8"),
            (b"name = 1", "name"),
        ] {
            let problem = Manifest::parse_bytes(bytes).expect_err(told);
            assert!(problem.contains(told), "{problem}");
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
            let error = parse_manifest(rest).unwrap_err();
            assert!(error.contains(named), "{rest}: {error}");
        }
        assert!(
            Manifest::parse("name = \"a\"")
                .unwrap_err()
                .contains("version")
        );
    }
}
