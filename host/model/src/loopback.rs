//! Whether a host in an address is this machine.

use std::net::IpAddr;

/// Whether the host of an address, as it stands in a URI (an IPv6 address in brackets), is the name or an address of this machine's loopback
/// interface. Other names are not looked up: what they stand for is the network's word.
#[must_use]
pub fn is_loopback_host(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_loopback_host;

    #[test]
    fn only_names_and_addresses_of_loopback_are_this_machine() {
        for host in [
            "localhost",
            "LocalHost",
            "127.0.0.1",
            "127.9.8.7",
            "[::1]",
            "::1",
        ] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in [
            "",
            "localhost.example",
            "10.0.0.1",
            "0.0.0.0",
            "[::2]",
            "127.0.0.1.example",
        ] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }
}
