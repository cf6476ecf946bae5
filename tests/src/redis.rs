//! A real Redis on a free port of this machine.

use std::time::{Duration, Instant};

/// A running Redis. It is ended when it is dropped.
pub struct Redis {
    child: std::process::Child,
    /// Its port.
    pub port: u16,
    _dir: tempfile::TempDir,
}

impl Redis {
    /// Starts one.
    ///
    /// # Panics
    /// There is no `redis-server`, or it does not answer.
    #[must_use]
    pub fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        Self::start_on(port)
    }

    /// Starts one on this port.
    ///
    /// # Panics
    /// There is no `redis-server`, or it does not answer.
    #[must_use]
    pub fn start_on(port: u16) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let child = std::process::Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--daemonize",
                "no",
            ])
            .current_dir(dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("redis-server; install it with `apt-get install redis-server`");
        let redis = Self {
            child,
            port,
            _dir: dir,
        };
        let started = Instant::now();
        while redis.run(&["PING"]).trim() != "PONG" {
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "the Redis does not answer"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        redis
    }

    /// What `redis-cli` prints for a command.
    ///
    /// # Panics
    /// There is no `redis-cli`.
    #[allow(
        clippy::must_use_candidate,
        reason = "most commands are run for what they do"
    )]
    pub fn run(&self, command: &[&str]) -> String {
        let output = std::process::Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(command)
            .output()
            .expect("redis-cli");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
