//! The webhooks: the files that each needs, and whether its receiver can be reached.

use std::collections::BTreeMap;
use std::io;
use std::thread::{Builder, ScopedJoinHandle};

use ark_host::webhooks::{
    WebhookConfig, WebhookConnectionError, WebhookSecrets, check_authorities, try_connection,
};
use ark_model::ids::Name;

use super::Scope;
use super::inputs::CheckInputs;
use super::line::CheckLines;

/// The secrets are the host's alone and were drawn, the authorities can be read, and there is a way to the receivers. A secret beside another is one that is being
/// changed.
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
    let is_tried = inputs.scope == Scope::Everything;
    if is_tried {
        check_receivers(webhooks, lines);
    }
    if lines.is_good() {
        let reached = if is_tried {
            " and a receiver that can be reached"
        } else {
            ""
        };
        lines.add_ok(format!(
            "{} webhooks, each with a secret of its own{reached}",
            webhooks.len()
        ));
    }
}

/// Each receiver can be reached as the host would reach it. All are tried at once, and nothing is delivered.
fn check_receivers(webhooks: &[WebhookConfig], lines: &mut CheckLines) {
    let tried: Vec<Option<String>> = std::thread::scope(|scope| {
        let begun: Vec<_> = webhooks
            .iter()
            .map(|webhook| Builder::new().spawn_scoped(scope, move || try_connection(webhook)))
            .collect();
        begun.into_iter().map(find_obstacle).collect()
    });
    for (webhook, obstacle) in webhooks.iter().zip(tried) {
        if let Some(obstacle) = obstacle {
            lines.add_warning(
                format!(
                    "the webhook {} cannot be reached at {}: {obstacle}",
                    webhook.name, webhook.origin
                ),
                "start the receiver, or correct url, ca_file and allow_networks of the webhook; its events wait until it can be reached, and become dead letters after max_attempts",
            );
        }
    }
}

/// Why a receiver is not reached, or is not known to be; `None`: it is, or its authorities cannot be used, which has a line already.
fn find_obstacle(
    trial: io::Result<ScopedJoinHandle<'_, Result<(), WebhookConnectionError>>>,
) -> Option<String> {
    let trial = match trial {
        Ok(trial) => trial,
        Err(error) => return Some(format!("no thread could be started to try it ({error})")),
    };
    match trial.join() {
        Ok(Ok(()) | Err(WebhookConnectionError::Authority(_))) => None,
        Ok(Err(WebhookConnectionError::Failed { reason })) => Some(reason),
        Err(_) => Some("the trial broke off".to_owned()),
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
