//! The versions of agents: uploading, trials, rollouts, rollbacks and deletion while the host runs.
//!
//! Steps of a change: load (digest, imports, metadata, limits) -> heartbeat in a scratch instance -> one commit with the audit row -> swap in
//! the router -> drain: invocations that run finish on the version they began with. A failure before the commit leaves everything as it was;
//! after the commit a restart finds the new version. So a kill at any moment leaves the old version or the new one, never neither.
//!
//! What serves after a start is what was rolled out last. Version 0 is the version in the agents' directory: an agent without a rollout is
//! served from there, and a deleted agent is not, even if the directory still has it.
//!
//! A version can first be tried as a canary, which handles a share of the agent's signals. A rollout, a rollback and a deletion end the trial,
//! and so does a canary that fails as an agent in quarantine would ([`crate::router`]).
//!
//! Reading order: [`versions`] (the handle, what is kept), [`upload`], [`rollout`] (how a change is committed once), [`canary`], [`delete`],
//! [`load`] (what a start finds).
//!
//! Must not know: HTTP, SQL.

mod canary;
mod delete;
mod error;
mod load;
mod rollout;
mod upload;
mod versions;

pub use crate::changes::{ChangeRequest, UploadRefusal};
pub use error::AgentChangeError;
pub use load::{
    Ceiling, LoadAgentError, LoadAgentsError, LoadVersionError, LoadedAgents, RefusedAgent,
    is_superseded, load_agent, load_all, load_from_directory, load_uploaded,
    warn_of_undeclared_types,
};
pub use rollout::AgentChangeReceipt;
pub use versions::{AgentDeps, AgentStatus, Agents};
