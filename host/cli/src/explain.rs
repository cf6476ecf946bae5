//! `ark explain`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use ark_host::api::view::{DecisionView, known_policies};
use ark_host::hrm::decode_decision_row;
use ark_model::decision::Outcome;
use ark_model::ids::DecisionId;
use ark_store::ReadOnlyStore;

use super::call::ApiRequest;
use super::explanation::{Explanation, FiredRule};
use super::remote::Remote;

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The decision's id.
    decision: DecisionId,
    /// Read it from this data directory, rather than asking the running host.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let id = args.decision;
    let view = match &args.data_dir {
        Some(dir) => read_recorded_decision(dir, id)?,
        None => ApiRequest::new("GET", &["v1", "decisions", &id.to_string()]).send(&args.remote)?,
    };
    let explanation = Explanation::from_decision(view)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&explanation)?);
    } else {
        print_explanation(&explanation);
    }
    Ok(ExitCode::SUCCESS)
}

/// As `GET /v1/decisions/{id}` shows it.
fn read_recorded_decision(dir: &Path, id: DecisionId) -> anyhow::Result<Value> {
    let archive = ReadOnlyStore::open(dir)?;
    let known = known_policies(archive.policy_records()?).context("a policy's metadata")?;
    let row = archive.audit_entry(&id.to_string())?;
    let decision = row
        .map(|row| decode_decision_row(&row, |digest| known.get(&digest).cloned()))
        .transpose()?
        .flatten()
        .with_context(|| {
            format!(
                "there is no decision {id} in {}; look in the archives, or ask another host",
                dir.display()
            )
        })?;
    let mut view = json!(DecisionView::whole(&decision));
    if decision.outcome == Outcome::Held {
        view["waiting"] = json!(archive.approval(id)?);
    }
    Ok(view)
}

fn print_explanation(it: &Explanation) {
    println!("{}", it.summary);
    println!(
        "decision {}, trace {}, {}",
        it.decision_id, it.trace_id, it.decided_at
    );
    if let Some(approval) = &it.given {
        println!("{approval}");
    }
    if let Some(refusal) = &it.refused_by_host {
        println!("\nRefused by the host itself, whatever the policies say\n  {refusal}");
    }
    for failure in &it.failures {
        println!(
            "\nCould not judge, which denies\n  {} {}: {}",
            failure.policy, failure.version, failure.failure
        );
    }
    for (title, rules) in [
        ("Denied by", it.rules_with_answer("violation", "error")),
        ("Held by", it.rules_with_answer("hold", "hold")),
        ("Warned by", it.rules_with_answer("warn", "warn")),
    ] {
        if rules.is_empty() {
            continue;
        }
        println!("\n{title}");
        for rule in rules {
            print_rule(rule);
        }
    }
    if !it.notes.is_empty() {
        println!("\nIgnored or noted");
        for note in &it.notes {
            println!("  {note}");
        }
    }
    if !it.on_trial.is_empty() {
        println!("\nOn trial, without a say");
        for line in &it.on_trial {
            println!("  {line}");
        }
    }
    if let Some(approval) = &it.approval {
        println!("\nApproval: {}", approval.status);
        println!("  {}", approval.words);
        for command in &approval.how {
            println!("  {command}");
        }
    }
    match it.to_pass.as_slice() {
        [] => println!("\nNothing has to change: it passed."),
        steps => {
            println!("\nWhat would make it pass");
            for (index, step) in steps.iter().enumerate() {
                println!("  {}. {step}", index + 1);
            }
        }
    }
}

fn print_rule(fired: &FiredRule) {
    println!(
        "  {} ({} {}, rule {}, {})",
        fired.rule, fired.policy, fired.version, fired.number, fired.severity
    );
    if let Some(demands) = &fired.demands {
        println!("      it demands  {demands}");
    }
    if let Some(observed) = &fired.observed {
        println!("      observed    {observed}");
    }
    if let Some(limit) = &fired.limit {
        println!("      limit       {limit}");
    }
    if let Some(nearest) = fired.nearest_passing {
        println!("      would pass  {nearest}");
    }
}
