//! `ark version`: which program this is, for people and for other versions of it.

use std::process::ExitCode;

use anyhow::Context;
use ark_model::ids::Digest;
use ark_runtime::Pin;
use clap::Args;
use serde_json::json;

use crate::output::{print_json, print_line};

#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run_command(args: &VersionArgs) -> anyhow::Result<ExitCode> {
    let (version, schema) = (ark_host::VERSION, ark_store::current_schema());
    if args.json {
        // A version that is wrapped is known by the program that it becomes.
        let program = std::fs::File::open("/proc/self/exe").context("/proc/self/exe")?;
        let (build, _) = Digest::hash_reader(program).context("/proc/self/exe")?;
        let graveyard = Pin::compiled_in()?.digest();
        print_json(
            &json!({"version": version, "schema": schema, "build": build, "graveyard": graveyard}),
        )?;
    } else {
        print_line!("ark {version}, schema {schema} of the database");
    }
    Ok(ExitCode::SUCCESS)
}
