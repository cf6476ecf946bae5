//! `ark lists`: the operator's lists, which rules judge by.

use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde_json::Value;

use ark_store::List;

use super::call::{ApiRequest, CallerArgs, PageArgs};
use super::remote::Remote;

#[derive(Debug, Subcommand)]
pub(super) enum ListsCommand {
    /// Shows a list's entries, as JSON: those put over the API and those of the configuration.
    Show {
        /// Which list.
        #[arg(value_parser = list_value_parser())]
        list: List,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        remote: Remote,
    },
    /// Puts an entry on a list, or changes it; the very next judgement sees it.
    Put {
        /// Which list.
        #[arg(value_parser = list_value_parser())]
        list: List,
        /// The symbol, the source, the data subject, or a name for the veto.
        key: String,
        #[command(flatten)]
        entry: EntryArgs,
        /// Why: it is recorded in the audit log.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        caller: CallerArgs,
    },
    /// Takes an entry off a list.
    TakeOff {
        /// Which list.
        #[arg(value_parser = list_value_parser())]
        list: List,
        /// What it was put under.
        key: String,
        /// Why: it is recorded in the audit log.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        caller: CallerArgs,
    },
    /// The changes of a list, newest first, as JSON.
    History {
        /// Which list.
        #[arg(value_parser = list_value_parser())]
        list: List,
        /// Of this entry only.
        key: Option<String>,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        remote: Remote,
    },
}

/// What an entry of the lists says beside its key.
#[derive(Debug, Args)]
pub(super) struct EntryArgs {
    /// consents: whether the subject consents.
    #[arg(long)]
    granted: Option<bool>,
    /// vetoes: the user's words.
    #[arg(long)]
    words: Option<String>,
    /// vetoes: of this agent's actions only.
    #[arg(long)]
    agent: Option<String>,
    /// vetoes: of actions of this type only.
    #[arg(long)]
    action_type: Option<String>,
    /// vetoes: of actions on this symbol only.
    #[arg(long)]
    symbol: Option<String>,
}

fn list_value_parser() -> impl TypedValueParser<Value = List> {
    PossibleValuesParser::new(List::ALL.map(List::as_str)).try_map(|name| {
        // Not reached: the names are those of the lists.
        List::parse(&name).ok_or_else(|| format!("there is no list {name}"))
    })
}

pub(super) fn run(command: ListsCommand) -> anyhow::Result<ExitCode> {
    let answer = match command {
        ListsCommand::Show { list, page, remote } => {
            ApiRequest::new("GET", &["v1", "lists", list.as_str()])
                .with_page(page)
                .send(&remote)?
        }
        ListsCommand::Put {
            list,
            key,
            entry,
            reason,
            caller,
        } => {
            let text = |value: Option<String>| value.map_or(Value::Null, Value::from);
            ApiRequest::new("PUT", &["v1", "lists", list.as_str(), "entries", &key])
                .with_value(
                    None,
                    &[
                        ("granted", entry.granted.map_or(Value::Null, Value::from)),
                        ("words", text(entry.words)),
                        ("agent", text(entry.agent)),
                        ("action_type", text(entry.action_type)),
                        ("symbol", text(entry.symbol)),
                        ("reason", reason.into()),
                        ("by", caller.actor_json()),
                    ],
                )
                .send(&caller.remote)?
        }
        ListsCommand::TakeOff {
            list,
            key,
            reason,
            caller,
        } => ApiRequest::new("DELETE", &["v1", "lists", list.as_str(), "entries", &key])
            .with_query("reason", Some(reason))
            .with_query("by", caller.actor())
            .send(&caller.remote)?,
        ListsCommand::History {
            list,
            key,
            page,
            remote,
        } => {
            let call = match &key {
                Some(key) => ApiRequest::new(
                    "GET",
                    &["v1", "lists", list.as_str(), "entries", key, "history"],
                ),
                None => ApiRequest::new("GET", &["v1", "lists", list.as_str(), "history"]),
            };
            call.with_page(page).send(&remote)?
        }
    };
    println!("{answer:#}");
    Ok(ExitCode::SUCCESS)
}
