//! What stands for an Alertmanager: it says that it is ready, and takes alerts.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

/// It answers until the process ends.
pub struct Alertmanager {
    /// Host and port.
    pub address: String,
}

impl Alertmanager {
    /// Starts one on a free port of this machine.
    ///
    /// # Panics
    /// There is no free port.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || answer_requests(stream));
            }
        });
        Self { address }
    }
}

/// Reads a request to the end of its body. Returns its first line; `None`: the connection was closed, or what came is no request.
pub fn read_request(stream: &mut impl BufRead) -> Option<String> {
    let mut length = 0;
    let mut first = String::new();
    stream.read_line(&mut first).ok().filter(|read| *read > 0)?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    stream.read_exact(&mut vec![0; length]).ok()?;
    Some(first)
}

/// Answers the requests of a connection until it is closed; `None`: it was.
fn answer_requests(stream: TcpStream) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let first = read_request(&mut stream)?;
        let is_known =
            first.starts_with("GET /-/ready ") || first.starts_with("POST /api/v2/alerts ");
        let status = if is_known { "200 OK" } else { "404 Not Found" };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nOK");
        stream.get_mut().write_all(answer.as_bytes()).ok()?;
    }
}
