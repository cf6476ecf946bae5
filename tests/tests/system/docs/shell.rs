//! The shell blocks of the documentation, run as a reader would run them, against the real binary.
//!
//! * A block fenced `sh` is run. The blocks of a page run in order, in one shell, in a new directory that shows the repository's folders, with
//!   a home directory and ports of its own. Each block must succeed.
//! * A `text` or `json` block right below is the output of the block above it: its lines must appear in that order. `…` stands for any text,
//!   and a line that is only `…` for any lines.
//! * A block that is one `ark serve` or `ark front` command runs in the background, and the next block starts when the host or front is ready.
//! * `cargo xtask demo` is what it becomes after its builds: `ark demo`.
//! * A block fenced `sh run-by="SOURCE"` is run by another test, since it needs more than a shell: that of this source below `tests/tests/system`,
//!   which reads the block from the page ([`read_tested_blocks`](super::pages::read_tested_blocks)).
//! * A block fenced `sh no-run="reason"` is not run. There are few of them, and each says why.
//!
//! The pages of a newcomer's journeys ([`JOURNEYS`]) are timed: what each block took is recorded ([`crate::journeys`]), and CI prints it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ark_tests::artefacts::author_build_dir;
use ark_tests::ports::free_port;
use ark_tests::seed_module_cache;
use rustix::process::{Pid, Signal, kill_process_group};

use super::pages::{Block, BlockKind, list_pages, read_blocks, repository};
use crate::journeys::{JourneyStep, record_steps};

/// The pages with blocks that are run; each has a test below.
const TESTED: [&str; 13] = [
    "README.md",
    "docs/access.md",
    "docs/agents.md",
    "docs/api.md",
    "docs/data.md",
    "docs/disasters.md",
    "docs/installation.md",
    "docs/metrics.md",
    "docs/operators.md",
    "docs/policies.md",
    "docs/production.md",
    "docs/runbook.md",
    "docs/webhooks.md",
];
/// What a newcomer reads and does, page after page.
const JOURNEYS: [(&str, &[&str]); 3] = [
    ("author", &["README.md", "docs/agents.md"]),
    ("consumer", &["README.md", "docs/api.md"]),
    ("operator", &["README.md", "docs/operators.md"]),
];
/// The page that readers begin with. Its host compiles the agents; who reads on has what it compiled in the data directory.
const FIRST_PAGE: &str = "README.md";
/// The page by which an agent is made for the first time: its times are those of somebody who has built nothing before.
const FIRST_BUILD_PAGE: &str = "docs/agents.md";
/// The port of fronts in pages.
const FRONT_PORT: u16 = 8010;
/// The most blocks that may be marked as not run, over all pages.
const MOST_NOT_RUN: usize = 8;
/// Everything a page does must be over in this time. It is a bound against waiting for ever, not a measurement.
const PATIENCE: Duration = Duration::from_mins(15);

#[test]
fn readme() {
    run_page("README.md");
}

#[test]
fn access() {
    run_page("docs/access.md");
}

#[test]
fn agents() {
    run_page("docs/agents.md");
}

#[test]
fn api() {
    run_page("docs/api.md");
}

#[test]
fn data() {
    run_page("docs/data.md");
}

#[test]
fn installation() {
    run_page("docs/installation.md");
}

#[test]
fn metrics() {
    run_page("docs/metrics.md");
}

#[test]
fn operators() {
    run_page("docs/operators.md");
}

#[test]
fn policies() {
    run_page("docs/policies.md");
}

#[test]
fn production() {
    run_page("docs/production.md");
}

#[test]
fn webhooks() {
    run_page("docs/webhooks.md");
}

#[test]
fn disasters() {
    run_page("docs/disasters.md");
}

#[test]
fn runbook() {
    run_page("docs/runbook.md");
}

#[test]
fn every_shell_block_is_run_or_says_why_not() {
    let mut not_run = Vec::new();
    for page in list_pages() {
        let blocks = read_blocks(&page);
        let runs = blocks
            .iter()
            .any(|block| matches!(block.kind, BlockKind::Run));
        assert_eq!(
            runs,
            TESTED.contains(&page.as_str()),
            "{page}: list it in TESTED, with a test, if and only if it has blocks to run"
        );
        for block in blocks {
            match block.kind {
                BlockKind::NotRun { reason } => {
                    assert!(
                        reason.split_whitespace().count() >= 3,
                        "{page}:{}: say in the fence why the block is not run",
                        block.line
                    );
                    not_run.push(format!("{page}:{}: {reason}", block.line));
                }
                BlockKind::RunByTest { test } => {
                    assert_reads_block(&test, &page, block.line);
                }
                BlockKind::Run | BlockKind::Output | BlockKind::Other => {}
            }
        }
    }
    assert!(
        not_run.len() <= MOST_NOT_RUN,
        "{MOST_NOT_RUN} blocks may be marked as not run, not {}:\n{}",
        not_run.len(),
        not_run.join("\n")
    );
}

/// Checks that a test takes what it runs from the page.
fn assert_reads_block(test: &str, page: &str, line: usize) {
    let source = repository().join("tests/tests/system").join(test);
    let source = fs::read_to_string(&source)
        .unwrap_or_else(|error| panic!("{page}:{line}: {}: {error}", source.display()));
    for part in ["read_tested_blocks(", "#[test]"] {
        assert!(source.contains(part), "{page}:{line}: {test} has no {part}");
    }
    for text in [page, test] {
        assert!(
            source.contains(&format!("\"{text}\"")),
            "{page}:{line}: {test} does not name {text}"
        );
    }
}

/// Runs the shell blocks of a page and compares what they print with the output blocks.
fn run_page(page: &str) {
    let blocks = read_blocks(page);
    let dir = tempfile::tempdir().expect("a directory");
    let mut reader = PageReader::prepare(dir.path());
    if page != FIRST_PAGE {
        seed_module_cache(&reader.work.join("ark-data"));
    }
    if page != FIRST_BUILD_PAGE {
        reader.build_dir = Some(author_build_dir());
    }
    let script = reader.write_script(&blocks);
    let finished = reader.run_script(&script);
    let output =
        |line: usize| fs::read_to_string(reader.logs.join(line.to_string())).unwrap_or_default();
    let reached = fs::read_to_string(reader.logs.join("reached")).unwrap_or_default();
    let reached: usize = reached.trim().parse().unwrap_or(0);
    assert!(
        finished,
        "{page}:{reached}: the block failed or did not end:\n{}",
        output(reached)
    );
    let steps = reader.read_steps(&blocks);
    assert_eq!(
        steps.len(),
        blocks
            .iter()
            .filter(|block| matches!(block.kind, BlockKind::Run))
            .count(),
        "{page}: each block that was run has its time"
    );
    record_journeys(page, &steps);
    // `None` below a block that another test runs, which compares its output.
    let mut above = None;
    for block in &blocks {
        match block.kind {
            BlockKind::Run => above = Some(block.line),
            BlockKind::RunByTest { .. } => above = None,
            BlockKind::Output => {
                let Some(line) = above else { continue };
                let printed = output(line);
                if let Some(missing) = find_missing_line(&block.text, &printed) {
                    panic!(
                        "{page}:{}: the block above does not print `{missing}`, or not in this order. It prints:\n{printed}",
                        block.line
                    );
                }
            }
            BlockKind::NotRun { .. } | BlockKind::Other => {}
        }
    }
}

/// Records the times of a page's steps for each journey that the page is part of.
fn record_journeys(page: &str, steps: &[JourneyStep]) {
    for (journey, pages) in JOURNEYS {
        if let Some(place) = pages.iter().position(|one| *one == page) {
            record_steps(journey, place, page, steps);
        }
    }
}

/// The first expected line that does not appear behind those before it.
pub(crate) fn find_missing_line<'a>(expected: &'a str, printed: &str) -> Option<&'a str> {
    let mut printed = printed.lines();
    expected
        .lines()
        .filter(|line| !matches!(line.trim(), "" | "…"))
        .find(|line| !printed.any(|printed| matches_line(line.trim(), printed.trim())))
}

/// Whether a line is as expected, where `…` stands for any text.
fn matches_line(expected: &str, line: &str) -> bool {
    let Some((start, rest)) = expected.split_once('…') else {
        return expected == line;
    };
    let Some(mut line) = line.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('…').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, behind)) = line.split_once(part) else {
            return false;
        };
        line = behind;
    }
    line.ends_with(end)
}

/// Somebody who reads a page and does what it says, on a machine of their own.
struct PageReader {
    /// Where the commands run: a directory with the repository's folders in it.
    work: PathBuf,
    home: PathBuf,
    /// Where a `cargo` is that does not build for `cargo xtask demo`.
    bin: PathBuf,
    /// What each block printed, by the line of its fence.
    logs: PathBuf,
    /// A free port for each one that pages name.
    ports: Vec<(u16, u16)>,
    /// Where cargo keeps what it makes on the way, if not beside what it makes.
    build_dir: Option<PathBuf>,
}

impl PageReader {
    fn prepare(dir: &Path) -> Self {
        let folder = |name: &str| {
            let path = dir.join(name);
            fs::create_dir(&path).expect("a directory");
            path
        };
        let reader = Self {
            work: folder("ark"),
            home: folder("home"),
            bin: folder("bin"),
            logs: folder("logs"),
            ports: [8000, 9090, FRONT_PORT, 9092, 5000, 6379]
                .map(|named| (named, free_port()))
                .to_vec(),
            build_dir: None,
        };
        for entry in fs::read_dir(repository()).expect("the repository") {
            let entry = entry.expect("an entry");
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                symlink(entry.path(), reader.work.join(entry.file_name())).expect("a link");
            }
        }
        let cargo = reader.bin.join("cargo");
        let shim = format!(
            "#!/bin/sh\nif [ \"$1 $2\" = 'xtask demo' ]; then shift 2; exec '{}' demo \"$@\"; fi\nexec '{}' \"$@\"\n",
            ark_tests::ark_program().display(),
            env!("CARGO")
        );
        fs::write(&cargo, shim).expect("a program");
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("a mode");
        reader
    }

    /// One script of all blocks, which notes the block that it has reached.
    fn write_script(&self, blocks: &[Block]) -> PathBuf {
        let mut script =
            "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n".to_owned();
        for block in blocks
            .iter()
            .filter(|block| matches!(block.kind, BlockKind::Run))
        {
            let mut text = block.text.clone();
            for (named, free) in &self.ports {
                text = text.replace(&format!("--port {named}"), &format!("--port {free}"));
                for host in ["localhost", "127.0.0.1"] {
                    text = text.replace(&format!("{host}:{named}"), &format!("127.0.0.1:{free}"));
                }
            }
            if let Some(port) = find_started_port(&block.text) {
                let named = self.ports.iter().find(|(named, _)| *named == port);
                let (_, free) = named.expect("a port that pages name");
                let ready = format!("http://127.0.0.1:{free}/readyz");
                text = format!(
                    "{} &\nuntil curl -sf {ready}; do kill -0 $!; sleep 0.1; done\n",
                    text.trim_end()
                );
            }
            let log = self.logs.join(block.line.to_string());
            let _ = write!(
                script,
                "echo {line} >'{reached}'\necho \"$EPOCHREALTIME {line}\" >>'{steps}'\n{{ :\n{text}}} >'{log}' 2>&1\n",
                line = block.line,
                reached = self.logs.join("reached").display(),
                steps = self.steps_path().display(),
                log = log.display(),
            );
        }
        let _ = writeln!(
            script,
            "echo \"$EPOCHREALTIME end\" >>'{}'",
            self.steps_path().display()
        );
        let path = self.logs.join("script");
        fs::write(&path, script).expect("a script");
        path
    }

    /// When each block began, a line each, and when the last one ended.
    fn steps_path(&self) -> PathBuf {
        self.logs.join("steps")
    }

    /// What each block took that a script ran to its end.
    fn read_steps(&self, blocks: &[Block]) -> Vec<JourneyStep> {
        let text = fs::read_to_string(self.steps_path()).expect("the times of the blocks");
        let moments: Vec<(f64, &str)> = text
            .lines()
            .map(|line| {
                let (moment, of) = line.split_once(' ').expect("a moment and a line");
                // The sign between seconds and microseconds is that of the locale.
                (moment.replace(',', ".").parse().expect("a moment"), of)
            })
            .collect();
        moments
            .windows(2)
            .map(|pair| {
                let line: usize = pair[0].1.parse().expect("the line of a block");
                let block = blocks.iter().find(|block| block.line == line);
                let text = &block.expect("a block at this line").text;
                // What only prepares the shell says little of a block.
                let mut lines = text.lines().filter(|line| !line.trim().is_empty());
                let name = lines
                    .clone()
                    .find(|line| !line.starts_with("export PATH"))
                    .or_else(|| lines.next());
                JourneyStep {
                    name: format!("line {line}: {}", name.unwrap_or_default()),
                    seconds: pair[1].0 - pair[0].0,
                }
            })
            .collect()
    }

    /// Runs a script to its end; whether every command of it succeeded.
    fn run_script(&self, script: &Path) -> bool {
        let mut path = OsString::from(&self.bin);
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let address = |at: usize| format!("127.0.0.1:{}", self.ports[at].1);
        let mut command = Command::new("bash");
        command
            .arg(script)
            .current_dir(&self.work)
            .env("HOME", &self.home)
            .env("PATH", path)
            .env("CARGO_HOME", toolchain_home("CARGO_HOME", ".cargo"))
            .env("RUSTUP_HOME", toolchain_home("RUSTUP_HOME", ".rustup"))
            .env("ARK_LISTEN", address(0))
            .env("ARK_TELEMETRY_LISTEN", address(1))
            .env("ARK_URL", format!("http://{}", address(0)))
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS")
            // Settings of other tests, which are unknown variables to a host.
            .env_remove("ARK_ACCOUNT_SEQUENCES")
            .env_remove("ARK_EVENT_STREAMS")
            .env_remove("ARK_FAULT_ROUNDS")
            .env_remove("ARK_FAULT_SEED")
            .env_remove("ARK_KILL_ROUNDS")
            .env_remove("ARK_LANGUAGE_SIGNALS")
            .env_remove("ARK_SWAPS")
            .stdin(Stdio::null())
            .process_group(0);
        if let Some(dir) = &self.build_dir {
            command.env("CARGO_BUILD_BUILD_DIR", dir);
        }
        let mut shell = command.spawn().expect("bash starts");
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = shell.try_wait().expect("the shell's status") {
                break Some(status);
            }
            if Instant::now() > until {
                break None;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        // What a page leaves running ends with it.
        let _ = kill_process_group(Pid::from_child(&shell), Signal::KILL);
        let _ = shell.wait();
        status.is_some_and(|status| status.success())
    }
}

/// The port of the host or front that a block starts, if it is one such command.
fn find_started_port(text: &str) -> Option<u16> {
    match text.lines().count() {
        1 if text.contains("ark serve") => Some(8000),
        1 if text.contains("ark front") => Some(FRONT_PORT),
        _ => None,
    }
}

fn toolchain_home(variable: &str, folder: &str) -> OsString {
    std::env::var_os(variable).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").expect("a home directory");
        Path::new(&home).join(folder).into_os_string()
    })
}
