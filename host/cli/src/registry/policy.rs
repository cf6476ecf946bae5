//! `ark policy pull`.

use anyhow::{Context, bail};
use ark_host::policies::PolicyManifest;
use ark_model::ids::{Digest, Name};
use ark_runtime::{Engine, EngineConfig, inspect_component};
use serde_json::json;

use crate::author::GuestKind;
use crate::output::{print_line, print_notice};

use super::place::Placement;
use super::pull::{PullArgs, Pulled};

/// Pulls a policy. Its manifest is the one that was pushed with it, or one that names component and digest. Nothing is written before the policy
/// was loaded and its test vectors were run as a host would.
pub(super) fn pull_policy(args: &PullArgs) -> anyhow::Result<()> {
    let pulled = args.fetch(GuestKind::Policy)?;
    let shown = pulled.reference.to_string();
    let engine = Engine::new(&EngineConfig::default())?;
    let inspection =
        inspect_component(&engine, &pulled.component).with_context(|| shown.clone())?;
    if !inspection.refused_as_policy.is_empty() {
        bail!(
            "a host would refuse {shown}: {}",
            inspection.refused_as_policy.join("; ")
        );
    }
    let policy = inspection
        .policy
        .with_context(|| format!("{shown} is no policy"))?;
    let name: Name = policy
        .metadata
        .name
        .parse()
        .with_context(|| shown.clone())?;
    let (file, text) = match &pulled.manifest {
        Some(text) => (check_pushed(text, &name, &pulled)?, text.clone()),
        None => {
            let file = format!("{name}.wasm");
            let digest = Digest::hash_bytes(&pulled.component);
            let text = [
                ("name", json!(name)),
                ("component", json!(file)),
                ("sha256", json!(digest)),
            ]
            .map(|(key, value)| format!("{key} = {value}\n"));
            (file, text.concat())
        }
    };
    let placement = Placement::prepare(&args.dir, name.as_str(), &file)?;
    let path = placement.write(&pulled, &format!("{}{text}", pulled.origin))?;
    print_notice!(
        "{name} {}: {} rules; {} is read from policies_dir, or by `ark policy upload`",
        policy.metadata.version,
        policy.metadata.rules.len(),
        path.display()
    );
    print_line!("{shown}");
    print_line!("wrote {}", path.display());
    Ok(())
}

/// Checks the manifest that was pushed with a policy, and returns the name of the component's file.
fn check_pushed(text: &str, name: &Name, pulled: &Pulled) -> anyhow::Result<String> {
    let shown = &pulled.reference;
    let manifest: PolicyManifest =
        toml::from_str(text).with_context(|| format!("the manifest that {shown} carries"))?;
    let found = Digest::hash_bytes(&pulled.component);
    anyhow::ensure!(
        manifest.name == *name && manifest.sha256 == found,
        "the manifest that {shown} carries is for {} with the SHA-256 {}, and the component is {name} with the SHA-256 {found}",
        manifest.name,
        manifest.sha256
    );
    Ok(manifest.component)
}
