//! Whether machine and control groups have the memory that the host takes in the worst case.
//!
//! Only limits are compared, not what is free now: what the disk's cache holds is given back when a program needs it.

use std::fs;
use std::path::Path;

use ark_host::app::memory::{MIB, MemoryDemand};

use super::control_groups::{GROUPS, list_groups, read_group_table};
use super::inputs::CheckInputs;
use super::line::CheckLines;

/// The controller of memory.
const CONTROLLER: &str = "memory";
/// The file with its limit, in version 2 and in version 1.
const LIMIT_FILES: [&str; 2] = ["memory.max", "memory.limit_in_bytes"];

/// A bound of the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MemoryLimit {
    /// What sets it, in words.
    name: String,
    /// In bytes.
    most: u64,
    remedy: &'static str,
}

/// The machine and each control group of the host have room for the worst case of the configuration.
pub(super) fn check_memory(inputs: &CheckInputs, lines: &mut CheckLines) {
    let mut limits = Vec::new();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    if let Some(most) = parse_total(&meminfo) {
        limits.push(MemoryLimit {
            name: "the memory of the machine".to_owned(),
            most,
            remedy: "take a larger machine",
        });
    }
    if let Some(table) = read_group_table(inputs.find_host()) {
        limits.extend(read_group_limits(&table, Path::new(GROUPS)));
    }
    judge_limits(MemoryDemand::of_config(&inputs.config), &limits, lines);
}

/// The memory of the machine in bytes, by `/proc/meminfo`.
fn parse_total(meminfo: &str) -> Option<u64> {
    let mut lines = meminfo.lines();
    let total = lines.find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1024))
}

fn read_group_limits(table: &str, root: &Path) -> Vec<MemoryLimit> {
    let groups = list_groups(CONTROLLER, table, root).into_iter();
    let limits = groups.filter_map(|group| {
        let mut files = LIMIT_FILES.iter();
        let most = files.find_map(|file| group.read_number(file))?;
        Some(MemoryLimit {
            name: format!("the limit of {}", group.describe()),
            most,
            remedy: "raise it (MemoryMax= in the unit, mem_limit of Compose, resources.limits of Kubernetes)",
        })
    });
    limits.collect()
}

fn judge_limits(demand: MemoryDemand, limits: &[MemoryLimit], lines: &mut CheckLines) {
    let total = demand.total();
    let takes = format!(
        "the host takes up to {} MiB ({} of invocations, {} besides) and its components",
        total / MIB,
        demand.invocations / MIB,
        demand.others / MIB
    );
    for limit in limits.iter().filter(|limit| limit.most < total) {
        lines.add_warning(
            format!(
                "{takes}, and {} is {} MiB: the kernel ends it when many calls take what they may",
                limit.name,
                limit.most / MIB
            ),
            format!(
                "{}, or lower capacity.slow_workers, capacity.workers or limits.memory_bytes",
                limit.remedy
            ),
        );
    }
    if lines.is_good() {
        let closest = limits.iter().min_by_key(|limit| limit.most);
        let bound = closest.map_or_else(
            || "nothing that is known limits it".to_owned(),
            |limit| format!("{} is {} MiB", limit.name, limit.most / MIB),
        );
        lines.add_ok(format!("{takes}; {bound}"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::Status;
    use super::*;

    #[test]
    fn the_memory_of_machine_and_groups_is_read() {
        assert_eq!(
            parse_total("MemTotal:       24683656 kB\nMemFree:  1 kB\n"),
            Some(24_683_656 * 1024)
        );
        assert_eq!(parse_total("MemFree:  1 kB\n"), None);
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("system.slice/ark.service/memory.max", "6442450944\n"),
            ("system.slice/memory.max", "max\n"),
            ("memory/docker/x/memory.limit_in_bytes", "1073741824\n"),
        ] {
            let file = dir.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        for (table, expected) in [
            ("0::/system.slice/ark.service\n", &[6_442_450_944_u64][..]),
            ("4:memory:/docker/x\n0::/\n", &[1_073_741_824]),
            ("0::/\n", &[]),
        ] {
            let found = read_group_limits(table, dir.path());
            let found: Vec<u64> = found.iter().map(|limit| limit.most).collect();
            assert_eq!(found, expected, "{table}");
        }
    }

    #[test]
    fn each_limit_below_the_worst_case_is_told_with_its_figures() {
        let demand = MemoryDemand {
            invocations: 4096 * MIB,
            others: 378 * MIB,
        };
        for (most, expected) in [
            (4473, Status::Warning),
            (4474, Status::Ok),
            (6144, Status::Ok),
        ] {
            let limit = MemoryLimit {
                name: "the limit".to_owned(),
                most: most * MIB,
                remedy: "raise it",
            };
            let mut lines = CheckLines::for_check("memory");
            judge_limits(demand, &[limit], &mut lines);
            let found: Vec<_> = lines.found.iter().map(|line| line.status).collect();
            assert_eq!(found, [expected], "{most}");
            for part in [
                "4474 MiB",
                "4096 of invocations",
                &*format!("is {most} MiB"),
            ] {
                assert!(lines.found[0].found.contains(part), "{part}");
            }
        }
    }
}
