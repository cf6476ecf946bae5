//! Agents: loading, versions, canaries, and hostile ones.

mod bombs;
mod canary;
mod forger;
mod hostile;
mod languages;
mod refusals;
mod versions;
