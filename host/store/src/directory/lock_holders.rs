//! Which processes hold locks on the database, as far as the system tells: `/proc/locks` lists them by inode and range of bytes.
//!
//! `SQLite` locks bytes of the log's index (`ark.db-shm`): byte 120 for writing, 123 to 127 for reading from the log.

use std::ops::RangeInclusive;

/// The byte that is locked for writing.
pub(crate) const WRITE_BYTES: RangeInclusive<u64> = 120..=120;
/// The bytes that are locked for reading from the log. The first is locked by who reads from the database alone, which holds up nothing.
pub(crate) const READ_BYTES: RangeInclusive<u64> = 124..=127;

/// The most processes that are named.
const MAX_NAMED: usize = 5;

/// Names the other processes that hold a lock on one of these bytes of a file, e.g. `process 4711 (python3)`.
pub(crate) fn name_holders(inode: u64, bytes: &RangeInclusive<u64>) -> String {
    let table = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let mut pids = find_holders(&table, inode, bytes);
    pids.retain(|pid| *pid != std::process::id());
    pids.truncate(MAX_NAMED);
    let names: Vec<String> = pids.iter().map(|pid| name_process(*pid)).collect();
    if names.is_empty() {
        "a process that the system does not name, or a long read of this host".to_owned()
    } else {
        names.join(", ")
    }
}

fn name_process(pid: u32) -> String {
    // A process chooses its own name.
    let name: String = std::fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_graphic)
        .collect();
    if name.is_empty() {
        format!("process {pid}")
    } else {
        format!("process {pid} ({name})")
    }
}

/// The processes that hold a lock on one of these bytes, by the text of `/proc/locks`.
///
/// A line is `1: POSIX  ADVISORY  READ 4711 08:01:1234 124 124`; one of a process that waits has `->` before the kind.
fn find_holders(table: &str, inode: u64, bytes: &RangeInclusive<u64>) -> Vec<u32> {
    let mut holders: Vec<u32> = table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let kind = fields.next()?;
            let (_advisory, _mode) = (fields.next()?, fields.next()?);
            let pid = fields.next()?.parse().ok()?;
            let file = fields.next()?.rsplit(':').next()?;
            let first: u64 = fields.next()?.parse().ok()?;
            let last = fields.next()?.parse().unwrap_or(u64::MAX);
            let matches = kind == "POSIX"
                && file.parse() == Ok(inode)
                && first <= *bytes.end()
                && last >= *bytes.start();
            matches.then_some(pid)
        })
        .collect();
    holders.sort_unstable();
    holders.dedup();
    holders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_are_found_by_inode_and_range() {
        let table = "1: POSIX  ADVISORY  READ 4711 08:01:1234 124 124\n\
                     2: POSIX  ADVISORY  WRITE 12 08:01:1234 120 120\n\
                     3: POSIX  ADVISORY  READ 13 08:01:99 124 124\n\
                     4: FLOCK  ADVISORY  WRITE 14 08:01:1234 0 EOF\n\
                     5: POSIX  ADVISORY  WRITE 15 08:01:1234 0 EOF\n\
                     5: -> POSIX  ADVISORY  WRITE 16 08:01:1234 0 EOF\n\
                     6: OFDLCK ADVISORY  READ -1 08:01:1234 124 124\n\
                     nonsense\n";
        assert_eq!(find_holders(table, 1234, &WRITE_BYTES), [12, 15]);
        assert_eq!(find_holders(table, 1234, &READ_BYTES), [15, 4711]);
        assert_eq!(find_holders(table, 1, &READ_BYTES), [0_u32; 0]);
    }
}
