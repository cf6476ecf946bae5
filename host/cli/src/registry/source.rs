//! What is pushed or signed: a component, with the manifest beside it if there is one.

use std::path::{Path, PathBuf};

use anyhow::Context;
use ark_host::changes::read_component_file;
use ark_model::ids::Digest;

use crate::built::{ManifestHead, find_built};

/// The longest manifest that is read, in bytes.
const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;

/// A component to push or sign.
#[derive(Debug)]
pub(super) struct ComponentSource {
    /// The component's file.
    pub(super) file: PathBuf,
    pub(super) component: Vec<u8>,
    /// The manifest's file and text.
    pub(super) manifest: Option<(PathBuf, String)>,
}

impl ComponentSource {
    /// Reads a component, a manifest with its component beside it, or the one in a directory or its `dist`.
    ///
    /// # Errors
    /// There is none, or more than one; a file cannot be read; the component is not the one that the manifest states.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        if path.is_dir() {
            return Self::read(&find_built(path)?);
        }
        if path.extension().is_none_or(|extension| extension != "toml") {
            return Ok(Self {
                file: path.to_owned(),
                component: read_component_file(path)?,
                manifest: None,
            });
        }
        let context = || path.display().to_string();
        let size = std::fs::metadata(path).with_context(context)?.len();
        anyhow::ensure!(
            size <= MAX_MANIFEST_BYTES,
            "{}: has {size} bytes; at most {MAX_MANIFEST_BYTES} are read",
            context()
        );
        let text = std::fs::read_to_string(path).with_context(context)?;
        let head: ManifestHead = toml::from_str(&text).with_context(context)?;
        anyhow::ensure!(
            !head.component.contains(['/', '\\']),
            "{}: component is not the name of a file beside the manifest",
            context()
        );
        let file = path.with_file_name(&head.component);
        let component = read_component_file(&file)?;
        let found = Digest::hash_bytes(&component);
        anyhow::ensure!(
            found == head.sha256,
            "{} has the SHA-256 {found}, its manifest states {}; build again, or update the manifest",
            file.display(),
            head.sha256
        );
        Ok(Self {
            file,
            component,
            manifest: Some((path.to_owned(), text)),
        })
    }

    /// Returns the name of the component's file.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub(super) fn file_name(&self) -> anyhow::Result<&str> {
        let name = self.file.file_name().and_then(|name| name.to_str());
        name.with_context(|| format!("{}: the name of the file is not UTF-8", self.file.display()))
    }
}
