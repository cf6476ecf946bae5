//! `ark approvals`: held actions that wait for a person.

use std::process::ExitCode;

use anyhow::Context;
use ark_client::members::{array_field, text_field};
use ark_host::api::HeldAction;
use ark_model::decision::{format_limit, format_value, name_limit};
use ark_model::ids::{DecisionId, Name};
use ark_model::verdict::RuleResult;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::explain::describe_action;
use crate::output::{exit_code, print_empty, print_json, print_line};
use crate::time::format_moment;

use super::connection::Connection;
use super::request::{ApiRequest, CallerArgs, PageArgs};

/// The text for an answer of an unknown form.
const OTHER_FORM: &str = "the host's answer is not of the form that this version of ark reads";

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
    /// Shows one held action: what it would do and why, which rules hold it, and under which facts.
    Show {
        /// The decision that held the action.
        id: DecisionId,
        #[command(flatten)]
        connection: Connection,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Approves a held action: it is judged again with the approval as a fact, and takes effect unless something else forbids it by now.
    Approve(ResolveArgs),
    /// Rejects a held action. This is final.
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

pub(crate) fn run_command(command: ApprovalsCommand) -> anyhow::Result<ExitCode> {
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
                print_approvals(answer)?;
            }
        }
        ApprovalsCommand::Show {
            id,
            connection,
            json,
        } => {
            let answer =
                ApiRequest::get(&["v1", "approvals", &id.to_string()]).send(&connection)?;
            if json {
                print_json(&answer)?;
            } else {
                let held: HeldAction = serde_json::from_value(answer).context(OTHER_FORM)?;
                print_held_action(&held);
                print_details(&held)?;
            }
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

/// A page of held actions.
#[derive(Deserialize)]
struct ApprovalPage {
    approvals: Vec<HeldAction>,
    next_cursor: Option<String>,
}

fn print_approvals(answer: Value) -> anyhow::Result<()> {
    let page: ApprovalPage = serde_json::from_value(answer).context(OTHER_FORM)?;
    if page.approvals.is_empty() {
        print_empty!("no held actions with this status");
    }
    for held in &page.approvals {
        print_held_action(held);
    }
    if let Some(cursor) = page.next_cursor {
        print_line!("more with --cursor {cursor}");
    }
    Ok(())
}

/// Prints what is asked for, by whom, why, what holds it, and until when somebody must say something.
fn print_held_action(held: &HeldAction) {
    let approval = &held.approval;
    let wants = match &held.action {
        Some(action) => describe_action(action),
        None => format!("do {} (its record is in an archive)", approval.action_type),
    };
    print_line!("{}  {}", approval.id, approval.status.as_str());
    print_line!(
        "    {} wants to {wants} (submitted by {})",
        approval.agent,
        approval.submitter
    );
    if let Some(reasoning) = held.action.as_ref().and_then(|it| it.reasoning.as_ref()) {
        print_line!("    because: {reasoning}");
    }
    for reason in &approval.reasons {
        print_line!("    {reason}");
    }
    print_line!(
        "    held since {}, until {}",
        format_moment(approval.created_at_ms),
        format_moment(approval.expires_at_ms)
    );
    if let Some(by) = &approval.settled_by {
        let comment = approval.comment.as_deref().unwrap_or_default();
        print_line!("    {by}: {comment}");
    }
}

/// Prints the whole action, the rules that fired, and the facts.
fn print_details(held: &HeldAction) -> anyhow::Result<()> {
    for fired in &held.fired {
        let rule = &fired.rule;
        print_line!();
        print_line!(
            "{} ({}, rule {}): {}",
            rule.rule,
            fired.policy,
            rule.number,
            describe_answer(rule.answer)
        );
        if let Some(description) = &rule.description {
            print_line!("    it demands  {description}");
        }
        let observed = format_value(&rule.observed);
        let limit = format_limit(&rule.observed, &rule.limit);
        for (name, value) in [("observed", observed), (name_limit(&rule.limit), limit)] {
            if let Some(value) = value {
                print_line!("    {name:<10}  {value}");
            }
        }
    }
    for (title, value) in [
        ("The action", serde_json::to_value(&held.action)?),
        ("The facts", serde_json::to_value(&held.facts)?),
    ] {
        let Value::Object(members) = value else {
            continue;
        };
        print_line!();
        print_line!("{title}:");
        print_members(&members, "    ");
    }
    Ok(())
}

/// What a rule that fired does with the action.
fn describe_answer(answer: RuleResult) -> &'static str {
    match answer {
        RuleResult::Hold => "asks for an approval",
        RuleResult::Warn => "warns",
        RuleResult::Violation => "forbids it",
        RuleResult::Error => "could not be evaluated, which denies",
        RuleResult::Pass | RuleResult::NotApplicable => "lets it pass",
    }
}

/// Prints the members of an object, a line each.
fn print_members(members: &serde_json::Map<String, Value>, indent: &str) {
    for (name, value) in members {
        match value {
            Value::Object(inner) => {
                print_line!("{indent}{name}:");
                print_members(inner, &format!("{indent}    "));
            }
            Value::String(text) => print_line!("{indent}{name}: {text}"),
            value => print_line!("{indent}{name}: {value}"),
        }
    }
}
