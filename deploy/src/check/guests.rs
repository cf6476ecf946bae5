//! The Graveyard, the operator policies and the agents: what a start would load, by the host's own loaders.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ark_host::agents::{Ceiling, is_superseded, load_agent, load_from_directory, load_uploaded};
use ark_host::changes::{Signers, list_manifests};
use ark_host::policies::{BrokenVersion, check_policies};
use ark_model::policy::PolicyMode;
use ark_model::printable::format_count;
use ark_runtime::{Agent, Engine, EngineError, GraveyardSource, Manifest, Pin, PinnedGraveyard};
use ark_store::{ReadError, Reader};

use super::inputs::CheckInputs;
use super::line::CheckLines;
use super::settings::read_permissions;
use super::{Scope, describe_source};

/// The mode of a Graveyard's file.
const GRAVEYARD_MODE: u32 = 0o444;

/// The directories of agents and policies are there, and nobody else can change what is in them, declared policies and keys of signatures.
pub(super) fn check_agents_directory(inputs: &CheckInputs, lines: &mut CheckLines) {
    let config = &inputs.config;
    let directories = [
        ("agents_dir", config.agents_dir.as_ref()),
        ("policies_dir", config.policies_dir.as_ref()),
    ];
    for (key, dir) in directories {
        let Some(dir) = dir else { continue };
        let path = dir.display();
        match list_manifests(dir) {
            Err(error) => lines.add_error(
                format!("{key} {path}: {error}"),
                format!(
                    "make the directory readable for the user that runs the host, or correct {key}"
                ),
            ),
            Ok(manifests) => {
                let before = lines.found.len();
                inputs.host_user.check_files(dir, lines);
                check_manifests(key, dir, &manifests, lines);
                if lines.found.len() == before {
                    lines.add_ok(format!(
                        "{key} {path}: {}",
                        format_count(manifests.len(), "manifest", "manifests")
                    ));
                }
            }
        }
    }
    let declared = config.policies.iter().map(|policy| &policy.file);
    let keys = [&config.agent_signature_keys, &config.policy_signature_keys];
    for file in declared.chain(keys.into_iter().flatten()) {
        inputs.host_user.check_file(file, "go-w", lines);
    }
    for (key, files) in ["agents", "policies"].into_iter().zip(keys) {
        if let Err(error) = Signers::read(files) {
            lines.add_error(
                format!("signatures.{key}: {error}"),
                "give PEM files with public keys; the host would not start",
            );
        }
    }
    // Where they are loaded, the line `guests` has this.
    if inputs.scope == Scope::Configuration {
        let files = config.policies.iter().map(|policy| &policy.file);
        for file in files.filter(|file| !file.is_file()) {
            lines.add_error(
                format!("operator policy {}: there is no such file", file.display()),
                "correct its declaration, or put the file there; the host would not start",
            );
        }
    }
}

/// A directory has manifests, and each component in it has one, without which the host passes over it.
fn check_manifests(key: &str, dir: &Path, manifests: &[PathBuf], lines: &mut CheckLines) {
    let path = dir.display();
    // By their text: one that cannot be parsed has a line `guests`, and names its component all the same.
    let texts: Vec<String> = manifests
        .iter()
        .filter_map(|manifest| std::fs::read_to_string(manifest).ok())
        .collect();
    for component in list_components(dir) {
        let Some(name) = component.file_name().and_then(OsStr::to_str) else {
            continue;
        };
        let is_named = texts.iter().any(|text| {
            [format!("\"{name}\""), format!("'{name}'")]
                .iter()
                .any(|quoted| text.contains(quoted))
        });
        if !is_named {
            lines.add_warning(
                format!("{key} {path}: no manifest (*.toml) names the component {name}: the host passes over it"),
                format!("put a manifest beside it that names it (`component = \"{name}\"`), or take it away"),
            );
        }
    }
    if manifests.is_empty() {
        lines.add_warning(
            format!("{key} {path} has no manifest (*.toml): nothing is loaded from it"),
            format!(
                "put manifests with their components there, or leave {key} out if all are uploaded"
            ),
        );
    }
}

/// The components (`*.wasm`) of a directory, sorted.
fn list_components(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut components: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "wasm"))
        .collect();
    components.sort();
    components
}

/// The Graveyard is the pinned one, cannot be written to, and, where everything is checked, passes its test vectors on this machine.
pub(super) fn check_graveyard(inputs: &CheckInputs, lines: &mut CheckLines) {
    let source = &inputs.config.graveyard;
    let remedy = "install the released graveyard.wasm with mode 0444 (install -m 0444)";
    if inputs.scope == Scope::Configuration {
        let verified = Pin::compiled_in().and_then(|pin| {
            pin.verify_source(source)?;
            Ok(pin)
        });
        let pin = match verified {
            Ok(pin) => pin,
            Err(error) => return lines.add_error(error.to_string(), remedy),
        };
        if let GraveyardSource::File(path) = source {
            inputs.host_user.check_file(path, "0444", lines);
        }
        if lines.is_good() {
            lines.add_ok(format!(
                "{}: the pin {} holds",
                describe_source(source),
                pin.digest()
            ));
        }
        return;
    }
    let engine = match inputs.load_engine() {
        Ok(engine) => engine,
        Err(error) => {
            return lines.add_error(error.to_string(), name_engine_remedy(error));
        }
    };
    let loaded = Pin::compiled_in().and_then(|pin| {
        let graveyard = PinnedGraveyard::load(engine, source, pin)?;
        Ok((pin, graveyard))
    });
    let (pin, graveyard) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return lines.add_error(error.to_string(), remedy),
    };
    // Once: the identity is only kept for the checks of policies.
    let _ = inputs
        .graveyard
        .set(Arc::clone(graveyard.policy.identity()));
    if let GraveyardSource::File(path) = source {
        inputs.host_user.check_file(path, "0444", lines);
        if !lines.is_good() {
            return;
        }
    }
    if let GraveyardSource::File(path) = source
        && let Some(mode) = read_permissions(path).filter(|mode| *mode != GRAVEYARD_MODE)
    {
        return lines.add_warning(
            format!(
                "{} has mode {mode:04o}, not {GRAVEYARD_MODE:04o}",
                path.display()
            ),
            format!("chmod 0444 {}", path.display()),
        );
    }
    lines.add_ok(format!(
        "{}: the pin {} holds, {} test vectors pass",
        describe_source(source),
        pin.digest(),
        graveyard.vectors
    ));
}

/// What to do where there is no engine.
const fn name_engine_remedy(error: &EngineError) -> &'static str {
    match error {
        EngineError::UntrustedCache { .. } | EngineError::Cache { .. } => {
            "remove the directory of compiled modules (a start makes it again), or give it to the user that runs the host (chown -R, mode 0700)"
        }
        EngineError::Clock(_) | EngineError::Compilers(_) => {
            "let the user of the host have more threads (LimitNPROC=, TasksMax= in the unit; ulimit -u)"
        }
        EngineError::Start(_) => {
            "lift the limit of address space, if there is one (ulimit -v, LimitAS= in the unit): the pool of instances reserves it without using it; else run it on a machine and kernel that the release supports"
        }
    }
}

/// Every agent and operator policy that a start would load can be loaded.
pub(super) fn check_guests(inputs: &CheckInputs, lines: &mut CheckLines) {
    let Ok(engine) = inputs.load_engine() else {
        return lines.add_skipped(
            "nothing was loaded, since there is no engine to load it with",
            "see the line `graveyard`",
        );
    };
    let Ok(store) = inputs.open_database() else {
        return lines.add_skipped(
            "nothing was loaded, since what was uploaded is not known: the database cannot be opened",
            "see the line `database`",
        );
    };
    let store = store.as_deref();
    let agents = check_agents(inputs, engine, store, lines);
    let policies = check_operator_policies(inputs, engine, store, lines);
    if lines.is_good() {
        lines.add_ok(format!(
            "{} and {} can be loaded",
            format_count(agents, "agent", "agents"),
            format_count(policies, "operator policy", "operator policies")
        ));
    }
}

fn skip_uploaded(error: &ReadError, lines: &mut CheckLines) {
    lines.add_skipped(
        format!("what was uploaded cannot be read: {error}"),
        "see the line `database`; a database of an earlier version of ARK can be checked after its first start",
    );
}

/// Reads the keys that may sign; none of them where one cannot be used.
fn read_signers(key: &str, files: &[PathBuf], lines: &mut CheckLines) -> Signers {
    Signers::read(files).unwrap_or_else(|_| {
        lines.add_skipped(
            format!("signatures were not checked, since signatures.{key} cannot be used"),
            "see the line `agents-directory`",
        );
        Signers::default()
    })
}

/// Loads every agent that is to serve or on trial, as a start does. Returns how many serve.
fn check_agents(
    inputs: &CheckInputs,
    engine: &Engine,
    store: Option<&Reader>,
    lines: &mut CheckLines,
) -> usize {
    let rollouts = match store.map(Reader::all_rollouts).transpose() {
        Ok(rollouts) => rollouts.unwrap_or_default(),
        Err(error) => {
            skip_uploaded(&error, lines);
            return 0;
        }
    };
    let ceiling = Ceiling {
        limits: inputs.config.limits.clone(),
        quotas: inputs.config.quotas.agents.clone(),
        signers: read_signers("agents", &inputs.config.agent_signature_keys, lines),
    };
    let mut serving: BTreeMap<String, String> = BTreeMap::new();
    let mut add = |origin: String, agent: &Agent, lines: &mut CheckLines| {
        let manifest = agent.manifest();
        check_grants(inputs, &origin, manifest, lines);
        let name = manifest.name.to_string();
        if let Some(other) = serving.insert(name.clone(), origin.clone()) {
            lines.add_error(
                format!("{other} and {origin} name the same agent {name}"),
                "give one of them another name, or take it out: the host would not start",
            );
        }
    };
    let dir = inputs.config.agents_dir.as_deref();
    for path in list_directory(dir, lines) {
        if is_superseded(&path, &rollouts) {
            continue;
        }
        let origin = path.display().to_string();
        match load_agent(engine, &path, &ceiling) {
            Ok(agent) => add(origin, &agent, lines),
            Err(error) => lines.add_error(
                format!("agent {origin}: {error}"),
                "build it again (`ark agent build`), or take the manifest out; the host would leave it out",
            ),
        }
    }
    let Some(store) = store else {
        return serving.len();
    };
    for rollout in &rollouts {
        let name = &rollout.agent;
        if let Some(number) = rollout.serving.filter(|number| *number > 0) {
            match load_uploaded(engine, store, name, number, &ceiling) {
                Ok(agent) => add(format!("version {number} of {name}"), &agent, lines),
                Err(error) => lines.add_error(
                    format!("agent {name} (uploaded version {number}): {error}"),
                    format!("upload it again (`ark agent upload`), or roll another version out (`ark agent rollout {name} N`); the host would leave it out"),
                ),
            }
        }
        let Some(canary) = rollout.canary else {
            continue;
        };
        let loaded = match canary.number {
            0 => load_from_directory(engine, dir, name, &ceiling),
            number => load_uploaded(engine, store, name, number, &ceiling),
        };
        let origin = format!("agent {name} (version {}, on trial)", canary.number);
        match loaded {
            Ok(agent) => check_grants(inputs, &origin, agent.manifest(), lines),
            Err(error) => lines.add_error(
                format!("{origin}: {error}"),
                format!("end the trial (`ark agent canary {name} --end`), or try another version; the host would leave it out"),
            ),
        }
    }
    serving.len()
}

/// The manifests of the agents' directory.
fn list_directory(dir: Option<&Path>, lines: &mut CheckLines) -> Vec<PathBuf> {
    match dir.map(list_manifests).transpose() {
        Ok(manifests) => manifests.unwrap_or_default(),
        Err(error) => {
            lines.add_skipped(
                format!("the agents of agents_dir were not loaded: {error}"),
                "see the line `agents-directory`",
            );
            Vec::new()
        }
    }
}

/// Warns of action types that a manifest grants and nobody declared.
fn check_grants(inputs: &CheckInputs, origin: &str, manifest: &Manifest, lines: &mut CheckLines) {
    let action_types = &inputs.config.hrm.action_types;
    for (index, action_type) in manifest.actions.iter().enumerate() {
        let known = action_types.check_known(&format!("actions[{index}]"), action_type);
        if let Err(problem) = known {
            lines.add_warning(
                format!("{origin}: {}: {}", problem.field, problem.problem),
                problem.remedy,
            );
        }
    }
}

/// Verifies every operator policy that is to be in force, as a start does. Returns how many there are.
fn check_operator_policies(
    inputs: &CheckInputs,
    engine: &Engine,
    store: Option<&Reader>,
    lines: &mut CheckLines,
) -> usize {
    let config = &inputs.config;
    let Some(graveyard) = inputs.graveyard.get() else {
        lines.add_skipped(
            "the operator policies were not loaded, since the Graveyard cannot be loaded",
            "see the line `graveyard`",
        );
        return 0;
    };
    let found = check_policies(
        engine,
        graveyard,
        config.policy_fuel,
        &config.policies,
        config.policies_dir.as_deref(),
        store,
        &read_signers("policies", &config.policy_signature_keys, lines),
    );
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            skip_uploaded(&error, lines);
            return 0;
        }
    };
    for (file, problem) in found.refused {
        lines.add_error(
            format!("operator policy {}: {problem}", file.display()),
            "correct its declaration or its file; the host would not start",
        );
    }
    for BrokenVersion {
        policy,
        number,
        mode,
        error,
    } in found.broken
    {
        let (place, effect) = match mode {
            PolicyMode::Enforce => ("enforced", "the host would deny everything"),
            PolicyMode::Shadow => ("on trial", "the host would not ask it"),
        };
        lines.add_error(
            format!("operator policy {policy} (uploaded version {number}, {place}): {error}"),
            format!("upload it again (`ark policy upload`), or delete it (`ark policy delete {policy}`); {effect}"),
        );
    }
    if found.in_force > config.max_policies {
        lines.add_error(
            format!(
                "{} operator policies are to be in force; capacity.policies allows {}",
                found.in_force, config.max_policies
            ),
            "raise capacity.policies, or take some out: the host would not start",
        );
    }
    found.in_force
}
