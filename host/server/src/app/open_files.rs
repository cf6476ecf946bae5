//! How many connections the limit of open files leaves for a program that listens.

/// Open files that are not connections: the database and its readers, components, capsules.
pub const OTHER_FILES: u64 = 256;

/// Returns how many open files so many connections need, each with `files` of them, besides those of the program.
#[must_use]
pub fn count_wanted_files(connections: usize, files: u64) -> u64 {
    u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_mul(files)
        .saturating_add(OTHER_FILES)
}

/// Returns how many of `connections` a program takes that may have `limit` open files, at least 1. Each connection needs `files` of them.
#[must_use]
pub fn count_fitting_connections(connections: usize, files: u64, limit: u64) -> usize {
    let fitting = limit.saturating_sub(OTHER_FILES) / files.max(1);
    let fitting = usize::try_from(fitting).unwrap_or(usize::MAX).max(1);
    connections.min(fitting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_have_what_is_left_of_the_limit() {
        for (connections, files, limit, expected) in [
            (64, 1, 32, 1),
            (64, 1, 256, 1),
            (64, 1, 300, 44),
            (64, 1, 320, 64),
            (64, 1, u64::MAX, 64),
            (64, 2, 320, 32),
            (64, 2, 384, 64),
            (16_384, 1, 1024, 768),
        ] {
            let found = count_fitting_connections(connections, files, limit);
            assert_eq!(found, expected, "{connections}, {files}, {limit}");
            let has_room = limit >= count_wanted_files(connections, files);
            assert_eq!(has_room, found == connections, "{connections}, {limit}");
        }
    }
}
