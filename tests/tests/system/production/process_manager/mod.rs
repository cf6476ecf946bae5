//! A host under a process manager: it takes the manager's sockets, and an upgrade or a rollback changes the program of its unit. What stands for
//! systemd is made by the tests; a real one is in the folder `systemd`.

pub(super) mod activation;
mod handover;
mod units;
