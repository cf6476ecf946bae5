//! What the machine allows: open files, and its clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ark_host::app::open_files::{OTHER_FILES, count_fitting_connections, count_wanted_files};
use ark_host::redis::RedisLink;
use ark_model::ids::Millis;
use ark_model::printable::format_count;
use rustix::process::{Resource, getrlimit};

use crate::exchange::programs::commands::run_bounded;
use crate::prometheus::PrometheusClient;

use super::inputs::CheckInputs;
use super::line::CheckLines;
use super::process_limits::{OPEN_FILES, read_process_limit};

/// Open files with fewer of which a start may fail, by its guests and readers.
const START_FILES: u64 = 64;
/// Fewer connections are taken by callers, Prometheus and probes alone: such a host serves nobody well.
const LEAST_CONNECTIONS: usize = 64;
/// How far two clocks may be apart, in seconds.
const MAX_DRIFT_SECONDS: f64 = 2.0;
/// How long the Redis may take to say what time it is.
const REDIS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long `timedatectl` may take.
const TIMEDATECTL_TIMEOUT: Duration = Duration::from_secs(5);
/// A moment before which no clock can be right: this program was not written yet (2026-01-01, in seconds).
const EARLIEST_SECONDS: u64 = 1_767_225_600;

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

/// The clock is synchronised, and agrees with what was recorded and with the neighbours' clocks. The audit log has its times from this clock, and a
/// neighbour may be on this machine, so only what the kernel says of the synchronisation makes the check good.
pub(super) fn check_clock(inputs: &CheckInputs, lines: &mut CheckLines) {
    let remedy = "keep the clock in step (timedatectl set-ntp true, chrony); the host believes it";
    let now = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.unwrap_or_default().as_secs_f64()
    };
    if now() < EARLIEST_SECONDS as f64 {
        return lines.add_error("the clock is years behind", remedy);
    }
    let mut compared = Vec::new();
    let last = inputs
        .open_database()
        .ok()
        .flatten()
        .and_then(|store| store.last_recorded_at().ok()?);
    if let Some(Millis(last)) = last {
        let ahead = last as f64 / 1000.0 - now();
        if ahead > MAX_DRIFT_SECONDS {
            lines.add_error(
                format!("the last audit row is {ahead:.0} s ahead of the clock"),
                remedy,
            );
        }
        compared.push("the audit log");
    }
    let mut compare = |who: &'static str, theirs: Option<f64>, asked_at: f64| {
        let Some(theirs) = theirs else { return };
        let drift = (theirs - asked_at).abs();
        if drift > MAX_DRIFT_SECONDS {
            lines.add_warning(
                format!("the clock and that of {who} are {drift:.1} s apart"),
                remedy,
            );
        }
        compared.push(who);
    };
    compare("the Redis", ask_redis(inputs), now());
    let prometheus = inputs.options.prometheus.as_deref();
    let theirs = prometheus.and_then(|url| {
        let values = PrometheusClient::new(url)
            .ok()?
            .query_values("time()")
            .ok()?;
        values.first().copied()
    });
    compare("Prometheus", theirs, now());
    match ask_synchronised() {
        Ok(true) if lines.is_good() => {
            let agrees = if compared.is_empty() {
                String::new()
            } else {
                format!(", and agrees with {}", compared.join(", "))
            };
            lines.add_ok(format!("synchronised{agrees}"));
        }
        Ok(true) => {}
        Ok(false) => lines.add_warning("the clock is not synchronised", remedy),
        Err(problem) => lines.add_warning(
            // The rest of what is told says the same again.
            format!("whether the clock is synchronised cannot be known: {}", problem.lines().next().unwrap_or_default()),
            "run `timedatectl show` on the machine itself; in a container its clock is that of the machine",
        ),
    }
}

/// Whether the kernel's clock is synchronised, as `timedatectl` says, whichever program does that.
fn ask_synchronised() -> Result<bool, String> {
    let args = ["show", "--property=NTPSynchronized", "--value"];
    let said = run_bounded("timedatectl", &args, TIMEDATECTL_TIMEOUT)
        .map_err(|error| error.to_string())?;
    match said.trim() {
        "yes" => Ok(true),
        "no" => Ok(false),
        said => Err(format!("timedatectl says {said:?}")),
    }
}

/// The time of the Redis, in seconds; `None`: there is none, or it does not say.
fn ask_redis(inputs: &CheckInputs) -> Option<f64> {
    let redis = inputs.config.redis.as_ref()?;
    let mut link = RedisLink::new(redis.settings.clone(), REDIS_TIMEOUT);
    let (seconds, micros): (f64, f64) = redis::cmd("TIME").query(link.connect().ok()?).ok()?;
    Some(seconds + micros / 1e6)
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
