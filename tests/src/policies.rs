//! Operator policies under test: the moody one, which answers as its settings ask, and the two that ARK ships.

use serde_json::{Value, json};

use crate::artefacts::{checkout_path, mark_component, replace_once};
use crate::client::Client;
use crate::encoding::{base64, sha256};

/// Returns the name of the moody policy with this number.
#[must_use]
pub fn moody_name(number: u8) -> String {
    format!("policy-that-answers-as-its-settings-ask-{number:02}")
}

/// Returns the component of the moody policy with this number. Another `mark` gives another component that does the same.
///
/// # Panics
/// It is not built, or does not hold its name exactly once.
#[must_use]
pub fn moody_component(number: u8, mark: u8) -> Vec<u8> {
    let bytes = read_built("target/policies-test/moody.wasm");
    mark_component(
        replace_once(&bytes, &moody_name(0), &moody_name(number)),
        mark,
    )
}

/// Returns the component of one of the policies in `policies/`.
///
/// # Panics
/// It is not built.
#[must_use]
pub fn read_policy(name: &str) -> Vec<u8> {
    read_built(&format!("target/policies/{name}.wasm"))
}

fn read_built(path: &str) -> Vec<u8> {
    let path = checkout_path(path);
    std::fs::read(&path).unwrap_or_else(|error| {
        let path = path.display();
        panic!("{path}: {error}; run the tests with `cargo xtask test`")
    })
}

/// Returns the body of an upload: the component, its digest, and further fields.
#[must_use]
pub fn upload_of(component: &[u8], more: &Value) -> Value {
    let mut body = json!({"component": base64(component), "sha256": sha256(component)});
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

/// Sends a change of a policy. Returns status and body of the answer.
///
/// # Panics
/// The host does not answer.
pub fn send(client: &mut Client, method: &str, name: &str, body: &Value) -> (u16, Value) {
    client.send(method, &format!("/v1/policies/{name}"), body)
}

/// Uploads a component that the host must accept. Returns the body of the answer.
///
/// # Panics
/// The host refuses it.
pub fn put(client: &mut Client, name: &str, component: &[u8], more: &Value) -> Value {
    let (status, answer) = send(client, "PUT", name, &upload_of(component, more));
    assert_eq!(status, 200, "{answer}");
    answer
}
