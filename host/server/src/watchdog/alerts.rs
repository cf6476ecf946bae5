//! Raising alerts.
//!
//! An alert is a row in the store and, where an agent subscribes to it, a message on the topic `ark.alert`. One that cannot be stored is logged:
//! an alert never holds up what it is about. The kinds are in [`super::alert_rules`].

use std::time::Instant;

use ark_model::control::{Alert, AlertSeverity};
use ark_model::ids::{Millis, Name, TraceId};
use ark_store::{CommitError, Unit};

use crate::hrm::alert_message;

use super::alert_rules::{self, AlertRule, Grading};
use super::state::WatchdogState;

impl WatchdogState {
    /// Warns when an agent used so much of a limit that the thresholds say so.
    pub(super) fn warn_about_agent(
        &self,
        agent: &Name,
        rule: &'static AlertRule,
        observed: f64,
        limit: f64,
    ) {
        let Some(severity) = self.thresholds.load().severity_of(observed, limit) else {
            return;
        };
        let is_due = self.health_of(agent).is_some_and(|health| {
            let mut health = health.lock();
            health
                .warnings
                .claim_warning(rule.kind, severity, Instant::now())
        });
        if is_due {
            let (what, name) = rule.kind.split_once('_').unwrap_or(("limit", rule.kind));
            let percent = observed / limit * 100.0;
            let message = format!("it used {percent:.0} % of its {what} of {name}");
            let measured = Some((observed, limit));
            self.raise_alert(rule, severity, Some(agent), message, measured);
        }
    }

    /// Warns when so much of a limit of the host is used that the thresholds say so.
    pub(super) fn warn_about_host(
        &self,
        rule: &'static AlertRule,
        observed: f64,
        limit: f64,
        message: impl FnOnce() -> String,
    ) {
        if let Some(severity) = self.thresholds.load().severity_of(observed, limit) {
            let measured = Some((observed, limit));
            self.raise_host_alert(rule, severity, message, measured);
        }
    }

    /// Raises the alert that the Redis does not answer.
    pub(super) fn alert_redis_unreachable(&self, problem: String) {
        let severity = AlertSeverity::Critical;
        self.raise_host_alert(&alert_rules::REDIS_UNREACHABLE, severity, || problem, None);
    }

    /// Raises a critical alert about the host, unless the same one was raised within a minute.
    pub(super) fn raise_fixed_alert(&self, rule: &'static AlertRule, message: String) {
        let severity = AlertSeverity::Critical;
        self.raise_host_alert(rule, severity, || message, None);
    }

    /// Raises a critical alert about the host, whenever the same one was raised last.
    pub(super) fn raise_alert_once(&self, rule: &'static AlertRule, message: String) {
        self.raise_alert(rule, AlertSeverity::Critical, None, message, None);
    }

    /// Raises an alert of fixed severity about an agent.
    pub(super) fn raise_agent_alert(
        &self,
        rule: &'static AlertRule,
        agent: &Name,
        message: String,
    ) {
        let severity = match rule.grading {
            Grading::Fixed(severity) => severity,
            Grading::ByShare => AlertSeverity::Warning,
        };
        self.raise_alert(rule, severity, Some(agent), message, None);
    }

    /// Raises an alert about the host, unless the same one was raised within a minute.
    fn raise_host_alert(
        &self,
        rule: &'static AlertRule,
        severity: AlertSeverity,
        message: impl FnOnce() -> String,
        measured: Option<(f64, f64)>,
    ) {
        let is_due = self
            .host_warnings
            .lock()
            .claim_warning(rule.kind, severity, Instant::now());
        if is_due {
            self.raise_alert(rule, severity, None, message(), measured);
        }
    }

    /// Announces the alerts that the store raised itself: their rows are stored. The message of one that cannot be stored now is logged.
    pub(super) fn announce_store_alerts(&self) {
        let alerts = self.deps.store.take_alerts();
        if alerts.is_empty() || !self.deps.hrm.is_announcing() {
            return;
        }
        let mut unit = Unit {
            may_use_reserve: true,
            ..Unit::default()
        };
        for alert in &alerts {
            unit.outbox.push(alert_message(alert, TraceId::fresh()));
        }
        let committed = Box::new(|result: Result<_, CommitError>| {
            if let Err(error) = result {
                tracing::error!(%error, "alerts of the store could not be announced");
            }
        });
        if let Err((error, _)) = self.deps.store.submit(unit, committed) {
            tracing::error!(%error, "alerts of the store could not be announced");
        }
    }

    /// Stores an alert and announces it. `measured`: what was observed, and the limit.
    fn raise_alert(
        &self,
        rule: &'static AlertRule,
        severity: AlertSeverity,
        agent: Option<&Name>,
        message: String,
        measured: Option<(f64, f64)>,
    ) {
        let alert = Alert {
            at_ms: Millis::now(),
            severity,
            kind: rule.kind.to_owned(),
            agent: agent.cloned(),
            message,
            observed: measured.map(|(observed, _)| observed),
            limit: measured.map(|(_, limit)| limit),
        };
        let mut unit = Unit {
            may_use_reserve: true,
            ..Unit::default()
        };
        if self.deps.hrm.is_announcing() {
            unit.outbox.push(alert_message(&alert, TraceId::fresh()));
        }
        unit.alerts.push(alert);
        let kind = rule.kind;
        let committed = Box::new(move |result: Result<_, CommitError>| {
            if let Err(error) = result {
                tracing::error!(%error, kind, "an alert could not be stored");
            }
        });
        if let Err((error, _)) = self.deps.store.submit(unit, committed) {
            tracing::error!(%error, kind, "an alert could not be stored");
        }
    }
}
