//! From the tables `[[webhooks]]` to where events are sent and how.

use std::collections::HashSet;
use std::time::Duration;

use axum::http::Uri;

use crate::webhooks::{AddressGuard, EventTypeFilter, RetryLimits, WebhookConfig, WebhookSecrets};
use ark_model::loopback::is_loopback_host;

use super::error::KeyProblem;
use super::file::WebhookFile;

/// How many webhooks there are at most: each has a thread.
const MAX_WEBHOOKS: usize = 32;
/// The longest address, in bytes.
const MAX_URL_BYTES: usize = 2048;

/// Where events are sent. The secrets are read once, so that a file without a good one is found at the start.
pub(super) fn resolve_webhooks(files: Vec<WebhookFile>) -> Result<Vec<WebhookConfig>, KeyProblem> {
    if files.len() > MAX_WEBHOOKS {
        let problem = format!("has {} entries; give {MAX_WEBHOOKS} at most", files.len());
        return Err(("webhooks".to_owned(), problem));
    }
    let mut names = HashSet::new();
    let mut webhooks = Vec::new();
    for (index, file) in files.into_iter().enumerate() {
        let refused =
            |(name, problem): (&str, String)| (format!("webhooks[{index}].{name}"), problem);
        if !names.insert(file.name.clone()) {
            let problem = format!(
                "is {:?}, which another webhook has; give each its own",
                file.name.as_str()
            );
            return Err(refused(("name", problem)));
        }
        webhooks.push(resolve_webhook(file).map_err(refused)?);
    }
    Ok(webhooks)
}

fn resolve_webhook(file: WebhookFile) -> Result<WebhookConfig, (&'static str, String)> {
    let guard = AddressGuard::allow(&file.allow_networks.unwrap_or_default())
        .map_err(|error| ("allow_networks", error.to_string()))?;
    let origin = check_url(&file.url, &guard).map_err(|problem| ("url", problem))?;
    if file.ca_file.is_some() && !origin.starts_with("https:") {
        let problem = "is given, but url is not encrypted; write https:// in it";
        return Err(("ca_file", problem.to_owned()));
    }
    WebhookSecrets::read(&file.secret_file)
        .map_err(|error| ("secret_file", format!("cannot be used: {error}")))?;
    let events = match &file.events {
        Some(patterns) => {
            EventTypeFilter::parse(patterns).map_err(|error| ("events", error.to_string()))?
        }
        None => EventTypeFilter::every(),
    };
    let number = |name, value: Option<u64>, default, least, most| {
        let value = value.unwrap_or(default);
        if (least..=most).contains(&value) {
            Ok(value)
        } else {
            Err((name, format!("is {value}; give {least} to {most}")))
        }
    };
    let timeout_ms = number("timeout_ms", file.timeout_ms, 10_000, 100, 60_000)?;
    let max_attempts = number("max_attempts", file.max_attempts, 10, 1, 100)?;
    let first = number("retry_ms", file.retry_ms, 1_000, 10, 3_600_000)?;
    let longest = file.max_retry_ms;
    let longest = number(
        "max_retry_ms",
        longest,
        first.max(600_000),
        first,
        86_400_000,
    )?;
    let dead_letters = number("dead_letters", file.dead_letters, 1_000, 1, 10_000)?;
    Ok(WebhookConfig {
        name: file.name,
        url: file.url,
        origin,
        secret_file: file.secret_file,
        events,
        ca_file: file.ca_file,
        guard,
        timeout: Duration::from_millis(timeout_ms),
        retry: RetryLimits {
            attempts: u32::try_from(max_attempts).unwrap_or(u32::MAX),
            first_delay: Duration::from_millis(first),
            max_delay: Duration::from_millis(longest),
        },
        dead_letters: u32::try_from(dead_letters).unwrap_or(u32::MAX),
    })
}

/// Checks the address of a receiver. Returns its scheme, host and port.
fn check_url(url: &str, guard: &AddressGuard) -> Result<String, String> {
    const EXAMPLE: &str = "give an address, e.g. https://receiver.example/ark";
    if url.len() > MAX_URL_BYTES {
        return Err(format!("has more than {MAX_URL_BYTES} bytes"));
    }
    let uri: Uri = url
        .parse()
        .map_err(|error| format!("is no address: {error}; {EXAMPLE}"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(format!("has no scheme and host; {EXAMPLE}"));
    };
    if authority.as_str().contains('@') {
        return Err("has a user or password, which would be shown; leave it out: the receiver knows the host by the signature".to_owned());
    }
    match scheme {
        "https" => {}
        // Anybody on the way could read the events.
        "http" if is_loopback_host(authority.host()) => {}
        "http" => {
            return Err(
                "is not encrypted; write https:// (http:// is for this machine alone)".to_owned(),
            );
        }
        _ => return Err(format!("is neither http nor https; {EXAMPLE}")),
    }
    let host = authority.host().trim_matches(['[', ']']);
    if let Ok(address) = host.parse()
        && !guard.permits(address)
    {
        return Err(format!(
            "leads to {address}, which is not on the public Internet; if it is meant, name its network in allow_networks"
        ));
    }
    Ok(format!("{scheme}://{authority}"))
}
