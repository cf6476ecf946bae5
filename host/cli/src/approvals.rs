//! `ark approvals`: what is held and waits for a person.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use ark_model::ids::{DecisionId, Name};

use super::call::{Call, Caller, Page};
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
        page: Page,
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
    Approve(Resolve),
    /// Rejects it: the action is settled as denied.
    Reject(Resolve),
}

#[derive(Debug, Args)]
pub(super) struct Resolve {
    /// The decision that held the action.
    id: DecisionId,
    /// Why: it is recorded in the audit log.
    #[arg(long)]
    comment: String,
    #[command(flatten)]
    caller: Caller,
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
            let answer = Call::new("GET", &["v1", "approvals"])
                .with("status", status)
                .with("agent", agent)
                .page(page)
                .send(&remote)?;
            if json {
                println!("{answer:#}");
            } else {
                show(&answer);
            }
        }
        ApprovalsCommand::Show { id, remote } => {
            let approval = Call::new("GET", &["v1", "approvals", &id.to_string()]).send(&remote)?;
            println!("{approval:#}");
        }
        ApprovalsCommand::Approve(resolve) => return settle(&resolve, "approve"),
        ApprovalsCommand::Reject(resolve) => return settle(&resolve, "reject"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Succeeds if the host did what was asked: an approval that the second judgement does not let through has failed.
fn settle(resolve: &Resolve, how: &str) -> anyhow::Result<ExitCode> {
    let answer = Call::new("POST", &["v1", "approvals", &resolve.id.to_string(), how])
        .body(
            None,
            &[
                ("comment", resolve.comment.as_str().into()),
                ("by", resolve.caller.by()),
            ],
        )
        .send(&resolve.caller.remote)?;
    println!("{}: {}", resolve.id, text(&answer, "status"));
    let Some(decision) = answer.get("decision").filter(|found| !found.is_null()) else {
        return Ok(ExitCode::SUCCESS);
    };
    let outcome = text(decision, "outcome");
    println!(
        "judged again as {}: {outcome}",
        text(decision, "decision_id")
    );
    for reason in list(decision, "reasons") {
        println!("  {}", reason.as_str().unwrap_or_default());
    }
    Ok(if how == "approve" && outcome != "approved" {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn show(answer: &Value) {
    let approvals = list(answer, "approvals");
    if approvals.is_empty() {
        println!("nothing");
    }
    for approval in approvals {
        println!(
            "{}  {}  {} of {}, handed in by {}, until {} ms",
            text(approval, "id"),
            text(approval, "status"),
            text(approval, "action_type"),
            text(approval, "agent"),
            text(approval, "submitter"),
            approval.get("expires_at_ms").unwrap_or(&Value::Null),
        );
        for reason in list(approval, "reasons") {
            println!("    {}", reason.as_str().unwrap_or_default());
        }
        if let Some(by) = approval.get("settled_by").and_then(Value::as_str) {
            println!("    {by}: {}", text(approval, "comment"));
        }
    }
    if let Some(cursor) = answer.get("next_cursor").and_then(Value::as_str) {
        println!("more with --cursor {cursor}");
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("")
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}
