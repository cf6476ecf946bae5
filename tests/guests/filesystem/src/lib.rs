//! A guest that reads files, so that its component imports `wasi:filesystem`. The host must refuse it at load, naming the import.

use ark_guest::agent::{Action, Agent, Error, Host, Metadata, Signal};

/// The agent.
pub struct Filesystem;

impl Agent for Filesystem {
    fn metadata() -> Metadata {
        Metadata {
            name: "filesystem".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }

    fn handle(host: &dyn Host, signal: &Signal) -> Result<Vec<Action>, Error> {
        let path: String = signal.payload()?;
        let text = std::fs::read_to_string(path).map_err(|error| Error::Failed(error.to_string()))?;
        host.set_state("read", &text)?;
        Ok(Vec::new())
    }
}

ark_guest::export_agent!(Filesystem);
