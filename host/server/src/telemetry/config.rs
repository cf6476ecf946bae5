//! How telemetry is set up: `telemetry_listen` and `[telemetry]` of `ark.toml`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::logs::LogFormat;

/// Where metrics are served unless something else is said.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// `[telemetry]`
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryFile {
    /// How log lines are written: `human` or `json`. `ARK_LOG_FORMAT` comes before it.
    pub log_format: Option<String>,
    /// Where traces are sent, e.g. `http://127.0.0.1:4318/v1/traces` (OTLP over HTTP, protobuf). Absent: nowhere.
    pub otlp_endpoint: Option<String>,
}

impl TelemetryFile {
    /// What stands where nothing is said.
    #[must_use]
    pub fn defaults() -> Self {
        Self {
            log_format: Some(LogFormat::default().as_str().to_owned()),
            otlp_endpoint: None,
        }
    }
}

/// Where metrics are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TelemetryListen {
    /// Nowhere, and nothing is timed.
    Off,
    /// Here. Port 0: a free one.
    At(SocketAddr),
}

impl Default for TelemetryListen {
    fn default() -> Self {
        Self::At(DEFAULT_LISTEN)
    }
}

impl fmt::Display for TelemetryListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(listen) => listen.fmt(f),
        }
    }
}

impl FromStr for TelemetryListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|_| {
            format!("{text:?} is neither ADDRESS:PORT, e.g. 127.0.0.1:9090, nor \"off\"")
        })
    }
}

/// How telemetry works.
#[derive(Debug, Clone, Default)]
pub struct TelemetryConfig {
    /// Where metrics are served.
    pub listen: TelemetryListen,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Where traces are sent.
    pub otlp_endpoint: Option<String>,
}

impl TelemetryConfig {
    /// Checks what the sources say; `listen` is the address as written there.
    ///
    /// # Errors
    /// The field, and what is wrong with it.
    pub fn from_file(
        file: TelemetryFile,
        listen: Option<&str>,
    ) -> Result<Self, (&'static str, String)> {
        let listen = match listen {
            Some(text) => text
                .parse()
                .map_err(|problem| ("telemetry_listen", problem))?,
            None => TelemetryListen::default(),
        };
        let log_format = match file.log_format.as_deref() {
            None => LogFormat::default(),
            Some(text) => text
                .parse()
                .map_err(|problem| ("telemetry.log_format", problem))?,
        };
        if let Some(endpoint) = &file.otlp_endpoint {
            let problem = |problem: &str| {
                let remedy = "give the whole address, e.g. http://127.0.0.1:4318/v1/traces";
                Err(("telemetry.otlp_endpoint", format!("{problem}; {remedy}")))
            };
            match endpoint.parse::<axum::http::Uri>() {
                Ok(uri) if !matches!(uri.scheme_str(), Some("http" | "https")) => {
                    return problem("is not an http or https address");
                }
                Ok(uri) if uri.path().len() < 2 => return problem("has no path"),
                Ok(_) => {}
                Err(error) => return problem(&format!("is {error}")),
            }
        }
        Ok(Self {
            listen,
            log_format,
            otlp_endpoint: file.otlp_endpoint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(toml: &str, listen: Option<&str>) -> Result<TelemetryConfig, String> {
        let file: TelemetryFile = toml::from_str(toml).map_err(|error| error.to_string())?;
        TelemetryConfig::from_file(file, listen)
            .map_err(|(field, problem)| format!("{field}: {problem}"))
    }

    #[test]
    fn what_is_wrong_is_named_with_a_remedy() {
        for (toml, listen, named) in [
            ("", Some("here"), "telemetry_listen"),
            ("", Some("9090"), "telemetry_listen"),
            ("log_format = \"xml\"", None, "telemetry.log_format"),
            ("log_fromat = \"json\"", None, "log_fromat"),
            (
                "otlp_endpoint = \"collector\"",
                None,
                "telemetry.otlp_endpoint",
            ),
            (
                "otlp_endpoint = \"ftp://x/v1\"",
                None,
                "telemetry.otlp_endpoint",
            ),
            (
                "otlp_endpoint = \"http://x\"",
                None,
                "telemetry.otlp_endpoint",
            ),
        ] {
            let error = resolve(toml, listen).unwrap_err();
            assert!(error.contains(named), "{toml} {listen:?}: {error}");
        }
        let config = resolve("", None).unwrap();
        assert_eq!(config.listen, TelemetryListen::At(DEFAULT_LISTEN));
        assert_eq!(
            resolve("", Some("off")).unwrap().listen,
            TelemetryListen::Off
        );
    }
}
