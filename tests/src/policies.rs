//! Operator policies under test: the moody one, which answers as its settings ask, and the real ones.

use std::path::Path;

use serde_json::{Value, json};

use crate::{Client, base64, sha256};

/// The name of the moody policy with this number.
#[must_use]
pub fn moody_name(number: u8) -> String {
    format!("policy-that-answers-as-its-settings-ask-{number:02}")
}

/// The component of the moody policy with this number. Another `mark` is another component that does the same.
///
/// # Panics
/// It is not built, or does not hold its name exactly once.
#[must_use]
pub fn moody(number: u8, mark: u8) -> Vec<u8> {
    let mut bytes = read("target/policies-test/moody.wasm");
    let (old, new) = (moody_name(0), moody_name(number));
    let place = place_of(&bytes, old.as_bytes());
    bytes[place..place + new.len()].copy_from_slice(new.as_bytes());
    // Section 0 of four bytes: a name of one character, and two bytes.
    bytes.extend([0, 4, 1, b'x', mark, mark]);
    bytes
}

/// The component of one of the policies in `policies/`.
///
/// # Panics
/// It is not built.
#[must_use]
pub fn policy(name: &str) -> Vec<u8> {
    read(&format!("target/policies/{name}.wasm"))
}

/// The same bytes with one place changed.
///
/// # Panics
/// The place is not there exactly once, or the change is longer or shorter.
#[must_use]
pub fn changed(bytes: &[u8], old: &str, new: &str) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let place = place_of(bytes, old.as_bytes());
    let mut bytes = bytes.to_vec();
    bytes[place..place + new.len()].copy_from_slice(new.as_bytes());
    bytes
}

fn place_of(bytes: &[u8], wanted: &[u8]) -> usize {
    let places: Vec<usize> = bytes
        .windows(wanted.len())
        .enumerate()
        .filter(|(_, window)| *window == wanted)
        .map(|(place, _)| place)
        .collect();
    let shown = String::from_utf8_lossy(wanted);
    assert_eq!(places.len(), 1, "{shown} is there {} times", places.len());
    places[0]
}

fn read(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read(&path).unwrap_or_else(|error| {
        let path = path.display();
        panic!("{path}: {error}; run the tests with `cargo xtask test`")
    })
}

/// The body of an upload.
#[must_use]
pub fn upload_of(component: &[u8], more: &Value) -> Value {
    let mut body = json!({"component": base64(component), "sha256": sha256(component)});
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

/// Sends a change of a policy; status and answer.
///
/// # Panics
/// The host does not answer.
pub fn send(client: &mut Client, method: &str, name: &str, body: &Value) -> (u16, Value) {
    let json = [("Content-Type", "application/json")];
    let path = format!("/v1/policies/{name}");
    let (status, _, answer) = client
        .request(method, &path, &json, body.to_string().as_bytes())
        .expect("an answer");
    (
        status,
        serde_json::from_slice(&answer).unwrap_or(Value::Null),
    )
}

/// Uploads a component, which must be taken.
///
/// # Panics
/// It is refused.
pub fn put(client: &mut Client, name: &str, component: &[u8], more: &Value) -> Value {
    let (status, answer) = send(client, "PUT", name, &upload_of(component, more));
    assert_eq!(status, 200, "{answer}");
    answer
}
