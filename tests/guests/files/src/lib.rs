//! An agent for the host's tests: it reads files and opens sockets, so it must be refused before it is ever run.

use std::io::Read;

use ark_guest::agent::{Action, Agent, Error, Host, Metadata, Signal};

/// The agent.
pub struct Files;

impl Agent for Files {
    fn metadata() -> Metadata {
        Metadata {
            name: "files".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }

    fn handle(_: &dyn Host, _: &Signal) -> Result<Vec<Action>, Error> {
        let mut secrets = std::fs::read_to_string("/etc/shadow").unwrap_or_default();
        if let Ok(mut stream) = std::net::TcpStream::connect("127.0.0.1:22") {
            let _ = stream.read_to_string(&mut secrets);
        }
        Err(Error::Failed(secrets))
    }
}

ark_guest::export_agent!(Files);
