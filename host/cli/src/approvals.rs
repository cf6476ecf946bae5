//! `ark approvals`: what is held and waits for a person.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use ark_model::ids::{DecisionId, Name};

use super::call::{ApiRequest, CallerArgs, PageArgs};
use super::remote::Remote;

#[derive(Debug, Subcommand)]
pub(super) enum ApprovalsCommand {
    /// Lists what is held: what waits, unless told otherwise.
    List {
        /// open, approved, rejected, expired or all.
        #[arg(long, default_value = "open")]
        status: String,
        /// What this agent proposed.
        #[arg(long)]
        agent: Option<Name>,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        remote: Remote,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Shows one, as JSON.
    Show {
        /// The decision that held the action.
        id: DecisionId,
        #[command(flatten)]
        remote: Remote,
    },
    /// Approves it: the action is judged again, with the approval as a fact, and counts if nothing else forbids it by now.
    Approve(ResolveArgs),
    /// Rejects it: the action is settled as denied.
    Reject(ResolveArgs),
}

#[derive(Debug, Args)]
pub(super) struct ResolveArgs {
    /// The decision that held the action.
    id: DecisionId,
    /// Why: it is recorded in the audit log.
    #[arg(long)]
    comment: String,
    #[command(flatten)]
    caller: CallerArgs,
}

pub(super) fn run(command: ApprovalsCommand) -> anyhow::Result<ExitCode> {
    match command {
        ApprovalsCommand::List {
            status,
            agent,
            page,
            remote,
            json,
        } => {
            let status = (status != "all").then_some(status);
            let answer = ApiRequest::new("GET", &["v1", "approvals"])
                .with_query("status", status)
                .with_query("agent", agent)
                .with_page(page)
                .send(&remote)?;
            if json {
                println!("{answer:#}");
            } else {
                print_approvals(&answer);
            }
        }
        ApprovalsCommand::Show { id, remote } => {
            let approval =
                ApiRequest::new("GET", &["v1", "approvals", &id.to_string()]).send(&remote)?;
            println!("{approval:#}");
        }
        ApprovalsCommand::Approve(resolve) => return resolve_approval(&resolve, "approve"),
        ApprovalsCommand::Reject(resolve) => return resolve_approval(&resolve, "reject"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Succeeds if the host did what was asked: an approval that the second judgement does not let through has failed.
fn resolve_approval(resolve: &ResolveArgs, how: &str) -> anyhow::Result<ExitCode> {
    let answer = ApiRequest::new("POST", &["v1", "approvals", &resolve.id.to_string(), how])
        .with_value(
            None,
            &[
                ("comment", resolve.comment.as_str().into()),
                ("by", resolve.caller.actor_json()),
            ],
        )
        .send(&resolve.caller.remote)?;
    println!("{}: {}", resolve.id, text_field(&answer, "status"));
    let Some(decision) = answer.get("decision").filter(|found| !found.is_null()) else {
        return Ok(ExitCode::SUCCESS);
    };
    let outcome = text_field(decision, "outcome");
    println!(
        "judged again as {}: {outcome}",
        text_field(decision, "decision_id")
    );
    for reason in array_field(decision, "reasons") {
        println!("  {}", reason.as_str().unwrap_or_default());
    }
    Ok(if how == "approve" && outcome != "approved" {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn print_approvals(answer: &Value) {
    let approvals = array_field(answer, "approvals");
    if approvals.is_empty() {
        println!("nothing");
    }
    for approval in approvals {
        println!(
            "{}  {}  {} of {}, handed in by {}, until {} ms",
            text_field(approval, "id"),
            text_field(approval, "status"),
            text_field(approval, "action_type"),
            text_field(approval, "agent"),
            text_field(approval, "submitter"),
            approval.get("expires_at_ms").unwrap_or(&Value::Null),
        );
        for reason in array_field(approval, "reasons") {
            println!("    {}", reason.as_str().unwrap_or_default());
        }
        if let Some(by) = approval.get("settled_by").and_then(Value::as_str) {
            println!("    {by}: {}", text_field(approval, "comment"));
        }
    }
    if let Some(cursor) = answer.get("next_cursor").and_then(Value::as_str) {
        println!("more with --cursor {cursor}");
    }
}

fn text_field<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("")
}

fn array_field<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}
