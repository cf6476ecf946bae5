//! The policies and settings that recorded decisions were judged with, found by digest: those given, those that a database holds, and the
//! Graveyards of earlier releases.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use ark_model::check::FieldError;
use ark_model::ids::Digest;
use ark_model::settings::Settings;
use ark_runtime::{Engine, LoadError, Policy, ReleasedGraveyard};
use ark_store::{ReadError, ReadOnlyStore};

/// Policies and settings by digest. A policy of the database or of an earlier release is compiled when it is first asked for.
#[derive(Default)]
pub struct PolicyLibrary<'a> {
    database: Option<(&'a Engine, &'a ReadOnlyStore)>,
    earlier_releases: Option<&'a Engine>,
    policies: RefCell<HashMap<Digest, Result<Arc<Policy>, LibraryError>>>,
    settings: RefCell<HashMap<Digest, Result<Settings, LibraryError>>>,
}

impl<'a> PolicyLibrary<'a> {
    /// Makes a library of policies.
    #[must_use]
    pub fn from_policies(policies: impl IntoIterator<Item = Arc<Policy>>) -> Self {
        let policies = policies
            .into_iter()
            .map(|policy| (policy.identity().digest, Ok(policy)))
            .collect();
        Self {
            database: None,
            earlier_releases: None,
            policies: RefCell::new(policies),
            settings: RefCell::default(),
        }
    }

    /// Adds the policies and settings that a database holds.
    #[must_use]
    pub const fn with_database(mut self, engine: &'a Engine, store: &'a ReadOnlyStore) -> Self {
        self.database = Some((engine, store));
        self
    }

    /// Adds the Graveyards of earlier releases, which are part of the program: a database may hold decisions that one of them judged.
    #[must_use]
    pub const fn with_earlier_graveyards(mut self, engine: &'a Engine) -> Self {
        self.earlier_releases = Some(engine);
        self
    }

    /// Adds settings.
    #[must_use]
    pub fn with_settings(self, settings: impl IntoIterator<Item = Settings>) -> Self {
        let settings = settings
            .into_iter()
            .map(|settings| (settings.digest(), Ok(settings)));
        self.settings.borrow_mut().extend(settings);
        self
    }

    /// Returns the policy with this digest.
    ///
    /// # Errors
    /// It is unknown, or cannot be loaded.
    pub fn find_policy(&self, digest: Digest) -> Result<Arc<Policy>, LibraryError> {
        if let Some(known) = self.policies.borrow().get(&digest) {
            return known.clone();
        }
        let loaded = self.load_policy(digest);
        self.policies.borrow_mut().insert(digest, loaded.clone());
        loaded
    }

    /// Returns the settings with this digest.
    ///
    /// # Errors
    /// They are unknown, or malformed.
    pub fn find_settings(&self, digest: Digest) -> Result<Settings, LibraryError> {
        if let Some(known) = self.settings.borrow().get(&digest) {
            return known.clone();
        }
        let loaded = self.load_settings(digest);
        self.settings.borrow_mut().insert(digest, loaded.clone());
        loaded
    }

    fn load_policy(&self, digest: Digest) -> Result<Arc<Policy>, LibraryError> {
        if let Some(engine) = self.earlier_releases
            && let Some(released) = ReleasedGraveyard::find_earlier(digest)
        {
            return compile_policy(engine, digest, released.component);
        }
        let unknown = LibraryError::UnknownPolicy(digest);
        let Some((engine, store)) = self.database else {
            return Err(unknown);
        };
        let bytes = store.policy_component(digest)?.ok_or(unknown)?;
        if Digest::hash_bytes(&bytes) != digest {
            return Err(LibraryError::ChangedPolicy(digest));
        }
        compile_policy(engine, digest, &bytes)
    }

    fn load_settings(&self, digest: Digest) -> Result<Settings, LibraryError> {
        let unknown = LibraryError::UnknownSettings(digest);
        let Some((_, store)) = self.database else {
            return Err(unknown);
        };
        let json = store.policy_settings(digest)?.ok_or(unknown)?;
        let settings =
            Settings::parse(&json).map_err(|source| LibraryError::MalformedSettings {
                digest,
                source: Arc::new(source),
            })?;
        if settings.digest() != digest {
            return Err(LibraryError::ChangedSettings(digest));
        }
        Ok(settings)
    }
}

fn compile_policy(
    engine: &Engine,
    digest: Digest,
    component: &[u8],
) -> Result<Arc<Policy>, LibraryError> {
    Policy::load(engine, component)
        .map(Arc::new)
        .map_err(|source| LibraryError::Load {
            digest,
            source: Arc::new(source),
        })
}

/// Why a policy or its settings cannot be had. Cheap to clone: the answer is kept for the next decision.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LibraryError {
    /// Neither the caller nor the database has the policy.
    #[error("the policy {0} is not available; give its component")]
    UnknownPolicy(Digest),
    /// The database holds a component with another digest.
    #[error("the policy {0} was changed on disk")]
    ChangedPolicy(Digest),
    /// The component does not load.
    #[error("the policy {digest} cannot be loaded: {source}")]
    Load {
        /// The policy.
        digest: Digest,
        /// The failure.
        source: Arc<LoadError>,
    },
    /// Neither the caller nor the database has the settings.
    #[error("the settings {0} are not available")]
    UnknownSettings(Digest),
    /// The database holds settings with another digest.
    #[error("the settings {0} were changed on disk")]
    ChangedSettings(Digest),
    /// The settings are malformed.
    #[error("the settings {digest} are malformed: {source}")]
    MalformedSettings {
        /// The settings.
        digest: Digest,
        /// The failure.
        source: Arc<FieldError>,
    },
    /// The database could not be read.
    #[error(transparent)]
    Read(Arc<ReadError>),
}

impl From<ReadError> for LibraryError {
    fn from(error: ReadError) -> Self {
        Self::Read(Arc::new(error))
    }
}
