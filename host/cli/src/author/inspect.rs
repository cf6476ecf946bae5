//! `ark inspect`: what a component is, and whether a host would load it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use ark_model::verdict::Severity;
use ark_runtime::{
    Engine, EngineConfig, Inspection, MAX_COMPONENT_BYTES, PolicyInspection, inspect_component,
};
use clap::Args;

use crate::output::print_json;

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The component.
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let name = args.file.display();
    let size = std::fs::metadata(&args.file)
        .with_context(|| name.to_string())?
        .len();
    anyhow::ensure!(
        size <= MAX_COMPONENT_BYTES as u64,
        "{name} has {size} bytes; at most {MAX_COMPONENT_BYTES} are allowed"
    );
    let bytes = std::fs::read(&args.file).with_context(|| name.to_string())?;
    let engine = Engine::new(&EngineConfig::default())?;
    let inspection = inspect_component(&engine, &bytes).with_context(|| name.to_string())?;
    if args.json {
        print_json(&inspection)?;
    } else {
        print_inspection(&inspection);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_inspection(inspection: &Inspection) {
    println!("world    {}", inspection.world);
    println!("size     {} bytes", inspection.size);
    println!("sha256   {}", inspection.sha256);
    match &inspection.policy {
        Some(policy) => print_policy(policy, inspection.has_vectors),
        None => println!(
            "vectors  {}",
            if inspection.has_vectors { "yes" } else { "no" }
        ),
    }
    println!("exports  {}", inspection.exports.join(", "));
    println!("imports");
    for import in &inspection.imports {
        let functions = if import.functions.is_empty() {
            "types only".to_owned()
        } else {
            import.functions.join(", ")
        };
        println!("  {}: {functions}", import.interface);
    }
    for (kind, refusals) in [
        ("an agent", &inspection.refused_as_agent),
        ("a policy", &inspection.refused_as_policy),
    ] {
        if refusals.is_empty() {
            println!("as {kind}: would be loaded");
        } else {
            println!("as {kind}: would be refused");
            for reason in refusals {
                println!("  {reason}");
            }
        }
    }
}

fn print_policy(policy: &PolicyInspection, has_vectors: bool) {
    println!("name     {}", policy.metadata.name);
    println!("version  {}", policy.metadata.version);
    println!(
        "settings {}",
        if policy.takes_settings {
            "taken, and checked by the policy itself"
        } else {
            "none"
        }
    );
    match (has_vectors, policy.vectors) {
        (false, _) => println!("vectors  none: nothing shows that its rules work"),
        (true, 0) => println!("vectors  do not hold"),
        (true, count) => println!("vectors  {count} hold"),
    }
    println!("rules");
    for rule in &policy.metadata.rules {
        let effect = match (rule.severity, rule.hold) {
            (Severity::Low, _) => "warns",
            (_, true) => "holds",
            _ => "denies",
        };
        println!(
            "  {:>3} {} ({:?}, {effect}): {}",
            rule.number, rule.name, rule.severity, rule.description
        );
    }
}
