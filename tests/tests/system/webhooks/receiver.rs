//! A receiver of webhooks: it checks every signature by code of its own, and answers as a test tells it to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ark_tests::{base64, wait_for};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// An event that arrived.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) id: String,
    pub(super) timestamp: u64,
    /// Which of the receiver's secrets signed it, by their place.
    pub(super) signed_by: Vec<usize>,
    /// How many signatures it had.
    pub(super) signatures: usize,
    pub(super) event: Value,
    pub(super) body: String,
    pub(super) at: Instant,
}

/// What a receiver does with an event.
#[derive(Debug, Clone)]
pub(super) enum Reaction {
    /// It answers with a status and headers.
    Status(u16, Vec<(&'static str, String)>),
    /// It answers 200 with a body that never ends.
    EndlessBody,
    /// It answers 200 with headers that never end.
    EndlessHead,
    /// It answers 200 and sends a header from time to time.
    Trickle,
    /// It answers nothing.
    Silence,
    /// It answers with what is no HTTP.
    Garbage,
}

pub(super) const OK: Reaction = Reaction::Status(204, Vec::new());

type React = Box<dyn FnMut(&Received) -> Reaction + Send>;

struct ReceiverState {
    secrets: Mutex<Vec<Vec<u8>>>,
    received: Mutex<Vec<Received>>,
    /// Requests whose signature was wrong, and connections that broke off.
    faults: Mutex<Vec<String>>,
    react: Mutex<React>,
    is_ended: AtomicBool,
}

/// A receiver on a port of its own, on 127.0.0.1. It ends when it is dropped.
pub(super) struct Receiver {
    pub(super) port: u16,
    shared: Arc<ReceiverState>,
}

impl Receiver {
    /// A receiver that knows these secrets and answers everything with success.
    pub(super) fn start(secrets: &[&[u8]]) -> Self {
        Self::start_with(secrets, None)
    }

    /// A receiver with a certificate and its key, as PEM.
    pub(super) fn start_tls(secrets: &[&[u8]], (chain, key): &(String, String)) -> Self {
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .expect("certificates");
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate");
        Self::start_with(secrets, Some(Arc::new(config)))
    }

    fn start_with(secrets: &[&[u8]], tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(ReceiverState {
            secrets: Mutex::new(secrets.iter().map(|it| it.to_vec()).collect()),
            received: Mutex::default(),
            faults: Mutex::default(),
            react: Mutex::new(Box::new(|_| OK)),
            is_ended: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.is_ended.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), shared, tls) = (stream, Arc::clone(&serving), tls.clone()) else {
                    return;
                };
                std::thread::spawn(move || {
                    if let Err(error) = shared.serve_connection(stream, tls) {
                        shared.note_fault(error.to_string());
                    }
                });
            }
        });
        Self { port, shared }
    }

    /// Lets it react in another way from now on.
    pub(super) fn react(&self, react: impl FnMut(&Received) -> Reaction + Send + 'static) {
        *lock_mutex(&self.shared.react) = Box::new(react);
    }

    /// Gives it other secrets.
    pub(super) fn set_secrets(&self, secrets: &[&[u8]]) {
        *lock_mutex(&self.shared.secrets) = secrets.iter().map(|it| it.to_vec()).collect();
    }

    /// What arrived so far, in order.
    pub(super) fn received(&self) -> Vec<Received> {
        lock_mutex(&self.shared.received).clone()
    }

    /// What went wrong: a wrong signature, or a connection that broke off.
    pub(super) fn faults(&self) -> Vec<String> {
        lock_mutex(&self.shared.faults).clone()
    }

    /// Waits until something that arrived is as wanted, and returns it.
    pub(super) fn wait_for(&self, what: &str, wanted: impl Fn(&Received) -> bool) -> Received {
        wait_for(what, || self.received().into_iter().find(|it| wanted(it)))
    }

    /// Waits until the event of a decision has arrived.
    pub(super) fn wait_for_decision(&self, id: &str) -> Received {
        self.wait_for("a decision", |it| it.event["data"]["decision_id"] == id)
    }

    /// The ids of the decisions that arrived, in order, each once.
    pub(super) fn decisions(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for received in self.received() {
            let is_decision = |kind: &str| kind.starts_with("ark.decision.");
            if received.event["type"].as_str().is_some_and(is_decision) {
                let id = received.event["data"]["decision_id"]
                    .as_str()
                    .expect("an id")
                    .to_owned();
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
        }
        ids
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.is_ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn lock_mutex<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

trait Channel: Read + Write {}
impl<T: Read + Write> Channel for T {}

impl ReceiverState {
    fn note_fault(&self, fault: String) {
        lock_mutex(&self.faults).push(fault);
    }

    fn serve_connection(
        &self,
        stream: TcpStream,
        tls: Option<Arc<ServerConfig>>,
    ) -> std::io::Result<()> {
        let channel: Box<dyn Channel> = match tls {
            None => Box::new(stream),
            Some(config) => {
                let session = ServerConnection::new(config).map_err(std::io::Error::other)?;
                Box::new(StreamOwned::new(session, stream))
            }
        };
        let mut channel = BufReader::new(channel);
        while let Some((headers, body)) = read_request(&mut channel)? {
            let reaction = match self.take_request(&headers, &body) {
                Ok(received) => lock_mutex(&self.react)(&received),
                Err(fault) => {
                    self.note_fault(fault);
                    Reaction::Status(401, Vec::new())
                }
            };
            if !self.answer_request(channel.get_mut(), &reaction)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Checks a request as Standard Webhooks says, and keeps it.
    fn take_request(&self, headers: &[(String, String)], body: &str) -> Result<Received, String> {
        let header = |name: &str| {
            let mut found = headers.iter().filter(|(it, _)| it == name);
            match (found.next(), found.next()) {
                (Some((_, value)), None) => Ok(value.as_str()),
                _ => Err(format!("{name} is not there once: {headers:?}")),
            }
        };
        let (id, timestamp) = (header("webhook-id")?, header("webhook-timestamp")?);
        if header("content-type")? != "application/cloudevents+json" {
            return Err("another content-type".to_owned());
        }
        let signatures: Vec<&str> = header("webhook-signature")?.split(' ').collect();
        let signed = format!("{id}.{timestamp}.{body}");
        let secrets = lock_mutex(&self.secrets);
        let expected = secrets
            .iter()
            .map(|secret| format!("v1,{}", base64(&hmac_sha256(secret, signed.as_bytes()))));
        let signed_by: Vec<usize> = expected
            .enumerate()
            .filter(|(_, expected)| signatures.contains(&expected.as_str()))
            .map(|(place, _)| place)
            .collect();
        if signed_by.is_empty() {
            return Err(format!("no secret signed {id}: {signatures:?}"));
        }
        let received = Received {
            id: id.to_owned(),
            timestamp: timestamp.parse().map_err(|_| "no time".to_owned())?,
            signed_by,
            signatures: signatures.len(),
            event: serde_json::from_str(body).map_err(|error| error.to_string())?,
            body: body.to_owned(),
            at: Instant::now(),
        };
        lock_mutex(&self.received).push(received.clone());
        Ok(received)
    }

    /// Answers a request. Returns whether the connection goes on.
    fn answer_request(
        &self,
        channel: &mut dyn Channel,
        reaction: &Reaction,
    ) -> std::io::Result<bool> {
        match reaction {
            Reaction::Status(status, headers) => {
                let mut head = format!("HTTP/1.1 {status} Told\r\n");
                if *status != 204 {
                    head.push_str("Content-Length: 0\r\n");
                }
                for (name, value) in headers {
                    head = format!("{head}{name}: {value}\r\n");
                }
                channel.write_all(format!("{head}\r\n").as_bytes())?;
                channel.flush()?;
                return Ok(true);
            }
            Reaction::EndlessBody => {
                channel.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n")?;
                self.repeat_part(channel, &[b'x'; 4096], Duration::ZERO);
            }
            Reaction::EndlessHead => {
                channel.write_all(b"HTTP/1.1 200 OK\r\n")?;
                self.repeat_part(channel, b"X-More: and more\r\n", Duration::ZERO);
            }
            Reaction::Trickle => {
                channel.write_all(b"HTTP/1.1 200 OK\r\n")?;
                self.repeat_part(channel, b"X: y\r\n", Duration::from_millis(50));
            }
            Reaction::Silence => {
                while !self.is_ended.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            Reaction::Garbage => channel.write_all(b"220 mail.example ESMTP\r\n\r\n")?,
        }
        Ok(false)
    }

    /// Writes the same until the other side has gone.
    fn repeat_part(&self, channel: &mut dyn Channel, part: &[u8], pause: Duration) {
        let is_ended = || self.is_ended.load(Ordering::SeqCst);
        while !is_ended()
            && channel
                .write_all(part)
                .and_then(|()| channel.flush())
                .is_ok()
        {
            std::thread::sleep(pause);
        }
    }
}

type RawRequest = (Vec<(String, String)>, String);

/// Reads a request; `None`: the connection has ended before one.
fn read_request(channel: &mut impl BufRead) -> std::io::Result<Option<RawRequest>> {
    let mut line = String::new();
    if channel.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    assert!(line.starts_with("POST /hook HTTP/1.1"), "{line}");
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        channel.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().expect("a length"));
    let mut body = vec![0; length];
    channel.read_exact(&mut body)?;
    let body = String::from_utf8(body).expect("UTF-8");
    Ok(Some((headers, body)))
}

/// HMAC (RFC 2104) with SHA-256, written here so that the host is checked by other code than its own.
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    assert!(key.len() <= 64);
    let pad = |byte: u8| {
        let mut pad = [byte; 64];
        pad.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
        pad
    };
    let hash = |parts: [&[u8]; 2]| -> [u8; 32] {
        let mut hash = sha2::Sha256::new();
        for part in parts {
            hash.update(part);
        }
        hash.finalize().into()
    };
    hash([&pad(0x5c), &hash([&pad(0x36), message])])
}

#[test]
fn the_receiver_of_the_tests_computes_the_hmac_of_rfc_4231() {
    let digest = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
    let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(ark_tests::hex(&digest), expected);
}
