//! `ARK_URL` in the environment of a host. `ark serve` passes over it; commands that are run with the same environment go by it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use super::address::{find_address, is_own_address};
use super::inputs::CheckInputs;
use super::line::CheckLines;

/// The variable that names the host of commands.
const URL: &str = "ARK_URL";

/// The host that commands with this environment ask is the one that is checked.
pub(super) fn check_client_variables(inputs: &CheckInputs, lines: &mut CheckLines) {
    let set = std::env::var(URL).ok().filter(|url| !url.is_empty());
    let Some(url) = set else { return };
    let listen = inputs.config.listen;
    let scheme = if inputs.config.access.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let Err(problem) = compare_address(&url, scheme, listen) else {
        return;
    };
    let file = inputs.options.env_file.as_ref();
    let file = file.and_then(|file| file.as_ref().ok());
    let line = file.and_then(|file| {
        let mut variables = file.variables.iter();
        let variable = variables.find(|variable| variable.name == URL && variable.value == url)?;
        Some(format!("{}, line {}", file.path.display(), variable.line))
    });
    let place = line.unwrap_or_else(|| "the environment".to_owned());
    let mut own = listen;
    if own.ip().is_unspecified() {
        own.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    lines.add_warning(
        format!("{place}: {URL} {problem}: `ark serve` passes over it, and commands with this environment do not ask this host"),
        format!("set {URL} to {scheme}://{own}, or take it out of the environment of the service"),
    );
}

/// Whether an address of an API leads to a listener on this machine.
///
/// # Errors
/// It does not: why, without user and password.
fn compare_address(url: &str, scheme: &str, listen: SocketAddr) -> Result<(), String> {
    let given = url.split_once("://").map(|(given, _)| given);
    let given = given.filter(|given| matches!(*given, "http" | "https"));
    let (Some(given), Some(address)) = (given, find_address(url)) else {
        return Err("is no address of a host".to_owned());
    };
    let mut resolved = address
        .to_socket_addrs()
        .map_err(|error| format!("names {address}, which is not known here ({error})"))?;
    let is_own = |found: SocketAddr| {
        // A listener with port 0 has another one with each start.
        (listen.port() == 0 || found.port() == listen.port()) && reaches(found.ip(), listen.ip())
    };
    if !resolved.any(is_own) {
        return Err(format!(
            "leads to {address}, and this host listens on {listen}"
        ));
    }
    if given != scheme {
        return Err(format!("has {given}://, and this host speaks {scheme}"));
    }
    Ok(())
}

/// Whether a connection to an address reaches one that is listened on here.
fn reaches(found: IpAddr, listen: IpAddr) -> bool {
    let (found, listen) = (found.to_canonical(), listen.to_canonical());
    if listen.is_unspecified() {
        return is_own_address(found);
    }
    // A connection to the unspecified address reaches the loopback.
    found == listen || (found.is_unspecified() && listen.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::compare_address;

    #[test]
    fn an_address_of_commands_leads_to_the_listener_or_elsewhere() {
        for (url, scheme, listen, expected) in [
            ("http://127.0.0.1:8000", "http", "127.0.0.1:8000", ""),
            ("http://127.0.0.1:8000/", "http", "127.0.0.1:8000", ""),
            ("http://localhost:8000", "http", "127.0.0.1:8000", ""),
            ("http://0.0.0.0:8000", "http", "127.0.0.1:8000", ""),
            ("http://127.0.0.1:8000", "http", "0.0.0.0:8000", ""),
            ("http://[::1]:8000", "http", "[::]:8000", ""),
            (
                "http://[::ffff:127.0.0.1]:8000",
                "http",
                "127.0.0.1:8000",
                "",
            ),
            ("https://127.0.0.1", "https", "127.0.0.1:443", ""),
            ("http://127.0.0.1:9", "http", "127.0.0.1:0", ""),
            (
                "http://127.0.0.1:8001",
                "http",
                "127.0.0.1:8000",
                "leads to 127.0.0.1:8001",
            ),
            (
                "http://192.0.2.1:8000",
                "http",
                "0.0.0.0:8000",
                "leads to 192.0.2.1:8000",
            ),
            (
                "http://192.0.2.1:8000",
                "http",
                "127.0.0.1:8000",
                "leads to",
            ),
            (
                "http://127.0.0.1:8000",
                "https",
                "127.0.0.1:8000",
                "speaks https",
            ),
            (
                "http://ada:secret@192.0.2.1:8000",
                "http",
                "127.0.0.1:8000",
                "leads to 192.0.2.1:8000",
            ),
            (
                "http://ark.invalid:8000",
                "http",
                "127.0.0.1:8000",
                "is not known here",
            ),
            ("127.0.0.1:8000", "http", "127.0.0.1:8000", "is no address"),
            (
                "ftp://127.0.0.1:8000",
                "http",
                "127.0.0.1:8000",
                "is no address",
            ),
        ] {
            let found = compare_address(url, scheme, listen.parse().unwrap());
            let told = found.err().unwrap_or_default();
            assert_eq!(told.is_empty(), expected.is_empty(), "{url}: {told}");
            assert!(
                told.contains(expected) && !told.contains("secret"),
                "{url}: {told}"
            );
        }
    }
}
