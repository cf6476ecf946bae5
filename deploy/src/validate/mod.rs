//! `ark validate`: the tests that a host must pass after a deployment, with a probe agent of their own, and what else an operator wants to know
//! then.
//!
//! Invariants: every test asks the host and can fail. What it reads beside the API is the same host's. The probe is removed at the end; what was begun is
//! in the journal first, so that the next run removes what a killed one left. One run at a time has the probe of a host, by a lease at the host. No trade
//! is approved on record; where a host does so all the same, or holds a proposal, it is taken back.
//!
//! Reading order: [`validate_host`], [`places`], the table [`CASES`], [`probe`], [`lease`], then the rooms of the categories, [`withdrawal`], [`report`].
//!
//! Must not know: the host's own types, SQL, how anything is printed.

mod access;
mod beyond;
mod ethics;
mod flow;
mod isolation;
mod lease;
mod own_journal;
mod places;
mod probe;
mod report;
mod state;
mod watchdog;
mod withdrawal;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ark_client::{Answer, ClientError, HostClient};
use ark_model::ids::Millis;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::journal::{Journal, JournalError, JournalOwner, OWN_JOURNAL};

pub(crate) use access::{find_proposing_refusal, find_refusal};
pub use lease::{LeaseHolder, ProbeUser};
pub(crate) use places::{check_data_dir, check_telemetry};
pub use report::{CaseCounts, CaseResult, CaseStatus, ValidationReport};

use lease::{LeaseState, LeftRuns, ProbeLease};
use probe::ValidationProbe;
use withdrawal::{Withdrawal, Withdrawn};

/// What is said of a probe that is not the one that this run uploaded.
const REMOVED: &str = "somebody else has removed or replaced the probe";
/// The room that a validation needs in its journal, in bytes.
const VALIDATION_ROOM: u64 = 8 << 10;

/// What is tested.
#[derive(Debug, Clone)]
pub struct ValidateOptions {
    /// The categories that are tested; empty: all.
    pub categories: Vec<String>,
    /// The address of the host's telemetry, for its objectives.
    pub telemetry: Option<String>,
    /// The data directory of the host, where it is on this machine: its record is read from there.
    pub data_dir: Option<PathBuf>,
    /// Where the journal is.
    pub journal: PathBuf,
    /// How long something that must come is waited for; what has a bound of its own is held to that.
    pub patience: Duration,
}

/// Why a host cannot be validated. Nothing was left behind that the journal does not name.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    /// A request failed before the tests began, or while the probe was removed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A token may not do what a validation does. Nothing was begun.
    #[error("nothing was begun: {0}")]
    Access(String),
    /// What is read beside the API is another host's. Nothing was begun.
    #[error(
        "nothing was begun: the host that answers at {url} ({answering}) is not the one of {option} {place} ({other}); correct --url or {option}, so that both are those of the host that is validated, or {without}"
    )]
    OtherHost {
        /// The address.
        url: String,
        /// What answers there.
        answering: String,
        /// The option that names the other place.
        option: &'static str,
        /// The place.
        place: String,
        /// What is there.
        other: String,
        /// How to do without.
        without: &'static str,
    },
    /// Another validation uses the probe, for longer than this one waits.
    #[error(
        "another validation of the host goes on ({0}), and there can be one at a time: wait for its end, then run this again"
    )]
    Busy(ProbeUser),
    /// Somebody else removed the probe or took it over during the tests, so that these say nothing.
    #[error("{0}, so that the tests of this run say nothing of the host: run it again")]
    Disturbed(String),
    /// There is no such category.
    #[error("there is no category {given}; there are {}", known.join(", "))]
    Category {
        /// What was asked for.
        given: String,
        /// Those there are.
        known: Vec<&'static str>,
    },
}

impl ValidateError {
    /// The error in an exchange, which has no option for the journal.
    pub(crate) fn in_exchange(self) -> Self {
        match self {
            Self::Journal(error) => Self::Journal(error.with_option(None)),
            error => error,
        }
    }

    /// Whether the host was not validated because of another validation. It says nothing of the host; the same may pass later.
    #[must_use]
    pub const fn is_of_another_run(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Disturbed(_))
    }
}

/// What happens in a validation.
#[derive(Debug)]
pub enum ValidationEvent<'a> {
    /// A test begins, or what comes before or behind them.
    Begun(&'a str),
    /// Another validation is waited for.
    Waiting(&'a str),
    /// A validation has proposed something that stays open at the host.
    LeftOpen(&'a str),
    /// Something could not be told, and is taken for granted.
    Warning(&'a str),
    /// A test has ended.
    Ended(&'a CaseResult),
}

/// Why a test does not pass.
#[derive(Debug, PartialEq, Eq)]
enum CaseFailure {
    /// The host does not do what it must.
    Problem(String),
    /// The validation is to stop, so that the test says nothing.
    Interrupted,
}

impl From<String> for CaseFailure {
    fn from(problem: String) -> Self {
        Self::Problem(problem)
    }
}

impl From<&str> for CaseFailure {
    fn from(problem: &str) -> Self {
        Self::Problem(problem.to_owned())
    }
}

impl From<ClientError> for CaseFailure {
    fn from(error: ClientError) -> Self {
        Self::Problem(error.to_string())
    }
}

/// What the tests work with.
struct TestContext<'a> {
    /// Reads and operates.
    client: &'a HostClient,
    /// Proposes and sends signals.
    submitter: &'a HostClient,
    probe: ValidationProbe<'a>,
    options: &'a ValidateOptions,
    /// The trace of what this run proposes itself, by which the next run finds what a killed one left open: the journal names it.
    trace: &'a str,
    /// Sets the proposals of this run apart from those of another: an agent that proposes the identical action again and again is denied.
    run: Millis,
}

/// What a test saw that makes it pass, or why it was not made.
#[derive(Debug, PartialEq, Eq)]
enum TestOutcome {
    Passed(String),
    Skipped(String),
}

impl<'a> TestContext<'a> {
    /// Proposes something on record, in the trace of this run. Returns the decision. Where there is no answer, nothing of what the host may have decided
    /// stays.
    fn propose_recorded(&self, action: &Value) -> Result<Value, CaseFailure> {
        let mut action = action.clone();
        action["trace_id"] = Value::from(self.trace);
        let answer = self
            .submitter
            .send_json("POST", "/v1/actions", &[], &action)
            .and_then(Answer::into_success);
        answer.map_err(|error| {
            format!("{error}{}", self.withdrawal().describe_trace(self.trace)).into()
        })
    }

    /// Takes back what the host wrongly approved or held.
    fn withdrawal(&self) -> Withdrawal<'a> {
        Withdrawal {
            client: self.client,
            submitter: self.submitter,
        }
    }
}

/// A test: its category, its name, and what makes it.
struct TestCase {
    category: &'static str,
    name: &'static str,
    run: fn(&TestContext<'_>) -> Result<TestOutcome, CaseFailure>,
}

const fn define_case(
    category: &'static str,
    name: &'static str,
    run: fn(&TestContext<'_>) -> Result<TestOutcome, CaseFailure>,
) -> TestCase {
    TestCase {
        category,
        name,
        run,
    }
}

/// The tests in their order. The probe is put into quarantine last, and taken out again.
#[rustfmt::skip]
const CASES: [TestCase; 20] = [
    define_case("ethics", "position-size", ethics::test_position_size),
    define_case("ethics", "leverage", ethics::test_leverage),
    define_case("ethics", "stop-loss", ethics::test_stop_loss),
    define_case("ethics", "valid-proposal", ethics::test_valid_proposal),
    define_case("flow", "end-to-end", flow::test_end_to_end),
    define_case("flow", "one-trace", flow::test_one_trace),
    define_case("state", "history-contiguous", state::test_history),
    define_case("state", "rollback", state::test_rollback),
    define_case("state", "every-change-versioned", state::test_versions),
    define_case("watchdog", "missed-heartbeat", watchdog::test_missed_heartbeat),
    define_case("watchdog", "intervals", watchdog::test_intervals),
    define_case("isolation", "failing-agent", isolation::test_failing_agent),
    define_case("isolation", "nothing-delivered", isolation::test_nothing_delivered),
    define_case("beyond", "pin-and-vectors", beyond::test_pin),
    define_case("beyond", "ready", beyond::test_ready),
    define_case("beyond", "events-resume", beyond::test_events_resume),
    define_case("beyond", "audit-log", beyond::test_chain),
    define_case("beyond", "state-history", beyond::test_state_chain),
    define_case("beyond", "replay", beyond::test_replay),
    define_case("beyond", "objectives", beyond::test_objectives),
];

/// The categories, in the order of their tests.
#[must_use]
pub fn list_categories() -> Vec<&'static str> {
    let mut known: Vec<&str> = CASES.iter().map(|case| case.category).collect();
    known.dedup();
    known
}

/// The tests of some categories, as `CATEGORY/NAME`; none: all.
///
/// # Errors
/// There is no such category.
pub fn list_cases(categories: &[String]) -> Result<Vec<String>, ValidateError> {
    let cases = select_cases(categories)?.into_iter();
    Ok(cases
        .map(|case| format!("{}/{}", case.category, case.name))
        .collect())
}

fn select_cases(categories: &[String]) -> Result<Vec<&'static TestCase>, ValidateError> {
    let known = list_categories();
    if let Some(given) = categories
        .iter()
        .find(|given| !known.contains(&given.as_str()))
    {
        return Err(ValidateError::Category {
            given: given.clone(),
            known,
        });
    }
    let is_wanted = |case: &&TestCase| {
        categories.is_empty() || categories.iter().any(|wanted| wanted == case.category)
    };
    static ALL: [TestCase; 20] = CASES;
    Ok(ALL.iter().filter(is_wanted).collect())
}

/// Whose journal that of a host's validations is.
fn owner_for(client: &HostClient) -> JournalOwner {
    JournalOwner {
        command: "ark validate",
        host: ark_client::normalize_address(client.url()),
        option: OWN_JOURNAL,
    }
}

/// Reserves the room of a validation in its journal, for one of an exchange that must not fail for a disk that is filled meanwhile.
pub(crate) fn reserve_validation(client: &HostClient, path: &Path) -> Result<(), JournalError> {
    // An exchange has no option for it.
    let owner = JournalOwner {
        option: None,
        ..owner_for(client)
    };
    match Journal::open::<ProbeEntry>(path, &owner) {
        Ok((journal, _)) => journal.reserve_room(VALIDATION_ROOM),
        // Another run has what it needs.
        Err(JournalError::InUse { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ProbeEntry {
    /// The probe is about to be uploaded, by an earlier version of this program.
    Uploading,
    /// This run is about to take the lease of the host, then to upload the probe.
    Begun { run: String },
}

fn list_left_runs(entries: Vec<ProbeEntry>) -> LeftRuns {
    LeftRuns {
        has_any: !entries.is_empty(),
        runs: entries
            .into_iter()
            .filter_map(|entry| match entry {
                ProbeEntry::Uploading => None,
                ProbeEntry::Begun { run } => Some(run),
            })
            .collect(),
    }
}

/// Tests a host. `client` operates it, `submitter` proposes and sends signals, which an operator's token may not; with an administrator's they are
/// one. `tell` is told what happens. Another run of the host is waited for. What an earlier run left behind is removed first, the probe at the
/// end, also when `stop` is set meanwhile; then the tests that are left are not made.
///
/// # Errors
/// The tests cannot begin, somebody else takes the probe away, or it cannot be removed: see [`ValidateError`]. A test that fails is part of the report.
pub fn validate_host(
    client: &HostClient,
    submitter: &HostClient,
    options: &ValidateOptions,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(ValidationEvent<'_>),
) -> Result<ValidationReport, ValidateError> {
    let cases = select_cases(&options.categories)?;
    let probe = ValidationProbe {
        client,
        submitter,
        patience: options.patience,
        stop,
    };
    access::check_tokens(client, submitter)?;
    if let Some(data_dir) = &options.data_dir {
        check_data_dir(client, data_dir)?;
    }
    let mut warnings = Vec::new();
    if let Some(telemetry) = &options.telemetry
        && let Some(warning) = check_telemetry(client, telemetry)?
    {
        tell(ValidationEvent::Warning(&warning));
        warnings.push(warning);
    }
    let (path, owner) = (&options.journal, owner_for(client));
    let opened = own_journal::open_own::<ProbeEntry>(path, &owner, options.patience, stop, tell)?;
    let Some((mut journal, entries)) = opened else {
        return Ok(report_rest(&cases, Vec::new(), true));
    };
    let left = list_left_runs(entries);
    let mut note = |run: &str| -> Result<(), ValidateError> {
        let run = run.to_owned();
        journal.record_entry(&ProbeEntry::Begun { run })?;
        Ok(())
    };
    let acquired = ProbeLease::acquire(&probe, &left, &mut note, stop, tell);
    // The host has nothing of this run.
    if matches!(acquired, Ok(None) | Err(ValidateError::Busy(_))) && !left.has_any {
        journal.clear_entries()?;
    }
    let Some(lease) = acquired? else {
        return Ok(report_rest(&cases, Vec::new(), true));
    };
    let bench = TestContext {
        client,
        submitter,
        probe,
        options,
        trace: lease.run(),
        run: Millis::now(),
    };
    let (is_over, ended) = mpsc::channel();
    let made = std::thread::scope(|scope| {
        let lease = &lease;
        scope.spawn(move || lease.keep_renewed(&ended));
        let made = make_tests(&bench, lease, &left, &cases, tell);
        drop(is_over);
        made
    });
    let made = made?;
    lease.give_back()?;
    // What these tokens may not take back is for a later run, to which the journal names the runs.
    if !made.leaves_open {
        journal.clear_entries()?;
    }
    let results = made.results?;
    let interrupted = results.len() < cases.len() || stop.load(Ordering::Relaxed);
    let mut report = report_rest(&cases, results, interrupted);
    report.warnings = warnings;
    Ok(report)
}

/// The report of the tests that were made; the others were not, because of an interruption.
fn report_rest(cases: &[&TestCase], made: Vec<CaseResult>, interrupted: bool) -> ValidationReport {
    let mut results = made;
    for case in cases.iter().skip(results.len()) {
        let reason = "the validation was interrupted before it".to_owned();
        let outcome = Ok(TestOutcome::Skipped(reason));
        results.push(CaseResult::new(case, outcome, Duration::ZERO));
    }
    ValidationReport::new(results, interrupted, None)
}

/// What became of the tests.
struct MadeTests {
    /// The results, or why the tests say nothing.
    results: Result<Vec<CaseResult>, ValidateError>,
    /// Whether the host has something open still, of this run or of an earlier one.
    leaves_open: bool,
}

/// Uploads the probe, makes the tests and removes the probe.
///
/// # Errors
/// The probe cannot be removed: the journal names it still.
fn make_tests(
    bench: &TestContext<'_>,
    lease: &ProbeLease<'_>,
    left: &LeftRuns,
    cases: &[&TestCase],
    tell: &mut dyn FnMut(ValidationEvent<'_>),
) -> Result<MadeTests, ValidateError> {
    let probe = &bench.probe;
    let mut left_open = Vec::new();
    if lease.has_leftover {
        tell(ValidationEvent::Begun("removing what an earlier run left"));
        probe.remove_probe()?;
        let runs = left.runs.iter().map(String::as_str);
        let runs = runs.chain(lease.taken_over.as_deref());
        left_open = bench.withdrawal().withdraw_left(runs)?;
        tell_open(&left_open, &[], tell);
    }
    tell(ValidationEvent::Begun("uploading the probe"));
    let uploaded = probe.upload_probe();
    let mut serving = None;
    let mut disturbance = None;
    if uploaded.is_err() {
        disturbance = find_disturbance(probe, lease, None);
    } else if let Ok(found) = probe.find_serving() {
        serving = found;
        disturbance = found.is_none().then(|| REMOVED.to_owned());
    }
    let mut results = Vec::new();
    for case in cases {
        if uploaded.is_err() || disturbance.is_some() || probe.is_stopped() {
            break;
        }
        tell(ValidationEvent::Begun(case.name));
        let started = Instant::now();
        let outcome = (case.run)(bench);
        let wanted = serving.filter(|_| outcome.is_err());
        disturbance = find_disturbance(probe, lease, wanted);
        if disturbance.is_some() {
            break;
        }
        let result = CaseResult::new(case, outcome, started.elapsed());
        tell(ValidationEvent::Ended(&result));
        results.push(result);
    }
    tell(ValidationEvent::Begun("removing the probe"));
    // What another run has now is not this one's to remove.
    let is_own = match lease.find_other_user()? {
        LeaseState::Held => true,
        LeaseState::Taken(_) => false,
        LeaseState::Gone => serving.is_some() && probe.find_serving()? == serving,
    };
    let mut open = if is_own {
        probe.remove_probe()?;
        bench.withdrawal().withdraw_left([lease.run()])?
    } else {
        bench.withdrawal().withdraw_trace(lease.run())?
    };
    // What an earlier run left is told already.
    open.retain(|one| matches!(one, Withdrawn::Open { .. }) && !left_open.contains(one));
    tell_open(&open, &results, tell);
    let leaves_open = !(left_open.is_empty() && open.is_empty());
    let results = match (disturbance, uploaded) {
        (Some(disturbance), _) => Err(ValidateError::Disturbed(disturbance)),
        (None, Err(error)) => Err(error.into()),
        (None, Ok(())) => Ok(results),
    };
    Ok(MadeTests {
        results,
        leaves_open,
    })
}

/// Tells of what stays open at the host, but for what a test that failed has named.
fn tell_open(open: &[Withdrawn], made: &[CaseResult], tell: &mut dyn FnMut(ValidationEvent<'_>)) {
    for one in open {
        let is_named = made.iter().any(|result| one.is_named_in(&result.detail));
        if !is_named && let Some(text) = one.describe() {
            tell(ValidationEvent::LeftOpen(&text));
        }
    }
}

/// What somebody else did to the probe, if the host shows that. `wanted`: the version of the probe that must serve; `None`: it is not looked at.
fn find_disturbance(
    probe: &ValidationProbe<'_>,
    lease: &ProbeLease<'_>,
    wanted: Option<u64>,
) -> Option<String> {
    match lease.find_other_user().ok()? {
        LeaseState::Taken(holder) => {
            return Some(format!("another validation has taken the probe ({holder})"));
        }
        LeaseState::Gone => {
            return Some("somebody else has removed the probe's state".to_owned());
        }
        LeaseState::Held => {}
    }
    let wanted = wanted?;
    (probe.find_serving().ok()? != Some(wanted)).then(|| REMOVED.to_owned())
}

/// The report of a validation that did not come to its end: what was made by then, and the rest of the categories' tests as not made. `error`: why, or that
/// it goes on. Of categories that there are not it has no tests.
#[must_use]
pub fn report_unfinished(
    categories: &[String],
    made: Vec<CaseResult>,
    error: &str,
) -> ValidationReport {
    let cases = select_cases(categories).unwrap_or_default();
    let mut results = made;
    for case in cases.iter().skip(results.len()) {
        let reason = "the validation ended before it with an error".to_owned();
        let outcome = Ok(TestOutcome::Skipped(reason));
        results.push(CaseResult::new(case, outcome, Duration::ZERO));
    }
    ValidationReport::new(results, false, Some(error.to_owned()))
}
