//! Agents and policies by way of an OCI registry: a real one, and ones that send what no registry should.

mod demanded;
mod hostile;
mod roundtrip;
mod signatures;

use std::path::Path;
use std::process::{Command, Output};

use ark_tests::{Client, Host, ark_program};

/// Runs `ark` in a directory that is its home too.
fn ark(dir: &Path, args: &[&str]) -> Output {
    ark_with(dir, args, &[])
}

/// As [`ark`], with environment variables.
fn ark_with(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(ark_program())
        .args(args)
        .current_dir(dir)
        .env("HOME", dir)
        .env_remove("DOCKER_CONFIG")
        .env_remove("REGISTRY_AUTH_FILE")
        .env_remove("ARK_REQUIRE_DIGEST")
        .envs(variables.iter().copied())
        .output()
        .expect("ark starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The first line that a command prints, which must succeed.
fn first_line(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    let printed = String::from_utf8_lossy(&output.stdout);
    printed.lines().next().expect("a line").to_owned()
}

/// Checks that a command fails and says why.
fn assert_refused(output: &Output, reason: &str) {
    let printed = text(output);
    assert!(!output.status.success(), "{printed}");
    assert!(printed.contains(reason), "{reason:?} is not in: {printed}");
}

/// The digest of a reference `REGISTRY/NAME@sha256:DIGEST`.
fn digest_of(reference: &str) -> &str {
    let (_, digest) = reference.split_once("@sha256:").expect("a digest");
    digest
}

/// The names in a directory; none if there is no directory.
fn list_files(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

/// The names of the agents that serve.
fn list_agents(host: &Host) -> Vec<String> {
    let (status, answer) = Client::new(host).get("/v1/agents");
    assert_eq!(status, 200, "{answer}");
    let agents = answer["agents"].as_array().expect("agents");
    let names = agents.iter().filter_map(|agent| agent["name"].as_str());
    names.map(str::to_owned).collect()
}
