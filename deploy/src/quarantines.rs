//! The quarantines that began since some moment, also those that have ended since: the host keeps an alert of each.
//!
//! Invariant: a quarantine counts by its alert, which is committed with its order, or while it is in force, also where the order could not be
//! recorded. So none is missed that is lifted between two looks.
//!
//! Must not know: what is done about a quarantine.

use std::collections::BTreeSet;

use ark_client::members::{array_field, text_field};
use ark_client::{Answer, ClientError, HostClient, MAX_PAGE, escape_query};
use ark_model::ids::Millis;
use serde_json::Value;

/// The agent that `ark validate` uploads, puts into quarantine and removes. The alerts on agents in `deploy/prometheus/rules` leave it out.
pub const VALIDATION_PROBE: &str = "validation-probe";
/// In whose name `ark synthetic` proposes, unless `--agent` says another. It is no agent, so that no alert on agents is about it.
pub const SYNTHETIC_REQUESTER: &str = "synthetic";
/// The kind of an alert that is raised with a quarantine.
const ALERT_KIND: &str = "quarantined";
/// The most pages that are read: more than a host keeps alerts.
const MAX_PAGES: u32 = 100;

/// From when on quarantines count.
#[derive(Debug, Clone)]
pub(crate) enum QuarantineMark {
    /// From a moment by the host's clock.
    Moment(Millis),
    /// After what a host showed when it was asked: the number of its last alert of a quarantine, and what was in force.
    Seen { alert: u64, in_force: Vec<Value> },
}

impl QuarantineMark {
    /// What the host shows now.
    ///
    /// # Errors
    /// The host does not answer.
    pub(crate) fn read_host(client: &HostClient) -> Result<Self, ClientError> {
        let page = read_alerts(client, 1, "")?;
        let last = array_field(&page, "alerts").first();
        Ok(Self::Seen {
            alert: last.map_or(0, read_number),
            in_force: read_in_force(client)?,
        })
    }

    fn precedes_alert(&self, alert: &Value) -> bool {
        match self {
            Self::Moment(moment) => is_since(alert, *moment),
            Self::Seen { alert: last, .. } => read_number(alert) > *last,
        }
    }

    fn precedes_quarantine(&self, quarantine: &Value) -> bool {
        match self {
            Self::Moment(moment) => is_since(quarantine, *moment),
            Self::Seen { in_force, .. } => !in_force.contains(quarantine),
        }
    }
}

/// The names of the agents that were put into quarantine since a mark, apart from those in `left_out`.
///
/// # Errors
/// The host does not answer.
pub(crate) fn read_quarantines(
    client: &HostClient,
    mark: &QuarantineMark,
    left_out: &[String],
) -> Result<Vec<String>, ClientError> {
    let mut agents = BTreeSet::new();
    let mut take = |one: &Value| {
        let agent = text_field(one, "agent").to_owned();
        if !left_out.contains(&agent) {
            agents.insert(agent);
        }
    };
    // What is in force first: what is lifted behind this look has its alert by then.
    let in_force = read_in_force(client)?;
    let later = in_force.iter().filter(|one| mark.precedes_quarantine(one));
    later.for_each(&mut take);
    let mut cursor = String::new();
    for _ in 0..MAX_PAGES {
        let page = read_alerts(client, MAX_PAGE, &cursor)?;
        let alerts = array_field(&page, "alerts");
        let later: Vec<&Value> = alerts
            .iter()
            .filter(|one| mark.precedes_alert(one))
            .collect();
        // The newest are first: a page with none is followed by none.
        let is_last = later.is_empty();
        later.into_iter().for_each(&mut take);
        text_field(&page, "next_cursor").clone_into(&mut cursor);
        if is_last || cursor.is_empty() {
            break;
        }
    }
    Ok(agents.into_iter().collect())
}

fn read_in_force(client: &HostClient) -> Result<Vec<Value>, ClientError> {
    let status = client.get("/v1/watchdog").and_then(Answer::into_success)?;
    Ok(array_field(&status, "quarantines").to_vec())
}

fn read_alerts(
    client: &HostClient,
    limit: impl std::fmt::Display,
    cursor: &str,
) -> Result<Value, ClientError> {
    let mut path = format!("/v1/watchdog/alerts?kind={ALERT_KIND}&limit={limit}");
    if !cursor.is_empty() {
        path = format!("{path}&cursor={}", escape_query(cursor));
    }
    client.get(&path).and_then(Answer::into_success)
}

/// Whether something is of that moment or later. What says no moment counts.
fn is_since(one: &Value, moment: Millis) -> bool {
    let at = one.get("at_ms").and_then(Value::as_u64);
    at.is_none_or(|at| at >= moment.0)
}

/// The number of an alert. What says none counts as the newest.
fn read_number(alert: &Value) -> u64 {
    alert.get("seq").and_then(Value::as_u64).unwrap_or(u64::MAX)
}
