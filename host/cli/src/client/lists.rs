//! `ark lists`: the operator's lists that rules judge by.

use std::process::ExitCode;

use ark_store::List;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::output::print_json;

use super::connection::Connection;
use super::request::{ApiRequest, PageArgs, ReasonArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum ListsCommand {
    /// Shows the entries of a list, as JSON: those put over the API and those of the configuration.
    Show {
        #[command(flatten)]
        list: ListArgs,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        connection: Connection,
    },
    /// Puts an entry on a list, or changes it. The next judgement already sees it.
    Put {
        #[command(flatten)]
        list: ListArgs,
        /// The symbol, the source, the data subject, or a name for the veto.
        key: String,
        #[command(flatten)]
        entry: EntryArgs,
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Removes an entry from a list.
    #[command(alias = "take-off")]
    Remove {
        #[command(flatten)]
        list: ListArgs,
        /// The key of the entry.
        key: String,
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Lists the changes of a list, newest first, as JSON.
    History {
        #[command(flatten)]
        list: ListArgs,
        /// Only the changes of the entry with this key.
        key: Option<String>,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The list.
    #[arg(value_parser = list_value_parser())]
    list: List,
}

/// What an entry says beside its key.
#[derive(Debug, Args)]
pub(crate) struct EntryArgs {
    /// consents: whether the subject consents.
    #[arg(long)]
    granted: Option<bool>,
    /// vetoes: what the user said.
    #[arg(long)]
    words: Option<String>,
    /// vetoes: only for actions of this agent.
    #[arg(long)]
    agent: Option<String>,
    /// vetoes: only for actions of this type.
    #[arg(long)]
    action_type: Option<String>,
    /// vetoes: only for actions on this symbol.
    #[arg(long)]
    symbol: Option<String>,
}

fn list_value_parser() -> impl TypedValueParser<Value = List> {
    PossibleValuesParser::new(List::ALL.map(List::as_str)).try_map(|name| {
        // Not reached: the possible values are the names of the lists.
        List::parse(&name).ok_or_else(|| format!("unknown list `{name}`"))
    })
}

pub(crate) fn run_command(command: ListsCommand) -> anyhow::Result<ExitCode> {
    let answer = match command {
        ListsCommand::Show {
            list,
            page,
            connection,
        } => ApiRequest::get(&["v1", "lists", list.list.as_str()])
            .with_page(page)
            .send(&connection)?,
        ListsCommand::Put {
            list,
            key,
            entry,
            reason,
        } => entry_request("PUT", &list, &key)
            .with_fields(&[
                ("granted", json!(entry.granted)),
                ("words", json!(entry.words)),
                ("agent", json!(entry.agent)),
                ("action_type", json!(entry.action_type)),
                ("symbol", json!(entry.symbol)),
            ])
            .send_with_reason(&reason)?,
        ListsCommand::Remove { list, key, reason } => {
            entry_request("DELETE", &list, &key).send_with_reason(&reason)?
        }
        ListsCommand::History {
            list,
            key,
            page,
            connection,
        } => {
            let mut segments = vec!["v1", "lists", list.list.as_str()];
            if let Some(key) = &key {
                segments.extend(["entries", key]);
            }
            segments.push("history");
            ApiRequest::get(&segments)
                .with_page(page)
                .send(&connection)?
        }
    };
    print_json(&answer)?;
    Ok(ExitCode::SUCCESS)
}

fn entry_request(method: &'static str, list: &ListArgs, key: &str) -> ApiRequest {
    ApiRequest::new(method, &["v1", "lists", list.list.as_str(), "entries", key])
}
