//! How a registry is reached: credentials, authority, TLS.

use std::path::PathBuf;

use anyhow::Context;
use ark_registry::{Credentials, Reference, Registry, RegistryOptions};
use clap::Args;

/// The largest file with a password that is read, in bytes.
const MAX_PASSWORD_BYTES: u64 = 64 * 1024;

/// How a registry is reached.
#[derive(Debug, Args)]
pub(super) struct RegistryArgs {
    /// The user of the registry [default: the credentials that `docker login` or `podman login` left].
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// A file that holds the user's password or token.
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// A PEM file with the certificate authority of the registry to trust [default: the public ones].
    #[arg(long, value_name = "FILE")]
    registry_ca: Option<PathBuf>,
    /// Ask a registry on another machine without TLS: everybody between here and there can read the credentials.
    #[arg(long, conflicts_with = "registry_ca")]
    plain_http: bool,
}

impl RegistryArgs {
    /// Returns a client of the registry of a reference.
    ///
    /// # Errors
    /// A file cannot be read, or the credentials cannot be used.
    pub(super) fn connect(&self, reference: &Reference) -> anyhow::Result<Registry> {
        let credentials = match (&self.username, &self.password_file) {
            (Some(username), Some(file)) => {
                let context = || format!("--password-file {}", file.display());
                let size = std::fs::metadata(file).with_context(context)?.len();
                anyhow::ensure!(
                    size <= MAX_PASSWORD_BYTES,
                    "{}: has {size} bytes, which is no password",
                    context()
                );
                let password = std::fs::read_to_string(file).with_context(context)?;
                let password = password.trim_end_matches(['\r', '\n']);
                Some(Credentials::new(username.clone(), password.to_owned()))
            }
            _ => None,
        };
        let options = RegistryOptions {
            credentials,
            authority: self.registry_ca.clone(),
            plain_http: self.plain_http,
        };
        Ok(Registry::new(reference, options)?)
    }
}
