//! Where the telemetry of the host is that a command validates: as an option says, else by the configuration.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;

use ark_client::{Endpoint, HostClient};
use ark_deploy::env_file::EnvFile;
use ark_host::config::{Config, Overrides};
use ark_host::telemetry::TelemetryListen;
use ureq::http::Uri;

use crate::args::read_local_config;
use crate::client::connection::format_url;

/// The variable that a file of the environment sets telemetry with.
const LISTEN_VARIABLE: &str = "ARK_TELEMETRY_LISTEN";

/// What `--telemetry` takes.
#[derive(Debug, Clone)]
pub(super) enum TelemetryChoice {
    /// The host has none.
    Off,
    /// The address.
    At(String),
}

impl FromStr for TelemetryChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_address = |uri: &Uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
        };
        match text {
            "off" => Ok(Self::Off),
            text if text.parse().is_ok_and(|uri| is_address(&uri)) => Ok(Self::At(text.to_owned())),
            _ => Err(
                "give an address with http:// or https://, e.g. http://127.0.0.1:9090, or `off`"
                    .to_owned(),
            ),
        }
    }
}

/// The telemetry of the host at `url`: the one that was given, else that of this machine's configuration. `None`: the host has none, or the
/// configuration is of another host, cannot be read, or leaves the port to the system.
pub(super) fn find_telemetry(given: Option<TelemetryChoice>, url: &str) -> Option<String> {
    match given {
        Some(TelemetryChoice::Off) => None,
        Some(TelemetryChoice::At(url)) => Some(url),
        None => {
            let config = read_local_config(None, &Overrides::default()).ok()?;
            is_reached(url, config.listen).then(|| configured_url(&config))?
        }
    }
}

/// As [`find_telemetry`], for a host that is about to be exchanged; `config` and `env_file` are that host's, where they were given. An address that was
/// not given counts only if it shows objectives now: a wrong guess must not undo an exchange.
pub(super) fn find_exchanged_telemetry(
    given: Option<TelemetryChoice>,
    url: &str,
    config: Option<&Path>,
    env_file: Option<&Path>,
) -> Option<String> {
    if given.is_some() {
        return find_telemetry(given, url);
    }
    let found = match config {
        None => find_telemetry(None, url),
        Some(file) => {
            let overrides = Overrides {
                telemetry_listen: env_file.and_then(read_listen),
                ..Overrides::default()
            };
            let config = read_local_config(Some(file), &overrides).ok()?;
            configured_url(&config)
        }
    };
    found.filter(|url| shows_objectives(url))
}

/// The telemetry that a file of the environment sets.
fn read_listen(env_file: &Path) -> Option<TelemetryListen> {
    let file = EnvFile::read_file(env_file).ok()?;
    let mut variables = file.variables.iter();
    let found = variables.find(|variable| variable.name == LISTEN_VARIABLE)?;
    found.value.parse().ok()
}

fn configured_url(config: &Config) -> Option<String> {
    match config.telemetry.listen {
        TelemetryListen::At(address) if address.port() != 0 => Some(format_url("http", address)),
        _ => None,
    }
}

fn shows_objectives(url: &str) -> bool {
    let telemetry = HostClient::new(&Endpoint {
        url: url.to_owned(),
        token: None,
        ca: None,
    });
    let shown = telemetry.and_then(|telemetry| telemetry.get("/slos"));
    shown.is_ok_and(|answer| answer.status == 200)
}

/// Whether a URL leads to a listener of this machine.
fn is_reached(url: &str, listen: SocketAddr) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let default = if uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = host == "localhost"
        || host.parse().is_ok_and(|ip: IpAddr| {
            ip == listen.ip() || listen.ip().is_unspecified() && ip.is_loopback()
        });
    is_here && uri.port_u16().unwrap_or(default) == listen.port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_to_this_machines_listener_or_to_another() {
        for (url, listen, expected) in [
            ("http://127.0.0.1:8000", "127.0.0.1:8000", true),
            ("http://127.0.0.1:8000/", "0.0.0.0:8000", true),
            ("http://[::1]:8000", "[::]:8000", true),
            ("http://localhost:8000", "127.0.0.1:8000", true),
            ("https://10.0.0.7", "10.0.0.7:443", true),
            ("http://127.0.0.1:8001", "127.0.0.1:8000", false),
            ("http://10.0.0.8:8000", "0.0.0.0:8000", false),
            ("https://ark.example:8000", "127.0.0.1:8000", false),
            ("http://127.0.0.1:8000", "127.0.0.1:0", false),
        ] {
            let listen = listen.parse().expect("an address");
            assert_eq!(is_reached(url, listen), expected, "{url} {listen}");
        }
    }

    #[test]
    fn telemetry_is_an_address_or_off() {
        for (text, expected) in [
            ("off", true),
            ("http://127.0.0.1:9090", true),
            ("127.0.0.1:9090", false),
            ("ftp://host", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<TelemetryChoice>().is_ok(), expected, "{text}");
        }
    }
}
