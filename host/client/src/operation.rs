//! Uploads that the host accepts before it compiles them: how they are sent, and how their end is waited for.

use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::{Request, request};

use crate::answer::Answer;
use crate::connection::{AwaitedWork, HostClient, OutgoingBody};
use crate::error::ClientError;

/// The time between two questions grows to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// For how long a host may give no answer while an operation is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// How far an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadStage {
    /// The host has accepted it and compiles others before.
    Waiting,
    /// The host compiles and tries it.
    Compiling,
}

impl HostClient {
    /// Uploads JSON, and waits until the host has compiled what is in it. Returns what a request without an operation is answered with.
    ///
    /// # Errors
    /// As [`HostClient::send`].
    pub fn upload(&self, method: &str, path: &str, body: &Value) -> Result<Answer, ClientError> {
        let request = Request::builder().method(method);
        self.send_upload(request, path, OutgoingBody::Text(body.to_string()), |_| ())
    }

    /// Sends an upload and waits until it is in force or refused. `on_stage` is called with each stage, repeatedly. Returns what a request
    /// without an operation is answered with.
    ///
    /// # Errors
    /// As [`HostClient::send`].
    pub fn send_upload(
        &self,
        request: request::Builder,
        path: &str,
        body: OutgoingBody,
        mut on_stage: impl FnMut(UploadStage),
    ) -> Result<Answer, ClientError> {
        let request = request.header("Prefer", "respond-async");
        let accepted = self.send(request, path, body, AwaitedWork::Compilation)?;
        let Some(id) = read_operation_id(&accepted) else {
            return Ok(accepted);
        };
        let path = format!("/v1/operations/{}", crate::escape_query(&id));
        let mut pause = Duration::from_millis(50);
        let mut answered = Instant::now();
        loop {
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
            let answer = match self.get(&path) {
                Ok(answer) => answer,
                // It goes on at the host whether or not it is asked.
                Err(ClientError::NoAnswer { .. } | ClientError::CutOff(_))
                    if answered.elapsed() < PATIENCE =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            if is_busy(&answer) && answered.elapsed() < PATIENCE {
                continue;
            }
            answered = Instant::now();
            match answer.body["state"].as_str() {
                Some("accepted") => on_stage(UploadStage::Waiting),
                Some("compiling") => on_stage(UploadStage::Compiling),
                Some("succeeded") => {
                    return Ok(Answer {
                        status: 200,
                        body: answer.body["result"].clone(),
                    });
                }
                Some("failed") => return Ok(read_problem(&answer.body["problem"])),
                // The host does not know it any more; its answer says what to do.
                _ => return Ok(answer),
            }
        }
    }
}

/// The id of the operation that a request became.
fn read_operation_id(answer: &Answer) -> Option<String> {
    if answer.status != 202 {
        return None;
    }
    answer.body["id"].as_str().map(str::to_owned)
}

fn is_busy(answer: &Answer) -> bool {
    matches!(answer.status, 429 | 503)
}

/// The answer that the problem of an operation is.
fn read_problem(problem: &Value) -> Answer {
    let status = problem["status"].as_u64().and_then(|it| it.try_into().ok());
    Answer {
        status: status.unwrap_or(500),
        body: problem.clone(),
    }
}
