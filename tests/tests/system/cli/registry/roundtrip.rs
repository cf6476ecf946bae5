//! What is pushed to a real registry is what is pulled from it, unless somebody has changed it there.

use std::path::Path;

use ark_tests::registry::{DockerRegistry, REGISTRY_PASSWORD, REGISTRY_USER};
use ark_tests::{Host, base64, copy_agent, guests_dir, policies_dir, sha256};
use serde_json::{Value, json};

use super::{ark, ark_with, assert_refused, digest_of, first_line, list_files, text};

/// The manifest that the registry keeps under this digest.
fn manifest_of(registry: &DockerRegistry, reference: &str) -> Value {
    serde_json::from_slice(&registry.read_blob(digest_of(reference))).expect("JSON")
}

fn read_file(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("a file")
}

#[test]
fn an_agent_is_pulled_as_it_was_pushed_and_serves() {
    let registry = DockerRegistry::start();
    let dir = tempfile::tempdir().expect("a directory");
    let here = dir.path();
    copy_agent(&guests_dir(), "kenny", here);
    let tagged = format!("{}/desk/kenny:1.0.0", registry.address);
    let pushed = first_line(&ark(here, &["agent", "push", "kenny.toml", &tagged]));
    assert!(pushed.starts_with(&format!("{}/desk/kenny@sha256:", registry.address)));
    assert_eq!(
        digest_of(&pushed),
        registry.read_tag("desk/kenny", "1.0.0"),
        "the printed digest is the registry's"
    );
    let again = first_line(&ark(here, &["agent", "push", "kenny.toml", &tagged]));
    assert_eq!(again, pushed, "the same agent is the same artifact");

    // What other tools of WebAssembly require: one configuration and one layer, of these types.
    let manifest = manifest_of(&registry, &pushed);
    let component = read_file(&here.join("kenny.wasm"));
    assert_eq!(
        manifest["config"]["mediaType"],
        "application/vnd.wasm.config.v0+json"
    );
    let layers = manifest["layers"].as_array().expect("layers");
    assert_eq!(layers.len(), 1, "{manifest:#}");
    assert_eq!(layers[0]["mediaType"], "application/wasm");
    assert_eq!(
        layers[0]["digest"],
        format!("sha256:{}", sha256(&component))
    );
    let config = manifest["config"]["digest"].as_str().expect("a digest");
    let config = registry.read_blob(config.trim_start_matches("sha256:"));
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    assert_eq!(config["os"], "wasip2", "{config:#}");
    assert_eq!(config["layerDigests"], json!([layers[0]["digest"]]));
    let exports = config["component"]["exports"].as_array().expect("exports");
    assert!(exports.contains(&json!("handle")), "{config:#}");

    for (to, reference) in [("by-tag", &tagged), ("by-digest", &pushed)] {
        let pulled = ark(here, &["agent", "pull", reference, "--dir", to]);
        assert_eq!(first_line(&pulled), pushed, "{}", text(&pulled));
        assert_eq!(list_files(&here.join(to)), ["kenny.toml", "kenny.wasm"]);
        assert_eq!(read_file(&here.join(to).join("kenny.wasm")), component);
        let written = std::fs::read_to_string(here.join(to).join("kenny.toml")).expect("a file");
        assert!(
            written.contains(&format!("# {pushed}")) || written.contains(&format!("from {pushed}")),
            "{written}"
        );
        let original = std::fs::read_to_string(here.join("kenny.toml")).expect("a file");
        assert!(written.ends_with(&original), "{written}");
    }
    let again = ark(here, &["agent", "pull", &pushed, "--dir", "by-tag"]);
    assert_refused(&again, "exists already");
    let host = Host::start(
        &here.join("data"),
        &["--agents", here.join("by-digest").to_str().expect("UTF-8")],
    );
    assert_eq!(super::list_agents(&host), ["kenny"]);
}

#[test]
fn a_component_alone_gets_its_manifest_when_it_is_pulled() {
    let registry = DockerRegistry::start();
    let dir = tempfile::tempdir().expect("a directory");
    let here = dir.path();
    copy_agent(&guests_dir(), "kyle", here);
    std::fs::create_dir(here.join("dist")).expect("a directory");
    std::fs::rename(here.join("kyle.wasm"), here.join("dist/found.wasm")).expect("a file");
    let reference = format!("{}/kyle", registry.address);
    // A directory with the component in its `dist`, and no tag.
    let pushed = first_line(&ark(here, &["agent", "push", ".", &reference]));
    assert!(manifest_of(&registry, &pushed)["annotations"]["ark.manifest.toml"].is_null());
    let asked = ark(here, &["agent", "pull", &reference, "--dir", "asked"]);
    assert_refused(&asked, "--topic");
    assert_eq!(list_files(&here.join("asked")), Vec::<String>::new());
    let pulled = ark(
        here,
        &[
            "agent", "pull", &reference, "--dir", "granted", "--topic", "a.b", "--grant", "none",
        ],
    );
    assert_eq!(first_line(&pulled), pushed);
    let manifest = std::fs::read_to_string(here.join("granted/kyle.toml")).expect("a file");
    let component = sha256(&read_file(&here.join("granted/kyle.wasm")));
    for line in [
        format!("# Pulled from {reference}:latest, which was"),
        format!("# {pushed}"),
        format!("sha256 = \"{component}\""),
        "topics = [\"a.b\"]".to_owned(),
    ] {
        assert!(manifest.lines().any(|it| it == line), "{line}: {manifest}");
    }
}

#[test]
fn a_policy_is_pulled_as_it_was_pushed() {
    let registry = DockerRegistry::start();
    let dir = tempfile::tempdir().expect("a directory");
    let here = dir.path();
    let component = read_file(&policies_dir().join("symbol-allowlist.wasm"));
    std::fs::write(here.join("list.wasm"), &component).expect("a file");
    let reference = format!("{}/policies/list:2", registry.address);
    let pushed = first_line(&ark(here, &["policy", "push", "list.wasm", &reference]));
    let pulled = ark(here, &["policy", "pull", &pushed, "--dir", "bare"]);
    assert_eq!(first_line(&pulled), pushed);
    let files = ["symbol-allowlist.toml", "symbol-allowlist.wasm"];
    assert_eq!(list_files(&here.join("bare")), files);
    assert_eq!(read_file(&here.join("bare").join(files[1])), component);
    // A manifest with settings goes along.
    let manifest = format!(
        "name = \"symbol-allowlist\"\ncomponent = \"list.wasm\"\nsha256 = \"{}\"\nmode = \"shadow\"\norder = 7\n",
        sha256(&component)
    );
    std::fs::write(here.join("list.toml"), &manifest).expect("a file");
    first_line(&ark(here, &["policy", "push", "list.toml", &reference]));
    first_line(&ark(
        here,
        &["policy", "pull", &reference, "--dir", "whole"],
    ));
    let written =
        std::fs::read_to_string(here.join("whole/symbol-allowlist.toml")).expect("a file");
    assert!(written.ends_with(&manifest), "{written}");
    // Neither is taken for the other.
    let agent = ark(here, &["agent", "pull", &reference, "--dir", "agent"]);
    assert_refused(
        &agent,
        &format!("{}/policies/list@sha256:", registry.address),
    );
    let agent = ark(here, &["agent", "push", "list.wasm", &reference]);
    assert_refused(&agent, "a host would refuse it");
    assert_eq!(list_files(&here.join("agent")), Vec::<String>::new());
}

#[test]
fn altered_artifacts_of_a_registry_are_refused() {
    let registry = DockerRegistry::start();
    let dir = tempfile::tempdir().expect("a directory");
    let here = dir.path();
    copy_agent(&guests_dir(), "kenny", here);
    let reference = format!("{}/kenny:1", registry.address);
    let pushed = first_line(&ark(here, &["agent", "push", "kenny.toml", &reference]));
    let component = read_file(&here.join("kenny.wasm"));
    let file = registry.blob_file(&sha256(&component));
    let mut changed = component.clone();
    *changed.last_mut().expect("a byte") ^= 1;
    let pull = |reference: &str| ark(here, &["agent", "pull", reference, "--dir", "pulled"]);
    for (bytes, reason) in [
        (changed, "was asked for"),
        (component[..component.len() - 1].to_vec(), "are stated"),
        (Vec::new(), "are stated"),
    ] {
        std::fs::write(&file, bytes).expect("a blob");
        assert_refused(&pull(&pushed), reason);
        assert_refused(&pull(&reference), reason);
    }
    std::fs::remove_file(&file).expect("a blob");
    assert_refused(&pull(&pushed), "not in the registry");
    std::fs::write(&file, &component).expect("a blob");
    // The manifest with other grants: anyone who asks for the digest gets none, and nobody learns it from the tag.
    let manifest = registry.blob_file(digest_of(&pushed));
    let original = std::fs::read_to_string(&manifest).expect("a manifest");
    let changed = original.replacen("kenny", "jenny", 1);
    std::fs::write(&manifest, changed).expect("a manifest");
    assert_refused(&pull(&pushed), digest_of(&pushed));
    std::fs::write(&manifest, original).expect("a manifest");
    assert_eq!(list_files(&here.join("pulled")), Vec::<String>::new());
    assert_eq!(first_line(&pull(&pushed)), pushed);
}

#[test]
fn references_without_a_digest_are_refused_where_one_is_required() {
    let registry = DockerRegistry::start();
    let dir = tempfile::tempdir().expect("a directory");
    let here = dir.path();
    copy_agent(&guests_dir(), "kenny", here);
    let tagged = format!("{}/kenny:1", registry.address);
    let pushed = first_line(&ark(here, &["agent", "push", "kenny.toml", &tagged]));
    let flagged = ["agent", "pull", &tagged, "--require-digest"];
    assert_refused(&ark(here, &flagged), "has no digest");
    let strict = [("ARK_REQUIRE_DIGEST", "true")];
    let plain = ["agent", "pull", &tagged];
    assert_refused(&ark_with(here, &plain, &strict), "has no digest");
    let pinned = ["agent", "pull", &pushed, "--dir", "pinned"];
    assert_eq!(first_line(&ark_with(here, &pinned, &strict)), pushed);
    let to_digest = ["agent", "push", "kenny.toml", &pushed];
    assert_refused(&ark(here, &to_digest), "give a tag");
    for (reference, reason) in [
        ("kenny:1", "the registry is missing"),
        ("https://registry.example/kenny", "without https://"),
        ("registry.example/Kenny", "the name consists of"),
    ] {
        assert_refused(&ark(here, &["agent", "pull", reference]), reason);
    }
    let missing = format!("{}/kenny:2", registry.address);
    assert_refused(
        &ark(here, &["agent", "pull", &missing]),
        "not in the registry",
    );
}

#[test]
fn credentials_come_from_files_and_open_a_registry() {
    let registry = DockerRegistry::start_with_password();
    let dir = tempfile::tempdir().expect("a directory");
    let here = dir.path();
    copy_agent(&guests_dir(), "kenny", here);
    let reference = format!("{}/kenny:1", registry.address);
    let push = ["agent", "push", "kenny.toml", &reference];
    assert_refused(&ark(here, &push), "docker login");
    std::fs::write(here.join("password"), format!("{REGISTRY_PASSWORD}\n")).expect("a file");
    std::fs::write(here.join("wrong"), "wrong").expect("a file");
    let with = |file| {
        let mut args = push.to_vec();
        args.extend(["--username", REGISTRY_USER, "--password-file", file]);
        ark(here, &args)
    };
    assert_refused(&with("wrong"), "(401");
    let pushed = first_line(&with("password"));
    // What `docker login` and `podman login` write.
    let pair = base64(format!("{REGISTRY_USER}:{REGISTRY_PASSWORD}").as_bytes());
    let address = &registry.address;
    let config = json!({"auths": {address: {"auth": pair}}}).to_string();
    std::fs::create_dir(here.join("docker")).expect("a directory");
    std::fs::write(here.join("docker/config.json"), &config).expect("a file");
    std::fs::write(here.join("auth.json"), &config).expect("a file");
    let path = |name: &str| here.join(name).to_str().expect("UTF-8").to_owned();
    for (name, value) in [
        ("DOCKER_CONFIG", path("docker")),
        ("REGISTRY_AUTH_FILE", path("auth.json")),
    ] {
        let pull = ["agent", "pull", &reference, "--dir", name];
        let pulled = ark_with(here, &pull, &[(name, &value)]);
        assert_eq!(first_line(&pulled), pushed);
    }
    let other = json!({"auths": {"registry.example": {"auth": pair}}}).to_string();
    std::fs::write(here.join("auth.json"), other).expect("a file");
    let pull = ["agent", "pull", &reference, "--dir", "other"];
    let pulled = ark_with(here, &pull, &[("REGISTRY_AUTH_FILE", &path("auth.json"))]);
    assert_refused(&pulled, "docker login");
    std::fs::write(here.join("auth.json"), "no JSON").expect("a file");
    let pulled = ark_with(here, &pull, &[("REGISTRY_AUTH_FILE", &path("auth.json"))]);
    assert_refused(&pulled, "REGISTRY_AUTH_FILE");
}
