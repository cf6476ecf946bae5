//! A real Redis on a free port of this machine.

use crate::wait::wait_until;

/// A running Redis. It is killed when it is dropped.
pub struct Redis {
    child: std::process::Child,
    /// The port that it listens on, on 127.0.0.1.
    pub port: u16,
    _dir: tempfile::TempDir,
}

impl Redis {
    /// Starts a Redis on a free port.
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

    /// Starts a Redis on this port.
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
        wait_until("the Redis answers", || {
            redis.run(&["PING"]).trim() == "PONG"
        });
        redis
    }

    /// Runs a command and returns what `redis-cli` prints.
    ///
    /// # Panics
    /// There is no `redis-cli`.
    #[expect(
        clippy::must_use_candidate,
        reason = "most commands are run for their effect"
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
