//! Whether an address and a data directory are those of one host: each process of a host has a name, made by chance at its start, which stands in its
//! answer to `/readyz` and in the lock's file of its data directory. A front shows that of its owner, and is refused: it is ready also while requests are
//! parked, so that nobody learns from it whether the host is.
//!
//! Must not know: what is done with the host.

use std::path::Path;
use std::time::Duration;

use ark_client::HostClient;
use ark_client::members::text_field;
use ark_host::front::is_front_readiness;
use ark_store::{HostProcess, find_host_instance, find_host_process};
use serde_json::Value;

use crate::exchange::error::ExchangeError;

/// How often host and directory are asked before a difference counts: the host may be starting again.
const TRIES: u32 = 5;
/// The pause between two of them.
const PAUSE: Duration = Duration::from_millis(300);

/// Refuses where the host that answers at the address is not the one that holds the data directory, and where a front answers. Where none answers, or a host
/// of an earlier version does not say it, nothing is refused.
pub(crate) fn check_same_host(client: &HostClient, data_dir: &Path) -> Result<(), ExchangeError> {
    if client
        .get("/readyz")
        .is_ok_and(|answer| is_front_readiness(&answer.body))
    {
        return Err(ExchangeError::Front(client.url().to_owned()));
    }
    let mut left = TRIES;
    loop {
        let Some((answering, holder)) = find_difference(client, data_dir) else {
            return Ok(());
        };
        left -= 1;
        if left == 0 {
            return Err(ExchangeError::OtherHost {
                url: client.url().to_owned(),
                answering,
                data_dir: data_dir.to_owned(),
                holder,
            });
        }
        std::thread::sleep(PAUSE);
    }
}

/// What answers at the address and what holds the data directory, in words, where these are two.
fn find_difference(client: &HostClient, data_dir: &Path) -> Option<(String, String)> {
    let ready = client.get("/readyz").ok()?.body;
    let answering = read_instance(&ready);
    let is_host = ready.get("graveyard_vectors").is_some();
    if answering.is_none() && !is_host {
        return None;
    }
    let described = answering.map_or_else(
        || "of an earlier version, which does not name its process".to_owned(),
        |instance| format!("instance {instance}"),
    );
    let holder = match find_host_process(data_dir) {
        HostProcess::None => return Some((described, "no process holds it".to_owned())),
        HostProcess::Found(pid) => format!("process {pid} holds it"),
        HostProcess::Hidden => "a process that cannot be seen from here holds it".to_owned(),
    };
    let held = find_host_instance(data_dir)?;
    if answering? == held {
        return None;
    }
    Some((described, format!("{holder}, instance {held}")))
}

/// The name of the process of the host at the address, also through a front; `None`: it does not answer, or does not say it.
pub(crate) fn find_host_process_name(client: &HostClient) -> Option<String> {
    let ready = client.get("/readyz").ok()?.body;
    read_instance(&ready).map(str::to_owned)
}

/// The name of the host that answers, or of the owner of the front that does.
fn read_instance(ready: &Value) -> Option<&str> {
    ["instance", "owner_instance"]
        .into_iter()
        .map(|name| text_field(ready, name))
        .find(|instance| !instance.is_empty())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use ark_client::Endpoint;
    use ark_store::{Store, StoreConfig, process_instance};

    use crate::fixtures::build_client;

    use super::*;

    /// A client of a server that gives this answer to every request, until the test ends.
    fn serve(body: String) -> HostClient {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                );
                let _ = stream.write_all(format!("{head}{body}").as_bytes());
            }
        });
        let (token, ca) = (None, None);
        HostClient::new(&Endpoint { url, token, ca }).unwrap()
    }

    #[test]
    fn a_host_is_that_of_a_directory_only_if_both_name_its_process() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let own = process_instance();
        let host = |instance: &str| {
            serve(format!(
                "{{\"instance\":\"{instance}\",\"graveyard_vectors\":1}}"
            ))
        };
        let front = |instance: &str| {
            serve(format!(
                "{{\"owner\":\"ready\",\"owner_instance\":{instance},\"holding\":0}}"
            ))
        };
        let (same, other) = (host(own), host("another"));
        let earlier = serve("{\"graveyard_vectors\":1}".to_owned());
        let own_front = front(&format!("\"{own}\""));
        let other_front = front("\"another\"");
        let away = front("null");
        let earlier_front = serve("{\"owner\":\"away\",\"holding\":3}".to_owned());
        let nothing = build_client();
        let refuses = |client: &HostClient| check_same_host(client, &data).is_err();
        // Nobody holds the directory.
        let found = [&same, &other, &earlier, &nothing].map(refuses);
        assert_eq!(found, [true, true, true, false]);
        let store = Store::open(&StoreConfig::in_dir(data.clone())).unwrap();
        let found = [&same, &other, &earlier, &nothing].map(refuses);
        assert_eq!(found, [false, true, false, false]);
        for front in [&own_front, &other_front, &away, &earlier_front] {
            let refused = check_same_host(front, &data).unwrap_err();
            assert!(matches!(refused, ExchangeError::Front(_)), "{refused}");
            let told = refused.to_string();
            assert!(told.contains(&format!("a front answers at {}", front.url())));
        }
        let refused = check_same_host(&other, &data).unwrap_err().to_string();
        for part in [
            other.url(),
            "instance another",
            own,
            "correct --url or --data-dir",
        ] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
        drop(store);
    }
}
