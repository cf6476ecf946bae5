//! A real `HAProxy` (Debian package `haproxy`) on a free port of this machine, with the backend of `deploy/compose/haproxy.cfg`: what is repeated at
//! another front there is repeated here.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::artefacts::checkout_path;
use crate::ports::free_port;
use crate::wait::wait_until;

/// How the backend of Compose's configuration begins and where its servers begin.
const BACKEND: (&str, &str) = ("\nbackend ark\n", "  default-server ");

/// The rules of Compose's backend for all of its servers, among them which requests are repeated.
///
/// # Panics
/// The file is not there, or has no such backend.
#[must_use]
pub fn backend_rules() -> String {
    let file = checkout_path("deploy/compose/haproxy.cfg");
    let text = std::fs::read_to_string(file).expect("Compose's configuration");
    let rules = text
        .split_once(BACKEND.0)
        .and_then(|(_, backend)| backend.split_once(BACKEND.1));
    let (rules, _) = rules.expect("a backend with servers");
    // A comment before the servers is about them.
    let lines = rules.lines().filter(|line| !line.trim().starts_with('#'));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// An `HAProxy` with one backend, `ark`, in a directory of its own. It is killed when it is dropped.
pub struct Haproxy {
    child: Child,
    /// The address that clients connect to.
    pub address: String,
    /// Its runtime socket, of level `admin`.
    pub socket: PathBuf,
    /// A socket of level `user`.
    pub user_socket: PathBuf,
    _dir: tempfile::TempDir,
}

impl Haproxy {
    /// Starts one before these servers (name, address and what options follow it, weight) and waits until all are up. `checks`: the intervals of the health checks.
    /// `answer_within`: the time in which a server must answer.
    ///
    /// # Panics
    /// There is no `haproxy`, or a server does not come up.
    #[must_use]
    pub fn start(servers: &[(&str, &str, u32)], checks: &str, answer_within: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("admin.sock");
        let user_socket = dir.path().join("user.sock");
        let address = format!("127.0.0.1:{}", free_port());
        let mut config = format!(
            "global\n stats socket {} mode 600 level admin\n stats socket {} mode 600 level user\n\
             defaults\n mode http\n timeout connect 5s\n timeout check 10s\n timeout client 10m\n timeout server {answer_within}\n timeout queue 10m\n\
             frontend clients\n bind {address}\n default_backend ark\n\
             backend ark\n{rules}\
             default-server check {checks} pool-purge-delay 1s\n",
            socket.display(),
            user_socket.display(),
            rules = backend_rules()
        );
        for (name, address, weight) in servers {
            let _ = writeln!(config, " server {name} {address} weight {weight}");
        }
        let file = dir.path().join("haproxy.cfg");
        std::fs::write(&file, config).expect("a configuration");
        let child = Command::new("haproxy")
            .arg("-f")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("haproxy; install it with `apt-get install haproxy`");
        let haproxy = Self {
            child,
            address,
            socket,
            user_socket,
            _dir: dir,
        };
        wait_until("every server is up", || {
            let table = haproxy.ask("show servers state ark");
            let up = table.lines().filter(|line| {
                // The column srv_op_state: 2 is running.
                line.split(' ').nth(5) == Some("2") && !line.starts_with('#')
            });
            up.count() == servers.len()
        });
        haproxy
    }

    /// Asks the runtime socket; an empty text while there is none.
    #[must_use]
    pub fn ask(&self, command: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = UnixStream::connect(&self.socket) {
            let _ = stream.write_all(format!("{command}\n").as_bytes());
            let _ = stream.read_to_string(&mut answer);
        }
        answer
    }

    /// The weights of all servers at one moment.
    ///
    /// # Panics
    /// The table is no such table.
    #[must_use]
    pub fn weights(&self) -> std::collections::BTreeMap<String, u32> {
        let table = self.ask("show servers state ark");
        // Its first line is the version of its form; columns: srv_name and srv_uweight.
        let rows = table.lines().skip(1).filter(|line| !line.starts_with('#'));
        rows.map(|row| row.split(' ').collect::<Vec<_>>())
            .filter(|row| row.len() > 7)
            .map(|row| (row[3].to_owned(), row[7].parse().expect("a weight")))
            .collect()
    }

    /// The weight of a server now.
    ///
    /// # Panics
    /// There is no such server.
    #[must_use]
    pub fn weight(&self, server: &str) -> u32 {
        let answer = self.ask(&format!("get weight ark/{server}"));
        let weight = answer.split(' ').next().and_then(|text| text.parse().ok());
        weight.unwrap_or_else(|| panic!("{server}: {answer}"))
    }
}

impl Haproxy {
    /// Gives servers weights, in this order.
    ///
    /// # Panics
    /// The socket refuses one.
    pub fn set_weights(&self, weights: &[(&str, u32)]) {
        for (server, weight) in weights {
            let answer = self.ask(&format!("set server ark/{server} weight {weight}"));
            assert_eq!(answer.trim(), "", "{server}");
        }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
