//! Paths that a command line gives: a project's directory stands for what was built in it, and a manifest for its project or its component.

use std::path::{Path, PathBuf};

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

/// As [`find_built`], for an argument of the command line.
///
/// # Errors
/// As [`find_built`].
pub(crate) fn parse_built(text: &str) -> anyhow::Result<PathBuf> {
    find_built(Path::new(text)).map_err(flatten)
}

/// As [`parse_built`], with a manifest's component in place of the manifest.
///
/// # Errors
/// As [`find_built`]; the manifest cannot be read, or names no file beside it.
pub(crate) fn parse_built_component(text: &str) -> anyhow::Result<PathBuf> {
    find_component(Path::new(text)).map_err(flatten)
}

/// An error in one line: of an argument's error only the outermost message is shown.
fn flatten(error: anyhow::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}

fn find_component(path: &Path) -> anyhow::Result<PathBuf> {
    let path = find_built(path)?;
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

/// The directory of a project, which its manifest stands for, too.
///
/// # Errors
/// It is another file, or does not exist.
pub(crate) fn parse_project(text: &str) -> anyhow::Result<PathBuf> {
    let path = Path::new(text);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    anyhow::ensure!(path.exists(), "there is no directory {text}");
    anyhow::ensure!(
        path.extension()
            .is_some_and(|extension| extension == "toml"),
        "{text} is no directory; give the directory of the project"
    );
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    Ok(parent.unwrap_or(Path::new(".")).to_owned())
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
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let said = |result: anyhow::Result<PathBuf>| format!("{:#}", result.expect_err("nothing"));
        assert!(said(parse_built(&text(&project))).contains("build first"));
        let (manifest, component) = (dist.join("scout.toml"), dist.join("scout.wasm"));
        std::fs::write(&component, "x").expect("a file");
        assert_eq!(parse_built(&text(&project)).expect("a path"), component);
        let head = format!(
            "component = \"scout.wasm\"\nsha256 = \"{}\"\n",
            Digest::hash_bytes(b"x")
        );
        std::fs::write(&manifest, &head).expect("a file");
        for given in [&project, &dist, &manifest] {
            assert_eq!(parse_built(&text(given)).expect("a path"), manifest);
            let found = parse_built_component(&text(given)).expect("a path");
            assert_eq!(found, component);
        }
        let source = project.join("scout.toml");
        std::fs::write(&source, "component = \"scout.wasm\"\n").expect("a file");
        for given in [&project, &source] {
            assert_eq!(parse_project(&text(given)).expect("a path"), project);
        }
        assert!(said(parse_project(&text(&component))).contains("give the directory"));
        assert!(said(parse_project("none")).contains("there is no directory none"));
        std::fs::write(dist.join("other.toml"), &head).expect("a file");
        assert!(said(parse_built(&text(&project))).contains("more than one"));
    }
}
