//! How many files the host may have open.

use ark_host::app::open_files::{OTHER_FILES, count_fitting_connections, count_wanted_files};
use ark_model::printable::format_count;
use rustix::process::{Resource, getrlimit};

use super::inputs::CheckInputs;
use super::line::CheckLines;
use super::process_limits::{OPEN_FILES, read_process_limit};

/// Open files with fewer of which a start may fail, by its guests and readers.
const START_FILES: u64 = 64;
/// Fewer connections are taken by callers, Prometheus and probes alone: such a host serves nobody well.
const LEAST_CONNECTIONS: usize = 64;

/// The limit of open files has room for the configured connections: that of a host that runs, else that of this check.
pub(super) fn check_open_files(inputs: &CheckInputs, lines: &mut CheckLines) {
    // A start raises its limit as far as it may.
    let most = match inputs.find_host() {
        None => Some(getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)),
        Some(pid) => read_process_limit(pid, OPEN_FILES).map(|limit| limit.highest),
    };
    match most {
        Some(most) => judge_open_files(inputs.config.access.connections, most, lines),
        None => lines.add_skipped(
            "the limits of the host that runs cannot be read",
            "run the check as the user that runs the host, beside it",
        ),
    }
}

/// Judges how many of the configured connections a host takes that may open `most` files.
fn judge_open_files(connections: usize, most: u64, lines: &mut CheckLines) {
    let wanted = count_wanted_files(connections, 1);
    let fitting = count_fitting_connections(connections, 1, most);
    if fitting == connections && most >= wanted {
        return lines.add_ok(format!("room for {connections} connections"));
    }
    let remedy = format!(
        "raise the hard limit (LimitNOFILE={wanted} in the unit, ulimit -n), or lower capacity.connections"
    );
    let taken = format!(
        "{most} files may be open, and {} wanted: the host takes {} at a time",
        format_count(connections, "connection is", "connections are"),
        format_count(fitting, "connection", "connections"),
    );
    if most < START_FILES {
        lines.add_error(
            format!("{most} files may be open, with which the limits of guests cannot be probed: the host does not start, or takes 1 connection at a time"),
            remedy,
        );
    } else if fitting < connections.min(LEAST_CONNECTIONS) || most < OTHER_FILES {
        lines.add_error(format!("{taken}, and others wait or are refused"), remedy);
    } else {
        lines.add_warning(format!("{taken}; these need {wanted} files"), remedy);
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::Status;
    use super::*;

    #[test]
    fn open_files_are_judged_by_the_connections_that_a_host_would_take() {
        for (connections, most, expected, told) in [
            (64, 32, Status::Error, "does not start"),
            (16_384, 64, Status::Error, "takes 1 connection at a time"),
            (16_384, 319, Status::Error, "takes 63 connections at a time"),
            (
                16_384,
                320,
                Status::Warning,
                "takes 64 connections at a time",
            ),
            (16_384, 16_639, Status::Warning, "need 16640 files"),
            (16_384, 16_640, Status::Ok, "room for 16384 connections"),
            (10, 265, Status::Error, "takes 9 connections at a time"),
            (10, 266, Status::Ok, "room for 10 connections"),
            (1, 100, Status::Error, "takes 1 connection at a time"),
            (1, u64::MAX, Status::Ok, "room for 1 connections"),
        ] {
            let mut lines = CheckLines::for_check("open-files");
            judge_open_files(connections, most, &mut lines);
            let [line] = &lines.found[..] else {
                panic!("{:?}", lines.found);
            };
            assert_eq!(line.status, expected, "{connections}, {most}");
            assert!(line.found.contains(told), "{told}: {}", line.found);
        }
    }
}
