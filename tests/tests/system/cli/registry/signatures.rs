//! Signatures in cosign's layout: made and verified by `ark` and by OpenSSL.

use std::path::Path;
use std::process::Command;

use ark_tests::registry::{DockerRegistry, make_key_pair};
use ark_tests::{copy_agent, guests_dir};
use serde_json::{Value, json};

use super::{ark, assert_refused, digest_of, first_line, list_files, text};

/// Whether OpenSSL verifies a signature.
fn openssl_verifies(
    dir: &Path,
    algorithm: &str,
    key: &str,
    signature: &[u8],
    message: &[u8],
) -> bool {
    std::fs::write(dir.join("signature.bin"), signature).expect("a file");
    std::fs::write(dir.join("message.bin"), message).expect("a file");
    let arguments: &[&str] = match algorithm {
        "ed25519" => &[
            "pkeyutl",
            "-verify",
            "-rawin",
            "-pubin",
            "-inkey",
            key,
            "-sigfile",
            "signature.bin",
            "-in",
            "message.bin",
        ],
        _ => &[
            "dgst",
            "-sha256",
            "-verify",
            key,
            "-signature",
            "signature.bin",
            "message.bin",
        ],
    };
    let verified = Command::new("openssl")
        .args(arguments)
        .current_dir(dir)
        .output();
    verified.expect("openssl starts").status.success()
}

/// The bytes of a text in base64.
fn decode_base64(text: &str) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(["base64", "-d", "-A"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            use std::io::Write;
            if let Some(mut input) = child.stdin.take() {
                input.write_all(text.trim().as_bytes())?;
            }
            child.wait_with_output()
        })
        .expect("openssl starts");
    assert!(output.status.success(), "{text}");
    output.stdout
}

#[test]
fn only_what_a_named_key_signed_is_pulled() {
    let registry = DockerRegistry::start();
    let dir = tempfile::tempdir().expect("a directory");
    let here = dir.path();
    for (name, algorithm) in [("own", "ed25519"), ("desk", "p256"), ("other", "ed25519")] {
        make_key_pair(here, name, algorithm);
    }
    copy_agent(&guests_dir(), "kenny", here);
    copy_agent(&guests_dir(), "kyle", here);
    let unsigned = format!("{}/kenny:unsigned", registry.address);
    first_line(&ark(here, &["agent", "push", "kyle.toml", &unsigned]));
    let pull = |reference: &str, to: &str, keys: &[&str]| {
        let mut args = vec!["agent", "pull", reference, "--dir", to];
        for key in keys {
            args.extend(["--verify-key", key]);
        }
        ark(here, &args)
    };
    assert_refused(&pull(&unsigned, "pulled", &["own.pub"]), "is not signed");

    for (key, algorithm) in [("own", "ed25519"), ("desk", "p256")] {
        let signed = format!("{}/{key}/kenny:1", registry.address);
        let private = format!("{key}.key");
        let public = format!("{key}.pub");
        let push = [
            "agent",
            "push",
            "kenny.toml",
            &signed,
            "--sign-key",
            &private,
        ];
        let pushed = first_line(&ark(here, &push));
        assert_refused(
            &pull(&signed, "pulled", &["other.pub"]),
            "no valid signature",
        );
        let pulled = pull(&signed, key, &["other.pub", &public]);
        assert_eq!(first_line(&pulled), pushed);
        assert!(
            text(&pulled).contains("is signed by the key"),
            "{}",
            text(&pulled)
        );
        assert_eq!(
            list_files(&here.join(key)),
            ["kenny.toml", "kenny.wasm", "kenny.wasm.sig"]
        );
        // Where cosign looks for it, and as cosign reads it.
        let tag = format!("sha256-{}.sig", digest_of(&pushed));
        let name = format!("{key}/kenny");
        let manifest = registry.read_blob(&registry.read_tag(&name, &tag));
        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        let layer = &manifest["layers"][0];
        assert_eq!(
            layer["mediaType"],
            "application/vnd.dev.cosign.simplesigning.v1+json"
        );
        let digest = layer["digest"].as_str().expect("a digest");
        let payload = registry.read_blob(digest.trim_start_matches("sha256:"));
        let said: Value = serde_json::from_slice(&payload).expect("JSON");
        assert_eq!(
            said["critical"],
            json!({
                "identity": {"docker-reference": format!("{}/{name}", registry.address)},
                "image": {"docker-manifest-digest": format!("sha256:{}", digest_of(&pushed))},
                "type": "cosign container image signature",
            })
        );
        let signature = layer["annotations"]["dev.cosignproject.cosign/signature"].as_str();
        let signature = decode_base64(signature.expect("a signature"));
        assert!(openssl_verifies(
            here, algorithm, &public, &signature, &payload
        ));
        assert!(!openssl_verifies(
            here, algorithm, &public, &signature, b"other"
        ));
        // The same signature says nothing of another artifact.
        let moved = format!("{}/{name}:moved", registry.address);
        let other = first_line(&ark(here, &["agent", "push", "kyle.toml", &moved]));
        let other_tag = format!("sha256-{}.sig", digest_of(&other));
        registry.move_tag(&name, &other_tag, &registry.read_tag(&name, &tag));
        assert_refused(
            &pull(&moved, "pulled", &[&public]),
            "the signature is for the artifact",
        );
    }
    // A second signature stands beside the first.
    let signed = format!("{}/own/kenny:1", registry.address);
    let push = [
        "agent",
        "push",
        "kenny.toml",
        &signed,
        "--sign-key",
        "desk.key",
    ];
    first_line(&ark(here, &push));
    for key in ["own", "desk"] {
        let public = format!("{key}.pub");
        first_line(&pull(&signed, &format!("both-{key}"), &[&public]));
    }
    assert_eq!(list_files(&here.join("pulled")), Vec::<String>::new());
}

#[test]
fn a_component_is_signed_beside_it_and_openssl_verifies_that() {
    let dir = tempfile::tempdir().expect("a directory");
    let here = dir.path();
    copy_agent(&guests_dir(), "kenny", here);
    let component = std::fs::read(here.join("kenny.wasm")).expect("a component");
    for algorithm in ["ed25519", "p256"] {
        make_key_pair(here, algorithm, algorithm);
        let key = format!("{algorithm}.key");
        first_line(&ark(here, &["agent", "sign", "kenny.toml", "--key", &key]));
        let signature = std::fs::read_to_string(here.join("kenny.wasm.sig")).expect("a file");
        let signature = decode_base64(&signature);
        let public = format!("{algorithm}.pub");
        assert!(openssl_verifies(
            here, algorithm, &public, &signature, &component
        ));
    }
    for (key, reason) in [
        ("ed25519.pub", "BEGIN PRIVATE KEY"),
        ("missing.key", "missing.key"),
    ] {
        let signed = ark(here, &["agent", "sign", "kenny.wasm", "--key", key]);
        assert_refused(&signed, reason);
    }
    let reference = "127.0.0.1:1/kenny";
    let pulled = ark(
        here,
        &["agent", "pull", reference, "--verify-key", "p256.key"],
    );
    assert_refused(&pulled, "BEGIN PUBLIC KEY");
    let sealed = "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nZGF0YQ==\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n";
    std::fs::write(here.join("cosign.key"), sealed).expect("a file");
    let signed = ark(
        here,
        &["agent", "sign", "kenny.wasm", "--key", "cosign.key"],
    );
    assert_refused(&signed, "cosign sign");
}
