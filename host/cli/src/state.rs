//! `ark state`: what agents and operators keep in the Mutable Core.
//!
//! Reading and changing single values goes to the running host's API. Snapshot and check read the data directory, with or without a
//! host; restore and rekey need the host to be stopped.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use ark_store::{
    ReadOnlyStore, SecretKey, check_snapshot, create_snapshot, rekey_secrets, restore_snapshot,
};

use super::call::{ApiRequest, PageArgs};
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
struct DataDirArgs {
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
        page: PageArgs,
    },
    /// The revisions of a key, newest first.
    History {
        agent: String,
        key: String,
        #[command(flatten)]
        page: PageArgs,
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
    Config(SettingsCommand),
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
        page: PageArgs,
    },
    /// Copies the database as it is at one moment into a new directory; a host may run.
    Snapshot {
        /// The directory to make.
        to: PathBuf,
        #[command(flatten)]
        data: DataDirArgs,
    },
    /// Puts a snapshot in the place of the database; no host may run.
    Restore {
        /// The snapshot.
        from: PathBuf,
        /// Moves a database that is there aside.
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        data: DataDirArgs,
    },
    /// Checks every revision against the chain of hashes, every key against its history; secrets too when the key is given.
    Check {
        /// A snapshot to check, instead of a data directory.
        #[arg(long, value_name = "DIR")]
        snapshot: Option<PathBuf>,
        #[command(flatten)]
        data: DataDirArgs,
    },
    /// Encrypts all secrets with another key; no host may run. The present key comes from the environment.
    Rekey {
        /// A 0400 file with the new key: 64 hexadecimal digits.
        #[arg(long, value_name = "FILE")]
        new_key_file: PathBuf,
        #[command(flatten)]
        data: DataDirArgs,
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
        page: PageArgs,
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
enum SettingsCommand {
    /// A setting.
    Get { key: String },
    /// All settings.
    List {
        #[arg(long)]
        prefix: Option<String>,
        #[command(flatten)]
        page: PageArgs,
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
        page: PageArgs,
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
        page: PageArgs,
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
        page: PageArgs,
    },
}

pub(super) fn run(args: StateArgs) -> anyhow::Result<ExitCode> {
    let by = json!(args.by);
    let call = match args.command {
        StateCommand::Snapshot { to, data } => {
            let manifest = create_snapshot(&data.data_dir, &to)?;
            return print_answer(&json!(manifest), true);
        }
        StateCommand::Restore {
            from,
            replace,
            data,
        } => {
            let key = SecretKey::from_environment()?;
            let restored = restore_snapshot(&from, &data.data_dir, replace, key.as_ref())?;
            return print_answer(&json!(restored), true);
        }
        StateCommand::Check { snapshot, data } => {
            let key = SecretKey::from_environment()?;
            if let Some(snapshot) = snapshot {
                let manifest = check_snapshot(&snapshot, key.as_ref())?;
                return print_answer(&json!(manifest), true);
            }
            let report = ReadOnlyStore::open(&data.data_dir)?.check_state(key.as_ref())?;
            return print_answer(&json!(report), report.fault.is_none());
        }
        StateCommand::Rekey { new_key_file, data } => {
            let new = SecretKey::from_file(&new_key_file)?;
            let old = SecretKey::from_environment()?;
            let count = rekey_secrets(&data.data_dir, old.as_ref(), &new)?;
            return print_answer(&json!({"secrets": count, "key": new.id()}), true);
        }
        StateCommand::Get {
            agent,
            key,
            revision,
            at_ms,
        } => ApiRequest::new("GET", &["v1", "state", &agent, &key])
            .with_query("revision", revision)
            .with_query("at_ms", at_ms),
        StateCommand::Set {
            agent,
            key,
            value,
            expected_revision,
        } => ApiRequest::new("PUT", &["v1", "state", &agent, &key]).with_value(
            Some(&read_value(value)?),
            &[
                ("expected_revision", json!(expected_revision)),
                ("updated_by", by),
            ],
        ),
        StateCommand::Delete {
            agent,
            key,
            expected_revision,
        } => ApiRequest::new("DELETE", &["v1", "state", &agent, &key])
            .with_query("expected_revision", expected_revision)
            .with_query("updated_by", args.by),
        StateCommand::List {
            agent: None, page, ..
        } => ApiRequest::new("GET", &["v1", "state"]).with_page(page),
        StateCommand::List {
            agent: Some(agent),
            prefix,
            values,
            page,
        } => ApiRequest::new("GET", &["v1", "state", &agent])
            .with_query("prefix", prefix)
            .with_query("values", values.then_some(true))
            .with_page(page),
        StateCommand::History { agent, key, page } => {
            ApiRequest::new("GET", &["v1", "state", &agent, &key, "history"]).with_page(page)
        }
        StateCommand::Rollback {
            agent,
            key,
            steps,
            to_revision,
            expected_revision,
        } => ApiRequest::new("POST", &["v1", "state", &agent, &key, "rollback"]).with_value(
            None,
            &[
                ("steps", json!(steps)),
                ("to_revision", json!(to_revision)),
                ("expected_revision", json!(expected_revision)),
                ("updated_by", by),
            ],
        ),
        StateCommand::Memory(command) => memory_request(command, by, args.by)?,
        StateCommand::Config(command) => settings_request(command, by, args.by),
        StateCommand::Truth(command) => truth_request(command, by),
        StateCommand::Log {
            agent,
            action_type,
            result,
            since_ms,
            until_ms,
            page,
        } => ApiRequest::new("GET", &["v1", "session-log"])
            .with_query("agent", agent)
            .with_query("action_type", action_type)
            .with_query("result", result)
            .with_query("since_ms", since_ms)
            .with_query("until_ms", until_ms)
            .with_page(page),
    };
    print_answer(&call.send(&args.remote)?, true)
}

fn memory_request(
    command: MemoryCommand,
    by: Value,
    name: Option<String>,
) -> anyhow::Result<ApiRequest> {
    Ok(match command {
        MemoryCommand::List {
            agent,
            kind,
            search,
            page,
        } => ApiRequest::new("GET", &["v1", "memory", &agent])
            .with_query("kind", kind)
            .with_query("q", search)
            .with_page(page),
        MemoryCommand::Add {
            agent,
            kind,
            content,
            metadata,
            ttl_seconds,
        } => {
            let metadata: Value =
                serde_json::from_str(&metadata).context("--metadata is not JSON")?;
            ApiRequest::new("POST", &["v1", "memory", &agent]).with_value(
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
            ApiRequest::new("DELETE", &["v1", "memory", &agent, &id.to_string()])
                .with_query("updated_by", name)
        }
    })
}

fn settings_request(command: SettingsCommand, by: Value, name: Option<String>) -> ApiRequest {
    match command {
        SettingsCommand::Get { key } => ApiRequest::new("GET", &["v1", "config", &key]),
        SettingsCommand::List { prefix, page } => ApiRequest::new("GET", &["v1", "config"])
            .with_query("prefix", prefix)
            .with_page(page),
        SettingsCommand::Set {
            key,
            value,
            description,
            expected_revision,
        } => ApiRequest::new("PUT", &["v1", "config", &key]).with_value(
            Some(&value),
            &[
                ("description", json!(description)),
                ("expected_revision", json!(expected_revision)),
                ("updated_by", by),
            ],
        ),
        SettingsCommand::Delete {
            key,
            expected_revision,
        } => ApiRequest::new("DELETE", &["v1", "config", &key])
            .with_query("expected_revision", expected_revision)
            .with_query("updated_by", name),
        SettingsCommand::History { key, page } => {
            ApiRequest::new("GET", &["v1", "config", &key, "history"]).with_page(page)
        }
    }
}

fn truth_request(command: TruthCommand, by: Value) -> ApiRequest {
    match command {
        TruthCommand::Get { key } => ApiRequest::new("GET", &["v1", "truth", &key]),
        TruthCommand::List { prefix, page } => ApiRequest::new("GET", &["v1", "truth"])
            .with_query("prefix", prefix)
            .with_page(page),
        TruthCommand::Set {
            key,
            value,
            agent,
            confidence,
            source,
            expected_revision,
        } => ApiRequest::new("PUT", &["v1", "truth", &key]).with_value(
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
            ApiRequest::new("GET", &["v1", "truth", &key, "history"]).with_page(page)
        }
    }
}

/// A value from the command line, or from standard input.
fn read_value(value: String) -> anyhow::Result<String> {
    if value == "-" {
        return std::io::read_to_string(std::io::stdin()).context("standard input");
    }
    Ok(value)
}

fn print_answer(answer: &Value, ok: bool) -> anyhow::Result<ExitCode> {
    println!("{}", serde_json::to_string_pretty(answer)?);
    Ok(if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
