//! The take-over: the new version gets the data directory, while the fronts hold what arrives.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt;

use ark_client::HostClient;
use ark_model::ids::Millis;
use ark_store::{MaintenanceError, create_snapshot, current_schema, restore_snapshot};
use serde::{Deserialize, Serialize};

use super::plan::TakeOverPlan;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// The most that is quoted of what a command wrote.
const MAX_QUOTED: usize = 500;

/// Why a take-over, or the way back from it, does not go on.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// A command cannot be run, fails, or takes too long.
    #[error("`{command}` {problem}")]
    Command {
        /// The command.
        command: String,
        /// What went wrong.
        problem: String,
    },
    /// The snapshot cannot be made or restored.
    #[error(transparent)]
    Snapshot(#[from] MaintenanceError),
    /// The new version judges recorded decisions otherwise.
    #[error("the new version judges recorded decisions otherwise: {0}")]
    Replay(String),
    /// The host is not ready in time.
    #[error("the host is not ready after {0:?}")]
    NotReady(Duration),
    /// The new version has migrated the database and serves: the way back would lose decisions.
    #[error(
        "the new version has migrated the database and is ready, so that decisions since {kept} would be lost: `ark canary resume` finishes the take-over",
        kept = kept.display()
    )]
    Served {
        /// The database as the old host left it.
        kept: PathBuf,
    },
    /// An output of the new version has another form.
    #[error("`{command}` says nothing that is understood: {problem}")]
    Output {
        /// The command.
        command: String,
        /// What is wrong.
        problem: String,
    },
}

/// What a take-over came to.
#[derive(Debug, Clone, Serialize)]
pub struct TakeOver {
    /// The snapshot that was made before.
    pub snapshot: PathBuf,
    /// How many decisions the new version judged again, all alike.
    pub replayed: u64,
    /// From the order to stop the old host until the new one was ready, in milliseconds: requests were held for no longer.
    pub pause_ms: u64,
}

/// Which schema a new version would make of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Migration {
    /// The schema of this version.
    pub from: u32,
    /// The schema of the new version.
    pub to: u32,
}

impl Migration {
    /// What the way back needs, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        format!(
            "the new version migrates the database from schema {} to {}, which this version cannot open: until the new version is ready the way back is the snapshot that is made when the old host has ended, and loses nothing; after that it is `ark state restore` of that snapshot, and what was decided since is lost to the ledger",
            self.from, self.to
        )
    }
}

#[derive(Deserialize)]
struct VersionShown {
    schema: u32,
}

/// Asks the new version for its schema. `None`: it is the one of this version.
///
/// # Errors
/// It cannot be run, or says something else.
pub fn find_migration(plan: &TakeOverPlan) -> Result<Option<Migration>, TakeOverError> {
    let shown: VersionShown = ask_binary(&plan.new_binary, &["version", "--json"])?.1;
    let migration = Migration {
        from: current_schema(),
        to: shown.schema,
    };
    Ok((migration.from != migration.to).then_some(migration))
}

/// Runs the new version and reads the JSON that it prints. Returns whether it succeeded, too.
fn ask_binary<T: for<'de> Deserialize<'de>>(
    binary: &Path,
    args: &[&str],
) -> Result<(bool, T), TakeOverError> {
    let command = format!("{} {}", binary.display(), args.join(" "));
    let output = Command::new(binary)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| TakeOverError::Command {
            command: command.clone(),
            problem: format!("cannot be run: {error}"),
        })?;
    let read = serde_json::from_slice(&output.stdout);
    let read = read.map_err(|error| TakeOverError::Output {
        command,
        problem: format!("{error}; {}", quote_end(&output.stderr)),
    })?;
    Ok((output.status.success(), read))
}

fn quote_end(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let start = text.len().saturating_sub(MAX_QUOTED);
    let start = (start..=text.len()).find(|at| text.is_char_boundary(*at));
    text.get(start.unwrap_or(0)..)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Runs the command in `$0`. This shell alone keeps its standard input, a handle of the journal's lock, and it is not replaced by its last command:
/// so the lock is held until the command has ended, and not by what that leaves running.
const LOCKED_SHELL: &str = "sh -c \"$0\" </dev/null; exit $?";

/// Runs a shell's command, in a process group of its own: it goes on if this process is killed, and holds the journal's lock until it has ended.
fn run_command(command: &str, lock: &File, timeout: Duration) -> Result<(), TakeOverError> {
    let failed = |problem: String| TakeOverError::Command {
        command: command.to_owned(),
        problem,
    };
    // A file, and no pipe: what the command leaves running may keep it.
    let output = tempfile::NamedTempFile::new().map_err(|error| failed(error.to_string()))?;
    let handle = || output.reopen().map_err(|error| failed(error.to_string()));
    let lock = lock
        .try_clone()
        .map_err(|error| failed(error.to_string()))?;
    let mut child = Command::new("sh")
        .args(["-c", LOCKED_SHELL, command])
        .stdin(lock)
        .stdout(handle()?)
        .stderr(handle()?)
        .process_group(0)
        .spawn()
        .map_err(|error| failed(format!("cannot be run: {error}")))?;
    let ends = Instant::now() + timeout;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => {
                let said = std::fs::read(output.path()).unwrap_or_default();
                return Err(failed(format!("fails ({status}): {}", quote_end(&said))));
            }
            Ok(None) if Instant::now() > ends => {
                return Err(failed(format!("does not end within {timeout:?}")));
            }
            Ok(None) => std::thread::sleep(PAUSE),
            Err(error) => return Err(failed(error.to_string())),
        }
    }
}

/// Whether the host answers that it is ready.
fn is_ready(client: &HostClient) -> bool {
    client
        .get("/readyz")
        .is_ok_and(|answer| answer.status == 200)
}

fn wait_ready(client: &HostClient, timeout: Duration) -> Result<(), TakeOverError> {
    let ends = Instant::now() + timeout;
    while !is_ready(client) {
        if Instant::now() > ends {
            return Err(TakeOverError::NotReady(timeout));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// A path that no earlier run can have begun to write to.
fn new_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}-{}", Millis::now().0))
}

/// Makes a snapshot beside the running host.
pub(super) fn make_snapshot(plan: &TakeOverPlan, id: &str) -> Result<PathBuf, TakeOverError> {
    std::fs::create_dir_all(&plan.snapshots).map_err(|error| TakeOverError::Command {
        command: format!("mkdir {}", plan.snapshots.display()),
        problem: error.to_string(),
    })?;
    let to = new_path(&plan.snapshots, id);
    create_snapshot(&plan.data_dir, &to)?;
    Ok(to)
}

/// Has the new version judge the decisions of a snapshot again. Returns how many there are.
pub(super) fn replay_snapshot(plan: &TakeOverPlan, snapshot: &Path) -> Result<u64, TakeOverError> {
    #[derive(Deserialize)]
    struct Replayed {
        decisions: u64,
        identical: u64,
        failures: u64,
    }
    let dir = snapshot.display().to_string();
    let args = ["audit", "replay", "--json", "--data-dir", &dir];
    let (succeeded, replayed): (bool, Replayed) = ask_binary(&plan.new_binary, &args)?;
    let same = replayed.identical + replayed.failures;
    if succeeded && same == replayed.decisions {
        return Ok(replayed.decisions);
    }
    Err(TakeOverError::Replay(format!(
        "{} of {} differ; `ark audit replay --data-dir {dir}` of the new version lists them",
        replayed.decisions.saturating_sub(same),
        replayed.decisions
    )))
}

/// Where the database is kept as the old version left it.
fn kept_path(plan: &TakeOverPlan, id: &str) -> PathBuf {
    plan.snapshots.join(format!("{id}-before-migration"))
}

/// Stops the old host, keeps the database where it will be migrated, starts the new one and waits until it is ready.
/// `lock`: the journal's. `begun` is told that the new version is about to be started.
pub(super) fn exchange_hosts<E: From<TakeOverError>>(
    client: &HostClient,
    plan: &TakeOverPlan,
    id: &str,
    lock: &File,
    begun: &mut dyn FnMut() -> Result<(), E>,
) -> Result<Duration, E> {
    let started = Instant::now();
    run_command(&plan.stop_command, lock, plan.timeout)?;
    let kept = kept_path(plan, id);
    if find_migration(plan)?.is_some() && !kept.exists() {
        create_snapshot(&plan.data_dir, &kept).map_err(TakeOverError::from)?;
    }
    begun()?;
    run_command(&plan.start_command, lock, plan.timeout)?;
    wait_ready(client, plan.timeout)?;
    Ok(started.elapsed())
}

/// Refuses a way back on which decisions would be lost.
pub(super) fn check_way_back(
    client: &HostClient,
    plan: &TakeOverPlan,
    id: &str,
) -> Result<(), TakeOverError> {
    let kept = kept_path(plan, id);
    if kept.exists() && is_ready(client) {
        return Err(TakeOverError::Served { kept });
    }
    Ok(())
}

/// Stops whatever runs and starts the stable version on the database that it left.
pub(super) fn bring_stable_back(
    client: &HostClient,
    plan: &TakeOverPlan,
    id: &str,
    lock: &File,
) -> Result<(), TakeOverError> {
    run_command(&plan.stop_command, lock, plan.timeout)?;
    let kept = kept_path(plan, id);
    if kept.exists() {
        let key = ark_store::SecretKey::from_environment().ok().flatten();
        restore_snapshot(&kept, &plan.data_dir, true, key.as_ref())?;
        // Moved aside: a second way back must not restore it again.
        let done = new_path(&plan.snapshots, &format!("{id}-restored"));
        std::fs::rename(&kept, done).map_err(|error| TakeOverError::Command {
            command: format!("mv {}", kept.display()),
            problem: error.to_string(),
        })?;
    }
    run_command(&plan.start_stable_command, lock, plan.timeout)?;
    wait_ready(client, plan.timeout)
}
