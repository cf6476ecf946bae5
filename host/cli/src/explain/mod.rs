//! `ark explain`: why a decision came out as it did, and what would make the action pass.
//!
//! Reading order: [`advice`] (what would make a rule pass), [`surroundings`] (what a decision does not say itself), [`explanation`]. What is explained is the API's own [`DecisionRecord`], from a host or
//! made from a data directory.

mod advice;
mod explanation;
mod surroundings;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use ark_host::api::view::{DecisionRecord, known_policies};
use ark_host::hrm::decode_decision_row;
use ark_model::decision::Outcome;
use ark_model::ids::DecisionId;
use ark_model::verdict::RuleResult;
use ark_store::ReadOnlyStore;
use clap::Args;

use crate::client::connection::Connection;
use crate::client::request::ApiRequest;
use crate::output::{print_json, print_line};
use crate::time::print_in_utc;

pub(crate) use explanation::describe_action;
use explanation::{ExplainedRule, Explanation};
use surroundings::Surroundings;

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The id of the decision.
    decision: DecisionId,
    /// Read the decision from this data directory, instead of asking the running host.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run_command(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    if args.json {
        // A program reads it: its moments depend on no machine's zone.
        print_in_utc();
    }
    let id = args.decision;
    let explanation = match &args.data_dir {
        Some(dir) => explain_recorded(dir, id)?,
        None => {
            let answer =
                ApiRequest::get(&["v1", "decisions", &id.to_string()]).send(&args.connection)?;
            let record: DecisionRecord = serde_json::from_value(answer)
                .context("the decision is not of the form that this version of ark reads")?;
            Explanation::from_record(&record, &Surroundings::fetch(&args.connection, &record))?
        }
    };
    if args.json {
        print_json(&explanation)?;
    } else {
        print_explanation(&explanation);
    }
    Ok(ExitCode::SUCCESS)
}

/// Explains a decision that a data directory holds.
fn explain_recorded(dir: &Path, id: DecisionId) -> anyhow::Result<Explanation> {
    let store = ReadOnlyStore::open(dir)?;
    let known = known_policies(store.policy_records()?).context("the metadata of a policy")?;
    let decision = store
        .audit_entry(&id.to_string())?
        .map(|row| decode_decision_row(&row, |digest| known.get(&digest).cloned()))
        .transpose()?
        .flatten()
        .with_context(|| {
            format!(
                "there is no decision {id} in {}; look in the archives, or ask another host",
                dir.display()
            )
        })?;
    let waiting = match decision.outcome {
        Outcome::Held => store.approval(id)?,
        Outcome::Approved | Outcome::Denied => None,
    };
    let record = DecisionRecord::new(&decision, waiting);
    Explanation::from_record(&record, &Surroundings::read(&store, &record))
}

fn print_explanation(it: &Explanation) {
    print_line!("{}", it.summary);
    print_line!(
        "decision {}, trace {}, {}",
        it.decision_id,
        it.trace_id,
        it.decided_at
    );
    if let Some(approval) = &it.given {
        print_line!("{approval}");
    }
    if let Some(refusal) = &it.refused_by_host {
        print_title("Refused by the host itself, whatever the policies say");
        print_line!("  {refusal}");
    }
    for failure in &it.failures {
        print_title("Could not judge, which denies");
        print_line!(
            "  {} {}: {}",
            failure.policy,
            failure.version,
            failure.failure
        );
    }
    for (title, answers) in [
        ("Denied by", &[RuleResult::Violation, RuleResult::Error][..]),
        ("Held by", &[RuleResult::Hold]),
        ("Warned by", &[RuleResult::Warn]),
    ] {
        let rules = it.rules_with_answer(answers);
        if !rules.is_empty() {
            print_title(title);
            rules.into_iter().for_each(print_rule);
        }
    }
    for (title, lines) in [
        ("Ignored or noted", &it.notes),
        ("On trial, without effect", &it.on_trial),
    ] {
        if !lines.is_empty() {
            print_title(title);
            for line in lines {
                print_line!("  {line}");
            }
        }
    }
    if let Some(approval) = &it.approval {
        print_title(&format!("Approval: {}", approval.status.as_str()));
        print_line!("  {}", approval.words);
        for command in &approval.how {
            print_line!("  {command}");
        }
    }
    match it.to_pass.as_slice() {
        [] => print_title("Nothing has to change: it passed."),
        steps => {
            print_title("What would make it pass");
            for (index, step) in steps.iter().enumerate() {
                print_line!("  {}. {step}", index + 1);
            }
        }
    }
}

/// Prints the title of a part, after an empty line.
fn print_title(title: &str) {
    print_line!();
    print_line!("{title}");
}

fn print_rule(fired: &ExplainedRule) {
    print_line!(
        "  {} ({} {}, rule {}, {})",
        fired.rule,
        fired.policy,
        fired.version,
        fired.number,
        fired.severity
    );
    if let Some(demands) = &fired.demands {
        print_line!("      it demands  {demands}");
    }
    if let Some(observed) = &fired.observed {
        print_line!("      observed    {observed}");
    }
    if let Some(limit) = &fired.limit {
        print_line!("      {:<10}  {limit}", fired.limit_name);
    }
    if let Some(nearest) = &fired.would_pass {
        print_line!("      would pass  {nearest}");
    }
}
