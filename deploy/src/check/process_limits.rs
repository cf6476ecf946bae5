//! The limits of a process (`/proc/PID/limits`).

use std::fs;

/// The files that a process may have open at a time.
pub(super) const OPEN_FILES: &str = "Max open files";
/// The processes and threads that the user of a process may have.
pub(super) const PROCESSES: &str = "Max processes";

/// A limit of a process, and how far it may raise that itself. [`u64::MAX`]: any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcessLimit {
    pub(super) current: u64,
    pub(super) highest: u64,
}

/// Reads a limit of a process; `None`: the process is gone, or the system does not say.
pub(super) fn read_process_limit(pid: u32, name: &str) -> Option<ProcessLimit> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    parse_limit(&text, name)
}

fn parse_limit(text: &str, name: &str) -> Option<ProcessLimit> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let parse = |word: &str| match word {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    };
    let mut words = line.split_whitespace();
    Some(ProcessLimit {
        current: parse(words.next()?)?,
        highest: parse(words.next()?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_from_the_table_of_a_process() {
        let table = "Limit                     Soft Limit           Hard Limit           Units     \n\
                     Max processes             60                   unlimited            processes \n\
                     Max open files            1024                 524288               files     \n";
        for (name, expected) in [
            (PROCESSES, Some((60, u64::MAX))),
            (OPEN_FILES, Some((1024, 524_288))),
            ("Max dreams", None),
        ] {
            let found = parse_limit(table, name);
            assert_eq!(found.map(|one| (one.current, one.highest)), expected);
        }
        let own = read_process_limit(std::process::id(), OPEN_FILES).unwrap();
        let asked = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        assert_eq!(own.highest, asked.maximum.unwrap_or(u64::MAX));
        assert_eq!(read_process_limit(u32::MAX, OPEN_FILES), None);
    }
}
