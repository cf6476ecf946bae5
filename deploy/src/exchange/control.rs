//! How the host of this machine is stopped and started: by commands of the operator's, or as a unit of systemd.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable::parent_of;

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

    /// The command that stops the host. `binary`: the version that is started next. `is_exclusive`: nothing may be started until
    /// [`Self::start_command`] has it started, so that a socket unit, which would start it at the next connection, is stopped too.
    pub(crate) fn stop_command(&self, binary: &Path, is_exclusive: bool) -> String {
        match self {
            Self::Commands { stop, .. } => stop.clone(),
            Self::Unit { unit, program } => {
                let first = if is_exclusive {
                    // The program stays until the next version is started: if that is called off, the unit starts what the database belongs to.
                    format!(
                        "if systemctl cat {unit}.socket >/dev/null 2>&1; then systemctl stop {unit}.socket; fi"
                    )
                } else {
                    // What a connection to the socket starts is the next version.
                    install_command(binary, program)
                };
                format!("{first} && systemctl stop {unit}.service")
            }
        }
    }

    /// The command that starts the version.
    pub(crate) fn start_command(&self, binary: &Path) -> String {
        match self {
            Self::Commands { start, .. } => start.clone(),
            Self::Unit { unit, program } => {
                let install = install_command(binary, program);
                format!(
                    "{install} && if systemctl cat {unit}.socket >/dev/null 2>&1; then systemctl start {unit}.socket; fi && systemctl start {unit}.service"
                )
            }
        }
    }
}

/// The command that puts a version in the place of a program, as a whole or not at all, also while that runs and over a power cut.
fn install_command(binary: &Path, program: &Path) -> String {
    let dir = quote(parent_of(program));
    let (binary, program) = (quote(binary), quote(program));
    format!(
        "{{ cmp -s {binary} {program} || {{ cp -f {binary} {program}.new && chmod 0755 {program}.new && sync {program}.new && mv -f {program}.new {program}; }}; }} && sync {dir}"
    )
}

/// A path as one word of a shell's command.
fn quote(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_stopped_and_started_with_the_version_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("it's new"), "2").unwrap();
        std::fs::write(at("ark"), "1").unwrap();
        // What stands for systemctl: there is a socket unit, and every call is kept.
        let log = at("log").display().to_string();
        let script = format!("systemctl() {{ echo \"$*\" >>{log}; }}\n");
        let run = |command: &str| {
            let status = std::process::Command::new("sh")
                .args(["-c", &format!("{script}{command}")])
                .status();
            assert!(status.unwrap().success(), "{command}");
        };
        let control = HostControl::of_unit("ark.service", at("ark")).unwrap();
        run(&control.stop_command(&at("it's new"), false));
        assert_eq!(std::fs::read_to_string(at("ark")).unwrap(), "2");
        // Where nothing may be started in between, the program is exchanged at the start.
        std::fs::write(at("ark"), "1").unwrap();
        run(&control.stop_command(&at("it's new"), true));
        assert_eq!(std::fs::read_to_string(at("ark")).unwrap(), "1");
        run(&control.start_command(&at("it's new")));
        assert_eq!(std::fs::read_to_string(at("ark")).unwrap(), "2");
        let said = std::fs::read_to_string(at("log")).unwrap();
        // What `cat` prints is not shown: its standard output is redirected, and the log is a file of its own.
        let calls: Vec<&str> = said
            .lines()
            .filter(|line| !line.starts_with("cat"))
            .collect();
        assert_eq!(
            calls,
            [
                "stop ark.service",
                "stop ark.socket",
                "stop ark.service",
                "start ark.socket",
                "start ark.service"
            ]
        );
        for name in ["", "-x", "a b", "a;b", "ark/..", "$(x)"] {
            assert!(HostControl::of_unit(name, at("ark")).is_err(), "{name}");
        }
    }
}
