//! `ark inspect`: what a component is, and whether a host would load it.

use std::process::ExitCode;

use anyhow::Context;
use ark_model::verdict::Severity;
use ark_runtime::{
    Engine, EngineConfig, Inspection, MAX_COMPONENT_BYTES, PolicyInspection, inspect_component,
};
use clap::Args;

use crate::built::BuiltPath;
use crate::output::{print_json, print_line};

use super::guest_crate::GuestKind;

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The component; or its manifest, or the directory of the project that was built.
    file: BuiltPath,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `meant`: what the component is inspected as, where the command says so; else it is what its exports make it.
pub(crate) fn run_command(
    args: &InspectArgs,
    meant: Option<GuestKind>,
) -> anyhow::Result<ExitCode> {
    let file = args.file.find_component()?;
    let name = file.display();
    let size = std::fs::metadata(&file)
        .with_context(|| name.to_string())?
        .len();
    anyhow::ensure!(
        size <= MAX_COMPONENT_BYTES as u64,
        "{name} has {size} bytes; at most {MAX_COMPONENT_BYTES} are allowed"
    );
    let bytes = std::fs::read(&file).with_context(|| name.to_string())?;
    let engine = Engine::new(&EngineConfig::default())?;
    let inspection = inspect_component(&engine, &bytes).with_context(|| name.to_string())?;
    if args.json {
        print_json(&inspection)?;
    } else {
        print_inspection(&inspection, meant);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_inspection(inspection: &Inspection, meant: Option<GuestKind>) {
    print_line!("world    {}", inspection.world);
    print_line!("size     {} bytes", inspection.size);
    print_line!("sha256   {}", inspection.sha256);
    match &inspection.policy {
        Some(policy) => print_policy(policy, inspection.has_vectors),
        None => print_line!(
            "vectors  {}",
            if inspection.has_vectors { "yes" } else { "no" }
        ),
    }
    print_line!("exports  {}", inspection.exports.join(", "));
    print_line!("imports");
    for import in &inspection.imports {
        let functions = if import.functions.is_empty() {
            "types only".to_owned()
        } else {
            import.functions.join(", ")
        };
        let stubbed = if import.stubbed {
            " (stubbed: every call fails)"
        } else {
            ""
        };
        print_line!("  {}{stubbed}: {functions}", import.interface);
    }
    let meant = meant.or(match inspection.world {
        world if world.starts_with("ark:agent/") => Some(GuestKind::Agent),
        world if world.starts_with("ark:policy/") => Some(GuestKind::Policy),
        _ => None,
    });
    for (kind, refusals, is_other) in [
        (
            "an agent",
            &inspection.refused_as_agent,
            matches!(meant, Some(GuestKind::Policy)),
        ),
        (
            "a policy",
            &inspection.refused_as_policy,
            matches!(meant, Some(GuestKind::Agent)),
        ),
    ] {
        if refusals.is_empty() {
            print_line!("as {kind}: would be loaded");
        } else if is_other {
            // Why each of its imports and exports is wrong for what it is not meant to be helps nobody.
            print_line!("as {kind}: would be refused");
        } else {
            print_line!("as {kind}: would be refused");
            for reason in refusals {
                print_line!("  {reason}");
            }
        }
    }
}

fn print_policy(policy: &PolicyInspection, has_vectors: bool) {
    print_line!("name     {}", policy.metadata.name);
    print_line!("version  {}", policy.metadata.version);
    print_line!(
        "settings {}",
        if policy.takes_settings {
            "taken, and checked by the policy itself"
        } else {
            "none"
        }
    );
    match (has_vectors, policy.vectors) {
        (false, _) => print_line!("vectors  none: nothing shows that its rules work"),
        (true, 0) => print_line!("vectors  do not hold"),
        (true, count) => print_line!("vectors  {count} hold"),
    }
    print_line!("rules");
    for rule in &policy.metadata.rules {
        let effect = match (rule.severity, rule.hold) {
            (Severity::Low, _) => "warns",
            (_, true) => "holds",
            _ => "denies",
        };
        print_line!(
            "  {:>3} {} ({}, {effect}): {}",
            rule.number,
            rule.name,
            rule.severity.as_str(),
            rule.description
        );
    }
}
