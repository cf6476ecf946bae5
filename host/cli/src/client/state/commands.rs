//! The commands of `ark state` that a running host answers, and their flags.

use clap::Subcommand;

use crate::client::request::PageArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum AgentStateCommand {
    /// Shows a key of an agent's state, now or as it was.
    Get {
        /// The agent.
        agent: String,
        /// The key.
        key: String,
        /// Show the value of this revision.
        #[arg(long, conflicts_with = "at_ms")]
        revision: Option<u64>,
        /// Show the value at this moment: milliseconds since 1970 (UTC).
        #[arg(long)]
        at_ms: Option<u64>,
    },
    /// Sets a key of an agent's state to a JSON value.
    Set {
        /// The agent.
        agent: String,
        /// The key.
        key: String,
        /// One JSON value, e.g. '"text"', 1.5, '{"a": []}'; `-` reads it from standard input, where no other user sees it.
        value: String,
        /// Change the key only if it is at this revision; 0: only if it does not exist.
        #[arg(long)]
        expected_revision: Option<u64>,
    },
    /// Deletes a key of an agent's state. Its history stays.
    Delete {
        /// The agent.
        agent: String,
        /// The key.
        key: String,
        /// Delete the key only if it is at this revision.
        #[arg(long)]
        expected_revision: Option<u64>,
    },
    /// Lists the agents that have state, or the keys of one agent.
    List {
        /// The agent.
        agent: Option<String>,
        /// Only keys that start with this.
        #[arg(long)]
        prefix: Option<String>,
        /// Show the values too.
        #[arg(long)]
        values: bool,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Lists the revisions of a key, newest first.
    History {
        /// The agent.
        agent: String,
        /// The key.
        key: String,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Sets a key to the value of an earlier revision, as a new revision.
    Rollback {
        /// The agent.
        agent: String,
        /// The key.
        key: String,
        /// The number of revisions to go back.
        #[arg(
            long,
            required_unless_present = "to_revision",
            conflicts_with = "to_revision"
        )]
        steps: Option<u64>,
        /// The revision to go back to.
        #[arg(long)]
        to_revision: Option<u64>,
        /// Change the key only if it is at this revision.
        #[arg(long)]
        expected_revision: Option<u64>,
    },
    /// Lists and changes what an agent remembers.
    #[command(subcommand)]
    Memory(MemoryCommand),
    /// Reads and changes the configuration values of the system.
    #[command(subcommand)]
    Config(ConfigEntryCommand),
    /// Reads and changes the truth map.
    #[command(subcommand)]
    Truth(TruthCommand),
    /// Lists the session log, newest first.
    Log {
        /// Only lines of this agent.
        #[arg(long)]
        agent: Option<String>,
        /// Only lines about actions of this type.
        #[arg(long)]
        action_type: Option<String>,
        /// Only lines with this result: approved, held, denied, handled, failed or done.
        #[arg(long)]
        result: Option<String>,
        /// Only lines from this moment on: milliseconds since 1970 (UTC).
        #[arg(long)]
        since_ms: Option<u64>,
        /// Only lines before this moment: milliseconds since 1970 (UTC).
        #[arg(long)]
        until_ms: Option<u64>,
        #[command(flatten)]
        page: PageArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemoryCommand {
    /// Lists the memories of an agent, newest first.
    List {
        /// The agent.
        agent: String,
        /// Only memories of this kind.
        #[arg(long)]
        kind: Option<String>,
        /// Only memories that hold all of these words; `word*` stands for every word that starts with it.
        #[arg(long, value_name = "WORDS")]
        search: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Adds a memory.
    Add {
        /// The agent.
        agent: String,
        /// The kind.
        kind: String,
        /// The text.
        content: String,
        /// Metadata, a JSON object.
        #[arg(long, default_value = "{}")]
        metadata: String,
        /// The number of seconds after which it is forgotten.
        #[arg(long)]
        ttl_seconds: Option<u64>,
    },
    /// Deletes a memory.
    Delete {
        /// The agent.
        agent: String,
        /// The id of the memory.
        id: i64,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigEntryCommand {
    /// Shows a configuration value.
    Get {
        /// The key.
        key: String,
    },
    /// Lists the configuration values.
    List {
        /// Only keys that start with this.
        #[arg(long)]
        prefix: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Sets a configuration value to a JSON value.
    Set {
        /// The key.
        key: String,
        /// One JSON value.
        value: String,
        /// What the configuration value is for.
        #[arg(long)]
        description: Option<String>,
        /// Change the configuration value only if it is at this revision; 0: only if it does not exist.
        #[arg(long)]
        expected_revision: Option<u64>,
    },
    /// Deletes a configuration value. Its history stays.
    Delete {
        /// The key.
        key: String,
        /// Delete the configuration value only if it is at this revision.
        #[arg(long)]
        expected_revision: Option<u64>,
    },
    /// Lists the revisions of a configuration value, newest first.
    History {
        /// The key.
        key: String,
        #[command(flatten)]
        page: PageArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TruthCommand {
    /// Shows an entry.
    Get {
        /// The key.
        key: String,
    },
    /// Lists the entries.
    List {
        /// Only keys that start with this.
        #[arg(long)]
        prefix: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Writes an entry in the name of an agent that may write it.
    Set {
        /// The key.
        key: String,
        /// One JSON value.
        value: String,
        /// The agent in whose name the entry is written.
        #[arg(long)]
        agent: String,
        /// How certain it is, from 0 to 1.
        #[arg(long, default_value_t = 1.0)]
        confidence: f64,
        /// A source that it rests on; may be given more than once.
        #[arg(long)]
        source: Vec<String>,
        /// Change the entry only if it is at this revision; 0: only if it does not exist.
        #[arg(long)]
        expected_revision: Option<u64>,
    },
    /// Lists the revisions of an entry, newest first.
    History {
        /// The key.
        key: String,
        #[command(flatten)]
        page: PageArgs,
    },
}
