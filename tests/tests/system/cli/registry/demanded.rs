//! Hosts that take only what one of their keys signed.

use std::path::Path;

use ark_tests::registry::{DockerRegistry, make_key_pair};
use ark_tests::{Client, Host, TestDir, copy_agent, guests_dir, policies_dir, sha256};

use super::{ark, ark_with, assert_refused, first_line};

/// A directory with the keys `own` and `other`, and a host that demands `own`'s signature of agents and policies.
fn demanding_host() -> TestDir {
    let dir = TestDir::new("");
    for name in ["own", "other"] {
        make_key_pair(dir.path(), name, "ed25519");
    }
    demand_signature(&dir, "own", "");
    dir
}

fn demand_signature(dir: &TestDir, key: &str, more: &str) {
    let path = dir.path().join(format!("{key}.pub"));
    let path = path.display();
    dir.configure(&format!(
        "{more}\n[signatures]\nagents = [\"{path}\"]\npolicies = [\"{path}\"]\n"
    ));
}

fn sign_component(dir: &Path, path: &str, key: &str) {
    let key = format!("{key}.key");
    first_line(&ark(dir, &["agent", "sign", path, "--key", &key]));
}

/// Runs a command against a host.
fn ask_host(host: &Host, dir: &Path, args: &[&str]) -> std::process::Output {
    let url = format!("http://{}", host.address);
    ark_with(dir, args, &[("ARK_URL", &url)])
}

fn is_serving(host: &Host, agent: &str) -> bool {
    super::list_agents(host).iter().any(|name| name == agent)
}

#[test]
fn a_host_that_demands_signatures_takes_signed_agents_alone() {
    let dir = demanding_host();
    let here = dir.path();
    for name in ["kenny", "kyle", "joey", "id"] {
        copy_agent(&guests_dir(), name, &dir.agents());
    }
    sign_component(here, "agents/kenny.toml", "own");
    sign_component(here, "agents/joey.toml", "other");
    // A signature of another component.
    std::fs::copy(
        here.join("agents/kenny.wasm.sig"),
        here.join("agents/id.wasm.sig"),
    )
    .expect("a signature");
    let host = dir.start();
    for (agent, is_served) in [
        ("kenny", true),
        ("kyle", false),
        ("joey", false),
        ("id", false),
    ] {
        assert_eq!(is_serving(&host, agent), is_served, "{agent}");
    }

    copy_agent(&guests_dir(), "kyle", here);
    let upload = ["agent", "upload", "kyle.toml"];
    assert_refused(&ask_host(&host, here, &upload), "is not signed");
    sign_component(here, "kyle.toml", "other");
    assert_refused(&ask_host(&host, here, &upload), "none of the keys");
    std::fs::write(here.join("kyle.wasm.sig"), "no signature!").expect("a file");
    assert_refused(&ask_host(&host, here, &upload), "neither base64");
    assert!(!is_serving(&host, "kyle"));
    sign_component(here, "kyle.toml", "own");
    first_line(&ask_host(&host, here, &upload));
    assert!(is_serving(&host, "kyle"));

    // A kept version has its signature with it, and is checked at every start.
    let host = dir.restart_killed(&host);
    assert!(is_serving(&host, "kyle") && is_serving(&host, "kenny"));
    demand_signature(&dir, "other", "");
    let host = dir.restart_killed(&host);
    assert!(!is_serving(&host, "kyle") && !is_serving(&host, "kenny"));
    assert!(is_serving(&host, "joey"));
}

#[test]
fn a_host_that_demands_signatures_takes_signed_policies_alone() {
    let dir = demanding_host();
    let here = dir.path();
    let component = std::fs::read(policies_dir().join("symbol-allowlist.wasm")).expect("a policy");
    std::fs::write(here.join("list.wasm"), &component).expect("a file");
    let host = dir.start();
    let upload = ["policy", "upload", "list.wasm", "--shadow"];
    assert_refused(&ask_host(&host, here, &upload), "is not signed");
    sign_policy(here, "other");
    assert_refused(&ask_host(&host, here, &upload), "none of the keys");
    sign_policy(here, "own");
    first_line(&ask_host(&host, here, &upload));
    let (_, policies) = Client::new(&host).get("/v1/policies");
    assert!(
        policies.to_string().contains("symbol-allowlist"),
        "{policies}"
    );
    assert_eq!(host.terminate(), Some(0));

    // Files that declare a policy: in a directory, and in the configuration.
    let declared = here.join("declared");
    std::fs::create_dir(&declared).expect("a directory");
    std::fs::write(declared.join("list.wasm"), &component).expect("a file");
    let manifest = format!(
        "name = \"symbol-allowlist\"\ncomponent = \"list.wasm\"\nsha256 = \"{}\"\nmode = \"shadow\"\n",
        sha256(&component)
    );
    std::fs::write(declared.join("list.toml"), manifest).expect("a file");
    demand_signature(
        &dir,
        "own",
        &format!("policies_dir = \"{}\"", declared.display()),
    );
    let refused = dir.try_start().err().expect("an unsigned policy");
    assert!(refused.contains("is not signed"), "{refused}");
    let checked = ark(
        here,
        &["check", "--config", "ark.toml", "--data-dir", "data"],
    );
    assert_refused(&checked, "is not signed");
    std::fs::copy(here.join("list.wasm.sig"), declared.join("list.wasm.sig")).expect("a file");
    let host = dir.start();
    let (_, policies) = Client::new(&host).get("/v1/policies");
    assert!(
        policies.to_string().contains("symbol-allowlist"),
        "{policies}"
    );
}

fn sign_policy(dir: &Path, key: &str) {
    let key = format!("{key}.key");
    first_line(&ark(dir, &["policy", "sign", "list.wasm", "--key", &key]));
}

#[test]
fn a_pulled_component_is_accepted_by_a_host_that_demands_signatures() {
    let registry = DockerRegistry::start();
    let dir = demanding_host();
    let here = dir.path();
    copy_agent(&guests_dir(), "kenny", here);
    let reference = format!("{}/kenny:1", registry.address);
    let push = [
        "agent",
        "push",
        "kenny.toml",
        &reference,
        "--sign-key",
        "own.key",
    ];
    let pushed = first_line(&ark(here, &push));
    let pull = [
        "agent",
        "pull",
        &pushed,
        "--verify-key",
        "own.pub",
        "--dir",
        "agents",
    ];
    first_line(&ark(here, &pull));
    let host = dir.start();
    assert!(is_serving(&host, "kenny"));
    // The signature is for what was pulled, not for its name.
    let mut changed = std::fs::read(here.join("agents/kenny.wasm")).expect("a component");
    changed.extend([0, 3, 1, b'x', 0]);
    let manifest = std::fs::read_to_string(here.join("agents/kenny.toml")).expect("a manifest");
    let original = std::fs::read(here.join("kenny.wasm")).expect("a component");
    let manifest = manifest.replace(&sha256(&original), &sha256(&changed));
    std::fs::write(here.join("agents/kenny.wasm"), changed).expect("a component");
    std::fs::write(here.join("agents/kenny.toml"), manifest).expect("a manifest");
    let upload = ask_host(&host, here, &["agent", "upload", "agents/kenny.toml"]);
    assert_refused(&upload, "holds another component");
}

#[test]
fn a_key_that_cannot_be_used_ends_the_start_and_is_named() {
    let dir = demanding_host();
    std::fs::rename(dir.path().join("own.key"), dir.path().join("own.pub")).expect("a file");
    let refused = dir.try_start().err().expect("a private key");
    assert!(
        refused.contains("[signatures]") && refused.contains("BEGIN PUBLIC KEY"),
        "{refused}"
    );
    demand_signature(&dir, "missing", "");
    let refused = dir.try_start().err().expect("no key");
    assert!(refused.contains("missing.pub"), "{refused}");
}
