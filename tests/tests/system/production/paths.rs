//! Options that name a path: each that is wrong is named with its path and with what to give, before anything is done.

use std::process::{Command, Stdio};

use ark_tests::{Client, TestDir, ark_program};

/// A command, and what is told of it. NONE is a path where nothing is, BELOW one in a directory that is not there, DIR a directory, DATA the data directory
/// of the host at URL.
type WrongPath = (&'static [&'static str], &'static [&'static str]);

#[rustfmt::skip]
const WRONG_PATHS: [WrongPath; 22] = [
    (&["validate", "--url", "URL", "--junit", "BELOW"], &["--junit BELOW: No such file", "name a file in a directory that is there"]),
    (&["validate", "--url", "URL", "--junit", "DIR"], &["--junit DIR: Is a directory", "name a file in a directory that is there"]),
    (&["validate", "--url", "URL", "--junit", "BELOW", "--dry-run"], &["--junit BELOW: there is no directory", "make it, or name a file"]),
    (&["validate", "--url", "URL", "--junit", "DIR", "--dry-run"], &["--junit DIR: it is a directory", "name a file"]),
    (&["validate", "--url", "URL", "--data-dir", "NONE"], &["--data-dir NONE: there is no such directory", "give the directory of the host's data"]),
    (&["validate", "--url", "URL", "--data-dir", "NONE", "--dry-run"], &["--data-dir NONE: there is no such directory", "give the directory of the host's data"]),
    (&["validate", "--url", "URL", "--data-dir", "DIR", "--dry-run"], &["--data-dir DIR: the database ark.db in it: No such file", "give the directory of the host's data"]),
    (&["validate", "--url", "URL", "--submitter-token-file", "NONE"], &["--submitter-token-file NONE: there is no such file", "give the file that holds the token"]),
    (&["validate", "--url", "URL", "--journal", "/proc/none/x"], &["the journal /proc/none/x: ", "give another place with --journal"]),
    (&["validate", "--url", "URL", "--token-file", "NONE"], &["--token-file NONE: there is no such file", "give the file that holds the bearer token"]),
    (&["validate", "--url", "https://127.0.0.1:9", "--ca", "NONE"], &["--ca NONE cannot be read: ", "give a PEM file"]),
    (&["synthetic", "--url", "URL", "--duration", "8", "--hz", "2", "--violation-every", "4", "--journal", "/proc/none/x"], &["the journal /proc/none/x: ", "give another place with --journal"]),
    (&["synthetic", "--url", "URL", "--duration", "8", "--hz", "2", "--violation-every", "4", "--token-file", "NONE"], &["--token-file NONE: there is no such file", "give the file that holds the bearer token"]),
    (&["health", "--config", "NONE"], &["the configuration file NONE cannot be read", "correct --config"]),
    (&["health", "--env-file", "NONE"], &["--env-file NONE: No such file", "name a file that this user can read"]),
    (&["health", "--url", "https://127.0.0.1:9", "--ca", "NONE"], &["--ca NONE cannot be read: ", "give a PEM file"]),
    (&["check", "--data-dir", "DATA", "--config", "NONE"], &["the configuration file NONE cannot be read", "correct --config"]),
    (&["check", "--data-dir", "DATA", "--env-file", "NONE"], &["--env-file NONE: No such file", "name the file that its service has"]),
    (&["front", "--owner", "URL", "--config", "NONE"], &["the configuration file NONE cannot be read", "correct --config"]),
    (&["front", "--owner", "URL", "--env-file", "NONE"], &["--env-file NONE: No such file", "name a file that this user can read"]),
    (&["front", "--owner", "URL", "--token-file", "NONE"], &["NONE: the token for the owner cannot be read", "correct front.token_file (--token-file)"]),
    (&["front", "--owner", "https://127.0.0.1:9", "--owner-ca", "NONE"], &["NONE: the authority of the owner cannot be read", "correct front.owner_ca (--owner-ca)"]),
];

#[test]
fn a_path_that_is_wrong_is_named_with_its_option_and_a_remedy_before_anything_is_done() {
    let dir = TestDir::new("");
    let host = dir.start();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::create_dir(path("directory")).expect("a directory");
    let url = format!("http://{}", host.address);
    let fill_in = |text: &str| {
        text.replace("NONE", &path("none"))
            .replace("BELOW", &path("some/missing/y.xml"))
            .replace("DIR", &path("directory"))
            .replace("DATA", &dir.data().display().to_string())
            .replace("URL", &url)
    };
    let mut wrong = Vec::new();
    for (arguments, expected) in WRONG_PATHS {
        let arguments: Vec<String> = arguments.iter().map(|text| fill_in(text)).collect();
        let output = Command::new(ark_program())
            .args(&arguments)
            .env("XDG_STATE_HOME", path("state"))
            .stdin(Stdio::null())
            .output()
            .expect("ark starts");
        // `ark check` prints its lines, every other command an error.
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told).into_owned();
        let is_told = expected.iter().all(|part| told.contains(&fill_in(part)));
        if output.status.success() || !is_told {
            wrong.push(format!("{arguments:?}: {:?}: {told}", output.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!dir.path().join("some").exists(), "nothing is made");
    let mut client = Client::new(&host);
    let (status, probe) = client.get("/v1/agents/validation-probe");
    assert_eq!(status, 404, "no validation began: {probe}");
    assert_eq!(host.terminate(), Some(0));
}
