//! Clients that generators make from the document: in Python (`openapi-python-client`) and in TypeScript (`openapi-typescript` with `openapi-fetch`,
//! compiled by `tsc`). Each goes through a whole flow against a real host. Any warning of a generator fails the test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ark_tests::{Client, Host, TestDir, make_token};

fn resolve_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn run_successfully(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}\n{}\n{}",
        shown(&output.stdout),
        shown(&output.stderr)
    );
    output
}

/// A host with a caller who proposes and another who approves, and its document in a file.
fn start_host() -> (TestDir, Host, PathBuf, [String; 2]) {
    let dir = TestDir::new("");
    let root = make_token(&dir.data(), "root", "admin", &[]);
    let desk = make_token(
        &dir.data(),
        "desk",
        "submitter",
        &["--agent", "api", "--actions", "*"],
    );
    let officer = make_token(&dir.data(), "officer", "approver", &[]);
    let host = dir.start();
    let document = dir.path().join("openapi.json");
    let text = Client::with_token(&host, &root).get_text("/openapi.json");
    std::fs::write(&document, text).expect("the document");
    (dir, host, document, [desk, officer])
}

#[test]
fn a_generated_python_client_goes_through_a_flow() {
    let programs = resolve_path("../target/venv-clients/bin");
    assert!(
        programs.join("python").exists(),
        "the generator of clients is not installed; run the tests with `cargo xtask test`"
    );
    let (dir, host, document, tokens) = start_host();
    let package = dir.path().join("python");
    std::fs::create_dir(&package).expect("a directory");
    run_successfully(
        Command::new(programs.join("openapi-python-client"))
            .args(["generate", "--fail-on-warning", "--meta", "none"])
            .arg("--path")
            .arg(&document)
            .arg("--config")
            .arg(resolve_path("clients/python/config.yml"))
            .arg("--output-path")
            .arg(package.join("ark_client")),
    );
    let output = run_successfully(
        Command::new(programs.join("python"))
            .arg(resolve_path("clients/python/flow.py"))
            .arg(format!("http://{}", host.address))
            .args(&tokens)
            .env("PYTHONPATH", &package),
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "done");
}

#[test]
fn a_generated_typescript_client_compiles_and_goes_through_a_flow() {
    let (dir, host, document, tokens) = start_host();
    let project = dir.path().join("typescript");
    std::fs::create_dir(&project).expect("a directory");
    for file in [
        "package.json",
        "package-lock.json",
        "tsconfig.json",
        "flow.ts",
    ] {
        std::fs::copy(
            resolve_path("clients/typescript").join(file),
            project.join(file),
        )
        .expect("a copy");
    }
    run_successfully(
        Command::new("npm")
            .args(["ci", "--ignore-scripts", "--prefer-offline"])
            .args(["--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(&project),
    );
    run_successfully(
        Command::new("node")
            .arg("node_modules/openapi-typescript/bin/cli.js")
            .arg(&document)
            .args(["--output", "api.d.ts"])
            .current_dir(&project),
    );
    run_successfully(
        Command::new("node")
            .arg("node_modules/typescript/bin/tsc")
            .current_dir(&project),
    );
    let output = run_successfully(
        Command::new("node")
            .arg("out/flow.js")
            .arg(format!("http://{}", host.address))
            .args(&tokens)
            .current_dir(&project),
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "done");
}
