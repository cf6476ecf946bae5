//! A TCP proxy that a test can cut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A proxy on a free port of this machine, to another port of it.
pub struct Proxy {
    /// The port that it listens on, on 127.0.0.1.
    pub port: u16,
    shared: Arc<ProxyState>,
}

struct ProxyState {
    target: AtomicU16,
    refuses: AtomicBool,
    accepted: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Starts a proxy to a port.
    ///
    /// # Panics
    /// There is no free port.
    #[must_use]
    pub fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(ProxyState {
            target: AtomicU16::new(target),
            refuses: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            open: Mutex::default(),
        });
        let accepting = Arc::downgrade(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Some(shared), Ok(client)) = (accepting.upgrade(), client) else {
                    return;
                };
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                if !shared.refuses.load(Ordering::SeqCst) {
                    shared.join_streams(client);
                }
            }
        });
        Self { port, shared }
    }

    /// Ends every connection, in the middle of whatever it carries.
    ///
    /// # Panics
    /// A thread of the proxy panicked.
    pub fn cut(&self) {
        for stream in self.shared.open.lock().expect("no panic").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Ends every connection, and refuses new ones until it is told otherwise.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::SeqCst);
        self.cut();
    }

    /// Returns how many connections were opened so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Leads new connections to another port, and ends the others.
    pub fn lead_to(&self, target: u16) {
        self.shared.target.store(target, Ordering::SeqCst);
        self.cut();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.refuse(true);
        // Its thread sees that the proxy is gone with the next connection.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl ProxyState {
    fn join_streams(&self, client: TcpStream) {
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.target.load(Ordering::SeqCst)))
        else {
            return;
        };
        let copy = |stream: &TcpStream| stream.try_clone().ok();
        let (Some(from_client), Some(to_client)) = (copy(&client), copy(&client)) else {
            return;
        };
        let (Some(from_server), Some(to_server)) = (copy(&server), copy(&server)) else {
            return;
        };
        if let Ok(mut open) = self.open.lock() {
            open.extend([client, server]);
        }
        std::thread::spawn(move || carry_bytes(from_client, to_server));
        std::thread::spawn(move || carry_bytes(from_server, to_client));
    }
}

fn carry_bytes(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
