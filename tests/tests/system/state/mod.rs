//! The state and the database: values, secrets, snapshots, kills and broken disks.

mod commands;
mod damage;
mod decisions_kill;
mod disk;
mod fault_run;
mod foreign_locks;
mod lost_files;
mod slow_disk;
mod tampered_access;
mod values;
mod writers_kill;
