//! Whose credentials a request carries: those that are given, or those that `docker login` or `podman login` left for the registry.

use std::env;
use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use docker_credential::{CredentialRetrievalError, DockerCredential};

use super::error::RegistryError;

/// A user and a password. They are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    username: String,
    password: String,
}

impl Credentials {
    /// Makes credentials.
    #[must_use]
    pub const fn new(username: String, password: String) -> Self {
        Self { username, password }
    }

    /// Finds the credentials of a registry: in the file that `REGISTRY_AUTH_FILE` names, where it names one; otherwise in docker's `config.json`
    /// (`DOCKER_CONFIG`, `~/.docker`), with the helper programs that it names.
    ///
    /// # Errors
    /// The file is named or there and cannot be read, or a helper fails. A registry without credentials is not an error.
    pub fn find(registry: &str) -> Result<Option<Self>, RegistryError> {
        let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let found = if is_set("REGISTRY_AUTH_FILE") {
            docker_credential::get_podman_credential(registry)
        } else if docker_configuration().is_some_and(|file| file.exists()) {
            docker_credential::get_credential(registry)
        } else {
            return Ok(None);
        };
        let refused = |problem: String| RegistryError::Credentials {
            registry: registry.to_owned(),
            problem,
        };
        match found {
            Ok(DockerCredential::UsernamePassword(username, password)) => {
                Ok(Some(Self { username, password }))
            }
            Ok(DockerCredential::IdentityToken(_)) => Err(refused(
                "they are an identity token, which is not supported; give --username and --password-file".to_owned(),
            )),
            Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(None),
            // What a helper prints may hold a secret.
            Err(CredentialRetrievalError::HelperFailure { helper, .. }) => Err(refused(format!(
                "the helper docker-credential-{helper} fails; log in again, or give --username and --password-file"
            ))),
            Err(error) => Err(refused(format!(
                "{error}; see REGISTRY_AUTH_FILE and docker's config.json, or give --username and --password-file"
            ))),
        }
    }

    /// Returns the value of the header `Authorization` for them.
    pub(crate) fn to_basic(&self) -> String {
        let text = format!("{}:{}", self.username, self.password);
        format!("Basic {}", STANDARD.encode(text))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credentials(…)")
    }
}

fn docker_configuration() -> Option<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    let directory = env::var_os("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(home);
    Some(directory?.join("config.json"))
}
