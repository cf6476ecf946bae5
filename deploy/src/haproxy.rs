//! The runtime API of an `HAProxy`: which servers a backend has, and the weight and state of each. Nothing is reloaded.
//!
//! A command is a connection: it is sent, and the answer is read to its end, bounded in size and time. The socket needs the level `admin`
//! (`stats socket /run/haproxy/admin.sock mode 660 level admin`).
//!
//! Invariant: names are checked before they become part of a command, so that none can hold a second one.

use std::fmt;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How long the socket may take for one command.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes of an answer: a line of `show stat` has about 1 KiB.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;
/// The greatest weight of a server.
pub const MAX_WEIGHT: u32 = 256;

/// Where the runtime API is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HaproxyAddress {
    /// A Unix socket.
    Unix(PathBuf),
    /// `HOST:PORT`.
    Tcp(String),
}

impl FromStr for HaproxyAddress {
    type Err = String;

    /// Reads the path of a socket (`/run/haproxy/admin.sock`, `unix:PATH`) or `HOST:PORT` (`tcp:HOST:PORT`).
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let address = text.strip_prefix("tcp:").unwrap_or(text);
        let is_address = |address: &str| {
            address
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        if is_address(address) && !text.contains('/') {
            return Ok(Self::Tcp(address.to_owned()));
        }
        if text.contains('/') {
            return Ok(Self::Unix(text.into()));
        }
        Err(format!(
            "{text:?} is neither the path of a socket nor HOST:PORT; give e.g. /run/haproxy/admin.sock"
        ))
    }
}

impl TryFrom<String> for HaproxyAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HaproxyAddress> for String {
    fn from(address: HaproxyAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for HaproxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// Why a command was not carried out, or is not known to be.
#[derive(Debug, thiserror::Error)]
pub enum HaproxyError {
    /// The socket cannot be reached, or breaks off.
    #[error("HAProxy at {address}: {cause}; is it running, and may this user use its socket?")]
    Unreachable {
        /// The socket.
        address: HaproxyAddress,
        /// What the system reports.
        cause: std::io::Error,
    },
    /// The answer did not end in time, or is too large.
    #[error("HAProxy at {address} gave no whole answer to `{command}`: {problem}")]
    Unanswered {
        /// The socket.
        address: HaproxyAddress,
        /// The command.
        command: String,
        /// What is missing.
        problem: &'static str,
    },
    /// A name that no backend or server can have.
    #[error(
        "{0:?} is no name of a backend or server: give letters, digits, `-`, `_`, `.` and `:`, 1 to 128 of them"
    )]
    Name(String),
    /// `HAProxy` has no such backend.
    #[error("HAProxy at {address} has no backend {backend}; its configuration names them")]
    NoBackend {
        /// The socket.
        address: HaproxyAddress,
        /// The backend.
        backend: String,
    },
    /// The backend has no such server.
    #[error("the backend {backend} of HAProxy has no server {server}; it has {servers}")]
    NoServer {
        /// The backend.
        backend: String,
        /// The server.
        server: String,
        /// Those that it has.
        servers: String,
    },
    /// The socket does not permit the command.
    #[error(
        "the socket {address} of HAProxy does not permit `{command}`; give it `level admin` in the line `stats socket`"
    )]
    Permission {
        /// The socket.
        address: HaproxyAddress,
        /// The command.
        command: String,
    },
    /// `HAProxy` refuses the command for another reason.
    #[error("HAProxy refuses `{command}`: {answer}")]
    Refused {
        /// The command.
        command: String,
        /// What it says.
        answer: String,
    },
}

/// What is done with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// It gets requests by its weight.
    Ready,
    /// It gets no new sessions, and finishes those it has.
    Drain,
    /// It gets nothing, and is not checked.
    Maintenance,
}

impl ServerState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maintenance => "maint",
        }
    }
}

/// A server of a backend, as `HAProxy` sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerStatus {
    /// Its name.
    pub name: String,
    /// The status as `HAProxy` says it, e.g. `UP`, `DOWN`, `DRAIN`, `MAINT`, `no check`.
    pub status: String,
    /// The weight in force, 0 to 256.
    pub weight: u32,
    /// Whether it gets requests only where no other server is up (`backup`).
    pub is_backup: bool,
    /// Requests that it was given since `HAProxy` started.
    pub sessions: u64,
    /// Requests that it has now.
    pub current: u64,
    /// Connections to it that failed.
    pub connection_errors: u64,
    /// Answers of it that broke off or were malformed.
    pub response_errors: u64,
    /// Answers of it with a status of 500 to 599 that reached a client.
    pub server_errors: u64,
    /// Requests that it was given and that were sent again (`retry-on`): it broke the connection, did not answer in time, or answered with a status
    /// upon which a request is repeated. No answer of theirs counts as one of it.
    pub repeated: u64,
    /// Requests that another server was given in its place: those repeated ones, and those that no connection to it could be made for.
    pub redispatched: u64,
    /// How often its checks failed while it was up.
    pub failed_checks: u64,
    /// How often it went down.
    pub times_down: u64,
    /// What the last check found, e.g. `L7OK`, `L4CON`.
    pub check: String,
}

impl ServerStatus {
    /// Whether it takes requests: it is up, or not checked, and neither drained nor in maintenance.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.status.starts_with("UP") || self.status == "no check"
    }

    /// How many connections to it could not be made, also where another server got the request.
    #[must_use]
    pub const fn count_lost_connections(&self) -> u64 {
        let elsewhere = self.redispatched.saturating_sub(self.repeated);
        self.connection_errors.saturating_add(elsewhere)
    }

    /// How many requests it failed, also where another server answered them. One whose connection it resets and that is repeated is counted by
    /// `HAProxy` twice, and here once.
    #[must_use]
    pub fn count_failures(&self) -> u64 {
        let broken = self.response_errors.max(self.repeated);
        self.server_errors.saturating_add(broken)
    }
}

/// A process of `HAProxy`: what it counts begins with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaproxyProcess {
    pid: u64,
    /// When it was started, in seconds since 1970: in a container each has the same id.
    started: u64,
}

/// The runtime API of an `HAProxy`.
#[derive(Debug, Clone)]
pub struct HaproxyClient {
    address: HaproxyAddress,
}

impl HaproxyClient {
    /// Nothing is sent yet.
    #[must_use]
    pub const fn new(address: HaproxyAddress) -> Self {
        Self { address }
    }

    /// The servers of a backend, in the order of the configuration.
    ///
    /// # Errors
    /// See [`HaproxyError`].
    pub fn show_servers(&self, backend: &str) -> Result<Vec<ServerStatus>, HaproxyError> {
        check_name(backend)?;
        // 4: servers; -1: all of them.
        let command = format!("show stat {backend} 4 -1");
        let answer = self.send_command(&command)?;
        let servers =
            parse_servers(&answer).ok_or_else(|| self.explain_answer(&command, &answer))?;
        if servers.is_empty() {
            // A frontend has none.
            return Err(HaproxyError::NoBackend {
                address: self.address.clone(),
                backend: backend.to_owned(),
            });
        }
        Ok(servers)
    }

    /// The process that answers; `None`: it does not say which it is, as an old one does not.
    ///
    /// # Errors
    /// See [`HaproxyError`].
    pub fn show_process(&self) -> Result<Option<HaproxyProcess>, HaproxyError> {
        Ok(parse_process(&self.send_command("show info")?))
    }

    /// A server of a backend.
    ///
    /// # Errors
    /// See [`HaproxyError`].
    pub fn show_server(&self, backend: &str, server: &str) -> Result<ServerStatus, HaproxyError> {
        let (found, _) = self.show_server_beside_others(backend, server)?;
        Ok(found)
    }

    /// A server of a backend, and the others of the same moment.
    ///
    /// # Errors
    /// See [`HaproxyError`].
    pub fn show_server_beside_others(
        &self,
        backend: &str,
        server: &str,
    ) -> Result<(ServerStatus, Vec<ServerStatus>), HaproxyError> {
        check_name(server)?;
        let mut servers = self.show_servers(backend)?;
        let Some(index) = servers.iter().position(|one| one.name == server) else {
            let names: Vec<&str> = servers.iter().map(|one| one.name.as_str()).collect();
            return Err(HaproxyError::NoServer {
                backend: backend.to_owned(),
                server: server.to_owned(),
                servers: names.join(", "),
            });
        };
        let found = servers.remove(index);
        Ok((found, servers))
    }

    /// Gives a server a weight, [`MAX_WEIGHT`] at most. At 0 it gets no new sessions.
    ///
    /// # Errors
    /// See [`HaproxyError`]. The balancing algorithm must be a dynamic one (`roundrobin`, `leastconn`, `random`).
    pub fn set_weight(&self, backend: &str, server: &str, weight: u32) -> Result<(), HaproxyError> {
        self.change_server(backend, server, &format!("weight {weight}"))
    }

    /// Drains a server, takes it out of service or puts it into service again.
    ///
    /// # Errors
    /// See [`HaproxyError`].
    pub fn set_state(
        &self,
        backend: &str,
        server: &str,
        state: ServerState,
    ) -> Result<(), HaproxyError> {
        self.change_server(backend, server, &format!("state {}", state.as_str()))
    }

    /// Whether the socket permits changes, without making one.
    ///
    /// # Errors
    /// See [`HaproxyError`].
    pub fn check_rights(&self) -> Result<(), HaproxyError> {
        let answer = self.send_command("show cli level")?;
        if answer.trim() == "admin" {
            return Ok(());
        }
        Err(HaproxyError::Permission {
            address: self.address.clone(),
            command: "set server".to_owned(),
        })
    }

    fn change_server(&self, backend: &str, server: &str, change: &str) -> Result<(), HaproxyError> {
        check_name(backend)?;
        check_name(server)?;
        let command = format!("set server {backend}/{server} {change}");
        let answer = self.send_command(&command)?;
        if answer.trim().is_empty() {
            return Ok(());
        }
        if answer.trim() == "No such server." {
            // The error names those that there are.
            self.show_server(backend, server)?;
        }
        Err(self.explain_answer(&command, &answer))
    }

    /// What an answer that is not the wanted one says.
    fn explain_answer(&self, command: &str, answer: &str) -> HaproxyError {
        let answer = answer.trim();
        let address = self.address.clone();
        if answer.starts_with("Permission denied") {
            return HaproxyError::Permission {
                address,
                command: command.to_owned(),
            };
        }
        if matches!(answer, "No such backend." | "No such proxy.") {
            let name = command.split(' ').nth(2).unwrap_or_default();
            let backend = name.split('/').next().unwrap_or_default().to_owned();
            return HaproxyError::NoBackend { address, backend };
        }
        HaproxyError::Refused {
            command: command.to_owned(),
            answer: answer.lines().next().unwrap_or("no answer").to_owned(),
        }
    }

    /// Sends a command and returns its answer.
    fn send_command(&self, command: &str) -> Result<String, HaproxyError> {
        let unreachable = |cause| HaproxyError::Unreachable {
            address: self.address.clone(),
            cause,
        };
        let deadline = Instant::now() + TIMEOUT;
        let read = match &self.address {
            HaproxyAddress::Unix(path) => {
                let stream = UnixStream::connect(path).map_err(unreachable)?;
                send_command(stream, command, deadline, |stream, left| {
                    stream.set_read_timeout(Some(left))?;
                    stream.set_write_timeout(Some(left))
                })
            }
            HaproxyAddress::Tcp(address) => {
                let stream = connect_to(address).map_err(unreachable)?;
                send_command(stream, command, deadline, |stream, left| {
                    stream.set_read_timeout(Some(left))?;
                    stream.set_write_timeout(Some(left))
                })
            }
        };
        let unanswered = |problem| HaproxyError::Unanswered {
            address: self.address.clone(),
            command: command.to_owned(),
            problem,
        };
        match read {
            Ok(answer) if answer.len() as u64 > MAX_ANSWER => Err(unanswered("it is too large")),
            Ok(answer) => Ok(String::from_utf8_lossy(&answer).into_owned()),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                Err(unanswered("it does not end in time"))
            }
            Err(error) => Err(unreachable(error)),
        }
    }
}

fn connect_to(address: &str) -> std::io::Result<TcpStream> {
    let mut failure = std::io::Error::other("the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Sends a command and reads the answer to its end, or to one byte more than it may have.
fn send_command<S: Read + Write>(
    mut stream: S,
    command: &str,
    deadline: Instant,
    set_timeouts: impl Fn(&S, Duration) -> std::io::Result<()>,
) -> std::io::Result<Vec<u8>> {
    let limit = || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        Ok::<Duration, std::io::Error>(left)
    };
    set_timeouts(&stream, limit()?)?;
    stream.write_all(format!("{command}\n").as_bytes())?;
    let (mut answer, mut chunk) = (Vec::new(), [0; 8192]);
    loop {
        set_timeouts(&stream, limit()?)?;
        let count = match stream.read(&mut chunk) {
            Ok(0) => return Ok(answer),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        answer.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if answer.len() as u64 > MAX_ANSWER {
            return Ok(answer);
        }
    }
}

fn check_name(name: &str) -> Result<(), HaproxyError> {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if (1..=128).contains(&name.len()) && name.bytes().all(is_known) {
        return Ok(());
    }
    Err(HaproxyError::Name(name.to_owned()))
}

/// Reads the lines of `show info`; `None`: one that is needed is not there.
fn parse_process(answer: &str) -> Option<HaproxyProcess> {
    let number = |name: &str| {
        let mut lines = answer.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(found, _)| *found == name)?;
        value.trim().parse().ok()
    };
    Some(HaproxyProcess {
        pid: number("Pid")?,
        started: number("Start_time_sec")?,
    })
}

/// Reads the CSV of `show stat`; `None`: it is something else.
fn parse_servers(answer: &str) -> Option<Vec<ServerStatus>> {
    let mut lines = answer.lines();
    let header = lines.next()?.strip_prefix("# ")?;
    let columns: Vec<&str> = header.split(',').collect();
    lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            let cell = |name: &str| {
                let index = columns.iter().position(|column| *column == name)?;
                cells.get(index).copied()
            };
            let count = |name: &str| cell(name).and_then(|cell| cell.parse().ok()).unwrap_or(0);
            Some(ServerStatus {
                name: cell("svname")?.to_owned(),
                status: cell("status")?.to_owned(),
                weight: cell("weight")?.parse().ok()?,
                is_backup: count("bck") > 0,
                sessions: cell("stot")?.parse().ok()?,
                current: count("scur"),
                connection_errors: count("econ"),
                response_errors: count("eresp"),
                server_errors: count("hrsp_5xx"),
                repeated: count("wretr"),
                redispatched: count("wredis"),
                failed_checks: count("chkfail"),
                times_down: count("chkdown"),
                check: cell("check_status").unwrap_or_default().to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_path_or_a_host_and_a_port() {
        for (text, shown) in [
            ("/run/haproxy.sock", "unix:/run/haproxy.sock"),
            ("unix:h.sock", "unix:h.sock"),
            ("127.0.0.1:9999", "tcp:127.0.0.1:9999"),
            ("tcp:[::1]:9999", "tcp:[::1]:9999"),
        ] {
            let address: HaproxyAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address), "it is read back");
        }
        for text in ["", "haproxy", "localhost:", ":9999", "host:99999"] {
            assert!(text.parse::<HaproxyAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_cannot_hold_a_second_command() {
        for name in ["", "a b", "a;b", "a\nset server", "a/b", &"a".repeat(129)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        check_name("front-1.example:8010").unwrap();
    }

    #[test]
    fn a_table_is_read_by_its_column_names() {
        let answer = "# pxname,svname,scur,stot,econ,eresp,wretr,wredis,status,weight,act,bck,chkfail,chkdown,check_status,hrsp_5xx,\n\
            ark,stable,1,17,2,3,5,6,UP,100,1,0,0,0,L7OK,4,\nark,canary,,5,,,,,DOWN 1/2,0,0,1,1,1,L4CON,,\n\n";
        let servers = parse_servers(answer).unwrap();
        assert_eq!(servers.len(), 2);
        assert_eq!((servers[0].sessions, servers[0].server_errors), (17, 4));
        // 2 that failed for a client and 1 whose request went elsewhere; 4 answers, and 5 repeated requests of which 3 were reset.
        assert_eq!(servers[0].count_lost_connections(), 3);
        assert_eq!(servers[0].count_failures(), 9);
        assert!(servers[0].is_up() && !servers[1].is_up());
        assert!(!servers[0].is_backup && servers[1].is_backup);
        assert!(parse_servers("No such proxy.\n").is_none());
        assert!(parse_servers("# svname\nx\n").is_none());
    }

    #[test]
    fn a_process_is_another_one_by_its_id_or_its_start() {
        let read = |pid: &str, started: &str| {
            let answer = format!("Name: HAProxy\nPid: {pid}\nUptime: 0d 0h\n{started}\n\n");
            parse_process(&answer)
        };
        let first = read("8", "Start_time_sec: 1700000000");
        assert!(first.is_some() && first == read("8", "Start_time_sec: 1700000000"));
        assert_ne!(first, read("9", "Start_time_sec: 1700000000"));
        assert_ne!(first, read("8", "Start_time_sec: 1700000001"));
        for (pid, started) in [("8", "CumReq: 1"), ("", "Start_time_sec: 1")] {
            assert_eq!(read(pid, started), None, "{pid} {started}");
        }
        assert_eq!(parse_process("Unknown command\n"), None);
    }

    #[test]
    fn counts_beyond_all_bounds_are_counts() {
        let server = ServerStatus {
            connection_errors: u64::MAX,
            redispatched: u64::MAX,
            response_errors: u64::MAX,
            server_errors: u64::MAX,
            ..crate::fixtures::build_server("canary", 1)
        };
        assert_eq!(server.count_lost_connections(), u64::MAX);
        assert_eq!(server.count_failures(), u64::MAX);
    }

    #[test]
    fn a_socket_that_never_ends_or_says_too_much_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let much = vec![b'x'; 65536];
            while stream.write_all(&much).is_ok() {}
        });
        let haproxy = HaproxyClient::new(HaproxyAddress::Unix(path));
        let error = haproxy.show_servers("ark").unwrap_err();
        assert!(matches!(error, HaproxyError::Unanswered { .. }), "{error}");
        let none = HaproxyClient::new(HaproxyAddress::Unix(dir.path().join("none")));
        let error = none.show_servers("ark").unwrap_err();
        assert!(matches!(error, HaproxyError::Unreachable { .. }), "{error}");
    }
}
