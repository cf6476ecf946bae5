//! Binds the addresses of the API and of the telemetry.
//!
//! A process that was killed gives back the lock of its data directory and its sockets one after the other, so its successor may find the address
//! still in use, for milliseconds or, on a busy machine, for longer. It is waited for shortly; a server that goes on there is then reported.

use std::io::{ErrorKind, Result};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;

/// How long an address that is in use is waited for. nginx waits for 2.5 s at its start.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Binds an address, for which another process may be given up to two seconds to end.
///
/// # Errors
/// The address stays in use, or is not one of this machine's.
pub(crate) async fn bind_address(listen: SocketAddr) -> Result<TcpListener> {
    let deadline = Instant::now() + PATIENCE;
    let mut is_told = false;
    loop {
        match TcpListener::bind(listen).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                if !is_told {
                    tracing::warn!(%listen, "the address is in use; waiting for the process there to end");
                    is_told = true;
                }
                tokio::time::sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_bound_once_the_process_there_has_ended() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
        let listen = taken.local_addr().expect("its address");
        let binding = tokio::spawn(bind_address(listen));
        tokio::time::sleep(PAUSE * 5).await;
        assert!(!binding.is_finished(), "it is still in use");
        drop(taken);
        let bound = binding.await.expect("no panic").expect("a listener");
        assert_eq!(bound.local_addr().expect("its address"), listen);
    }

    #[tokio::test]
    async fn an_address_that_stays_in_use_is_refused() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
        let listen = taken.local_addr().expect("its address");
        let refused = bind_address(listen).await.expect_err("it is in use");
        assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    }
}
