//! `ark canary` before a real `HAProxy` and a real Prometheus: a good version gets all requests and the data, and no request fails; any other goes
//! back for its own reason; a command that was killed goes on or is undone; what a front fails another one answers; the
//! commands of the guide do what it says.

mod guide;
mod kills;
mod measures;
mod retries;
pub(crate) mod stage;
mod supervisor;
mod takeover;
mod tripwires;
