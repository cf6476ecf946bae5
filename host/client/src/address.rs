//! The one spelling of a host's address, so that two spellings of it name one host.

use std::net::IpAddr;

use ark_model::loopback::is_loopback_host;
use ureq::http::Uri;

/// Returns the address of an API in the spelling by which hosts are told apart: scheme and name in lower case, no default port, no slash at the end, and
/// `127.0.0.1` for each name and address of this machine's loopback. What is no URL is returned as it is.
#[must_use]
pub fn normalize_address(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let Ok(uri) = url.parse::<Uri>() else {
        return url.to_owned();
    };
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return url.to_owned();
    };
    let scheme = scheme.to_ascii_lowercase();
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let host = if is_this_machine(&host) {
        "127.0.0.1"
    } else {
        &host
    };
    let default_port = match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let port = uri.port_u16().filter(|port| Some(*port) != default_port);
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    let path = uri.path().trim_end_matches('/');
    format!("{scheme}://{host}{port}{path}")
}

/// Whether a name or an address is one under which a client reaches this machine alone.
fn is_this_machine(host: &str) -> bool {
    if is_loopback_host(host) {
        return true;
    }
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => address
            .to_ipv4_mapped()
            .map_or_else(|| address.is_unspecified(), |mapped| mapped.is_loopback()),
        // A connection to it reaches the loopback.
        Ok(IpAddr::V4(address)) => address.is_unspecified(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::normalize_address;

    #[test]
    fn each_spelling_of_an_address_is_one() {
        for (url, normal) in [
            ("http://127.0.0.1:28000", "http://127.0.0.1:28000"),
            ("http://127.0.0.1:28000/", "http://127.0.0.1:28000"),
            ("HTTP://LocalHost:28000", "http://127.0.0.1:28000"),
            ("http://localhost.:28000//", "http://127.0.0.1:28000"),
            ("http://127.3.2.1:28000", "http://127.0.0.1:28000"),
            ("http://0.0.0.0:28000", "http://127.0.0.1:28000"),
            ("http://[::1]:28000", "http://127.0.0.1:28000"),
            ("http://[::ffff:127.0.0.1]:28000", "http://127.0.0.1:28000"),
            ("http://127.0.0.1:80", "http://127.0.0.1"),
            ("https://Ark.Example:443/", "https://ark.example"),
            ("https://ark.example:8443", "https://ark.example:8443"),
            ("https://ark.example/a/", "https://ark.example/a"),
            ("http://[2001:DB8::1]:8000", "http://[2001:db8::1]:8000"),
            ("http://10.0.0.1:28000", "http://10.0.0.1:28000"),
            ("no address", "no address"),
        ] {
            assert_eq!(normalize_address(url), normal, "{url}");
        }
    }
}
