//! What an invocation or a request asks for, before it is committed.

use ark_model::action::{Action, Family, Parameters};
use ark_model::state::is_secret;
use ark_runtime::{Effects, LogLine, QuotaKind};
use ark_store::{ROW_BYTES, count_memory, count_message, count_revision, count_truth};

/// What is asked for. Stored bytes are an upper bound: what is freed by the commit, and what is denied, is known after it only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demand {
    /// Stored bytes that are added.
    pub stored_bytes: u64,
    /// Keys that are created, less those that are deleted.
    pub keys: u64,
    /// Memories that are added.
    pub memories: u64,
    /// Messages that are proposed.
    pub messages: u64,
    /// Whether rows of the audit log are caused. How large they are is known after the commit.
    pub audit: bool,
}

impl Demand {
    /// Returns what the effects of an invocation ask for.
    #[must_use]
    pub fn of_effects(effects: &Effects) -> Self {
        let mut demand = Self {
            audit: !effects.actions.is_empty(),
            memories: effects.memories.len() as u64,
            ..Self::default()
        };
        let (mut created, mut deleted) = (0_u64, 0_u64);
        for write in &effects.state {
            match &write.value_json {
                Some(value) => {
                    created += u64::from(!write.was_live);
                    // The ciphertext of a secret is written in hexadecimal, with a nonce, a salt and a tag.
                    let value_bytes = value.len() as u64;
                    let stored = if is_secret(&write.key) {
                        2 * value_bytes + ROW_BYTES
                    } else {
                        value_bytes
                    };
                    demand.add_stored(count_revision(&write.key, None) + 2 * stored);
                }
                // A deletion frees more than its row takes. It must be possible when nothing is left.
                None => deleted += u64::from(write.was_live),
            }
        }
        demand.keys = created.saturating_sub(deleted);
        for new in &effects.memories {
            demand.add_stored(count_memory(&new.memory));
        }
        for write in &effects.truths {
            demand.add_stored(count_truth(write));
        }
        for action in &effects.actions {
            if let Some(bytes) = message_bytes(action) {
                demand.messages += 1;
                demand.add_stored(bytes);
            }
        }
        demand
    }

    /// Returns what a request of the API with a body of this size asks for.
    #[must_use]
    pub fn of_request(body_bytes: u64) -> Self {
        Self {
            stored_bytes: body_bytes.saturating_add(ROW_BYTES),
            audit: true,
            ..Self::default()
        }
    }

    fn add_stored(&mut self, bytes: u64) {
        self.stored_bytes = self.stored_bytes.saturating_add(bytes);
    }

    /// Returns how much of a quota is asked for; `None`: nothing of it.
    pub(super) fn asked(&self, kind: QuotaKind) -> Option<u64> {
        let asked = match kind {
            QuotaKind::StoredBytes | QuotaKind::StoredBytesPerMinute => self.stored_bytes,
            QuotaKind::Keys => self.keys,
            QuotaKind::Memories => self.memories,
            QuotaKind::MessagesPerMinute => self.messages,
            // One byte stands for the rows: they are refused when nothing is left before them.
            QuotaKind::AuditBytesPerMinute => u64::from(self.audit),
            QuotaKind::LogBytesPerMinute => 0,
        };
        (asked > 0).then_some(asked)
    }

    pub(super) const fn add(&mut self, other: &Self) {
        self.stored_bytes = self.stored_bytes.saturating_add(other.stored_bytes);
        self.keys = self.keys.saturating_add(other.keys);
        self.memories = self.memories.saturating_add(other.memories);
        self.messages = self.messages.saturating_add(other.messages);
    }

    pub(super) const fn subtract(&mut self, other: &Self) {
        self.stored_bytes = self.stored_bytes.saturating_sub(other.stored_bytes);
        self.keys = self.keys.saturating_sub(other.keys);
        self.memories = self.memories.saturating_sub(other.memories);
        self.messages = self.messages.saturating_sub(other.messages);
    }
}

/// Returns the stored bytes of the message that an action sends when it is approved; `None`: it sends none.
fn message_bytes(action: &Action) -> Option<u64> {
    if action.parameters.family() != Family::Message {
        return None;
    }
    let Parameters::Message(message) = &action.parameters else {
        return None;
    };
    let topic = message.topic.as_deref().unwrap_or(&action.action_type);
    let payload = message.payload_json.as_deref().or(message.text.as_deref());
    Some(count_message(topic, payload.unwrap_or_default()))
}

/// Returns how many bytes of the log quota an invocation's lines take.
#[must_use]
pub fn count_log_bytes(lines: &[LogLine]) -> u64 {
    let bytes = lines.iter().map(|line| line.text.len() as u64 + LINE_BYTES);
    bytes.sum()
}

/// What a line of the host's log has beside the agent's text: time, level, agent, trace.
const LINE_BYTES: u64 = 96;

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::state::{Memory, NewMemory, StateWrite};

    fn make_write(key: &str, value: Option<&str>, was_live: bool) -> StateWrite {
        StateWrite {
            key: key.to_owned(),
            value_json: value.map(str::to_owned),
            expected: 1,
            was_live,
        }
    }

    #[test]
    fn the_demand_of_an_invocation_is_an_upper_bound() {
        for (writes, keys, stored) in [
            (vec![], 0, 0),
            (vec![make_write("k", Some("12"), false)], 1, 128 + 1 + 4),
            (vec![make_write("k", Some("12"), true)], 0, 128 + 1 + 4),
            // A key that is deleted makes room for another, and costs nothing.
            (vec![make_write("k", None, true)], 0, 0),
            (
                vec![
                    make_write("k", None, true),
                    make_write("m", Some("1"), false),
                ],
                0,
                128 + 1 + 2,
            ),
            (
                vec![make_write("secret/k", Some("12"), false)],
                1,
                128 + 8 + 2 * (4 + 128),
            ),
        ] {
            let effects = Effects {
                state: writes,
                ..Effects::default()
            };
            let demand = Demand::of_effects(&effects);
            assert_eq!(
                (demand.keys, demand.stored_bytes),
                (keys, stored),
                "{effects:?}"
            );
            assert!(!demand.audit);
        }
        let memory = Memory {
            kind: "seen".to_owned(),
            content: "it".to_owned(),
            metadata_json: "{}".to_owned(),
        };
        let demand = Demand::of_effects(&Effects {
            memories: vec![NewMemory {
                memory,
                ttl_seconds: None,
            }],
            ..Effects::default()
        });
        assert_eq!((demand.memories, demand.stored_bytes), (1, 128 + 4 + 4 + 2));
    }
}
