//! How the host of this machine is stopped and started: by commands of the operator's, or as a unit of systemd. A unit is stopped and started by
//! `systemctl`, which is given its arguments as they are, and its program is exchanged by this one: no shell reads a path.

use std::fmt;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::durable::{place_file, sync_entry};

use super::commands::{run_command, run_program};
use super::error::ExchangeError;
use super::version::hash_file;

/// The mode of a program that is put in its place.
const PROGRAM_MODE: u32 = 0o755;

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
        })
    }

    /// What stops the host. `binary`: the version that is started next. `is_exclusive`: nothing may be started until [`Self::start_actions`] has it
    /// started, so that a socket unit, which would start it at the next connection, is stopped too.
    pub(crate) fn stop_actions(&self, binary: &Path, is_exclusive: bool) -> Vec<HostAction> {
        match self {
            Self::Commands { stop, .. } => vec![HostAction::Shell(stop.clone())],
            Self::Unit { unit, program } => {
                let first = if is_exclusive {
                    // The program stays until the next version is started: if that is called off, the unit starts what the database belongs to.
                    HostAction::socket("stop", unit)
                } else {
                    // What a connection to the socket starts is the next version.
                    HostAction::install(binary, program)
                };
                vec![first, HostAction::service("stop", unit)]
            }
        }
    }

    /// What starts the version.
    pub(crate) fn start_actions(&self, binary: &Path) -> Vec<HostAction> {
        match self {
            Self::Commands { start, .. } => vec![HostAction::Shell(start.clone())],
            Self::Unit { unit, program } => vec![
                HostAction::install(binary, program),
                HostAction::socket("start", unit),
                HostAction::service("start", unit),
            ],
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

    fn socket(verb: &'static str, unit: &str) -> Self {
        Self::Systemctl {
            verb,
            unit: format!("{unit}.socket"),
            is_optional: true,
        }
    }

    fn run(&self, lock: &File, timeout: Duration, stop: &AtomicBool) -> Result<(), ExchangeError> {
        match self {
            Self::Shell(command) => run_command(command, lock, timeout, stop),
            Self::Install { binary, program } => install_program(binary, program),
            Self::Systemctl {
                verb,
                unit,
                is_optional,
            } => {
                if *is_optional && !has_unit(unit, lock, timeout, stop)? {
                    return Ok(());
                }
                run_program("systemctl", &[verb, unit], lock, timeout, stop)?.into_success()
            }
        }
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
        }
    }
}

/// Does these things in their order, each for `timeout` at most. The first that fails is the last; all may be done again.
pub(crate) fn run_actions(
    actions: &[HostAction],
    lock: &File,
    timeout: Duration,
    stop: &AtomicBool,
) -> Result<(), ExchangeError> {
    let mut actions = actions.iter();
    actions.try_for_each(|action| action.run(lock, timeout, stop))
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
            (
                control.start_actions(new),
                "/opt/it's new takes the place of /usr/bin/ark, then systemctl start ark.socket if there is one, then systemctl start ark.service",
            ),
        ] {
            assert_eq!(describe_actions(&actions), expected);
        }
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
