//! `ark signals failed|redeliver`: signals that an agent failed to handle, and how they are delivered again.

use std::process::ExitCode;

use ark_client::members::{array_field, text_field};
use ark_model::ids::{Name, SignalId};
use ark_model::printable::format_count;
use clap::Subcommand;
use serde_json::{Value, json};

use crate::output::{print_empty, print_line, print_notice};
use crate::time::format_millis;
use crate::usage::UsageError;

use super::fields::print_next_cursor;
use super::remedies::replace_calls;
use super::request::{ApiRequest, OptionalReasonArgs, PageArgs, ShowArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum SignalsCommand {
    /// Lists the signals that an agent failed to handle, with the reason; newest first.
    Failed {
        /// Only those of this agent.
        #[arg(long)]
        agent: Option<Name>,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        show: ShowArgs,
    },
    /// Delivers a signal again to the agent that failed to handle it, or all of an agent that have failed until now.
    Redeliver {
        /// The signal; without it, give --all.
        signal: Option<SignalId>,
        /// The agent.
        #[arg(long)]
        agent: Name,
        /// Deliver all that failed until now.
        #[arg(long, conflicts_with_all = ["signal", "idempotency_key"])]
        all: bool,
        /// A key under which the host does this once, however often it is asked.
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        #[command(flatten)]
        reason: OptionalReasonArgs,
    },
}

impl SignalsCommand {
    /// Checks what the argument parser does not: that one of two arguments is given where the command needs one.
    ///
    /// # Errors
    /// Neither is given.
    pub(crate) fn check_usage(&self) -> Result<(), UsageError> {
        match self {
            Self::Redeliver {
                signal: None,
                agent,
                all: false,
                ..
            } => Err(UsageError::new(format_args!(
                "give SIGNAL, the id of a signal that `ark signals failed --agent {agent}` lists, or --all for all of them"
            ))),
            _ => Ok(()),
        }
    }
}

pub(crate) fn run_command(command: SignalsCommand) -> anyhow::Result<ExitCode> {
    match command {
        SignalsCommand::Failed { agent, page, show } => show.show_answer(
            ApiRequest::get(&["v1", "signals", "failed"])
                .with_query("agent", agent)
                .with_page(page),
            print_failed,
        )?,
        SignalsCommand::Redeliver {
            signal,
            agent,
            all: _,
            idempotency_key,
            reason,
        } => {
            redeliver_signals(&agent, signal, idempotency_key.as_deref(), &reason)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Delivers one signal again, or batch after batch until none is left that had failed when the first was asked for.
fn redeliver_signals(
    agent: &Name,
    signal: Option<SignalId>,
    idempotency_key: Option<&str>,
    reason: &OptionalReasonArgs,
) -> anyhow::Result<()> {
    let mut failed_until = Value::Null;
    let mut delivered = 0;
    loop {
        let answer = ApiRequest::new("POST", &["v1", "signals", "redeliver"])
            .with_fields(&[
                ("agent", json!(agent)),
                ("signal_id", json!(signal)),
                ("failed_until_ms", failed_until),
            ])
            .with_idempotency_key(idempotency_key.map(str::to_owned))
            .send_with_optional_reason(reason)?;
        let batch = array_field(&answer, "signals").len();
        delivered += batch;
        let remaining = answer["remaining"].as_u64().unwrap_or(0);
        let is_over = signal.is_some() || batch == 0 || remaining == 0;
        if !is_over {
            failed_until = answer["failed_until_ms"].clone();
            continue;
        }
        let hint = answer["hint"].as_str().filter(|_| delivered > 0);
        match (signal, hint) {
            (Some(signal), None) => print_line!("{signal} is delivered to {agent} again"),
            (Some(signal), Some(_)) => print_line!("{signal} waits for {agent} again"),
            (None, None) => {
                let signals = format_count(delivered, "signal is", "signals are");
                print_line!("{signals} delivered to {agent} again");
            }
            (None, Some(_)) => {
                let signals = format_count(delivered, "signal waits", "signals wait");
                print_line!("{signals} for {agent} again");
            }
        }
        if let Some(hint) = hint {
            print_notice!("{}", replace_calls(hint.to_owned()));
        }
        let expired = answer["expired"].as_u64().unwrap_or(0);
        if expired > 0 {
            print_line!("{expired} have expired and stay failed");
        }
        return Ok(());
    }
}

fn print_failed(answer: &Value) {
    let failed = array_field(answer, "signals");
    if failed.is_empty() {
        print_empty!("no failed signals");
    }
    for signal in failed {
        print_line!(
            "{}  {}  {}  {}",
            text_field(signal, "signal_id"),
            text_field(signal, "agent"),
            text_field(signal, "topic"),
            format_millis(&signal["failed_at_ms"])
        );
        print_line!("    {}", text_field(signal, "reason"));
        print_line!("    trace {}", text_field(signal, "trace_id"));
        print_line!(
            "    ark signals redeliver {} --agent {}",
            text_field(signal, "signal_id"),
            text_field(signal, "agent")
        );
        if let Some(failure) = signal["failure_id"].as_str() {
            print_line!("    capsule {failure} (`ark agent capsules`)");
        }
    }
    print_next_cursor(answer);
}
