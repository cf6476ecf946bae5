//! The host calls: one function for each in the interface `ark:agent/host`, in its order.

use std::collections::BTreeSet;

use ark_model::action::Action;
use ark_model::check::{canonical_json, check_action};
use ark_model::decision::Outcome;
use ark_model::state::{Memory, NewMemory, Truth, TruthWrite, canonical_value, check_key};

use crate::manifest::TRUTH_SET;
use crate::services::HostServices;

use super::bindings::ark::agent::host as wit;
use super::call_error::HostCallError;
use super::invocation_context::InvocationContext;
use super::log::LogLevel;

/// The most entries that a list call returns.
const MAX_LISTED: u32 = 1000;
/// The longest kind of a memory, in bytes.
const MAX_KIND: usize = 64;
/// The number of bytes that a dry run is charged with.
const CHECK_BYTES: usize = 1024;

impl wit::Host for InvocationContext {
    fn convert_host_error(&mut self, error: HostCallError) -> wasmtime::Result<wit::HostError> {
        Ok(match error {
            HostCallError::Conflict(revision) => wit::HostError::Conflict(revision),
            HostCallError::Invalid(problem) => wit::HostError::Invalid(problem),
            HostCallError::NotGranted(problem) => wit::HostError::NotGranted(problem),
            HostCallError::Unavailable(problem) => wit::HostError::Unavailable(problem),
            HostCallError::Ended(error) => return Err(error),
        })
    }

    fn log(&mut self, level: wit::Level, message: String) -> wasmtime::Result<()> {
        self.charge_call(0)?;
        let level = match level {
            wit::Level::Debug => LogLevel::Debug,
            wit::Level::Info => LogLevel::Info,
            wit::Level::Warn => LogLevel::Warn,
            wit::Level::Error => LogLevel::Error,
        };
        self.log.add_line(level, &message);
        Ok(())
    }

    fn state_get(&mut self, key: String) -> Result<Option<wit::StateEntry>, HostCallError> {
        self.charge_call(key.len())?;
        check_key("key", &key)?;
        let (revision, value) = self.current_value(&key)?;
        self.charge_bytes(value.as_ref().map_or(0, String::len))?;
        Ok(value.map(|value_json| wit::StateEntry {
            value_json,
            revision,
        }))
    }

    fn state_set(
        &mut self,
        key: String,
        value_json: String,
        expected: Option<u64>,
    ) -> Result<u64, HostCallError> {
        self.charge_call(key.len().saturating_add(value_json.len()))?;
        self.charge_write()?;
        check_key("key", &key)?;
        let value = canonical_value("value-json", &value_json)?;
        self.services.state_writable(&key)?;
        self.buffer_write(key, Some(value), expected)
    }

    fn state_delete(&mut self, key: String, expected: Option<u64>) -> Result<u64, HostCallError> {
        self.charge_call(key.len())?;
        self.charge_write()?;
        check_key("key", &key)?;
        self.buffer_write(key, None, expected)
    }

    fn state_list(&mut self, prefix: String, limit: u32) -> Result<Vec<String>, HostCallError> {
        self.charge_call(prefix.len())?;
        let limit = limit.min(MAX_LISTED);
        // As many more as this invocation may have deleted.
        let reach = limit.saturating_add(self.limits.writes);
        let stored = self.services.state_list(&prefix, reach)?;
        let mut keys: BTreeSet<String> = stored.into_iter().collect();
        let written = self.writes.state.iter();
        for (key, write) in written.filter(|(key, _)| key.starts_with(&prefix)) {
            match write.value_json {
                Some(_) => keys.insert(key.clone()),
                None => keys.remove(key),
            };
        }
        let keys: Vec<String> = keys.into_iter().take(limit as usize).collect();
        self.charge_bytes(keys.iter().map(String::len).sum())?;
        Ok(keys)
    }

    fn memory_add(
        &mut self,
        entry: wit::Memory,
        ttl_seconds: Option<u64>,
    ) -> Result<(), HostCallError> {
        let texts = [&entry.kind, &entry.content, &entry.metadata_json];
        self.charge_call(total_len(texts))?;
        self.charge_write()?;
        let metadata = canonical_json("metadata-json", &entry.metadata_json)?;
        if !metadata.is_object() {
            return Err(invalid_input("metadata-json: give a JSON object"));
        }
        if !(1..=MAX_KIND).contains(&entry.kind.len()) || entry.kind.chars().any(char::is_control) {
            return Err(invalid_input("kind: give 1 to 64 bytes of plain text"));
        }
        let memory = Memory {
            kind: entry.kind,
            content: entry.content,
            metadata_json: metadata.to_string(),
        };
        self.writes.memories.push(NewMemory {
            memory,
            ttl_seconds,
        });
        Ok(())
    }

    fn memory_recent(
        &mut self,
        kind: Option<String>,
        limit: u32,
    ) -> Result<Vec<wit::Memory>, HostCallError> {
        self.charge_call(kind.as_ref().map_or(0, String::len))?;
        let memories = self
            .services
            .memory_recent(kind.as_deref(), limit.min(MAX_LISTED))?;
        let bytes = memories
            .iter()
            .map(|memory| memory.content.len() + memory.metadata_json.len());
        self.charge_bytes(bytes.sum())?;
        let memories = memories.into_iter().map(|memory| wit::Memory {
            kind: memory.kind,
            content: memory.content,
            metadata_json: memory.metadata_json,
        });
        Ok(memories.collect())
    }

    fn truth_get(&mut self, key: String) -> Result<Option<wit::Truth>, HostCallError> {
        self.charge_call(key.len())?;
        check_key("key", &key)?;
        let truth = match self.writes.truths.get(&key) {
            Some(write) => Some(write.truth.clone()),
            None => self.services.truth_get(&key)?,
        };
        self.charge_bytes(truth.as_ref().map_or(0, |truth| truth.value_json.len()))?;
        Ok(truth.map(|truth| wit::Truth {
            value_json: truth.value_json,
            confidence: truth.confidence,
            sources: truth.sources,
        }))
    }

    fn truth_set(&mut self, key: String, truth: wit::Truth) -> Result<(), HostCallError> {
        let texts = truth.sources.iter().chain([&key, &truth.value_json]);
        self.charge_call(total_len(texts))?;
        self.charge_write()?;
        if !self.manifest.grants(TRUTH_SET) {
            return Err(HostCallError::NotGranted(format!(
                "the manifest does not grant {TRUTH_SET}; add capabilities = [\"{TRUTH_SET}\"] to it"
            )));
        }
        check_key("key", &key)?;
        if !(0.0..=1.0).contains(&truth.confidence) {
            return Err(invalid_input("confidence: give a number from 0 to 1"));
        }
        let truth = Truth {
            value_json: canonical_value("value-json", &truth.value_json)?,
            confidence: truth.confidence,
            sources: truth.sources,
        };
        let write = TruthWrite {
            key: key.clone(),
            truth,
        };
        self.writes.truths.insert(key, write);
        Ok(())
    }

    fn config_get(&mut self, key: String) -> Result<Option<String>, HostCallError> {
        self.charge_call(key.len())?;
        let set = self.services.config_get(&key)?;
        let value = set.or_else(|| self.manifest.config.get(&key).map(ToString::to_string));
        self.charge_bytes(value.as_ref().map_or(0, String::len))?;
        Ok(value)
    }

    fn check(&mut self, action: Action) -> Result<wit::Preview, HostCallError> {
        self.charge_call(CHECK_BYTES)?;
        let preview = self.services.check_action(check_action(action)?)?;
        Ok(wit::Preview {
            outcome: match preview.outcome {
                Outcome::Approved => wit::Outcome::Approved,
                Outcome::Held => wit::Outcome::Held,
                Outcome::Denied => wit::Outcome::Denied,
            },
            compliance_score: preview.compliance_score,
            verdicts: preview
                .verdicts
                .into_iter()
                .map(|(policy, answers)| wit::PolicyVerdict { policy, answers })
                .collect(),
        })
    }
}

fn total_len<'a>(texts: impl IntoIterator<Item = &'a String>) -> usize {
    texts
        .into_iter()
        .fold(0, |sum: usize, text| sum.saturating_add(text.len()))
}

fn invalid_input(problem: &str) -> HostCallError {
    HostCallError::Invalid(problem.to_owned())
}
