//! Policies that are declared in files: `[[policies]]` in the configuration, and manifests in the policies' directory. What is declared is
//! what is in force under those names: a start and a reload bring it about, and nobody else may change it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use ark_model::ids::{Digest, Name};
use ark_model::policy::{PolicyMode, PolicySource};
use ark_model::settings::Settings;

use super::change::InvalidPolicy;
use super::verification::{PolicyVerifier, VerifiedPolicy, read_pinned};

/// Where a policy stands among the others, unless it is said.
pub const LAST_PLACE: u32 = 1_000_000;

/// The longest manifest that is read, in bytes.
const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;

/// A policy as a file declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    /// Who declares it.
    pub source: PolicySource,
    /// The file at fault when it is refused: the manifest, or the component.
    pub origin: PathBuf,
    /// The component.
    pub file: PathBuf,
    /// Its SHA-256.
    pub sha256: Digest,
    /// Its name, if it is said.
    pub name: Option<Name>,
    /// Its settings.
    pub settings: Option<Settings>,
    /// Whether its verdicts count.
    pub mode: PolicyMode,
    /// Its place among the others.
    pub order: u32,
}

/// A manifest in the policies' directory: `NAME.toml`, the component beside it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyManifest {
    /// Its name: that of its metadata.
    pub name: Name,
    /// The component's file, beside the manifest.
    pub component: String,
    /// Its SHA-256.
    pub sha256: Digest,
    /// Whether its verdicts count: `enforce` unless it is said.
    #[serde(default)]
    pub mode: PolicyMode,
    /// Its place among the others; lower ones are asked first. Absent: behind those with one.
    pub order: Option<u32>,
    /// Its settings.
    pub settings: Option<Settings>,
}

/// A declaration that was refused.
#[derive(Debug)]
pub(super) struct RejectedDeclaration {
    /// Which file.
    pub(super) origin: PathBuf,
    /// Whose it is, as far as that can be told.
    pub(super) name: Option<Name>,
    /// Who declares it.
    pub(super) source: PolicySource,
    /// The digest that was stated.
    pub(super) sha256: Option<Digest>,
    /// Why.
    pub(super) problem: String,
}

/// A declaration that may be put in force.
pub(super) struct PreparedPolicy {
    pub(super) fit: VerifiedPolicy,
    pub(super) component: Vec<u8>,
}

/// What is declared under one name.
pub(super) struct DeclaredPolicy {
    pub(super) name: Name,
    pub(super) source: PolicySource,
    pub(super) order: u32,
    pub(super) enforced: Option<PreparedPolicy>,
    pub(super) shadow: Option<PreparedPolicy>,
}

/// Everything that is declared.
#[derive(Default)]
pub(super) struct Declarations {
    pub(super) policies: Vec<DeclaredPolicy>,
    pub(super) rejected: Vec<RejectedDeclaration>,
}

impl Declarations {
    /// Names of which nothing is known to be wrong or right: what is in force under them stays.
    pub(super) fn rejected_names(&self) -> BTreeSet<Name> {
        let names = self.rejected.iter().filter_map(|one| one.name.clone());
        names.collect()
    }

    /// Whether a file of this source could not even be told a name of: then none of it is taken as withdrawn.
    pub(super) fn has_nameless_rejection(&self, source: PolicySource) -> bool {
        let mut rejected = self.rejected.iter();
        rejected.any(|one| one.source == source && one.name.is_none())
    }
}

/// Reads what is declared, loads it, and sorts it by name. What is wrong with one keeps none of the others out.
pub(super) fn read_declarations(
    configured: &[Declaration],
    dir: Option<&Path>,
    measure: &PolicyVerifier,
) -> Declarations {
    let mut declared = Declarations::default();
    let mut all = configured.to_vec();
    if let Some(dir) = dir {
        let (found, rejected) = read_manifests(dir);
        all.extend(found);
        declared.rejected.extend(rejected);
    }
    let mut groups: BTreeMap<Name, DeclaredPolicy> = BTreeMap::new();
    for declaration in all {
        let reject = |name: Option<Name>, problem: String| RejectedDeclaration {
            origin: declaration.origin.clone(),
            name,
            source: declaration.source,
            sha256: Some(declaration.sha256),
            problem,
        };
        let ready = match prepare_policy(&declaration, measure) {
            Ok(ready) => ready,
            Err(unfit) => {
                declared
                    .rejected
                    .push(reject(declaration.name.clone(), unfit.to_string()));
                continue;
            }
        };
        let Ok(name) = ready.fit.policy.identity().metadata.name.parse::<Name>() else {
            declared
                .rejected
                .push(reject(None, "its name is none".to_owned()));
            continue;
        };
        let (source, order, mode) = (declaration.source, declaration.order, declaration.mode);
        let group = groups
            .entry(name.clone())
            .or_insert_with(|| DeclaredPolicy {
                name: name.clone(),
                source,
                order,
                enforced: None,
                shadow: None,
            });
        let place = match mode {
            PolicyMode::Enforce => &mut group.enforced,
            PolicyMode::Shadow => &mut group.shadow,
        };
        if place.is_some() || group.source != source {
            let problem = format!(
                "{name} is declared twice; a name can have one that is enforced and one on trial, both in the same place"
            );
            declared.rejected.push(reject(Some(name), problem));
            continue;
        }
        *place = Some(ready);
        if mode == PolicyMode::Enforce {
            group.order = order;
        }
    }
    // A name of which a part is refused stays as it was, whole.
    let untold = declared.rejected_names();
    declared.policies = groups
        .into_values()
        .filter(|group| !untold.contains(&group.name))
        .collect();
    declared
}

fn prepare_policy(
    declaration: &Declaration,
    measure: &PolicyVerifier,
) -> Result<PreparedPolicy, InvalidPolicy> {
    let component = read_pinned(&declaration.file, declaration.sha256)?;
    let settings = declaration.settings.clone();
    let fit = measure.verify(&component, declaration.name.as_ref(), settings)?;
    Ok(PreparedPolicy { fit, component })
}

/// The manifests of a directory, in the order of their names.
fn read_manifests(dir: &Path) -> (Vec<Declaration>, Vec<RejectedDeclaration>) {
    let source = PolicySource::Directory;
    let reject = |origin: &Path, name, problem: String| RejectedDeclaration {
        origin: origin.to_owned(),
        name,
        source,
        sha256: None,
        problem,
    };
    let listed = std::fs::read_dir(dir).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
    });
    let mut paths = match listed {
        Ok(paths) => paths,
        Err(error) => return (Vec::new(), vec![reject(dir, None, error.to_string())]),
    };
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    paths.sort();
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
                order: manifest.order.unwrap_or(LAST_PLACE),
            }),
            // What the manifest is called is the best that can be said of whose it is.
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
    let text = |error: std::io::Error| error.to_string();
    if std::fs::metadata(path).map_err(text)?.len() > MAX_MANIFEST_BYTES {
        return Err(format!("is longer than {MAX_MANIFEST_BYTES} bytes"));
    }
    let manifest: PolicyManifest = toml::from_str(&std::fs::read_to_string(path).map_err(text)?)
        .map_err(|error| error.to_string())?;
    let component = Path::new(&manifest.component);
    if component.file_name().is_none_or(|name| name != component) {
        return Err(format!(
            "component: {:?} is no plain file name; put the component beside the manifest",
            manifest.component
        ));
    }
    if manifest.order.is_some_and(|order| order > LAST_PLACE) {
        return Err(format!("order: give 0 to {LAST_PLACE}"));
    }
    Ok(manifest)
}
