//! Policies that files declare: `[[policies]]` in the configuration, and manifests in the policies' directory. A start and a reload put in
//! force what is declared, and nothing else changes policies of those names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::changes::{Signers, list_manifests};
use crate::hrm::policies_in_force::{ConfiguredPolicy, EnforcedPolicy, SlotInForce};
use ark_model::decision::PolicyIdentity;
use ark_model::ids::{Digest, Name};
use ark_model::meters::HrmMeters;
use ark_model::policy::{PolicyMode, PolicySource};
use ark_model::settings::Settings;
use ark_runtime::Engine;

use super::error::{InvalidPolicy, LoadPoliciesError};
use super::slots::sort_slots;
use super::verification::{PolicyVerifier, VerifiedPolicy, read_pinned};

/// The last place among the policies: that of a policy without a stated place, and the highest one that can be stated.
pub const LAST_PLACE: u32 = 1_000_000;

/// The longest manifest that is read, in bytes.
const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;

/// A policy as a file declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    /// The kind of file that declares it.
    pub source: PolicySource,
    /// The file that is named when the declaration is refused: the manifest, or the component.
    pub origin: PathBuf,
    /// The component's file.
    pub file: PathBuf,
    /// SHA-256 of the component.
    pub sha256: Digest,
    /// The policy's name; absent: the one in the component's metadata.
    pub name: Option<Name>,
    /// The settings; absent: the policy gets none.
    pub settings: Option<Settings>,
    /// Whether its verdicts count.
    pub mode: PolicyMode,
    /// Its place among the others.
    pub place: u32,
}

/// A manifest in the policies' directory: `NAME.toml`, with the component beside it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyManifest {
    /// The policy's name, which is the one in the component's metadata.
    pub name: Name,
    /// The component's file name. The file stands beside the manifest.
    pub component: String,
    /// SHA-256 of the component.
    pub sha256: Digest,
    /// Whether its verdicts count; absent: they do (`enforce`).
    #[serde(default)]
    pub mode: PolicyMode,
    /// Its place among the others: lower ones are asked first. Absent: behind those that state one.
    #[serde(rename = "order")]
    pub place: Option<u32>,
    /// The settings; absent: the policy gets none.
    pub settings: Option<Settings>,
}

/// A declaration that was refused.
#[derive(Debug)]
pub(super) struct RejectedDeclaration {
    /// The file at fault.
    pub(super) origin: PathBuf,
    /// The policy's name, as far as it is known.
    pub(super) name: Option<Name>,
    pub(super) source: PolicySource,
    /// The stated digest; absent when the manifest could not be read.
    pub(super) sha256: Option<Digest>,
    /// Why it was refused.
    pub(super) problem: String,
}

impl From<RejectedDeclaration> for LoadPoliciesError {
    fn from(rejected: RejectedDeclaration) -> Self {
        Self::Declared {
            file: rejected.origin,
            problem: rejected.problem,
        }
    }
}

/// A declared component that may be put in force.
pub(super) struct PreparedPolicy {
    pub(super) verified: VerifiedPolicy,
    pub(super) component: Vec<u8>,
}

/// What is declared under one name.
pub(super) struct DeclaredPolicy {
    pub(super) name: Name,
    pub(super) source: PolicySource,
    pub(super) place: u32,
    pub(super) enforced: Option<PreparedPolicy>,
    pub(super) shadow: Option<PreparedPolicy>,
}

/// Everything that files declare.
#[derive(Default)]
pub(super) struct Declarations {
    /// The policies that may be put in force, by name.
    pub(super) policies: Vec<DeclaredPolicy>,
    pub(super) rejected: Vec<RejectedDeclaration>,
}

impl Declarations {
    /// Returns the names of refused declarations. What is in force under them stays.
    pub(super) fn rejected_names(&self) -> BTreeSet<Name> {
        let names = self.rejected.iter().filter_map(|one| one.name.clone());
        names.collect()
    }

    /// Returns whether a refused declaration of this source has no known name. It may be any of those in force, so none of them counts as
    /// withdrawn.
    pub(super) fn has_nameless_rejection(&self, source: PolicySource) -> bool {
        let mut rejected = self.rejected.iter();
        rejected.any(|one| one.source == source && one.name.is_none())
    }

    /// Adds a prepared declaration to what is declared under its name.
    fn add(
        policies: &mut BTreeMap<Name, DeclaredPolicy>,
        declaration: &Declaration,
        prepared: PreparedPolicy,
    ) -> Result<(), (Option<Name>, String)> {
        let metadata = &prepared.verified.policy.identity().metadata;
        let Ok(name) = metadata.name.parse::<Name>() else {
            let problem = "the name in its metadata is not a valid name";
            return Err((None, problem.to_owned()));
        };
        let declared = policies
            .entry(name.clone())
            .or_insert_with(|| DeclaredPolicy {
                name: name.clone(),
                source: declaration.source,
                place: declaration.place,
                enforced: None,
                shadow: None,
            });
        let same_source = declared.source == declaration.source;
        let version = match declaration.mode {
            PolicyMode::Enforce => &mut declared.enforced,
            PolicyMode::Shadow => &mut declared.shadow,
        };
        if version.is_some() || !same_source {
            let problem = format!(
                "{name} is declared twice; a name can have one version that is enforced and one on trial, both declared in the same kind of file"
            );
            return Err((Some(name), problem));
        }
        *version = Some(prepared);
        if declaration.mode == PolicyMode::Enforce {
            declared.place = declaration.place;
        }
        Ok(())
    }
}

/// Reads what is declared, verifies it, and groups it by name. A declaration that is refused does not keep the others out.
pub(super) fn read_declarations(
    configured: &[Declaration],
    dir: Option<&Path>,
    verifier: &PolicyVerifier,
) -> Declarations {
    let (found, mut rejected) = dir.map(read_manifests).unwrap_or_default();
    let mut policies = BTreeMap::new();
    for declaration in configured.iter().chain(&found) {
        let added = prepare_policy(declaration, verifier)
            .map_err(|invalid| (declaration.name.clone(), invalid.to_string()))
            .and_then(|prepared| Declarations::add(&mut policies, declaration, prepared));
        if let Err((name, problem)) = added {
            rejected.push(RejectedDeclaration {
                origin: declaration.origin.clone(),
                name,
                source: declaration.source,
                sha256: Some(declaration.sha256),
                problem,
            });
        }
    }
    let mut declarations = Declarations {
        policies: Vec::new(),
        rejected,
    };
    // A name of which one declaration is refused stays as it was altogether.
    let rejected = declarations.rejected_names();
    policies.retain(|name, _| !rejected.contains(name));
    declarations.policies = policies.into_values().collect();
    declarations
}

/// Loads the policies that files declare, as slots in the order in which they are asked, without a store. Nothing is recorded.
///
/// `graveyard`: the policy whose name no other may have. `fuel`: the fuel of one evaluation (`capacity.policy_fuel`). `signers`: who
/// may have signed the components.
///
/// # Errors
/// The first declaration that is refused: its file, and why.
pub fn load_declared(
    engine: &Engine,
    graveyard: &PolicyIdentity,
    fuel: u64,
    (configured, dir): (&[Declaration], Option<&Path>),
    signers: &Signers,
    meters: &HrmMeters,
) -> Result<Vec<Arc<SlotInForce>>, LoadPoliciesError> {
    let verifier = PolicyVerifier::new(engine, graveyard, fuel, signers);
    let mut declarations = read_declarations(configured, dir, &verifier);
    if !declarations.rejected.is_empty() {
        return Err(declarations.rejected.swap_remove(0).into());
    }
    let slots = declarations.policies.into_iter().map(|declared| {
        let configure = |prepared: PreparedPolicy, mode| {
            let VerifiedPolicy {
                policy, settings, ..
            } = prepared.verified;
            let configured = ConfiguredPolicy::new(&declared.name, policy, settings, mode, meters);
            Arc::new(configured)
        };
        let enforced = declared
            .enforced
            .map(|prepared| EnforcedPolicy::Loaded(configure(prepared, PolicyMode::Enforce)));
        let shadow = declared
            .shadow
            .map(|prepared| configure(prepared, PolicyMode::Shadow));
        Arc::new(SlotInForce {
            name: declared.name.clone(),
            place: declared.place,
            enforced,
            shadow,
        })
    });
    Ok(sort_slots(slots.collect()))
}

fn prepare_policy(
    declaration: &Declaration,
    verifier: &PolicyVerifier,
) -> Result<PreparedPolicy, InvalidPolicy> {
    let component = read_pinned(&declaration.file, declaration.sha256)?;
    let signature = verifier.signers.read_beside(&declaration.file)?;
    verifier.signers.check(&component, signature.as_deref())?;
    let settings = declaration.settings.clone();
    let verified = verifier.verify(&component, declaration.name.as_ref(), settings)?;
    Ok(PreparedPolicy {
        verified,
        component,
    })
}

/// Reads the manifests of a directory, in the order of their paths.
fn read_manifests(dir: &Path) -> (Vec<Declaration>, Vec<RejectedDeclaration>) {
    let source = PolicySource::Directory;
    let reject = |origin: &Path, name, problem: String| RejectedDeclaration {
        origin: origin.to_owned(),
        name,
        source,
        sha256: None,
        problem,
    };
    let paths = match list_manifests(dir) {
        Ok(paths) => paths,
        Err(error) => {
            let problem =
                format!("the directory cannot be read: {error}; correct policies_dir, or make it");
            return (Vec::new(), vec![reject(dir, None, problem)]);
        }
    };
    let mut found = Vec::new();
    let mut rejected = Vec::new();
    for path in paths {
        match read_manifest(&path) {
            Ok(manifest) => found.push(Declaration {
                source,
                file: path.with_file_name(&manifest.component),
                origin: path,
                sha256: manifest.sha256,
                name: Some(manifest.name),
                settings: manifest.settings,
                mode: manifest.mode,
                place: manifest.place.unwrap_or(LAST_PLACE),
            }),
            // The file's name is the only hint at the policy's name.
            Err(problem) => {
                let stem = path.file_stem().and_then(|stem| stem.to_str());
                let name = stem.and_then(|stem| stem.parse().ok());
                rejected.push(reject(&path, name, problem));
            }
        }
    }
    (found, rejected)
}

fn read_manifest(path: &Path) -> Result<PolicyManifest, String> {
    let describe = |error: std::io::Error| error.to_string();
    if std::fs::metadata(path).map_err(describe)?.len() > MAX_MANIFEST_BYTES {
        return Err(format!("it is longer than {MAX_MANIFEST_BYTES} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(describe)?;
    let manifest: PolicyManifest = toml::from_str(&text).map_err(|error| error.to_string())?;
    let component = Path::new(&manifest.component);
    if component.file_name().is_none_or(|name| name != component) {
        return Err(format!(
            "component: {:?} is not a plain file name; put the component beside the manifest",
            manifest.component
        ));
    }
    if manifest.place.is_some_and(|place| place > LAST_PLACE) {
        return Err(format!("order: give a number from 0 to {LAST_PLACE}"));
    }
    Ok(manifest)
}
