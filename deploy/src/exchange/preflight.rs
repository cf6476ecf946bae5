//! What a dry run looks at: everything that can be found without a change. All problems are found, not the first alone. What concerns the tokens, a
//! run looks at too before it changes anything ([`check_access`]).
//!
//! Invariant: nothing is made, written or stopped. What is run are versions of `ark` that say which one they are, `sh -n`, which reads a command and
//! runs nothing, and `systemctl cat` and `is-active`.

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ark_client::{Endpoint, HostClient};
use ark_store::{HostProcess, find_host_process};
use rustix::fs::{Access, access, statvfs};
use serde_json::{Value, json};

use crate::exclusion::ExchangeKind;
use crate::journal::{EXCHANGE_ROOM, Journal, JournalOwner};
use crate::validate::{
    ValidateOptions, check_data_dir, check_telemetry, find_proposing_refusal, find_refusal,
};

use super::data::database::{DATABASE_FILES, measure_database};
use super::error::ExchangeError;
use super::hosts::control::{HostControl, has_unit};
use super::programs::commands::{ProgramEnd, run_program};
use super::validation::{HostClients, ValidationPlan};

/// How long what is run may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The problems that were found.
#[derive(Debug, Default)]
pub(crate) struct Preflight {
    problems: Vec<String>,
}

impl Preflight {
    /// Takes over what went wrong, or returns what did not.
    pub(crate) fn take<T, E: Display>(&mut self, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(error.to_string());
                None
            }
        }
    }

    fn add(&mut self, problem: String) {
        // One cause may be found in two ways.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// The end of the dry run: an error that names every problem.
    pub(crate) fn finish(self) -> Result<(), ExchangeError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(ExchangeError::Rehearsal(self.problems))
    }

    /// A file that must be there and be readable. `option`: what names it.
    pub(crate) fn check_file(&mut self, option: &str, file: &Path) {
        let opened = File::open(file).and_then(|opened| opened.metadata());
        match opened {
            Ok(found) if found.is_file() => {}
            Ok(_) => self.add(format!(
                "{option} {}: it is no file; name a file",
                file.display()
            )),
            Err(error) => self.add(format!(
                "{option} {}: {error}; name a file that is there and that this user can read",
                file.display()
            )),
        }
    }

    /// The data directory of a host on this machine.
    pub(crate) fn check_data_dir(&mut self, data_dir: &Path) {
        if self.check_database(data_dir) {
            self.check_access("--data-dir", data_dir);
        }
    }

    /// The data directory of a host, with a database. Returns whether it is there.
    fn check_database(&mut self, data_dir: &Path) -> bool {
        let remedy = "give the directory of the host's data (data_dir of its configuration)";
        let shown = data_dir.display();
        let problem = match std::fs::metadata(data_dir) {
            Ok(found) if !found.is_dir() => Some("it is no directory".to_owned()),
            Ok(_) => {
                let name = DATABASE_FILES[0];
                let opened = File::open(data_dir.join(name));
                opened
                    .err()
                    .map(|error| format!("the database {name} in it: {error}"))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Some("there is no such directory".to_owned())
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = &problem {
            self.add(format!("--data-dir {shown}: {problem}; {remedy}"));
        }
        problem.is_none()
    }

    /// A file that a run writes, and whose directory it does not make.
    fn check_output(&mut self, option: &str, file: &Path) {
        let parent = crate::durable::parent_of(file);
        if file.is_dir() {
            self.add(format!(
                "{option} {}: it is a directory; name a file",
                file.display()
            ));
        } else if parent.is_dir() {
            self.check_access(option, file);
        } else {
            self.add(format!(
                "{option} {}: there is no directory {}; make it, or name a file in one that is there",
                file.display(),
                parent.display()
            ));
        }
    }

    /// The place of snapshots: a directory, or one that can be made, with room for `copies` of the database.
    pub(crate) fn check_snapshots(&mut self, snapshots: &Path, data_dir: &Path, copies: u64) {
        if snapshots.exists() && !snapshots.is_dir() {
            return self.add(format!(
                "--snapshots {}: it is no directory; name one, or one that can be made",
                snapshots.display()
            ));
        }
        self.check_access("--snapshots", snapshots);
        let needed = measure_database(data_dir);
        self.check_room("--snapshots", snapshots, needed.saturating_mul(copies));
    }

    /// A snapshot that is to take the database's place.
    pub(crate) fn check_snapshot(&mut self, snapshot: &Path) {
        if crate::snapshots::read_manifest(snapshot).is_none() {
            self.add(format!(
                "--snapshot {}: it is no snapshot, or its manifest cannot be read; name the directory of a snapshot",
                snapshot.display()
            ));
        }
    }

    /// The journal of an exchange, or its place where there is none.
    pub(crate) fn check_journal(&mut self, kind: ExchangeKind, client: &HostClient, path: &Path) {
        self.check_journal_of(&kind.owner_for(client), path);
    }

    /// As [`Self::check_journal`], in a command of another kind.
    pub(crate) fn check_other_journal(
        &mut self,
        kind: ExchangeKind,
        client: &HostClient,
        path: &Path,
    ) {
        self.check_journal_of(&kind.owner_beside(client), path);
    }

    fn check_journal_of(&mut self, owner: &JournalOwner, path: &Path) {
        self.take(Journal::read_entries::<Value>(path, owner));
        let option = owner.option.unwrap_or("the journal");
        self.check_access(option, path);
        self.check_room(option, path, EXCHANGE_ROOM);
    }

    /// Whether this process may write to a path, or make it.
    fn check_access(&mut self, option: &str, path: &Path) {
        let place = find_existing(path);
        // What is made needs a directory.
        let wanted = if place == path {
            Access::WRITE_OK
        } else if place.is_dir() {
            Access::WRITE_OK | Access::EXEC_OK
        } else {
            return self.add(format!(
                "{option} {}: {} is no directory; name another path",
                path.display(),
                place.display()
            ));
        };
        if let Err(error) = access(&place, wanted) {
            self.add(format!(
                "{option} {}: {} cannot be written: {error}; run this as a user that may",
                path.display(),
                place.display()
            ));
        }
    }

    /// Whether the file system of a path has so many bytes left.
    fn check_room(&mut self, option: &str, path: &Path, needed: u64) {
        let place = find_existing(path);
        // What cannot be asked is no problem of the run.
        let Ok(found) = statvfs(&place) else {
            return;
        };
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        if free < needed {
            self.add(format!(
                "{option} {}: {free} bytes are free, and {needed} are needed; make room there",
                path.display()
            ));
        }
    }

    /// How the host is stopped and started: commands that a shell can read, or a unit that there is and the place of its program.
    pub(crate) fn check_control(&mut self, control: &HostControl) {
        match control {
            HostControl::Commands { stop, start } => {
                for command in [stop, start] {
                    self.check_command(command);
                }
            }
            HostControl::Unit { unit, program, .. } => {
                let service = format!("{unit}.service");
                let known = open_nothing()
                    .and_then(|nothing| has_unit(&service, &nothing, TIMEOUT, &never()));
                if self.take(known) == Some(false) {
                    self.add(format!(
                        "--unit {unit}: `systemctl cat {service}` finds no such unit"
                    ));
                }
                self.check_file("--program", program);
                let parent = crate::durable::parent_of(program);
                self.check_access("--program", &parent.join("ark.partial"));
            }
        }
    }

    /// A command of the operator's: a shell can read it.
    pub(crate) fn check_command(&mut self, command: &str) {
        let read = open_nothing()
            .and_then(|nothing| {
                run_program("sh", &["-n", "-c", command], &nothing, TIMEOUT, &never())
            })
            .and_then(ProgramEnd::into_success);
        if self.take(read).is_some()
            && let Some(program) = find_program_name(command)
        {
            self.check_program(command, program);
        }
    }

    /// Whether the shell finds the program with which a command begins.
    fn check_program(&mut self, command: &str, program: &str) {
        let args = ["-c", "command -v \"$1\" >/dev/null", "sh", program];
        let found = open_nothing()
            .and_then(|nothing| run_program("sh", &args, &nothing, TIMEOUT, &never()))
            .and_then(ProgramEnd::into_success);
        if found.is_err() {
            self.add(format!(
                "`{command}`: there is no program {program}; correct the command"
            ));
        }
    }

    /// The journal of a validation, the token of who proposes in it, and whether the telemetry is the host's. Returns as
    /// [`Self::check_validation_telemetry`].
    pub(crate) fn check_validation(
        &mut self,
        plan: Option<&ValidationPlan>,
        clients: HostClients<'_>,
    ) -> Option<String> {
        self.check_validation_journal(plan);
        if plan.is_some() {
            self.check_submitter(clients.submitter);
        }
        self.check_validation_telemetry(plan, clients.client)
    }

    /// Whether the telemetry of a validation is that of the host. Returns a warning where that cannot be told.
    pub(crate) fn check_validation_telemetry(
        &mut self,
        plan: Option<&ValidationPlan>,
        client: &HostClient,
    ) -> Option<String> {
        let telemetry = plan?.telemetry.as_ref()?;
        self.take(check_telemetry(client, telemetry)).flatten()
    }

    /// The journal of a validation.
    pub(crate) fn check_validation_journal(&mut self, plan: Option<&ValidationPlan>) {
        if let Some(plan) = plan {
            self.check_access("the journal of the validation", &plan.journal);
        }
    }

    /// Whether the host takes the token for what is recorded there. A host that does not answer is a problem only if `must_answer`. Returns whether it
    /// answers.
    pub(crate) fn check_host(&mut self, client: &HostClient, must_answer: bool) -> bool {
        match client.get("/healthz") {
            Ok(_) => {
                if let Some(refusal) = find_recording_refusal(client) {
                    self.add(refusal);
                }
                true
            }
            Err(error) => {
                if must_answer {
                    self.add(error.to_string());
                }
                false
            }
        }
    }

    /// What a run looks at of tokens and validation before it changes anything: see [`check_access`].
    pub(crate) fn check_run_access(
        &mut self,
        clients: HostClients<'_>,
        validation: Option<&ValidationPlan>,
        data_dir: Option<&Path>,
    ) {
        if data_dir.is_some_and(|data_dir| find_host_process(data_dir) == HostProcess::None) {
            return;
        }
        self.check_host(clients.client, false);
        // The validation itself warns of what cannot be told.
        let _warning = self.check_validation(validation, clients);
    }

    /// Whether the token of who proposes in a validation may. That the host does not answer is found elsewhere.
    fn check_submitter(&mut self, submitter: &HostClient) {
        if let Some(refusal) = find_proposing_refusal(submitter) {
            self.add(refusal);
        }
    }
}

/// What the host says that refuses the token with which steps are recorded; `None`: it takes the token, or does not answer.
fn find_recording_refusal(client: &HostClient) -> Option<String> {
    let refusal = find_refusal(client, "/v1/deployments", &json!({}))?;
    Some(format!(
        "the token that records steps at the host: {refusal}"
    ))
}

/// The tokens of an exchange that the host refuses, and what it says. `validates`: one proposes in a validation. Empty where the host takes them or does
/// not answer, and where none runs on the data directory: the open socket of a unit takes a connection also then.
pub(crate) fn find_refused_tokens(
    clients: HostClients<'_>,
    data_dir: &Path,
    validates: bool,
) -> Vec<String> {
    if find_host_process(data_dir) == HostProcess::None || clients.client.get("/healthz").is_err() {
        return Vec::new();
    }
    let proposing = validates.then(|| find_proposing_refusal(clients.submitter));
    let refusals = find_recording_refusal(clients.client).into_iter();
    refusals.chain(proposing.flatten()).collect()
}

/// Checks, before a run changes anything, what its dry run finds of the tokens and of the validation. `data_dir`: that of a run that goes on, which may
/// have stopped the host: where none runs, nothing is asked.
///
/// # Errors
/// The host refuses a token, or the journal of the validation cannot be written: the message names everything that was found.
pub(crate) fn check_access(
    clients: HostClients<'_>,
    validation: Option<&ValidationPlan>,
    data_dir: Option<&Path>,
) -> Result<(), ExchangeError> {
    let mut found = Preflight::default();
    found.check_run_access(clients, validation, data_dir);
    found.finish()
}

/// Checks what a validation needs, and changes nothing. `junit`: the file that is to have its results. Returns warnings of what could not be told.
///
/// # Errors
/// Something is missing: the message names everything that was found.
pub fn rehearse_validation(
    clients: HostClients<'_>,
    options: &ValidateOptions,
    junit: Option<&Path>,
) -> Result<Vec<String>, ExchangeError> {
    let mut found = Preflight::default();
    let mut warnings = Vec::new();
    if found.check_host(clients.client, true) {
        found.check_submitter(clients.submitter);
    }
    found.check_access("--journal", &options.journal);
    if let Some(junit) = junit {
        found.check_output("--junit", junit);
    }
    if let Some(data_dir) = &options.data_dir
        && found.check_database(data_dir)
    {
        found.take(check_data_dir(clients.client, data_dir));
    }
    if let Some(telemetry) = &options.telemetry {
        let endpoint = Endpoint {
            url: telemetry.clone(),
            token: None,
            ca: None,
        };
        let asked = HostClient::new(&endpoint).and_then(|client| client.get("/slos"));
        if found
            .take(asked.map_err(|error| format!("--telemetry: {error}")))
            .is_some()
        {
            let checked = found.take(check_telemetry(clients.client, telemetry));
            warnings.extend(checked.flatten());
        }
    }
    found.finish()?;
    Ok(warnings)
}

/// The path itself, or the nearest directory above that is there.
fn find_existing(path: &Path) -> PathBuf {
    let mut above = path.ancestors();
    let found = above.find(|path| path.as_os_str() != OsStr::new("") && path.exists());
    found.unwrap_or(Path::new(".")).to_owned()
}

/// What stands for the lock of a journal, which nothing that is run here may hold.
fn open_nothing() -> Result<File, ExchangeError> {
    let nothing = Path::new("/dev/null");
    File::open(nothing).map_err(ExchangeError::for_file(nothing))
}

/// What is run here ends by itself, or at its time-out.
const fn never() -> AtomicBool {
    AtomicBool::new(false)
}

/// The program with which a command of the shell begins; `None`: a variable, a quotation mark or the like keeps it from being read without running it.
fn find_program_name(command: &str) -> Option<&str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
    for word in command.split_whitespace() {
        let Some((_, value)) = word.split_once('=') else {
            let word = word.trim_end_matches(';');
            return (!word.is_empty() && word.chars().all(is_plain)).then_some(word);
        };
        // A value that is assigned may go on behind the space.
        let is_open = |mark| value.matches(mark).count() % 2 == 1;
        if is_open('\'') || is_open('"') || value.contains(['`', '\\', '(', '{']) {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found of one check.
    fn problems(check: impl FnOnce(&mut Preflight)) -> String {
        let mut found = Preflight::default();
        check(&mut found);
        found.problems.join("; ")
    }

    #[test]
    fn what_is_not_as_it_must_be_is_named_with_its_option() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "").unwrap();
        std::fs::create_dir(at("data")).unwrap();
        std::fs::write(at("data/ark.db"), [0; 100]).unwrap();
        type Check<'a> = Box<dyn FnOnce(&mut Preflight) + 'a>;
        let checks: Vec<(Check<'_>, &str)> = vec![
            (
                Box::new(|found| found.check_file("--config", &at("file"))),
                "",
            ),
            (
                Box::new(|found| found.check_file("--config", &at("none"))),
                "--config",
            ),
            (
                Box::new(|found| found.check_file("--config", &at("data"))),
                "it is no file",
            ),
            (Box::new(|found| found.check_data_dir(&at("data"))), ""),
            (
                Box::new(|found| found.check_data_dir(&at("none"))),
                "there is no such directory; give the directory of the host's data",
            ),
            (
                Box::new(|found| found.check_data_dir(&at("file"))),
                "it is no directory; give",
            ),
            (
                Box::new(|found| found.check_data_dir(dir.path())),
                "the database ark.db in it",
            ),
            (
                Box::new(|found| found.check_output("--junit", &at("a.xml"))),
                "",
            ),
            (
                Box::new(|found| found.check_output("--junit", &at("none/a.xml"))),
                "there is no directory",
            ),
            (
                Box::new(|found| found.check_output("--junit", &at("data"))),
                "it is a directory; name a file",
            ),
            (
                Box::new(|found| found.check_snapshots(&at("a/b/c"), &at("data"), 2)),
                "",
            ),
            (
                Box::new(|found| found.check_snapshots(&at("file"), &at("data"), 2)),
                "--snapshots",
            ),
            (
                Box::new(|found| found.check_snapshots(&at("file/a"), &at("data"), 2)),
                "is no directory",
            ),
            (
                Box::new(|found| found.check_snapshots(&at("a"), &at("data"), u64::MAX / 100)),
                "make room there",
            ),
            (
                Box::new(|found| found.check_snapshot(&at("data"))),
                "--snapshot",
            ),
            (Box::new(|found| found.check_command("sleep 0")), ""),
            (
                Box::new(|found| found.check_command("systemctl 'stop ark")),
                "`sh -n -c systemctl 'stop ark`",
            ),
            (
                Box::new(|found| found.check_command("A=b ./typo.sh stop")),
                "there is no program ./typo.sh",
            ),
            (
                Box::new(|found| found.check_command("A='b' C=\"$D\" ./typo.sh stop")),
                "there is no program ./typo.sh",
            ),
            (
                Box::new(|found| found.check_command("A='b c d' ./typo.sh stop")),
                "",
            ),
            (
                Box::new(|found| found.check_command("A=$(echo b c) ./typo.sh stop")),
                "",
            ),
            (Box::new(|found| found.check_command("\"$STOP\" ark")), ""),
            (
                Box::new(|found| found.check_command("if true; then true; fi")),
                "",
            ),
        ];
        for (number, (check, expected)) in checks.into_iter().enumerate() {
            let found = problems(check);
            assert_eq!(found.is_empty(), expected.is_empty(), "{number}: {found}");
            assert!(found.contains(expected), "{number}: {found}");
        }
        assert!(!at("a").exists(), "nothing is made");
    }
}
