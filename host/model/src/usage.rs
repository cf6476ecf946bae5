//! Who uses the database, and how much: consumers and what is counted for them.

use std::fmt;

use super::ids::Name;

/// Whom the bytes of a write are counted for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consumer {
    /// An agent: what its invocations write, and what is kept for it.
    Agent(Name),
    /// A bearer token, by its name: what is written over the API with it.
    Token(String),
    /// Whoever reaches a host without tokens: all such callers together.
    Local,
}

impl Consumer {
    /// Returns the consumer of a caller of the API. `token`: the name of the caller's token; `None`: it showed none.
    #[must_use]
    pub fn of_caller(token: Option<String>) -> Self {
        token.map_or(Self::Local, Self::Token)
    }

    /// Reads the text that the consumer is displayed as. `None`: it is no consumer's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some(("agent", name)) => name.parse().ok().map(Self::Agent),
            Some(("token", name)) => Some(Self::Token(name.to_owned())),
            None if text == "local" => Some(Self::Local),
            _ => None,
        }
    }
}

impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(name) => write!(f, "agent:{name}"),
            Self::Token(name) => write!(f, "token:{name}"),
            Self::Local => f.write_str("local"),
        }
    }
}

/// What is kept for a consumer. It survives a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Bytes of state and its history, memories, truths, messages and signals.
    pub stored_bytes: u64,
    /// Keys of the agent's state that have a value.
    pub keys: u64,
    /// Memories of the agent.
    pub memories: u64,
}

/// How much a consumer uses: what is kept for it, and what it did within the last minute. The latter begins at 0 with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// What is kept.
    pub totals: Totals,
    /// Bytes that it added to the stored ones. What it freed meanwhile does not count against them.
    pub stored_bytes_per_minute: u64,
    /// Bytes of the rows of the audit log about what it did.
    pub audit_bytes_per_minute: u64,
    /// Messages that were put into the outbox for it.
    pub messages_per_minute: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_reads_back_as_itself() {
        let consumers = [
            Consumer::Agent("kyle".parse().unwrap()),
            Consumer::Token("desk".to_owned()),
            Consumer::Local,
        ];
        for consumer in consumers {
            assert_eq!(Consumer::parse(&consumer.to_string()), Some(consumer));
        }
        for other in ["", "kyle", "agent:", "agent:A b", "operator:ana", "local:"] {
            assert_eq!(Consumer::parse(other), None, "{other}");
        }
    }
}
