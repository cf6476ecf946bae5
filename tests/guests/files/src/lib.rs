//! An agent for the host's tests: it calls what toolchains import and no agent gets (files, sockets, HTTP), as often as its signal says. Every
//! call must be refused, with the error that its interface has for that. With the payload `"hoard"` it keeps what it can get.

use std::io::ErrorKind;

use ark_guest::agent::{Action, Agent, Error, Host, Level, Metadata, Signal};

/// The agent.
pub struct Files;

impl Agent for Files {
    fn metadata() -> Metadata {
        Metadata {
            name: "files".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }

    fn handle(host: &dyn Host, signal: &Signal) -> Result<Vec<Action>, Error> {
        if signal.payload_json == "\"hoard\"" {
            hoard();
        }
        let rounds: u32 = signal.payload()?;
        for _ in 0..rounds {
            call_standard_library()?;
            call_wasi()?;
        }
        host.log(Level::Info, &format!("{rounds} rounds, all refused"));
        Ok(Vec::new())
    }
}

fn must(refused: bool, what: &str) -> Result<(), Error> {
    if refused {
        return Ok(());
    }
    Err(Error::Failed(format!("{what} was not refused")))
}

/// What an agent's author would try.
fn call_standard_library() -> Result<(), Error> {
    must(std::fs::read("/etc/shadow").is_err(), "reading a file")?;
    must(std::fs::write("/tmp/x", "x").is_err(), "writing a file")?;
    must(std::fs::read_dir("/").is_err(), "reading a directory")?;
    must(std::fs::create_dir("/tmp/y").is_err(), "a new directory")?;
    let denied = |kind: ErrorKind| kind == ErrorKind::PermissionDenied;
    let connected = std::net::TcpStream::connect("127.0.0.1:22");
    must(
        connected.is_err_and(|error| denied(error.kind())),
        "a connection",
    )?;
    let bound = std::net::UdpSocket::bind("127.0.0.1:0");
    must(
        bound.is_err_and(|error| denied(error.kind())),
        "a UDP socket",
    )
}

/// The calls themselves, with the errors that their interfaces name.
#[cfg(target_family = "wasm")]
fn call_wasi() -> Result<(), Error> {
    use wasip2::http::outgoing_handler;
    use wasip2::http::types::{
        ErrorCode as HttpError, Fields, HeaderError, OutgoingRequest, OutgoingResponse,
    };
    use wasip2::sockets::network::{ErrorCode, IpAddressFamily};
    use wasip2::sockets::{instance_network, ip_name_lookup, tcp_create_socket, udp_create_socket};

    must(
        wasip2::filesystem::preopens::get_directories().is_empty(),
        "a directory",
    )?;
    let denied = |error: ErrorCode| error == ErrorCode::AccessDenied;
    for family in [IpAddressFamily::Ipv4, IpAddressFamily::Ipv6] {
        must(
            tcp_create_socket::create_tcp_socket(family).is_err_and(denied),
            "a TCP socket",
        )?;
        must(
            udp_create_socket::create_udp_socket(family).is_err_and(denied),
            "a UDP socket",
        )?;
    }
    let network = instance_network::instance_network();
    must(
        ip_name_lookup::resolve_addresses(&network, "localhost").is_err_and(denied),
        "a lookup",
    )?;
    let fields = Fields::new();
    must(
        fields
            .append("name", b"value")
            .is_err_and(|error| matches!(error, HeaderError::Forbidden)),
        "a header",
    )?;
    let list = [("name".to_owned(), vec![0; 1000])];
    must(Fields::from_list(&list).is_err(), "a list of headers")?;
    must(fields.entries().is_empty(), "an entry")?;
    let request = OutgoingRequest::new(fields);
    must(request.set_authority(Some("host")).is_err(), "an authority")?;
    must(request.body().is_err(), "a body")?;
    drop(request.headers());
    must(
        outgoing_handler::handle(request, None)
            .is_err_and(|error| matches!(error, HttpError::HttpRequestDenied)),
        "a request",
    )?;
    let response = OutgoingResponse::new(Fields::new());
    must(response.status_code() == 0, "a status")
}

#[cfg(not(target_family = "wasm"))]
fn call_wasi() -> Result<(), Error> {
    must(false, "a call outside a component")
}

/// Keeps resources until the host says no more.
#[cfg(target_family = "wasm")]
fn hoard() {
    let mut kept = Vec::new();
    loop {
        kept.push(wasip2::http::types::Fields::new());
    }
}

#[cfg(not(target_family = "wasm"))]
fn hoard() {}

ark_guest::export_agent!(Files);
