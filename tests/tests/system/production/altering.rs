//! A proxy in front of a host that alters what it answers.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A proxy that replaces a text in what the host answers by another of the same length, from the `after`-th time on.
pub(crate) fn start_altering(
    target: &str,
    from: &'static str,
    to: &'static str,
    after: usize,
) -> String {
    assert_eq!(from.len(), to.len());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let target = target.to_owned();
    let seen = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(&target) else {
                continue;
            };
            let (Ok(mut up), Ok(mut down)) = (server.try_clone(), client.try_clone()) else {
                continue;
            };
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut { client }, &mut up);
                let _ = up.shutdown(Shutdown::Both);
            });
            std::thread::spawn(move || {
                let mut server = server;
                let mut buffer = vec![0; 256 * 1024];
                while let Ok(length @ 1..) = server.read(&mut buffer) {
                    let part = &mut buffer[..length];
                    let places: Vec<usize> = part
                        .windows(from.len())
                        .enumerate()
                        .filter(|(_, window)| *window == from.as_bytes())
                        .map(|(place, _)| place)
                        .collect();
                    for place in places {
                        if seen.fetch_add(1, Ordering::SeqCst) >= after {
                            part[place..place + from.len()].copy_from_slice(to.as_bytes());
                        }
                    }
                    if down.write_all(part).is_err() {
                        break;
                    }
                }
                let _ = down.shutdown(Shutdown::Both);
            });
        }
    });
    format!("http://{address}")
}
