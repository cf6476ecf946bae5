//! SIGHUP: the configuration is read again, and what can change while the host runs is changed.

use anyhow::Context;
use ark_host::agents::{Agents, Ceiling};
use ark_host::app::App;
use ark_host::changes::{ChangeRequest, record_action_types};
use ark_host::config::{Config, ConfigError, Layers, is_reloaded};
use ark_host::hrm::Hrm;
use ark_host::policies::Policies;
use ark_host::quotas::QuotaKeeper;
use ark_host::watchdog::Watchdog;
use ark_model::ids::Name;
use ark_store::Store;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::HostArgs;

/// What a reload needs.
pub(super) struct Reload {
    args: HostArgs,
    /// The configuration as it was read last.
    layers: Layers,
    /// The memory for which the engine was built: a limit may rise up to it.
    memory_bytes: usize,
    /// The stack for which the engine was built.
    stack_bytes: usize,
    agents: Agents,
    watchdog: Watchdog,
    policies: Policies,
    hrm: Hrm,
    store: Store,
    quotas: QuotaKeeper,
    /// The limit of the database's size, which the start has set.
    max_database_bytes: u64,
}

impl Reload {
    /// Reads the configuration as it is at the start.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub(super) fn new(args: HostArgs, app: &App) -> anyhow::Result<Self> {
        let (layers, config) = read_config(&args)?;
        Ok(Self {
            memory_bytes: config.engine.memory_bytes,
            stack_bytes: config.engine.stack_bytes,
            layers,
            args,
            agents: app.agents.clone(),
            watchdog: app.watchdog.clone(),
            policies: app.policies.clone(),
            hrm: app.hrm.clone(),
            store: app.store.clone(),
            quotas: app.quotas.clone(),
            max_database_bytes: app.max_database_bytes,
        })
    }

    /// Reloads the configuration at every SIGHUP, on a thread of its own.
    ///
    /// # Errors
    /// The system does not let SIGHUP be handled.
    pub(super) fn run_on_hangup(mut self) -> anyhow::Result<()> {
        let mut hangup = signal(SignalKind::hangup()).context("SIGHUP cannot be handled")?;
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                let turn = tokio::task::spawn_blocking(move || {
                    self.reload_config();
                    self
                });
                match turn.await {
                    Ok(reload) => self = reload,
                    Err(_) => break,
                }
            }
        });
        Ok(())
    }

    /// Reads the configuration and applies what has changed. A configuration that is refused changes nothing.
    fn reload_config(&mut self) {
        let (layers, mut config) = match read_config(&self.args) {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%error, "the configuration is refused; nothing changes");
                return;
            }
        };
        if config.limits.memory_bytes > self.memory_bytes {
            tracing::error!(
                key = "limits.memory_bytes",
                most = self.memory_bytes,
                "the limit is above what the engine was started with; nothing changes; restart the host"
            );
            return;
        }
        if let Err(error) = self.record_declared_types(&layers) {
            tracing::error!(%error, "a change of the action types cannot be recorded; nothing changes");
            return;
        }
        let before = self.layers.lines();
        let changed = layers.lines().into_iter().filter(|line| {
            !before
                .iter()
                .any(|old| old.key == line.key && old.value == line.value)
        });
        let mut applied = 0;
        for line in changed {
            if is_reloaded(&line.key) {
                applied += 1;
                tracing::info!(
                    key = line.key,
                    "a key of the configuration has changed; its new value is in force"
                );
            } else {
                tracing::warn!(
                    key = line.key,
                    "a key of the configuration has changed that is read at a start only; the old value stays in force until the host is restarted"
                );
            }
        }
        config.limits.stack_bytes = self.stack_bytes;
        self.apply_declarations(&config);
        self.hrm.set_action_types(config.hrm.action_types);
        self.quotas
            .set_config(config.quotas.within_database(self.max_database_bytes));
        self.agents.set_ceiling(Ceiling {
            limits: config.limits,
            quotas: config.quotas.agents,
            // The keys are read at a start only.
            signers: self.agents.ceiling().signers.clone(),
        });
        self.watchdog.set_thresholds(config.watchdog.thresholds);
        self.layers = layers;
        tracing::warn!(applied, "the configuration was read again");
    }

    /// Records a change of the declared action types, which decide what is denied.
    fn record_declared_types(&self, layers: &Layers) -> anyhow::Result<()> {
        let declared_in = |layers: &Layers| {
            let lines = layers.lines().into_iter();
            let mut declared = lines.filter(|line| line.key == "action_types");
            declared.find_map(|line| line.value).unwrap_or(Value::Null)
        };
        let (old, new) = (declared_in(&self.layers), declared_in(layers));
        if old != new {
            record_action_types(&self.store, &old, &new)?;
        }
        Ok(())
    }

    /// Reads the files of the declared policies, whether or not the configuration has changed.
    fn apply_declarations(&self, config: &Config) {
        let request = ChangeRequest::for_host("as declared, read again");
        let dir = config.policies_dir.as_deref();
        match self
            .policies
            .apply_declarations(&config.policies, dir, &request)
        {
            Ok(changes) => {
                let changed: Vec<&str> = changes.changed.iter().map(Name::as_str).collect();
                let refused = changes.refused.len();
                if changed.is_empty() && refused == 0 {
                    tracing::info!("the declared policies were read again; nothing has changed");
                } else {
                    let changed = changed.join(", ");
                    tracing::warn!(changed, refused, "the declared policies were read again");
                }
            }
            Err(error) => {
                tracing::error!(%error, "the declared policies cannot be exchanged; all stay as they are");
            }
        }
    }
}

fn read_config(args: &HostArgs) -> Result<(Layers, Config), ConfigError> {
    let layers = Layers::read(args.files.config.as_deref(), &args.overrides())?;
    let config = Config::from_layers(&layers)?;
    Ok((layers, config))
}
