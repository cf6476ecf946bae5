//! `ark inspect`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use ark_model::verdict::Severity;
use ark_runtime::{
    Engine, EngineConfig, Inspection, MAX_COMPONENT_BYTES, PolicyInspection, inspect_component,
};

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// The component.
    file: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let shown = args.file.display();
    let size = std::fs::metadata(&args.file)
        .with_context(|| shown.to_string())?
        .len();
    anyhow::ensure!(
        size <= MAX_COMPONENT_BYTES as u64,
        "{shown}: it is {size} bytes large; {MAX_COMPONENT_BYTES} are the most"
    );
    let bytes = std::fs::read(&args.file).with_context(|| shown.to_string())?;
    let engine = Engine::new(&EngineConfig::default())?;
    let seen = inspect_component(&engine, &bytes).with_context(|| shown.to_string())?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&seen)?);
    } else {
        print_inspection(&seen);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_inspection(seen: &Inspection) {
    println!("world    {}", seen.world);
    println!("size     {} bytes", seen.size);
    println!("sha256   {}", seen.sha256);
    match &seen.policy {
        Some(policy) => print_policy(policy, seen.has_vectors),
        None => println!("vectors  {}", if seen.has_vectors { "yes" } else { "no" }),
    }
    println!("exports  {}", seen.exports.join(", "));
    println!("imports");
    for import in &seen.imports {
        let functions = if import.functions.is_empty() {
            "types only".to_owned()
        } else {
            import.functions.join(", ")
        };
        println!("  {}: {functions}", import.interface);
    }
    for (kind, refusals) in [
        ("an agent", &seen.refused_as_agent),
        ("a policy", &seen.refused_as_policy),
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
