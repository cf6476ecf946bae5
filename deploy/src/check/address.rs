//! Host and port in the addresses of Prometheus, of collectors and of what is scraped, and whether an address is one of this machine.

use std::net::{IpAddr, UdpSocket};

/// Host and port of an address, without user and password.
pub(super) fn find_address(endpoint: &str) -> Option<String> {
    let (scheme, rest) = endpoint.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let after_brackets = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    let has_port = after_brackets.contains(':');
    let port = if scheme == "https" { 443 } else { 80 };
    match (host.is_empty(), has_port) {
        (true, _) => None,
        (false, true) => Some(host.to_owned()),
        (false, false) => Some(format!("{host}:{port}")),
    }
}

/// Whether a connection to an address stays on this machine.
pub(super) fn is_own_address(address: IpAddr) -> bool {
    let address = address.to_canonical();
    // A connection to the unspecified address reaches the loopback.
    address.is_loopback() || address.is_unspecified() || UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::{find_address, is_own_address};

    #[test]
    fn an_address_is_one_of_this_machine_or_of_another() {
        for (address, is_own) in [
            ("127.0.0.1", true),
            ("127.0.0.2", true),
            ("::1", true),
            ("0.0.0.0", true),
            ("::ffff:127.0.0.1", true),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(
                is_own_address(address.parse().unwrap()),
                is_own,
                "{address}"
            );
        }
    }

    #[test]
    fn the_address_of_a_collector_is_found_in_its_endpoint() {
        for (endpoint, address) in [
            ("http://127.0.0.1:4318/v1/traces", Some("127.0.0.1:4318")),
            ("https://u:p@c.example/v1", Some("c.example:443")),
            ("http://[::1]/v1", Some("[::1]:80")),
            ("http://[::1]:4318", Some("[::1]:4318")),
            ("c.example", None),
            ("http:///v1", None),
        ] {
            assert_eq!(find_address(endpoint).as_deref(), address, "{endpoint}");
        }
    }
}
