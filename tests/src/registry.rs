//! A real registry (Debian package `docker-registry`) on a free port of this machine, and one that answers whatever a test wants.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::ports::free_port;
use crate::wait::wait_until;

/// The user of a registry with a password.
pub const REGISTRY_USER: &str = "desk";
/// That user's password.
pub const REGISTRY_PASSWORD: &str = "secret";
/// Both, as `htpasswd -B` writes them.
const HTPASSWD: &str = "desk:$2a$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// A running registry. It is killed when it is dropped.
pub struct DockerRegistry {
    child: Child,
    /// Its address: `127.0.0.1:PORT`.
    pub address: String,
    dir: tempfile::TempDir,
}

impl DockerRegistry {
    /// Starts an empty registry that anybody may write to.
    ///
    /// # Panics
    /// There is no `docker-registry`, or it does not answer.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts an empty registry that only [`REGISTRY_USER`] may read and write.
    ///
    /// # Panics
    /// There is no `docker-registry`, or it does not answer.
    #[must_use]
    pub fn start_with_password() -> Self {
        Self::start_with("auth:\n  htpasswd:\n    realm: tests\n    path: htpasswd\n")
    }

    fn start_with(auth: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let address = format!("127.0.0.1:{}", free_port());
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n{auth}",
            dir.path().join("storage").display()
        );
        std::fs::write(dir.path().join("config.yml"), config).expect("a configuration");
        std::fs::write(dir.path().join("htpasswd"), HTPASSWD).expect("passwords");
        let child = Command::new("docker-registry")
            .args(["serve", "config.yml"])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry; install it with `apt-get install docker-registry`");
        wait_until("the registry answers", || {
            TcpStream::connect(&address).is_ok()
        });
        Self {
            child,
            address,
            dir,
        }
    }

    /// Returns the file in which it keeps the bytes of this SHA-256.
    #[must_use]
    pub fn blob_file(&self, sha256: &str) -> PathBuf {
        let blobs = "storage/docker/registry/v2/blobs/sha256";
        self.dir
            .path()
            .join(blobs)
            .join(sha256.get(..2).unwrap_or_default())
            .join(sha256)
            .join("data")
    }

    /// Returns the bytes that it keeps of this SHA-256.
    ///
    /// # Panics
    /// There are none.
    #[must_use]
    pub fn read_blob(&self, sha256: &str) -> Vec<u8> {
        std::fs::read(self.blob_file(sha256)).expect("a blob")
    }

    /// Returns the SHA-256 of the manifest under a tag.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn read_tag(&self, name: &str, tag: &str) -> String {
        let link = format!(
            "storage/docker/registry/v2/repositories/{name}/_manifests/tags/{tag}/current/link"
        );
        let text = std::fs::read_to_string(self.dir.path().join(link)).expect("a tag");
        text.trim().trim_start_matches("sha256:").to_owned()
    }

    /// Lets a tag lead to another manifest that it keeps.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn move_tag(&self, name: &str, tag: &str, sha256: &str) {
        let tags = format!("storage/docker/registry/v2/repositories/{name}/_manifests/tags/{tag}");
        let dir = self.dir.path().join(tags).join("current");
        std::fs::create_dir_all(&dir).expect("a directory");
        std::fs::write(dir.join("link"), format!("sha256:{sha256}")).expect("a tag");
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a [`FakeRegistry`] answers.
#[derive(Debug, Clone)]
pub struct FakeAnswer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    is_endless: bool,
}

impl FakeAnswer {
    /// An answer with a body.
    #[must_use]
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::of(200, body)
    }

    /// An answer of this status with a body.
    #[must_use]
    pub fn of(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            is_endless: false,
        }
    }

    /// An answer that sends this without end.
    #[must_use]
    pub fn endless(body: impl Into<Vec<u8>>) -> Self {
        Self {
            is_endless: true,
            ..Self::ok(body)
        }
    }

    /// Sets the status.
    #[must_use]
    pub const fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// A request as a [`FakeRegistry`] got it.
#[derive(Debug, Clone)]
pub struct FakeRequest {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The value of the header `Authorization`; empty: there was none.
    pub authorization: String,
}

/// A server that answers as a test says. It ends with the test's process.
pub struct FakeRegistry {
    /// Its address: `127.0.0.1:PORT`.
    pub address: String,
    requests: Arc<Mutex<Vec<FakeRequest>>>,
}

impl FakeRegistry {
    /// Starts a server. `answer` gets the server's own address and the request.
    ///
    /// # Panics
    /// There is no free port.
    #[must_use]
    pub fn start(
        answer: impl Fn(&str, &FakeRequest) -> FakeAnswer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, own) = (Arc::clone(&requests), address.clone());
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, own, answer) = (Arc::clone(&seen), own.clone(), Arc::clone(&answer));
                // A client that has enough of an endless answer closes the connection.
                std::thread::spawn(move || {
                    let Some(request) = read_request(&stream) else {
                        return;
                    };
                    if let Ok(mut seen) = seen.lock() {
                        seen.push(request.clone());
                    }
                    let _ = write_answer(&stream, &answer(&own, &request));
                });
            }
        });
        Self { address, requests }
    }

    /// Returns the requests that it got.
    ///
    /// # Panics
    /// A thread of it panicked.
    #[must_use]
    pub fn requests(&self) -> Vec<FakeRequest> {
        self.requests.lock().expect("the requests").clone()
    }
}

fn read_request(stream: &TcpStream) -> Option<FakeRequest> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let mut request = FakeRequest {
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        authorization: String::new(),
    };
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim_end();
        if header.is_empty() {
            return Some(request);
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("authorization")
        {
            value.trim().clone_into(&mut request.authorization);
        }
    }
}

fn write_answer(mut stream: &TcpStream, answer: &FakeAnswer) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Answer\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if !answer.is_endless {
        let _ = write!(head, "Content-Length: {}\r\n", answer.body.len());
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(&answer.body)?;
    if answer.is_endless {
        // It ends when the other side closes the connection.
        loop {
            stream.write_all(&answer.body)?;
        }
    }
    stream.flush()
}

/// Makes a pair of keys in a directory by `openssl`: `NAME.key` and `NAME.pub`, of `ed25519` or `p256`.
///
/// # Panics
/// There is no `openssl`.
pub fn make_key_pair(dir: &Path, name: &str, algorithm: &str) {
    let private = dir.join(format!("{name}.key"));
    let public = dir.join(format!("{name}.pub"));
    let arguments: &[&str] = match algorithm {
        "ed25519" => &["-algorithm", "ed25519"],
        _ => &["-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    };
    let made = Command::new("openssl")
        .arg("genpkey")
        .args(arguments)
        .arg("-out")
        .arg(&private)
        .output()
        .expect("openssl; install it with `apt-get install openssl`");
    assert!(made.status.success(), "{made:?}");
    let written = Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(&private)
        .arg("-out")
        .arg(&public)
        .output()
        .expect("openssl starts");
    assert!(written.status.success(), "{written:?}");
}
