//! Whether an address, a data directory and a telemetry are those of one host: each process of a host has a name, made by chance at its start, which stands
//! in its answers to `/readyz`, on both of its ports, and in the lock's file of its data directory. A front shows that of its owner.
//!
//! Invariant: only two names that are there are compared, or what is a host and one that names itself. What does not answer, and a host of an earlier
//! version without a name, differ from nothing.
//!
//! Must not know: what is done with the host.

use std::path::Path;
use std::time::Duration;

use ark_client::HostClient;
use ark_client::members::text_field;
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

/// The host at an address, or behind the front there, and the one whose telemetry is at another address, where these are two.
pub(crate) fn find_other_telemetry(
    client: &HostClient,
    telemetry: &HostClient,
) -> Option<HostDifference> {
    find_lasting(|| {
        let ready = client.get("/readyz").ok()?.body;
        let answering = read_instance(&ready)?;
        let shown = telemetry.get("/readyz").ok()?.body;
        let other = read_instance(&shown);
        if other == Some(answering) || other.is_none() && !is_host(&shown) {
            return None;
        }
        Some(HostDifference {
            answering: describe_host(Some(answering)),
            other: describe_host(other),
        })
    })
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
    fn a_front_and_a_telemetry_are_those_of_a_host_only_if_they_name_its_process() {
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
        let earlier = serve(json!({"graveyard_vectors": 1}));
        let something_else = serve(json!({"slos": []}));
        for (client, telemetry, differs) in [
            (&own_host, &own_host, false),
            (&own_front, &own_host, false),
            (&own_host, &own_front, false),
            (&own_host, &nothing, false),
            (&own_host, &something_else, false),
            (&earlier, &own_host, false),
            (&nothing, &own_host, false),
            (&own_host, &other_host, true),
            (&own_front, &other_host, true),
            (&own_host, &earlier, true),
        ] {
            let found = find_other_telemetry(client, telemetry);
            let places = (client.url(), telemetry.url());
            assert_eq!(found.is_some(), differs, "{places:?}: {found:?}");
        }
        let found = find_other_telemetry(&own_host, &other_host).unwrap();
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
