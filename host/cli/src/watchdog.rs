//! `ark watchdog`

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use ark_model::ids::Name;

use super::call::CallerArgs;
use super::remote::Remote;

#[derive(Debug, Subcommand)]
pub(super) enum WatchdogCommand {
    /// Shows halt, quarantines, the agents' health, the probed limits and the latest alerts.
    Status {
        #[command(flatten)]
        remote: Remote,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Puts an agent into quarantine: it receives nothing and nothing of it counts, until it is restored.
    Quarantine {
        /// The agent.
        agent: Name,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Ends an agent's quarantine; what waited for it is delivered.
    Restore {
        /// The agent.
        agent: Name,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Halts everything: nothing but reads is approved, until it is resumed. Survives restarts.
    Halt {
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Ends the halt.
    Resume {
        #[command(flatten)]
        order: OrderArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct OrderArgs {
    /// Why: it is recorded in the audit log.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    caller: CallerArgs,
}

pub(super) fn run(command: WatchdogCommand) -> anyhow::Result<ExitCode> {
    match command {
        WatchdogCommand::Status { remote, json } => {
            let status = remote.get("/v1/watchdog")?;
            if json {
                println!("{status:#}");
            } else {
                print_status(&status);
            }
        }
        WatchdogCommand::Quarantine { agent, order } => {
            send_order(&order, &format!("/v1/agents/{agent}/quarantine"))?;
        }
        WatchdogCommand::Restore { agent, order } => {
            send_order(&order, &format!("/v1/agents/{agent}/restore"))?;
        }
        WatchdogCommand::Halt { order } => send_order(&order, "/v1/halt")?,
        WatchdogCommand::Resume { order } => send_order(&order, "/v1/resume")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn send_order(order: &OrderArgs, path: &str) -> anyhow::Result<()> {
    let body = json!({"reason": order.reason, "by": order.caller.actor_json()});
    let receipt = order.caller.remote.post(path, &body)?;
    let text = |name: &str| receipt.get(name).and_then(Value::as_str).unwrap_or("");
    let whom = match text("agent") {
        "" => String::new(),
        agent => format!(" of {agent}"),
    };
    if receipt.get("changed") == Some(&Value::Bool(true)) {
        println!("{}{whom}: in force, recorded", text("order"));
    } else {
        println!(
            "{}{whom}: was in force already, recorded again",
            text("order")
        );
    }
    Ok(())
}

fn print_status(status: &Value) {
    let flag = |name: &str| status.get(name) == Some(&Value::Bool(true));
    let list = |name: &str| {
        status
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let text = |value: &Value, name: &str| {
        value
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned()
    };
    match status.get("halt").filter(|halt| !halt.is_null()) {
        Some(halt) => println!("HALTED by {}: {}", text(halt, "by"), text(halt, "reason")),
        None if flag("halted") => println!("HALTED"),
        None => println!("not halted"),
    }
    let probes = list("probes");
    println!(
        "pin {}, watchdog {}, {} limits {}",
        if flag("pin_holds") { "holds" } else { "BROKEN" },
        if flag("beating") {
            "beats"
        } else {
            "DOES NOT BEAT"
        },
        probes.len(),
        if flag("probed") {
            "probed"
        } else {
            "NOT PROBED"
        },
    );
    for probe in probes
        .iter()
        .filter(|probe| probe.get("tripped") != Some(&Value::Bool(true)))
    {
        println!(
            "  {} does not hold: {}",
            text(probe, "limit"),
            text(probe, "detail")
        );
    }
    println!(
        "{:<20} {:>6} {:>8} {:>8} {:>8}  state",
        "agent", "health", "handled", "failed", "waiting"
    );
    let quarantines = list("quarantines");
    for agent in list("agents") {
        let name = text(&agent, "name");
        let state = quarantines
            .iter()
            .find(|quarantine| text(quarantine, "agent") == name)
            .map_or_else(
                || "well".to_owned(),
                |quarantine| {
                    format!(
                        "QUARANTINED by {}: {}",
                        text(quarantine, "by"),
                        text(quarantine, "reason")
                    )
                },
            );
        let number = |name: &str| agent.get(name).and_then(Value::as_u64).unwrap_or(0);
        let score = agent
            .pointer("/health/score")
            .and_then(Value::as_f64)
            .unwrap_or(0.0);
        println!(
            "{name:<20} {score:>6.2} {:>8} {:>8} {:>8}  {state}",
            number("handled"),
            number("failed"),
            number("waiting")
        );
    }
    let alerts = list("alerts");
    if !alerts.is_empty() {
        println!("latest alerts");
    }
    for alert in alerts {
        println!(
            "  {} {:<8} {} {}: {}",
            alert.get("at_ms").and_then(Value::as_u64).unwrap_or(0),
            text(&alert, "severity"),
            text(&alert, "kind"),
            text(&alert, "agent"),
            text(&alert, "message")
        );
    }
}
