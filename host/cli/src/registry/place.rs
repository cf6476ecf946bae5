//! Where pulled files are written: beside each other, and never in the place of a file that is there.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use ark_signature::{ComponentSignature, signature_path};

use super::pull::Pulled;

/// The files of a pulled agent or policy, which are not written yet.
pub(super) struct Placement {
    dir: PathBuf,
    component: PathBuf,
    manifest: PathBuf,
}

impl Placement {
    /// Makes the directory, and checks that nothing is in the way.
    ///
    /// # Errors
    /// The component's file has a name that none may have, or a file is there already.
    pub(super) fn prepare(dir: &Path, name: &str, component: &str) -> anyhow::Result<Self> {
        check_file_name(component)?;
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let placement = Self {
            dir: dir.to_owned(),
            component: dir.join(component),
            manifest: dir.join(format!("{name}.toml")),
        };
        let signature = signature_path(&placement.component);
        for path in [&placement.component, &placement.manifest, &signature] {
            anyhow::ensure!(
                !path.exists(),
                "{} exists already; remove it, or give another --dir",
                path.display()
            );
        }
        Ok(placement)
    }

    /// Writes component, signature and manifest, the manifest last: a directory never has a manifest without its component. Returns the path of the
    /// manifest.
    ///
    /// # Errors
    /// A file cannot be written; then none stays.
    pub(super) fn write(self, pulled: &Pulled, manifest: &str) -> anyhow::Result<PathBuf> {
        let signature = pulled.signature.as_ref().map(ComponentSignature::to_text);
        let signature_file = signature_path(&self.component);
        let mut files = vec![(&self.component, pulled.component.as_slice())];
        if let Some(text) = &signature {
            files.push((&signature_file, text.as_bytes()));
        }
        files.push((&self.manifest, manifest.as_bytes()));
        let mut written: Vec<&PathBuf> = Vec::new();
        for (path, bytes) in files {
            if let Err(error) = write_new(&self.dir, path, bytes) {
                for path in written {
                    let _ = std::fs::remove_file(path);
                }
                return Err(error);
            }
            written.push(path);
        }
        Ok(self.manifest)
    }
}

fn write_new(dir: &Path, path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let context = || path.display().to_string();
    let mut file = tempfile::Builder::new()
        .prefix(".ark-pull-")
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(dir)
        .with_context(context)?;
    file.write_all(bytes).with_context(context)?;
    file.as_file().sync_all().with_context(context)?;
    file.persist_noclobber(path)
        .map_err(|error| error.error)
        .with_context(context)?;
    Ok(())
}

/// A stranger names the file: it must be one of a component, in this directory, that nothing else reads.
fn check_file_name(name: &str) -> anyhow::Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    anyhow::ensure!(
        name.len() <= 128
            && name.strip_suffix(".wasm").is_some()
            && !name.starts_with(['.', '-'])
            && name.bytes().all(is_plain),
        "component: {name:?} is not the name of a component's file; the manifest that was pushed cannot be used"
    );
    Ok(())
}
