//! Whether what answers at an address is the host of a data directory, before an exchange begins. A front is refused: it is ready also while requests are
//! parked, so that nobody learns from it whether the host is.
//!
//! Must not know: what is done with the host.

use std::path::Path;

use ark_client::HostClient;
use ark_host::front::is_front_readiness;

use crate::exchange::error::ExchangeError;
use crate::host_identity::find_other_holder;

/// Refuses where the host that answers at the address is not the one that holds the data directory, and where a front answers. Where none answers, or a host
/// of an earlier version does not say it, nothing is refused.
pub(crate) fn check_same_host(client: &HostClient, data_dir: &Path) -> Result<(), ExchangeError> {
    if client
        .get("/readyz")
        .is_ok_and(|answer| is_front_readiness(&answer.body))
    {
        return Err(ExchangeError::Front(client.url().to_owned()));
    }
    match find_other_holder(client, data_dir) {
        None => Ok(()),
        Some(found) => Err(ExchangeError::OtherHost {
            url: client.url().to_owned(),
            answering: found.answering,
            data_dir: data_dir.to_owned(),
            holder: found.other,
        }),
    }
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
