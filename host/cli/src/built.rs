//! Paths that a command line gives: a project's directory stands for what was built in it, and a manifest for its project or its component.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail};
use ark_model::ids::Digest;
use serde::Deserialize;

/// What a manifest says of its component, whether it is an agent's or a policy's.
#[derive(Debug, Deserialize)]
pub(crate) struct ManifestHead {
    /// The name of the component's file, beside the manifest.
    pub(crate) component: String,
    /// Its SHA-256.
    pub(crate) sha256: Digest,
}

/// Returns the file itself, or what a directory or its `dist` holds: the one complete manifest, else the one component.
///
/// # Errors
/// A directory holds none of them, or more than one.
pub(crate) fn find_built(path: &Path) -> anyhow::Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let dist = path.join("dist");
    let dir = if dist.is_dir() { &dist } else { path };
    let (mut manifests, mut components) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                if toml::from_str::<ManifestHead>(&text).is_ok() {
                    manifests.push(path);
                }
            }
            Some("wasm") => components.push(path),
            _ => {}
        }
    }
    match (&*manifests, &*components) {
        ([one], _) | ([], [one]) => Ok(one.clone()),
        ([], []) => bail!(
            "{} holds neither a complete manifest nor a component; build first",
            dir.display()
        ),
        _ => bail!(
            "{} holds more than one manifest or component; give the file",
            dir.display()
        ),
    }
}

/// An argument of the command line that a project's directory may stand for. What it leads to is looked for when the command runs, so that an error is
/// told as all others are.
#[derive(Debug, Clone)]
pub(crate) struct BuiltPath(PathBuf);

impl FromStr for BuiltPath {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.into()))
    }
}

impl BuiltPath {
    /// As [`find_built`].
    ///
    /// # Errors
    /// As [`find_built`].
    pub(crate) fn find(&self) -> anyhow::Result<PathBuf> {
        find_built(&self.0)
    }

    /// As [`BuiltPath::find`], with a manifest's component in place of the manifest.
    ///
    /// # Errors
    /// As [`find_built`]; the manifest cannot be read, or names no file beside it.
    pub(crate) fn find_component(&self) -> anyhow::Result<PathBuf> {
        let path = self.find()?;
        if path.extension().is_none_or(|extension| extension != "toml") {
            return Ok(path);
        }
        let context = || path.display().to_string();
        let manifest = std::fs::read_to_string(&path).with_context(context)?;
        let head: ManifestHead = toml::from_str(&manifest).with_context(context)?;
        anyhow::ensure!(
            !head.component.contains(['/', '\\']),
            "{}: component is not the name of a file beside the manifest",
            context()
        );
        Ok(path.with_file_name(head.component))
    }
}

/// Returns the directory of a project, which its manifest stands for, too. Anything else stays as it is.
pub(crate) fn find_project(path: &Path) -> PathBuf {
    let is_manifest = path
        .extension()
        .is_some_and(|extension| extension == "toml");
    let parent = path.parent().filter(|_| is_manifest && path.is_file());
    match parent {
        Some(dir) if dir.as_os_str().is_empty() => PathBuf::from("."),
        Some(dir) => dir.to_owned(),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stands_for_what_was_built_in_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let project = dir.path().join("scout");
        let dist = project.join("dist");
        std::fs::create_dir_all(&dist).expect("a directory");
        let given = |path: &Path| BuiltPath(path.to_owned());
        let said = |result: anyhow::Result<PathBuf>| format!("{:#}", result.expect_err("nothing"));
        assert!(said(given(&project).find()).contains("build first"));
        let (manifest, component) = (dist.join("scout.toml"), dist.join("scout.wasm"));
        std::fs::write(&component, "x").expect("a file");
        assert_eq!(given(&project).find().expect("a path"), component);
        let head = format!(
            "component = \"scout.wasm\"\nsha256 = \"{}\"\n",
            Digest::hash_bytes(b"x")
        );
        std::fs::write(&manifest, &head).expect("a file");
        for path in [&project, &dist, &manifest] {
            assert_eq!(given(path).find().expect("a path"), manifest);
            let found = given(path).find_component().expect("a path");
            assert_eq!(found, component);
        }
        let source = project.join("scout.toml");
        std::fs::write(&source, "component = \"scout.wasm\"\n").expect("a file");
        for (path, expected) in [
            (&project, &project),
            (&source, &project),
            (&component, &component),
        ] {
            assert_eq!(&find_project(path), expected);
        }
        std::fs::write(dist.join("other.toml"), &head).expect("a file");
        assert!(said(given(&project).find()).contains("more than one"));
    }
}
