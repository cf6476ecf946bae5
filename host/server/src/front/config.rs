//! Configuration of a front.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::{Authority, PathAndQuery, Scheme};

use ark_model::action_types::ActionTypes;
use ark_model::check::clip_for_error;
use ark_model::loopback::is_loopback_host;
use ark_runtime::{EngineConfig, GraveyardSource};

use crate::policies::Declaration;

/// Where the owner is, and how it is reached while it is away.
#[derive(Debug, Clone)]
pub struct FrontConfig {
    /// The API of the host that owns the data.
    pub owner: OwnerAddress,
    /// A PEM file with the authorities that may have signed its certificate; `None`: the public ones.
    pub owner_ca: Option<PathBuf>,
    /// A file with the token with which the front reads decisions.
    pub token_file: Option<PathBuf>,
    /// How long a request is parked at most.
    pub hold_for: Duration,
    /// How many requests are parked at the same time.
    pub hold_limit: usize,
    /// The directory in which compiled policies are kept; `None`: each start compiles them.
    pub cache_dir: Option<PathBuf>,
}

/// What a front judges with.
#[derive(Debug, Clone)]
pub struct FrontPolicies {
    /// The configuration of the engine.
    pub engine: EngineConfig,
    /// Where the Graveyard is.
    pub graveyard: GraveyardSource,
    /// The operator policies that the configuration declares.
    pub declared: Vec<Declaration>,
    /// The directory in which further ones are declared.
    pub directory: Option<PathBuf>,
    /// The files with the keys of which one must have signed a policy; none: no signature is demanded.
    pub signature_keys: Vec<PathBuf>,
    /// Fuel of one evaluation of an operator policy.
    pub fuel: u64,
    /// The declared action types.
    pub action_types: ActionTypes,
}

/// The address of a host's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerAddress {
    scheme: Scheme,
    authority: Authority,
}

impl OwnerAddress {
    /// Reads `http://HOST:PORT` or `https://HOST:PORT`.
    ///
    /// # Errors
    /// The form is wrong, or tokens would leave the machine unencrypted. The error text continues the key's name.
    pub fn parse(url: &str) -> Result<Self, String> {
        let refused = |problem: &str| {
            Err(format!(
                "is {:?}, which {problem}; give the owner's address, e.g. https://ark.example.com:8000",
                clip_for_error(url)
            ))
        };
        let Ok(uri) = url.parse::<Uri>() else {
            return refused("is no address");
        };
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return refused("lacks http:// or https://");
        };
        if authority.as_str().contains('@') {
            return refused("names a user");
        }
        if parts
            .path_and_query
            .is_some_and(|path| !matches!(path.as_str(), "" | "/"))
        {
            return refused("has a path");
        }
        if scheme == Scheme::HTTP && !is_loopback_host(authority.host()) {
            return refused("would send tokens to another machine unencrypted");
        }
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return refused("is neither http nor https");
        }
        Ok(Self { scheme, authority })
    }

    /// The address of a path at the owner. `None`: the path has no form that can be sent.
    pub(super) fn at(&self, path: PathAndQuery) -> Option<Uri> {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .ok()
    }
}

impl fmt::Display for OwnerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_a_scheme_a_name_and_a_port() {
        for url in [
            "http://127.0.0.1:8000",
            "http://localhost:8000/",
            "http://[::1]:8000",
            "https://ark.example.com",
            "https://10.0.0.7:8443/",
        ] {
            let address = OwnerAddress::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(address.to_string(), url.trim_end_matches('/'));
        }
        for (url, problem) in [
            ("", "no address"),
            ("127.0.0.1:8000", "lacks http"),
            ("/v1", "lacks http"),
            ("ftp://localhost", "neither http nor https"),
            ("http://ark.example.com:8000", "unencrypted"),
            ("http://10.0.0.7:8000", "unencrypted"),
            ("https://ada@ark.example.com", "names a user"),
            ("https://ark.example.com/v1", "has a path"),
            ("https://ark.example.com?a=b", "has a path"),
        ] {
            let error = OwnerAddress::parse(url).expect_err(url);
            assert!(error.contains(problem), "{url}: {error}");
        }
    }
}
