//! `ark state`: what agents and operators keep in the Mutable Core.
//!
//! Reading and changing single values goes to the running host's API. Snapshot and check read the data directory, with or without a
//! host; restore and rekey need the host to be stopped.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use ark_store::{Archive, SecretKey, check_snapshot, rekey, restore, snapshot};

use super::call::{Call, Page};
use super::remote::Remote;

#[derive(Debug, Args)]
pub(super) struct StateArgs {
    #[command(flatten)]
    remote: Remote,
    /// Whom the audit log is to name for a change.
    #[arg(long, global = true, value_name = "NAME")]
    by: Option<String>,
    #[command(subcommand)]
    command: StateCommand,
}

#[derive(Debug, Args)]
struct DataDir {
    /// The data directory.
    #[arg(long, env = "ARK_DATA_DIR", default_value = "ark-data")]
    data_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum StateCommand {
    /// A key of an agent's state, now or as it was.
    Get {
        agent: String,
        key: String,
        /// As it was in this revision.
        #[arg(long, conflicts_with = "at_ms")]
        revision: Option<u64>,
        /// As it was at this moment: milliseconds since 1970 (UTC).
        #[arg(long)]
        at_ms: Option<u64>,
    },
    /// Sets a key of an agent's state to a JSON value.
    Set {
        agent: String,
        key: String,
        /// One JSON value, e.g. '"text"', 1.5, '{"a": []}'; `-`: read from standard input, where no other user sees it.
        value: String,
        /// The revision it must be at; 0: there must be none.
        #[arg(long)]
        expected_revision: Option<u64>,
    },
    /// Deletes a key of an agent's state; its history stays.
    Delete {
        agent: String,
        key: String,
        /// The revision it must be at.
        #[arg(long)]
        expected_revision: Option<u64>,
    },
    /// The agents that have state, or one agent's keys.
    List {
        agent: Option<String>,
        /// Only keys that start so.
        #[arg(long)]
        prefix: Option<String>,
        /// With their values.
        #[arg(long)]
        values: bool,
        #[command(flatten)]
        page: Page,
    },
    /// The revisions of a key, newest first.
    History {
        agent: String,
        key: String,
        #[command(flatten)]
        page: Page,
    },
    /// Makes an earlier revision's value hold again, as a new revision.
    Rollback {
        agent: String,
        key: String,
        /// So many revisions back.
        #[arg(
            long,
            required_unless_present = "to_revision",
            conflicts_with = "to_revision"
        )]
        steps: Option<u64>,
        /// To this revision.
        #[arg(long)]
        to_revision: Option<u64>,
        /// The revision it must be at.
        #[arg(long)]
        expected_revision: Option<u64>,
    },
    /// What an agent remembers.
    #[command(subcommand)]
    Memory(MemoryCommand),
    /// The system configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The truth map.
    #[command(subcommand)]
    Truth(TruthCommand),
    /// The session log, newest first.
    Log {
        #[arg(long)]
        agent: Option<String>,
        #[arg(long)]
        action_type: Option<String>,
        /// approved, held, denied, handled, failed or done.
        #[arg(long)]
        result: Option<String>,
        /// Not before: milliseconds since 1970 (UTC).
        #[arg(long)]
        since_ms: Option<u64>,
        /// Before: milliseconds since 1970 (UTC).
        #[arg(long)]
        until_ms: Option<u64>,
        #[command(flatten)]
        page: Page,
    },
    /// Copies the database as it is at one moment into a new directory; a host may run.
    Snapshot {
        /// The directory to make.
        to: PathBuf,
        #[command(flatten)]
        data: DataDir,
    },
    /// Puts a snapshot in the place of the database; no host may run.
    Restore {
        /// The snapshot.
        from: PathBuf,
        /// Moves a database that is there aside.
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        data: DataDir,
    },
    /// Checks every revision against the chain of hashes, every key against its history; secrets too when the key is given.
    Check {
        /// A snapshot to check, instead of a data directory.
        #[arg(long, value_name = "DIR")]
        snapshot: Option<PathBuf>,
        #[command(flatten)]
        data: DataDir,
    },
    /// Encrypts all secrets with another key; no host may run. The present key comes from the environment.
    Rekey {
        /// A 0400 file with the new key: 64 hexadecimal digits.
        #[arg(long, value_name = "FILE")]
        new_key_file: PathBuf,
        #[command(flatten)]
        data: DataDir,
    },
}

#[derive(Debug, Subcommand)]
enum MemoryCommand {
    /// Memories, newest first.
    List {
        agent: String,
        #[arg(long)]
        kind: Option<String>,
        /// Words that must all be in it; `word*` stands for every word that begins so.
        #[arg(long, value_name = "WORDS")]
        search: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Gives an agent a memory.
    Add {
        agent: String,
        kind: String,
        content: String,
        /// A JSON object.
        #[arg(long, default_value = "{}")]
        metadata: String,
        /// Forgotten after so many seconds.
        #[arg(long)]
        ttl_seconds: Option<u64>,
    },
    /// Takes a memory away.
    Delete { agent: String, id: i64 },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// A setting.
    Get { key: String },
    /// All settings.
    List {
        #[arg(long)]
        prefix: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Sets a setting to a JSON value.
    Set {
        key: String,
        value: String,
        #[arg(long)]
        description: Option<String>,
        #[arg(long)]
        expected_revision: Option<u64>,
    },
    /// Deletes a setting; its history stays.
    Delete {
        key: String,
        #[arg(long)]
        expected_revision: Option<u64>,
    },
    /// The revisions of a setting, newest first.
    History {
        key: String,
        #[command(flatten)]
        page: Page,
    },
}

#[derive(Debug, Subcommand)]
enum TruthCommand {
    /// An entry.
    Get { key: String },
    /// All entries.
    List {
        #[arg(long)]
        prefix: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Writes an entry in the name of an agent that may.
    Set {
        key: String,
        value: String,
        #[arg(long)]
        agent: String,
        #[arg(long, default_value_t = 1.0)]
        confidence: f64,
        #[arg(long)]
        source: Vec<String>,
        #[arg(long)]
        expected_revision: Option<u64>,
    },
    /// The revisions of an entry, newest first.
    History {
        key: String,
        #[command(flatten)]
        page: Page,
    },
}

pub(super) fn run(args: StateArgs) -> anyhow::Result<ExitCode> {
    let by = json!(args.by);
    let call = match args.command {
        StateCommand::Snapshot { to, data } => {
            let manifest = snapshot(&data.data_dir, &to)?;
            return print(&json!(manifest), true);
        }
        StateCommand::Restore {
            from,
            replace,
            data,
        } => {
            let key = SecretKey::from_environment()?;
            let restored = restore(&from, &data.data_dir, replace, key.as_ref())?;
            return print(&json!(restored), true);
        }
        StateCommand::Check { snapshot, data } => {
            let key = SecretKey::from_environment()?;
            if let Some(snapshot) = snapshot {
                let manifest = check_snapshot(&snapshot, key.as_ref())?;
                return print(&json!(manifest), true);
            }
            let report = Archive::open(&data.data_dir)?.check_state(key.as_ref())?;
            return print(&json!(report), report.fault.is_none());
        }
        StateCommand::Rekey { new_key_file, data } => {
            let new = SecretKey::from_file(&new_key_file)?;
            let old = SecretKey::from_environment()?;
            let count = rekey(&data.data_dir, old.as_ref(), &new)?;
            return print(&json!({"secrets": count, "key": new.id()}), true);
        }
        StateCommand::Get {
            agent,
            key,
            revision,
            at_ms,
        } => Call::new("GET", &["v1", "state", &agent, &key])
            .with("revision", revision)
            .with("at_ms", at_ms),
        StateCommand::Set {
            agent,
            key,
            value,
            expected_revision,
        } => Call::new("PUT", &["v1", "state", &agent, &key]).body(
            Some(&given(value)?),
            &[
                ("expected_revision", json!(expected_revision)),
                ("updated_by", by),
            ],
        ),
        StateCommand::Delete {
            agent,
            key,
            expected_revision,
        } => Call::new("DELETE", &["v1", "state", &agent, &key])
            .with("expected_revision", expected_revision)
            .with("updated_by", args.by),
        StateCommand::List {
            agent: None, page, ..
        } => Call::new("GET", &["v1", "state"]).page(page),
        StateCommand::List {
            agent: Some(agent),
            prefix,
            values,
            page,
        } => Call::new("GET", &["v1", "state", &agent])
            .with("prefix", prefix)
            .with("values", values.then_some(true))
            .page(page),
        StateCommand::History { agent, key, page } => {
            Call::new("GET", &["v1", "state", &agent, &key, "history"]).page(page)
        }
        StateCommand::Rollback {
            agent,
            key,
            steps,
            to_revision,
            expected_revision,
        } => Call::new("POST", &["v1", "state", &agent, &key, "rollback"]).body(
            None,
            &[
                ("steps", json!(steps)),
                ("to_revision", json!(to_revision)),
                ("expected_revision", json!(expected_revision)),
                ("updated_by", by),
            ],
        ),
        StateCommand::Memory(command) => memory(command, by, args.by)?,
        StateCommand::Config(command) => config(command, by, args.by),
        StateCommand::Truth(command) => truth(command, by),
        StateCommand::Log {
            agent,
            action_type,
            result,
            since_ms,
            until_ms,
            page,
        } => Call::new("GET", &["v1", "session-log"])
            .with("agent", agent)
            .with("action_type", action_type)
            .with("result", result)
            .with("since_ms", since_ms)
            .with("until_ms", until_ms)
            .page(page),
    };
    print(&call.send(&args.remote)?, true)
}

fn memory(command: MemoryCommand, by: Value, name: Option<String>) -> anyhow::Result<Call> {
    Ok(match command {
        MemoryCommand::List {
            agent,
            kind,
            search,
            page,
        } => Call::new("GET", &["v1", "memory", &agent])
            .with("kind", kind)
            .with("q", search)
            .page(page),
        MemoryCommand::Add {
            agent,
            kind,
            content,
            metadata,
            ttl_seconds,
        } => {
            let metadata: Value =
                serde_json::from_str(&metadata).context("--metadata is not JSON")?;
            Call::new("POST", &["v1", "memory", &agent]).body(
                None,
                &[
                    ("kind", json!(kind)),
                    ("content", json!(content)),
                    ("metadata", metadata),
                    ("ttl_seconds", json!(ttl_seconds)),
                    ("updated_by", by),
                ],
            )
        }
        MemoryCommand::Delete { agent, id } => {
            Call::new("DELETE", &["v1", "memory", &agent, &id.to_string()]).with("updated_by", name)
        }
    })
}

fn config(command: ConfigCommand, by: Value, name: Option<String>) -> Call {
    match command {
        ConfigCommand::Get { key } => Call::new("GET", &["v1", "config", &key]),
        ConfigCommand::List { prefix, page } => Call::new("GET", &["v1", "config"])
            .with("prefix", prefix)
            .page(page),
        ConfigCommand::Set {
            key,
            value,
            description,
            expected_revision,
        } => Call::new("PUT", &["v1", "config", &key]).body(
            Some(&value),
            &[
                ("description", json!(description)),
                ("expected_revision", json!(expected_revision)),
                ("updated_by", by),
            ],
        ),
        ConfigCommand::Delete {
            key,
            expected_revision,
        } => Call::new("DELETE", &["v1", "config", &key])
            .with("expected_revision", expected_revision)
            .with("updated_by", name),
        ConfigCommand::History { key, page } => {
            Call::new("GET", &["v1", "config", &key, "history"]).page(page)
        }
    }
}

fn truth(command: TruthCommand, by: Value) -> Call {
    match command {
        TruthCommand::Get { key } => Call::new("GET", &["v1", "truth", &key]),
        TruthCommand::List { prefix, page } => Call::new("GET", &["v1", "truth"])
            .with("prefix", prefix)
            .page(page),
        TruthCommand::Set {
            key,
            value,
            agent,
            confidence,
            source,
            expected_revision,
        } => Call::new("PUT", &["v1", "truth", &key]).body(
            Some(&value),
            &[
                ("agent", json!(agent)),
                ("confidence", json!(confidence)),
                ("sources", json!(source)),
                ("expected_revision", json!(expected_revision)),
                ("updated_by", by),
            ],
        ),
        TruthCommand::History { key, page } => {
            Call::new("GET", &["v1", "truth", &key, "history"]).page(page)
        }
    }
}

/// A value from the command line, or from standard input.
fn given(value: String) -> anyhow::Result<String> {
    if value == "-" {
        return std::io::read_to_string(std::io::stdin()).context("standard input");
    }
    Ok(value)
}

fn print(answer: &Value, whole: bool) -> anyhow::Result<ExitCode> {
    println!("{}", serde_json::to_string_pretty(answer)?);
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
