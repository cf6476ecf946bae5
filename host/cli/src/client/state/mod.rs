//! `ark state` over the API: what agents and operators keep in the Mutable Core.

mod commands;

use std::process::ExitCode;

use anyhow::Context;
use ark_client::MAX_PAGE;
use ark_client::members::{array_field, text_field};
use ark_model::check::read_json_field;
use ark_model::similar::compare_names;
use serde_json::{Value, json};

use crate::client::connection::Connection;
use crate::client::request::ApiRequest;
use crate::output::{print_json, print_notice};

use commands::{ConfigEntryCommand, MemoryCommand, TruthCommand};

pub(crate) use commands::AgentStateCommand;

/// Carries out a command. `by` is the name that the audit log records for a change.
pub(crate) fn run_command(
    command: AgentStateCommand,
    by: Option<String>,
    connection: &Connection,
) -> anyhow::Result<ExitCode> {
    let agent = named_agent(&command).map(str::to_owned);
    let answer = match state_request(command)? {
        PlannedRequest::Read(request) => request,
        PlannedRequest::Change(request) => request.with_fields(&[("updated_by", json!(by))]),
        PlannedRequest::Delete(request) => request.with_query("updated_by", by),
    }
    .send(connection)?;
    print_json(&answer)?;
    if let Some(agent) = agent {
        notice_unknown_agent(&agent, connection);
    }
    Ok(ExitCode::SUCCESS)
}

/// The agent whose state or memories a command lists or adds to. A name that no agent has is not refused: what an agent is to find is often put
/// there before the agent.
fn named_agent(command: &AgentStateCommand) -> Option<&str> {
    match command {
        AgentStateCommand::Set { agent, .. }
        | AgentStateCommand::List {
            agent: Some(agent), ..
        }
        | AgentStateCommand::Memory(
            MemoryCommand::Add { agent, .. } | MemoryCommand::List { agent, .. },
        ) => Some(agent),
        _ => None,
    }
}

/// Says so where no agent of this name is on the host, with the name that was probably meant.
fn notice_unknown_agent(agent: &str, connection: &Connection) {
    let mut near: Option<(f64, String)> = None;
    let mut cursor: Option<String> = None;
    loop {
        let page = ApiRequest::get(&["v1", "agents"])
            .with_query("limit", Some(MAX_PAGE))
            .with_query("cursor", cursor)
            .send(connection);
        // What was asked for is done: a notice that cannot be made is no failure of it.
        let Ok(page) = page else {
            return;
        };
        for known in array_field(&page, "agents") {
            let known = text_field(known, "name");
            if known == agent {
                return;
            }
            if let Some(alike) = compare_names(agent, known)
                && near.as_ref().is_none_or(|near| near.0 < alike)
            {
                near = Some((alike, known.to_owned()));
            }
        }
        cursor = page
            .get("next_cursor")
            .and_then(Value::as_str)
            .map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    match near {
        Some((_, near)) => {
            print_notice!("no agent {agent} serves on this host; did you mean {near}?");
        }
        None => print_notice!(
            "no agent {agent} serves on this host (`ark agent list`); what is under this name waits for one"
        ),
    }
}

/// A request by what it does, which decides where the caller's name goes.
enum PlannedRequest {
    Read(ApiRequest),
    Change(ApiRequest),
    Delete(ApiRequest),
}

fn state_request(command: AgentStateCommand) -> anyhow::Result<PlannedRequest> {
    Ok(match command {
        AgentStateCommand::Get {
            agent,
            key,
            revision,
            at_ms,
        } => PlannedRequest::Read(
            ApiRequest::get(&["v1", "state", &agent, &key])
                .with_query("revision", revision)
                .with_query("at_ms", at_ms),
        ),
        AgentStateCommand::Set {
            agent,
            key,
            value,
            expected_revision,
        } => PlannedRequest::Change(
            ApiRequest::new("PUT", &["v1", "state", &agent, &key])
                .with_raw_field("value", &read_value(value)?)
                .with_fields(&[("expected_revision", json!(expected_revision))]),
        ),
        AgentStateCommand::Delete {
            agent,
            key,
            expected_revision,
        } => PlannedRequest::Delete(
            ApiRequest::new("DELETE", &["v1", "state", &agent, &key])
                .with_query("expected_revision", expected_revision),
        ),
        AgentStateCommand::List {
            agent: None, page, ..
        } => PlannedRequest::Read(ApiRequest::get(&["v1", "state"]).with_page(page)),
        AgentStateCommand::List {
            agent: Some(agent),
            prefix,
            values,
            page,
        } => PlannedRequest::Read(
            ApiRequest::get(&["v1", "state", &agent])
                .with_query("prefix", prefix)
                .with_query("values", values.then_some(true))
                .with_page(page),
        ),
        AgentStateCommand::History { agent, key, page } => PlannedRequest::Read(
            ApiRequest::get(&["v1", "state", &agent, &key, "history"]).with_page(page),
        ),
        AgentStateCommand::Rollback {
            agent,
            key,
            steps,
            to_revision,
            expected_revision,
        } => PlannedRequest::Change(
            ApiRequest::new("POST", &["v1", "state", &agent, &key, "rollback"]).with_fields(&[
                ("steps", json!(steps)),
                ("to_revision", json!(to_revision)),
                ("expected_revision", json!(expected_revision)),
            ]),
        ),
        AgentStateCommand::Log {
            agent,
            action_type,
            result,
            since_ms,
            until_ms,
            page,
        } => PlannedRequest::Read(
            ApiRequest::get(&["v1", "session-log"])
                .with_query("agent", agent)
                .with_query("action_type", action_type)
                .with_query("result", result)
                .with_query("since_ms", since_ms)
                .with_query("until_ms", until_ms)
                .with_page(page),
        ),
        AgentStateCommand::Memory(command) => memory_request(command)?,
        AgentStateCommand::Config(command) => config_request(command),
        AgentStateCommand::Truth(command) => truth_request(command),
    })
}

fn memory_request(command: MemoryCommand) -> anyhow::Result<PlannedRequest> {
    Ok(match command {
        MemoryCommand::List {
            agent,
            kind,
            search,
            page,
        } => PlannedRequest::Read(
            ApiRequest::get(&["v1", "memory", &agent])
                .with_query("kind", kind)
                .with_query("q", search)
                .with_page(page),
        ),
        MemoryCommand::Add {
            agent,
            kind,
            content,
            metadata,
            ttl_seconds,
        } => {
            let metadata = read_json_field("--metadata", &metadata)?;
            PlannedRequest::Change(
                ApiRequest::new("POST", &["v1", "memory", &agent]).with_fields(&[
                    ("kind", json!(kind)),
                    ("content", json!(content)),
                    ("metadata", metadata),
                    ("ttl_seconds", json!(ttl_seconds)),
                ]),
            )
        }
        MemoryCommand::Delete { agent, id } => PlannedRequest::Delete(ApiRequest::new(
            "DELETE",
            &["v1", "memory", &agent, &id.to_string()],
        )),
    })
}

fn config_request(command: ConfigEntryCommand) -> PlannedRequest {
    match command {
        ConfigEntryCommand::Get { key } => {
            PlannedRequest::Read(ApiRequest::get(&["v1", "config", &key]))
        }
        ConfigEntryCommand::List { prefix, page } => PlannedRequest::Read(
            ApiRequest::get(&["v1", "config"])
                .with_query("prefix", prefix)
                .with_page(page),
        ),
        ConfigEntryCommand::Set {
            key,
            value,
            description,
            expected_revision,
        } => PlannedRequest::Change(
            ApiRequest::new("PUT", &["v1", "config", &key])
                .with_raw_field("value", &value)
                .with_fields(&[
                    ("description", json!(description)),
                    ("expected_revision", json!(expected_revision)),
                ]),
        ),
        ConfigEntryCommand::Delete {
            key,
            expected_revision,
        } => PlannedRequest::Delete(
            ApiRequest::new("DELETE", &["v1", "config", &key])
                .with_query("expected_revision", expected_revision),
        ),
        ConfigEntryCommand::History { key, page } => PlannedRequest::Read(
            ApiRequest::get(&["v1", "config", &key, "history"]).with_page(page),
        ),
    }
}

fn truth_request(command: TruthCommand) -> PlannedRequest {
    match command {
        TruthCommand::Get { key } => PlannedRequest::Read(ApiRequest::get(&["v1", "truth", &key])),
        TruthCommand::List { prefix, page } => PlannedRequest::Read(
            ApiRequest::get(&["v1", "truth"])
                .with_query("prefix", prefix)
                .with_page(page),
        ),
        TruthCommand::Set {
            key,
            value,
            agent,
            confidence,
            source,
            expected_revision,
        } => PlannedRequest::Change(
            ApiRequest::new("PUT", &["v1", "truth", &key])
                .with_raw_field("value", &value)
                .with_fields(&[
                    ("agent", json!(agent)),
                    ("confidence", json!(confidence)),
                    ("sources", json!(source)),
                    ("expected_revision", json!(expected_revision)),
                ]),
        ),
        TruthCommand::History { key, page } => {
            PlannedRequest::Read(ApiRequest::get(&["v1", "truth", &key, "history"]).with_page(page))
        }
    }
}

/// The value from the command line, or from standard input.
fn read_value(value: String) -> anyhow::Result<String> {
    if value == "-" {
        return std::io::read_to_string(std::io::stdin()).context("standard input");
    }
    Ok(value)
}
