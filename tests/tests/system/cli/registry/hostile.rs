//! Registries that send too much, too little, or something else: what is refused, within bounds, and that nothing is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use ark_tests::registry::{FakeAnswer, FakeRegistry, REGISTRY_PASSWORD, REGISTRY_USER};
use ark_tests::{base64, guests_dir, sha256};
use serde_json::{Value, json};

use super::{ark, assert_refused, first_line, list_files};

const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn write_manifest(config: &str, layers: &[Value]) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "layers": layers,
        "config": {"mediaType": config, "digest": format!("sha256:{}", sha256(b"{}")), "size": 2},
    })
}

fn write_layer(media_type: &str, bytes: &[u8]) -> Value {
    let digest = format!("sha256:{}", sha256(bytes));
    json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
}

fn read_kenny() -> Vec<u8> {
    std::fs::read(guests_dir().join("kenny.wasm")).expect("a component")
}

/// A registry that gives this manifest under every tag, and these bytes under their own digest or the stated one.
fn serve_registry(manifest: impl Into<Vec<u8>>, blobs: Vec<(String, FakeAnswer)>) -> FakeRegistry {
    let manifest = manifest.into();
    let blobs: BTreeMap<String, FakeAnswer> = blobs.into_iter().collect();
    FakeRegistry::start(move |_, request| {
        if request.path.contains("/manifests/sha256-") {
            return FakeAnswer::of(404, "");
        }
        if request.path.contains("/manifests/") {
            return FakeAnswer::ok(manifest.clone());
        }
        let digest = request.path.rsplit(':').next().unwrap_or_default();
        let found = blobs.get(digest).cloned();
        found.unwrap_or_else(|| FakeAnswer::of(404, ""))
    })
}

/// What is refused of a manifest and what is served under its layer's digest.
struct HostileCase {
    manifest: Vec<u8>,
    blob: Option<FakeAnswer>,
    reason: &'static str,
}

fn of_manifest(manifest: &Value, reason: &'static str) -> HostileCase {
    HostileCase {
        manifest: manifest.to_string().into_bytes(),
        blob: None,
        reason,
    }
}

/// Cases in which the layer is kenny's, and something else is served.
fn of_blob(blob: FakeAnswer, reason: &'static str) -> HostileCase {
    let manifest = write_manifest(
        WASM_CONFIG,
        &[write_layer("application/wasm", &read_kenny())],
    );
    HostileCase {
        blob: Some(blob),
        ..of_manifest(&manifest, reason)
    }
}

/// Cases in which kenny is served with a manifest of its publisher's.
fn of_annotation(text: &str, reason: &'static str) -> HostileCase {
    let mut manifest = write_manifest(
        WASM_CONFIG,
        &[write_layer("application/wasm", &read_kenny())],
    );
    manifest["annotations"] = json!({"ark.manifest.toml": text});
    HostileCase {
        blob: Some(FakeAnswer::ok(read_kenny())),
        ..of_manifest(&manifest, reason)
    }
}

fn ark_manifest(component: &str, rest: &str) -> String {
    let digest = sha256(&read_kenny());
    format!(
        "name = \"kenny\"\nversion = \"1.0.0\"\ncomponent = \"{component}\"\nsha256 = \"{digest}\"\n{rest}"
    )
}

/// Manifests that are refused before anything else is asked for.
fn list_manifest_cases() -> Vec<HostileCase> {
    let kenny = read_kenny();
    let wasm = |bytes: &[u8]| write_layer("application/wasm", bytes);
    let mut huge = wasm(&kenny);
    huge["size"] = json!(65_u64 * 1024 * 1024);
    let mut endless_size = wasm(&kenny);
    endless_size["size"] = json!(u64::MAX);
    let mut other_digest = wasm(&kenny);
    other_digest["digest"] = json!("sha512:00");
    let mut traversing = wasm(&kenny);
    traversing["digest"] = json!("sha256:../../etc/passwd");
    let mut old = write_manifest(WASM_CONFIG, &[wasm(&kenny)]);
    old["schemaVersion"] = json!(1);
    let mut index = write_manifest(WASM_CONFIG, &[wasm(&kenny)]);
    index["mediaType"] = json!("application/vnd.oci.image.index.v1+json");
    let image = "application/vnd.oci.image.config.v1+json";
    let tar = "application/vnd.oci.image.layer.v1.tar+gzip";
    let many: Vec<Value> = (0_u32..4000).map(|n| wasm(&n.to_be_bytes())).collect();
    vec![
        of_manifest(
            &write_manifest(image, &[write_layer(tar, &kenny)]),
            "is no WebAssembly component",
        ),
        of_manifest(
            &write_manifest(WASM_CONFIG, &[write_layer(tar, &kenny)]),
            "its layer is",
        ),
        of_manifest(
            &write_manifest(image, &[wasm(&kenny)]),
            "its configuration is",
        ),
        of_manifest(&write_manifest(WASM_CONFIG, &[]), "0 layers"),
        of_manifest(
            &write_manifest(WASM_CONFIG, &[wasm(&kenny), wasm(&kenny)]),
            "2 layers",
        ),
        of_manifest(&write_manifest(WASM_CONFIG, &many), "4000 layers"),
        of_manifest(&write_manifest(WASM_CONFIG, &[huge]), "more than"),
        of_manifest(&write_manifest(WASM_CONFIG, &[endless_size]), "more than"),
        of_manifest(
            &write_manifest(WASM_CONFIG, &[other_digest]),
            "is no SHA-256",
        ),
        of_manifest(&write_manifest(WASM_CONFIG, &[traversing]), "is no SHA-256"),
        of_manifest(
            &write_manifest(WASM_CONFIG, &[wasm(&kenny)]),
            "not in the registry",
        ),
        of_manifest(&old, "of version 1"),
        of_manifest(&index, "image.index"),
        of_manifest(&json!([]), "cannot be read"),
        of_manifest(&json!("text\u{1b}[2J"), "cannot be read"),
        HostileCase {
            manifest: vec![b'['; 500_000],
            blob: None,
            reason: "cannot be read",
        },
        HostileCase {
            manifest: vec![b' '; 2 * 1024 * 1024],
            blob: None,
            reason: "more than 1048576 bytes",
        },
    ]
}

/// Layers and publishers' manifests that are refused.
fn list_content_cases() -> Vec<HostileCase> {
    let kenny = read_kenny();
    let mut changed = kenny.clone();
    changed[100] ^= 1;
    vec![
        of_blob(FakeAnswer::ok(changed), "was asked for"),
        of_blob(FakeAnswer::ok(&kenny[1..]), "are stated"),
        of_blob(FakeAnswer::ok(""), "are stated"),
        of_blob(FakeAnswer::endless(kenny.clone()), "more than"),
        of_blob(
            FakeAnswer::of(
                500,
                "{\"errors\":[{\"code\":\"BROKEN\",\"message\":\"a\\u001b[2Jb\"}]}",
            ),
            "BROKEN",
        ),
        of_blob(
            FakeAnswer::of(307, "").with_header("Location", "file:///etc/passwd"),
            "where no request is sent",
        ),
        of_blob(
            FakeAnswer::of(307, "").with_header("Location", "ftp://127.0.0.1/a"),
            "where no request is sent",
        ),
        of_blob(FakeAnswer::of(302, ""), "does not say where"),
        of_blob(
            FakeAnswer::of(302, "").with_header("Location", "/v2/a/blobs/again"),
            "not in the registry",
        ),
        of_annotation("text", "the manifest that"),
        of_annotation(
            &ark_manifest("../kenny.wasm", ""),
            "not the name of a component's file",
        ),
        of_annotation(
            &ark_manifest(".wasm", ""),
            "not the name of a component's file",
        ),
        of_annotation(
            &ark_manifest(".bashrc", ""),
            "not the name of a component's file",
        ),
        of_annotation(
            &ark_manifest("run.sh", ""),
            "not the name of a component's file",
        ),
        of_annotation(&ark_manifest("kenny.wasm", "grants = 1\n"), "would refuse"),
        of_annotation(
            &ark_manifest("kenny.wasm", "# \u{202e}\n"),
            "cannot be printed",
        ),
        of_annotation(
            &ark_manifest("kenny.wasm", "").replace("\"kenny\"", "\"kyle\""),
            "would refuse",
        ),
        of_annotation(
            &ark_manifest("kenny.wasm", "").replace(&sha256(&kenny), &sha256(b"")),
            "would refuse",
        ),
        of_annotation(
            &ark_manifest("kenny.wasm", "[limits]\nfuel = 1000000000000000\n"),
            "would refuse",
        ),
    ]
}

#[test]
fn malformed_registry_answers_are_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let digest = sha256(&read_kenny());
    for case in list_manifest_cases()
        .into_iter()
        .chain(list_content_cases())
    {
        let blobs = case.blob.map(|blob| (digest.clone(), blob));
        let registry = serve_registry(case.manifest, blobs.into_iter().collect());
        let reference = format!("{}/a", registry.address);
        let pulled = ark(
            dir.path(),
            &["agent", "pull", &reference, "--dir", "pulled"],
        );
        assert_refused(&pulled, case.reason);
        let printed = super::text(&pulled);
        assert!(!printed.contains('\u{1b}'), "{printed:?}");
        assert_eq!(
            list_files(&dir.path().join("pulled")),
            Vec::<String>::new(),
            "{}",
            case.reason
        );
    }
}

#[test]
fn endless_manifests_tokens_and_errors_are_read_up_to_a_limit() {
    let dir = tempfile::tempdir().expect("a directory");
    let here = dir.path();
    for (what, reason) in [
        ("manifest", "more than 1048576 bytes"),
        ("token", "more than 65536 bytes"),
        ("error", "(500)"),
        ("redirects", "redirects more than"),
    ] {
        let registry = FakeRegistry::start(move |own, request| {
            let is_token = request.path.starts_with("/token");
            match what {
                "manifest" => FakeAnswer::endless(vec![b' '; 4096]),
                "token" if is_token => FakeAnswer::endless(vec![b' '; 4096]),
                "token" => FakeAnswer::of(401, "").with_header(
                    "WWW-Authenticate",
                    format!("Bearer realm=\"http://{own}/token\",service=\"s\""),
                ),
                "error" => FakeAnswer::endless(vec![b' '; 4096]).with_status(500),
                _ => FakeAnswer::of(302, "").with_header("Location", request.path.clone()),
            }
        });
        let reference = format!("{}/a", registry.address);
        assert_refused(&ark(here, &["agent", "pull", &reference]), reason);
    }
    assert_eq!(list_files(here), Vec::<String>::new());
}

#[test]
fn a_file_that_is_no_component_is_refused_despite_a_right_digest() {
    let dir = tempfile::tempdir().expect("a directory");
    let module = b"\0asm\x01\0\0\0".to_vec();
    for bytes in [b"text".to_vec(), module, read_kenny()[..5000].to_vec()] {
        for kind in ["agent", "policy"] {
            let manifest = write_manifest(WASM_CONFIG, &[write_layer("application/wasm", &bytes)]);
            let blobs = vec![(sha256(&bytes), FakeAnswer::ok(bytes.clone()))];
            let registry = serve_registry(manifest.to_string(), blobs);
            let reference = format!("{}/a", registry.address);
            let pulled = ark(dir.path(), &[kind, "pull", &reference, "--dir", "pulled"]);
            assert_refused(&pulled, &reference);
            assert_eq!(list_files(&dir.path().join("pulled")), Vec::<String>::new());
        }
    }
}

#[test]
fn a_token_opens_the_registry_and_credentials_go_nowhere_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let here = dir.path();
    let kenny = Arc::new(read_kenny());
    let digest = sha256(&kenny);
    let served = Arc::clone(&kenny);
    // A storage to which the registry redirects.
    let storage = FakeRegistry::start(move |_, _| FakeAnswer::ok(served.as_slice()));
    let storage_address = storage.address.clone();
    let manifest =
        write_manifest(WASM_CONFIG, &[write_layer("application/wasm", &kenny)]).to_string();
    let registry = FakeRegistry::start(move |own, request| {
        if request.path.starts_with("/token") {
            return FakeAnswer::ok("{\"token\":\"abc\"}");
        }
        if request.authorization != "Bearer abc" {
            let challenge = format!("Bearer realm=\"http://{own}/token\",service=\"the registry\"");
            return FakeAnswer::of(401, "").with_header("WWW-Authenticate", challenge);
        }
        if request.path.contains("/manifests/") {
            return FakeAnswer::ok(manifest.clone());
        }
        let location = format!("http://{storage_address}/{digest}?signed=1");
        FakeAnswer::of(307, "").with_header("Location", location)
    });
    std::fs::write(here.join("password"), REGISTRY_PASSWORD).expect("a file");
    let reference = format!("{}/a/b:1", registry.address);
    let pulled = ark(
        here,
        &[
            "agent",
            "pull",
            &reference,
            "--topic",
            "a",
            "--grant",
            "none",
            "--username",
            REGISTRY_USER,
            "--password-file",
            "password",
        ],
    );
    first_line(&pulled);
    let pair = base64(format!("{REGISTRY_USER}:{REGISTRY_PASSWORD}").as_bytes());
    let tokens: Vec<_> = registry
        .requests()
        .into_iter()
        .filter(|request| request.path.starts_with("/token"))
        .collect();
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    assert_eq!(tokens[0].authorization, format!("Basic {pair}"));
    assert!(
        tokens[0].path.contains("scope=repository%3Aa%2Fb%3Apull"),
        "{tokens:?}"
    );
    assert!(
        tokens[0].path.contains("service=the%20registry"),
        "{tokens:?}"
    );
    let fetched = storage.requests();
    assert_eq!(fetched.len(), 1, "{fetched:?}");
    assert_eq!(
        fetched[0].authorization, "",
        "the token stays with the registry"
    );
}

#[test]
fn a_service_that_a_registry_leads_to_cannot_ask_for_its_credentials() {
    let dir = tempfile::tempdir().expect("a directory");
    let here = dir.path();
    std::fs::write(here.join("password"), REGISTRY_PASSWORD).expect("a file");
    for scheme in ["Basic", "Bearer"] {
        let other = FakeRegistry::start(move |own, request| {
            if request.path.starts_with("/token") {
                return FakeAnswer::ok("{\"token\":\"abc\"}");
            }
            let challenge = format!("{scheme} realm=\"http://{own}/token\"");
            FakeAnswer::of(401, "").with_header("WWW-Authenticate", challenge)
        });
        let address = other.address.clone();
        let registry = FakeRegistry::start(move |_, _| {
            let location = format!("http://{address}/elsewhere");
            FakeAnswer::of(307, "").with_header("Location", location)
        });
        let reference = format!("{}/a/b:1", registry.address);
        let pulled = ark(
            here,
            &[
                "agent",
                "pull",
                &reference,
                "--username",
                REGISTRY_USER,
                "--password-file",
                "password",
            ],
        );
        assert_refused(&pulled, "which asks for credentials");
        let asked = other.requests();
        assert_eq!(asked.len(), 1, "{scheme}: {asked:?}");
        assert_eq!(asked[0].authorization, "", "{scheme}");
    }
}
