//! Fronts: what passes through one is what the owner answers; nothing is lost or done twice while the owner is away; what a front judges
//! otherwise is counted.

mod away;
mod compiled;
mod faults;
mod halted;
mod memory;
mod owners;
mod passing;
mod verdicts;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ark_tests::ports::free_port;
use ark_tests::telemetry::series_value;
use ark_tests::{Client, Host, TestDir, wait_for, wait_until};
use serde_json::Value;

use crate::api::tls::write_key;

/// An empty configuration for a front of its own.
fn empty_config(dir: &TestDir) -> PathBuf {
    write(dir, "front.toml", "")
}

pub(super) fn write(dir: &TestDir, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

fn url(host: &Host) -> String {
    format!("http://{}", host.address)
}

pub(super) fn wait_ready(front: &Host) {
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
pub(super) fn settled_verdicts(front: &Host, decisions: u64) -> Value {
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

/// A series of a front's metrics; 0 if there is none.
fn read_metric(front: &Host, series: &str) -> f64 {
    let metrics = Client::of_telemetry(front).get_text("/metrics");
    series_value(&metrics, series).unwrap_or_default()
}

/// What a host that is ready answers to `/readyz`.
const READY: &str = "{\"ready\": true, \"graveyard_vectors\": 1}";

/// Starts an owner that is ready, and answers any other request with what `script` makes of its head; `None`: it breaks the connection. Returns
/// its address.
fn start_scripted_owner(mut script: impl FnMut(&str) -> Option<String> + Send + 'static) -> String {
    start_scripted_server(move |head| {
        if head.starts_with("GET /readyz ") {
            return Some(answer_of("200 OK", "", READY));
        }
        script(head)
    })
}

/// Starts a server that answers each request with what `script` makes of its head; `None`: it breaks the connection. Returns its address.
fn start_scripted_server(script: impl FnMut(&str) -> Option<String> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let script = Arc::new(Mutex::new(script));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let script = Arc::clone(&script);
            std::thread::spawn(move || {
                let Some(head) = read_message(&mut stream) else {
                    return;
                };
                let answer = (script.lock().expect("no panic"))(&head);
                if let Some(answer) = answer {
                    let _ = stream.write_all(answer.as_bytes());
                }
            });
        }
    });
    address
}

/// Reads a request and returns its head.
fn read_message(stream: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, length) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| length.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some(head)
}

/// An answer of a scripted owner, with further header lines.
fn answer_of(status: &str, lines: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{lines}\r\n{body}",
        body.len()
    )
}

pub(super) fn token_file(dir: &TestDir, name: &str, token: &str) -> String {
    let path = dir.path().join(name);
    write_key(&path, token);
    path.display().to_string()
}

fn start_owner(dir: &TestDir, listen: &str) -> Option<Host> {
    let config = dir.config().display().to_string();
    Host::try_start(&dir.data(), &["--config", &config, "--listen", listen]).ok()
}
