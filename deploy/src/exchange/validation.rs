//! The validation of a host that was exchanged.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ark_client::HostClient;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::validate::{
    CaseStatus, ValidateError, ValidateOptions, ValidationEvent, ValidationReport,
    report_unfinished, validate_host,
};

/// How often a validation is made again that somebody else disturbed.
const MAX_REPEATS: u32 = 5;

/// Who asks the host.
#[derive(Clone, Copy)]
pub struct HostClients<'a> {
    /// Operates the host.
    pub client: &'a HostClient,
    /// Proposes and sends signals in the validation.
    pub submitter: &'a HostClient,
}

/// How a version is validated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidationPlan {
    /// The categories; empty: all.
    pub categories: Vec<String>,
    /// How long something that must come is waited for.
    pub patience: Duration,
    /// The journal of the validation.
    pub journal: PathBuf,
    /// The address of the host's telemetry, for its objectives; `None`: it is not known.
    // An exchange that an earlier build began has none.
    #[serde(default)]
    pub telemetry: Option<String>,
}

/// The result of a validation, in words.
pub(crate) enum Validated {
    /// Every test that was made passed.
    Passed(String),
    /// These failed.
    Failed(String),
    /// It was ended before its last test.
    Interrupted,
}

impl ValidationPlan {
    /// Validates the host; another run is waited for, and one that it disturbs is repeated. `data_dir`: the data directory, where this program can read
    /// its record. `tell` is told the result of each test. Returns no report where `stop` was set before there was one.
    pub(crate) fn run_validation(
        &self,
        clients: HostClients<'_>,
        data_dir: Option<PathBuf>,
        stop: &AtomicBool,
        tell: &mut dyn FnMut(&str, Value),
    ) -> Result<(Option<ValidationReport>, Validated), ValidateError> {
        let options = ValidateOptions {
            categories: self.categories.clone(),
            telemetry: self.telemetry.clone(),
            data_dir,
            journal: self.journal.clone(),
            patience: self.patience,
        };
        let report = match repeat_validation(clients, &options, stop, tell) {
            Ok(Some(report)) => report,
            Ok(None) => return Ok((None, Validated::Interrupted)),
            // The host serves all the same, and to go on would change nothing.
            Err(error @ ValidateError::OtherHost { .. }) => {
                let problem = error.to_string();
                let report = report_unfinished(&self.categories, Vec::new(), &problem);
                return Ok((Some(report), Validated::Failed(problem)));
            }
            Err(error) => return Err(error),
        };
        let failed: Vec<String> = report
            .cases
            .iter()
            .filter(|case| case.status == CaseStatus::Failed)
            .map(|case| format!("{}/{}: {}", case.category, case.name, case.detail))
            .collect();
        let result = if report.interrupted {
            Validated::Interrupted
        } else if failed.is_empty() {
            Validated::Passed(format!("{} tests passed", report.count(CaseStatus::Passed)))
        } else {
            Validated::Failed(failed.join("; "))
        };
        Ok((Some(report), result))
    }
}

/// Validates a host, again where another run disturbed the tests. Returns `None` if `stop` was set meanwhile.
fn repeat_validation(
    clients: HostClients<'_>,
    options: &ValidateOptions,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&str, Value),
) -> Result<Option<ValidationReport>, ValidateError> {
    let HostClients { client, submitter } = clients;
    let mut repeats = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut told = |event: ValidationEvent<'_>| match event {
            ValidationEvent::Begun(_) => {}
            ValidationEvent::Waiting(text)
            | ValidationEvent::LeftOpen(text)
            | ValidationEvent::Warning(text) => {
                tell("validation", json!({"reason": text}));
            }
            ValidationEvent::Ended(case) => {
                let reason = format!("{}/{}: {}", case.category, case.name, case.detail);
                tell(
                    "validation",
                    json!({"result": case.status, "reason": reason}),
                );
            }
        };
        match validate_host(client, submitter, options, stop, &mut told) {
            Err(error @ ValidateError::Disturbed(_)) if repeats < MAX_REPEATS => {
                repeats += 1;
                let reason = format!("{error}; the validation is repeated");
                tell("validation", json!({"reason": reason}));
            }
            ended => return ended.map(Some).map_err(ValidateError::in_exchange),
        }
    }
    Ok(None)
}

/// The step of a validation, for people.
pub(crate) fn describe_validation(plan: Option<&ValidationPlan>) -> String {
    plan.map_or_else(
        || "validation: none is wanted".to_owned(),
        |plan| {
            let objectives = plan
                .telemetry
                .as_ref()
                .map_or_else(String::new, |url| format!(", with the objectives at {url}"));
            format!("validation: as `ark validate`{objectives}")
        },
    )
}
