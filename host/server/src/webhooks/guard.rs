//! Which addresses a webhook may connect to.
//!
//! The guard is the client's resolver. The client connects to the addresses that the guard returned and does not resolve the name again, so a name
//! whose address changes between the check and the connection (DNS rebinding) reaches no other address.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// The most networks that are allowed for a webhook.
const MAX_NETWORKS: usize = 32;

/// IPv4 networks that are not on the public Internet, or that lead to a cloud's metadata (IANA IPv4 Special-Purpose Address Registry).
const CLOSED_V4: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    // The wire server of Azure, at a public address.
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];
/// The IPv6 addresses that the Internet routes; all others are closed.
const OPEN_V6: &str = "2000::/3";
/// What is closed of them: special purposes with Teredo, documentation, and 6to4, in which an IPv4 address is hidden.
const CLOSED_V6: &[&str] = &["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];

/// Decides which addresses may be connected to: those of the public Internet, and those of the networks that the operator allows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressGuard {
    allowed: Vec<IpNet>,
}

/// Why a network cannot be allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It is no network.
    #[error("has {0:?}, which is no network; give an address or a network, e.g. \"10.1.2.0/24\"")]
    Form(String),
    /// The list has too many networks.
    #[error("has {0} networks; give {MAX_NETWORKS} at most")]
    Count(usize),
}

/// A name or an address that leads to nothing that may be connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{address} is not on the public Internet, and no connection is made to it; if it is meant, name its network in allow_networks"
)]
pub(super) struct ClosedAddress {
    address: IpAddr,
}

impl AddressGuard {
    /// Allows these networks besides the public Internet.
    ///
    /// # Errors
    /// See [`NetworkError`].
    pub fn allow(networks: &[String]) -> Result<Self, NetworkError> {
        if networks.len() > MAX_NETWORKS {
            return Err(NetworkError::Count(networks.len()));
        }
        let parse = |text: &String| {
            text.parse::<IpNet>()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                .map_err(|_| NetworkError::Form(ark_model::check::clip_for_error(text)))
        };
        Ok(Self {
            allowed: networks.iter().map(parse).collect::<Result<_, _>>()?,
        })
    }

    /// Returns whether an address may be connected to.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        // An IPv4 address in IPv6 form reaches what the IPv4 address does.
        let address = address.to_canonical();
        self.allowed.iter().any(|net| net.contains(&address)) || is_public(address)
    }

    /// Keeps the addresses that may be connected to.
    fn filter_addresses(
        &self,
        found: &[SocketAddr],
        kept: &mut ResolvedSocketAddrs,
    ) -> Result<(), Error> {
        let permitted = found.iter().filter(|it| self.permits(it.ip()));
        permitted.for_each(|address| kept.push(*address));
        match (kept.is_empty(), found.first()) {
            (false, _) => Ok(()),
            (true, None) => Err(Error::HostNotFound),
            (true, Some(closed)) => Err(Error::Other(Box::new(ClosedAddress {
                address: closed.ip(),
            }))),
        }
    }
}

fn is_public(address: IpAddr) -> bool {
    let is_in = |networks: &[&str]| {
        let mut networks = networks.iter().filter_map(|it| it.parse::<IpNet>().ok());
        networks.any(|network| network.contains(&address))
    };
    match address {
        IpAddr::V4(_) => !is_in(CLOSED_V4),
        IpAddr::V6(_) => is_in(&[OPEN_V6]) && !is_in(CLOSED_V6),
    }
}

/// Resolves names to addresses that may be connected to.
#[derive(Debug)]
pub(super) struct GuardedResolver<R = DefaultResolver> {
    guard: AddressGuard,
    resolver: R,
}

impl GuardedResolver {
    pub(super) fn new(guard: AddressGuard) -> Self {
        Self {
            guard,
            resolver: DefaultResolver::default(),
        }
    }
}

impl<R: Resolver> Resolver for GuardedResolver<R> {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let found = self.resolver.resolve(uri, config, timeout)?;
        let mut kept = self.empty();
        self.guard.filter_addresses(&found, &mut kept)?;
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for (address, is_open) in [
            ("93.184.215.14", true),
            ("1.1.1.1", true),
            ("172.15.255.255", true),
            ("172.32.0.1", true),
            ("2606:2800:21f:cb07::1", true),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
            ("100.100.100.200", false),
            ("127.0.0.1", false),
            ("127.255.255.254", false),
            ("168.63.129.16", false),
            ("169.254.169.254", false),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("192.0.0.192", false),
            ("192.168.1.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("::ffff:1.1.1.1", true),
            ("::127.0.0.1", false),
            ("64:ff9b::7f00:1", false),
            ("fd00:ec2::254", false),
            ("fe80::1", false),
            ("ff02::1", false),
            ("2002:7f00:1::1", false),
            ("2001:0:7f00:1::1", false),
            ("2001:db8::1", false),
        ] {
            let parsed: IpAddr = address.parse().unwrap();
            assert_eq!(
                AddressGuard::default().permits(parsed),
                is_open,
                "{address}"
            );
        }
        // Each entry of the tables is a network.
        for network in CLOSED_V4.iter().chain(CLOSED_V6).chain([&OPEN_V6]) {
            network.parse::<IpNet>().unwrap();
        }
    }

    #[test]
    fn only_allowed_networks_are_reached() {
        let networks = ["10.1.2.0/24".to_owned(), "::1".to_owned()];
        let guard = AddressGuard::allow(&networks).unwrap();
        for (address, is_open) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.1.3.3", false),
            ("::1", true),
            ("127.0.0.1", false),
        ] {
            assert_eq!(
                guard.permits(address.parse().unwrap()),
                is_open,
                "{address}"
            );
        }
        for bad in ["", "10.1.2.0/33", "example.com"] {
            let error = AddressGuard::allow(&[bad.to_owned()]).unwrap_err();
            assert_eq!(error, NetworkError::Form(bad.to_owned()));
        }
    }

    /// A name that stands for another address at each question.
    #[derive(Debug)]
    struct Rebinding {
        answers: Vec<Vec<SocketAddr>>,
        asked: AtomicUsize,
    }

    impl Resolver for Rebinding {
        fn resolve(
            &self,
            _: &Uri,
            _: &Config,
            _: NextTimeout,
        ) -> Result<ResolvedSocketAddrs, Error> {
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            let mut found = self.empty();
            self.answers[asked].iter().for_each(|it| found.push(*it));
            Ok(found)
        }
    }

    #[test]
    fn dns_rebinding_reaches_no_closed_address() {
        let public: SocketAddr = "93.184.215.14:443".parse().unwrap();
        let closed: SocketAddr = "169.254.169.254:443".parse().unwrap();
        let resolver = GuardedResolver {
            guard: AddressGuard::default(),
            resolver: Rebinding {
                answers: vec![vec![public], vec![closed], vec![closed, public]],
                asked: AtomicUsize::new(0),
            },
        };
        let uri: Uri = "https://rebinding.example/".parse().unwrap();
        let resolve = || {
            let found = resolver.resolve(&uri, &Config::default(), NextTimeout::default());
            found.map(|found| found.to_vec())
        };
        assert_eq!(resolve().unwrap(), [public]);
        let refused = resolve().unwrap_err();
        assert!(
            matches!(&refused, Error::Other(error) if error.is::<ClosedAddress>()),
            "{refused}"
        );
        assert_eq!(resolve().unwrap(), [public]);
    }
}
