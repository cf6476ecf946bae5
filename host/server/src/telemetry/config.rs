//! Configuration of telemetry.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::logs::LogFormat;

/// The default address of the telemetry port.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// The telemetry port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TelemetryListen {
    /// There is none, and nothing is timed.
    Off,
    /// It is at this address. Port 0: the system chooses one.
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

impl Serialize for TelemetryListen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TelemetryListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// How telemetry works.
#[derive(Debug, Clone, Default)]
pub struct TelemetryConfig {
    /// The telemetry port.
    pub listen: TelemetryListen,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// The endpoint that traces are sent to; absent: none are sent.
    pub otlp_endpoint: Option<String>,
}
