//! Fuzzing with cargo-fuzz: seeds from what is real, a bounded run of each target, and an error when one finds something.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::guests;
use crate::hermetic::Workspace;

/// What of a run is bounded besides its time. A component that takes longer to be looked at, or more memory, is a finding.
const BOUNDS: [&str; 2] = ["-timeout=30", "-rss_limit_mb=2048"];

/// What to fuzz, and for how long.
#[derive(clap::Args)]
pub struct Args {
    /// Seconds for each target.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Only this target.
    #[arg(long, value_parser = TARGETS)]
    target: Option<String>,
}

/// The targets, in the order in which they are run.
const TARGETS: [&str; 3] = ["loader", "action_json", "manifest"];

/// Builds guests and targets, then fuzzes. Corpora are kept in target/fuzz from run to run; what is found is put to fuzz/artifacts.
///
/// # Errors
/// A build fails, cargo-fuzz cannot be installed, or a target has found something: its output says what and with which input.
pub fn run(args: &Args) -> Result<()> {
    let workspace = Workspace::here()?;
    let root = &workspace.root;
    guests::run()?;
    install()?;
    for target in TARGETS {
        if args.target.as_deref().is_some_and(|only| only != target) {
            continue;
        }
        let seeds = root.join("target/fuzz/seeds").join(target);
        let corpus = root.join("target/fuzz/corpus").join(target);
        for dir in [&seeds, &corpus] {
            fs::create_dir_all(dir)?;
        }
        let longest = write_seeds(root, target, &seeds)?;
        let status = Command::new("cargo")
            .current_dir(root.join("fuzz"))
            // Coverage needs nothing unstable. Sanitizers would: but this project has no unsafe code of its own to watch.
            .args(["fuzz", "run", "--dev", "--sanitizer", "none"])
            .args(["--codegen-units", "16", target])
            .args([&corpus, &seeds])
            .arg("--")
            .arg(format!("-max_total_time={}", args.seconds))
            .arg(format!("-max_len={longest}"))
            .arg("-print_final_stats=1")
            .args(BOUNDS)
            .status()
            .context("cargo fuzz")?;
        ensure!(
            status.success(),
            "{target} could not be built, or has found something: see above, and fuzz/artifacts/{target}"
        );
    }
    Ok(())
}

fn install() -> Result<()> {
    let found = Command::new("cargo").args(["fuzz", "--version"]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    let status = Command::new("cargo")
        .args(["install", "cargo-fuzz", "--locked"])
        .status()?;
    ensure!(status.success(), "cargo-fuzz cannot be installed");
    Ok(())
}

/// Writes the seeds of a target. Returns the length of the longest input worth trying, in bytes.
fn write_seeds(root: &Path, target: &str, dir: &Path) -> Result<usize> {
    let seeds = match target {
        "loader" => components(root)?,
        "action_json" => actions(),
        "manifest" => manifests(root)?,
        other => bail!("{other} has no seeds"),
    };
    ensure!(!seeds.is_empty(), "{target} has no seeds");
    for (name, seed) in &seeds {
        fs::write(dir.join(name), seed)?;
    }
    let longest = seeds.iter().map(|(_, seed)| seed.len()).max().unwrap_or(0);
    Ok(longest + 1024)
}

/// The smaller real components (large ones take seconds each to compile in an instrumented build), whole, cut off and with bits flipped.
fn components(root: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    const LARGEST: usize = 80_000;
    let mut seeds = Vec::new();
    for guests in ["target/guests", "target/guests-hostile"] {
        for path in files(&root.join(guests), "wasm")? {
            let component = fs::read(&path)?;
            if component.len() > LARGEST {
                continue;
            }
            let name = stem(&path);
            for eighth in 1..8 {
                let cut = component.len() * eighth / 8;
                seeds.push((format!("{name}-cut-{eighth}"), component[..cut].to_vec()));
                let mut flipped = component.clone();
                flipped[cut] ^= 1 << eighth;
                seeds.push((format!("{name}-flipped-{eighth}"), flipped));
            }
            seeds.push((name, component));
        }
    }
    Ok(seeds)
}

/// One request for every family of actions.
fn actions() -> Vec<(String, Vec<u8>)> {
    let requests = [
        r#"{"agent":"kyle","action_type":"buy","parameters":{"symbol":"BTC","position_size_pct":0.05,"leverage":2.0,"entry_price":100.0,"stop_loss":95.0,"take_profit":110.0,"risk_reward_ratio":2.5,"note":{"a":[1,null,"x"]}},"reasoning":"r","sources":["feed"],"criticality":"high"}"#,
        r#"{"agent":"kyle","action_type":"close_position","parameters":{"symbol":"btc","position_size_pct":1e-2}}"#,
        r#"{"agent":"id","action_type":"share_data","parameters":{"subject":"s","contains_personal_data":true,"data_sensitivity":"high","encryption":false,"destination":"x","user_consent":false},"reversible":false,"rollback_plan":"none"}"#,
        r#"{"agent":"id","action_type":"delete","parameters":{"path":"/var/../etc/./shadow"},"external":true}"#,
        r#"{"agent":"id","action_type":"execute_code","parameters":{"language":"sh","code":"rm -rf /"},"trace_id":"0af7651916cd43dd8448eb211c80319c"}"#,
        r#"{"agent":"joey","action_type":"publish","parameters":{"topic":"news.btc","to":"kyle","symbol":"BTC","text":"\u00e9","payload":{"k":-0.0}},"idempotency_key":"k-1"}"#,
        r#"{"agent":"joey","action_type":"disable_watchdog","parameters":{"reason":1e308}}"#,
        r#"{"agent":"joey","action_type":"anything-else","parameters":{"deep":{"er":[{}]}}}"#,
    ];
    requests
        .iter()
        .enumerate()
        .map(|(index, request)| (format!("request-{index}"), request.as_bytes().to_vec()))
        .collect()
}

/// The manifests of all guests.
fn manifests(root: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut seeds = Vec::new();
    for guests in ["target/guests", "target/guests-hostile"] {
        for path in files(&root.join(guests), "toml")? {
            seeds.push((stem(&path), fs::read(&path)?));
        }
    }
    Ok(seeds)
}

fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default()
}
