//! `ark account`: the account's facts, which rules about losses and sizes judge by.

use std::process::ExitCode;

use clap::Subcommand;

use super::call::{ApiRequest, CallerArgs, PageArgs};
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
        caller: CallerArgs,
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
        caller: CallerArgs,
    },
    /// What was said of the account, newest first, as JSON.
    History {
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        remote: Remote,
    },
}

pub(super) fn run(command: AccountCommand) -> anyhow::Result<ExitCode> {
    let answer = match command {
        AccountCommand::Show { remote } => {
            ApiRequest::new("GET", &["v1", "account"]).send(&remote)?
        }
        AccountCommand::Capital {
            amount,
            reason,
            caller,
        } => ApiRequest::new("PUT", &["v1", "account", "capital"])
            .with_value(
                None,
                &[
                    ("amount", amount.into()),
                    ("reason", reason.into()),
                    ("by", caller.actor_json()),
                ],
            )
            .send(&caller.remote)?,
        AccountCommand::Result {
            amount,
            reason,
            idempotency_key,
            caller,
        } => ApiRequest::new("POST", &["v1", "account", "results"])
            .with_idempotency_key(idempotency_key)
            .with_value(
                None,
                &[
                    ("amount", amount.into()),
                    ("reason", reason.into()),
                    ("by", caller.actor_json()),
                ],
            )
            .send(&caller.remote)?,
        AccountCommand::History { page, remote } => {
            ApiRequest::new("GET", &["v1", "account", "history"])
                .with_page(page)
                .send(&remote)?
        }
    };
    println!("{answer:#}");
    Ok(ExitCode::SUCCESS)
}
