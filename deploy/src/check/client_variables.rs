//! The variables of commands in the environment of a host: `ARK_URL`, `ARK_TOKEN_FILE`, `ARK_CA`, `ARK_HAPROXY`. `ark serve` passes over them; commands that
//! are run with the same environment go by them.

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;

use ark_client::{ClientError, Endpoint, HostClient};
use ark_model::ids::{Digest, Millis};

use crate::haproxy::{HaproxyAddress, HaproxyClient};

use super::Scope;
use super::address::{find_address, is_own_address};
use super::inputs::CheckInputs;
use super::line::CheckLines;

/// The variable that names the host of commands.
const URL: &str = "ARK_URL";
/// The variable that names the file of the token of commands.
const TOKEN_FILE: &str = "ARK_TOKEN_FILE";
/// The variable that names the file of the authority that commands trust.
const AUTHORITY: &str = "ARK_CA";
/// The variable that names the runtime socket of `HAProxy`.
const HAPROXY: &str = "ARK_HAPROXY";
/// How much of a file is read in which a token is looked for, in bytes.
const MAX_TOKEN_FILE_BYTES: u64 = 4096;

/// A variable that is set.
struct SetVariable {
    name: &'static str,
    value: String,
    /// The line of the file of the environment that sets it; `None`: none does.
    line: Option<usize>,
    /// Where it is set, in words.
    place: String,
}

impl SetVariable {
    /// The values of a variable: that of the environment, by which commands go, and that of the file of the environment where it is another one. One that is
    /// empty is none to commands.
    fn read_all(inputs: &CheckInputs, name: &'static str) -> Vec<Self> {
        let file = inputs.options.env_file.as_ref();
        let file = file.and_then(|file| file.as_ref().ok());
        let of_file = file.and_then(|file| {
            let mut variables = file.variables.iter();
            let variable = variables.find(|variable| variable.name == name)?;
            Some(Self {
                name,
                value: variable.value.clone(),
                line: Some(variable.line),
                place: format!("{}, line {}", file.path.display(), variable.line),
            })
        });
        let of_environment = std::env::var(name).ok().map(|value| Self {
            name,
            value,
            line: None,
            place: "the environment".to_owned(),
        });
        // What the environment has of the file is the file's.
        let is_of_file = |one: &Self| {
            of_file
                .as_ref()
                .is_some_and(|other| other.value == one.value)
        };
        let of_environment = of_environment.filter(|one| !is_of_file(one));
        let all = of_environment.into_iter().chain(of_file);
        all.filter(|variable| !variable.value.is_empty()).collect()
    }
}

/// Commands with this environment ask the host that is checked, with a token that it admits and an authority that can be read, and reach `HAProxy`.
pub(super) fn check_client_variables(inputs: &CheckInputs, lines: &mut CheckLines) {
    let leads_here = check_url(inputs, lines);
    for variable in SetVariable::read_all(inputs, TOKEN_FILE) {
        if check_named_file(inputs, &variable, true, lines) && leads_here {
            check_token(inputs, &variable, lines);
        }
    }
    for variable in SetVariable::read_all(inputs, AUTHORITY) {
        if check_named_file(inputs, &variable, false, lines) {
            check_authority(&variable, lines);
        }
    }
    if inputs.scope == Scope::Everything {
        for variable in SetVariable::read_all(inputs, HAPROXY) {
            check_haproxy(&variable, lines);
        }
    }
}

/// The host that commands ask is the one that is checked. Returns whether it is, as far as is known.
fn check_url(inputs: &CheckInputs, lines: &mut CheckLines) -> bool {
    let Some(variable) = SetVariable::read_all(inputs, URL).into_iter().next() else {
        return true;
    };
    let listen = inputs.config.listen;
    let scheme = if inputs.config.access.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let Err(problem) = compare_address(&variable.value, scheme, listen) else {
        return true;
    };
    let mut own = listen;
    if own.ip().is_unspecified() {
        own.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    lines.add_warning(
        format!("{}: {URL} {problem}: `ark serve` passes over it, and commands with this environment do not ask this host", variable.place),
        format!("set {URL} to {scheme}://{own}, or take it out of the environment of the service"),
    );
    false
}

/// The file that a variable names is there; nobody else reads it, if it is a secret, or changes it. Returns whether it is there.
fn check_named_file(
    inputs: &CheckInputs,
    variable: &SetVariable,
    is_secret: bool,
    lines: &mut CheckLines,
) -> bool {
    let (name, named) = (variable.name, Path::new(&variable.value));
    let remedy = format!("name a file, or take {name} out of the environment");
    match std::fs::metadata(named) {
        Err(error) => {
            let problem = format!("{name} {}: {error}", named.display());
            lines.add_error(problem, remedy);
            return false;
        }
        Ok(found) if !found.is_file() => {
            lines.add_error(format!("{name} {} is no file", named.display()), remedy);
            return false;
        }
        Ok(_) => {}
    }
    let user = &inputs.host_user;
    // Who checks for another user may have variables of its own, with files that are not the host's.
    if variable.line.is_none() && user.is_other() {
        return true;
    }
    if is_secret {
        user.check_secret(named, "0400", lines);
    } else {
        user.check_file(named, "0644", lines);
    }
    true
}

/// The token in the file is one that the host admits. By the database, which a host that runs goes by.
fn check_token(inputs: &CheckInputs, variable: &SetVariable, lines: &mut CheckLines) {
    let (place, name, file) = (&variable.place, variable.name, Path::new(&variable.value));
    let mut text = Vec::new();
    let read =
        File::open(file).and_then(|file| file.take(MAX_TOKEN_FILE_BYTES).read_to_end(&mut text));
    if let Err(error) = read {
        return lines.add_error(
            format!("{place}: {name} {}: {error}", file.display()),
            "run the check as the user that runs the host, or let that user read the file",
        );
    }
    let text = text.trim_ascii();
    // A database that cannot be read has a line of its own; without a token a host asks for none.
    let tokens = inputs
        .open_database()
        .ok()
        .flatten()
        .and_then(|store| store.all_tokens().ok())
        .unwrap_or_default();
    if tokens.is_empty() {
        return;
    }
    let hash = Digest::hash_bytes(text);
    let found = tokens.iter().find(|token| token.hash == hash);
    let status = found.map(|token| token.status(Millis::now()));
    let problem = match (found, status) {
        (_, Some("live")) => return,
        (Some(token), Some(status)) => format!("is {status} ({})", token.name),
        _ => "is none of this host's".to_owned(),
    };
    lines.add_warning(
        format!(
            "{place}: the token in {} ({name}) {problem}: this host refuses commands with this environment",
            file.display()
        ),
        "put a token of this host into the file (ark token create --role ROLE --name NAME), or take the variable out of the environment",
    );
}

/// The file of the authority can be used by commands.
fn check_authority(variable: &SetVariable, lines: &mut CheckLines) {
    let made = HostClient::new(&Endpoint {
        // Nothing is sent.
        url: "https://localhost".to_owned(),
        token: None,
        ca: Some(variable.value.clone().into()),
    });
    if let Err(ClientError::Authority(error)) = made {
        lines.add_error(
            format!("{}: {} {error}", variable.place, variable.name),
            format!(
                "name a PEM file with the certificate of the authority that signed the host's, or take {} out of the environment",
                variable.name
            ),
        );
    }
}

/// The runtime socket of `HAProxy` answers, and permits changes.
fn check_haproxy(variable: &SetVariable, lines: &mut CheckLines) {
    let address: Result<HaproxyAddress, String> = variable.value.parse();
    let problem = match address {
        Err(problem) => problem,
        Ok(address) => match HaproxyClient::new(address).check_rights() {
            Ok(()) => return,
            Err(error) => error.to_string(),
        },
    };
    lines.add_warning(
        format!("{}: {}: {problem}", variable.place, variable.name),
        format!(
            "start HAProxy, or name its socket (stats socket PATH level admin), which `ark canary` and `ark rollback` need; where the user of the host may not use it, take {} out of the host's environment",
            variable.name
        ),
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
