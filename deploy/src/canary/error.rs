//! Why a canary cannot begin, or cannot be undone.

use std::path::PathBuf;
use std::time::Duration;

use ark_client::ClientError;
use rustix::io::Errno;

use crate::exchange::ExchangeError;
use crate::exclusion::ExclusionError;
use crate::haproxy::HaproxyError;
use crate::journal::JournalError;

use super::analysis::MeasureError;

impl CanaryError {
    /// The process that runs the canary and takes no request, if that is what is wrong.
    pub(crate) fn find_silent(&self) -> Option<u32> {
        match self {
            Self::Silent { pid, .. } => Some(*pid),
            Self::Behind { cause, .. } => cause.find_silent(),
            _ => None,
        }
    }

    /// Whether an order was not placed since the disk has no room for it.
    pub(super) fn is_without_room(&self) -> bool {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let Self::Request { cause, .. } = self else {
            return false;
        };
        matches!(cause.kind(), StorageFull | QuotaExceeded | FileTooLarge)
    }
}

/// How a canary has ended that took an order no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanaryEnd {
    /// The new version has all requests.
    Promoted,
    /// Everything is undone.
    WentBack,
    /// It is not known.
    Unknown,
}

impl CanaryEnd {
    /// How it ended, behind that it is over.
    const fn describe_end(self) -> &'static str {
        match self {
            Self::Promoted => {
                ", since the new version was promoted (`ark rollback` brings the stable one back)"
            }
            Self::WentBack => ", since it went back",
            Self::Unknown => "",
        }
    }
}

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
    // Not transparent, so that the error is one of the causes: it has the list of what a dry run found.
    #[error("{0}")]
    TakeOver(#[from] ExchangeError),
    /// The stable version does not come back.
    #[error(
        "the way back to the stable version, of `{reason}`, does not go on: {cause}; `ark canary abort` tries again, also with commands that correct those it was begun with"
    )]
    WayBack {
        /// Why the canary goes back.
        reason: String,
        /// What is wrong.
        cause: Box<CanaryError>,
    },
    /// The requests are not given back.
    #[error(
        "the weights are not set back ({weights}): {cause}; where HAProxy has another socket, `ark canary abort --haproxy SOCKET`; once the servers have these weights otherwise, `ark canary abort --leave-weights` ends the canary"
    )]
    Weights {
        /// What they were before the canary.
        weights: String,
        /// What is wrong.
        cause: HaproxyError,
    },
    /// The front is the only server that is up.
    #[error(
        "{server} keeps its requests, since no other server of {backend} that had any is up: without it no request would have an answer; the others have their weights of before ({weights}): start their fronts, then `ark canary abort` takes its requests"
    )]
    OnlyServer {
        /// The server.
        server: String,
        /// The backend.
        backend: String,
        /// What the weights were before the canary.
        weights: String,
    },
    /// A canary that gives shares cannot leave the weights alone.
    #[error(
        "--leave-weights: this canary goes on to give its front a share of the requests; leave the option out, or end the canary with `ark canary abort --leave-weights`"
    )]
    LeftWeights,
    /// A canary, an upgrade or a rollback is under way.
    #[error(transparent)]
    Exclusion(#[from] ExclusionError),
    /// The process that runs the canary takes no request.
    #[error(
        "process {pid} runs the canary and does not take `{request}` within {waited:?}{why}: end it with `kill -KILL {pid}`, then run this again",
        why = if *is_stopped { ", since it is stopped (`kill -CONT` continues it)" } else { "" }
    )]
    Silent {
        /// The process.
        pid: u32,
        /// What is asked of it.
        request: &'static str,
        /// How long it was waited for.
        waited: Duration,
        /// Whether a signal has stopped it.
        is_stopped: bool,
    },
    /// The process that runs the canary takes no request, and cannot be seen.
    #[error(
        "a process that cannot be seen from here (another user, another container) runs the canary and does not take `{request}` within {waited:?}: end it there, then run this again"
    )]
    HiddenSilent {
        /// What is asked of it.
        request: &'static str,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The process that runs the canary takes no request, and another one waits before this.
    #[error("{cause}; the order `{waiting}` of another command waits before it")]
    Behind {
        /// The order that waits.
        waiting: &'static str,
        /// What is wrong with the process.
        cause: Box<CanaryError>,
    },
    /// The canary that an order was for has ended, or another one has begun.
    #[error(
        "`{order}` was not taken: the canary that it was for is over{end}; `ark canary status` shows its last step and what is under way",
        end = end.describe_end()
    )]
    Over {
        /// The order.
        order: &'static str,
        /// How it ended, as far as that is known.
        end: CanaryEnd,
    },
    /// The process that runs the canary could not note the order.
    #[error(
        "`{order}` was not taken, and the canary goes on: {path}, its journal, took no entry of it, as on a full disk, and the output of the command that runs the canary says why; make room there, then run this again",
        path = path.display()
    )]
    Refused {
        /// The order.
        order: &'static str,
        /// The journal.
        path: PathBuf,
    },
    /// The process that runs the canary cannot be ended.
    #[error(
        "process {pid}, which runs the canary and takes no request, cannot be ended: {cause}; end it with `kill -KILL {pid}`, then run this again"
    )]
    NotEnded {
        /// The process.
        pid: u32,
        /// What the system reports.
        cause: std::io::Error,
    },
    /// A signal ended the run.
    #[error("interrupted while it waited for the command that runs the canary")]
    Interrupted,
    /// No process runs the canary that could take the order.
    #[error(
        "the order was not taken: the command that ran the canary has ended, and its output says why; `ark canary resume` goes on with it, `ark canary abort` undoes it"
    )]
    NotRun,
    /// No canary is under way.
    #[error("no canary is under way for {0}")]
    None(String),
    /// The front is not as it must be before a canary.
    #[error("{0}")]
    Front(String),
    /// The file for requests cannot be written.
    #[error("the order was not given, and the canary goes on: {path}: {cause}; {remedy}", path = path.display(), remedy = find_remedy(cause))]
    Request {
        /// The file.
        path: PathBuf,
        /// What the system reports.
        cause: std::io::Error,
    },
}

/// What is to be done where an order cannot be placed.
fn find_remedy(cause: &std::io::Error) -> &'static str {
    // What a link is answered with, and no new file in a directory that may not be written: that is EACCES.
    let cause = Errno::from_io_error(cause);
    if matches!(cause, Some(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS)) {
        "its file system takes no hard links, by which orders are given: Ctrl-C in the command that runs the canary ends it as `ark canary abort` does; begin the next one with a --journal on another file system"
    } else {
        "make room there, or have this user write there, then run this again"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_cannot_be_placed_names_what_keeps_it_from_that() {
        for (cause, remedy) in [
            (Errno::PERM, "no hard links"),
            (Errno::OPNOTSUPP, "no hard links"),
            (Errno::NOSYS, "no hard links"),
            (Errno::ACCESS, "have this user write there"),
            (Errno::NOSPC, "make room there"),
        ] {
            let error = CanaryError::Request {
                path: "canary.journal.request".into(),
                cause: cause.into(),
            };
            let said = error.to_string();
            assert!(said.contains(remedy), "{said}");
        }
    }
}
