//! Agents: loading, versions, canaries, and hostile ones.

mod bombs;
mod canary;
mod forger;
mod hostile;
mod languages;
mod redelivery;
mod refusals;
mod uploads;
mod versions;
