//! Who listens on a port of this machine, by the kernel's tables and by systemd, which holds the ports of socket units also while their service does not run.
//!
//! Only root sees whose every socket is. What a user without that right can know is what systemd says of its sockets, or else what the files of its socket
//! units say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ark_client::members::text_field;
use ark_store::{HostProcess, find_host_process};
use serde_json::Value;

use crate::exchange::programs::commands::{ask_binary, run_bounded};

/// The state of a socket that listens, in the kernel's table.
const LISTENING: &str = "0A";
/// The process that systemd is.
const INIT: u32 = 1;
/// The directory that is there where systemd manages the machine.
const SYSTEMD_RUNS: &str = "/run/systemd/system";
/// Where systemd reads units.
const UNIT_DIRECTORIES: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// How long `systemctl` may take to answer.
const SYSTEMCTL_TIMEOUT: Duration = Duration::from_secs(10);

/// What the host of a data directory has on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostListener {
    /// It listens.
    Own,
    /// Another process does.
    Other,
    /// Nobody does.
    Nobody,
    /// That cannot be seen from here: it is in another container, or another user's.
    Hidden,
}

/// Who listens where a host would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PortHolder {
    /// systemd, for a socket unit.
    Socket(SystemdSocket),
    /// systemd, which does not say for which unit.
    Systemd,
    /// It cannot be seen who: a socket unit names the port, by its file.
    PerhapsSocket(String),
    /// This process.
    Process(u32),
    /// A process that cannot be seen from here.
    Hidden,
}

/// A socket that systemd holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SystemdSocket {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// The socket unit, e.g. `ark.socket`.
    pub(super) unit: String,
    /// What a connection starts, e.g. `ark.service`.
    pub(super) service: String,
    /// Whether that service starts an `ark`.
    pub(super) is_of_ark: bool,
}

/// A socket that listens, in the kernel's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listener {
    address: SocketAddr,
    inode: u64,
}

/// Whether two addresses cannot both be listened on. An address of IPv4 may be written as one of IPv6.
pub(super) fn are_one_port(one: SocketAddr, other: SocketAddr) -> bool {
    let (first, second) = (one.ip().to_canonical(), other.ip().to_canonical());
    let same_place = first == second || first.is_unspecified() || second.is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_place
}

/// What the host that holds the data directory has on a port, by the kernel's tables.
///
/// The kernel is asked rather than the host: a certificate of an authority that is not known here, or a host that is busy, does not matter.
pub(super) fn has_listener(data_dir: &Path, port: u16) -> HostListener {
    let HostProcess::Found(pid) = find_host_process(data_dir) else {
        return HostListener::Hidden;
    };
    let network = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    let own = network("self");
    if own.is_none() || own != network(&pid.to_string()) {
        return HostListener::Hidden;
    }
    let Some(sockets) = list_sockets(pid) else {
        return HostListener::Hidden;
    };
    let listening = list_listeners(port);
    if listening.is_empty() {
        HostListener::Nobody
    } else if listening.iter().any(|one| sockets.contains(&one.inode)) {
        HostListener::Own
    } else {
        HostListener::Other
    }
}

/// Who listens where a host that does not run would.
pub(super) fn find_holder(address: SocketAddr) -> PortHolder {
    let listeners: Vec<Listener> = list_listeners(address.port())
        .into_iter()
        .filter(|one| are_one_port(one.address, address))
        .collect();
    let holds = |pid: &u32| {
        list_sockets(*pid).is_some_and(|sockets| {
            let mut listeners = listeners.iter();
            listeners.any(|one| sockets.contains(&one.inode))
        })
    };
    // A service that was started has its sockets beside systemd.
    let processes = list_processes();
    if let Some(pid) = processes.iter().find(|pid| **pid != INIT && holds(pid)) {
        return PortHolder::Process(*pid);
    }
    let is_of_init = holds(&INIT);
    let has_systemd = Path::new(SYSTEMD_RUNS).is_dir();
    if !has_systemd {
        return if is_of_init {
            PortHolder::Process(INIT)
        } else {
            PortHolder::Hidden
        };
    }
    if let Some(socket) = ask_systemd(address) {
        return PortHolder::Socket(socket);
    }
    if is_of_init {
        return PortHolder::Systemd;
    }
    let unit = find_socket_file(&UNIT_DIRECTORIES.map(PathBuf::from), address);
    unit.map_or(PortHolder::Hidden, PortHolder::PerhapsSocket)
}

/// The processes of this machine that are shown here.
fn list_processes() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The inodes of the sockets that a process has open; `None`: they are not shown here.
fn list_sockets(pid: u32) -> Option<Vec<u64>> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let links = files
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let inodes = links.filter_map(|link| {
        let name = link.to_str()?.strip_prefix("socket:[")?;
        name.strip_suffix(']')?.parse().ok()
    });
    Some(inodes.collect())
}

/// The sockets that listen on a port.
fn list_listeners(port: u16) -> Vec<Listener> {
    let mut listening = Vec::new();
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        // A machine without IPv6 has no table of it.
        let text = std::fs::read_to_string(table).unwrap_or_default();
        let found = text.lines().filter_map(read_listener);
        listening.extend(found.filter(|one| one.address.port() == port));
    }
    listening
}

/// The socket in a line of the kernel's table, if it listens.
fn read_listener(line: &str) -> Option<Listener> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state) = (fields.get(1)?, fields.get(3)?);
    if *state != LISTENING {
        return None;
    }
    let (ip, port) = local.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(Listener {
        address: SocketAddr::new(read_ip(ip)?, port),
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// An address in the kernel's table: words of 32 bits, each in the order of this machine's bytes.
fn read_ip(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = text.get(at * 8..(at + 1) * 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..(at + 1) * 4].copy_from_slice(&word(at)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

/// The socket of systemd's that has an address; `None`: it has none, or does not say it to this user.
fn ask_systemd(address: SocketAddr) -> Option<SystemdSocket> {
    let args = [
        "list-sockets",
        "--state=active",
        "--no-pager",
        "--output=json",
    ];
    let never = AtomicBool::new(false);
    let asked = ask_binary::<Value>(Path::new("systemctl"), &args, SYSTEMCTL_TIMEOUT, &never);
    let (_, listed) = asked.ok()?;
    let mut socket = find_systemd_socket(&listed, address)?;
    let args = ["show", "--property=ExecStart", "--value", &socket.service];
    let shown = run_bounded("systemctl", &args, SYSTEMCTL_TIMEOUT);
    socket.is_of_ark = shown.is_ok_and(|shown| starts_ark(&shown));
    Some(socket)
}

/// The socket at an address in what `systemctl list-sockets` says. One that takes all that the address would comes before one that only stands in its way.
fn find_systemd_socket(listed: &Value, address: SocketAddr) -> Option<SystemdSocket> {
    let sockets = listed.as_array()?.iter().filter_map(|row| {
        Some(SystemdSocket {
            address: text_field(row, "listen").parse().ok()?,
            unit: text_field(row, "unit").to_owned(),
            service: text_field(row, "activates").to_owned(),
            is_of_ark: false,
        })
    });
    let sockets = sockets.filter(|socket| are_one_port(socket.address, address));
    sockets.max_by_key(|socket| socket.takes_all(address))
}

impl SystemdSocket {
    /// Whether the socket takes every connection that one on the address would, as far as its own address says: `[::]` takes IPv4 too unless its unit says
    /// otherwise, which a start looks at.
    pub(super) fn takes_all(&self, address: SocketAddr) -> bool {
        match (
            self.address.ip().to_canonical(),
            address.ip().to_canonical(),
        ) {
            (IpAddr::V6(Ipv6Addr::UNSPECIFIED), _) => true,
            (IpAddr::V4(Ipv4Addr::UNSPECIFIED), wanted) => wanted.is_ipv4(),
            (own, wanted) => own == wanted,
        }
    }
}

/// Whether the `ExecStart` of a service, as systemd shows it, starts a program whose name begins with `ark`.
fn starts_ark(shown: &str) -> bool {
    let mut words = shown.split([' ', ';', '=']);
    words.any(|word| {
        let name = word.rsplit_once('/').map(|(_, name)| name);
        name.is_some_and(|name| name == "ark" || name.starts_with("ark-"))
    })
}

/// The socket unit one of whose files names the port of an address. What another file takes back is not looked at.
fn find_socket_file(directories: &[PathBuf], address: SocketAddr) -> Option<String> {
    let names_it = |file: &Path| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let mut values = text.lines().filter_map(|line| {
            line.trim()
                .strip_prefix("ListenStream")?
                .trim()
                .strip_prefix('=')
        });
        values.any(|value| {
            let value = value.trim();
            let any = |port| SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
            let found = value.parse().ok().or_else(|| value.parse().ok().map(any));
            found.is_some_and(|found| are_one_port(found, address))
        })
    };
    let list = |directory: &Path| {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<PathBuf>>()
    };
    let mut entries = directories.iter().flat_map(|directory| list(directory));
    entries.find_map(|entry| {
        let name = entry.file_name()?.to_str()?;
        let unit = name.strip_suffix(".d").unwrap_or(name);
        if !unit.ends_with(".socket") {
            return None;
        }
        let files = if entry.is_dir() {
            list(&entry)
        } else {
            vec![entry.clone()]
        };
        let found = files.iter().any(|file| names_it(file));
        found.then(|| unit.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use serde_json::json;

    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_listener_is_found_in_the_kernels_table_with_its_process() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                // A machine without IPv6.
                continue;
            };
            let bound = listener.local_addr().unwrap();
            let found = list_listeners(bound.port());
            let found: Vec<SocketAddr> = found.iter().map(|one| one.address).collect();
            assert_eq!(found, [bound]);
            assert_eq!(
                find_holder(bound),
                PortHolder::Process(std::process::id()),
                "{address}"
            );
        }
        let line = "   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0";
        if cfg!(target_endian = "little") {
            let found = read_listener(line).unwrap();
            assert_eq!((found.address, found.inode), (at("127.0.0.1:8000"), 4711));
        }
        for line in [
            // It is connected.
            "   0: 0100007F:1F40 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 0",
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
            "   0: 0100007F:1F40 00000000:0000 0A",
            "   0: 0100:1F40 00000000:0000 0A 0 0 0 0 0 4711",
            "",
        ] {
            assert_eq!(read_listener(line), None, "{line}");
        }
    }

    #[test]
    fn the_socket_of_an_address_is_found_in_what_systemd_lists() {
        let row = |listen, unit: &str| json!({"listen": listen, "unit": format!("{unit}.socket"), "activates": format!("{unit}.service")});
        let listed = json!([
            row("/run/dbus/system_bus_socket", "dbus"),
            row("127.0.0.1:8000", "ark"),
            row("127.0.0.1:9090", "ark"),
            row("[::]:9091", "cockpit"),
            row("127.0.0.1:7000", "narrow"),
            row("[::]:7000", "wide"),
        ]);
        for (address, unit, takes_all) in [
            ("127.0.0.1:8000", Some("ark.socket"), true),
            ("127.0.0.1:9090", Some("ark.socket"), true),
            ("[::ffff:127.0.0.1]:8000", Some("ark.socket"), true),
            // It would not take what comes to the other addresses.
            ("0.0.0.0:8000", Some("ark.socket"), false),
            ("[::]:8000", Some("ark.socket"), false),
            ("127.0.0.1:9091", Some("cockpit.socket"), true),
            ("0.0.0.0:9091", Some("cockpit.socket"), true),
            ("0.0.0.0:7000", Some("wide.socket"), true),
            ("127.0.0.2:8000", None, false),
            ("127.0.0.1:8001", None, false),
        ] {
            let found = find_systemd_socket(&listed, at(address));
            let takes = found.as_ref().is_some_and(|one| one.takes_all(at(address)));
            let found = found.map(|socket| socket.unit);
            assert_eq!((found.as_deref(), takes), (unit, takes_all), "{address}");
        }
        assert_eq!(find_systemd_socket(&json!([]), at("127.0.0.1:8000")), None);
        assert_eq!(find_systemd_socket(&json!({}), at("127.0.0.1:8000")), None);
    }

    #[test]
    fn a_service_of_ark_is_known_by_its_program() {
        let shown = |program: &str| {
            format!("{{ path={program} ; argv[]={program} serve ; ignore_errors=no ; pid=0 }}")
        };
        for (program, expected) in [
            ("/usr/bin/ark", true),
            ("/opt/ark-2.0.0/ark", true),
            ("/opt/ark-next", true),
            ("/usr/lib/cockpit/cockpit-tls", false),
            ("/usr/bin/spark", false),
            ("/usr/bin/arkade", false),
        ] {
            assert_eq!(starts_ark(&shown(program)), expected, "{program}");
        }
        assert!(!starts_ark(""));
    }

    #[test]
    fn the_port_of_a_socket_unit_is_found_in_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("ark.service", "[Service]\nListenStream=127.0.0.1:7000\n");
        write("ark.socket", "[Socket]\nListenStream=127.0.0.1:8000\n");
        write(
            "other.socket.d/override.conf",
            "[Socket]\nListenStream=\nListenStream = 9090\n#ListenStream=9091\n",
        );
        let directories = [dir.path().join("nowhere"), dir.path().to_owned()];
        for (address, unit) in [
            ("127.0.0.1:8000", Some("ark.socket")),
            ("0.0.0.0:8000", Some("ark.socket")),
            ("127.0.0.1:9090", Some("other.socket")),
            ("127.0.0.2:8000", None),
            ("127.0.0.1:9091", None),
            ("127.0.0.1:7000", None),
        ] {
            let found = find_socket_file(&directories, at(address));
            assert_eq!(found.as_deref(), unit, "{address}");
        }
    }
}
