//! `ark account`: the account that rules about losses and sizes judge by.

use std::process::ExitCode;

use clap::Subcommand;

use crate::output::print_json;

use super::connection::Connection;
use super::request::{ApiRequest, PageArgs, ReasonArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Shows capital, today's result and open positions, as JSON.
    Show {
        #[command(flatten)]
        connection: Connection,
    },
    /// Sets the capital of the account.
    Capital {
        /// The capital, in the account's currency.
        amount: f64,
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Records a realised result. It counts towards today's.
    Result {
        /// The result, in the account's currency; a loss is negative.
        #[arg(allow_negative_numbers = true)]
        amount: f64,
        /// A key under which the result counts once, however often it is sent with the same amount.
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Lists the changes of the account, newest first, as JSON.
    History {
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        connection: Connection,
    },
}

pub(crate) fn run_command(command: AccountCommand) -> anyhow::Result<ExitCode> {
    let answer = match command {
        AccountCommand::Show { connection } => {
            ApiRequest::get(&["v1", "account"]).send(&connection)?
        }
        AccountCommand::Capital { amount, reason } => {
            ApiRequest::new("PUT", &["v1", "account", "capital"])
                .with_fields(&[("amount", amount.into())])
                .send_with_reason(&reason)?
        }
        AccountCommand::Result {
            amount,
            idempotency_key,
            reason,
        } => ApiRequest::new("POST", &["v1", "account", "results"])
            .with_idempotency_key(idempotency_key)
            .with_fields(&[("amount", amount.into())])
            .send_with_reason(&reason)?,
        AccountCommand::History { page, connection } => {
            ApiRequest::get(&["v1", "account", "history"])
                .with_page(page)
                .send(&connection)?
        }
    };
    print_json(&answer)?;
    Ok(ExitCode::SUCCESS)
}
