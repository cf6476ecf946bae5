//! What the watchdog checks about webhooks: whether one fails for long, is disabled, or has many dead letters.

use std::collections::HashSet;

use ark_model::ids::{Millis, Name};

use crate::webhooks::WebhookStatus;

use super::alert_rules;
use super::state::WatchdogState;

impl WatchdogState {
    /// Warns about webhooks: of several the one that is nearest to its limit. `disabled` holds those whose alert was raised.
    pub(super) fn check_webhooks(&self, disabled: &mut HashSet<Name>) {
        let statuses = self.deps.webhooks.statuses();
        let now = Millis::now();
        let limit = self.config.webhook_failing.as_secs_f64() * 1e3;
        let failing = |status: &WebhookStatus| {
            let state = status.state();
            // One that is disabled has its own alert.
            let since = state.failing_since.filter(|_| state.disabled.is_none());
            since.map_or(0.0, |since| now.seconds_since(since) * 1e3)
        };
        if let Some((status, observed)) = find_worst(statuses, failing) {
            self.warn_about_host(&alert_rules::WEBHOOK_FAILING, observed, limit, || {
                let problem = status.describe_problem().unwrap_or_default();
                format!(
                    "nothing was delivered to the webhook {} for {observed:.0} ms: {problem}",
                    status.name
                )
            });
        }
        let letters = |status: &WebhookStatus| {
            let kept = self.deps.store.count_webhook_dead_letters(&status.name);
            kept.map_or(0.0, |kept| {
                kept as f64 / f64::from(status.kept_dead_letters)
            })
        };
        if let Some((status, share)) = find_worst(statuses, letters) {
            let limit = f64::from(status.kept_dead_letters);
            let observed = share * limit;
            self.warn_about_host(&alert_rules::WEBHOOK_DEAD_LETTERS, observed, limit, || {
                format!(
                    "the webhook {name} has {observed:.0} dead letters of {limit:.0}, past which the oldest are dropped; `ark webhooks redeliver {name} --all` sends them again",
                    name = status.name
                )
            });
        }
        for status in statuses {
            let Some((_, reason)) = status.state().disabled else {
                disabled.remove(&status.name);
                continue;
            };
            if disabled.insert(status.name.clone()) {
                let name = &status.name;
                let message = format!(
                    "the webhook {name} is disabled: {reason}; `ark webhooks enable {name}` lets it send again"
                );
                self.raise_alert_once(&alert_rules::WEBHOOK_DISABLED, message);
            }
        }
    }
}

/// The webhook for which `observe` is the most, with that.
fn find_worst(
    statuses: &[std::sync::Arc<WebhookStatus>],
    observe: impl Fn(&WebhookStatus) -> f64,
) -> Option<(&WebhookStatus, f64)> {
    let observed = statuses.iter().map(|it| (it.as_ref(), observe(it)));
    observed.max_by(|(_, a), (_, b)| a.total_cmp(b))
}
