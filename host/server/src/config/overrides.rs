//! What the flags of the command line set.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;

use crate::telemetry::TelemetryListen;
use ark_model::ids::Name;

/// What the flags of the command line set, by the names of the keys.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Overrides {
    /// See [`super::ConfigFile::data_dir`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// See [`super::ConfigFile::listen`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// See [`super::ConfigFile::telemetry_listen`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telemetry_listen: Option<TelemetryListen>,
    /// See [`super::ConfigFile::behind_proxy`]. Without the flag the other sources decide.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub behind_proxy: bool,
    /// See [`super::ConfigFile::agents_dir`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents_dir: Option<PathBuf>,
    /// See [`super::ConfigFile::graveyard`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graveyard: Option<PathBuf>,
    /// See [`super::ConfigFile::submitters`]; these are added to those of the other sources.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub submitters: Vec<Name>,
    /// See [`super::ConfigFile::front`].
    #[serde(skip_serializing_if = "FrontOverrides::is_empty")]
    pub front: FrontOverrides,
}

/// What the flags of a front set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FrontOverrides {
    /// The API of the host that owns the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The authorities that may have signed its certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_ca: Option<PathBuf>,
    /// The file with the front's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Milliseconds for which a request is parked at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<u64>,
    /// Requests that are parked at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_limit: Option<usize>,
    /// The directory of compiled policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_dir: Option<PathBuf>,
}

impl FrontOverrides {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
