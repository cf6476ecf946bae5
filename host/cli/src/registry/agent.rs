//! `ark agent pull`.

use anyhow::Context;
use ark_host::agents::{Ceiling, load_agent};
use ark_runtime::{Engine, EngineConfig, Manifest, read_agent_metadata};
use clap::Args;

use crate::author::{GrantArgs, GuestKind};
use crate::built::ManifestHead;
use crate::output::{print_line, print_notice};

use super::place::Placement;
use super::pull::PullArgs;

#[derive(Debug, Args)]
pub(crate) struct PullAgentArgs {
    #[command(flatten)]
    pull: PullArgs,
    #[command(flatten)]
    grants: GrantArgs,
}

/// Pulls an agent. Its manifest is the one that was pushed with it; with `--topic` or `--grant`, or where none was pushed, one is written as
/// `ark agent add` does. Nothing is written before the agent was loaded as a host would.
pub(super) fn pull_agent(args: PullAgentArgs) -> anyhow::Result<()> {
    let pulled = args.pull.fetch(GuestKind::Agent)?;
    let shown = pulled.reference.to_string();
    let engine = Engine::new(&EngineConfig::default())?;
    let metadata =
        read_agent_metadata(&engine, &pulled.component).with_context(|| shown.clone())?;
    let pushed = pulled
        .manifest
        .as_deref()
        .filter(|_| args.grants.is_empty());
    let is_pushed = pushed.is_some();
    let (file, text) = match pushed {
        Some(text) => {
            let head: ManifestHead = toml::from_str(text)
                .with_context(|| format!("the manifest that {shown} carries"))?;
            (head.component, text.to_owned())
        }
        None => {
            let file = format!("{}.wasm", metadata.name);
            let composed = args
                .grants
                .compose_manifest(&metadata, &file, &pulled.component)?;
            (file, composed)
        }
    };
    let text = format!("{}{text}", pulled.origin);
    let placement = Placement::prepare(&args.pull.dir, metadata.name.as_str(), &file)?;
    let manifest = load_staged(&engine, &args.pull.dir, &file, &pulled.component, &text)
        .with_context(|| format!("a host would refuse {shown}"))?;
    let path = placement.write(&pulled, &text)?;
    if is_pushed {
        print_notice!(
            "{} is the manifest that was pushed with it: topics {:?}, actions {:?}, capabilities {:?}; change it before you upload if that is too much",
            path.display(),
            manifest.topics,
            manifest.actions,
            manifest.capabilities
        );
    }
    print_line!("{shown}");
    print_line!("wrote {}", path.display());
    Ok(())
}

/// Loads the agent from a directory of its own, as a host would, and returns its manifest.
fn load_staged(
    engine: &Engine,
    dir: &std::path::Path,
    file: &str,
    component: &[u8],
    text: &str,
) -> anyhow::Result<Manifest> {
    let staging = tempfile::Builder::new()
        .prefix(".ark-pull-")
        .tempdir_in(dir)
        .with_context(|| dir.display().to_string())?;
    let manifest = staging.path().join("manifest.toml");
    std::fs::write(staging.path().join(file), component)?;
    std::fs::write(&manifest, text)?;
    let agent = load_agent(engine, &manifest, &Ceiling::default())?;
    Ok(agent.manifest().as_ref().clone())
}
