//! The lease of a host for one validation: a key of the probe's state at the host, so that runs exclude each other wherever their journals are.
//!
//! Invariants: of two runs that take it at once the host lets one have it, by the revision that both expect. Who has it renews it. A lease that was not
//! renewed for [`QUIET`] is a leftover; one that this run's journal names is a leftover at once.
//!
//! Must not know: the tests, the journal's form.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use ark_client::members::{array_field, text_field};
use ark_client::{Answer, ClientError, HostClient, join_path};
use ark_model::ids::{Millis, TraceId};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::probe::{LEASE_KEY, PROBE, ValidationProbe};
use super::{ValidateError, ValidationEvent};

/// How often the lease is renewed.
const RENEWED_EVERY: Duration = Duration::from_secs(3);
/// How long a lease that is not renewed is taken for that of a run that goes on: five renewals may fail.
const QUIET: Duration = Duration::from_secs(15);
/// The same of a probe without a lease, which an earlier version uploaded: longer than any of its tests leaves the state unchanged.
const QUIET_WITHOUT_LEASE: Duration = Duration::from_secs(60);
/// How many times the patience of a run another one is waited for.
const PATIENCE_FACTOR: u32 = 10;
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(300);

/// How long a run of this patience waits for another one.
pub(super) fn longest_wait(patience: Duration) -> Duration {
    QUIET + patience * PATIENCE_FACTOR
}

/// The run that has a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseHolder {
    run: String,
    since: Millis,
    by: String,
    revision: u64,
}

impl fmt::Display for LeaseHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {}", self.run)?;
        let since = i64::try_from(self.since.0 / 1000).ok();
        if let Some(since) = since.and_then(|at| Timestamp::from_second(at).ok()) {
            write!(f, ", since {since}")?;
        }
        if !self.by.is_empty() {
            write!(f, ", by {}", self.by)?;
        }
        Ok(())
    }
}

/// Who uses the probe of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeUser {
    /// A run with a lease.
    Run(LeaseHolder),
    /// A run of an earlier version, which takes none.
    Unnamed,
    /// A run that has the journal of this one.
    WithJournal(PathBuf),
}

impl fmt::Display for ProbeUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(holder) => holder.fmt(f),
            Self::Unnamed => write!(f, "of an earlier version of `ark`"),
            Self::WithJournal(journal) => {
                write!(f, "with this journal: {}", journal.display())
            }
        }
    }
}

/// A lease that this run has.
pub(super) struct ProbeLease<'a> {
    client: &'a HostClient,
    run: String,
    since: Millis,
    revision: AtomicU64,
    /// Whether an earlier run may have left something behind.
    pub(super) has_leftover: bool,
    /// The run that had it before and did not give it back.
    pub(super) taken_over: Option<String>,
}

/// The host has another revision than the one that a change expects.
const CONFLICT: u16 = 409;

impl<'a> ProbeLease<'a> {
    /// Takes the lease of a host. A run that goes on is waited for, and `tell` is told of it. `left`: the runs whose leftovers the journal names; `note`
    /// notes this one there, before the host has its lease. Returns `None` if `stop` was set first.
    ///
    /// # Errors
    /// [`ValidateError::Busy`]: another run goes on for too long. The host does not answer, or the journal takes no entry.
    pub(super) fn acquire(
        probe: &ValidationProbe<'a>,
        left: &LeftRuns,
        note: &mut dyn FnMut(&str) -> Result<(), ValidateError>,
        stop: &AtomicBool,
        tell: &mut dyn FnMut(ValidationEvent<'_>),
    ) -> Result<Option<Self>, ValidateError> {
        let mut lease = Self {
            client: probe.client,
            run: TraceId::fresh().to_string(),
            since: Millis::now(),
            revision: AtomicU64::new(0),
            has_leftover: false,
            taken_over: None,
        };
        let begun = Instant::now();
        let mut activity = ActivityWatch::default();
        let mut waited_for = None;
        let mut is_noted = false;
        while !stop.load(Ordering::Relaxed) {
            let holder = read_holder(probe.client)?;
            let is_used = holder.is_some() || probe.find_serving()?.is_some();
            let is_free = !is_used || left.includes(holder.as_ref());
            let expected = holder.as_ref().map_or(0, |holder| holder.revision);
            let quiet = holder.as_ref().map_or(QUIET_WITHOUT_LEASE, |_| QUIET);
            let before = holder.as_ref().map(|holder| holder.run.clone());
            let user = holder.map_or(ProbeUser::Unnamed, ProbeUser::Run);
            if is_free || activity.observe(probe.client)? >= quiet {
                if !is_noted {
                    note(&lease.run)?;
                    is_noted = true;
                }
                let answer = lease.write(expected)?;
                if answer.status != CONFLICT {
                    let revision = read_revision(&answer.into_success()?);
                    lease.revision = AtomicU64::new(revision);
                    lease.has_leftover = left.has_any || probe.is_known()?;
                    lease.taken_over = before;
                    return Ok(Some(lease));
                }
                // Another run was first.
            }
            if begun.elapsed() >= quiet + probe.patience * PATIENCE_FACTOR {
                return Err(ValidateError::Busy(user));
            }
            let text = format!("waiting for the end of another validation of the host ({user})");
            if waited_for.as_ref() != Some(&text) && is_used {
                tell(ValidationEvent::Waiting(&text));
                waited_for = Some(text);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(None)
    }

    /// The id of this run, which is that of a trace too.
    pub(super) fn run(&self) -> &str {
        &self.run
    }

    fn write(&self, expected: u64) -> Result<Answer, ClientError> {
        let body = json!({
            "value": {"run": self.run, "since_ms": self.since},
            "expected_revision": expected,
        });
        self.client.send_json("PUT", &lease_path(), &[], &body)
    }

    /// Renews the lease until the other end of `ended` is dropped. What cannot be renewed is found by [`Self::find_other_user`].
    pub(super) fn keep_renewed(&self, ended: &Receiver<()>) {
        while ended.recv_timeout(RENEWED_EVERY) == Err(RecvTimeoutError::Timeout) {
            let renewed = self.write(self.revision.load(Ordering::Relaxed));
            match renewed.and_then(Answer::into_success) {
                Ok(changed) => self
                    .revision
                    .store(read_revision(&changed), Ordering::Relaxed),
                // An answer may have been lost whose change was made.
                Err(_) => {
                    if let Ok(Some(holder)) = read_holder(self.client)
                        && holder.run == self.run
                    {
                        self.revision.store(holder.revision, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Whether this run has the lease still; else the run that has it, if there is one.
    ///
    /// # Errors
    /// The host does not answer.
    pub(super) fn find_other_user(&self) -> Result<LeaseState, ClientError> {
        Ok(match read_holder(self.client)? {
            Some(holder) if holder.run == self.run => LeaseState::Held,
            Some(holder) => LeaseState::Taken(holder),
            None => LeaseState::Gone,
        })
    }

    /// Gives the lease back, as the last thing of a run.
    ///
    /// # Errors
    /// The host does not answer, or refuses the change.
    pub(super) fn give_back(&self) -> Result<(), ClientError> {
        let Some(holder) = read_holder(self.client)? else {
            return Ok(());
        };
        if holder.run != self.run {
            return Ok(());
        }
        let path = format!("{}?expected_revision={}", lease_path(), holder.revision);
        let answer = self.client.send_json("DELETE", &path, &[], &Value::Null)?;
        match answer.status {
            404 | CONFLICT => Ok(()),
            _ => answer.into_success().map(drop),
        }
    }
}

/// What became of a lease.
pub(super) enum LeaseState {
    Held,
    Taken(LeaseHolder),
    Gone,
}

/// The runs whose leftovers a journal names.
#[derive(Debug, Default)]
pub(super) struct LeftRuns {
    pub(super) runs: Vec<String>,
    /// Whether it names any, also of an earlier version, which names none by its id.
    pub(super) has_any: bool,
}

impl LeftRuns {
    fn includes(&self, holder: Option<&LeaseHolder>) -> bool {
        match holder {
            Some(holder) => self.runs.contains(&holder.run),
            None => self.has_any,
        }
    }
}

/// How long nothing has happened to the probe's state. By this machine's clock alone, which no clock of the host can contradict.
#[derive(Default)]
struct ActivityWatch(Option<(Vec<(String, u64)>, Instant)>);

impl ActivityWatch {
    fn observe(&mut self, client: &HostClient) -> Result<Duration, ClientError> {
        let path = join_path(&["v1", "state", PROBE]);
        let answer = client.get(&path)?;
        let keys = match answer.status {
            404 => Value::Null,
            _ => answer.into_success()?,
        };
        let keys = array_field(&keys, "keys").iter();
        let found = keys
            .map(|line| (text_field(line, "key").to_owned(), read_revision(line)))
            .collect();
        match &self.0 {
            Some((seen, since)) if *seen == found => Ok(since.elapsed()),
            _ => {
                self.0 = Some((found, Instant::now()));
                Ok(Duration::ZERO)
            }
        }
    }
}

fn lease_path() -> String {
    join_path(&["v1", "state", PROBE, LEASE_KEY])
}

fn read_revision(value: &Value) -> u64 {
    let revision = value.get("revision").and_then(Value::as_u64);
    revision.unwrap_or_default()
}

/// The run that has the lease of a host; `None`: nobody has.
fn read_holder(client: &HostClient) -> Result<Option<LeaseHolder>, ClientError> {
    let answer = client.get(&lease_path())?;
    if answer.status == 404 {
        return Ok(None);
    }
    let entry = answer.into_success()?;
    let value = entry.get("value").unwrap_or(&Value::Null);
    let since = value.get("since_ms").and_then(Value::as_u64);
    Ok(Some(LeaseHolder {
        run: text_field(value, "run").to_owned(),
        since: Millis(since.unwrap_or_default()),
        by: text_field(&entry, "written_by").to_owned(),
        revision: read_revision(&entry),
    }))
}
