//! What is refused at load, and why; the host and the other agents serve on.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use ark_tests::artefacts::checkout_path;
use ark_tests::{Client, Host, copy_agent, guests_dir, hostile_guests_dir, run_ark, trade};
use serde_json::json;

/// Copies kyle under another file name, with his component changed and the manifest's digest (when `fix`) made to fit.
fn spoil_agent(dir: &Path, name: &str, fix: bool, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let component = change(std::fs::read(guests_dir().join("kyle.wasm")).expect("kyle"));
    std::fs::write(dir.join(format!("{name}.wasm")), &component).expect("a component");
    let manifest =
        std::fs::read_to_string(guests_dir().join("kyle.toml")).expect("kyle's manifest");
    let digest = digest_of(&dir.join(format!("{name}.wasm")));
    let lines = manifest.lines().map(|line| match line.split_once(" = ") {
        Some(("component", _)) => format!("component = \"{name}.wasm\""),
        Some(("sha256", _)) if fix => format!("sha256 = \"{digest}\""),
        _ => line.to_owned(),
    });
    std::fs::write(
        dir.join(format!("{name}.toml")),
        lines.collect::<Vec<_>>().join("\n"),
    )
    .expect("a manifest");
}

fn digest_of(path: &Path) -> String {
    let output = std::process::Command::new("sha256sum")
        .arg(path)
        .output()
        .expect("sha256sum");
    String::from_utf8_lossy(&output.stdout)
        .split(' ')
        .next()
        .expect("a digest")
        .to_owned()
}

fn edit_manifest(dir: &Path, agent: &str, name: &str, change: impl FnOnce(String) -> String) {
    let manifest =
        std::fs::read_to_string(guests_dir().join(format!("{agent}.toml"))).expect("a manifest");
    let component = format!("{agent}.wasm");
    if !dir.join(&component).exists() {
        std::fs::copy(guests_dir().join(&component), dir.join(&component)).expect("a component");
    }
    std::fs::write(dir.join(format!("{name}.toml")), change(manifest)).expect("a manifest");
}

#[test]
fn each_bad_component_is_refused_with_its_reason_and_the_good_one_serves() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("agents");
    copy_agent(&guests_dir(), "kyle", &dir);
    spoil_agent(&dir, "foreign", true, |_| {
        let import =
            r#"(component (import "acme:vault/keys@0.2.0" (instance (export "open" (func)))))"#;
        wat::parse_str(import).expect("a component")
    });
    let graveyard = std::fs::read(checkout_path("policies/graveyard.wasm")).expect("the Graveyard");
    spoil_agent(&dir, "text", true, |_| b"this is no component".to_vec());
    spoil_agent(&dir, "core", true, |_| b"\0asm\x01\0\0\0".to_vec());
    spoil_agent(&dir, "truncated", true, |bytes| {
        bytes[..bytes.len() / 2].to_vec()
    });
    spoil_agent(&dir, "flipped", true, |mut bytes| {
        let middle = bytes.len() / 3;
        bytes[middle..middle + 64]
            .iter_mut()
            .for_each(|byte| *byte ^= 0x55);
        bytes
    });
    spoil_agent(&dir, "huge", true, |mut bytes| {
        bytes.resize(100 << 20, 0);
        bytes
    });
    spoil_agent(&dir, "other", false, |mut bytes| {
        bytes.push(0);
        bytes
    });
    spoil_agent(&dir, "world", true, |_| graveyard);
    edit_manifest(&dir, "joey", "unknown-key", |manifest| {
        manifest.replace("topics", "topix")
    });
    edit_manifest(&dir, "joey", "loose", |manifest| {
        manifest.replace("fuel = 20_000_000", "fuel = 20_000_000_000")
    });
    edit_manifest(&dir, "joey", "misnamed", |manifest| {
        manifest.replace("name = \"joey\"", "name = \"jo\"")
    });
    edit_manifest(&dir, "joey", "absent", |manifest| {
        manifest.replace("joey.wasm", "nowhere.wasm")
    });
    let host = Host::start(
        &temp.path().join("data"),
        &["--agents", dir.to_str().expect("UTF-8")],
    );
    let mut client = Client::new(&host);
    let (_, agents) = client.get("/v1/agents");
    let names: Vec<&str> = agents["agents"]
        .as_array()
        .expect("agents")
        .iter()
        .filter_map(|agent| agent["name"].as_str())
        .collect();
    assert_eq!(names, ["kyle"], "{agents:#}");
    let refused = agents["refused"].as_array().expect("refusals");
    for (name, reason) in [
        ("text", "not a WebAssembly component"),
        ("core", "core WebAssembly module"),
        ("truncated", "malformed"),
        ("flipped", "malformed"),
        ("huge", "67108864 are allowed"),
        ("other", "SHA-256"),
        ("world", "it is a policy"),
        ("unknown-key", "topix"),
        ("loose", "limits.fuel"),
        ("misnamed", "metadata says name"),
        ("absent", "nowhere.wasm"),
        ("foreign", "acme:vault/keys@0.2.0#open"),
    ] {
        let manifest = format!("{name}.toml");
        let entry = refused.iter().find(|entry| {
            entry["manifest"]
                .as_str()
                .is_some_and(|path| path.ends_with(&manifest))
        });
        let entry = entry.unwrap_or_else(|| panic!("{name} was not refused: {agents:#}"));
        assert!(
            entry["reason"]
                .as_str()
                .is_some_and(|text| text.contains(reason)),
            "{name}: {entry}"
        );
    }
    let (status, answer) = client.post("/v1/actions", &trade("BTC-USD", 0.05));
    assert_eq!((status, &answer["outcome"]), (200, &json!("approved")));
}

#[test]
fn a_graveyard_that_is_not_the_pinned_one_keeps_the_host_from_starting() {
    let temp = tempfile::tempdir().expect("a directory");
    let original = checkout_path("policies/graveyard.wasm");
    let module = |name: &str, mode: u32, change: fn(&mut Vec<u8>)| {
        let path = temp.path().join(name);
        let mut bytes = std::fs::read(&original).expect("the Graveyard");
        change(&mut bytes);
        std::fs::write(&path, bytes).expect("a module");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        path
    };
    let good = module("good.wasm", 0o444, |_| {});
    let changed = module("changed.wasm", 0o444, |bytes| bytes[5000] ^= 1);
    let writable = module("writable.wasm", 0o644, |_| {});
    let link = temp.path().join("link.wasm");
    symlink(&good, &link).expect("a link");
    for (path, reason) in [
        (&changed, "the pin is"),
        (&writable, "chmod 0444"),
        (&link, "not a regular file"),
    ] {
        let path = path.to_str().expect("UTF-8");
        let refused = Host::try_start(&temp.path().join("data"), &["--graveyard", path])
            .err()
            .expect("a refusal");
        assert!(
            refused.contains(reason) && refused.contains(path),
            "{refused}"
        );
        let verified = run_ark(&["graveyard", "verify", path]);
        assert!(
            !verified.status.success()
                && String::from_utf8_lossy(&verified.stderr).contains(reason)
        );
    }
    let host = Host::start(
        &temp.path().join("data"),
        &["--graveyard", good.to_str().expect("UTF-8")],
    );
    assert_eq!(
        Client::new(&host).get("/v1/graveyard").1["pin_holds"],
        json!(true)
    );
}

#[test]
fn inspect_says_what_a_component_is_and_why_it_would_be_refused() {
    let kyle = guests_dir().join("kyle.wasm");
    let output = run_ark(&["inspect", "--json", kyle.to_str().expect("UTF-8")]);
    let seen: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&seen["world"], &seen["refused_as_agent"]),
        (&json!("ark:agent/agent"), &json!([]))
    );
    assert_eq!(seen["sha256"], json!(digest_of(&kyle)));
    let files = hostile_guests_dir().join("files.wasm");
    let output = run_ark(&["inspect", files.to_str().expect("UTF-8")]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("wasi:filesystem"));
    assert!(!run_ark(&["inspect", "/etc/hostname"]).status.success());
}
