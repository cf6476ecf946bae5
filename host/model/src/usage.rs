//! Who uses the database, and how much: quota holders and what is counted for them.

use std::fmt;

use super::ids::Name;

/// The agent or the caller that the bytes of a write are counted for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaHolder {
    /// An agent: what its invocations write, and what is kept for it.
    Agent(Name),
    /// A bearer token, by its name: what is written over the API with it.
    Token(String),
    /// The callers of a host without tokens: all such callers together.
    Local,
}

impl QuotaHolder {
    /// Returns the holder of a caller of the API. `token`: the name of the caller's token; `None`: it showed none.
    #[must_use]
    pub fn of_caller(token: Option<String>) -> Self {
        token.map_or(Self::Local, Self::Token)
    }

    /// Reads the text that the holder is displayed as. `None`: it does not name a holder.
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

impl fmt::Display for QuotaHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(name) => write!(f, "agent:{name}"),
            Self::Token(name) => write!(f, "token:{name}"),
            Self::Local => f.write_str("local"),
        }
    }
}

/// What is kept for a holder. It survives a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Bytes of state and its history, memories, truths, messages and signals.
    pub stored_bytes: u64,
    /// Keys of the agent's state that have a value.
    pub keys: u64,
    /// Memories of the agent.
    pub memories: u64,
}

/// How much a holder uses: what is kept for it, and what it did within the last minute. The latter begins at 0 with the process.
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
    fn a_quota_holder_reads_back_as_itself() {
        let holders = [
            QuotaHolder::Agent("kyle".parse().unwrap()),
            QuotaHolder::Token("desk".to_owned()),
            QuotaHolder::Local,
        ];
        for holder in holders {
            assert_eq!(QuotaHolder::parse(&holder.to_string()), Some(holder));
        }
        for other in ["", "kyle", "agent:", "agent:A b", "operator:ana", "local:"] {
            assert_eq!(QuotaHolder::parse(other), None, "{other}");
        }
    }
}
