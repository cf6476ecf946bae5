//! A host for tests: state in memory, transactions as in the real one.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    Action, Agent, Error, Host, HostError, Level, Memory, Outcome, Preview, Signal, StateEntry,
    Truth,
};

#[derive(Debug, Clone, Default)]
struct Kept {
    /// Revision and value; a deleted key keeps its revision.
    state: BTreeMap<String, (u64, Option<String>)>,
    memories: Vec<Memory>,
    truths: BTreeMap<String, Truth>,
}

type Check = Box<dyn Fn(&Action) -> Preview>;

/// A host for tests. It keeps what agents keep with the real one, and commits only what an invocation that ended well has written.
pub struct MockHost {
    kept: RefCell<Kept>,
    config: BTreeMap<String, String>,
    log: RefCell<Vec<(Level, String)>>,
    check: Check,
    truth_set: bool,
    signals: u64,
}

impl Default for MockHost {
    fn default() -> Self {
        Self::new()
    }
}

impl MockHost {
    /// An empty host, which grants everything and would approve everything.
    #[must_use]
    pub fn new() -> Self {
        Self {
            kept: RefCell::default(),
            config: BTreeMap::new(),
            log: RefCell::default(),
            check: Box::new(|_| Preview {
                outcome: Outcome::Approved,
                compliance_score: 1.0,
                verdicts: Vec::new(),
            }),
            truth_set: true,
            signals: 0,
        }
    }

    /// Sets a value of the configuration.
    ///
    /// # Panics
    /// The value has no JSON form.
    #[must_use]
    pub fn with_config<T: Serialize>(mut self, key: &str, value: &T) -> Self {
        self.config.insert(
            key.to_owned(),
            serde_json::to_string(value).expect("a value with a JSON form"),
        );
        self
    }

    /// Answers dry runs with `check`.
    #[must_use]
    pub fn with_check(mut self, check: impl Fn(&Action) -> Preview + 'static) -> Self {
        self.check = Box::new(check);
        self
    }

    /// Does not grant `truth-set`.
    #[must_use]
    pub fn without_truth_set(mut self) -> Self {
        self.truth_set = false;
        self
    }

    /// Delivers a signal from outside.
    ///
    /// # Errors
    /// The agent's; nothing it wrote is kept then.
    ///
    /// # Panics
    /// The payload has no JSON form.
    pub fn deliver<A: Agent>(
        &mut self,
        topic: &str,
        payload: &(impl Serialize + ?Sized),
    ) -> Result<Vec<Action>, Error> {
        let payload = serde_json::to_string(payload).expect("a payload with a JSON form");
        self.deliver_json::<A>(topic, &payload)
    }

    /// Delivers a signal whose payload is given as text.
    ///
    /// # Errors
    /// The agent's; nothing it wrote is kept then.
    pub fn deliver_json<A: Agent>(
        &mut self,
        topic: &str,
        payload_json: &str,
    ) -> Result<Vec<Action>, Error> {
        self.signals += 1;
        let signal = Signal {
            id: format!("00000000-0000-7000-8000-{:012x}", self.signals),
            topic: topic.to_owned(),
            payload_json: payload_json.to_owned(),
            trace_id: format!("{:032x}", self.signals),
            sender: None,
            causal_depth: 0,
            accepted_ms: self.signals * 1000,
        };
        let before = self.kept.borrow().clone();
        let result = A::handle(self, &signal);
        if result.is_err() {
            *self.kept.borrow_mut() = before;
        }
        result
    }

    /// A value of the state.
    ///
    /// # Panics
    /// The value is of another type.
    #[must_use]
    pub fn state_of<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let kept = self.kept.borrow();
        let (_, value) = kept.state.get(key)?;
        value
            .as_ref()
            .map(|json| serde_json::from_str(json).expect("a value of this type"))
    }

    /// An entry of the truth map.
    #[must_use]
    pub fn truth_of(&self, key: &str) -> Option<Truth> {
        self.kept.borrow().truths.get(key).cloned()
    }

    /// All memories, oldest first.
    #[must_use]
    pub fn memories(&self) -> Vec<Memory> {
        self.kept.borrow().memories.clone()
    }

    /// All log lines.
    #[must_use]
    pub fn log_lines(&self) -> Vec<(Level, String)> {
        self.log.borrow().clone()
    }

    fn put(&self, key: &str, value: Option<&str>, expected: Option<u64>) -> Result<u64, HostError> {
        if key.is_empty() || key.len() > 256 || key.chars().any(char::is_control) {
            return Err(HostError::Invalid(format!("key {key:?}")));
        }
        if let Some(json) = value {
            serde_json::from_str::<serde_json::Value>(json)
                .map_err(|error| HostError::Invalid(format!("value-json: {error}")))?;
        }
        let mut kept = self.kept.borrow_mut();
        let (revision, current) = kept.state.get(key).cloned().unwrap_or((0, None));
        let seen = if current.is_some() { revision } else { 0 };
        if (value.is_none() && current.is_none())
            || expected.is_some_and(|expected| expected != seen)
        {
            return Err(HostError::Conflict(seen));
        }
        kept.state
            .insert(key.to_owned(), (revision + 1, value.map(str::to_owned)));
        Ok(revision + 1)
    }
}

impl Host for MockHost {
    fn log(&self, level: Level, message: &str) {
        self.log.borrow_mut().push((level, message.to_owned()));
    }

    fn state_get(&self, key: &str) -> Result<Option<StateEntry>, HostError> {
        let kept = self.kept.borrow();
        let entry = kept.state.get(key).and_then(|(revision, value)| {
            Some(StateEntry {
                value_json: value.clone()?,
                revision: *revision,
            })
        });
        Ok(entry)
    }

    fn state_set(
        &self,
        key: &str,
        value_json: &str,
        expected: Option<u64>,
    ) -> Result<u64, HostError> {
        self.put(key, Some(value_json), expected)
    }

    fn state_delete(&self, key: &str, expected: Option<u64>) -> Result<u64, HostError> {
        self.put(key, None, expected)
    }

    fn state_list(&self, prefix: &str, limit: u32) -> Result<Vec<String>, HostError> {
        let kept = self.kept.borrow();
        let live = kept
            .state
            .iter()
            .filter(|(key, (_, value))| key.starts_with(prefix) && value.is_some());
        Ok(live
            .map(|(key, _)| key.clone())
            .take(limit as usize)
            .collect())
    }

    fn memory_add(&self, entry: &Memory, _: Option<u64>) -> Result<(), HostError> {
        self.kept.borrow_mut().memories.push(entry.clone());
        Ok(())
    }

    fn memory_recent(&self, kind: Option<&str>, limit: u32) -> Result<Vec<Memory>, HostError> {
        let kept = self.kept.borrow();
        let matching = kept
            .memories
            .iter()
            .rev()
            .filter(|memory| kind.is_none_or(|kind| memory.kind == kind));
        Ok(matching.take(limit as usize).cloned().collect())
    }

    fn truth_get(&self, key: &str) -> Result<Option<Truth>, HostError> {
        Ok(self.truth_of(key))
    }

    fn truth_set(&self, key: &str, truth: &Truth) -> Result<(), HostError> {
        if !self.truth_set {
            return Err(HostError::NotGranted("truth-set".to_owned()));
        }
        if !(0.0..=1.0).contains(&truth.confidence) {
            return Err(HostError::Invalid("confidence".to_owned()));
        }
        self.kept
            .borrow_mut()
            .truths
            .insert(key.to_owned(), truth.clone());
        Ok(())
    }

    fn config_get(&self, key: &str) -> Result<Option<String>, HostError> {
        Ok(self.config.get(key).cloned())
    }

    fn check(&self, action: &Action) -> Result<Preview, HostError> {
        Ok((self.check)(action))
    }
}
