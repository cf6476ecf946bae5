//! `cargo xtask fuzz`: runs each target of cargo-fuzz for a bounded time, from seeds made of real inputs; fails when one finds something.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::guests;
use crate::hermetic::Workspace;
use crate::process::{has_cargo_subcommand, run_command};

/// Limits of one input: 30 s and 2,048 MiB. An input that takes more is a finding.
const BOUNDS: [&str; 2] = ["-timeout=30", "-rss_limit_mb=2048"];

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct FuzzArgs {
    /// Seconds for each target.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Only this target.
    #[arg(long, value_parser = TARGETS)]
    target: Option<String>,
}

/// The targets, in the order in which they run.
const TARGETS: [&str; 3] = ["loader", "action_json", "manifest"];

/// Builds guests and targets, then fuzzes. Corpora stay in target/fuzz from run to run; inputs that are findings are written to
/// fuzz/artifacts.
///
/// # Errors
/// A build fails, cargo-fuzz cannot be installed, or a target finds something: its output says what and with which input.
pub fn run_fuzzers(args: &FuzzArgs) -> Result<()> {
    let workspace = Workspace::find()?;
    let root = &workspace.root;
    guests::build_all(&workspace)?;
    install_cargo_fuzz()?;
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
            // Coverage works with a stable compiler. Sanitizers do not, and this project has no unsafe code of its own to check.
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
            "{target} could not be built, or has found something: see the output above and fuzz/artifacts/{target}"
        );
    }
    Ok(())
}

fn install_cargo_fuzz() -> Result<()> {
    if has_cargo_subcommand("fuzz") {
        return Ok(());
    }
    let mut install = Command::new("cargo");
    run_command(install.args(["install", "cargo-fuzz", "--locked"]))
}

/// Writes the seeds of a target into `dir`. Returns the length of the longest input to try, in bytes.
fn write_seeds(root: &Path, target: &str, dir: &Path) -> Result<usize> {
    let seeds = match target {
        "loader" => collect_components(root)?,
        "action_json" => list_requests(),
        "manifest" => collect_manifests(root)?,
        other => bail!("{other} has no seeds"),
    };
    ensure!(!seeds.is_empty(), "{target} has no seeds");
    for (name, seed) in &seeds {
        fs::write(dir.join(name), seed)?;
    }
    let longest = seeds.iter().map(|(_, seed)| seed.len()).max().unwrap_or(0);
    Ok(longest + 1024)
}

/// Returns the smaller guests (large ones take seconds each to compile in an instrumented build): as they are, cut off, and with a bit
/// flipped.
fn collect_components(root: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    const LARGEST: usize = 80_000;
    let mut seeds = Vec::new();
    for guests in ["target/guests", "target/guests-hostile"] {
        for path in list_files(&root.join(guests), "wasm")? {
            let component = fs::read(&path)?;
            if component.len() > LARGEST {
                continue;
            }
            let name = file_stem(&path);
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

/// Returns one request for every family of actions.
fn list_requests() -> Vec<(String, Vec<u8>)> {
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

/// Returns the manifests of all guests.
fn collect_manifests(root: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut seeds = Vec::new();
    for guests in ["target/guests", "target/guests-hostile"] {
        for path in list_files(&root.join(guests), "toml")? {
            seeds.push((file_stem(&path), fs::read(&path)?));
        }
    }
    Ok(seeds)
}

/// Returns the files of a directory that have this extension, sorted.
fn list_files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
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

/// Returns a file's name without its extension.
fn file_stem(path: &Path) -> String {
    path.file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default()
}
