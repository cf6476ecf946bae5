//! Which version of the host serves a data directory: that of the process that holds the directory's lock, by the digest of its program. What a
//! host says of itself is not asked: a host of any version is told so, and one that an earlier start left running cannot pass for the one that
//! was wanted.
//!
//! The program is read through `/proc/PID/exe`, which is the file that was started, also where another has its path by now. It is read, never run:
//! the process may belong to a user who is trusted with less.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ark_client::HostClient;
use ark_model::ids::Digest;
use ark_store::{HostProcess, find_host_process, last_host_moment};
use serde::{Deserialize, Serialize};

use crate::process_start::read_start;

use super::control::ActionsDone;
use crate::exchange::error::ExchangeError;
use crate::exchange::programs::version::{ask_version, hash_file, hash_program};

/// The pause between two looks at whether a host is ready.
const PAUSE: Duration = Duration::from_millis(20);
/// The pause between two looks at which one it is: each reads a program.
const LOOK: Duration = Duration::from_millis(500);
/// How long another version may be ready before that is an error: one that is ending answers until it has.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a host that was to be stopped must be ready to count as one that was not: a host that is told to end refuses connections at once.
const STEADY: Duration = Duration::from_secs(2);
/// How long a host that ran may be away before it counts as ended: a process manager may start it again.
const ABSENCE: Duration = Duration::from_secs(5);
/// For which share of the time for its start, as a divisor, nothing may take the data directory before a host counts as one that does not come, where
/// nothing is seen that may bring it. A host takes the directory before it compiles anything. There is no bound to it: what brings a host may be
/// something that is not seen, and who gives more time for a start knows how slow that is.
const SILENCE_DIVISOR: u32 = 3;

/// The program of a version.
#[derive(Debug, Clone)]
pub(crate) struct WantedProgram {
    /// The description for the operator.
    name: String,
    /// The digest of the process that it becomes; `None`: it says none, and its file is a script of some kind.
    build: Option<Digest>,
    /// The digest of its file.
    file: Option<Digest>,
}

/// What serves a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Serving {
    /// No process holds the directory.
    Nothing,
    /// The program that was wanted.
    Wanted,
    /// Another one, in words.
    Other(String),
    /// It cannot be told, and why not.
    Unknown(String),
}

impl WantedProgram {
    /// Asks a version of `ark` which program it becomes.
    pub(crate) fn from_binary(binary: &Path) -> Result<Self, ExchangeError> {
        let shown = ask_version(binary)?;
        Ok(Self {
            name: format!("{} ({})", shown.version, binary.display()),
            build: shown.build,
            file: hash_file(binary).ok(),
        })
    }

    /// The program of a version that was asked earlier.
    pub(crate) const fn of_build(name: String, build: Option<Digest>) -> Self {
        Self {
            name,
            build,
            file: None,
        }
    }

    /// Looks at which program serves a data directory.
    pub(crate) fn find_serving(&self, data_dir: &Path) -> Serving {
        let found = match RunningProgram::find_program(data_dir) {
            Ok(Some(found)) => found,
            Ok(None) => return Serving::Nothing,
            Err(problem) => return Serving::Unknown(problem),
        };
        let RunningProgram { pid, path, digest } = found;
        if self.is_build(digest) {
            return Serving::Wanted;
        }
        let path = path.display();
        let found = format!("process {pid}, whose program is {path} (sha256 {digest})");
        match self.build {
            Some(build) => Serving::Other(format!(
                "{found}, and that of {} has sha256 {build}",
                self.name
            )),
            None => Serving::Unknown(format!(
                "{found}, and {} does not say which program it becomes (`ark version --json`: build)",
                self.name
            )),
        }
    }

    /// As [`Self::find_serving`], for a host that is ready. Returns a description for the operator.
    ///
    /// # Errors
    /// Another version serves, or nothing serves the data directory.
    pub(crate) fn check_serving(&self, data_dir: &Path) -> Result<String, ExchangeError> {
        let wanted = || self.name.clone();
        match self.find_serving(data_dir) {
            Serving::Wanted => {
                let lost = find_lost_log(data_dir);
                Ok(format!("{} serves{}", self.name, lost.unwrap_or_default()))
            }
            Serving::Unknown(problem) => Ok(format!(
                "which version serves cannot be told here: {problem}"
            )),
            Serving::Other(found) => Err(ExchangeError::OtherVersion {
                wanted: wanted(),
                found,
            }),
            Serving::Nothing => Err(ExchangeError::OtherVersion {
                wanted: wanted(),
                found: format!("no process holds {}", data_dir.display()),
            }),
        }
    }

    /// Whether this is the program of that digest.
    pub(crate) fn is_build(&self, build: Digest) -> bool {
        [self.build, self.file].contains(&Some(build))
    }
}

/// The end of the name of a file that is deleted, as the kernel shows what a process has open.
const DELETED: &str = " (deleted)";

/// What is said of a host that writes its log to a file which is deleted, and so grows unseen: what commands print goes to such a file, and a host that a start
/// command leaves running without a redirection has it, too. `None`: it does not, or that cannot be seen. The text is short, since the reason of a step that
/// it ends is cut to a length.
pub(crate) fn find_lost_log(data_dir: &Path) -> Option<String> {
    let HostProcess::Found(pid) = find_host_process(data_dir) else {
        return None;
    };
    writes_to_deleted(pid).then(|| {
        format!(
            "; its log goes to a file that is deleted: copy /proc/{pid}/fd/2, redirect its output (>>FILE 2>&1), start it again"
        )
    })
}

/// Whether the standard error of a process is a file that is deleted.
fn writes_to_deleted(pid: u32) -> bool {
    let target = std::fs::read_link(format!("/proc/{pid}/fd/2"));
    target.is_ok_and(|target| target.to_string_lossy().ends_with(DELETED))
}

/// Whether the host answers that it is ready.
pub(crate) fn is_ready(client: &HostClient) -> bool {
    client.get("/readyz").is_ok_and(|answer| answer.is_ready())
}

/// Tells whether a host that was started has ended, however early: a process that takes the lock of a data directory leaves its sign in it. While
/// none has, the host may still be coming, which is no end.
pub(crate) struct HostWatch {
    data_dir: PathBuf,
    /// The last sign of a process before the host was started.
    before: Option<SystemTime>,
    was_there: bool,
    /// Since when nothing holds the directory.
    away_since: Option<Instant>,
    /// What was done to start the host; `None`: it is not known, or not done yet.
    start: Option<NotedStart>,
}

/// What was done to start a host.
struct NotedStart {
    done: ActionsDone,
    /// When it was done.
    ended_at: Instant,
    /// When it is looked again whether it may still bring the host: each look reads a list of processes, or asks systemd.
    looks_at: Instant,
}

impl HostWatch {
    /// A watch over a host that is about to be started.
    pub(crate) fn before_start(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            before: last_host_moment(data_dir),
            was_there: false,
            away_since: None,
            start: None,
        }
    }

    /// Notes what was done without an error to start the host, and that it is done. Only for a new version, whose place the stable one takes where it does not
    /// come: a stable one that came too late for a guess would be reported as lost, and nothing is gained.
    pub(crate) fn note_start(&mut self, done: ActionsDone) {
        let now = Instant::now();
        self.start = Some(NotedStart {
            done,
            ended_at: now,
            looks_at: now,
        });
    }

    /// A watch over a host that has served.
    pub(crate) fn over_running(data_dir: &Path) -> Self {
        Self {
            was_there: true,
            ..Self::before_start(data_dir)
        }
    }

    /// Whether the host has ended and nothing has started it again for a while. To be asked repeatedly.
    pub(crate) fn has_ended(&mut self) -> bool {
        if find_host_process(&self.data_dir) != HostProcess::None {
            self.was_there = true;
            self.away_since = None;
            return false;
        }
        if !self.was_there && last_host_moment(&self.data_dir) == self.before {
            return false;
        }
        self.away_since.get_or_insert_with(Instant::now).elapsed() >= ABSENCE
    }

    /// Whether the host does not come: nothing has taken the data directory for `silence` since what starts it was done without an error, and nothing of that
    /// is left which may bring it. To be asked repeatedly.
    fn comes_no_more(&mut self, silence: Duration) -> bool {
        if !self.never_came() {
            return false;
        }
        let now = Instant::now();
        match &mut self.start {
            Some(start) if now >= start.looks_at && now >= start.ended_at + silence => {
                start.looks_at = now + LOOK;
                // It may have taken the directory since it was looked at above, and ended: that is told by its sign.
                !start.done.may_bring_host() && self.never_came()
            }
            _ => false,
        }
    }

    /// Whether no process has taken the data directory since the host was started.
    pub(crate) fn never_came(&self) -> bool {
        !self.was_there
            && find_host_process(&self.data_dir) == HostProcess::None
            && last_host_moment(&self.data_dir) == self.before
    }

    /// The error that says that it has ended.
    pub(crate) fn ended(&self) -> ExchangeError {
        ExchangeError::Ended(self.data_dir.clone())
    }

    /// Why a host is not ready, as far as its process tells.
    fn describe_host(&self) -> String {
        let dir = self.data_dir.display();
        match find_host_process(&self.data_dir) {
            HostProcess::None => format!("no process holds {dir}"),
            HostProcess::Found(pid) => format!("process {pid} holds {dir}"),
            HostProcess::Hidden => format!("another container's process holds {dir}"),
        }
    }
}

/// Waits until the host is ready and `check` finds the version that was wanted. Returns what that says.
///
/// # Errors
/// It has ended, is not ready in time, another version is and stays so, or `stop` is set.
pub(crate) fn wait_ready(
    client: &HostClient,
    watch: &mut HostWatch,
    timeout: Duration,
    stop: &AtomicBool,
    check: &dyn Fn() -> Result<String, ExchangeError>,
) -> Result<String, ExchangeError> {
    let ends = Instant::now() + timeout;
    let mut other_since = None;
    loop {
        let mut pause = PAUSE;
        if is_ready(client) {
            match check() {
                Ok(told) => return Ok(told),
                Err(error) => {
                    let since = *other_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= PATIENCE.min(timeout) {
                        return Err(error);
                    }
                    pause = LOOK;
                }
            }
        } else {
            other_since = None;
            if watch.has_ended() {
                return Err(watch.ended());
            }
            let silence = timeout / SILENCE_DIVISOR;
            if watch.comes_no_more(silence) {
                return Err(ExchangeError::NeverCame {
                    data_dir: watch.data_dir.clone(),
                    silence,
                });
            }
        }
        if Instant::now() > ends {
            return Err(ExchangeError::NotReady {
                timeout,
                found: watch.describe_host(),
            });
        }
        let looks_again = Instant::now() + pause;
        while Instant::now() < looks_again {
            if stop.load(Ordering::Relaxed) {
                return Err(ExchangeError::Interrupted(
                    "the host to be ready".to_owned(),
                ));
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Whether the host that served has ended, and nothing starts it again for a while. One that is there and not ready is no such host.
pub(crate) fn has_gone(client: &HostClient, data_dir: &Path) -> bool {
    let mut watch = HostWatch::over_running(data_dir);
    while !is_ready(client) && find_host_process(data_dir) == HostProcess::None {
        if watch.has_ended() {
            return true;
        }
        std::thread::sleep(PAUSE);
    }
    false
}

/// The digest of the program that serves a data directory, for a later look; `None`: none serves, or it cannot be told.
pub(crate) fn find_build(data_dir: &Path) -> Option<Digest> {
    let found = RunningProgram::find_program(data_dir).ok().flatten();
    found.map(|program| program.digest)
}

/// The process that serves a data directory, by which a later look, also of another run, tells whether that was stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostIdentity {
    /// The boot of the machine: numbers and times of processes count from it.
    boot: String,
    /// Its number.
    pid: u32,
    /// When it began, in clock ticks since the boot.
    started: u64,
    /// The digest of its program.
    pub(crate) build: Digest,
}

impl HostIdentity {
    /// The process that serves; `None`: none does, or it cannot be told.
    pub(crate) fn find_identity(data_dir: &Path) -> Option<Self> {
        let RunningProgram { pid, digest, .. } =
            RunningProgram::find_program(data_dir).ok().flatten()?;
        Some(Self {
            boot: read_boot()?,
            pid,
            started: read_start(pid)?,
            build: digest,
        })
    }

    /// Whether this process serves still, for a while: it was not stopped, and nobody has told it to end.
    pub(crate) fn serves_on(&self, client: &HostClient, data_dir: &Path) -> bool {
        if read_boot().as_ref() != Some(&self.boot) {
            return false;
        }
        let ends = Instant::now() + STEADY;
        loop {
            let is_there = find_host_process(data_dir) == HostProcess::Found(self.pid)
                && read_start(self.pid) == Some(self.started)
                && is_ready(client);
            if !is_there || Instant::now() >= ends {
                return is_there;
            }
            std::thread::sleep(PAUSE * 5);
        }
    }
}

/// The id of the machine's boot.
fn read_boot() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

struct RunningProgram {
    pid: u32,
    /// Where it was started from.
    path: PathBuf,
    digest: Digest,
}

impl RunningProgram {
    /// The program of the process that holds a data directory; `None`: none holds it.
    fn find_program(data_dir: &Path) -> Result<Option<Self>, String> {
        let pid = match find_host_process(data_dir) {
            HostProcess::None => return Ok(None),
            HostProcess::Found(pid) => pid,
            HostProcess::Hidden => {
                return Err(format!(
                    "the process that holds {} is in another container, or this user may not look at it",
                    data_dir.display()
                ));
            }
        };
        let link = PathBuf::from(format!("/proc/{pid}/exe"));
        let found = std::fs::read_link(&link).and_then(|path| {
            Ok(Self {
                pid,
                path,
                digest: hash_program(&link)?,
            })
        });
        match found {
            Ok(found) => Ok(Some(found)),
            // It has ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("the program of process {pid}: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use ark_store::{Store, StoreConfig};

    use crate::exchange::hosts::control::{HostAction, run_actions};
    use crate::exchange::programs::commands::run_command;

    use super::*;

    #[test]
    fn a_process_that_a_command_leaves_with_its_own_output_writes_to_a_deleted_file() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let lock = std::fs::File::create(at("lock")).unwrap();
        let (never, limit) = (AtomicBool::new(false), Duration::from_mins(1));
        for (redirection, expected) in [
            (String::new(), true),
            (format!(">>{} 2>&1", at("log").display()), false),
            (">/dev/null 2>&1".to_owned(), false),
        ] {
            let pid = at("pid");
            let command = format!("sleep 60 {redirection} & echo $! >{}", pid.display());
            run_command(&command, &lock, limit, &never).unwrap();
            let left: u32 = std::fs::read_to_string(&pid)
                .unwrap()
                .trim()
                .parse()
                .unwrap();
            // The shell may not have become that program yet.
            let program = PathBuf::from(format!("/proc/{left}/exe"));
            while !std::fs::read_link(&program).unwrap().ends_with("sleep") {
                std::thread::sleep(PAUSE);
            }
            let found = writes_to_deleted(left);
            let group = rustix::process::Pid::from_raw(i32::try_from(left).unwrap()).unwrap();
            rustix::process::kill_process(group, rustix::process::Signal::KILL).unwrap();
            assert_eq!(found, expected, "{redirection:?}");
        }
        assert!(!writes_to_deleted(u32::MAX));
    }

    #[test]
    fn a_host_that_has_ended_is_told_from_one_that_is_still_coming() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let config = StoreConfig::in_dir(data.clone());
        drop(Store::open(&config).unwrap());
        let mut watch = HostWatch::before_start(&data);
        assert!(!watch.has_ended());
        assert_eq!(watch.away_since, None, "it is still coming");
        let store = Store::open(&config).unwrap();
        assert!(!watch.has_ended() && watch.away_since.is_none());
        drop(store);
        assert!(!watch.has_ended(), "a process manager may start it again");
        watch.away_since = watch.away_since.unwrap().checked_sub(ABSENCE);
        assert!(watch.has_ended());
        // Also one that came and ended between two looks. Moments of files are coarse.
        let lock = std::fs::File::open(data.join("ark.lock")).unwrap();
        lock.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        // This process has the file open no more: it would be taken for the host.
        drop(lock);
        let mut watch = HostWatch::before_start(&data);
        drop(Store::open(&config).unwrap());
        assert!(!watch.has_ended() && watch.away_since.is_some());
    }

    #[test]
    fn a_host_that_does_not_come_is_told_from_one_that_is_slow() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let data = at("data");
        let config = StoreConfig::in_dir(data.clone());
        drop(Store::open(&config).unwrap());
        let held = std::fs::File::create(at("lock")).unwrap();
        let (never, limit) = (AtomicBool::new(false), Duration::from_mins(1));
        let start = |text: String| {
            let mut watch = HostWatch::before_start(&data);
            assert!(!watch.comes_no_more(Duration::ZERO), "it was not started");
            let action = [HostAction::Shell(text)];
            watch.note_start(run_actions(&action, &held, limit, &never).unwrap());
            watch
        };
        let mut watch = start("true".to_owned());
        assert!(!watch.comes_no_more(limit), "it may come yet");
        assert!(watch.comes_no_more(Duration::ZERO));
        // While a process is left it may, however slow that is.
        let end = at("end");
        let mut watch = start(format!(
            "(until [ -e {} ]; do sleep 0.02; done) &",
            end.display()
        ));
        assert!(!watch.comes_no_more(Duration::ZERO));
        std::fs::write(&end, "").unwrap();
        while !watch.comes_no_more(Duration::ZERO) {
            std::thread::sleep(PAUSE);
        }
        // One that came and ended has come. Moments of files are coarse.
        let lock = std::fs::File::open(data.join("ark.lock")).unwrap();
        lock.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        drop(lock);
        let mut watch = start("true".to_owned());
        drop(Store::open(&config).unwrap());
        assert!(!watch.comes_no_more(Duration::ZERO));
    }

    #[test]
    fn the_program_that_holds_a_directory_is_told_by_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let this = std::env::current_exe().unwrap();
        let own = hash_file(&this).unwrap();
        let other = Digest::hash_bytes(b"another");
        let look = |build, file| {
            let name = "2.0.0".to_owned();
            WantedProgram { name, build, file }.find_serving(&data)
        };
        assert_eq!(look(Some(own), None), Serving::Nothing);
        let store = Store::open(&StoreConfig::in_dir(data.clone())).unwrap();
        for (build, file, expected) in [
            (Some(own), None, "wanted"),
            (Some(own), Some(other), "wanted"),
            (None, Some(own), "wanted"),
            (Some(other), None, "other"),
            (Some(other), Some(other), "other"),
            (None, Some(other), "unknown"),
            (None, None, "unknown"),
        ] {
            let found = look(build, file);
            let told = match &found {
                Serving::Nothing => "nothing",
                Serving::Wanted => "wanted",
                Serving::Other(found) => {
                    let this = this.display().to_string();
                    assert!(found.contains(&this) && found.contains(&other.to_string()));
                    "other"
                }
                Serving::Unknown(problem) => {
                    assert!(problem.contains("does not say"), "{problem}");
                    "unknown"
                }
            };
            assert_eq!(told, expected, "{found:?}");
        }
        assert_eq!(find_build(&data), Some(own));
        let identity = HostIdentity::find_identity(&data).unwrap();
        assert_eq!(HostIdentity::find_identity(&data).unwrap(), identity);
        assert_eq!((identity.pid, identity.build), (std::process::id(), own));
        assert!(identity.started > 0 && !identity.boot.is_empty());
        // A number in the file that belongs to a process which does not have it.
        let lock = data.join("ark.lock");
        let content = std::fs::read_to_string(&lock).unwrap();
        let rest = content.split_once('\n').unwrap().1;
        std::fs::write(&lock, format!("1\n{rest}")).unwrap();
        let found = look(Some(own), None);
        assert!(matches!(found, Serving::Unknown(_)), "{found:?}");
        drop(store);
        assert_eq!(look(Some(own), None), Serving::Nothing);
        assert_eq!(HostIdentity::find_identity(&data), None);
    }
}
