//! Commands: those of the operator, and other versions of `ark`.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::error::ExchangeError;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// The most that is quoted of what a command wrote.
const MAX_QUOTED: usize = 500;

/// Runs another version of `ark` and reads the JSON that it prints. Returns whether it succeeded, too.
pub(crate) fn ask_binary<T: for<'de> Deserialize<'de>>(
    binary: &Path,
    args: &[&str],
) -> Result<(bool, T), ExchangeError> {
    let command = format!("{} {}", binary.display(), args.join(" "));
    let output = Command::new(binary)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| ExchangeError::Command {
            command: command.clone(),
            problem: format!("cannot be run: {error}"),
        })?;
    let read = serde_json::from_slice(&output.stdout);
    let read = read.map_err(|error| ExchangeError::Output {
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
pub(crate) fn run_command(
    command: &str,
    lock: &File,
    timeout: Duration,
) -> Result<(), ExchangeError> {
    let failed = |problem: String| ExchangeError::Command {
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
