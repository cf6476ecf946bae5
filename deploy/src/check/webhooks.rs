//! The webhooks: the files that each needs.

use ark_host::webhooks::{WebhookSecrets, check_authorities};

use super::inputs::CheckInputs;
use super::line::CheckLines;

/// The secrets are the host's alone and were drawn, and the authorities can be read. A secret beside another is one that is being changed.
pub(super) fn check_webhooks(inputs: &CheckInputs, lines: &mut CheckLines) {
    let webhooks = &inputs.config.webhooks;
    if webhooks.is_empty() {
        return;
    }
    for webhook in webhooks {
        let (name, file) = (&webhook.name, webhook.secret_file.display());
        match WebhookSecrets::read(&webhook.secret_file) {
            Ok(secrets) if secrets.count() > 1 => lines.add_warning(
                format!(
                    "{} secrets in {file} sign for the webhook {name}",
                    secrets.count()
                ),
                "when every consumer has the first one, take the others out",
            ),
            Ok(_) => inputs
                .host_user
                .check_secret(&webhook.secret_file, "0400", lines),
            Err(error) => lines.add_error(
                format!("the webhook {name}: {error}"),
                format!("correct {file}"),
            ),
        }
        if let Err(error) = check_authorities(webhook) {
            lines.add_error(
                format!("the webhook {name}: ca_file {error}"),
                "name a PEM file with the authorities of the receiver, or leave ca_file out for the public ones",
            );
        }
    }
    if lines.is_good() {
        lines.add_ok(format!(
            "{} webhooks, each with a secret of its own file",
            webhooks.len()
        ));
    }
}
