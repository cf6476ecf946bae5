//! The real `ark serve` as a child process, on ports that the kernel chooses, in a directory of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use crate::artefacts::ark_program;
use crate::client::Client;
use crate::module_cache::{copy_module_cache, seed_module_cache};
use crate::wait::{wait_for, wait_until};

/// A configuration that keeps an agent in service whatever it does: for tests that go on after a fault.
pub const PATIENT: &str =
    "[watchdog]\nconsecutive_failures = 100000\nfailure_rate = 1.0\nmissed_heartbeats = 100000\n";

/// What a host is configured with unless a test's configuration has limits of its own: no deadline ends what a busy machine holds up.
const UNHURRIED: &str = "[limits]\ndeadline_ms = 600_000\n";

/// The directory of one test: `ark.toml`, and `data` and `agents` for its host. It is removed when it is dropped.
pub struct TestDir {
    dir: tempfile::TempDir,
}

impl TestDir {
    /// Makes a directory with this configuration; without limits in it, the deadline of an invocation is ten minutes.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn new(config: &str) -> Self {
        let dir = Self {
            dir: tempfile::tempdir().expect("a directory"),
        };
        dir.configure(config);
        dir
    }

    /// Replaces the configuration; see [`TestDir::new`].
    ///
    /// # Panics
    /// It cannot be written.
    pub fn configure(&self, config: &str) {
        let limits = if config.contains("[limits]") {
            ""
        } else {
            UNHURRIED
        };
        std::fs::write(self.config(), format!("{config}\n{limits}")).expect("a configuration");
    }

    /// Returns the path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the path of `ark.toml`.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path().join("ark.toml")
    }

    /// Returns the path of the data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Returns the path of the agents' directory, which is made when a test copies an agent into it.
    #[must_use]
    pub fn agents(&self) -> PathBuf {
        self.path().join("agents")
    }

    /// Starts a host here and waits until it is ready; with the agents, if there are any.
    ///
    /// # Panics
    /// It does not become ready.
    #[must_use]
    pub fn start(&self) -> Host {
        match self.try_start() {
            Ok(host) => host,
            Err(output) => panic!("ark did not start: {output}"),
        }
    }

    /// As [`TestDir::start`]; what the host wrote to standard error when it ended by itself.
    ///
    /// # Errors
    /// The host ended.
    ///
    /// # Panics
    /// It neither ends nor becomes ready.
    pub fn try_start(&self) -> Result<Host, String> {
        let args = self.host_arguments();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Host::try_start(&self.data(), &args)
    }

    /// As [`TestDir::start`], but a host that may be halted, which is never ready.
    ///
    /// # Panics
    /// It ends by itself.
    #[must_use]
    pub fn start_halted(&self) -> Host {
        let args = self.host_arguments();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Host::start_halted(&self.data(), &args)
    }

    /// Kills a host of this directory and starts another.
    ///
    /// # Panics
    /// It does not become ready.
    #[must_use]
    pub fn restart_killed(&self, host: &Host) -> Host {
        host.send_kill();
        // The lock on the data directory goes with the last of the killed process.
        wait_for("the killed host's lock is free", || self.try_start().ok())
    }

    fn host_arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--config".to_owned(), self.config().display().to_string()];
        if self.agents().exists() {
            arguments.extend(["--agents".to_owned(), self.agents().display().to_string()]);
        }
        arguments
    }
}

/// A running host. It is killed when it is dropped.
pub struct Host {
    child: Child,
    errors: Option<JoinHandle<String>>,
    /// The address that the API listens on.
    pub address: String,
    /// The address that telemetry listens on, unless telemetry is off.
    pub telemetry: Option<String>,
}

impl Host {
    /// Starts `ark serve` on a data directory and waits until it is ready.
    ///
    /// # Panics
    /// It does not become ready.
    #[must_use]
    pub fn start(data_dir: &Path, args: &[&str]) -> Self {
        match Self::try_start(data_dir, args) {
            Ok(host) => host,
            Err(output) => panic!("ark did not start: {output}"),
        }
    }

    /// As [`Host::start`]; what the host wrote to standard error when it ended by itself.
    ///
    /// # Errors
    /// The host ended.
    ///
    /// # Panics
    /// It neither ends nor becomes ready.
    pub fn try_start(data_dir: &Path, args: &[&str]) -> Result<Self, String> {
        Self::try_start_with(data_dir, args, &[])
    }

    /// As [`Host::try_start`], with environment variables.
    ///
    /// # Errors
    /// The host ended.
    ///
    /// # Panics
    /// It neither ends nor becomes ready.
    pub fn try_start_with(
        data_dir: &Path,
        args: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        Self::try_start_program(&ark_program(), data_dir, args, environment)
    }

    /// As [`Host::try_start_with`], with a program that becomes `ark`.
    ///
    /// # Errors
    /// The host ended.
    ///
    /// # Panics
    /// It neither ends nor becomes ready.
    pub fn try_start_program(
        program: &Path,
        data_dir: &Path,
        args: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        let host = Self::spawn_host(program, data_dir, args, environment)?;
        wait_until("the host is ready", || {
            Client::new(&host).get("/readyz").0 == 200
        });
        Ok(host)
    }

    /// As [`Host::start`], but a host that may be halted, which is never ready.
    ///
    /// # Panics
    /// It ends by itself.
    #[must_use]
    pub fn start_halted(data_dir: &Path, args: &[&str]) -> Self {
        match Self::spawn_host(&ark_program(), data_dir, args, &[]) {
            Ok(host) => host,
            Err(output) => panic!("ark did not start: {output}"),
        }
    }

    /// As [`Host::start_halted`], with environment variables; what the host wrote to standard error when it ended by itself.
    ///
    /// # Errors
    /// The host ended.
    pub fn try_start_halted(
        data_dir: &Path,
        args: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        Self::spawn_host(&ark_program(), data_dir, args, environment)
    }

    fn spawn_host(
        program: &Path,
        data_dir: &Path,
        args: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        seed_module_cache(data_dir);
        // An `ark.toml` of the working directory must not have a part in a test.
        let config = data_dir.with_extension("toml");
        let mut command = Command::new(program);
        command.arg("serve").arg("--data-dir").arg(data_dir);
        if !args.contains(&"--config") {
            if !config.exists() {
                std::fs::write(&config, UNHURRIED).expect("a configuration");
            }
            command.arg("--config").arg(&config);
        }
        Self::spawn(command, args, environment)
    }

    /// Starts `ark front` before a host and waits until it answers. `config`: its configuration file.
    ///
    /// # Panics
    /// It ends by itself.
    #[must_use]
    pub fn start_front(owner: &str, config: &Path, args: &[&str]) -> Self {
        match Self::try_start_front(owner, config, args) {
            Ok(front) => front,
            Err(output) => panic!("ark front did not start: {output}"),
        }
    }

    /// As [`Host::start_front`]; what the front wrote to standard error when it ended by itself.
    ///
    /// # Errors
    /// The front ended.
    pub fn try_start_front(owner: &str, config: &Path, args: &[&str]) -> Result<Self, String> {
        Self::try_start_front_program(&ark_program(), owner, config, args, &[])
    }

    /// As [`Host::try_start_front`], with another program and environment variables.
    ///
    /// # Errors
    /// The front ended.
    pub fn try_start_front_program(
        program: &Path,
        owner: &str,
        config: &Path,
        args: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        let mut command = Command::new(program);
        command.args(["front", "--owner", owner]);
        command.arg("--config").arg(config);
        if !args.contains(&"--cache-dir") {
            let cache = config.with_extension("cache");
            if !cache.exists() {
                copy_module_cache(&cache);
            }
            command.arg("--cache-dir").arg(cache);
        }
        Self::spawn(command, args, environment)
    }

    /// Starts a program that listens, on free ports unless `args` name others, and waits until it says where.
    fn spawn(
        mut command: Command,
        args: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        for port in ["--listen", "--telemetry-listen"] {
            if !args.contains(&port) {
                command.args([port, "127.0.0.1:0"]);
            }
        }
        let mut child = command
            .args(args)
            .env("ARK_LOG", "warn")
            // Settings of the tests themselves, which a host refuses as unknown.
            .env_remove("ARK_ACCOUNT_SEQUENCES")
            .env_remove("ARK_EVENT_STREAMS")
            .env_remove("ARK_FAULT_DIR")
            .env_remove("ARK_FAULT_ROUNDS")
            .env_remove("ARK_FAULT_SEED")
            .env_remove("ARK_FRONT_SECONDS")
            .env_remove("ARK_KILL_ROUNDS")
            .env_remove("ARK_LANGUAGE_SIGNALS")
            .env_remove("ARK_NEIGHBOUR_ROUNDS")
            .env_remove("ARK_ORIGINAL_SEED")
            .env_remove("ARK_REDIS_SIGNALS")
            .env_remove("ARK_REDIS_KILLS")
            .env_remove("ARK_REDIS_BURST")
            .env_remove("ARK_SWAPS")
            .env_remove("TEST_ARK_FAULT_FILE")
            .env_remove("TEST_ARK_LATER_SCHEMA")
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

    /// Kills it with SIGKILL, as a power cut would end it, and waits for its end.
    ///
    /// # Panics
    /// It cannot be killed.
    pub fn kill(mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("its end");
    }

    /// Sends it SIGKILL and does not wait for its end.
    ///
    /// # Panics
    /// It cannot be killed.
    pub fn send_kill(&self) {
        kill_process(Pid::from_child(&self.child), Signal::KILL).expect("SIGKILL");
    }

    /// Stops it with SIGSTOP: it answers nothing, and its connections stand.
    ///
    /// # Panics
    /// It has ended.
    pub fn freeze(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).expect("SIGSTOP");
    }

    /// Lets it go on after [`Self::freeze`].
    ///
    /// # Panics
    /// It has ended.
    pub fn thaw(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).expect("SIGCONT");
    }

    /// Sends SIGHUP to the host, which then reads its configuration again.
    ///
    /// # Panics
    /// It has ended.
    pub fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).expect("SIGHUP");
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

    /// Returns a field of its process's status that is in KiB, e.g. `VmRSS`: the memory that it holds.
    ///
    /// # Panics
    /// It has ended, or there is no such field.
    #[must_use]
    pub fn memory_kib(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("a status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok())
            .expect("a number")
    }

    /// Returns its process id.
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

/// Makes a token in the data directory of a host that is stopped. Returns the secret.
///
/// # Panics
/// It is refused.
#[must_use]
pub fn make_token(data_dir: &Path, name: &str, role: &str, more: &[&str]) -> String {
    let output = Command::new(ark_program())
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
