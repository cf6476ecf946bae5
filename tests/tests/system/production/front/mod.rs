//! Fronts: what passes through one is what the owner answers; nothing is lost or done twice while the owner is away; what a front judges
//! otherwise is counted.

mod away;
mod passing;
mod verdicts;

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use ark_tests::{Client, Host, TestDir, wait_for, wait_until};
use serde_json::Value;

use crate::api::tls::write_key;

/// An empty configuration for a front of its own.
fn empty_config(dir: &TestDir) -> PathBuf {
    write(dir, "front.toml", "")
}

fn write(dir: &TestDir, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

fn url(host: &Host) -> String {
    format!("http://{}", host.address)
}

fn wait_ready(front: &Host) {
    wait_until("the front is ready", || {
        Client::new(front).get("/readyz").1["owner"] == "ready"
    });
}

/// Starts a front before a host without tokens.
fn front_before(owner: &Host, config: &Path, args: &[&str]) -> Host {
    let front = Host::start_front(&url(owner), config, args);
    wait_ready(&front);
    front
}

/// What the front counted when nothing waits any more.
fn settled_verdicts(front: &Host, decisions: u64) -> Value {
    wait_for("every decision is judged again", || {
        let (_, shown) = Client::of_telemetry(front).get("/verdicts");
        let verdicts = &shown["verdicts"];
        let judged: u64 = ["same", "different", "unjudged"]
            .iter()
            .filter_map(|result| verdicts[*result].as_u64())
            .sum();
        (judged == decisions && verdicts["waiting"] == 0).then(|| verdicts.clone())
    })
}

fn counts(verdicts: &Value) -> [u64; 3] {
    ["same", "different", "unjudged"].map(|result| verdicts[result].as_u64().expect("a count"))
}

fn token_file(dir: &TestDir, name: &str, token: &str) -> String {
    let path = dir.path().join(name);
    write_key(&path, token);
    path.display().to_string()
}

/// A port that is free now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn start_owner(dir: &TestDir, listen: &str) -> Option<Host> {
    let config = dir.config().display().to_string();
    Host::try_start(&dir.data(), &["--config", &config, "--listen", listen]).ok()
}
