//! The processes that are measured. They start on free ports and are killed when dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to be ready, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
pub struct ServerProcess {
    child: Child,
    /// The address that it listens on.
    pub address: SocketAddr,
    /// The address of its telemetry, unless that is off.
    pub telemetry: Option<SocketAddr>,
    /// The time from its start until it was ready.
    pub ready_after: Duration,
}

impl ServerProcess {
    /// Starts `ark serve` with a data directory and agents, and waits until it is ready.
    ///
    /// # Errors
    /// It does not start, or is not ready within a minute.
    pub fn start_ark(ark: &Path, data_dir: &Path, agents: Option<&Path>) -> Result<Self> {
        Self::start_ark_with(ark, data_dir, agents, None)
    }

    /// As [`ServerProcess::start_ark`], with a configuration.
    ///
    /// # Errors
    /// As [`ServerProcess::start_ark`].
    pub fn start_ark_with(
        ark: &Path,
        data_dir: &Path,
        agents: Option<&Path>,
        config: Option<&Path>,
    ) -> Result<Self> {
        Self::start_ark_with_telemetry(ark, data_dir, agents, config, "127.0.0.1:0")
    }

    /// As [`ServerProcess::start_ark_with`], with telemetry at this address, or `off`.
    ///
    /// # Errors
    /// As [`ServerProcess::start_ark`].
    pub fn start_ark_with_telemetry(
        ark: &Path,
        data_dir: &Path,
        agents: Option<&Path>,
        config: Option<&Path>,
        telemetry: &str,
    ) -> Result<Self> {
        let mut command = Command::new(ark);
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(["--telemetry-listen", telemetry, "--data-dir"])
            .arg(data_dir);
        if let Some(agents) = agents {
            command.arg("--agents").arg(agents);
        }
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        // Logged as by default, to a file as an operator would.
        let log = std::fs::File::create(data_dir.with_extension("log"))?;
        command
            .stderr(log)
            .env_remove("ARK_LOG")
            .env_remove("ARK_CONFIG");
        command.current_dir(
            data_dir
                .parent()
                .context("the data directory has a parent")?,
        );
        let mut server = Self::spawn_server(&mut command)?;
        let started = Instant::now();
        while get_text(server.address, "/readyz")
            .map_or(true, |answer| !answer.starts_with("HTTP/1.1 200"))
        {
            ensure!(
                started.elapsed() < PATIENCE,
                "the host does not become ready"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        server.ready_after += started.elapsed();
        Ok(server)
    }

    /// Starts the echo, which is this program itself.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_echo() -> Result<Self> {
        Self::spawn_server(Command::new(std::env::current_exe()?).arg("echo"))
    }

    fn spawn_server(command: &mut Command) -> Result<Self> {
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let mut stdout = BufReader::new(stdout);
        let mut said = String::new();
        let mut telemetry = None;
        let address = loop {
            let mut line = String::new();
            if stdout.read_line(&mut line)? == 0 {
                let _ = child.kill();
                bail!("{command:?} did not say where it listens: {said:?}");
            }
            let line = line.trim();
            if let Some((_, address)) = line.split_once("telemetry on http://") {
                telemetry = Some(address.parse()?);
            } else if let Some((_, address)) = line.split_once("listening on http://") {
                break address.to_owned();
            }
            said.push_str(line);
        };
        Ok(Self {
            address: address.parse()?,
            telemetry,
            child,
            ready_after: started.elapsed(),
        })
    }

    /// Returns the resident memory, in MiB (`VmRSS`).
    ///
    /// # Errors
    /// The process has ended.
    pub fn resident_mib(&self) -> Result<f64> {
        Ok(self.read_number("status", "VmRSS:")? / 1024.0)
    }

    /// Returns the number of open file descriptors.
    ///
    /// # Errors
    /// The process has ended.
    pub fn descriptor_count(&self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// Returns the bytes that it has sent towards the disk so far.
    ///
    /// # Errors
    /// The process has ended.
    pub fn written_bytes(&self) -> Result<f64> {
        self.read_number("io", "write_bytes:")
    }

    /// Returns the processor time that it has used so far.
    ///
    /// # Errors
    /// The process has ended.
    pub fn processor_time(&self) -> Result<Duration> {
        let process = procfs::process::Process::new(i32::try_from(self.child.id())?)?;
        let stat = process.stat()?;
        Ok(Duration::from_millis(
            (stat.utime + stat.stime) * 1000 / procfs::ticks_per_second(),
        ))
    }

    fn read_number(&self, file: &str, name: &str) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line
            .and_then(|line| line.split_whitespace().next())
            .context("no such line")?;
        Ok(number.parse()?)
    }

    /// Ends it with SIGTERM and waits for its end.
    ///
    /// # Errors
    /// It ends with another status than 0.
    pub fn stop(mut self) -> Result<()> {
        let pid =
            Pid::from_raw(i32::try_from(self.child.id())?).context("a process id is not 0")?;
        kill_process(pid, Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the host ended with {status}");
        Ok(())
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Nothing to be done when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a POST of JSON over a connection of its own. Returns the JSON of the answer.
///
/// # Errors
/// The connection fails, or the answer is not JSON.
pub async fn post_json(
    address: SocketAddr,
    path: &str,
    body: &serde_json::Value,
) -> Result<serde_json::Value> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let body = body.to_string();
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8(answer)?;
    let (_, body) = answer
        .split_once("\r\n\r\n")
        .context("an answer has a body")?;
    Ok(serde_json::from_str(body)?)
}

/// Sends a GET. Returns the whole answer, head and body.
///
/// # Errors
/// The connection fails.
pub fn get_text(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
