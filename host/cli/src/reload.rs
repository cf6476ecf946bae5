//! SIGHUP: the configuration is read anew, and what can be changed while the host runs is changed.

use ark_host::agents::Agents;
use ark_host::app::App;
use ark_host::changes::Requester;
use ark_host::config::{Config, Layers};
use ark_host::policies::Policies;
use ark_host::watchdog::Watchdog;
use ark_model::ids::TraceId;

use super::HostArgs;

/// Keys that take effect at once: the ceiling for agents that are loaded from now on, when agents are stopped or warned about, and which
/// operator policies are declared.
const LIVE_KEYS: [&str; 24] = [
    "policies",
    "policies_dir",
    "limits.fuel",
    "limits.deadline_ms",
    "limits.table_elements",
    "limits.instances",
    "limits.resources",
    "limits.host_calls",
    "limits.host_call_bytes",
    "limits.writes",
    "limits.actions",
    "limits.output_bytes",
    "limits.log_bytes",
    "limits.concurrency",
    "limits.actions_per_minute",
    "watchdog.missed_heartbeats",
    "watchdog.consecutive_failures",
    "watchdog.failure_rate",
    "watchdog.failure_rate_over",
    "watchdog.latency_ms",
    "watchdog.latency_over",
    "watchdog.warning",
    "watchdog.critical",
    "limits.memory_bytes",
];

/// What a reload needs.
pub(super) struct Reload {
    args: HostArgs,
    /// As at the start, with what was changed since.
    layers: Layers,
    /// What the engine was built for: memory can be given up to this, and the stack is this.
    memory_bytes: usize,
    stack_bytes: usize,
    agents: Agents,
    watchdog: Watchdog,
    policies: Policies,
}

impl Reload {
    pub(super) fn new(args: HostArgs, app: &App) -> anyhow::Result<Self> {
        let layers = Layers::read(args.config.as_deref(), &args.overrides())?;
        let engine = Config::from_layers(&layers)?.engine;
        Ok(Self {
            memory_bytes: engine.memory_bytes,
            stack_bytes: engine.stack_bytes,
            layers,
            args,
            agents: app.agents.clone(),
            watchdog: app.watchdog.clone(),
            policies: app.policies.clone(),
        })
    }

    /// Reads the configuration and carries out what has changed. One that is refused changes nothing.
    pub(super) fn reload_config(&mut self) {
        let layers = match Layers::read(self.args.config.as_deref(), &self.args.overrides()) {
            Ok(layers) => layers,
            Err(error) => {
                tracing::error!(%error, "the configuration is refused: everything stays as it was");
                return;
            }
        };
        let mut config = match Config::from_layers(&layers) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(%error, "the configuration is refused: everything stays as it was");
                return;
            }
        };
        if config.limits.memory_bytes > self.memory_bytes {
            tracing::error!(
                key = "limits.memory_bytes",
                most = self.memory_bytes,
                "the engine was started for less: everything stays as it was; restart the host"
            );
            return;
        }
        let stood = self.layers.lines();
        let changed = layers.lines().into_iter().filter(|line| {
            !stood
                .iter()
                .any(|stood| stood.key == line.key && stood.value == line.value)
        });
        let mut applied = 0;
        for line in changed {
            if LIVE_KEYS.contains(&line.key.as_str()) {
                applied += 1;
                tracing::info!(key = line.key, "changed");
            } else {
                tracing::warn!(
                    key = line.key,
                    "has changed and stays as it was until the host is restarted"
                );
            }
        }
        config.limits.stack_bytes = self.stack_bytes;
        self.declare_policies(&config);
        self.agents.set_ceiling(config.limits);
        self.watchdog.set_thresholds(config.watchdog.thresholds);
        self.layers = layers;
        tracing::warn!(applied, "the configuration was read again");
    }

    /// The policies' files are read whether or not the configuration has changed.
    fn declare_policies(&self, config: &Config) {
        let order = Requester {
            by: "ark".to_owned(),
            reason: "as declared, read again".to_owned(),
            trace_id: TraceId::fresh(),
            idempotency_key: None,
        };
        let dir = config.policies_dir.as_deref();
        match self
            .policies
            .apply_declarations(&config.policies, dir, &order)
        {
            Ok((changed, refused)) => tracing::warn!(
                changed = changed.join(", "),
                refused = refused.len(),
                "the declared policies were read again"
            ),
            Err(error) => {
                tracing::error!(%error, "the declared policies could not be exchanged: all stay as they were");
            }
        }
    }
}
