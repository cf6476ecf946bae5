//! How the host of this machine is stopped and started: by commands of the operator's, or as a unit of systemd. A unit is stopped and started by
//! `systemctl`, which is given its arguments as they are, and its program is exchanged by this one: no shell reads a path.
//!
//! A socket unit of the same name stays open while its service is exchanged, so that connections wait in its queue. It is stopped only where nothing
//! may start the host meanwhile, and started again only if it was active when the exchange began: a package installs it, and an operator may not use it.

use std::fmt;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::durable::{place_file, sync_entry};

use crate::exchange::error::ExchangeError;
use crate::exchange::programs::commands::{CommandGroup, ProgramEnd, run_command, run_program};
use crate::exchange::programs::version::hash_file;

/// The mode of a program that is put in its place.
const PROGRAM_MODE: u32 = 0o755;
/// How long `systemctl is-active` may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// The exit statuses of `systemctl is-active` for a unit that is not active, and for one that there is not.
const NOT_ACTIVE: [i32; 2] = [3, 4];
/// What `systemctl is-active` prints of a unit that has ended. One that is about to be started again is `activating`.
const ENDED_STATES: [&str; 2] = ["failed", "inactive"];

/// How the host is stopped, and started with a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostControl {
    /// Commands for `sh -c`.
    Commands {
        /// Stops the host that runs, and returns when it has ended. It may be run where none runs.
        stop: String,
        /// Starts the version, and returns. It may be run where it runs.
        start: String,
    },
    /// A unit of systemd, with or without a socket unit of the same name.
    Unit {
        /// Its name, without `.service`.
        unit: String,
        /// The program that the unit starts: the version's takes its place.
        program: PathBuf,
        /// Whether the socket unit was active when the exchange began; `None`: nobody has looked, also in a journal of an earlier program. It is
        /// in the journal since a run that goes on may find the socket stopped by the run before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        has_active_socket: Option<bool>,
    },
}

impl HostControl {
    /// The control of a unit.
    ///
    /// # Errors
    /// The name is none of a unit.
    pub fn of_unit(unit: &str, program: PathBuf) -> Result<Self, String> {
        let unit = unit.strip_suffix(".service").unwrap_or(unit);
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte);
        if unit.is_empty() || unit.starts_with('-') || !unit.bytes().all(is_known) {
            return Err(format!("{unit:?} is no name of a unit; give e.g. ark"));
        }
        Ok(Self::Unit {
            unit: unit.to_owned(),
            program,
            has_active_socket: None,
        })
    }

    /// Notes whether the unit's socket is active, unless that was noted earlier. To be called before anything is stopped. Changes nothing.
    ///
    /// # Errors
    /// `systemctl` does not say it.
    pub(crate) fn note_socket(self) -> Result<Self, ExchangeError> {
        match self {
            Self::Unit {
                unit,
                program,
                has_active_socket: None,
            } => Ok(Self::Unit {
                has_active_socket: Some(is_active(&format!("{unit}.socket"))?),
                unit,
                program,
            }),
            noted => Ok(noted),
        }
    }

    /// What stops the host. `binary`: the version that is started next. `is_exclusive`: nothing may be started until [`Self::start_actions`] has it
    /// started, so that a socket unit, which would start it at the next connection, is stopped too.
    pub(crate) fn stop_actions(&self, binary: &Path, is_exclusive: bool) -> Vec<HostAction> {
        match self {
            Self::Commands { stop, .. } => vec![HostAction::Shell(stop.clone())],
            Self::Unit { unit, program, .. } => {
                let first = if is_exclusive {
                    // The program stays until the next version is started: if that is called off, the unit starts what the database belongs to.
                    // A socket that was activated since the exchange began is stopped, too.
                    HostAction::stop_socket(unit)
                } else {
                    // What a connection to the socket starts is the next version.
                    HostAction::install(binary, program)
                };
                vec![first, HostAction::service("stop", unit)]
            }
        }
    }

    /// Has a unit start the version that serves again, where [`Self::stop_actions`] were begun and did not stop the host. Returns whether everything
    /// is as before: a socket that was stopped cannot be opened while the service runs.
    pub(crate) fn leave_running(&self, binary: &Path) -> Result<bool, ExchangeError> {
        let Self::Unit {
            unit,
            program,
            has_active_socket,
        } = self
        else {
            return Ok(true);
        };
        if *has_active_socket == Some(true) && !is_active(&format!("{unit}.socket"))? {
            return Ok(false);
        }
        install_program(binary, program).map(|()| true)
    }

    /// What starts the version.
    pub(crate) fn start_actions(&self, binary: &Path) -> Vec<HostAction> {
        match self {
            Self::Commands { start, .. } => vec![HostAction::Shell(start.clone())],
            Self::Unit {
                unit,
                program,
                has_active_socket,
            } => {
                let mut actions = vec![
                    HostAction::install(binary, program),
                    HostAction::ForgetFailures {
                        unit: format!("{unit}.service"),
                    },
                ];
                if *has_active_socket == Some(true) {
                    actions.push(HostAction::start_socket(unit));
                }
                actions.push(HostAction::service("start", unit));
                actions
            }
        }
    }
}

/// One thing that is done to stop or start a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostAction {
    /// A command of the operator's is run by `sh -c`.
    Shell(String),
    /// A version takes the place of a program, as a whole or not at all, also while that runs and over a power cut.
    Install {
        /// The version.
        binary: PathBuf,
        /// The program whose place it takes.
        program: PathBuf,
    },
    /// A unit is stopped or started by `systemctl`.
    Systemctl {
        /// `stop` or `start`.
        verb: &'static str,
        /// The unit, with its kind.
        unit: String,
        /// Where there is no such unit, nothing is done.
        is_optional: bool,
    },
    /// A unit's failed starts are forgotten. A version that does not start uses up what systemd allows in a while (`StartLimitBurst=`), and the next one
    /// would be refused.
    ForgetFailures {
        /// The unit, with its kind.
        unit: String,
    },
}

impl HostAction {
    fn install(binary: &Path, program: &Path) -> Self {
        Self::Install {
            binary: binary.to_owned(),
            program: program.to_owned(),
        }
    }

    fn service(verb: &'static str, unit: &str) -> Self {
        Self::Systemctl {
            verb,
            unit: format!("{unit}.service"),
            is_optional: false,
        }
    }

    fn stop_socket(unit: &str) -> Self {
        Self::Systemctl {
            verb: "stop",
            unit: format!("{unit}.socket"),
            is_optional: true,
        }
    }

    /// Only for a socket that was active.
    fn start_socket(unit: &str) -> Self {
        Self::Systemctl {
            verb: "start",
            unit: format!("{unit}.socket"),
            is_optional: false,
        }
    }

    /// Does this one thing. Returns the process group of a command of the operator's.
    fn run(
        &self,
        lock: &File,
        timeout: Duration,
        stop: &AtomicBool,
    ) -> Result<Option<CommandGroup>, ExchangeError> {
        let done = match self {
            Self::Shell(command) => return run_command(command, lock, timeout, stop).map(Some),
            Self::Install { binary, program } => install_program(binary, program),
            Self::Systemctl {
                verb,
                unit,
                is_optional,
            } => {
                if *is_optional && !has_unit(unit, lock, timeout, stop)? {
                    return Ok(None);
                }
                run_program("systemctl", &[verb, unit], lock, timeout, stop)?.into_success()
            }
            Self::ForgetFailures { unit } => {
                // It fails for a unit that is not loaded, which has no failures.
                run_program("systemctl", &["reset-failed", unit], lock, timeout, stop).map(drop)
            }
        };
        done.map(|()| None)
    }
}

impl fmt::Display for HostAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shell(command) => write!(f, "{command}"),
            Self::Install { binary, program } => write!(
                f,
                "{} takes the place of {}",
                binary.display(),
                program.display()
            ),
            Self::Systemctl {
                verb,
                unit,
                is_optional,
            } => {
                let condition = if *is_optional { " if there is one" } else { "" };
                write!(f, "systemctl {verb} {unit}{condition}")
            }
            Self::ForgetFailures { unit } => write!(f, "systemctl reset-failed {unit}"),
        }
    }
}

/// What was done, as far as it shows later whether a host that it started may still come.
#[derive(Debug, Default)]
pub(crate) struct ActionsDone {
    /// The process groups of the operator's commands.
    groups: Vec<CommandGroup>,
    /// The units that were told to start.
    units: Vec<String>,
}

impl ActionsDone {
    /// Whether a process that a command left runs on, or systemd has not given a unit up: it runs, or is about to be started again. Where neither is so, a host
    /// may come only from something else that a command told to start it.
    pub(super) fn may_bring_host(&self) -> bool {
        self.groups.iter().any(|group| group.is_running())
            || self.units.iter().any(|unit| !has_given_up(unit))
    }
}

/// Does these things in their order, each for `timeout` at most. The first that fails is the last; all may be done again.
pub(crate) fn run_actions(
    actions: &[HostAction],
    lock: &File,
    timeout: Duration,
    stop: &AtomicBool,
) -> Result<ActionsDone, ExchangeError> {
    let mut done = ActionsDone::default();
    for action in actions {
        done.groups.extend(action.run(lock, timeout, stop)?);
        if let HostAction::Systemctl {
            verb: "start",
            unit,
            ..
        } = action
            && unit.ends_with(".service")
        {
            done.units.push(unit.clone());
        }
    }
    Ok(done)
}

/// What is done, in words.
pub(crate) fn describe_actions(actions: &[HostAction]) -> String {
    let actions: Vec<String> = actions.iter().map(ToString::to_string).collect();
    actions.join(", then ")
}

/// Whether systemd knows a unit. Changes nothing.
pub(crate) fn has_unit(
    unit: &str,
    lock: &File,
    timeout: Duration,
    stop: &AtomicBool,
) -> Result<bool, ExchangeError> {
    let shown = run_program("systemctl", &["cat", unit], lock, timeout, stop)?;
    Ok(shown.has_succeeded())
}

/// Asks systemd for the state of a unit. Changes nothing.
fn ask_state(unit: &str) -> Result<ProgramEnd, ExchangeError> {
    let nothing = Path::new("/dev/null");
    // What stands for the lock of a journal, which a look does not hold.
    let nothing = File::open(nothing).map_err(ExchangeError::for_file(nothing))?;
    let never = AtomicBool::new(false);
    let args = ["is-active", unit];
    run_program("systemctl", &args, &nothing, LOOK_TIMEOUT, &never)
}

/// Whether systemd says that a unit has ended and is not about to be started again. One whose state it does not say has not.
fn has_given_up(unit: &str) -> bool {
    ask_state(unit).is_ok_and(|looked| ENDED_STATES.contains(&looked.said()))
}

/// Whether a unit is active; one that there is not is not. Changes nothing.
fn is_active(unit: &str) -> Result<bool, ExchangeError> {
    let looked = ask_state(unit)?;
    if looked.code().is_some_and(|code| NOT_ACTIVE.contains(&code)) {
        return Ok(false);
    }
    looked.into_success().map(|()| true)
}

/// Puts a version in the place of a program. One that is there already is only made to last.
fn install_program(binary: &Path, program: &Path) -> Result<(), ExchangeError> {
    let wanted = hash_file(binary)?;
    if hash_file(program).is_ok_and(|found| found == wanted) {
        return sync_entry(program).map_err(ExchangeError::for_file(program));
    }
    place_file(program, |file| {
        io::copy(&mut File::open(binary)?, file)?;
        file.set_permissions(Permissions::from_mode(PROGRAM_MODE))
    })
    .map_err(ExchangeError::for_file(program))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn a_unit_is_stopped_and_started_with_the_version_in_its_place() {
        let (new, program) = (Path::new("/opt/it's new"), Path::new("/usr/bin/ark"));
        let control = HostControl::of_unit("ark.service", program.into()).unwrap();
        let with_socket = |is_active| HostControl::Unit {
            unit: "ark".to_owned(),
            program: program.to_owned(),
            has_active_socket: Some(is_active),
        };
        let without = "/opt/it's new takes the place of /usr/bin/ark, then systemctl reset-failed ark.service, then systemctl start ark.service";
        for (actions, expected) in [
            (
                control.stop_actions(new, false),
                "/opt/it's new takes the place of /usr/bin/ark, then systemctl stop ark.service",
            ),
            // Where nothing may be started in between, the program is exchanged at the start.
            (
                control.stop_actions(new, true),
                "systemctl stop ark.socket if there is one, then systemctl stop ark.service",
            ),
            // The socket is started only if it was active.
            (
                with_socket(true).start_actions(new),
                "/opt/it's new takes the place of /usr/bin/ark, then systemctl reset-failed ark.service, then systemctl start ark.socket, then systemctl start ark.service",
            ),
            (with_socket(false).start_actions(new), without),
            (control.start_actions(new), without),
        ] {
            assert_eq!(describe_actions(&actions), expected);
        }
        // What was noted is not looked at again, and outlives the process.
        for is_active in [true, false] {
            let noted = with_socket(is_active);
            let written = serde_json::to_string(&noted).unwrap();
            assert_eq!(
                serde_json::from_str::<HostControl>(&written).unwrap(),
                noted
            );
            assert_eq!(noted.clone().note_socket().unwrap(), noted);
        }
        let earlier = r#"{"unit":{"unit":"ark","program":"/usr/bin/ark"}}"#;
        assert_eq!(
            serde_json::from_str::<HostControl>(earlier).unwrap(),
            control
        );
        for name in ["", "-x", "a b", "a;b", "ark/..", "$(x)"] {
            assert!(
                HostControl::of_unit(name, program.into()).is_err(),
                "{name}"
            );
        }
    }

    #[test]
    fn a_version_takes_the_place_of_a_program_whole_whatever_its_name_is() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let lock = File::create(at("lock")).unwrap();
        let (never, limit) = (AtomicBool::new(false), Duration::from_secs(60));
        for name in ["it's new", "$(touch x)", "a;b", "-rf"] {
            std::fs::write(at(name), name).unwrap();
            for _ in 0..2 {
                let install = [HostAction::install(&at(name), &at("ark"))];
                run_actions(&install, &lock, limit, &never).unwrap();
                assert_eq!(std::fs::read_to_string(at("ark")).unwrap(), name);
                let mode = std::fs::metadata(at("ark")).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, PROGRAM_MODE);
            }
        }
        let refused = install_program(&at("none"), &at("ark")).unwrap_err();
        assert!(refused.to_string().contains("none"), "{refused}");
        assert_eq!(std::fs::read_to_string(at("ark")).unwrap(), "-rf");
        // What comes after a failure is not done.
        let shell = |text: String| HostAction::Shell(text);
        let made = at("made");
        let actions = [
            shell("exit 3".to_owned()),
            shell(format!("echo >{}", made.display())),
        ];
        assert!(run_actions(&actions, &lock, limit, &never).is_err());
        assert!(!made.exists());
    }
}
