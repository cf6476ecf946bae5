//! The inputs of the checks: configuration, options, database.

use std::cell::OnceCell;
use std::path::Path;
use std::sync::Arc;

use ark_host::config::{Config, Layers};
use ark_model::decision::PolicyIdentity;
use ark_runtime::{Engine, EngineConfig, EngineError};
use ark_store::{
    AccessDifferences, HostProcess, OpenError, ReadOnlyStore, SecretKey, SecretKeyError,
    check_directory, find_host_process, find_running_host,
};

use super::access::HostUser;
use super::{CheckOptions, Scope};

/// The configuration, what it was read from, and what several checks need.
pub(super) struct CheckInputs {
    pub(super) options: CheckOptions,
    /// How much is checked.
    pub(super) scope: Scope,
    pub(super) config: Config,
    /// The user that the host runs as.
    pub(super) host_user: HostUser,
    pub(super) layers: Layers,
    /// The key that encrypts secrets; `None`: the environment names none.
    pub(super) secret_key: Result<Option<SecretKey>, SecretKeyError>,
    /// The process id of the host that runs on the data directory.
    pub(super) running_host: Option<String>,
    engine: OnceCell<Result<Engine, EngineError>>,
    /// How tokens and orders differ from the audit log, once that was read.
    access: OnceCell<Result<AccessDifferences, String>>,
    /// What the Graveyard is, once it was loaded.
    pub(super) graveyard: OnceCell<Arc<PolicyIdentity>>,
}

impl CheckInputs {
    pub(super) fn new(options: CheckOptions, scope: Scope, config: Config, layers: Layers) -> Self {
        Self {
            options,
            scope,
            running_host: find_running_host(&config.store.dir),
            host_user: HostUser::find_user(&config.store.dir),
            config,
            layers,
            secret_key: SecretKey::from_environment(),
            engine: OnceCell::new(),
            access: OnceCell::new(),
            graveyard: OnceCell::new(),
        }
    }

    pub(super) fn data_dir(&self) -> &Path {
        &self.config.store.dir
    }

    /// The process of the host that runs on the data directory; `None`: none runs, or it is not seen from here.
    pub(super) fn find_host(&self) -> Option<u32> {
        match find_host_process(self.data_dir()) {
            HostProcess::Found(pid) => Some(pid),
            HostProcess::None | HostProcess::Hidden => None,
        }
    }

    /// The key that encrypts secrets, if there is a usable one.
    pub(super) fn usable_key(&self) -> Option<&SecretKey> {
        self.secret_key.as_ref().ok()?.as_ref()
    }

    /// Opens the database as a start would find it; `None`: there is none yet.
    ///
    /// # Errors
    /// A start would refuse it, which the line `database` reports.
    pub(super) fn open_database(&self) -> Result<Option<ReadOnlyStore>, OpenError> {
        let is_there = check_directory(self.data_dir())?;
        is_there
            .then(|| ReadOnlyStore::open(self.data_dir()))
            .transpose()
    }

    /// How tokens, halt and quarantines differ from what the audit log says. The log is read once, whichever checks ask.
    ///
    /// # Errors
    /// The database cannot be opened or read, or has an earlier schema, in words.
    pub(super) fn compare_access(&self) -> Result<&AccessDifferences, String> {
        let compared = self.access.get_or_init(|| {
            let store = self.open_database().map_err(|error| error.to_string())?;
            let compare = |store: ReadOnlyStore| store.compare_access();
            let compared = store.map_or_else(|| Ok(AccessDifferences::default()), compare);
            compared.map_err(|error| error.to_string())
        });
        compared.as_ref().map_err(Clone::clone)
    }

    /// The engine that a start would make. A cache of compiled modules is used if there is one, and never made.
    pub(super) fn load_engine(&self) -> Result<&Engine, &EngineError> {
        let made = self.engine.get_or_init(|| {
            let cache = self.config.engine.cache_dir.clone();
            Engine::new(&EngineConfig {
                cache_dir: cache.filter(|dir| dir.is_dir()),
                ..self.config.engine.clone()
            })
        });
        made.as_ref()
    }
}
