//! Host and port in the addresses of Prometheus, of collectors and of what is scraped.

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

#[cfg(test)]
mod tests {
    use super::find_address;

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
