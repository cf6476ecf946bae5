//! Proxies in front of a host: one that alters what it answers, or what it is asked, and one that asks another host for one path.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A text that is replaced by another of the same length, from the `after`-th time on.
#[derive(Clone)]
struct Alteration {
    from: &'static str,
    to: &'static str,
    after: usize,
    seen: Arc<AtomicUsize>,
}

impl Alteration {
    /// Copies from one connection to another, until either ends.
    fn copy(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 256 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let part = &mut buffer[..length];
            let places: Vec<usize> = part
                .windows(self.from.len())
                .enumerate()
                .filter(|(_, window)| *window == self.from.as_bytes())
                .map(|(place, _)| place)
                .collect();
            for place in places {
                if self.seen.fetch_add(1, Ordering::SeqCst) >= self.after {
                    part[place..place + self.from.len()].copy_from_slice(self.to.as_bytes());
                }
            }
            if to.write_all(part).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    }
}

/// A proxy that alters what the host answers.
pub(crate) fn start_altering(
    target: &str,
    from: &'static str,
    to: &'static str,
    after: usize,
) -> String {
    start_proxy(target, from, to, after, false)
}

/// A proxy that alters what the host is asked.
pub(crate) fn start_altering_requests(
    target: &str,
    from: &'static str,
    to: &'static str,
    after: usize,
) -> String {
    start_proxy(target, from, to, after, true)
}

fn start_proxy(
    target: &str,
    from: &'static str,
    to: &'static str,
    after: usize,
    of_requests: bool,
) -> String {
    assert_eq!(from.len(), to.len());
    let alteration = Alteration {
        from,
        to,
        after,
        seen: Arc::new(AtomicUsize::new(0)),
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let target = target.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(&target) else {
                continue;
            };
            let (Ok(up), Ok(down)) = (server.try_clone(), client.try_clone()) else {
                continue;
            };
            let (altered, plain) = if of_requests {
                ((client, up), (server, down))
            } else {
                ((server, down), (client, up))
            };
            let alteration = alteration.clone();
            std::thread::spawn(move || alteration.copy(altered.0, altered.1));
            std::thread::spawn(move || {
                let (mut from, mut to) = plain;
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    });
    format!("http://{address}")
}

/// A proxy that asks `other` for one path, and `target` for everything else. A request has no body. Returns its address.
pub(crate) fn start_splitting(target: &str, path: &'static str, other: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let (target, other) = (target.to_owned(), other.to_owned());
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (target, other) = (target.clone(), other.clone());
            std::thread::spawn(move || {
                // A connection that ends early is the client's affair.
                let _ = answer_split(client, &target, path, &other);
            });
        }
    });
    address.to_string()
}

/// Answers one request, then ends the connection.
fn answer_split(client: TcpStream, target: &str, path: &str, other: &str) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    let mut head = String::new();
    while client.read_line(&mut head)? > 0 && !head.ends_with("\r\n\r\n") {}
    let is_other = head.starts_with(&format!("GET {path} "));
    let mut server = TcpStream::connect(if is_other { other } else { target })?;
    let end = "\r\nConnection: close\r\n\r\n";
    server.write_all(head.trim_end().as_bytes())?;
    server.write_all(end.as_bytes())?;
    std::io::copy(&mut server, client.get_mut())?;
    client.get_ref().shutdown(Shutdown::Both)
}
