//! `ark account`: the account's facts, which rules about losses and sizes judge by.

use std::process::ExitCode;

use clap::Subcommand;

use super::call::{Call, Caller, Page};
use super::remote::Remote;

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Shows capital, today's result and what is open, as JSON.
    Show {
        #[command(flatten)]
        remote: Remote,
    },
    /// Says how much capital the account has.
    Capital {
        /// In the account's currency.
        amount: f64,
        /// Why: it is recorded in the audit log.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        caller: Caller,
    },
    /// Says that a result was realised; it counts towards today's.
    Result {
        /// In the account's currency; a loss is negative.
        #[arg(allow_negative_numbers = true)]
        amount: f64,
        /// Why: it is recorded in the audit log.
        #[arg(long)]
        reason: String,
        /// Given again with the same amount, the result counts once.
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        #[command(flatten)]
        caller: Caller,
    },
    /// What was said of the account, newest first, as JSON.
    History {
        #[command(flatten)]
        page: Page,
        #[command(flatten)]
        remote: Remote,
    },
}

pub(super) fn run(command: AccountCommand) -> anyhow::Result<ExitCode> {
    let answer = match command {
        AccountCommand::Show { remote } => Call::new("GET", &["v1", "account"]).send(&remote)?,
        AccountCommand::Capital {
            amount,
            reason,
            caller,
        } => Call::new("PUT", &["v1", "account", "capital"])
            .body(
                None,
                &[
                    ("amount", amount.into()),
                    ("reason", reason.into()),
                    ("by", caller.by()),
                ],
            )
            .send(&caller.remote)?,
        AccountCommand::Result {
            amount,
            reason,
            idempotency_key,
            caller,
        } => Call::new("POST", &["v1", "account", "results"])
            .once(idempotency_key)
            .body(
                None,
                &[
                    ("amount", amount.into()),
                    ("reason", reason.into()),
                    ("by", caller.by()),
                ],
            )
            .send(&caller.remote)?,
        AccountCommand::History { page, remote } => Call::new("GET", &["v1", "account", "history"])
            .page(page)
            .send(&remote)?,
    };
    println!("{answer:#}");
    Ok(ExitCode::SUCCESS)
}
