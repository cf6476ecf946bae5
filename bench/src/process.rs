//! The processes that are measured: started on free ports, ended when dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to be ready, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that runs.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it serves telemetry.
    pub telemetry: Option<SocketAddr>,
    /// From its start until it was ready.
    pub ready_after: Duration,
}

impl Server {
    /// `ark serve` with a data directory and agents, ready.
    ///
    /// # Errors
    /// It does not start, or is not ready within a minute.
    pub fn ark(ark: &Path, data_dir: &Path, agents: Option<&Path>) -> Result<Self> {
        Self::ark_with(ark, data_dir, agents, None)
    }

    /// As [`Server::ark`], with a configuration.
    ///
    /// # Errors
    /// As [`Server::ark`].
    pub fn ark_with(
        ark: &Path,
        data_dir: &Path,
        agents: Option<&Path>,
        config: Option<&Path>,
    ) -> Result<Self> {
        Self::ark_watched(ark, data_dir, agents, config, "127.0.0.1:0")
    }

    /// As [`Server::ark_with`], with telemetry at this address, or `off`.
    ///
    /// # Errors
    /// As [`Server::ark`].
    pub fn ark_watched(
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
        let mut server = Self::start(&mut command)?;
        let started = Instant::now();
        while get(server.address, "/readyz")
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

    /// The echo: this program itself.
    ///
    /// # Errors
    /// It does not start.
    pub fn echo() -> Result<Self> {
        Self::start(Command::new(std::env::current_exe()?).arg("echo"))
    }

    fn start(command: &mut Command) -> Result<Self> {
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

    /// Resident memory, in MiB (`VmRSS`).
    ///
    /// # Errors
    /// The process has ended.
    pub fn resident(&self) -> Result<f64> {
        Ok(self.number("status", "VmRSS:")? / 1024.0)
    }

    /// Open file descriptors.
    ///
    /// # Errors
    /// The process has ended.
    pub fn descriptors(&self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// Bytes it has sent towards the disk so far.
    ///
    /// # Errors
    /// The process has ended.
    pub fn written(&self) -> Result<f64> {
        self.number("io", "write_bytes:")
    }

    /// Processor time it has used so far.
    ///
    /// # Errors
    /// The process has ended.
    pub fn processor(&self) -> Result<Duration> {
        let process = procfs::process::Process::new(i32::try_from(self.child.id())?)?;
        let stat = process.stat()?;
        Ok(Duration::from_millis(
            (stat.utime + stat.stime) * 1000 / procfs::ticks_per_second(),
        ))
    }

    fn number(&self, file: &str, name: &str) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line
            .and_then(|line| line.split_whitespace().next())
            .context("no such line")?;
        Ok(number.parse()?)
    }

    /// Ends it in order and waits for that.
    ///
    /// # Errors
    /// It does not end well.
    pub fn stop(mut self) -> Result<()> {
        let pid =
            Pid::from_raw(i32::try_from(self.child.id())?).context("a process id is not 0")?;
        kill_process(pid, Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the host ended with {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing to be done when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The JSON that answers a POST of JSON, over a connection of its own.
///
/// # Errors
/// The connection fails, or the answer is no JSON.
pub async fn post(
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

/// The whole answer to a GET.
///
/// # Errors
/// The connection fails.
pub fn get(address: SocketAddr, path: &str) -> Result<String> {
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
