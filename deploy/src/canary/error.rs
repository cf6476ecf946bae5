//! Why a canary cannot begin, or cannot be undone.

use std::path::PathBuf;

use ark_client::ClientError;

use crate::exchange::ExchangeError;
use crate::haproxy::HaproxyError;
use crate::journal::JournalError;

use super::measure::MeasureError;

/// Why a canary cannot begin, or cannot be undone.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// `HAProxy` refuses something.
    #[error(transparent)]
    Haproxy(#[from] HaproxyError),
    /// A measurement cannot be made.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// The host does not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The take-over, or its way back, does not go on.
    #[error(transparent)]
    TakeOver(#[from] ExchangeError),
    /// The stable version does not come back.
    #[error(
        "the way back to the stable version, of `{reason}`, does not go on: {cause}; `ark canary abort` tries again"
    )]
    WayBack {
        /// Why the canary goes back.
        reason: String,
        /// What is wrong.
        cause: Box<ExchangeError>,
    },
    /// A canary is under way.
    #[error(
        "the canary {0} was begun and has not ended: `ark canary resume` goes on with it, `ark canary abort` undoes it"
    )]
    Unfinished(String),
    /// No canary is under way.
    #[error("no canary is under way for {0}")]
    None(String),
    /// The front is not as it must be before a canary.
    #[error("{0}")]
    Front(String),
    /// The file for requests cannot be written.
    #[error("{path}: {cause}", path = path.display())]
    Request {
        /// The file.
        path: PathBuf,
        /// What the system reports.
        cause: std::io::Error,
    },
}
