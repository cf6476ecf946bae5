//! The limit of open files, which bounds the connections of the API.

use ark_host::app::open_files::{count_fitting_connections, count_wanted_files};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises this process's limit of open files as far as it is allowed and needed, and returns how many of `connections` fit into it, at
/// least 1. Each connection needs `files` open files.
pub(super) fn fit_connections(connections: usize, files: u64) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = count_wanted_files(connections, files);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let mut open = limit.current.unwrap_or(u64::MAX);
    if open < wanted {
        let raised = Rlimit {
            current: Some(wanted.min(most)),
            maximum: limit.maximum,
        };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => open = wanted.min(most),
            Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
        }
    }
    let fitting = count_fitting_connections(connections, files, open);
    if fitting < connections {
        tracing::warn!(
            connections = fitting,
            wanted = connections,
            "the limit of open files allows fewer connections than configured; raise it (ulimit -n)"
        );
    }
    fitting
}
