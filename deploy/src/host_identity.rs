//! Whether an address, a data directory and a telemetry are those of one host: each process of a host has a name, made by chance at its start, which stands
//! in its answers to `/readyz`, on both of its ports, and in the lock's file of its data directory. A front shows that of its owner.
//!
//! Invariant: only two names that are there are compared, or what is a host and one that names itself. What does not answer, and a host of an earlier
//! version without a name, hold no data directory of another. A telemetry is the host's only if it names the same process: where one of the two does not
//! answer, or both are of an earlier version of ARK (known by `graveyard_vectors` in `/readyz`, without `instance`), the caller is told that it cannot be
//! told.
//!
//! Must not know: what is done with the host.

use std::path::Path;
use std::time::Duration;

use ark_client::members::text_field;
use ark_client::{ClientError, Endpoint, HostClient};
use ark_store::{HostProcess, find_host_instance, find_host_process};
use serde_json::Value;

/// How often both are asked before a difference counts: the host may be starting again.
const TRIES: u32 = 5;
/// The pause between two of them.
const PAUSE: Duration = Duration::from_millis(300);

/// Two hosts where one is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostDifference {
    /// What answers at the address, in words.
    pub(crate) answering: String,
    /// What is at the other place, in words.
    pub(crate) other: String,
}

/// The host at an address, or behind the front there, and what holds a data directory, where these are two.
pub(crate) fn find_other_holder(client: &HostClient, data_dir: &Path) -> Option<HostDifference> {
    find_lasting(|| {
        let ready = client.get("/readyz").ok()?.body;
        let answering = read_instance(&ready);
        if answering.is_none() && !is_host(&ready) {
            return None;
        }
        let difference = |other| HostDifference {
            answering: describe_host(answering),
            other,
        };
        let holder = match find_host_process(data_dir) {
            HostProcess::None => return Some(difference("no process holds it".to_owned())),
            HostProcess::Found(pid) => format!("process {pid} holds it"),
            HostProcess::Hidden => "a process that cannot be seen from here holds it".to_owned(),
        };
        let held = find_host_instance(data_dir)?;
        if answering? == held {
            return None;
        }
        Some(difference(format!("{holder}, instance {held}")))
    })
}

/// What a telemetry is to the host at an address, or behind the front there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TelemetryMatch {
    /// That of the host: both name the same process.
    Same,
    /// That of another host, or no telemetry of a host.
    Other(HostDifference),
    /// It cannot be told: a warning that says why.
    Unknown(String),
}

/// Compares the host at an address, or behind the front there, with the one whose telemetry is at the address of `--telemetry`. A difference counts if it
/// lasts.
pub(crate) fn compare_telemetry(client: &HostClient, telemetry: &str) -> TelemetryMatch {
    let asked = HostClient::new(&Endpoint {
        url: telemetry.to_owned(),
        token: None,
        ca: None,
    });
    let asked = match asked {
        Ok(asked) => asked,
        Err(error) => return TelemetryMatch::unknown(telemetry, &error.to_string()),
    };
    let mut found = compare_once(client, &asked);
    for _ in 1..TRIES {
        if !matches!(found, TelemetryMatch::Other(_)) {
            break;
        }
        std::thread::sleep(PAUSE);
        found = compare_once(client, &asked);
    }
    found
}

impl TelemetryMatch {
    /// The warning about a telemetry of which it cannot be told whether it is the host's.
    pub(crate) fn unknown(telemetry: &str, why: &str) -> Self {
        Self::Unknown(format!(
            "warning: whether --telemetry {telemetry} is that of the host cannot be told: {why}"
        ))
    }
}

fn compare_once(client: &HostClient, telemetry: &HostClient) -> TelemetryMatch {
    let unknown = |why: &str| TelemetryMatch::unknown(telemetry.url(), why);
    let url = client.url();
    let Ok(ready) = client.get("/readyz") else {
        return unknown(&format!("no host answers at {url}"));
    };
    let ready = ready.body;
    let shown = match telemetry.get("/readyz") {
        Ok(answer) => answer.body,
        // Something answers, which is no host.
        Err(ClientError::NotJson { .. }) => Value::Null,
        Err(_) => return unknown("nothing answers there"),
    };
    let (answering, other) = (read_instance(&ready), read_instance(&shown));
    match (answering, other) {
        (Some(answering), Some(other)) if answering == other => TelemetryMatch::Same,
        (None, _) if !is_host(&ready) => unknown(&format!(
            "what answers at {url} does not name the process of a host"
        )),
        // Both ports of a host are of one program.
        (None, None) if is_host(&shown) => unknown(
            "both are of an earlier version of ARK, which does not name its process; make sure of it by hand",
        ),
        _ => TelemetryMatch::Other(HostDifference {
            answering: describe_host(answering),
            other: if other.is_some() || is_host(&shown) {
                describe_host(other)
            } else {
                "names no process of a host: it is another server, or behind a proxy that changes the answer to /readyz".to_owned()
            },
        }),
    }
}

/// The name of the process of the host at the address, also through a front; `None`: it does not answer, or does not say it.
pub(crate) fn find_host_process_name(client: &HostClient) -> Option<String> {
    let ready = client.get("/readyz").ok()?.body;
    read_instance(&ready).map(str::to_owned)
}

/// What is found each time that it is looked for.
fn find_lasting(find: impl Fn() -> Option<HostDifference>) -> Option<HostDifference> {
    let mut found = find()?;
    for _ in 1..TRIES {
        std::thread::sleep(PAUSE);
        found = find()?;
    }
    Some(found)
}

/// The name of the host that answers, or of the owner of the front that does.
fn read_instance(ready: &Value) -> Option<&str> {
    ["instance", "owner_instance"]
        .into_iter()
        .map(|name| text_field(ready, name))
        .find(|instance| !instance.is_empty())
}

/// Whether an answer to `/readyz` is that of a host, of whatever version.
fn is_host(ready: &Value) -> bool {
    ready.get("graveyard_vectors").is_some()
}

fn describe_host(instance: Option<&str>) -> String {
    instance.map_or_else(
        || "of an earlier version, which does not name its process".to_owned(),
        |instance| format!("instance {instance}"),
    )
}

#[cfg(test)]
mod tests {
    use ark_store::{Store, StoreConfig, process_instance};
    use serde_json::json;

    use crate::fixtures::build_client;
    use crate::scripted_host::start_scripted_host;

    use super::*;

    fn serve(ready: Value) -> HostClient {
        start_scripted_host(move |_| (200, ready.clone()))
    }

    #[test]
    fn a_front_is_that_of_a_host_only_if_it_names_its_process() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let own = process_instance();
        let host = |instance: &str| serve(json!({"instance": instance, "graveyard_vectors": 1}));
        let front =
            |owner: Value| serve(json!({"owner": "ready", "owner_instance": owner, "holding": 0}));
        let (own_host, other_host) = (host(own), host("another"));
        let (own_front, away) = (front(json!(own)), front(Value::Null));
        let other_front = front(json!("another"));
        let nothing = build_client();
        let store = Store::open(&StoreConfig::in_dir(data.clone())).unwrap();
        for (client, differs) in [
            (&own_host, false),
            (&own_front, false),
            (&away, false),
            (&nothing, false),
            (&other_host, true),
            (&other_front, true),
        ] {
            let found = find_other_holder(client, &data);
            assert_eq!(found.is_some(), differs, "{}: {found:?}", client.url());
        }
        drop(store);
        let found = find_other_holder(&own_front, &data).unwrap();
        assert_eq!(found.other, "no process holds it");
    }

    #[test]
    fn a_telemetry_is_that_of_a_host_only_if_it_names_its_process() {
        let own = process_instance();
        let host = |instance: &str| serve(json!({"instance": instance, "graveyard_vectors": 1}));
        let front =
            |owner: Value| serve(json!({"owner": "ready", "owner_instance": owner, "holding": 0}));
        let (own_host, other_host) = (host(own), host("another"));
        let (own_front, away) = (front(json!(own)), front(Value::Null));
        let nothing = build_client();
        let earlier = serve(json!({"graveyard_vectors": 1}));
        let stripped = serve(json!({"slos": []}));
        let compare = |client: &HostClient, telemetry: &HostClient| {
            let found = compare_telemetry(client, telemetry.url());
            let kind = match &found {
                TelemetryMatch::Same => "same",
                TelemetryMatch::Other(_) => "other",
                TelemetryMatch::Unknown(warning) => {
                    let named = format!("--telemetry {}", telemetry.url());
                    assert!(warning.contains(&named), "{warning}");
                    "unknown"
                }
            };
            (kind, found)
        };
        for (client, telemetry, expected) in [
            (&own_host, &own_host, "same"),
            (&own_front, &own_host, "same"),
            (&own_host, &own_front, "same"),
            (&own_host, &other_host, "other"),
            (&own_front, &other_host, "other"),
            // What names no process is not that of a host which does.
            (&own_host, &earlier, "other"),
            (&own_host, &stripped, "other"),
            (&own_front, &stripped, "other"),
            (&own_host, &away, "other"),
            // Both ports of an earlier version are without a name.
            (&earlier, &own_host, "other"),
            (&earlier, &stripped, "other"),
            (&earlier, &earlier, "unknown"),
            (&own_host, &nothing, "unknown"),
            (&nothing, &own_host, "unknown"),
            (&away, &own_host, "unknown"),
        ] {
            let (kind, found) = compare(client, telemetry);
            let places = (client.url(), telemetry.url());
            assert_eq!(kind, expected, "{places:?}: {found:?}");
        }
        let TelemetryMatch::Other(found) = compare_telemetry(&own_host, other_host.url()) else {
            panic!("these are two hosts");
        };
        assert_eq!(found.answering, format!("instance {own}"));
        assert_eq!(found.other, "instance another");
    }

    #[test]
    fn a_difference_that_does_not_last_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let _store = Store::open(&StoreConfig::in_dir(data.clone())).unwrap();
        let mut asked = 0;
        // A host that is starting again: its directory knows the new process before the address does.
        let client = start_scripted_host(move |_| {
            asked += 1;
            let instance = if asked < 3 {
                "before"
            } else {
                process_instance()
            };
            (200, json!({"instance": instance, "graveyard_vectors": 1}))
        });
        assert_eq!(find_other_holder(&client, &data), None);
    }
}
