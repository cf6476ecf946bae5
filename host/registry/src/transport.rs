//! HTTP to a registry: bounded in time and bytes, and only to where a registry may lead.

use std::fmt;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use ark_authorities::read_authorities;
use ureq::http::{HeaderMap, Method, Request, Response, Uri, header, request};
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Proxy};

use super::error::RegistryError;
use super::reference::{Reference, host_of};

/// How long it may take to reach a registry.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request about something small may take in all.
const SMALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a request that moves a component may take in all.
const LARGE_TIMEOUT: Duration = Duration::from_mins(15);
/// How often a request is redirected at most.
const MAX_REDIRECTS: usize = 4;

/// How much a request moves, which decides how long it is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// A manifest, a token, a question.
    Small,
    /// A component.
    Large,
}

/// A request to a registry.
#[derive(Debug, Clone)]
pub(crate) struct RegistryRequest<'a> {
    pub(crate) method: Method,
    pub(crate) url: Uri,
    /// The media type that is asked for.
    pub(crate) accept: Option<&'a str>,
    /// What is sent, with its media type.
    pub(crate) body: Option<(&'a str, &'a [u8])>,
    pub(crate) weight: Weight,
}

/// An address that a registry must not lead to.
#[derive(Debug)]
struct LocalAddress {
    host: String,
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} is an address of this machine or its link, to which only a registry on this machine may lead",
            self.host
        )
    }
}

impl std::error::Error for LocalAddress {}

/// Looks up names, and refuses addresses of this machine and its link for every host but the registry itself: a registry that redirects must
/// not make this program ask services that only this machine can reach.
#[derive(Debug)]
struct RegistryResolver {
    /// Whether any address will do: the registry is on this machine.
    allows_local: bool,
    /// Hosts that the caller of this program named: the registry and the proxy.
    given: Vec<String>,
    inner: DefaultResolver,
}

impl Resolver for RegistryResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        let host = uri.host().unwrap_or_default();
        let is_given = self
            .given
            .iter()
            .any(|given| given.eq_ignore_ascii_case(host));
        if self.allows_local || is_given || !found.iter().any(|address| is_local(address.ip())) {
            return Ok(found);
        }
        Err(ureq::Error::Other(Box::new(LocalAddress {
            host: host.to_owned(),
        })))
    }
}

/// Whether a host is named by an address of this machine or its link, or by the name of this machine.
fn names_local(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']).trim_end_matches('.');
    match host.parse() {
        Ok(address) => is_local(address),
        Err(_) => host
            .rsplit('.')
            .next()
            .is_some_and(|last| last.eq_ignore_ascii_case("localhost")),
    }
}

/// Where the machines of clouds get their credentials besides the link: the wire server of Azure, and Amazon's over IPv6.
const METADATA: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Whether an address is of this machine or of its link, or gives a machine its credentials. An IPv4 address is judged in each of its IPv6 forms.
fn is_local(address: IpAddr) -> bool {
    if METADATA.contains(&address) {
        return true;
    }
    match address {
        IpAddr::V4(it) => it.is_loopback() || it.is_unspecified() || it.is_link_local(),
        IpAddr::V6(it) if it.is_loopback() || it.is_unspecified() || it.is_unicast_link_local() => {
            true
        }
        IpAddr::V6(it) => find_ipv4(it).is_some_and(|it| is_local(IpAddr::V4(it))),
    }
}

/// The IPv4 address within an IPv6 one: mapped, compatible (RFC 4291), or behind a translator (RFC 6052).
fn find_ipv4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., high, low] = address.segments();
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

/// Sends requests to one registry, and to where it leads.
#[derive(Debug)]
pub(crate) struct Transport {
    agent: Agent,
    /// `http` or `https`.
    scheme: &'static str,
    registry: String,
    /// Whether it may lead to this machine: the registry is there.
    allows_local: bool,
}

impl Transport {
    /// # Errors
    /// The file of the authority cannot be used.
    pub(crate) fn new(
        reference: &Reference,
        authority: Option<&Path>,
        plain_http: bool,
    ) -> Result<Self, RegistryError> {
        let registry = reference.registry().to_owned();
        let scheme = if plain_http { "http" } else { "https" };
        let uri: Option<Uri> = format!("{scheme}://{registry}/").parse().ok();
        let proxy = Proxy::try_from_env().filter(|proxy| {
            !reference.is_loopback() && !uri.as_ref().is_some_and(|uri| proxy.is_no_proxy(uri))
        });
        let mut given = vec![host_of(&registry).to_owned()];
        given.extend(proxy.iter().map(|proxy| proxy.host().to_owned()));
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            // Where a registry redirects to is judged here.
            .max_redirects(0)
            // A registry is asked a few times only. It may close a kept connection under a request that must not be sent twice.
            .max_idle_connections(0)
            .user_agent(concat!("ark/", env!("CARGO_PKG_VERSION")))
            .proxy(proxy)
            .tls_config(build_tls_config(authority)?)
            .build();
        let resolver = RegistryResolver {
            allows_local: reference.is_loopback(),
            given,
            inner: DefaultResolver::default(),
        };
        Ok(Self {
            agent: Agent::with_parts(config, DefaultConnector::default(), resolver),
            scheme,
            registry,
            allows_local: reference.is_loopback(),
        })
    }

    /// Returns the address of a path of the registry.
    ///
    /// # Errors
    /// There is no such address.
    pub(crate) fn url(&self, path: &str) -> Result<Uri, RegistryError> {
        let text = format!("{}://{}{path}", self.scheme, self.registry);
        text.parse()
            .map_err(|_| self.unexpected(format!("{text} is no address")))
    }

    /// Sends a request and returns the answer, whatever its status, and the address that gave it. A request that reads is redirected; the authorization goes along only to the
    /// registry itself.
    ///
    /// # Errors
    /// No answer comes, or the registry redirects to where no request is sent.
    pub(crate) fn send(
        &self,
        call: &RegistryRequest<'_>,
        authorization: Option<&str>,
    ) -> Result<(Response<Body>, Uri), RegistryError> {
        let is_read = matches!(call.method, Method::GET | Method::HEAD);
        let mut call = call.clone();
        for _ in 0..MAX_REDIRECTS {
            let own = authorization.filter(|_| self.is_own(&call.url));
            let response = self.send_unredirected(&call, own)?;
            if !is_read || !response.status().is_redirection() {
                return Ok((response, call.url));
            }
            call.url = self.follow_redirect(&call.url, response.headers())?;
        }
        Err(self.unexpected(format!("it redirects more than {MAX_REDIRECTS} times")))
    }

    /// Returns whether an address is the registry's own.
    pub(crate) fn is_own(&self, url: &Uri) -> bool {
        url.scheme_str() == Some(self.scheme)
            && url
                .authority()
                .is_some_and(|it| it.as_str() == self.registry)
    }

    /// Returns the address that a registry names, if a request may be sent there: with TLS, or without it where the registry has none either.
    ///
    /// # Errors
    /// It may not.
    pub(crate) fn check_target(&self, from: &Uri, to: &str) -> Result<Uri, RegistryError> {
        let refused = |problem| RegistryError::Redirect {
            from: from.to_string(),
            to: to.chars().take(200).collect(),
            problem,
        };
        let is_path = to.starts_with('/') && !to.starts_with("//");
        let text = if is_path {
            let authority = from.authority().map_or("", |it| it.as_str());
            format!(
                "{}://{authority}{to}",
                from.scheme_str().unwrap_or(self.scheme)
            )
        } else {
            to.to_owned()
        };
        let url: Uri = text.parse().map_err(|_| refused("it is no address"))?;
        let authority = url.authority().ok_or_else(|| refused("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(refused("it names a user"));
        }
        // A proxy looks up names itself, so that the guard at the lookup does not see them; this much is seen in any case.
        if !self.allows_local && !self.is_own(&url) && names_local(authority.host()) {
            return Err(refused("it is on this machine or its link"));
        }
        match url.scheme_str() {
            Some("https") => Ok(url),
            Some("http") if self.scheme == "http" => Ok(url),
            _ => Err(refused("it is not under TLS, as the registry is")),
        }
    }

    fn follow_redirect(&self, from: &Uri, headers: &HeaderMap) -> Result<Uri, RegistryError> {
        let location = headers
            .get(header::LOCATION)
            .and_then(|it| it.to_str().ok());
        let location = location
            .ok_or_else(|| self.unexpected("it redirects and does not say where to".to_owned()))?;
        self.check_target(from, location)
    }

    /// Sends a request with this authorization, wherever it goes, and returns the answer, whatever its status.
    ///
    /// # Errors
    /// No answer comes.
    pub(crate) fn send_unredirected(
        &self,
        call: &RegistryRequest<'_>,
        authorization: Option<&str>,
    ) -> Result<Response<Body>, RegistryError> {
        let mut request = request::Builder::new()
            .method(call.method.clone())
            .uri(call.url.clone());
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some(accept) = call.accept {
            request = request.header(header::ACCEPT, accept);
        }
        let timeout = match call.weight {
            Weight::Small => SMALL_TIMEOUT,
            Weight::Large => LARGE_TIMEOUT,
        };
        let sent = match call.body {
            Some((media_type, body)) => request
                .header(header::CONTENT_TYPE, media_type)
                .body(body)
                .map_err(ureq::Error::Http)
                .and_then(|request| self.run_request(request, timeout)),
            None => request
                .body(())
                .map_err(ureq::Error::Http)
                .and_then(|request| self.run_request(request, timeout)),
        };
        sent.map_err(|source| no_answer(&call.url, source))
    }

    fn run_request<B: ureq::AsSendBody>(
        &self,
        request: Request<B>,
        timeout: Duration,
    ) -> Result<Response<Body>, ureq::Error> {
        let request = self
            .agent
            .configure_request(request)
            .timeout_global(Some(timeout))
            .build();
        self.agent.run(request)
    }

    /// The registry answers otherwise than a registry does.
    pub(crate) fn unexpected(&self, problem: String) -> RegistryError {
        RegistryError::Unexpected {
            registry: self.registry.clone(),
            problem,
        }
    }
}

/// Reads an answer of at most `limit` bytes. What it states of its length does not count.
///
/// # Errors
/// It is longer, or ends early.
pub(crate) fn read_body(
    what: &str,
    url: &Uri,
    response: Response<Body>,
    limit: u64,
) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    // One more than is allowed shows that there is more.
    response
        .into_body()
        .into_reader()
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| no_answer(url, ureq::Error::Io(error)))?;
    if bytes.len() as u64 > limit {
        return Err(RegistryError::TooLarge {
            what: what.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}

fn no_answer(url: &Uri, source: ureq::Error) -> RegistryError {
    // What stands behind the path may be a secret of a storage.
    let authority = url.authority().map_or("", |it| it.as_str());
    RegistryError::NoAnswer {
        url: format!(
            "{}://{authority}{}",
            url.scheme_str().unwrap_or(""),
            url.path()
        ),
        source,
    }
}

fn build_tls_config(authority: Option<&Path>) -> Result<TlsConfig, RegistryError> {
    let mut tls = TlsConfig::builder();
    if let Some(path) = authority {
        tls = tls.root_certs(read_authorities(path)?);
    }
    Ok(tls.build())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use ureq::config::Config;
    use ureq::http::{Method, Uri};
    use ureq::unversioned::resolver::{DefaultResolver, Resolver};
    use ureq::unversioned::transport::NextTimeout;

    use super::{RegistryRequest, RegistryResolver, Transport, Weight, is_local, read_body};
    use crate::reference::Reference;

    fn transport(registry: &str, plain_http: bool) -> Transport {
        let reference: Reference = format!("{registry}/a").parse().expect("a reference");
        Transport::new(&reference, None, plain_http).expect("a transport")
    }

    #[test]
    fn a_registry_leads_only_to_where_a_request_may_be_sent() {
        let under_tls = transport("registry.example", false);
        let plain = transport("registry.example:5000", true);
        let from: Uri = "https://registry.example/v2/a/blobs/x"
            .parse()
            .expect("an address");
        for (transport, to, allowed) in [
            (&under_tls, "/v2/b", true),
            (&under_tls, "https://storage.example/b?signed=1", true),
            (&under_tls, "http://storage.example/b", false),
            (&under_tls, "http://127.0.0.1/b", false),
            (&under_tls, "//storage.example/b", false),
            (&under_tls, "b", false),
            (&under_tls, "file:///etc/passwd", false),
            (&under_tls, "https://user@storage.example/b", false),
            (&under_tls, "https://127.0.0.1/b", false),
            (&under_tls, "https://[::1]:5000/b", false),
            (&under_tls, "https://localhost/b", false),
            (&under_tls, "https://a.LOCALHOST./b", false),
            (&under_tls, "https://169.254.169.254/b", false),
            (&plain, "http://storage.example/b", true),
        ] {
            let target = transport.check_target(&from, to);
            assert_eq!(target.is_ok(), allowed, "{to}: {target:?}");
        }
    }

    #[test]
    fn each_request_has_a_connection_of_its_own() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let registry = listener.local_addr().expect("its address").to_string();
        let serving = std::thread::spawn(move || {
            // None of them is closed: a kept one would get the next request.
            let mut open = Vec::new();
            for _ in 0..3 {
                let mut stream = BufReader::new(listener.accept().expect("a connection").0);
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    assert!(stream.read_line(&mut line).expect("a line") > 0);
                }
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                stream.get_mut().write_all(answer).expect("an answer");
                open.push(stream);
            }
            open.len()
        });
        let transport = transport(&registry, true);
        for _ in 0..3 {
            let url: Uri = format!("http://{registry}/v2/")
                .parse()
                .expect("an address");
            let call = RegistryRequest {
                method: Method::GET,
                url: url.clone(),
                accept: None,
                body: None,
                weight: Weight::Small,
            };
            let (response, _) = transport.send(&call, None).expect("an answer");
            let body = read_body("a test", &url, response, 10).expect("a body");
            assert_eq!(body, b"{}");
        }
        assert_eq!(serving.join().expect("no panic"), 3);
    }

    #[test]
    fn addresses_of_this_machine_and_its_link_are_local() {
        for (address, local) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("0.0.0.0", true),
            ("169.254.169.254", true),
            ("::1", true),
            ("::", true),
            ("::ffff:127.0.0.1", true),
            ("fe80::1", true),
            ("::127.0.0.1", true),
            ("64:ff9b::7f00:1", true),
            ("64:ff9b::a9fe:a9fe", true),
            ("fd00:ec2::254", true),
            ("168.63.129.16", true),
            ("::ffff:168.63.129.16", true),
            ("64:ff9b::c000:201", false),
            ("fd00::1", false),
            ("10.0.0.1", false),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(
                is_local(address.parse().expect("an address")),
                local,
                "{address}"
            );
        }
    }

    #[test]
    fn only_a_registry_of_this_machine_leads_to_its_addresses() {
        let resolves = |allows_local: bool, given: &str, url: &str| {
            let resolver = RegistryResolver {
                allows_local,
                given: vec![given.to_owned()],
                inner: DefaultResolver::default(),
            };
            let uri: Uri = url.parse().expect("an address");
            let found = resolver.resolve(&uri, &Config::default(), NextTimeout::default());
            match found {
                Ok(_) => true,
                Err(ureq::Error::Other(_)) => false,
                Err(error) => panic!("{url}: {error}"),
            }
        };
        for url in [
            "https://127.0.0.1/a",
            "https://[::1]:5000/a",
            "https://169.254.169.254/latest",
            "http://0.0.0.0:80/",
        ] {
            assert!(!resolves(false, "registry.example", url), "{url}");
            assert!(resolves(true, "localhost", url), "{url}");
        }
        assert!(resolves(false, "registry.example", "https://192.0.2.7/a"));
        // A proxy, and a registry whose name is this machine's.
        assert!(resolves(false, "127.0.0.1", "http://127.0.0.1:3128/"));
    }
}
