//! A host for tests. It keeps an agent's state, memories and truths in process memory, with the revisions, conflicts and transactions of the real
//! host, as `wit/agent/agent.wit` describes them.
//!
//! It enforces no limits (fuel, time, memory, number of calls), and it judges nothing: [`Host::check`] returns what the test provides.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::check::{check_action, clip_text, parse_json};
use super::{
    Action, Agent, Error, Host, HostError, Level, Memory, Outcome, Preview, Signal, StateEntry,
    Truth,
};

/// The most entries a list call returns.
const MAX_LISTED: u32 = 1000;

/// The last revision of a key; a deleted key has a revision and no value.
#[derive(Debug, Clone, Default)]
struct Slot {
    revision: u64,
    value_json: Option<String>,
}

#[derive(Debug, Clone)]
struct Kept {
    memory: Memory,
    /// Milliseconds since the Unix epoch.
    until: Option<u64>,
}

/// What was written since the last commit.
#[derive(Debug, Default)]
struct Writes {
    state: BTreeMap<String, Slot>,
    memories: Vec<Kept>,
    truths: BTreeMap<String, Truth>,
}

type Check = Box<dyn Fn(&Action) -> Preview>;

/// A host for tests.
///
/// A delivery is a transaction: what the agent wrote is kept when it returns `Ok` with actions that the real host would take, and dropped
/// otherwise. What a test writes itself, through [`Host`], is committed before the next delivery.
///
/// ```
/// use ark_guest::agent::{Action, Agent, Error, Host, Metadata, MockHost, Signal};
///
/// struct Sum;
///
/// impl Agent for Sum {
///     fn metadata() -> Metadata {
///         Metadata { name: "sum".into(), version: "1.0.0".into(), description: "Adds up.".into() }
///     }
///
///     fn handle(host: &dyn Host, signal: &Signal) -> Result<Vec<Action>, Error> {
///         let sum = host.state::<u64>("sum")?.unwrap_or(0) + signal.payload::<u64>()?;
///         host.set_state("sum", &sum)?;
///         if sum > host.config("ceiling", 100)? { Err(Error::Failed("too much".into())) } else { Ok(Vec::new()) }
///     }
/// }
///
/// let mut host = MockHost::new().with_config("ceiling", &10);
/// assert!(host.deliver::<Sum>("number", &7).is_ok());
/// assert!(host.deliver::<Sum>("number", &7).is_err());
/// assert_eq!(host.state_of::<u64>("sum"), Some(7));
/// ```
pub struct MockHost {
    state: BTreeMap<String, Slot>,
    memories: Vec<Kept>,
    truths: BTreeMap<String, Truth>,
    writes: RefCell<Writes>,
    log: RefCell<Vec<(Level, String)>>,
    config: BTreeMap<String, String>,
    check: Check,
    truth_set: bool,
    signals: u64,
    now_ms: u64,
}

impl Default for MockHost {
    fn default() -> Self {
        Self::new()
    }
}

impl MockHost {
    /// An empty host that grants every capability and approves every dry run. Its clock starts at 0 and advances by a second with every signal.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: BTreeMap::new(),
            memories: Vec::new(),
            truths: BTreeMap::new(),
            writes: RefCell::default(),
            log: RefCell::default(),
            config: BTreeMap::new(),
            check: Box::new(|_| Preview {
                outcome: Outcome::Approved,
                compliance_score: 1.0,
                verdicts: Vec::new(),
            }),
            truth_set: true,
            signals: 0,
            now_ms: 0,
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

    /// Withdraws the capability `truth-set`.
    #[must_use]
    pub fn without_truth_set(mut self) -> Self {
        self.truth_set = false;
        self
    }

    /// Advances the clock by `seconds`, and drops the memories that have expired by then.
    pub fn advance_clock(&mut self, seconds: u64) {
        self.now_ms = self.now_ms.saturating_add(seconds.saturating_mul(1000));
        let now = self.now_ms;
        self.memories
            .retain(|kept| kept.until.is_none_or(|until| until > now));
    }

    /// Returns a new signal from outside, with an id and a trace id of its own.
    #[must_use]
    pub fn signal(&mut self, topic: &str, payload_json: &str) -> Signal {
        self.signals += 1;
        self.advance_clock(1);
        Signal {
            id: format!("00000000-0000-7000-8000-{:012x}", self.signals),
            topic: topic.to_owned(),
            payload_json: payload_json.to_owned(),
            trace_id: format!("{:032x}", self.signals),
            sender: None,
            causal_depth: 0,
            accepted_ms: self.now_ms,
        }
    }

    /// Delivers a payload on a topic.
    ///
    /// # Errors
    /// As [`Self::deliver_signal`].
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

    /// Delivers a payload that is given as text.
    ///
    /// # Errors
    /// As [`Self::deliver_signal`].
    pub fn deliver_json<A: Agent>(
        &mut self,
        topic: &str,
        payload_json: &str,
    ) -> Result<Vec<Action>, Error> {
        let signal = self.signal(topic, payload_json);
        self.deliver_signal::<A>(&signal)
    }

    /// Delivers a signal: one invocation of the agent.
    ///
    /// # Errors
    /// The agent's error, or that of [`check_action`] for an action that it proposes. What the agent wrote is dropped in both cases.
    pub fn deliver_signal<A: Agent>(&mut self, signal: &Signal) -> Result<Vec<Action>, Error> {
        self.commit_writes();
        let result = A::handle(self, signal).and_then(|actions| {
            actions.iter().try_for_each(check_action)?;
            Ok(actions)
        });
        if result.is_ok() {
            self.commit_writes();
        } else {
            self.writes.take();
        }
        result
    }

    /// A value of the state.
    ///
    /// # Panics
    /// The value is of another type.
    #[must_use]
    pub fn state_of<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let value = self.current_slot(key).value_json?;
        Some(serde_json::from_str(&value).expect("a value of this type"))
    }

    /// An entry of the truth map.
    #[must_use]
    pub fn truth_of(&self, key: &str) -> Option<Truth> {
        let writes = self.writes.borrow();
        writes
            .truths
            .get(key)
            .or_else(|| self.truths.get(key))
            .cloned()
    }

    /// All memories that were kept and have not expired, oldest first.
    #[must_use]
    pub fn memories(&self) -> Vec<Memory> {
        self.memories
            .iter()
            .map(|kept| kept.memory.clone())
            .collect()
    }

    /// All log lines. The log is not part of the transaction: a failed invocation keeps its lines.
    #[must_use]
    pub fn log_lines(&self) -> Vec<(Level, String)> {
        self.log.borrow().clone()
    }

    fn commit_writes(&mut self) {
        let writes = self.writes.take();
        self.state.extend(writes.state);
        self.memories.extend(writes.memories);
        self.truths.extend(writes.truths);
    }

    fn current_slot(&self, key: &str) -> Slot {
        let writes = self.writes.borrow();
        writes
            .state
            .get(key)
            .or_else(|| self.state.get(key))
            .cloned()
            .unwrap_or_default()
    }

    fn write_slot(
        &self,
        key: &str,
        value_json: Option<String>,
        expected: Option<u64>,
    ) -> Result<u64, HostError> {
        let current = self.current_slot(key);
        let seen = if current.value_json.is_some() {
            current.revision
        } else {
            0
        };
        let missing = value_json.is_none() && current.value_json.is_none();
        if missing
            || expected.is_some_and(|expected| expected != seen && expected != current.revision)
        {
            return Err(HostError::Conflict(seen));
        }
        // Several writes of one invocation to a key are one revision.
        let revision = self.state.get(key).map_or(0, |slot| slot.revision) + 1;
        self.writes.borrow_mut().state.insert(
            key.to_owned(),
            Slot {
                revision,
                value_json,
            },
        );
        Ok(revision)
    }
}

impl Host for MockHost {
    fn log(&self, level: Level, message: &str) {
        self.log.borrow_mut().push((level, message.to_owned()));
    }

    fn state_get(&self, key: &str) -> Result<Option<StateEntry>, HostError> {
        check_key(key)?;
        let Slot {
            revision,
            value_json,
        } = self.current_slot(key);
        Ok(value_json.map(|value_json| StateEntry {
            value_json,
            revision,
        }))
    }

    fn state_set(
        &self,
        key: &str,
        value_json: &str,
        expected: Option<u64>,
    ) -> Result<u64, HostError> {
        check_key(key)?;
        let value = parse_json("value-json", value_json).map_err(HostError::Invalid)?;
        self.write_slot(key, Some(value.to_string()), expected)
    }

    fn state_delete(&self, key: &str, expected: Option<u64>) -> Result<u64, HostError> {
        check_key(key)?;
        self.write_slot(key, None, expected)
    }

    fn state_list(&self, prefix: &str, limit: u32) -> Result<Vec<String>, HostError> {
        let writes = self.writes.borrow();
        let keys: BTreeSet<&String> = self.state.keys().chain(writes.state.keys()).collect();
        let live = keys
            .into_iter()
            .filter(|key| key.starts_with(prefix) && self.current_slot(key).value_json.is_some());
        Ok(live.take(limit.min(MAX_LISTED) as usize).cloned().collect())
    }

    fn memory_add(&self, entry: &Memory, ttl_seconds: Option<u64>) -> Result<(), HostError> {
        if !parse_json("metadata-json", &entry.metadata_json)
            .map_err(HostError::Invalid)?
            .is_object()
        {
            return Err(HostError::Invalid(
                "metadata-json: give a JSON object".to_owned(),
            ));
        }
        if !(1..=64).contains(&entry.kind.len()) || entry.kind.chars().any(char::is_control) {
            return Err(HostError::Invalid(
                "kind: give 1 to 64 bytes of plain text".to_owned(),
            ));
        }
        let until =
            ttl_seconds.map(|seconds| self.now_ms.saturating_add(seconds.saturating_mul(1000)));
        self.writes.borrow_mut().memories.push(Kept {
            memory: entry.clone(),
            until,
        });
        Ok(())
    }

    fn memory_recent(&self, kind: Option<&str>, limit: u32) -> Result<Vec<Memory>, HostError> {
        let memories = self.memories.iter().rev().map(|kept| &kept.memory);
        let matching = memories.filter(|memory| kind.is_none_or(|kind| memory.kind == kind));
        Ok(matching
            .take(limit.min(MAX_LISTED) as usize)
            .cloned()
            .collect())
    }

    fn truth_get(&self, key: &str) -> Result<Option<Truth>, HostError> {
        check_key(key)?;
        Ok(self.truth_of(key))
    }

    fn truth_set(&self, key: &str, truth: &Truth) -> Result<(), HostError> {
        if !self.truth_set {
            return Err(HostError::NotGranted(
                "the manifest does not grant truth-set; add capabilities = [\"truth-set\"] to it"
                    .to_owned(),
            ));
        }
        check_key(key)?;
        if !(0.0..=1.0).contains(&truth.confidence) {
            return Err(HostError::Invalid(
                "confidence: give a number from 0 to 1".to_owned(),
            ));
        }
        parse_json("value-json", &truth.value_json).map_err(HostError::Invalid)?;
        self.writes
            .borrow_mut()
            .truths
            .insert(key.to_owned(), truth.clone());
        Ok(())
    }

    fn config_get(&self, key: &str) -> Result<Option<String>, HostError> {
        Ok(self.config.get(key).cloned())
    }

    fn check(&self, action: &Action) -> Result<Preview, HostError> {
        check_action(action).map_err(|error| HostError::Invalid(error.to_string()))?;
        Ok((self.check)(action))
    }
}

fn check_key(key: &str) -> Result<(), HostError> {
    if (1..=256).contains(&key.len()) && !key.chars().any(char::is_control) {
        return Ok(());
    }
    Err(HostError::Invalid(format!(
        "key {:?}: give 1 to 256 bytes without control characters",
        clip_text(key)
    )))
}

#[cfg(test)]
mod tests;
