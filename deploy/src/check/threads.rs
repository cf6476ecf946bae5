//! Whether the user of the host and its control group may have as many threads as the host needs.
//!
//! Of a host that runs, its own limits are read, else those of this check: a host that is started the same way has them. Processes of the user that this
//! check may not see are not counted.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ark_host::app::threads::ThreadDemand;
use rustix::process::{Resource, getrlimit};

use super::control_groups::{GROUPS, list_groups, read_group_table};
use super::inputs::CheckInputs;
use super::line::CheckLines;
use super::process_limits::{PROCESSES, read_process_limit};

/// The controller that counts threads.
const CONTROLLER: &str = "pids";

/// A limit of threads.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ThreadLimit {
    /// What sets it, in words.
    name: String,
    most: u64,
    /// How many threads that are not the host's count too.
    used: u64,
    remedy: &'static str,
}

impl ThreadLimit {
    /// How many threads are left for the host.
    const fn room(&self) -> u64 {
        self.most.saturating_sub(self.used)
    }
}

/// The limits have room for the threads of the configured host.
pub(super) fn check_threads(inputs: &CheckInputs, lines: &mut CheckLines) {
    let demand = ThreadDemand::of_config(&inputs.config);
    let host = inputs.find_host();
    let user = inputs.host_user.id();
    // One whose limits are looked at is not in the way of the host.
    let left_out = host.unwrap_or_else(std::process::id);
    let mut limits = Vec::new();
    let of_user = read_user_limit(host);
    // The kernel does not hold root to it.
    if let Some(most) = of_user.filter(|_| user != 0) {
        limits.push(ThreadLimit {
            name: format!("the limit of processes of user {user}"),
            most,
            used: count_threads_of_user(user, left_out),
            remedy: "raise it (LimitNPROC= in the unit, ulimit -u, /etc/security/limits.conf)",
        });
    }
    if let Some(groups) = read_group_table(host) {
        let own = count_threads(left_out).unwrap_or_default();
        limits.extend(read_group_limits(&groups, Path::new(GROUPS), own));
    }
    judge_limits(demand, &limits, lines);
}

fn judge_limits(demand: ThreadDemand, limits: &[ThreadLimit], lines: &mut CheckLines) {
    let [at_start, at_most] =
        [demand.at_start, demand.at_most].map(|count| u64::try_from(count).unwrap_or(u64::MAX));
    for limit in limits {
        let (name, most, used, room) = (&limit.name, limit.most, limit.used, limit.room());
        let allows = format!("{name} is {most}, of which others use {used}");
        if room < at_start {
            lines.add_error(
                format!("the host starts {at_start} threads, and {allows}: it cannot start"),
                format!(
                    "{} to {} or more, or lower capacity.workers and capacity.slow_workers",
                    limit.remedy,
                    used.saturating_add(at_most)
                ),
            );
        } else if room < at_most {
            lines.add_warning(
                format!("the host starts {at_start} threads and has up to {at_most} when many calls wait, and {allows}: calls wait for a thread then"),
                format!("{} to {} or more", limit.remedy, used.saturating_add(at_most)),
            );
        }
    }
    if lines.is_good() {
        let closest = limits.iter().min_by_key(|limit| limit.room());
        let limit = closest.map_or_else(
            || "nothing limits them".to_owned(),
            |limit| format!("{} is {}", limit.name, limit.most),
        );
        lines.add_ok(format!(
            "the host starts {at_start} threads and has up to {at_most}; {limit}"
        ));
    }
}

/// How many processes and threads the user of a process may have: of the host, or of this check. `None`: any number.
fn read_user_limit(host: Option<u32>) -> Option<u64> {
    let Some(pid) = host else {
        return getrlimit(Resource::Nproc).current;
    };
    let limit = read_process_limit(pid, PROCESSES)?;
    Some(limit.current).filter(|most| *most != u64::MAX)
}

/// How many threads the processes of a user have, but for one process.
fn count_threads_of_user(user: u32, left_out: u32) -> u64 {
    let Ok(entries) = fs::read_dir("/proc") else {
        return 0;
    };
    let pids = entries.flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let is_counted = pid != left_out && entry.metadata().ok()?.uid() == user;
        is_counted.then_some(pid)
    });
    pids.filter_map(count_threads).sum()
}

/// How many threads a process has; `None`: it is gone.
fn count_threads(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mut lines = status.lines();
    lines.find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok())
}

/// The limits of the control groups that a process is in, from its own to the outermost that is seen. `groups`: its table of them, `root`: where they are
/// mounted, `own`: its threads, which are among those that are counted.
fn read_group_limits(groups: &str, root: &Path, own: u64) -> Vec<ThreadLimit> {
    let groups = list_groups(CONTROLLER, groups, root).into_iter();
    let limits = groups.filter_map(|group| {
        let most = group.read_number("pids.max")?;
        let current = group.read_number("pids.current").unwrap_or(own);
        Some(ThreadLimit {
            name: format!("the limit of {}", group.describe()),
            most,
            used: current.saturating_sub(own),
            remedy: "raise it (TasksMax= in the unit; --pids-limit or podPidsLimit of the container)",
        })
    });
    limits.collect()
}

#[cfg(test)]
mod tests {
    use super::super::line::Status;
    use super::*;

    const DEMAND: ThreadDemand = ThreadDemand {
        at_start: 80,
        at_most: 600,
    };

    /// The groups of a machine: a file for each of these.
    fn write_groups(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = dir.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        dir
    }

    #[test]
    fn the_limits_of_every_group_around_a_process_are_read() {
        type GroupCase = (
            &'static str,
            &'static [(&'static str, &'static str)],
            &'static [(u64, u64)],
        );
        let cases: [GroupCase; 5] = [
            // Version 2: the unit's own limit, none above it.
            (
                "0::/system.slice/ark.service\n",
                &[
                    ("system.slice/ark.service/pids.max", "512\n"),
                    ("system.slice/ark.service/pids.current", "85\n"),
                    ("system.slice/pids.max", "max\n"),
                    ("system.slice/pids.current", "300\n"),
                ],
                &[(512, 5)],
            ),
            // The group above has less room.
            (
                "0::/a/b\n",
                &[
                    ("a/b/pids.max", "1000"),
                    ("a/b/pids.current", "80"),
                    ("a/pids.max", "200"),
                    ("a/pids.current", "150"),
                ],
                &[(1000, 0), (200, 70)],
            ),
            // Version 1 beside version 2.
            (
                "9:name=systemd:/\n8:cpu,pids:/docker/x\n0::/\n",
                &[
                    ("pids/docker/x/pids.max", "90"),
                    ("pids/docker/x/pids.current", "81"),
                    ("pids.max", "1"),
                ],
                &[(90, 1)],
            ),
            // A container that sees its own group as the outermost one.
            (
                "8:pids:/docker/x\n",
                &[("pids/pids.max", "90"), ("pids/pids.current", "80")],
                &[(90, 0)],
            ),
            ("no table", &[("pids.max", "1")], &[]),
        ];
        for (table, files, expected) in cases {
            let dir = write_groups(files);
            let found = read_group_limits(table, dir.path(), 80);
            let found: Vec<_> = found.iter().map(|one| (one.most, one.used)).collect();
            assert_eq!(found, expected, "{table}");
        }
    }

    #[test]
    fn a_limit_is_judged_by_what_it_leaves_for_the_host() {
        for (most, used, expected) in [
            (79, 0, Status::Error),
            (80, 0, Status::Warning),
            (600, 521, Status::Error),
            (600, 520, Status::Warning),
            (600, 1, Status::Warning),
            (600, 0, Status::Ok),
            (5, 9, Status::Error),
        ] {
            let limit = ThreadLimit {
                name: "the limit".to_owned(),
                most,
                used,
                remedy: "raise it",
            };
            let mut lines = CheckLines::for_check("threads");
            judge_limits(DEMAND, &[limit], &mut lines);
            let found: Vec<_> = lines.found.iter().map(|line| line.status).collect();
            assert_eq!(found, [expected], "{most}, {used}");
            for line in lines.found.iter().filter(|line| line.status != Status::Ok) {
                let remedy = line.remedy.as_deref().unwrap();
                let wanted = format!("to {} or more", used + 600);
                assert!(remedy.contains(&wanted), "{remedy}");
            }
        }
    }

    #[test]
    fn the_threads_of_this_process_are_counted() {
        let own = count_threads(std::process::id()).unwrap();
        assert!(own >= 1);
        assert_eq!(count_threads(u32::MAX), None);
        let user = rustix::process::getuid().as_raw();
        assert!(count_threads_of_user(user, u32::MAX) >= 1);
    }
}
