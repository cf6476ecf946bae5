//! What answers as a test says, in the place of a host.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use ark_client::{Endpoint, HostClient};
use serde_json::Value;

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// The path with its query.
    pub(crate) path: String,
    /// Null: it has none.
    pub(crate) body: Value,
}

/// Starts a server that answers each request with the status and the body that `answer` gives, one after the other, until the test ends. Returns a client
/// of it.
pub(crate) fn start_scripted_host(
    mut answer: impl FnMut(&Asked) -> (u16, Value) + Send + 'static,
) -> HostClient {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            let Some(asked) = read_request(&mut stream) else {
                continue;
            };
            let (status, body) = answer(&asked);
            let body = body.to_string();
            let _sent = write!(
                stream.get_mut(),
                "HTTP/1.1 {status} Scripted\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    let (token, ca) = (None, None);
    HostClient::new(&Endpoint { url, token, ca }).unwrap()
}

/// Reads a request; `None`: the connection ended before its end.
fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let mut first = head.first()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let length = head.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Some(Asked { method, path, body })
}
