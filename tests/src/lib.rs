//! What whole-system tests need: the real `ark`, started on a free port in a directory of its own, and a plain HTTP client.

pub mod redis;
pub mod telemetry;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The workspace's target directory.
fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")
}

/// The binary under test.
///
/// # Panics
/// It is not built.
#[must_use]
pub fn ark() -> PathBuf {
    built(&target().join("debug/ark"))
}

/// The directory with the example agents.
///
/// # Panics
/// They are not built.
#[must_use]
pub fn guests() -> PathBuf {
    built(&target().join("guests/kyle.wasm")).with_file_name("")
}

/// The directory with the hostile guests.
///
/// # Panics
/// They are not built.
#[must_use]
pub fn hostile_guests() -> PathBuf {
    built(&target().join("guests-hostile/chaos.wasm")).with_file_name("")
}

fn built(path: &Path) -> PathBuf {
    assert!(
        path.exists(),
        "{} is not built; run the tests with `cargo xtask test`",
        path.display()
    );
    path.to_owned()
}

/// Copies an agent (component and manifest) into a directory.
///
/// # Panics
/// It cannot be copied.
pub fn copy_agent(from: &Path, name: &str, to: &Path) {
    std::fs::create_dir_all(to).expect("the agents' directory");
    for extension in ["wasm", "toml"] {
        let file = format!("{name}.{extension}");
        std::fs::copy(from.join(&file), to.join(&file)).expect("an agent's file");
    }
}

/// Writes a copy of an agent that has another number: the last characters of its name (two, or as many as the number has digits), in the
/// component's bytes and in the manifest.
///
/// # Panics
/// The component does not hold its name exactly once, or cannot be read or written.
#[must_use]
pub fn copy_numbered(from: &Path, name: &str, number: u32, topic: &str, to: &Path) -> String {
    let mut component = std::fs::read(from.join(format!("{name}.wasm"))).expect("a component");
    let manifest = std::fs::read_to_string(from.join(format!("{name}.toml"))).expect("a manifest");
    let line = |key: &str| {
        let prefix = format!("{key} = ");
        let line = manifest.lines().find(|line| line.starts_with(&prefix));
        line.expect("a line of the manifest").to_owned()
    };
    let old = line("name").replace("name = ", "").replace('"', "");
    let digits = format!("{number:02}");
    let new = format!("{}{digits}", &old[..old.len() - digits.len()]);
    let places: Vec<usize> = component
        .windows(old.len())
        .enumerate()
        .filter(|(_, window)| *window == old.as_bytes())
        .map(|(place, _)| place)
        .collect();
    assert_eq!(
        places.len(),
        1,
        "{name} holds its name {} times",
        places.len()
    );
    component[places[0]..places[0] + new.len()].copy_from_slice(new.as_bytes());
    let file = format!("{name}-{number:02}");
    let manifest = manifest
        .replace(&line("name"), &format!("name = \"{new}\""))
        .replace(&line("component"), &format!("component = \"{file}.wasm\""))
        .replace(&line("topics"), &format!("topics = [\"{topic}\"]"))
        .replace(
            &line("sha256"),
            &format!("sha256 = \"{}\"", sha256(&component)),
        );
    std::fs::create_dir_all(to).expect("the agents' directory");
    std::fs::write(to.join(format!("{file}.wasm")), component).expect("a component");
    std::fs::write(to.join(format!("{file}.toml")), manifest).expect("a manifest");
    new
}

/// SHA-256 in hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;

    use sha2::Digest;
    sha2::Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// Standard Base64 with padding (RFC 4648).
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .enumerate()
            .fold(0_usize, |bits, (place, byte)| {
                bits | usize::from(*byte) << (16 - 8 * place)
            });
        for digit in 0..4 {
            text.push(if digit <= group.len() {
                char::from(DIGITS[bits >> (18 - 6 * digit) & 63])
            } else {
                '='
            });
        }
    }
    text
}

/// The configuration of a watchdog that leaves an agent at large whatever it does: for tests that go on after a misdeed.
pub const PATIENT: &str =
    "[watchdog]\nconsecutive_failures = 100000\nfailure_rate = 1.0\nmissed_heartbeats = 100000\n";

/// Makes a token in the data directory of a host that is stopped; its secret.
///
/// # Panics
/// It is refused.
#[must_use]
pub fn make_token(data_dir: &Path, name: &str, role: &str, more: &[&str]) -> String {
    let output = Command::new(ark())
        .args(["token", "create", "--name", name, "--role", role])
        .arg("--data-dir")
        .arg(data_dir)
        .args(more)
        .output()
        .expect("ark starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs `ark` to its end.
///
/// # Panics
/// It cannot be started.
#[must_use]
pub fn run(args: &[&str]) -> Output {
    Command::new(ark()).args(args).output().expect("ark starts")
}

/// Kills a process this test started: SIGKILL.
///
/// # Panics
/// It cannot be killed.
pub fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process id"), Signal::KILL).expect("SIGKILL");
}

/// A running host. It is killed when it is dropped.
pub struct Host {
    child: Child,
    errors: Option<std::thread::JoinHandle<String>>,
    /// Where it listens.
    pub address: String,
    /// Where it serves telemetry, unless that is off.
    pub telemetry: Option<String>,
}

impl Host {
    /// Starts `ark serve` on a data directory and waits until it is ready.
    ///
    /// # Panics
    /// It does not become ready within 60 s.
    #[must_use]
    pub fn start(data_dir: &Path, args: &[&str]) -> Self {
        match Self::try_start(data_dir, args) {
            Ok(host) => host,
            Err(output) => panic!("ark did not start: {output}"),
        }
    }

    /// As [`Host::start`]; when the host ends by itself, what it wrote to standard error.
    ///
    /// # Errors
    /// The host ended.
    ///
    /// # Panics
    /// It neither ends nor becomes ready within 60 s.
    pub fn try_start(data_dir: &Path, args: &[&str]) -> Result<Self, String> {
        Self::try_start_with(data_dir, args, &[])
    }

    /// As [`Host::try_start`], with environment variables.
    ///
    /// # Errors
    /// The host ended.
    ///
    /// # Panics
    /// It neither ends nor becomes ready within 60 s.
    pub fn try_start_with(
        data_dir: &Path,
        args: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        Self::try_start_program(&ark(), data_dir, args, environment)
    }

    /// As [`Host::try_start_with`], with a program that becomes `ark`.
    ///
    /// # Errors
    /// The host ended.
    ///
    /// # Panics
    /// It neither ends nor becomes ready within 60 s.
    pub fn try_start_program(
        program: &Path,
        data_dir: &Path,
        args: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        let host = Self::spawn(program, data_dir, args, environment)?;
        host.wait_until_ready();
        Ok(host)
    }

    /// As [`Host::start`], but a host that may be halted, which is never ready.
    ///
    /// # Panics
    /// It ends by itself.
    #[must_use]
    pub fn start_halted(data_dir: &Path, args: &[&str]) -> Self {
        match Self::spawn(&ark(), data_dir, args, &[]) {
            Ok(host) => host,
            Err(output) => panic!("ark did not start: {output}"),
        }
    }

    fn spawn(
        program: &Path,
        data_dir: &Path,
        args: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        // An `ark.toml` of the working directory must not have a part in a test.
        let config = data_dir.with_extension("toml");
        let mut command = Command::new(program);
        command
            .arg("serve")
            .args(["--listen", "127.0.0.1:0"])
            .arg("--data-dir")
            .arg(data_dir);
        if !args.contains(&"--config") {
            if !config.exists() {
                std::fs::write(&config, "").expect("a configuration");
            }
            command.arg("--config").arg(&config);
        }
        if !args.contains(&"--telemetry-listen") {
            command.args(["--telemetry-listen", "127.0.0.1:0"]);
        }
        let mut child = command
            .args(args)
            .env("ARK_LOG", "warn")
            // Settings of the tests themselves: to a host unknown variables.
            .env_remove("ARK_KILL_ROUNDS")
            .env_remove("ARK_SWAPS")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ark starts");
        let mut stderr = child.stderr.take().expect("standard error");
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let mut lines = BufReader::new(child.stdout.take().expect("standard output")).lines();
        let mut telemetry = None;
        let address = lines.find_map(|line| {
            let line = line.ok()?;
            if let Some(address) = line.strip_prefix("ark: telemetry on http://") {
                telemetry = Some(address.to_owned());
            }
            line.strip_prefix("ark: listening on http")
                .and_then(|line| line.strip_prefix("s").unwrap_or(line).strip_prefix("://"))
                .map(str::to_owned)
        });
        let Some(address) = address else {
            let _ = child.wait();
            return Err(errors.join().unwrap_or_default());
        };
        Ok(Self {
            child,
            errors: Some(errors),
            address,
            telemetry,
        })
    }

    fn wait_until_ready(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        while Client::new(self).get("/readyz").0 != 200 {
            assert!(Instant::now() < until, "not ready within 60 s");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it: SIGKILL, as a power cut would.
    ///
    /// # Panics
    /// It cannot be killed.
    pub fn kill(mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("its end");
    }

    /// Ends it with SIGTERM and returns its exit code.
    ///
    /// # Panics
    /// It has no process id, or does not end.
    #[must_use]
    pub fn terminate(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("SIGTERM");
        self.child.wait().expect("its end").code()
    }

    /// Ends it with SIGTERM and returns what it logged.
    ///
    /// # Panics
    /// It has no process id, or does not end.
    #[must_use]
    pub fn terminate_for_log(mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("SIGTERM");
        self.child.wait().expect("its end");
        let errors = self.errors.take().expect("its log is read once");
        errors.join().expect("its log")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One keep-alive connection.
pub struct Client {
    address: String,
    stream: Option<BufReader<TcpStream>>,
}

/// An answer: status, headers in lower case, body.
pub type Answer = (u16, Vec<(String, String)>, Vec<u8>);

impl Client {
    /// A client of a host.
    #[must_use]
    pub fn new(host: &Host) -> Self {
        Self {
            address: host.address.clone(),
            stream: None,
        }
    }

    /// A client of whoever listens there.
    #[must_use]
    pub fn at(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            stream: None,
        }
    }

    /// A client of its telemetry.
    ///
    /// # Panics
    /// That is off.
    #[must_use]
    pub fn of_telemetry(host: &Host) -> Self {
        Self {
            address: host.telemetry.clone().expect("telemetry is on"),
            stream: None,
        }
    }

    /// Sends a GET; the text of the answer.
    ///
    /// # Panics
    /// The host does not answer 200 with text.
    pub fn get_text(&mut self, path: &str) -> String {
        let (status, _, body) = self.request("GET", path, &[], b"").expect("an answer");
        let text = String::from_utf8(body).expect("UTF-8");
        assert_eq!(status, 200, "{path}: {text}");
        text
    }

    /// Sends a GET; status and JSON body (null when there is none).
    ///
    /// # Panics
    /// The host does not answer.
    pub fn get(&mut self, path: &str) -> (u16, Value) {
        let (status, _, body) = self.request("GET", path, &[], b"").expect("an answer");
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// Sends a POST of JSON; status and JSON body.
    ///
    /// # Panics
    /// The host does not answer.
    pub fn post(&mut self, path: &str, body: &Value) -> (u16, Value) {
        self.try_post(path, body).expect("an answer")
    }

    /// As [`Client::post`].
    ///
    /// # Errors
    /// The connection broke: whether the request was carried out is unknown.
    pub fn try_post(&mut self, path: &str, body: &Value) -> std::io::Result<(u16, Value)> {
        let json = [("Content-Type", "application/json")];
        let (status, _, body) = self.request("POST", path, &json, body.to_string().as_bytes())?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
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
    ) -> std::io::Result<Answer> {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nContent-Length: {}\r\n",
            body.len()
        );
        if !headers.iter().any(|(name, _)| *name == "Host") {
            head.push_str("Host: localhost\r\n");
        }
        for (name, value) in headers {
            head = format!("{head}{name}: {value}\r\n");
        }
        let result = self.exchange(head.as_bytes(), body);
        let ends = |(_, headers, _): &Answer| {
            let close = |(name, value): &(String, String)| name == "connection" && value == "close";
            headers.iter().any(close)
        };
        if result.as_ref().map_or(true, ends) {
            self.stream = None;
        }
        result
    }

    fn exchange(&mut self, head: &[u8], body: &[u8]) -> std::io::Result<Answer> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(&self.address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
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

/// Sends raw bytes on a connection of its own, ends the sending side, and returns whatever comes back.
///
/// # Panics
/// There is no connection.
#[must_use]
pub fn raw(host: &Host, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(&host.address).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn read_answer(stream: &mut BufReader<TcpStream>) -> std::io::Result<Answer> {
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
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((status, headers, body))
}

/// The request form of a trade that every rule lets pass.
#[must_use]
pub fn trade(symbol: &str, size: f64) -> Value {
    serde_json::json!({
        "agent": "api",
        "action_type": "trade",
        "parameters": {"symbol": symbol, "position_size_pct": size, "leverage": 1.0, "entry_price": 100.0,
            "stop_loss": 95.0, "risk_reward_ratio": 2.5},
        "reasoning": "a test",
    })
}
