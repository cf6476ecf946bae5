//! The front of the new version as a service manager runs it: on sockets that stay open, started again whenever it ends.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ark_tests::{FAULT_VARIABLE, newer_program};

/// The pause between two looks at whether the front has ended.
const PAUSE: Duration = Duration::from_millis(20);

/// A front that is started again until this is dropped.
pub(crate) struct Supervisor {
    /// The address of its API.
    pub(crate) address: String,
    /// The address of its telemetry.
    pub(crate) telemetry: String,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Starts a front before a host. `fault`: the file with its fault.
    pub(crate) fn start(owner: &str, config: &Path, args: &[&str], fault: &str) -> Self {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [address, telemetry] = [0, 1].map(|index: usize| {
            let address = listeners[index].local_addr().expect("an address");
            address.to_string()
        });
        let front = [
            "front",
            "--owner",
            owner,
            "--config",
            config.to_str().expect("UTF-8"),
            "--listen",
            &address,
            "--telemetry-listen",
            &telemetry,
        ];
        let front: Vec<String> = front
            .iter()
            .chain(args)
            .map(|&arg| arg.to_owned())
            .collect();
        let (fault, ending) = (fault.to_owned(), Arc::new(AtomicBool::new(false)));
        let is_ending = Arc::clone(&ending);
        let thread = std::thread::spawn(move || {
            while !is_ending.load(Ordering::Relaxed) {
                let mut child = spawn_front(&listeners, &front, &fault);
                while child.try_wait().expect("a state").is_none() {
                    if is_ending.load(Ordering::Relaxed) {
                        let _ = child.kill();
                    }
                    std::thread::sleep(PAUSE);
                }
            }
        });
        Self {
            address,
            telemetry,
            ending,
            thread: Some(thread),
        }
    }
}

/// Starts the front with the listeners as descriptors 3 and 4.
fn spawn_front(listeners: &[TcpListener; 2], front: &[String], fault: &str) -> Child {
    let [api, telemetry] = [0, 1].map(|index: usize| {
        let listener = listeners[index].try_clone().expect("a descriptor");
        OwnedFd::from(listener)
    });
    Command::new("sh")
        .args([
            "-c",
            "exec 3<&0 4<&1 </dev/null >/dev/null; exec \"$@\"",
            "sh",
        ])
        .arg(newer_program())
        .args(front)
        .env("LISTEN_FDS", "2")
        .env("ARK_LOG", "warn")
        .env(FAULT_VARIABLE, fault)
        .stdin(Stdio::from(api))
        .stdout(Stdio::from(telemetry))
        .stderr(Stdio::null())
        .spawn()
        .expect("ark starts")
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
