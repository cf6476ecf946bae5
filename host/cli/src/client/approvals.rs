//! `ark approvals`: held actions that wait for a person.

use std::process::ExitCode;

use ark_model::ids::{DecisionId, Name};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::output::{exit_code, print_json, print_line};

use super::connection::Connection;
use super::fields::{array_field, text_field};
use super::request::{ApiRequest, CallerArgs, PageArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalsCommand {
    /// Lists held actions.
    List {
        /// Only those with this status: open, approved, rejected, expired, or all.
        #[arg(long, default_value = "open")]
        status: String,
        /// Only those that this agent proposed.
        #[arg(long)]
        agent: Option<Name>,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        connection: Connection,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Shows one held action, as JSON.
    Show {
        /// The decision that held the action.
        id: DecisionId,
        #[command(flatten)]
        connection: Connection,
    },
    /// Approves a held action: it is judged again with the approval as a fact, and takes effect unless something else forbids it by now.
    Approve(ResolveArgs),
    /// Rejects a held action: it is denied finally.
    Reject(ResolveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ResolveArgs {
    /// The decision that held the action.
    id: DecisionId,
    /// The reason, which is recorded in the audit log.
    #[arg(long)]
    comment: String,
    #[command(flatten)]
    caller: CallerArgs,
}

pub(crate) fn run(command: ApprovalsCommand) -> anyhow::Result<ExitCode> {
    match command {
        ApprovalsCommand::List {
            status,
            agent,
            page,
            connection,
            json,
        } => {
            let status = (status != "all").then_some(status);
            let answer = ApiRequest::get(&["v1", "approvals"])
                .with_query("status", status)
                .with_query("agent", agent)
                .with_page(page)
                .send(&connection)?;
            if json {
                print_json(&answer)?;
            } else {
                print_approvals(&answer);
            }
        }
        ApprovalsCommand::Show { id, connection } => {
            let request = ApiRequest::get(&["v1", "approvals", &id.to_string()]);
            print_json(&request.send(&connection)?)?;
        }
        ApprovalsCommand::Approve(args) => return resolve_approval(&args, "approve"),
        ApprovalsCommand::Reject(args) => return resolve_approval(&args, "reject"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Approves or rejects. Fails if an approved action is not approved when it is judged again.
fn resolve_approval(args: &ResolveArgs, verb: &'static str) -> anyhow::Result<ExitCode> {
    let answer = ApiRequest::new("POST", &["v1", "approvals", &args.id.to_string(), verb])
        .with_fields(&[
            ("comment", json!(args.comment)),
            ("by", json!(args.caller.actor())),
        ])
        .send(&args.caller.connection)?;
    print_line!("{}: {}", args.id, text_field(&answer, "status"));
    let Some(decision) = answer.get("decision").filter(|it| !it.is_null()) else {
        return Ok(ExitCode::SUCCESS);
    };
    let outcome = text_field(decision, "outcome");
    print_line!(
        "judged again as {}: {outcome}",
        text_field(decision, "decision_id")
    );
    for reason in array_field(decision, "reasons") {
        print_line!("  {}", reason.as_str().unwrap_or_default());
    }
    Ok(exit_code(verb == "reject" || outcome == "approved"))
}

fn print_approvals(answer: &Value) {
    let approvals = array_field(answer, "approvals");
    if approvals.is_empty() {
        print_line!("nothing");
    }
    for approval in approvals {
        print_line!(
            "{}  {}  {} of {}, submitted by {}, until {} ms",
            text_field(approval, "id"),
            text_field(approval, "status"),
            text_field(approval, "action_type"),
            text_field(approval, "agent"),
            text_field(approval, "submitter"),
            approval.get("expires_at_ms").unwrap_or(&Value::Null),
        );
        for reason in array_field(approval, "reasons") {
            print_line!("    {}", reason.as_str().unwrap_or_default());
        }
        if let Some(by) = approval.get("settled_by").and_then(Value::as_str) {
            print_line!("    {by}: {}", text_field(approval, "comment"));
        }
    }
    if let Some(cursor) = answer.get("next_cursor").and_then(Value::as_str) {
        print_line!("more with --cursor {cursor}");
    }
}
