//! The webhooks: the files that each needs.

use std::collections::BTreeMap;

use ark_host::webhooks::{WebhookConfig, WebhookSecrets, check_authorities};
use ark_model::ids::Name;

use super::inputs::CheckInputs;
use super::line::CheckLines;

/// The secrets are the host's alone and were drawn, and the authorities can be read. A secret beside another is one that is being changed.
pub(super) fn check_webhooks(inputs: &CheckInputs, lines: &mut CheckLines) {
    let webhooks = &inputs.config.webhooks;
    if webhooks.is_empty() {
        return;
    }
    let mut owners = BTreeMap::new();
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
        find_shared_secrets(webhook, &mut owners, lines);
        if let Err(error) = check_authorities(webhook) {
            lines.add_error(
                format!("the webhook {name}: ca_file {error}"),
                "name a PEM file with the authorities of the receiver, or leave ca_file out for the public ones",
            );
        }
    }
    if lines.is_good() {
        lines.add_ok(format!(
            "{} webhooks, each with a secret of its own",
            webhooks.len()
        ));
    }
}

/// Warns of secrets that another webhook has, too. `owners`: which webhook has which secret, of those before. A file that is none of secrets is reported
/// by the caller.
fn find_shared_secrets<'a>(
    webhook: &'a WebhookConfig,
    owners: &mut BTreeMap<String, &'a Name>,
    lines: &mut CheckLines,
) {
    // Only then it is a small file.
    if WebhookSecrets::read(&webhook.secret_file).is_err() {
        return;
    }
    let text = std::fs::read_to_string(&webhook.secret_file).unwrap_or_default();
    for secret in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let owner = *owners.entry(secret.to_owned()).or_insert(&webhook.name);
        if *owner != webhook.name {
            lines.add_warning(
                format!(
                    "the webhooks {owner} and {} sign with the same secret: either receiver can forge what the other one gets",
                    webhook.name
                ),
                "make a secret for each webhook: echo whsec_$(openssl rand -base64 32)",
            );
        }
    }
}
