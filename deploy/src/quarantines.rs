//! The quarantines that began since some moment, also those that have ended since: the host keeps an alert of each.
//!
//! Invariant: a quarantine counts by its alert, which is committed with its order, or while it is in force, also where the order could not be
//! recorded. So none is missed that is lifted between two looks.
//!
//! Must not know: what is done about a quarantine.

use std::collections::BTreeSet;
use std::time::Duration;

use ark_client::members::{array_field, text_field};
use ark_client::{Answer, ClientError, HostClient, MAX_PAGE, escape_query};
use ark_model::ids::Millis;
use serde::{Deserialize, Serialize};
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
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum QuarantineMark {
    /// From a moment: of a canary that an earlier version of this command began. It is right where the host has the same clock.
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

/// The names of the agents that were put into quarantine since a mark, apart from those in `left_out`. `window`: how long a quarantine counts after it
/// began, by the host's clock; of a host that does not say its time, all since the mark count.
///
/// # Errors
/// The host does not answer.
pub(crate) fn read_quarantines(
    client: &HostClient,
    mark: &QuarantineMark,
    window: Option<Duration>,
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
    let status = read_status(client)?;
    let now = status.get("now_ms").and_then(Value::as_u64);
    let earliest = window.zip(now).map(|(window, now)| {
        let window = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        Millis(now.saturating_sub(window))
    });
    let counts = |one: &Value| earliest.is_none_or(|earliest| is_since(one, earliest));
    let in_force = array_field(&status, "quarantines").iter();
    let later = in_force.filter(|one| mark.precedes_quarantine(one) && counts(one));
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
        let counting = later.into_iter().filter(|one| counts(one));
        counting.for_each(&mut take);
        text_field(&page, "next_cursor").clone_into(&mut cursor);
        if is_last || cursor.is_empty() {
            break;
        }
    }
    Ok(agents.into_iter().collect())
}

fn read_in_force(client: &HostClient) -> Result<Vec<Value>, ClientError> {
    Ok(array_field(&read_status(client)?, "quarantines").to_vec())
}

fn read_status(client: &HostClient) -> Result<Value, ClientError> {
    client.get("/v1/watchdog").and_then(Answer::into_success)
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    use ark_client::Endpoint;
    use serde_json::json;

    use super::*;

    /// What a host says: its state, and its alerts.
    type Said = Arc<Mutex<(Value, Value)>>;

    /// Serves what a host says, until the test ends.
    fn start_host(said: &Said) -> HostClient {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let said = Arc::clone(said);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut stream = BufReader::new(stream);
                let mut lines = Vec::new();
                loop {
                    let mut line = String::new();
                    match stream.read_line(&mut line) {
                        Ok(read) if read > 0 && line != "\r\n" => lines.push(line),
                        _ => break,
                    }
                }
                let is_alerts = lines.first().is_some_and(|line| line.contains("/alerts"));
                let (status, alerts) = said.lock().unwrap().clone();
                let body = if is_alerts { alerts } else { status }.to_string();
                let _sent = write!(
                    stream.get_mut(),
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        let endpoint = Endpoint {
            url,
            token: None,
            ca: None,
        };
        HostClient::new(&endpoint).unwrap()
    }

    #[test]
    fn quarantines_count_by_what_the_host_says_whatever_the_clock_of_the_command() {
        let alert =
            |seq: u64, agent: &str, at: u64| json!({"seq": seq, "agent": agent, "at_ms": at});
        // The clock of the host is hours behind.
        let now = Millis::now().0 - 10_000_000;
        let before = alert(6, "early", now);
        let said: Said = Arc::new(Mutex::new((
            json!({"now_ms": now, "quarantines": [{"agent": "early", "at_ms": now}]}),
            json!({"alerts": [before]}),
        )));
        let client = start_host(&said);
        let mark = QuarantineMark::read_host(&client).unwrap();
        // As the journal of a canary keeps it.
        let mark = serde_json::from_value(serde_json::to_value(mark).unwrap()).unwrap();
        let window = Duration::from_mins(10);
        let read = || read_quarantines(&client, &mark, Some(window), &[]).unwrap();
        assert!(read().is_empty(), "what was there before does not count");
        let say = |status: Value, alerts: &[&Value]| {
            *said.lock().unwrap() = (status, json!({"alerts": alerts}));
        };
        // One that is lifted already, and one since the host's clock was set back.
        let lifted = alert(7, "lifted", now + 1000);
        let set_back = alert(8, "behind", now - 5_000_000);
        let status = json!({"now_ms": now - 4_900_000, "quarantines": []});
        say(status, &[&set_back, &lifted, &before]);
        assert_eq!(read(), ["behind", "lifted"]);
        // Past the window by the host's clock.
        say(
            json!({"now_ms": now + 602_000, "quarantines": []}),
            &[&lifted, &before],
        );
        assert!(read().is_empty());
        let in_force = json!({"agent": "late", "at_ms": now + 2500});
        say(
            json!({"now_ms": now + 602_000, "quarantines": [in_force]}),
            &[&before],
        );
        assert_eq!(read(), ["late"]);
        // A host of an earlier version does not say its time.
        say(json!({"quarantines": []}), &[&lifted, &before]);
        assert_eq!(read(), ["lifted"]);
    }
}
