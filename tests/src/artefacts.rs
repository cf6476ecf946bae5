//! What `cargo xtask test` builds before it runs the tests: the program, agents and policies.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::encoding::sha256;

/// Returns the path of a file of this checkout.
#[must_use]
pub fn checkout_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Returns the text of a file of this checkout.
///
/// # Panics
/// It cannot be read.
#[must_use]
pub fn read_checkout_file(path: &str) -> String {
    let path = checkout_path(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the path of a file that the build makes.
///
/// # Panics
/// It is not built.
fn require_built(path: &str) -> PathBuf {
    let path = checkout_path(path);
    assert!(
        path.exists(),
        "{} is not built; run the tests with `cargo xtask test`",
        path.display()
    );
    path
}

/// Returns the directory that tests share for what cargo makes on the way to an agent or a policy (`CARGO_BUILD_BUILD_DIR`): the SDK's dependencies are
/// built once. `cargo xtask test` begins with none. A test of what a newcomer waits for does not use it.
#[must_use]
pub fn author_build_dir() -> PathBuf {
    let root = checkout_path(".");
    root.canonicalize()
        .unwrap_or(root)
        .join("target/tmp/author-builds")
}

/// Returns the path of the program under test.
///
/// # Panics
/// It is not built.
#[must_use]
pub fn ark_program() -> PathBuf {
    require_built("target/debug/ark")
}

/// Returns the path of the newer version of the program, whose faults the file that [`FAULT_VARIABLE`] names switches on.
///
/// # Panics
/// It is not built.
#[must_use]
pub fn newer_program() -> PathBuf {
    require_built("target/debug/ark-next")
}

/// The variable that names the file with the fault of a newer version (`host/server/src/faults.rs`).
pub const FAULT_VARIABLE: &str = "TEST_ARK_FAULT_FILE";

/// Runs `ark` to its end.
///
/// # Panics
/// It cannot be started.
#[must_use]
pub fn run_ark(args: &[&str]) -> Output {
    Command::new(ark_program())
        .args(args)
        .output()
        .expect("ark starts")
}

/// Judges every recorded decision of a data directory again, all of which must come out the same. Returns the report.
///
/// # Panics
/// One comes out differently, or cannot be judged.
#[must_use]
pub fn replay_decisions(data: &Path) -> Value {
    let data = data.display().to_string();
    let output = run_ark(&["audit", "replay", "--json", "--data-dir", &data]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert!(output.status.success(), "{report}");
    report
}

/// Returns the directory of the example agents.
///
/// # Panics
/// They are not built.
#[must_use]
pub fn guests_dir() -> PathBuf {
    require_built("target/guests/kyle.wasm").with_file_name("")
}

/// Returns the directory of the hostile agents.
///
/// # Panics
/// They are not built.
#[must_use]
pub fn hostile_guests_dir() -> PathBuf {
    require_built("target/guests-hostile/chaos.wasm").with_file_name("")
}

/// Returns the directory of the example policies.
///
/// # Panics
/// They are not built.
#[must_use]
pub fn policies_dir() -> PathBuf {
    require_built("target/policies/market-hours.wasm").with_file_name("")
}

/// Copies an agent (component and manifest) into a directory.
///
/// # Panics
/// It cannot be copied.
pub fn copy_agent(from: &Path, name: &str, to: &Path) {
    std::fs::create_dir_all(to).expect("the agents' directory");
    for extension in ["wasm", "toml"] {
        let file = format!("{name}.{extension}");
        std::fs::copy(from.join(&file), to.join(&file)).expect("an agent's file");
    }
}

/// Writes a copy of an agent that has another name: its last characters (two, or as many as the number has digits) become the number, in
/// the component's bytes and in the manifest. The copy subscribes to `topic` alone. Returns the new name.
///
/// # Panics
/// The component does not hold its name exactly once, or cannot be read or written.
#[must_use]
pub fn copy_numbered(from: &Path, name: &str, number: u32, topic: &str, to: &Path) -> String {
    let component = std::fs::read(from.join(format!("{name}.wasm"))).expect("a component");
    let manifest = std::fs::read_to_string(from.join(format!("{name}.toml"))).expect("a manifest");
    let line = |key: &str| {
        let prefix = format!("{key} = ");
        let line = manifest.lines().find(|line| line.starts_with(&prefix));
        line.expect("a line of the manifest").to_owned()
    };
    let old = line("name").replace("name = ", "").replace('"', "");
    let digits = format!("{number:02}");
    let new = format!("{}{digits}", &old[..old.len() - digits.len()]);
    let component = replace_once(&component, &old, &new);
    let file = format!("{name}-{number:02}");
    let manifest = manifest
        .replace(&line("name"), &format!("name = \"{new}\""))
        .replace(&line("component"), &format!("component = \"{file}.wasm\""))
        .replace(&line("topics"), &format!("topics = [\"{topic}\"]"))
        .replace(
            &line("sha256"),
            &format!("sha256 = \"{}\"", sha256(&component)),
        );
    std::fs::create_dir_all(to).expect("the agents' directory");
    std::fs::write(to.join(format!("{file}.wasm")), component).expect("a component");
    std::fs::write(to.join(format!("{file}.toml")), manifest).expect("a manifest");
    new
}

/// Returns the bytes with the one occurrence of a text replaced by another of the same length.
///
/// # Panics
/// The text does not occur exactly once, or the lengths differ.
#[must_use]
pub fn replace_once(bytes: &[u8], old: &str, new: &str) -> Vec<u8> {
    assert_eq!(old.len(), new.len(), "{old} and {new} differ in length");
    let places: Vec<usize> = bytes
        .windows(old.len())
        .enumerate()
        .filter(|(_, window)| *window == old.as_bytes())
        .map(|(place, _)| place)
        .collect();
    assert_eq!(places.len(), 1, "{old} occurs {} times", places.len());
    let mut bytes = bytes.to_vec();
    bytes[places[0]..places[0] + new.len()].copy_from_slice(new.as_bytes());
    bytes
}

/// Returns another component that does the same: with one more custom section, whose two bytes are `mark`.
#[must_use]
pub fn mark_component(mut bytes: Vec<u8>, mark: u8) -> Vec<u8> {
    // Section 0 of four bytes: a name of one character, and two bytes.
    bytes.extend([0, 4, 1, b'x', mark, mark]);
    bytes
}
