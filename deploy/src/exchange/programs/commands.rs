//! Commands: those of the operator, and other versions of `ark`. Each has a limit of time and of what it prints, and is ended with its whole
//! process group past either, or when an operator interrupts the run.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use serde::Deserialize;

use crate::exchange::error::ExchangeError;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a command that is ended may take to end, after SIGTERM and again after SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// The most that is quoted of what a command wrote.
const MAX_QUOTED: usize = 500;
/// The most bytes that a command may print, to standard output and to standard error. A report of `ark audit replay` or `ark check` has far fewer.
const MAX_PRINTED: u64 = 16 << 20;
/// The room that the output of a command has on disk at least, in bytes.
const OUTPUT_ROOM: u64 = 64 << 10;
/// How long a version may take to say which one it is.
pub(super) const VERSION_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a version may take to check the machine: it compiles agents and reads the whole audit log.
pub(crate) const CHECK_TIMEOUT: Duration = Duration::from_hours(1);
/// How long a version may take to restore a copy of the database, and to judge its decisions again.
pub(in crate::exchange) const REPLAY_TIMEOUT: Duration = Duration::from_hours(12);

/// How a command that was waited for came to its end.
enum Ended {
    /// By itself.
    Exited(ExitStatus),
    /// It was ended, since it took too long.
    TooSlow,
    /// It was ended, since it printed too much.
    TooLong,
    /// It was ended, since an operator interrupts the run.
    Interrupted,
}

/// Waits for the end of a command, which leads a process group, and ends that group past a limit. An error says that it cannot be ended.
fn wait_bounded(
    child: &mut Child,
    timeout: Duration,
    stop: &AtomicBool,
    has_room: &dyn Fn() -> bool,
) -> std::io::Result<Ended> {
    let ends = Instant::now() + timeout;
    let ended = loop {
        if let Some(status) = child.try_wait()? {
            // What it printed last counts, too.
            return Ok(if has_room() {
                Ended::Exited(status)
            } else {
                Ended::TooLong
            });
        }
        if !has_room() {
            break Ended::TooLong;
        }
        if stop.load(Ordering::Relaxed) {
            break Ended::Interrupted;
        }
        if Instant::now() > ends {
            break Ended::TooSlow;
        }
        std::thread::sleep(PAUSE);
    };
    end_group(child)?;
    Ok(ended)
}

/// Makes the error of a command that did not end by itself.
fn describe_end(
    command: &str,
    timeout: Duration,
    ended: std::io::Result<Ended>,
) -> Result<ExitStatus, ExchangeError> {
    let command = command.to_owned();
    match ended {
        Ok(Ended::Exited(status)) => Ok(status),
        Ok(Ended::TooSlow) => Err(ExchangeError::TooSlow { command, timeout }),
        Ok(Ended::TooLong) => Err(ExchangeError::PrintsTooMuch {
            command,
            limit: MAX_PRINTED,
        }),
        Ok(Ended::Interrupted) => Err(ExchangeError::Interrupted(format!("`{command}`"))),
        Err(cause) => Err(ExchangeError::NotEnded { command, cause }),
    }
}

/// Reads a stream of a command on a thread of its own, `MAX_PRINTED` bytes at most; `is_full` is set where there are more.
fn read_stream(
    stream: Option<impl Read + Send + 'static>,
    is_full: &Arc<AtomicBool>,
) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    let is_full = Arc::clone(is_full);
    std::thread::spawn(move || {
        let mut text = Vec::new();
        // What was read before an error counts.
        let _read = stream.map(|stream| stream.take(MAX_PRINTED + 1).read_to_end(&mut text));
        if text.len() as u64 > MAX_PRINTED {
            is_full.store(true, Ordering::Relaxed);
        }
        let _unread = sender.send(text);
    });
    receiver
}

/// Runs another version of `ark`, for `timeout` at most, and reads the JSON that it prints. Returns whether it succeeded, too.
pub(crate) fn ask_binary<T: for<'de> Deserialize<'de>>(
    binary: &Path,
    args: &[&str],
    timeout: Duration,
    stop: &AtomicBool,
) -> Result<(bool, T), ExchangeError> {
    let command = format!("{} {}", binary.display(), args.join(" "));
    let mut child = Command::new(binary)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| ExchangeError::Command {
            command: command.clone(),
            problem: format!(
                "cannot be run: {error}; give the path of an `ark` that this machine can run"
            ),
        })?;
    let is_full = Arc::new(AtomicBool::new(false));
    let stdout = read_stream(child.stdout.take(), &is_full);
    let stderr = read_stream(child.stderr.take(), &is_full);
    let has_room = || !is_full.load(Ordering::Relaxed);
    let ended = wait_bounded(&mut child, timeout, stop, &has_room);
    let status = describe_end(&command, timeout, ended)?;
    let Some((stdout, stderr)) = receive_both(&stdout, &stderr, &child) else {
        return Err(ExchangeError::TooSlow { command, timeout });
    };
    if !has_room() {
        return Err(ExchangeError::PrintsTooMuch {
            command,
            limit: MAX_PRINTED,
        });
    }
    let read = serde_json::from_slice(&stdout);
    let read = read.map_err(|error| ExchangeError::Output {
        command,
        problem: format!("{error}; {}", quote_end(&stderr)),
    })?;
    Ok((status.success(), read))
}

/// What a command printed that has ended. A process that it left running may keep its streams open, and is ended.
fn receive_both(
    stdout: &Receiver<Vec<u8>>,
    stderr: &Receiver<Vec<u8>>,
    child: &Child,
) -> Option<(Vec<u8>, Vec<u8>)> {
    let receive = |stream: &Receiver<Vec<u8>>| {
        stream.recv_timeout(GRACE).ok().or_else(|| {
            // An error says that the group has ended meanwhile.
            let _ended = kill_process_group(Pid::from_child(child), Signal::KILL);
            stream.recv_timeout(GRACE).ok()
        })
    };
    receive(stdout).zip(receive(stderr))
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

/// Runs the program in `$0` with the arguments behind it. The standard input of this shell is a handle of the journal's lock; the program and what
/// that starts get `/dev/null` in its place. `exit $?` keeps the shell from replacing itself with the program. So the lock is held until the program
/// has ended, and no process that it leaves running holds it any longer.
const LOCKED_PROGRAM: &str = "\"$0\" \"$@\" </dev/null; exit $?";

/// The process group that a command led. What it leaves running is in it, unless that leads a group of its own, as a service of systemd does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommandGroup(Pid);

impl CommandGroup {
    /// Whether a process of the group does anything still. One that may not be asked counts as one that does.
    pub(in crate::exchange) fn is_running(self) -> bool {
        match test_kill_process_group(self.0) {
            Ok(()) => is_alive(self.0),
            Err(Errno::SRCH) => false,
            Err(_) => true,
        }
    }
}

/// How a program ended that was run.
pub(crate) struct ProgramEnd {
    command: String,
    group: CommandGroup,
    status: ExitStatus,
    /// The end of what it printed.
    said: String,
}

impl ProgramEnd {
    /// Whether it succeeded.
    pub(crate) fn has_succeeded(&self) -> bool {
        self.status.success()
    }

    /// Its exit status; `None`: a signal ended it.
    pub(in crate::exchange) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The end of what it printed.
    pub(in crate::exchange) fn said(&self) -> &str {
        &self.said
    }

    /// Makes the error of one that failed.
    pub(crate) fn into_success(self) -> Result<(), ExchangeError> {
        if self.has_succeeded() {
            return Ok(());
        }
        Err(ExchangeError::Command {
            command: self.command,
            problem: format!("fails ({}): {}", self.status, self.said),
        })
    }
}

/// Runs a shell's command, in a process group of its own: it goes on if this process is killed, and holds the journal's lock until it has ended.
/// One that takes longer than `timeout`, that prints too much, or that an operator interrupts is ended with its whole group. Returns the group of one
/// that succeeded.
pub(crate) fn run_command(
    command: &str,
    lock: &File,
    timeout: Duration,
    stop: &AtomicBool,
) -> Result<CommandGroup, ExchangeError> {
    let end = run_locked(command, &["sh", "-c", command], lock, timeout, stop)?;
    let group = end.group;
    end.into_success().map(|()| group)
}

/// Runs a program with these arguments, as [`run_command`] does.
pub(crate) fn run_program(
    program: &str,
    args: &[&str],
    lock: &File,
    timeout: Duration,
    stop: &AtomicBool,
) -> Result<ProgramEnd, ExchangeError> {
    let words = [&[program], args].concat();
    run_locked(&words.join(" "), &words, lock, timeout, stop)
}

/// Runs a program that only tells something, and holds no journal. Returns the end of what it printed.
pub(crate) fn run_bounded(
    program: &str,
    args: &[&str],
    timeout: Duration,
) -> Result<String, ExchangeError> {
    let nothing = Path::new("/dev/null");
    let lock = File::open(nothing).map_err(ExchangeError::for_file(nothing))?;
    let end = run_program(program, args, &lock, timeout, &AtomicBool::new(false))?;
    let said = end.said.clone();
    end.into_success()?;
    Ok(said)
}

/// Runs a program with its arguments. `command` names it in messages.
fn run_locked(
    command: &str,
    words: &[&str],
    lock: &File,
    timeout: Duration,
    stop: &AtomicBool,
) -> Result<ProgramEnd, ExchangeError> {
    let failed = |problem: String| ExchangeError::Command {
        command: command.to_owned(),
        problem,
    };
    let output = open_output()
        .map_err(|error| failed(format!("is not run: its output has no place: {error}")))?;
    let copy = |file: &File| file.try_clone().map_err(|error| failed(error.to_string()));
    let mut child = Command::new("sh")
        .args(["-c", LOCKED_PROGRAM])
        .args(words)
        .stdin(copy(lock)?)
        .stdout(copy(&output)?)
        .stderr(copy(&output)?)
        .process_group(0)
        .spawn()
        .map_err(|error| failed(format!("cannot be run: {error}")))?;
    let has_room = || {
        let found = output.metadata();
        found.map_or(true, |found| found.len() <= MAX_PRINTED)
    };
    let ended = wait_bounded(&mut child, timeout, stop, &has_room);
    let status = describe_end(command, timeout, ended)?;
    Ok(ProgramEnd {
        command: command.to_owned(),
        group: CommandGroup(Pid::from_child(&child)),
        status,
        said: read_end(&output),
    })
}

/// A place for what a command prints: a file, and no pipe, since what the command leaves running may keep it. Where the disk has no room it is in
/// memory, so that a full disk keeps no command from being run.
fn open_output() -> std::io::Result<File> {
    let on_disk = tempfile::tempfile().ok();
    let has_room = |file: &File| {
        matches!(
            fallocate(file, FallocateFlags::KEEP_SIZE, 0, OUTPUT_ROOM),
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS)
        )
    };
    match on_disk.filter(has_room) {
        Some(file) => Ok(file),
        None => Ok(memfd_create("output", MemfdFlags::CLOEXEC)?.into()),
    }
}

/// The end of what was printed to a file.
fn read_end(output: &File) -> String {
    let length = output.metadata().map_or(0, |found| found.len());
    let mut said = vec![0; MAX_QUOTED];
    let read = output.read_at(&mut said, length.saturating_sub(MAX_QUOTED as u64));
    said.truncate(read.unwrap_or(0));
    quote_end(&said)
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
            if !has_leader && (test_kill_process_group(group).is_err() || !is_alive(group)) {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
    }
    match child.try_wait()? {
        Some(_) => Ok(()),
        None => Err(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            "SIGKILL does not end it",
        )),
    }
}

/// Whether a process of a group does anything. Where no process waits for orphans, those that were killed stay as zombies, which do nothing.
fn is_alive(group: Pid) -> bool {
    let wanted = group.as_raw_nonzero().to_string();
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return true;
    };
    processes.flatten().any(|process| {
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // The name before may hold anything: state, parent and group come after its last bracket.
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        let mut fields = after.split_whitespace();
        let is_zombie = fields.next() == Some("Z");
        !is_zombie && fields.nth(1) == Some(&wanted)
    })
}

#[cfg(test)]
mod tests {
    use crate::fixtures::write_program;

    use super::*;

    static NEVER: AtomicBool = AtomicBool::new(false);

    /// Whether the process whose number a file has does nothing any more.
    fn has_ended(pid: &Path) -> bool {
        let pid = std::fs::read_to_string(pid).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim()));
        status.map_or(true, |text| text.contains("State:\tZ"))
    }

    #[test]
    fn a_command_that_takes_too_long_is_ended_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let lock = File::create(dir.path().join("lock")).unwrap();
        let pid = dir.path().join("pid");
        for before in ["", "trap '' TERM; "] {
            let command = format!("{before}sleep 60 & echo $! >{}; sleep 60", pid.display());
            let limit = Duration::from_secs(1);
            let refused = run_command(&command, &lock, limit, &NEVER).unwrap_err();
            assert!(
                matches!(refused, ExchangeError::TooSlow { .. }),
                "{refused}"
            );
            assert!(refused.to_string().contains("were ended"), "{refused}");
            assert!(has_ended(&pid), "{before}");
        }
    }

    #[test]
    fn a_command_that_an_operator_interrupts_is_ended_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let lock = File::create(dir.path().join("lock")).unwrap();
        let pid = dir.path().join("pid");
        let text = format!("sleep 60 & echo $! >{}; sleep 60", pid.display());
        let program = write_program(dir.path(), &text);
        let limit = Duration::from_mins(1);
        type Run<'a> = &'a dyn Fn(&AtomicBool) -> ExchangeError;
        let runs: [Run<'_>; 2] = [
            &|stop| run_command(&text, &lock, limit, stop).unwrap_err(),
            &|stop| ask_binary::<u32>(&program, &[], limit, stop).unwrap_err(),
        ];
        for run in runs {
            let (stop, began) = (AtomicBool::new(false), Instant::now());
            let refused = std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !std::fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n')) {
                        std::thread::sleep(PAUSE);
                    }
                    stop.store(true, Ordering::Relaxed);
                });
                run(&stop)
            });
            assert!(
                matches!(refused, ExchangeError::Interrupted(_)),
                "{refused}"
            );
            assert!(began.elapsed() < limit, "{refused}");
            assert!(has_ended(&pid), "{refused}");
            std::fs::remove_file(&pid).unwrap();
        }
    }

    #[test]
    fn a_program_that_does_not_answer_as_a_version_does_is_ended_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let note = format!("echo $$ >{}", pid.display());
        for (text, expected) in [
            ("exec sleep 60", "does not end within 1s"),
            ("trap '' TERM; sleep 60; sleep 60", "does not end within 1s"),
            ("exec yes", "prints more than"),
            ("exec yes >&2", "prints more than"),
            ("head -c 20000000 /dev/zero", "prints more than"),
            // Something that it leaves running keeps its output open.
            ("sleep 60 & echo 7x", "says nothing that is understood"),
            ("exit 1", "says nothing that is understood"),
        ] {
            let program = write_program(dir.path(), &format!("{note}; {text}"));
            // What prints has the time to do so.
            let limit = Duration::from_secs(if expected.contains("1s") { 1 } else { 60 });
            let refused = ask_binary::<u32>(&program, &["version"], limit, &NEVER);
            let refused = refused.unwrap_err().to_string();
            let named = format!("`{} version` {expected}", program.display());
            assert!(refused.contains(&named), "{text}: {refused}");
            assert!(has_ended(&pid), "{text}");
        }
        let program = write_program(dir.path(), "echo 7; exit 1");
        let answer = ask_binary(&program, &[], Duration::from_mins(1), &NEVER).unwrap();
        assert_eq!(answer, (false, 7));
    }

    #[test]
    fn a_command_that_prints_without_end_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let lock = File::create(dir.path().join("lock")).unwrap();
        let limit = Duration::from_mins(1);
        let refused = run_command("exec yes", &lock, limit, &NEVER).unwrap_err();
        assert!(
            matches!(refused, ExchangeError::PrintsTooMuch { .. }),
            "{refused}"
        );
        let failed = run_command("echo why; exit 3", &lock, limit, &NEVER).unwrap_err();
        assert!(failed.to_string().ends_with("3): why"), "{failed}");
        run_command("true", &lock, limit, &NEVER).unwrap();
    }

    #[test]
    fn what_a_command_leaves_running_is_seen_until_it_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let lock = File::create(at("lock")).unwrap();
        let limit = Duration::from_mins(1);
        assert!(
            !run_command("true", &lock, limit, &NEVER)
                .unwrap()
                .is_running()
        );
        let end = at("end").display().to_string();
        let waits = format!("(until [ -e {end} ]; do sleep 0.02; done) &");
        let group = run_command(&waits, &lock, limit, &NEVER).unwrap();
        assert!(group.is_running());
        std::fs::write(&end, "").unwrap();
        while group.is_running() {
            std::thread::sleep(PAUSE);
        }
        // One that leads a group of its own is not seen.
        let own = format!("setsid sh -c 'echo $$ >{end}; exec sleep 60' &");
        std::fs::remove_file(&end).unwrap();
        let group = run_command(&own, &lock, limit, &NEVER).unwrap();
        while !std::fs::read_to_string(&end).is_ok_and(|text| text.ends_with('\n')) {
            std::thread::sleep(PAUSE);
        }
        while group.is_running() {
            std::thread::sleep(PAUSE);
        }
        let pid = std::fs::read_to_string(&end).unwrap();
        assert!(!has_ended(Path::new(&end)), "{pid}");
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }
}
