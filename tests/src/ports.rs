//! Ports for servers that are stopped and started again.
//!
//! A port that the kernel chooses is from the range of which it also gives every outgoing connection one. While the server is away, such a
//! connection may take it, and the server cannot start again. So these are from below that range, and no two tests get the same.

use std::fs::File;
use std::net::TcpListener;
use std::sync::Mutex;

/// The first port that is given.
const FIRST: u16 = 12_000;

/// The locks of the ports that this process was given. They end with it.
static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// Returns a port that nothing listens on, that no outgoing connection takes, and that belongs to this process until it ends.
///
/// # Panics
/// There is none.
#[must_use]
pub fn free_port() -> u16 {
    let ports: Vec<u16> = (FIRST..first_outgoing_port()).collect();
    let dir = std::env::temp_dir().join("ark-test-ports");
    std::fs::create_dir_all(&dir).expect("a directory for the locks of ports");
    // Each process begins elsewhere, so that few of them try the same ports.
    let begin = std::process::id() as usize * 31 % ports.len();
    let (before, from) = ports.split_at(begin);
    for port in from.iter().chain(before) {
        let lock = File::create(dir.join(port.to_string())).expect("a lock of a port");
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", *port)).is_ok() {
            TAKEN.lock().expect("no panic within").push(lock);
            return *port;
        }
    }
    panic!("no port from {FIRST} on is free");
}

/// The first port that the kernel gives to outgoing connections.
fn first_outgoing_port() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let first = range.ok().and_then(|range| {
        let first = range.split_whitespace().next()?;
        first.parse().ok().filter(|first| *first > FIRST + 1_000)
    });
    first.unwrap_or(32_768)
}
