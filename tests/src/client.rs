//! A plain HTTP client that sends what a test tells it to, well-formed or not.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::host::Host;
use crate::wait::PATIENCE;

/// The header of a request with a JSON body.
pub const JSON: (&str, &str) = ("Content-Type", "application/json");

/// One keep-alive connection, opened with the first request and again after it was closed.
pub struct Client {
    address: String,
    /// The value of the `Authorization` header of every request.
    authorization: Option<String>,
    stream: Option<BufReader<TcpStream>>,
}

/// An answer: status, headers with names in lower case, body.
pub type RawAnswer = (u16, Vec<(String, String)>, Vec<u8>);

impl Client {
    /// Returns a client of a host's API.
    #[must_use]
    pub fn new(host: &Host) -> Self {
        Self::at(&host.address)
    }

    /// Returns a client of a host's API that sends a bearer token with every request.
    #[must_use]
    pub fn with_token(host: &Host, token: &str) -> Self {
        Self::new(host).bearing(token)
    }

    /// Returns a client of the server at an address.
    #[must_use]
    pub fn at(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            authorization: None,
            stream: None,
        }
    }

    /// Returns the client with a bearer token, which it sends with every request.
    #[must_use]
    pub fn bearing(self, token: &str) -> Self {
        Self {
            authorization: Some(format!("Bearer {token}")),
            ..self
        }
    }

    /// Returns a client of a host's telemetry.
    ///
    /// # Panics
    /// Telemetry is off.
    #[must_use]
    pub fn of_telemetry(host: &Host) -> Self {
        Self::at(host.telemetry.as_deref().expect("telemetry is on"))
    }

    /// Sends a GET and returns the text of the answer.
    ///
    /// # Panics
    /// The host does not answer 200 with text.
    pub fn get_text(&mut self, path: &str) -> String {
        let (status, _, body) = self.request("GET", path, &[], b"").expect("an answer");
        let text = String::from_utf8(body).expect("UTF-8");
        assert_eq!(status, 200, "{path}: {text}");
        text
    }

    /// Sends a GET. Returns status and JSON body (null when there is none).
    ///
    /// # Panics
    /// The host does not answer.
    pub fn get(&mut self, path: &str) -> (u16, Value) {
        self.send("GET", path, &Value::Null)
    }

    /// Returns the ids of all decisions that the host holds, read page by page. `filter`: further parameters of the query, e.g. `&agent=kyle`.
    ///
    /// # Panics
    /// The host does not answer, or shows a decision without an id.
    pub fn read_decisions(&mut self, filter: &str) -> BTreeSet<String> {
        let first = format!("/v1/decisions?limit=500{filter}");
        let (mut recorded, mut path) = (BTreeSet::new(), first.clone());
        loop {
            let (status, page) = self.get(&path);
            assert_eq!(status, 200, "{page}");
            for decision in page["decisions"].as_array().expect("decisions") {
                recorded.insert(decision["decision_id"].as_str().expect("an id").to_owned());
            }
            match page["next_cursor"].as_str() {
                Some(cursor) => path = format!("{first}&cursor={cursor}"),
                None => return recorded,
            }
        }
    }

    /// Sends a POST of JSON. Returns status and JSON body (null when there is none).
    ///
    /// # Panics
    /// The host does not answer.
    pub fn post(&mut self, path: &str, body: &Value) -> (u16, Value) {
        self.send("POST", path, body)
    }

    /// As [`Client::post`], for a host that may end meanwhile.
    ///
    /// # Errors
    /// The connection broke: whether the request was carried out is unknown.
    pub fn try_post(&mut self, path: &str, body: &Value) -> std::io::Result<(u16, Value)> {
        self.try_send("POST", path, &[], body)
    }

    /// Sends a request with a JSON body, or with none when `body` is null. Returns status and JSON body (null when there is none).
    ///
    /// # Panics
    /// The host does not answer.
    pub fn send(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.try_send(method, path, &[], body).expect("an answer")
    }

    /// As [`Client::send`], with further headers.
    ///
    /// # Errors
    /// The connection broke: whether the request was carried out is unknown.
    pub fn try_send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> std::io::Result<(u16, Value)> {
        let (status, _, answer) = if body.is_null() {
            self.request(method, path, headers, b"")?
        } else {
            let headers = [&[JSON], headers].concat();
            self.request(method, path, &headers, body.to_string().as_bytes())?
        };
        Ok((
            status,
            serde_json::from_slice(&answer).unwrap_or(Value::Null),
        ))
    }

    /// Sends any request.
    ///
    /// # Errors
    /// The connection broke.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<RawAnswer> {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nContent-Length: {}\r\n",
            body.len()
        );
        if !headers.iter().any(|(name, _)| *name == "Host") {
            head.push_str("Host: localhost\r\n");
        }
        if let Some(authorization) = &self.authorization {
            head = format!("{head}Authorization: {authorization}\r\n");
        }
        for (name, value) in headers {
            head = format!("{head}{name}: {value}\r\n");
        }
        let result = self.exchange_message(head.as_bytes(), body);
        let closes = |(_, headers, _): &RawAnswer| {
            let close = |(name, value): &(String, String)| name == "connection" && value == "close";
            headers.iter().any(close)
        };
        if result.as_ref().map_or(true, closes) {
            self.stream = None;
        }
        result
    }

    fn exchange_message(&mut self, head: &[u8], body: &[u8]) -> std::io::Result<RawAnswer> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(&self.address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            self.stream = Some(BufReader::new(stream));
        }
        let Some(stream) = &mut self.stream else {
            return Err(std::io::Error::other("no connection"));
        };
        let mut message = head.to_vec();
        message.extend_from_slice(b"\r\n");
        message.extend_from_slice(body);
        // The host may answer before it has read all, and close: what counts is its answer.
        let _ = stream.get_mut().write_all(&message);
        read_answer(stream)
    }
}

/// Sends raw bytes on a connection of its own, ends the sending side, and returns everything that comes back.
///
/// # Panics
/// There is no connection.
#[must_use]
pub fn send_raw(host: &Host, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect_raw(&host.address, bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    read_to_end(&mut stream)
}

/// Sends raw bytes, whose `Connection: close` must end the connection, to any address, and returns everything that comes back.
///
/// # Panics
/// There is no connection.
#[must_use]
pub fn send_raw_to(address: &str, bytes: &[u8]) -> Vec<u8> {
    read_to_end(&mut connect_raw(address, bytes))
}

fn connect_raw(address: &str, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let _ = stream.write_all(bytes);
    stream
}

fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn read_answer(stream: &mut BufReader<TcpStream>) -> std::io::Result<RawAnswer> {
    let broken = || std::io::Error::other("the answer is cut off");
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(broken)?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(broken());
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    if headers.contains(&("transfer-encoding".to_owned(), "chunked".to_owned())) {
        return Ok((status, headers, read_chunks(stream)?));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((status, headers, body))
}

/// Reads a body that comes in chunks. One that is cut off is an error.
fn read_chunks(stream: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim_end(), 16)
            .map_err(|_| std::io::Error::other("a chunk is cut off"))?;
        let begin = body.len();
        body.resize(begin + length, 0);
        stream.read_exact(&mut body[begin..])?;
        let mut end = [0; 2];
        stream.read_exact(&mut end)?;
        if length == 0 {
            return Ok(body);
        }
    }
}

/// Returns the value of a header of an answer; its name in lower case.
#[must_use]
pub fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(given, _)| given == name);
    found.map(|(_, value)| value.as_str())
}
