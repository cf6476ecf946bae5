//! What canaries, upgrades and rollbacks share when they exchange one version of a host for another: one at a time, on the host that is meant, with
//! tokens that it takes; what their dry runs show; and what kills, interruptions and full disks leave.

mod dry_runs;
mod exclusion;
mod foreign_schema;
mod full_disk;
mod gates;
mod host_kills;
mod identity;
mod interruptions;
mod kept_schema;
mod kills;
mod late_starts;
mod losses;
mod partial_copies;
mod pauses;
mod tokens;
