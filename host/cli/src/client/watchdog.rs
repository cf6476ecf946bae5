//! `ark watchdog`: the health of a running host, its alerts, and the commands that halt it or quarantine its agents.

use std::process::ExitCode;

use ark_client::members::{array_field, is_true, text_field};
use ark_model::ids::Name;
use clap::Subcommand;
use serde_json::Value;

use crate::output::{print_empty, print_line, print_notice};
use crate::time::format_millis;

use super::request::{ApiRequest, PageArgs, ReasonArgs, ShowArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum WatchdogCommand {
    /// Shows halt, quarantines, the agents' health, the probed limits and the latest alerts.
    Status {
        #[command(flatten)]
        show: ShowArgs,
    },
    /// Lists alerts, newest first.
    Alerts {
        /// Only alerts about this agent.
        #[arg(long)]
        agent: Option<Name>,
        /// Only alerts of this kind, e.g. `heartbeat_missed`.
        #[arg(long)]
        kind: Option<String>,
        /// Only alerts of this severity or higher: info, warning or critical.
        #[arg(long)]
        severity: Option<String>,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        show: ShowArgs,
    },
    /// Quarantines an agent: it receives no signals and its proposals are denied, until it is restored.
    Quarantine {
        /// The agent.
        agent: Name,
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Ends the quarantine of an agent. The signals that waited for it are delivered.
    Restore {
        /// The agent.
        agent: Name,
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Halts the host: only reads are approved until it is resumed. A halt survives restarts.
    Halt {
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Ends the halt.
    Resume {
        #[command(flatten)]
        reason: ReasonArgs,
    },
}

pub(crate) fn run_command(command: WatchdogCommand) -> anyhow::Result<ExitCode> {
    match command {
        WatchdogCommand::Status { show } => {
            show.show_answer(ApiRequest::get(&["v1", "watchdog"]), print_status)?;
        }
        WatchdogCommand::Alerts {
            agent,
            kind,
            severity,
            page,
            show,
        } => {
            let request = ApiRequest::get(&["v1", "watchdog", "alerts"])
                .with_query("agent", agent)
                .with_query("kind", kind)
                .with_query("severity", severity)
                .with_page(page);
            show.show_answer(request, print_alerts)?;
        }
        WatchdogCommand::Quarantine { agent, reason } => {
            send_order(&["v1", "agents", agent.as_str(), "quarantine"], &reason)?;
        }
        WatchdogCommand::Restore { agent, reason } => {
            send_order(&["v1", "agents", agent.as_str(), "restore"], &reason)?;
        }
        WatchdogCommand::Halt { reason } => send_order(&["v1", "halt"], &reason)?,
        WatchdogCommand::Resume { reason } => send_order(&["v1", "resume"], &reason)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn send_order(path: &[&str], reason: &ReasonArgs) -> anyhow::Result<()> {
    let receipt = ApiRequest::new("POST", path).send_with_reason(reason)?;
    let target = match text_field(&receipt, "agent") {
        "" => String::new(),
        agent => format!(" of {agent}"),
    };
    print_line!(
        "{}{target}: {}",
        text_field(&receipt, "order"),
        if is_true(&receipt, "changed") {
            "in force, recorded"
        } else {
            "was in force already, recorded again"
        }
    );
    Ok(())
}

fn print_status(status: &Value) {
    match status.get("halt").filter(|halt| !halt.is_null()) {
        Some(halt) => print_line!(
            "HALTED by {}: {}",
            text_field(halt, "by"),
            text_field(halt, "reason")
        ),
        None if is_true(status, "halted") => print_line!("HALTED"),
        None => print_line!("not halted"),
    }
    let probes = array_field(status, "probes");
    print_line!(
        "pin {}, watchdog {}, {} limits {}",
        if is_true(status, "pin_holds") {
            "holds"
        } else {
            "BROKEN"
        },
        if is_true(status, "beating") {
            "beats"
        } else {
            "DOES NOT BEAT"
        },
        probes.len(),
        if is_true(status, "probed") {
            "probed"
        } else {
            "NOT PROBED"
        },
    );
    for probe in probes.iter().filter(|probe| !is_true(probe, "tripped")) {
        print_line!(
            "  {} does not hold: {}",
            text_field(probe, "limit"),
            text_field(probe, "detail")
        );
    }
    print_ceiling(status);
    print_agents(status);
    print_streams(status);
    let alerts = array_field(status, "alerts");
    if !alerts.is_empty() {
        print_line!("latest alerts");
    }
    for alert in alerts {
        print_line!(
            "  {} {:<8} {} {}: {}",
            format_millis(&alert["at_ms"]),
            text_field(alert, "severity"),
            text_field(alert, "kind"),
            text_field(alert, "agent"),
            text_field(alert, "message")
        );
    }
}

fn print_alerts(answer: &Value) {
    let alerts = array_field(answer, "alerts");
    if alerts.is_empty() {
        print_empty!("no such alerts; `ark watchdog status` shows how the host does");
        return;
    }
    print_line!(
        "{:<25} {:<8} {:<26} {:<16} message",
        "at",
        "severity",
        "kind",
        "agent"
    );
    for alert in alerts {
        print_line!(
            "{:<25} {:<8} {:<26} {:<16} {}",
            format_millis(&alert["at_ms"]),
            text_field(alert, "severity"),
            text_field(alert, "kind"),
            alert["agent"].as_str().unwrap_or("-"),
            text_field(alert, "message")
        );
    }
    if let Some(cursor) = answer["next_cursor"].as_str() {
        print_notice!("more with --cursor {cursor}");
    }
}

/// The operator's ceiling, which the limits of agents' manifests stay within.
fn print_ceiling(status: &Value) {
    let Some(limits) = status.get("limits").and_then(Value::as_object) else {
        return;
    };
    let limits: Vec<String> = limits
        .iter()
        .map(|(limit, value)| format!("{limit} {value}"))
        .collect();
    print_line!("limits of an agent: {}", limits.join(", "));
}

fn print_streams(status: &Value) {
    let streams = array_field(status, "streams");
    if !streams.is_empty() {
        print_line!(
            "{:<20} {:>8} {:>10} {:>8}  state",
            "stream",
            "accepted",
            "duplicates",
            "refused"
        );
    }
    for stream in streams {
        let number = |name: &str| stream.get(name).and_then(Value::as_u64).unwrap_or(0);
        let state = match text_field(stream, "problem") {
            "" if is_true(stream, "waiting") => "waits for room in a queue",
            "" => "is read",
            problem => problem,
        };
        print_line!(
            "{:<20} {:>8} {:>10} {:>8}  {state}",
            text_field(stream, "stream"),
            number("accepted"),
            number("duplicates"),
            number("refused")
        );
    }
}

fn print_agents(status: &Value) {
    print_line!(
        "{:<20} {:>6} {:>8} {:>8} {:>8}  state",
        "agent",
        "health",
        "handled",
        "failed",
        "waiting"
    );
    let quarantines = array_field(status, "quarantines");
    for agent in array_field(status, "agents") {
        let name = text_field(agent, "name");
        let state = quarantines
            .iter()
            .find(|quarantine| text_field(quarantine, "agent") == name)
            .map_or_else(
                || "well".to_owned(),
                |quarantine| {
                    format!(
                        "QUARANTINED by {}: {}",
                        text_field(quarantine, "by"),
                        text_field(quarantine, "reason")
                    )
                },
            );
        let number = |name: &str| agent.get(name).and_then(Value::as_u64).unwrap_or(0);
        let score = agent
            .pointer("/health/score")
            .and_then(Value::as_f64)
            .unwrap_or(0.0);
        print_line!(
            "{name:<20} {score:>6.2} {:>8} {:>8} {:>8}  {state}",
            number("handled"),
            number("failed"),
            number("waiting")
        );
    }
}
