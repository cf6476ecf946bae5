//! What the environment does to `ark`: empty variables, proxies, variables of an orchestrator; and what a user learns of a host that does not answer.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};

use ark_tests::{Host, TestDir, ark_program, guests_dir, hostile_guests_dir, make_token, wait_for};

/// Every variable that clients take a proxy from.
const PROXY_VARIABLES: [&str; 6] = [
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
];

fn run_ark_with(args: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(ark_program())
        .args(args)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("ark starts")
}

fn read_stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A proxy that notes the first line of each request and answers none.
struct RecordingProxy {
    listener: TcpListener,
    url: String,
}

impl RecordingProxy {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        Self { listener, url }
    }

    fn variables(&self) -> Vec<(&str, &str)> {
        PROXY_VARIABLES
            .map(|name| (name, self.url.as_str()))
            .to_vec()
    }

    /// Whether a program that has ended was connected.
    fn was_asked(&self) -> bool {
        match self.listener.accept() {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits for a connection, and not forever.
fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).expect("a socket");
    let (stream, _) = wait_for("a connection", || listener.accept().ok());
    stream.set_nonblocking(false).expect("a socket");
    stream
}

/// Reads a request's head, and closes the connection.
fn take_request(listener: &TcpListener) -> String {
    read_head(&mut BufReader::new(&accept(listener)))
}

fn read_head(stream: &mut BufReader<&TcpStream>) -> String {
    let mut head = String::new();
    for line in stream.lines() {
        let line = line.expect("a line");
        if line.is_empty() {
            break;
        }
        head = format!("{head}{line}\n");
    }
    head
}

#[test]
fn this_machine_is_reached_directly_and_a_token_leaves_it_only_under_tls() {
    let dir = TestDir::new("");
    let host = dir.start();
    let here = format!("http://{}", host.address);
    let proxy = RecordingProxy::start();
    let list = ["agent", "list"];
    for token in [None, Some("ark_secret")] {
        let mut environment = proxy.variables();
        environment.push(("ARK_URL", &here));
        environment.extend(token.map(|token| ("ARK_TOKEN", token)));
        let output = run_ark_with(&list, &environment);
        // A host that has no tokens asks for none.
        assert!(output.status.success(), "{}", read_stderr(&output));
        assert!(!proxy.was_asked());
    }

    for url in ["http://ark.example:8000", "http://192.0.2.1:8000"] {
        for proxies in [proxy.variables(), Vec::new()] {
            let mut environment = proxies;
            environment.extend([("ARK_URL", url), ("ARK_TOKEN", "ark_secret")]);
            let output = run_ark_with(&list, &environment);
            assert_eq!(output.status.code(), Some(1));
            assert!(
                read_stderr(&output).contains("https://"),
                "{}",
                read_stderr(&output)
            );
            assert!(!proxy.was_asked());
        }
    }
}

#[test]
fn a_proxy_is_used_for_other_machines_and_never_reads_a_token() {
    let first = "CONNECT ark.example:8000";
    for (url, token) in [
        ("http://ark.example:8000", None),
        ("https://ark.example:8000", Some("ark_secret")),
    ] {
        for name in PROXY_VARIABLES {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let proxy = format!("http://{}", listener.local_addr().expect("an address"));
            let mut environment = vec![(name, proxy.as_str()), ("ARK_URL", url)];
            environment.extend(token.map(|token| ("ARK_TOKEN", token)));
            let (head, output) = std::thread::scope(|scope| {
                let head = scope.spawn(|| take_request(&listener));
                let output = run_ark_with(&["agent", "list"], &environment);
                (head.join().expect("a request"), output)
            });
            assert!(head.starts_with(first), "{name}: {head}");
            assert!(!head.contains("ark_secret"), "{name}: {head}");
            assert_eq!(output.status.code(), Some(1));
            assert!(
                read_stderr(&output).contains("proxy"),
                "{}",
                read_stderr(&output)
            );
        }
    }
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    // All that there are: those that the program documents, and one for each key of the configuration.
    let docs = run_ark_with(&["config", "docs"], &[]);
    let docs = String::from_utf8(docs.stdout).expect("UTF-8");
    let keys = run_ark_with(&["config", "show", "--json"], &[]);
    let keys = String::from_utf8(keys.stdout).expect("UTF-8");
    let words = [docs.as_str(), keys.as_str()].into_iter();
    let mut names: BTreeSet<&str> = words
        .flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .filter(|word| word.starts_with("ARK_"))
        .collect();
    names.insert("USER");
    for name in [
        "ARK_URL",
        "ARK_TOKEN",
        "ARK_CA",
        "ARK_LOG",
        "ARK_DATA_DIR",
        "ARK_CONFIG",
    ] {
        assert!(names.contains(name), "{name}");
    }
    let mut empty: Vec<(&str, &str)> = names.iter().map(|name| (*name, "")).collect();

    let dir = TestDir::new("");
    let token = make_token(&dir.data(), "root", "admin", &[]);
    let arguments = ["--config", &dir.config().display().to_string()];
    let host = Host::try_start_with(&dir.data(), &arguments, &empty).expect("it starts");
    let token_file = dir.path().join("token");
    std::fs::write(&token_file, format!("{token}\n")).expect("a file");
    let token_file = token_file.display().to_string();
    let url = format!("http://{}", host.address);

    empty.retain(|(name, _)| *name != "ARK_TOKEN_FILE");
    empty.push(("ARK_TOKEN_FILE", &token_file));
    let listed = run_ark_with(&["token", "list", "--url", &url], &empty);
    assert!(listed.status.success(), "{}", read_stderr(&listed));

    // A flag comes before a variable that says something.
    let environment = [("ARK_TOKEN", "ark_wrong"), ("ARK_URL", url.as_str())];
    let listed = run_ark_with(
        &["token", "list", "--token-file", &token_file],
        &environment,
    );
    assert!(listed.status.success(), "{}", read_stderr(&listed));
    let listed = run_ark_with(&["token", "list"], &environment);
    assert!(
        read_stderr(&listed).contains("401"),
        "{}",
        read_stderr(&listed)
    );

    // Without a name in USER it is the default one.
    let data_dir = dir.path().join("offline").display().to_string();
    let made = run_ark_with(
        &[
            "token",
            "create",
            "--role",
            "reader",
            "--name",
            "r1",
            "--data-dir",
            &data_dir,
        ],
        &[&empty[..], &[("HOME", "/")]].concat(),
    );
    assert!(!made.status.success(), "a first token is an admin's");
    let url = String::from("http://127.0.0.1:1");
    let absent = run_ark_with(&["agent", "list"], &[("ARK_URL", &url), ("USER", "")]);
    assert!(
        read_stderr(&absent).contains("no host answers"),
        "{}",
        read_stderr(&absent)
    );
}

#[test]
fn variables_of_an_orchestrator_do_not_stop_the_start() {
    let dir = TestDir::new("");
    let arguments = ["--config", &dir.config().display().to_string()];
    let environment = [
        ("ARK_PORT", "tcp://10.0.0.1:8080"),
        ("ARK_SERVICE_HOST", "10.0.0.1"),
        ("ARK_SERVICE_PORT", "8080"),
        ("ARK_SERVICE_PORT_HTTP", "8080"),
        ("ARK_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("ARK_PORT_8080_TCP_PROTO", "tcp"),
        ("ARK_PORT_8080_TCP_PORT", "8080"),
        ("ARK_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("ARK_REDIS_SERVICE_HOST", "10.0.0.2"),
    ];
    let host = Host::try_start_with(&dir.data(), &arguments, &environment).expect("it starts");
    assert_eq!(host.terminate(), Some(0));
    let mistyped = Host::try_start_with(&dir.data(), &arguments, &[("ARK_PORT", "8080")]);
    let Err(refusal) = mistyped else {
        panic!("a port that somebody set is no variable of an orchestrator");
    };
    assert!(refusal.contains("ARK_PORT"), "{refusal}");
    let mistyped = Host::try_start_with(&dir.data(), &arguments, &[("ARK_LOG", "info,,=x=")]);
    let Err(refusal) = mistyped else {
        panic!("what is no filter is refused");
    };
    assert!(refusal.contains("ARK_LOG"), "{refusal}");
}

#[test]
fn a_host_that_breaks_off_is_not_called_absent() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let manifest = guests_dir().join("kyle.toml").display().to_string();
    let (head, output) = std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let connection = accept(&listener);
            let mut stream = BufReader::new(&connection);
            let head = read_head(&mut stream);
            // The whole body is read, then the connection ends in the middle of the answer.
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_lowercase()
                        .strip_prefix("content-length: ")?
                        .parse()
                        .ok()
                })
                .expect("a length");
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("the body");
            (&connection).write_all(b"HTTP/1.1 200").expect("an answer");
            head
        });
        let output = run_ark_with(&["agent", "upload", &manifest, "--url", &url], &[]);
        (server.join().expect("a request"), output)
    });
    assert!(head.starts_with("PUT /v1/agents/kyle"), "{head}");
    assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
    let said = read_stderr(&output);
    assert!(!said.contains("no host answers"), "{said}");
    assert!(
        said.contains("is not known") && said.contains("ark agent show"),
        "{said}"
    );
}

#[test]
fn imports_are_read_before_compilation() {
    // Its code is not valid, which compiling it would find first.
    let component = wat::parse_str(
        "(component (import \"wasi:filesystem/preopens@0.2.0\" (instance (export \"get-directories\" (func)))) \
         (core module (func (result i32))))",
    )
    .expect("a component");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("component.wasm");
    std::fs::write(&file, component).expect("a file");
    let inspected = run_ark_with(&["inspect", &file.display().to_string()], &[]);
    let shown = String::from_utf8_lossy(&inspected.stdout).into_owned();
    assert!(inspected.status.success(), "{}", read_stderr(&inspected));
    assert!(
        shown.contains("it imports wasi:filesystem/preopens@0.2.0#get-directories"),
        "{shown}"
    );
    let chaos = hostile_guests_dir()
        .join("chaos.wasm")
        .display()
        .to_string();
    let shown = run_ark_with(&["inspect", &chaos], &[]).stdout;
    assert!(String::from_utf8_lossy(&shown).contains("as an agent: would be loaded"));
}
