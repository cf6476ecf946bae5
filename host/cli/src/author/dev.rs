//! `ark agent dev`: after every change of a project its tests, its component and what its samples lead to.
//!
//! Files are looked at again and again in place of being announced by the system: that works on every file system, and a project has few.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use clap::Args;

use crate::output::{print_line, print_notice};
use crate::production::interrupts::watch_interrupts;

use super::project::{build_agent, test_project};
use super::sample::{SampleRun, SampleSignal, run_sample};
use super::toolchain::Language;

/// How often the files are looked at.
const PAUSE: Duration = Duration::from_millis(250);
/// Directories that hold what tools make.
const GENERATED: [&str; 7] = [
    "target",
    "dist",
    "node_modules",
    ".venv",
    ".git",
    "__pycache__",
    ".pytest_cache",
];

#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// The directory of the project. Its samples are `sample.json` and the JSON files in `samples`.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Leave the project's own tests out.
    #[arg(long)]
    no_tests: bool,
}

/// The files of a project, each with its size and the time of its last change.
type WatchedFiles = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

/// Watches a project until the user ends it.
///
/// # Errors
/// The directory holds no project or cannot be read, or signals cannot be handled. What is wrong with the project is printed and is not an error.
pub(super) fn run_command(args: &DevArgs) -> anyhow::Result<()> {
    // What is no project now will not become one.
    Language::of_project(&args.dir)?;
    let stop = watch_interrupts()?;
    let is_stopped = || stop.load(Ordering::Relaxed);
    let compiled = tempfile::tempdir().context("no temporary directory")?;
    let mut done: Option<WatchedFiles> = None;
    let mut before = list_files(&args.dir)?;
    while !is_stopped() {
        let files = list_files(&args.dir)?;
        // An editor writes a file in several steps: what has settled is looked at.
        let is_settled = files == before;
        if is_settled && done.as_ref() != Some(&files) {
            let started = Instant::now();
            if let Err(error) = check_project(args, compiled.path())
                && !is_stopped()
            {
                print_line!("FAILED    {error:#}");
            }
            if !is_stopped() {
                print_line!(
                    "{:.1} s; waiting for changes in {} (Ctrl-C ends)",
                    started.elapsed().as_secs_f64(),
                    args.dir.display()
                );
            }
            done = Some(files);
            continue;
        }
        before = files;
        std::thread::sleep(PAUSE);
    }
    print_notice!("ended");
    Ok(())
}

/// Runs the tests, builds the agent, and gives it its samples.
fn check_project(args: &DevArgs, compiled: &Path) -> anyhow::Result<()> {
    if !args.no_tests {
        test_project(&args.dir)?;
    }
    let manifest = build_agent(&args.dir, Some(compiled))?;
    let samples = find_samples(&args.dir)?;
    if samples.is_empty() {
        print_line!("no sample: write sample.json, {{\"topic\": …, \"payload\": …}}");
    }
    print_line!(
        "{:<20} {:<9} {:<24} {:>14} {:>12}",
        "sample",
        "outcome",
        "action",
        "fuel",
        "memory"
    );
    for path in samples {
        let name = path.strip_prefix(&args.dir).unwrap_or(&path);
        let name = name.display().to_string();
        match SampleSignal::read(&path)
            .and_then(|sample| run_sample(&manifest, sample, Some(compiled)))
        {
            Ok(run) => print_row(&name, &run),
            Err(error) => print_line!("{name:<20} {:<9} {error:#}", "REFUSED"),
        }
    }
    Ok(())
}

/// Prints the rows of one sample: one for each decision, with the reasons of a denial below it, and one for each failure.
fn print_row(name: &str, run: &SampleRun) {
    let mut cost = (
        run.fuel.to_string(),
        format!("{} KiB", run.memory_peak / 1024),
    );
    let mut name = name;
    let mut print = |outcome: &str, action: &str, reasons: Vec<String>| {
        let (fuel, memory) = std::mem::take(&mut cost);
        print_line!("{name:<20} {outcome:<9} {action:<24} {fuel:>14} {memory:>12}");
        // The cost is that of the whole sample.
        name = "";
        for reason in reasons {
            print_line!("{:<20} {reason}", "");
        }
    };
    for decision in &run.decisions {
        let outcome = decision.outcome.as_str().to_uppercase();
        print(&outcome, &decision.action.action_type, decision.reasons());
    }
    for failed in &run.failures {
        print("FAILED", "", vec![failed.reason.clone()]);
    }
    if run.decisions.is_empty() && run.failures.is_empty() {
        print("HANDLED", "proposes nothing", Vec::new());
    }
}

/// The samples of a project.
fn find_samples(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let one = dir.join("sample.json");
    found.extend(one.is_file().then_some(one));
    let many = dir.join("samples");
    if many.is_dir() {
        let entries = std::fs::read_dir(&many).with_context(|| many.display().to_string())?;
        let mut paths: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
            .collect();
        paths.sort();
        found.extend(paths);
    }
    Ok(found)
}

/// Lists the files of a project but for those that tools make.
fn list_files(dir: &Path) -> anyhow::Result<WatchedFiles> {
    let mut files = WatchedFiles::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        let entries = std::fs::read_dir(&dir).with_context(|| dir.display().to_string())?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            // What is removed while it is looked at has changed, which the next look sees.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                if !GENERATED.iter().any(|generated| name == *generated) {
                    open.push(entry.path());
                }
            } else if name != "Cargo.lock" {
                files.insert(entry.path(), (metadata.len(), metadata.modified().ok()));
            }
        }
    }
    Ok(files)
}
