//! The Graveyard, the operator policies and the agents: what a start would load, by the host's own loaders.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ark_host::agents::{Ceiling, load_agent};
use ark_host::changes::{check_stored_component, list_manifests};
use ark_host::policies::check_declarations;
use ark_model::policy::PolicySource;
use ark_runtime::{Agent, Engine, GraveyardSource, Manifest, Pin, PinnedGraveyard, Policy};
use ark_store::{ReadOnlyStore, Rollout};

use super::describe_source;
use super::line::CheckLines;
use super::settings::permissions;
use super::subject::Subject;

/// The mode of a Graveyard's file.
const GRAVEYARD_MODE: u32 = 0o444;

/// The directories of agents and policies are there.
pub(super) fn check_agents_directory(subject: &Subject, lines: &mut CheckLines) {
    let config = &subject.config;
    let directories = [
        ("agents_dir", config.agents_dir.as_ref()),
        ("policies_dir", config.policies_dir.as_ref()),
    ];
    for (key, dir) in directories {
        let Some(dir) = dir else { continue };
        let path = dir.display();
        match list_manifests(dir) {
            Err(error) => lines.fail(
                format!("{key} {path}: {error}"),
                format!(
                    "make the directory readable for the user that runs the host, or correct {key}"
                ),
            ),
            Ok(_) if permissions(dir).is_some_and(|mode| mode & 0o002 != 0) => lines.fail(
                format!("{key} {path} can be written to by every user"),
                format!("chmod o-w {path}"),
            ),
            Ok(manifests) => lines.ok(format!("{key} {path}: {} manifests", manifests.len())),
        }
    }
}

/// The Graveyard is the pinned one, cannot be written to, and passes its test vectors on this machine.
pub(super) fn check_graveyard(subject: &Subject, lines: &mut CheckLines) {
    let source = &subject.config.graveyard;
    let remedy = "install the released graveyard.wasm with mode 0444 (install -m 0444)";
    let engine = match subject.engine() {
        Ok(engine) => engine,
        Err(error) => {
            return lines.fail(
                error.to_string(),
                "run it on a machine and kernel that the release supports",
            );
        }
    };
    let loaded = Pin::compiled_in().and_then(|pin| {
        let graveyard = PinnedGraveyard::load(engine, source, pin)?;
        Ok((pin, graveyard))
    });
    let (pin, graveyard) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return lines.fail(error.to_string(), remedy),
    };
    // Once: the identity is only kept for the checks of policies.
    let _ = subject
        .graveyard
        .set(Arc::clone(graveyard.policy.identity()));
    if let GraveyardSource::File(path) = source
        && let Some(mode) = permissions(path).filter(|mode| *mode != GRAVEYARD_MODE)
    {
        return lines.warn(
            format!(
                "{} has mode {mode:04o}, not {GRAVEYARD_MODE:04o}",
                path.display()
            ),
            format!("chmod 0444 {}", path.display()),
        );
    }
    lines.ok(format!(
        "{}: the pin {} holds, {} test vectors pass",
        describe_source(source),
        pin.digest(),
        graveyard.vectors
    ));
}

/// Every agent and operator policy that a start would load can be loaded.
pub(super) fn check_guests(subject: &Subject, lines: &mut CheckLines) {
    // Without an engine nothing can be loaded, which is reported by `graveyard`.
    let Ok(engine) = subject.engine() else { return };
    let ceiling = Ceiling {
        limits: subject.config.limits.clone(),
        quotas: subject.config.quotas.agents.clone(),
    };
    let store = subject.open_database();
    let rollouts = store
        .as_ref()
        .and_then(|store| store.all_rollouts().ok())
        .unwrap_or_default();
    let mut agents = check_directory_agents(subject, engine, &ceiling, &rollouts, lines);
    if let Some(store) = &store {
        agents += check_uploaded_agents(engine, store, &ceiling, &rollouts, lines);
    }
    let policies = check_policies(subject, engine, store.as_ref(), lines);
    if lines.is_good() {
        lines.ok(format!(
            "{agents} agents and {policies} operator policies can be loaded"
        ));
    }
}

fn check_directory_agents(
    subject: &Subject,
    engine: &Engine,
    ceiling: &Ceiling,
    rollouts: &[Rollout],
    lines: &mut CheckLines,
) -> usize {
    let manifests = subject.config.agents_dir.as_ref();
    let manifests = manifests
        .and_then(|dir| list_manifests(dir).ok())
        .unwrap_or_default();
    let mut loaded: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in manifests {
        let is_superseded = Manifest::read_file(&path).is_ok_and(|manifest| {
            let mut rollouts = rollouts.iter();
            rollouts.any(|rollout| rollout.agent == manifest.name && rollout.serving != Some(0))
        });
        if is_superseded {
            continue;
        }
        let agent = match load_agent(engine, &path, ceiling) {
            Ok(agent) => agent,
            Err(error) => {
                lines.fail(
                    format!("agent {}: {error}", path.display()),
                    "build it again (`ark agent build`), or take the manifest out; the host would leave it out",
                );
                continue;
            }
        };
        let manifest = agent.manifest();
        for (index, action_type) in manifest.actions.iter().enumerate() {
            let known = subject
                .config
                .hrm
                .action_types
                .check_known(&format!("actions[{index}]"), action_type);
            if let Err(problem) = known {
                lines.warn(
                    format!(
                        "agent {}: {}: {}",
                        path.display(),
                        problem.field,
                        problem.problem
                    ),
                    problem.remedy,
                );
            }
        }
        if let Some(other) = loaded.insert(manifest.name.to_string(), path.clone()) {
            lines.fail(
                format!(
                    "{} and {} name the same agent {}",
                    other.display(),
                    path.display(),
                    manifest.name
                ),
                "give one of them another name, or take it out: the host would not start",
            );
        }
    }
    loaded.len()
}

fn check_uploaded_agents(
    engine: &Engine,
    store: &ReadOnlyStore,
    ceiling: &Ceiling,
    rollouts: &[Rollout],
    lines: &mut CheckLines,
) -> usize {
    let mut loaded = 0;
    for rollout in rollouts {
        let Some(number) = rollout.serving.filter(|number| *number > 0) else {
            continue;
        };
        let load = || -> Result<(), String> {
            let versions = store
                .agent_versions(&rollout.agent)
                .map_err(|error| error.to_string())?;
            let version = versions.iter().find(|version| version.number == number);
            let version = version.ok_or("it is not kept")?;
            let manifest: Manifest =
                serde_json::from_str(&version.manifest_json).map_err(|error| error.to_string())?;
            let component = store
                .agent_component(version.sha256)
                .map_err(|error| error.to_string())?;
            let component = check_stored_component(component, version.sha256)
                .map_err(|error| error.to_string())?;
            Agent::load(engine, &component, manifest, &ceiling.limits)
                .map_err(|error| error.to_string())?;
            Ok(())
        };
        match load() {
            Ok(()) => loaded += 1,
            Err(error) => lines.fail(
                format!("agent {} (uploaded version {number}): {error}", rollout.agent),
                format!("upload it again (`ark agent upload`), or roll another version out (`ark agent rollout {} N`)", rollout.agent),
            ),
        }
    }
    loaded
}

fn check_policies(
    subject: &Subject,
    engine: &Engine,
    store: Option<&ReadOnlyStore>,
    lines: &mut CheckLines,
) -> usize {
    let config = &subject.config;
    // Without the Graveyard no policy can be judged, which is reported by `graveyard`.
    let Some(graveyard) = subject.graveyard.get() else {
        return 0;
    };
    let dir = config.policies_dir.as_deref().filter(|dir| dir.is_dir());
    let (declared, refused) =
        check_declarations(engine, graveyard, config.policy_fuel, &config.policies, dir);
    for (file, problem) in refused {
        lines.fail(
            format!("operator policy {}: {problem}", file.display()),
            "correct its declaration or its file; the host would not start",
        );
    }
    let slots = store
        .and_then(|store| store.policy_slots().ok())
        .unwrap_or_default();
    let mut in_force = declared;
    for slot in slots.iter().filter(|slot| slot.source == PolicySource::Api) {
        let Some(number) = slot.enforced else {
            continue;
        };
        in_force += 1;
        let load = || -> Result<(), String> {
            let store = store.ok_or("there is no database")?;
            let versions = store
                .policy_versions(&slot.policy)
                .map_err(|error| error.to_string())?;
            let version = versions
                .iter()
                .find(|version| version.number == number)
                .ok_or("it is not kept")?;
            let component = store
                .policy_component(version.sha256)
                .map_err(|error| error.to_string())?;
            let component = check_stored_component(component, version.sha256)
                .map_err(|error| error.to_string())?;
            Policy::load(engine, &component).map_err(|error| error.to_string())?;
            Ok(())
        };
        if let Err(error) = load() {
            lines.fail(
                format!("operator policy {} (uploaded version {number}): {error}", slot.policy),
                format!("upload it again or delete it (`ark policy delete {}`); the host would deny everything", slot.policy),
            );
        }
    }
    if in_force > config.max_policies {
        lines.fail(
            format!(
                "{in_force} operator policies are to be in force; capacity.policies allows {}",
                config.max_policies
            ),
            "raise capacity.policies, or take some out: the host would not start",
        );
    }
    in_force
}
