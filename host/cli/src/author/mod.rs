//! Commands for authors of agents and policies: they need no running host.

mod add;
mod agent;
mod child;
mod compiling;
mod dev;
mod guest_crate;
pub(crate) mod inspect;
mod policy;
mod project;
mod sample;
mod template;
mod toolchain;

pub(crate) use add::GrantArgs;
pub(crate) use agent::{AgentAuthorCommand, run_command as run_agent};
pub(crate) use guest_crate::GuestKind;
pub(crate) use policy::{PolicyAuthorCommand, run_command as run_policy};
