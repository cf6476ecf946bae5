//! The check of a request's head, before anything else of the request is looked at: whom it is for, that no header is given twice of which one
//! counts, how its body is framed, and how large it is.
//!
//! What two readers could understand differently (this host, a proxy before it, a browser) is refused: one of them may have admitted what the
//! other would not.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, StatusCode, Version, header};

use ark_model::check::{FieldError, clip_for_error};

use super::problem::Problem;

/// The most bytes of a request's line and headers.
pub(crate) const HEAD_BYTES: usize = 32 * 1024;
/// The most header lines.
const HEADER_LINES: usize = 64;
/// The most bytes of a host's name (RFC 1035, section 2.3.4).
const MAX_NAME_BYTES: usize = 255;

/// Headers of which one value counts. A message that repeats one would be understood by its first value here and by its last elsewhere.
static SINGLE_HEADERS: [HeaderName; 13] = [
    header::HOST,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::EXPECT,
    header::IF_MATCH,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("ark-deadline-ms"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("proxy-authorization"),
];

/// Checks the head of a request.
///
/// # Errors
/// 431 for a head that is too large. 400 for a header that is repeated, a `Host` that is missing (HTTP/1.1), malformed or not that of the
/// request's target, and for another transfer coding than `chunked`.
pub(crate) fn check_head(request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    check_size(request)?;
    // Every name has one line in almost all requests.
    if headers.len() > headers.keys_len()
        && let Some(name) = SINGLE_HEADERS
            .iter()
            .find(|name| headers.get_all(*name).iter().nth(1).is_some())
    {
        return Err(repeated_header(name.as_str()).into());
    }
    check_host(request)?;
    Ok(check_transfer_coding(headers)?)
}

/// The error of a header that stands more than once.
pub(crate) fn repeated_header(name: &str) -> FieldError {
    FieldError::new(
        format_header_name(name),
        "is given more than once",
        "send one line with one value",
    )
}

/// A header's name as it is written in documentation.
fn format_header_name(name: &str) -> String {
    if name == "traceparent" || name.contains(|c: char| c.is_ascii_uppercase()) {
        return name.to_owned();
    }
    name.split('-')
        .map(|part| match part.split_at_checked(1) {
            _ if part == "id" => "ID".to_owned(),
            Some((first, rest)) => first.to_ascii_uppercase() + rest,
            None => String::new(),
        })
        .collect::<Vec<_>>()
        .join("-")
}

fn check_size(request: &Request) -> Result<(), Problem> {
    /// The bytes of a line beside its name and value: a colon, a space and the line's end.
    const LINE: usize = 4;
    let headers = request.headers();
    let uri = request.uri();
    let target = uri.path_and_query().map_or(0, |it| it.as_str().len())
        + uri.authority().map_or(0, |it| it.as_str().len());
    let line = request.method().as_str().len() + target + " HTTP/1.1".len() + LINE;
    let bytes = headers.iter().fold(line, |bytes, (name, value)| {
        bytes + name.as_str().len() + value.len() + LINE
    });
    let (problem, remedy) = if bytes > HEAD_BYTES {
        (
            format!("the request line and the headers have {bytes} bytes"),
            format!("send {HEAD_BYTES} bytes at most"),
        )
    } else if headers.len() > HEADER_LINES {
        (
            format!("the request has {} header lines", headers.len()),
            format!("send {HEADER_LINES} at most"),
        )
    } else {
        return Ok(());
    };
    Err(Problem::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "head-too-large",
        "The head of the request is too large",
        problem,
    )
    .at("headers", &remedy))
}

/// Checks whom a request is for (RFC 9112, section 3.2).
fn check_host(request: &Request) -> Result<(), FieldError> {
    const FIELD: &str = "Host";
    let target = request
        .uri()
        .authority()
        .map(axum::http::uri::Authority::as_str);
    let host = request.headers().get(header::HOST);
    let Some(host) = host else {
        if request.version() == Version::HTTP_10 && target.is_none() {
            return Ok(());
        }
        let remedy = "send Host with the name of this host, e.g. Host: localhost";
        return Err(FieldError::new(FIELD, "is missing", remedy));
    };
    let text = String::from_utf8_lossy(host.as_bytes());
    let Some(host) = RequestAuthority::parse(&text) else {
        let problem = format!("is {:?}", clip_for_error(&text));
        let remedy =
            "give the name or address of this host, and its port after a colon if it has one";
        return Err(FieldError::new(FIELD, problem, remedy));
    };
    if let Some(target) = target {
        let is_same = RequestAuthority::parse(target)
            .is_some_and(|target| target.is_same(&host, request.uri().scheme_str()));
        if !is_same {
            let problem = format!(
                "is {:?}, and the request's target is on {:?}",
                clip_for_error(&text),
                clip_for_error(target)
            );
            let remedy = "send the path alone as the target, e.g. GET /v1/agents";
            return Err(FieldError::new(FIELD, problem, remedy));
        }
    }
    Ok(())
}

/// The one transfer coding that is decoded is `chunked`. A body in another one would be read in its coded form.
fn check_transfer_coding(headers: &HeaderMap) -> Result<(), FieldError> {
    let Some(coding) = headers.get(header::TRANSFER_ENCODING) else {
        return Ok(());
    };
    if coding
        .as_bytes()
        .trim_ascii()
        .eq_ignore_ascii_case(b"chunked")
    {
        return Ok(());
    }
    let coding = String::from_utf8_lossy(coding.as_bytes());
    Err(FieldError::new(
        "Transfer-Encoding",
        format!("is {:?}", clip_for_error(&coding)),
        "send chunked, or Content-Length in its place",
    ))
}

/// A host and its port, as `Host` has them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RequestAuthority<'a> {
    name: HostName<'a>,
    port: Option<u16>,
}

/// A host's name or address.
#[derive(Debug)]
enum HostName<'a> {
    /// A name, without the dot that may end it.
    Name(&'a str),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl PartialEq for HostName<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(one), Self::Name(other)) => one.eq_ignore_ascii_case(other),
            (Self::V4(one), Self::V4(other)) => one == other,
            (Self::V6(one), Self::V6(other)) => one == other,
            _ => false,
        }
    }
}

impl Eq for HostName<'_> {}

impl<'a> RequestAuthority<'a> {
    /// Reads `name`, `name:port`, `[address]` or `[address]:port`; `None` if it has another form.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (name, port) = if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']')?;
            let port = match rest {
                "" => None,
                rest => Some(rest.strip_prefix(':')?),
            };
            (HostName::V6(address.parse().ok()?), port)
        } else {
            let (name, port) = match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            };
            (HostName::parse(name)?, port)
        };
        let port = match port {
            None | Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            Some(_) => return None,
        };
        Some(Self { name, port })
    }

    /// Whether it is a name or address of the machine that the host runs on, whatever the network says.
    pub(crate) fn is_own_machine(&self) -> bool {
        match self.name {
            HostName::Name(name) => name.eq_ignore_ascii_case("localhost"),
            HostName::V4(address) => address.is_loopback(),
            HostName::V6(address) => address.is_loopback(),
        }
    }

    /// Whether the two are one place; a port that is left out is the scheme's.
    fn is_same(&self, other: &Self, scheme: Option<&str>) -> bool {
        let default = if scheme == Some("https") { 443 } else { 80 };
        self.name == other.name && self.port.unwrap_or(default) == other.port.unwrap_or(default)
    }
}

impl<'a> HostName<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        if let Ok(address) = text.parse() {
            return Some(Self::V4(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_label = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        // A name of digits only would be an address to other readers: 2130706433 is 127.0.0.1 to some.
        let is_name = name.len() <= MAX_NAME_BYTES
            && name.split('.').all(is_label)
            && !name
                .rsplit('.')
                .next()
                .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        is_name.then_some(Self::Name(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_form_and_its_own_machine_a_few_names() {
        for (text, own) in [
            ("localhost", true),
            ("LOCALHOST:8000", true),
            ("localhost.", true),
            ("Localhost.:8000", true),
            ("localhost:", true),
            ("127.0.0.1:65535", true),
            ("127.8.9.1", true),
            ("[::1]", true),
            ("[::1]:8000", true),
            ("[0:0:0:0:0:0:0:1]:80", true),
            ("ark.example.com:8000", false),
            ("localhost.evil.example", false),
            ("my_host-1", false),
            ("10.0.0.1", false),
            ("[fe80::1]", false),
        ] {
            let authority = RequestAuthority::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(authority.is_own_machine(), own, "{text}");
        }
        for text in [
            "",
            ".",
            "..",
            "a..b",
            "localhost..",
            ":80",
            "localhost:x",
            "localhost:+80",
            "localhost:65536",
            "localhost:80:80",
            "localhost:80 ",
            " localhost",
            "a b",
            "a,b",
            "user@localhost",
            "localhost/",
            "localhost#",
            "loc\u{fffd}lhost",
            "[::1",
            "::1",
            "[::1]80",
            "[127.0.0.1]",
            "[::1%25lo]",
            "2130706433",
            "127.1",
            "0x7f.1.2.3.4",
            "%6cocalhost",
        ] {
            assert_eq!(RequestAuthority::parse(text), None, "{text}");
        }
        let long = "a".repeat(256);
        assert_eq!(RequestAuthority::parse(&long), None);
    }

    #[test]
    fn names_are_written_as_documented() {
        for (name, written) in [
            ("content-type", "Content-Type"),
            ("traceparent", "traceparent"),
            ("last-event-id", "Last-Event-ID"),
            ("Idempotency-Key", "Idempotency-Key"),
        ] {
            assert_eq!(format_header_name(name), written);
        }
    }
}
