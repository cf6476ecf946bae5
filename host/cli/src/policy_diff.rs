//! `ark policy diff`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use ark_host::hrm::diff::{
    ComparedVersion, DecisionChange, DiffSummary, FiredRule, VersionJudgement, diff_decisions,
};
use ark_model::check::to_printable;
use ark_model::decision::format_value;
use ark_model::settings::Settings;
use ark_runtime::{Engine, EngineConfig, Policy};
use ark_store::ReadOnlyStore;

use super::moment::{format_utc, parse_moment};

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// The old version: a component; `none` for no such policy; `recorded` for what was in force at the time.
    old: String,
    /// The new version: a component, or `none`.
    new: String,
    /// The old version's settings: a file with a JSON object.
    #[arg(long, value_name = "FILE")]
    old_settings: Option<PathBuf>,
    /// The new version's settings.
    #[arg(long, value_name = "FILE")]
    new_settings: Option<PathBuf>,
    /// From when on: milliseconds since 1970 (UTC), or an age such as 30d, 12h, 90m.
    #[arg(long, default_value = "30d")]
    since: String,
    /// The data directory; a host may be running on it.
    #[arg(long, env = "ARK_DATA_DIR", default_value = "ark-data")]
    data_dir: PathBuf,
    /// As JSON lines: each decision that changes, then {"summary": …}.
    #[arg(long)]
    json: bool,
}

/// A version as it was named.
enum VersionArg {
    Absent,
    Recorded,
    Loaded(Box<Policy>, Option<Settings>),
}

pub(super) fn run(args: &DiffArgs) -> anyhow::Result<ExitCode> {
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
        (_, VersionArg::Recorded) => bail!("`recorded` is the old version: give it first"),
        (VersionArg::Loaded(..), _) | (_, VersionArg::Loaded(..)) => {}
        _ => bail!("give a component as one of the two"),
    }
    let since = parse_moment("--since", &args.since)?;
    let archive = ReadOnlyStore::open(&args.data_dir)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut written = Ok(());
    let summary = diff_decisions(
        &archive,
        since,
        (old.as_version(), new.as_version()),
        |change| {
            written = if args.json {
                serde_json::to_string(&change)
                    .map_err(std::io::Error::other)
                    .and_then(|line| writeln!(out, "{line}"))
            } else {
                print_change(&mut out, &change)
            };
            written.is_ok()
        },
    )?;
    written
        .and_then(|()| {
            if args.json {
                writeln!(out, "{}", json!({"summary": summary}))
            } else {
                print_summary(&mut out, &summary)
            }
        })
        .and_then(|()| out.flush())
        .context("standard output")?;
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
        file => {
            let bytes = std::fs::read(file).with_context(|| {
                format!(
                    "{file}: give a component's file, `none`, or (as the old version) `recorded`"
                )
            })?;
            let policy = Policy::load(engine, &bytes).with_context(|| file.to_owned())?;
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

fn read_settings(flag: &str, path: &Path) -> anyhow::Result<Settings> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("{flag} {}", path.display()))?;
    Settings::parse(&text).with_context(|| format!("{flag} {}", path.display()))
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

fn print_change(out: &mut impl Write, change: &DecisionChange) -> std::io::Result<()> {
    let (old, new) = (change.old.outcome.as_str(), change.new.outcome.as_str());
    let outcome = if old == new {
        format!("{old}, for other rules")
    } else {
        format!("{old} -> {new}")
    };
    writeln!(
        out,
        "{}  {}  {} of {}: {outcome}",
        change.decision_id,
        format_utc(change.decided_at_ms),
        change.action_type,
        change.agent
    )?;
    for (side, judged) in [("old", &change.old), ("new", &change.new)] {
        writeln!(out, "    {side}: {}", describe_verdict(judged))?;
    }
    Ok(())
}

fn describe_verdict(judged: &VersionJudgement) -> String {
    if let Some(failure) = &judged.failure {
        return format!("could not judge: {}", to_printable(failure, 500));
    }
    if judged.fired.is_empty() {
        return "no rule fires".to_owned();
    }
    let rules: Vec<String> = judged.fired.iter().map(describe_rule).collect();
    rules.join("; ")
}

fn describe_rule(fired: &FiredRule) -> String {
    let mut text = format!("{} ({:?})", fired.rule, fired.answer).to_lowercase();
    if let Some(observed) = format_value(&fired.observed) {
        text = format!("{text}: observed {}", to_printable(&observed, 200));
    }
    if let Some(limit) = format_value(&fired.limit) {
        text = format!("{text}, limit {}", to_printable(&limit, 200));
    }
    if let Some(nearest) = fired.nearest_passing {
        text = format!("{text}, {nearest} would pass");
    }
    text
}

fn print_summary(out: &mut impl Write, summary: &DiffSummary) -> std::io::Result<()> {
    writeln!(
        out,
        "{} decisions judged under both: {} change, {} to a stricter outcome, {} to a laxer one, {} to the same for other rules",
        summary.decisions,
        summary.changed,
        summary.tightened,
        summary.loosened,
        summary.same_outcome
    )?;
    for (side, failures) in [("old", summary.old_failures), ("new", summary.new_failures)] {
        if failures > 0 {
            writeln!(
                out,
                "the {side} version could not judge {failures} of them, which denies"
            )?;
        }
    }
    for unreadable in &summary.unreadable {
        writeln!(
            out,
            "row {} ({}) could not be compared: {}",
            unreadable.seq, unreadable.decision_id, unreadable.problem
        )?;
    }
    Ok(())
}
