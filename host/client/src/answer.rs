//! A host's answer: its status and its JSON body.

use serde_json::Value;

use crate::error::ClientError;
use crate::members::is_true;

/// An answer with a JSON body.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Value,
}

impl Answer {
    /// Whether a host answers `GET /readyz` with this and is ready. Another server that answers 200 to everything is not.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status == 200 && is_true(&self.body, "ready")
    }

    /// Returns the body of an answer that reports success.
    ///
    /// # Errors
    /// The host answers with a problem; the error has the problem's detail and remedy.
    pub fn into_success(self) -> Result<Value, ClientError> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        let member = |name: &str| {
            let text = self.body.get(name).and_then(Value::as_str).unwrap_or("");
            text.to_owned()
        };
        Err(ClientError::Problem {
            status: self.status,
            kind: member("type"),
            detail: member("detail"),
            remedy: member("remedy"),
        })
    }
}
