//! `ark webhooks list|dead-letters|redeliver|enable`: how webhooks do, and the events that they could not deliver.

use std::process::ExitCode;

use ark_client::members::{array_field, text_field};
use ark_model::ids::Name;
use clap::Subcommand;
use serde_json::{Value, json};

use crate::output::print_line;
use crate::time::format_millis;
use crate::usage::UsageError;

use super::fields::print_next_cursor;
use super::request::{ApiRequest, OptionalReasonArgs, PageArgs, ShowArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum WebhooksCommand {
    /// Lists the webhooks of a running host: how each does, how much waits, and how many dead letters it has.
    List {
        #[command(flatten)]
        show: ShowArgs,
    },
    /// Lists the events that a webhook could not deliver, with the reason; newest first.
    DeadLetters {
        /// The webhook.
        webhook: Name,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        show: ShowArgs,
    },
    /// Makes one more attempt at the dead letter of an event, or at all of a webhook.
    Redeliver {
        /// The webhook.
        webhook: Name,
        /// The id of the event; without it, give --all.
        event: Option<String>,
        /// Try all dead letters.
        #[arg(long, conflicts_with = "event")]
        all: bool,
        /// A key under which the host does this once, however often it is asked.
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        #[command(flatten)]
        reason: OptionalReasonArgs,
    },
    /// Lets a webhook send again that is disabled, since its receiver answered 410.
    Enable {
        /// The webhook.
        webhook: Name,
        #[command(flatten)]
        reason: OptionalReasonArgs,
    },
}

impl WebhooksCommand {
    /// Checks what the argument parser does not: that one of two arguments is given where the command needs one.
    ///
    /// # Errors
    /// Neither is given.
    pub(crate) fn check_usage(&self) -> Result<(), UsageError> {
        match self {
            Self::Redeliver {
                webhook,
                event: None,
                all: false,
                ..
            } => Err(UsageError::new(format_args!(
                "give EVENT, the id of an event that `ark webhooks dead-letters {webhook}` lists, or --all for all of them"
            ))),
            _ => Ok(()),
        }
    }
}

pub(crate) fn run_command(command: WebhooksCommand) -> anyhow::Result<ExitCode> {
    match command {
        WebhooksCommand::List { show } => {
            show.show_answer(ApiRequest::get(&["v1", "webhooks"]), print_webhooks)?;
        }
        WebhooksCommand::DeadLetters {
            webhook,
            page,
            show,
        } => show.show_answer(
            ApiRequest::get(&["v1", "webhooks", webhook.as_str(), "dead-letters"]).with_page(page),
            print_dead_letters,
        )?,
        WebhooksCommand::Redeliver {
            webhook,
            event,
            all: _,
            idempotency_key,
            reason,
        } => {
            let answer =
                ApiRequest::new("POST", &["v1", "webhooks", webhook.as_str(), "redeliver"])
                    .with_fields(&[("event_id", json!(event))])
                    .with_idempotency_key(idempotency_key)
                    .send_with_optional_reason(&reason)?;
            let count = answer["dead_letters"].as_u64().unwrap_or(0);
            match event {
                Some(event) => print_line!("{event} is sent to {webhook} again"),
                None => print_line!("{count} dead letters are sent to {webhook} again"),
            }
            print_line!("`ark webhooks dead-letters {webhook}` says which failed again");
        }
        WebhooksCommand::Enable { webhook, reason } => {
            ApiRequest::new("POST", &["v1", "webhooks", webhook.as_str(), "enable"])
                .send_with_optional_reason(&reason)?;
            print_line!("{webhook} sends again");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_webhooks(answer: &Value) {
    let webhooks = array_field(answer, "webhooks");
    if webhooks.is_empty() {
        print_line!(
            "this host has no webhook; name one in its configuration: [[webhooks]] with name, url and secret_file"
        );
    }
    for webhook in webhooks {
        let number = |name: &str| webhook[name].as_u64().unwrap_or(0);
        print_line!(
            "{}  {}  {}",
            text_field(webhook, "name"),
            text_field(webhook, "status"),
            text_field(webhook, "origin")
        );
        if let Some(problem) = webhook["problem"].as_str() {
            print_line!("    {problem}");
        }
        if webhook["failing_since_ms"].is_u64() {
            let since = format_millis(&webhook["failing_since_ms"]);
            if webhook["delivered_at_ms"].is_u64() {
                print_line!("    no attempt has succeeded since {since}");
            } else {
                print_line!(
                    "    no attempt has succeeded yet since the host was started; it has failed since {since}"
                );
            }
        }
        if webhook["retry_at_ms"].is_u64() {
            print_line!(
                "    attempt {} at {} is at {}",
                number("failed_attempts") + 1,
                text_field(webhook, "event_id"),
                format_millis(&webhook["retry_at_ms"])
            );
        }
        print_line!(
            "    {} delivered, {} wait, {} dead letters",
            webhook["attempts"]["delivered"],
            number("waiting"),
            number("dead_letters")
        );
    }
}

fn print_dead_letters(answer: &Value) {
    let letters = array_field(answer, "dead_letters");
    if letters.is_empty() {
        print_line!("nothing");
    }
    for letter in letters {
        print_line!(
            "{}  {}  {}",
            text_field(letter, "event_id"),
            text_field(letter, "event_type"),
            format_millis(&letter["at_ms"])
        );
        print_line!(
            "    {} attempts until {}: {}",
            letter["failed_attempts"],
            format_millis(&letter["failed_at_ms"]),
            text_field(letter, "reason")
        );
        if letter["redeliver_at_ms"].is_u64() {
            print_line!("    is sent again");
        }
    }
    print_next_cursor(answer);
}
