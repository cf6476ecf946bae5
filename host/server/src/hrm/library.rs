//! The policies and settings that judged, found by digest: those at hand, and those that a database keeps. For whoever judges a recorded
//! decision again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use ark_model::ids::Digest;
use ark_model::settings::Settings;
use ark_runtime::{Engine, Policy};
use ark_store::ReadOnlyStore;

/// Where policies and settings are found. What the database keeps is compiled when it is first asked for.
#[derive(Default)]
pub struct PolicyLibrary<'a> {
    database: Option<(&'a Engine, &'a ReadOnlyStore)>,
    policies: RefCell<HashMap<Digest, Result<Arc<Policy>, String>>>,
    settings: RefCell<HashMap<Digest, Result<Settings, String>>>,
}

impl<'a> PolicyLibrary<'a> {
    /// With these policies at hand.
    #[must_use]
    pub fn from_policies(policies: impl IntoIterator<Item = Arc<Policy>>) -> Self {
        let policies = policies
            .into_iter()
            .map(|policy| (policy.identity().digest, Ok(policy)))
            .collect();
        Self {
            database: None,
            policies: RefCell::new(policies),
            settings: RefCell::default(),
        }
    }

    /// And with those that a database keeps.
    #[must_use]
    pub const fn with_database(mut self, engine: &'a Engine, archive: &'a ReadOnlyStore) -> Self {
        self.database = Some((engine, archive));
        self
    }

    /// And with these settings.
    #[must_use]
    pub fn with_settings(self, settings: impl IntoIterator<Item = Settings>) -> Self {
        let settings = settings.into_iter().map(|one| (one.digest(), Ok(one)));
        self.settings.borrow_mut().extend(settings);
        self
    }

    /// The policy with this digest.
    ///
    /// # Errors
    /// It is nowhere, or cannot be loaded: in words.
    pub fn find_policy(&self, digest: Digest) -> Result<Arc<Policy>, String> {
        if let Some(known) = self.policies.borrow().get(&digest) {
            return known.clone();
        }
        let found = self.load_policy(digest);
        self.policies.borrow_mut().insert(digest, found.clone());
        found
    }

    /// The settings with this digest.
    ///
    /// # Errors
    /// They are nowhere, or malformed: in words.
    pub fn find_settings(&self, digest: Digest) -> Result<Settings, String> {
        if let Some(known) = self.settings.borrow().get(&digest) {
            return known.clone();
        }
        let found = self.load_settings(digest);
        self.settings.borrow_mut().insert(digest, found.clone());
        found
    }

    fn load_policy(&self, digest: Digest) -> Result<Arc<Policy>, String> {
        let nowhere = || format!("the policy {digest} is not at hand; give its component");
        let (engine, archive) = self.database.ok_or_else(nowhere)?;
        let bytes = archive
            .policy_component(digest)
            .map_err(|error| error.to_string())?
            .ok_or_else(nowhere)?;
        if Digest::hash_bytes(&bytes) != digest {
            return Err(format!("the policy {digest} was changed on disk"));
        }
        Policy::load(engine, &bytes)
            .map(Arc::new)
            .map_err(|error| format!("the policy {digest} cannot be loaded: {error}"))
    }

    fn load_settings(&self, digest: Digest) -> Result<Settings, String> {
        let nowhere = || format!("the settings {digest} are not at hand");
        let (_, archive) = self.database.ok_or_else(nowhere)?;
        let json = archive
            .policy_settings(digest)
            .map_err(|error| error.to_string())?
            .ok_or_else(nowhere)?;
        let settings = Settings::parse(&json).map_err(|error| error.to_string())?;
        if settings.digest() != digest {
            return Err(format!("the settings {digest} were changed on disk"));
        }
        Ok(settings)
    }
}
