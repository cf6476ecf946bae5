//! References: `REGISTRY/NAME:TAG` or `REGISTRY/NAME@sha256:DIGEST`.

use std::fmt;
use std::str::FromStr;

use ark_model::ids::Digest;
use ark_model::loopback::is_loopback_host;

/// The longest name in a registry, in bytes; that of the specification.
const MAX_NAME_BYTES: usize = 255;
/// The longest tag, in bytes; that of the specification.
const MAX_TAG_BYTES: usize = 128;
/// What separates a name from a digest.
const DIGEST_MARK: &str = "@sha256:";

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It names no registry.
    #[error(
        "the registry is missing; give it with its name: REGISTRY/NAME:TAG, e.g. registry.example/desk/kenny:1.0.0"
    )]
    NoRegistry,
    /// The registry is not a host with a port.
    #[error("the registry is not HOST or HOST:PORT, without https:// before it")]
    Registry,
    /// The name has a character or a form that no registry takes.
    #[error(
        "the name consists of parts of a-z, 0-9 and single . _ - between them, separated by /; at most {MAX_NAME_BYTES} bytes"
    )]
    Name,
    /// The tag has a character or a form that no registry takes.
    #[error(
        "a tag consists of a-z, A-Z, 0-9, _ . -, begins with neither . nor -, and has at most {MAX_TAG_BYTES} bytes"
    )]
    Tag,
    /// The text behind `@` is not a SHA-256.
    #[error("a digest is sha256: and 64 hexadecimal digits")]
    Digest,
}

/// What is in a registry under a name. There is no default registry: anyone who reads a reference sees where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    registry: String,
    name: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Returns the registry: `HOST` or `HOST:PORT`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the name in the registry.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the tag; absent: there is only a digest.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest that the reference is pinned to. Where it is there, the tag says nothing more.
    #[must_use]
    pub const fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Returns `REGISTRY/NAME`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.registry, self.name)
    }

    /// Returns the reference to a digest of the same name.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// Returns the reference to a tag of the same name.
    pub(crate) fn with_tag(&self, tag: String) -> Self {
        Self {
            tag: Some(tag),
            digest: None,
            ..self.clone()
        }
    }

    /// Returns what stands in the path of a request for the manifest.
    pub(crate) fn manifest_key(&self) -> String {
        match (self.digest, &self.tag) {
            (Some(digest), _) => format!("sha256:{digest}"),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// Returns whether the registry is on this machine, by its name or address.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback_host(host_of(&self.registry))
    }
}

/// The host of `HOST:PORT`.
pub(crate) fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (registry, rest) = text.split_once('/').ok_or(ReferenceError::NoRegistry)?;
        if registry.is_empty() || (!registry.contains(['.', ':']) && registry != "localhost") {
            return Err(ReferenceError::NoRegistry);
        }
        check_registry(registry)?;
        let (rest, digest) = match rest.split_once('@') {
            Some((before, _)) => {
                let hex = rest
                    .strip_prefix(before)
                    .and_then(|it| it.strip_prefix(DIGEST_MARK));
                let hex = hex.filter(|hex| !hex.bytes().any(|byte| byte.is_ascii_uppercase()));
                let digest = hex.and_then(|hex| hex.parse().ok());
                (before, Some(digest.ok_or(ReferenceError::Digest)?))
            }
            None => (rest, None),
        };
        let (name, tag) = match rest.split_once(':') {
            Some((name, tag)) => (name, Some(tag.to_owned())),
            None => (rest, None),
        };
        check_name(name)?;
        if let Some(tag) = &tag {
            check_tag(tag)?;
        }
        let tag = match (tag, digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag,
        };
        Ok(Self {
            registry: registry.to_owned(),
            name: name.to_owned(),
            tag,
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.registry, self.name)?;
        match (self.digest, &self.tag) {
            (Some(digest), _) => write!(formatter, "{DIGEST_MARK}{digest}"),
            (None, Some(tag)) => write!(formatter, ":{tag}"),
            (None, None) => Ok(()),
        }
    }
}

fn check_registry(registry: &str) -> Result<(), ReferenceError> {
    let host = host_of(registry);
    let port = registry.strip_prefix(host).unwrap_or_default();
    let port_is_right = match port.strip_prefix(':') {
        Some(port) => port.parse::<u16>().is_ok_and(|port| port > 0),
        None => port.is_empty(),
    };
    let is_v6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    let is_name = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    if port_is_right && (is_v6 || is_name) {
        Ok(())
    } else {
        Err(ReferenceError::Registry)
    }
}

fn check_name(name: &str) -> Result<(), ReferenceError> {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_part = |part: &str| {
        let bytes = part.as_bytes();
        let ends = bytes.first().zip(bytes.last());
        ends.is_some_and(|(first, last)| is_alphanumeric(*first) && is_alphanumeric(*last))
            && bytes
                .iter()
                .all(|byte| is_alphanumeric(*byte) || matches!(byte, b'.' | b'_' | b'-'))
            && !part.contains("..")
    };
    if name.len() <= MAX_NAME_BYTES && name.split('/').all(is_part) {
        Ok(())
    } else {
        Err(ReferenceError::Name)
    }
}

fn check_tag(tag: &str) -> Result<(), ReferenceError> {
    let is_right = !tag.is_empty()
        && tag.len() <= MAX_TAG_BYTES
        && !tag.starts_with(['.', '-'])
        && tag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if is_right {
        Ok(())
    } else {
        Err(ReferenceError::Tag)
    }
}

#[cfg(test)]
mod tests {
    use super::{Reference, ReferenceError};

    #[test]
    fn references_are_read_and_printed() {
        let hex = "0123456789abcdef".repeat(4);
        for (text, printed) in [
            (
                "registry.example/a".to_owned(),
                "registry.example/a:latest".to_owned(),
            ),
            (
                "localhost/a/b:1.0".to_owned(),
                "localhost/a/b:1.0".to_owned(),
            ),
            (
                "127.0.0.1:5000/a_b/c-d.e:V_1".to_owned(),
                "127.0.0.1:5000/a_b/c-d.e:V_1".to_owned(),
            ),
            ("[::1]:5000/a".to_owned(), "[::1]:5000/a:latest".to_owned()),
            (
                format!("r.example/a@sha256:{hex}"),
                format!("r.example/a@sha256:{hex}"),
            ),
            (
                format!("r.example/a:1@sha256:{hex}"),
                format!("r.example/a@sha256:{hex}"),
            ),
        ] {
            let reference: Reference = text.parse().expect(&text);
            assert_eq!(reference.to_string(), printed);
        }
    }

    #[test]
    fn an_invalid_reference_names_its_wrong_part() {
        use ReferenceError::{Digest, Name, NoRegistry, Registry, Tag};
        let upper = format!("r.example/a@sha256:{}", "A".repeat(64));
        for (text, error) in [
            ("", NoRegistry),
            ("kenny", NoRegistry),
            ("desk/kenny:1.0.0", NoRegistry),
            ("/a", NoRegistry),
            ("https://r.example/a", Registry),
            ("r.example:port/a", Registry),
            ("r.example:0/a", Registry),
            ("user@r.example/a", Registry),
            ("[::1/a", Registry),
            ("r.example/", Name),
            ("r.example/A", Name),
            ("r.example/a//b", Name),
            ("r.example/../b", Name),
            ("r.example/a?b", Name),
            ("r.example/a/-b", Name),
            ("r.example/a:", Tag),
            ("r.example/a:.b", Tag),
            ("r.example/a:b:c", Tag),
            ("r.example/a@sha256:12", Digest),
            ("r.example/a@sha512:12", Digest),
            (&upper, Digest),
        ] {
            assert_eq!(text.parse::<Reference>(), Err(error), "{text}");
        }
        let long = format!("r.example/{}", "a".repeat(256));
        assert_eq!(long.parse::<Reference>(), Err(Name));
    }
}
