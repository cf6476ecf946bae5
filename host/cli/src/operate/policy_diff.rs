//! `ark policy diff`: recorded decisions judged under two versions of a policy.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use ark_host::hrm::diff::{
    ChangedRule, ComparedVersion, DecisionChange, DiffSummary, VersionJudgement, diff_decisions,
};
use ark_model::check::clip_to;
use ark_model::decision::{describe_comparison, format_nearest_passing};
use ark_model::printable::format_count;
use ark_model::settings::Settings;
use ark_runtime::{Engine, EngineConfig, Policy, ReleasedGraveyard};
use ark_store::ReadOnlyStore;
use clap::Args;
use serde_json::json;

use crate::args::DataDirArgs;
use crate::files::{name_argument, read_text_file};
use crate::output::{hold_output, is_read, print_json_line, print_line};
use crate::time::{format_moment, parse_moment};

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The old version: a component's file; `graveyard`: the Graveyard of this release; `graveyard-VERSION`: the one of an earlier release, e.g.
    /// `graveyard-1.0.0`; `none`: no such policy; `recorded`: what was in force at the time.
    old: String,
    /// The new version: a component's file, `graveyard`, `graveyard-VERSION` or `none`.
    new: String,
    /// The settings of the old version: a file with a JSON object.
    #[arg(long, value_name = "FILE")]
    old_settings: Option<PathBuf>,
    /// The settings of the new version.
    #[arg(long, value_name = "FILE")]
    new_settings: Option<PathBuf>,
    /// The first moment to compare: milliseconds since 1970 (UTC), RFC 3339 (2026-11-25T19:07:06Z), or an age such as 30d, 12h, 90m.
    #[arg(long, default_value = "30d")]
    since: String,
    #[command(flatten)]
    data: DataDirArgs,
    /// Print JSON lines: each decision that changes, then {"summary": …}.
    #[arg(long)]
    json: bool,
}

/// A version as the command line names it.
enum VersionArg {
    Absent,
    Recorded,
    Loaded(Box<Policy>, Option<Settings>),
}

impl VersionArg {
    fn as_version(&self) -> ComparedVersion<'_> {
        match self {
            Self::Absent => ComparedVersion::Absent,
            Self::Recorded => ComparedVersion::Recorded,
            Self::Loaded(policy, settings) => ComparedVersion::Loaded {
                policy,
                settings: settings.as_ref(),
            },
        }
    }
}

pub(crate) fn run_command(args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let engine = Engine::new(&EngineConfig::default())?;
    let old = load_version(
        &engine,
        "--old-settings",
        &args.old,
        args.old_settings.as_deref(),
    )?;
    let new = load_version(
        &engine,
        "--new-settings",
        &args.new,
        args.new_settings.as_deref(),
    )?;
    match (&old, &new) {
        (VersionArg::Loaded(old, _), VersionArg::Loaded(new, _)) => {
            let (old, new) = (old.identity(), new.identity());
            if old.metadata.name != new.metadata.name {
                bail!(
                    "these are two policies, {} and {}, not two versions of one; compare each with `none`",
                    old.metadata.name,
                    new.metadata.name
                );
            }
        }
        (_, VersionArg::Recorded) => bail!("`recorded` is the old version; give it first"),
        (VersionArg::Loaded(..), _) | (_, VersionArg::Loaded(..)) => {}
        _ => bail!("there is nothing to compare; give a component as one of the two"),
    }
    let since = parse_moment("--since", &args.since)?;
    let archive = ReadOnlyStore::open(&args.data.find_data_dir()?)?;
    let held = hold_output();
    let mut printed = Ok(());
    let versions = (old.as_version(), new.as_version());
    let summary = diff_decisions(&archive, since, versions, |change| {
        if args.json {
            printed = print_json_line(&change);
        } else {
            print_change(&change);
        }
        printed.is_ok() && is_read()
    })?;
    printed?;
    if args.json {
        print_json_line(&json!({"summary": summary}))?;
    } else {
        print_summary(&summary);
    }
    drop(held);
    Ok(ExitCode::SUCCESS)
}

fn load_version(
    engine: &Engine,
    flag: &str,
    name: &str,
    settings: Option<&Path>,
) -> anyhow::Result<VersionArg> {
    let named = match name {
        "none" => VersionArg::Absent,
        "recorded" => VersionArg::Recorded,
        name => {
            let component = match find_graveyard(name) {
                Some(component) => component.to_vec(),
                None => std::fs::read(name).with_context(|| describe_versions(name))?,
            };
            let policy = Policy::load(engine, &component).with_context(|| name.to_owned())?;
            let settings = settings.map(|path| read_settings(flag, path)).transpose()?;
            if let Some(settings) = &settings {
                policy
                    .validate_settings(settings)
                    .with_context(|| flag.to_owned())?;
            }
            return Ok(VersionArg::Loaded(Box::new(policy), settings));
        }
    };
    if settings.is_some() {
        bail!("{flag}: `{name}` takes no settings");
    }
    Ok(named)
}

/// Returns the Graveyard that is part of this program under this name: `graveyard`, or `graveyard-VERSION` of an earlier release.
fn find_graveyard(name: &str) -> Option<&'static [u8]> {
    if name == "graveyard" {
        return Some(ReleasedGraveyard::embedded_component());
    }
    let version = name.strip_prefix("graveyard-")?;
    ReleasedGraveyard::list_earlier()
        .find(|released| released.version == version)
        .map(|released| released.component)
}

fn describe_versions(name: &str) -> String {
    let earlier: Vec<String> = ReleasedGraveyard::list_earlier()
        .map(|released| format!("`graveyard-{}`", released.version))
        .collect();
    format!(
        "{name}: give the file of a component, `graveyard`, {}, `none`, or (as the old version) `recorded`",
        earlier.join(", ")
    )
}

fn read_settings(flag: &str, path: &Path) -> anyhow::Result<Settings> {
    let text = read_text_file(flag, path, "give a file with the settings, a JSON object")?;
    Settings::parse(&text).with_context(|| name_argument(flag, path))
}

fn print_change(change: &DecisionChange) {
    let (old, new) = (change.old.outcome.as_str(), change.new.outcome.as_str());
    let outcome = if old == new {
        format!("{old}, because of other rules")
    } else {
        format!("{old} -> {new}")
    };
    print_line!(
        "{}  {}  {} of {}: {outcome}",
        change.decision_id,
        format_moment(change.decided_at_ms),
        change.action_type,
        change.agent
    );
    for (side, judged) in [("old", &change.old), ("new", &change.new)] {
        print_line!("    {side}: {}", describe_judgement(judged));
    }
}

fn describe_judgement(judged: &VersionJudgement) -> String {
    if let Some(failure) = &judged.failure {
        return format!("could not judge: {}", clip_to(failure, 500));
    }
    if judged.fired.is_empty() {
        return "no rule fires".to_owned();
    }
    let rules: Vec<String> = judged.fired.iter().map(describe_rule).collect();
    rules.join("; ")
}

fn describe_rule(fired: &ChangedRule) -> String {
    let mut text = format!("{} ({})", fired.rule, fired.answer.as_str());
    if let Some(compared) = describe_comparison(&fired.observed, &fired.limit) {
        text = format!("{text}: {}", clip_to(&compared, 400));
    }
    if let Some(nearest) = fired.nearest_passing {
        let nearest = format_nearest_passing(nearest, &fired.observed);
        text = format!("{text}, {nearest} would pass");
    }
    text
}

fn print_summary(summary: &DiffSummary) {
    print_line!(
        "{} judged under both: {} change, {} to a stricter outcome, {} to a laxer one, {} to the same because of other rules",
        format_count(summary.decisions, "decision", "decisions"),
        summary.changed,
        summary.tightened,
        summary.loosened,
        summary.same_outcome
    );
    for (side, failures) in [("old", summary.old_failures), ("new", summary.new_failures)] {
        if failures > 0 {
            print_line!("the {side} version could not judge {failures} of them, which denies");
        }
    }
    for unreadable in &summary.unreadable {
        print_line!(
            "row {} ({}) could not be compared: {}",
            unreadable.seq,
            unreadable.decision_id,
            unreadable.problem
        );
    }
}
