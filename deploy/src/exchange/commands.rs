//! Commands: those of the operator, and other versions of `ark`.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use serde::Deserialize;

use super::error::ExchangeError;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a command that took too long may take to end, after SIGTERM and again after SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
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
            problem: format!(
                "cannot be run: {error}; give the path of an `ark` that this machine can run"
            ),
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

/// Runs the command in `$0` in an inner shell. The standard input of this outer shell is a handle of the journal's lock; the inner shell and what it
/// starts get `/dev/null` in its place. `exit $?` keeps the outer shell from replacing itself with the inner one. So the lock is held until the
/// command has ended, and no process that the command leaves running holds it any longer.
const LOCKED_SHELL: &str = "sh -c \"$0\" </dev/null; exit $?";

/// Runs a shell's command, in a process group of its own: it goes on if this process is killed, and holds the journal's lock until it has ended.
/// One that takes longer than `timeout` is ended with its whole group.
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
                let problem = format!("does not end within {timeout:?}");
                let ended = end_group(&mut child);
                return Err(failed(ended.map_or_else(
                    |error| format!("{problem}, and its processes cannot be ended: {error}"),
                    |()| format!("{problem}, and its processes were ended"),
                )));
            }
            Ok(None) => std::thread::sleep(PAUSE),
            Err(error) => return Err(failed(error.to_string())),
        }
    }
}

/// Ends the process group of a child, and waits until it has ended: what it would still do must not happen beside the way back.
fn end_group(child: &mut Child) -> std::io::Result<()> {
    let group = Pid::from_child(child);
    for signal in [Signal::TERM, Signal::KILL] {
        // An error says that the group has ended meanwhile.
        let _ended = kill_process_group(group, signal);
        let ends = Instant::now() + GRACE;
        while Instant::now() < ends {
            let has_leader = child.try_wait()?.is_none();
            if !has_leader && test_kill_process_group(group).is_err() {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
    }
    // Where no process waits for orphans, those that were killed stay as zombies, which do nothing.
    child.wait().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_takes_too_long_is_ended_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let lock = File::create(dir.path().join("lock")).unwrap();
        let pid = dir.path().join("pid");
        for before in ["", "trap '' TERM; "] {
            let command = format!("{before}sleep 60 & echo $! >{}; sleep 60", pid.display());
            let refused = run_command(&command, &lock, Duration::from_secs(1)).unwrap_err();
            assert!(refused.to_string().contains("were ended"), "{refused}");
            let pid = std::fs::read_to_string(&pid).unwrap();
            let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim()));
            assert!(
                status
                    .as_ref()
                    .map_or(true, |text| text.contains("State:\tZ")),
                "{status:?}"
            );
        }
    }
}
