//! The key that encrypts secrets, and the tokens of the API.

use std::path::Path;

use ark_model::ids::Millis;
use ark_model::principal::Role;
use ark_model::printable::format_count;
use ark_store::{ReadOnlyStore, TokenRow};

use super::inputs::CheckInputs;
use super::line::CheckLines;

/// How long before its end a token should be replaced, in milliseconds.
const TOKEN_NOTICE_MS: u64 = 7 * 86_400_000;

/// The variable that names the file of the key.
const KEY_FILE_VARIABLE: &str = "ARK_SECRET_KEY_FILE";

/// The key is there, is a key, is the host's alone, and was drawn; so is the key of the fleet, which is another one.
pub(super) fn check_secret_key(inputs: &CheckInputs, lines: &mut CheckLines) {
    check_fleet_key(inputs, lines);
    let key = match &inputs.secret_key {
        Err(error) => {
            return lines.add_error(
                error.to_string(),
                "ARK_SECRET_KEY_FILE names a file of mode 0400 with 64 hexadecimal digits (openssl rand -hex 32)",
            );
        }
        Ok(None) if let Some(count) = count_secrets(inputs) => {
            let secrets = format_count(count, "secret", "secrets");
            return lines.add_error(
                format!("there is no key, and the database holds {secrets} that no agent can read without theirs"),
                "name the file of the key that they were encrypted with in ARK_SECRET_KEY_FILE; if it is lost, give the agents their secrets again under a new one",
            );
        }
        Ok(None) => {
            return lines.add_warning(
                "there is no key, so agents can keep no secrets",
                "make one (openssl rand -hex 32), keep a copy elsewhere, and name its file in ARK_SECRET_KEY_FILE",
            );
        }
        Ok(Some(key)) => key,
    };
    if key.is_guessable() {
        lines.add_error(
            "the key that encrypts secrets is no random one: it can be guessed",
            "make one with `openssl rand -hex 32`; `ark state rekey` encrypts what is kept with it",
        );
    }
    if let Some(file) = std::env::var_os(KEY_FILE_VARIABLE).filter(|file| !file.is_empty()) {
        inputs
            .host_user
            .check_secret(Path::new(&file), "0400", lines);
    }
    if lines.is_good() {
        lines.add_ok(format!("the key {} encrypts secrets", key.id()));
    }
}

/// The key of the fleet was drawn, is not the one that encrypts secrets, and is the host's alone. Its form and mode are the configuration's.
fn check_fleet_key(inputs: &CheckInputs, lines: &mut CheckLines) {
    let Some(fleet) = &inputs.config.watchdog.fleet else {
        return;
    };
    if fleet.key.is_guessable() {
        lines.add_error(
            "the key of the fleet (watchdog.fleet_key_file) is no random one: whoever guesses it can halt every host, and end a halt",
            "make one with `openssl rand -hex 32`, and give it to every host of the fleet",
        );
    }
    if inputs
        .usable_key()
        .is_some_and(|key| key.id() == fleet.key.id())
    {
        lines.add_error(
            "the key of the fleet (watchdog.fleet_key_file) is the key that encrypts secrets: every host of the fleet could decrypt them",
            "make another one for the fleet with `openssl rand -hex 32`",
        );
    }
    let values = inputs.layers.lines();
    let file = values
        .iter()
        .find(|line| line.key == "watchdog.fleet_key_file");
    if let Some(file) = file.and_then(|line| line.value.as_ref()?.as_str()) {
        inputs
            .host_user
            .check_secret(Path::new(file), "0400", lines);
    }
}

/// How many secrets the database holds; `None`: none, or it cannot be read, which the line `database` reports.
fn count_secrets(inputs: &CheckInputs) -> Option<u64> {
    let store = inputs.open_database().ok()??;
    store.count_secrets().ok().filter(|count| *count > 0)
}

/// The tokens, and how they differ from what the audit log says. The error is why that cannot be read.
fn read_tokens<'a>(
    inputs: &'a CheckInputs,
    store: &ReadOnlyStore,
) -> Result<(Vec<TokenRow>, &'a [String]), String> {
    let tokens = store.all_tokens().map_err(|error| error.to_string())?;
    Ok((tokens, &inputs.compare_access()?.tokens))
}

/// A host that others can reach has a token, and somebody can still administer it.
pub(super) fn check_tokens(inputs: &CheckInputs, lines: &mut CheckLines) {
    let config = &inputs.config;
    let no_difference: &[String] = &[];
    let tokens = match inputs.open_database() {
        Ok(None) => Ok((Vec::new(), no_difference)),
        Ok(Some(store)) => read_tokens(inputs, &store)
            .map_err(|error| format!("the tokens cannot be read: {error}")),
        // That line has the reason.
        Err(_) => Err("the tokens cannot be read: the database cannot be opened".to_owned()),
    };
    let tokens: Vec<TokenRow> = match tokens {
        Ok((tokens, differences)) => {
            for difference in differences {
                lines.add_error(
                    format!("not as the audit log says: {difference}"),
                    "treat it as an intrusion: keep a copy as evidence, revoke the token, find out who wrote to the file, and restore a snapshot",
                );
            }
            tokens
        }
        Err(problem) => return lines.add_skipped(problem, "see the line `database`"),
    };
    // The running host makes them, of whom the database is.
    let make = if inputs.running_host.is_some() {
        "ark token create --role admin --name NAME".to_owned()
    } else {
        format!(
            "ark token create --role admin --name NAME --data-dir {}",
            config.store.dir.display()
        )
    };
    let now = Millis::now();
    let live: Vec<&TokenRow> = tokens
        .iter()
        .filter(|token| token.status(now) == "live")
        .collect();
    let is_exposed = config.access.is_exposed(config.listen);
    if tokens.is_empty() && is_exposed {
        return lines.add_error(
            "other machines could reach the API, and there is no token: `ark serve` refuses to start",
            make,
        );
    }
    if tokens.is_empty() {
        return lines.add_warning(
            "there is no token: every user of this machine is an administrator",
            make,
        );
    }
    if live.is_empty() && is_exposed {
        return lines.add_error(
            format!(
                "none of {} is live (each is revoked or expired): the host admits no call",
                format_count(tokens.len(), "token", "tokens")
            ),
            make,
        );
    }
    if !live.iter().any(|token| token.role == Role::Admin) {
        lines.add_warning(
            "no administrator's token is live: nobody can make or revoke tokens over the API",
            make,
        );
    }
    for token in &live {
        let end = token.expires_at.map(|end| end.0.saturating_sub(now.0));
        if let Some(left) = end.filter(|left| *left < TOKEN_NOTICE_MS) {
            lines.add_warning(
                format!("the token {} expires in {} h", token.name, left / 3_600_000),
                "make another one under a new name and give it to everybody who uses this one",
            );
        }
    }
    if lines.is_good() {
        let lasting = live
            .iter()
            .filter(|token| token.expires_at.is_none())
            .count();
        lines.add_ok(format!(
            "{} of {} tokens are live, {lasting} of them for ever",
            live.len(),
            tokens.len()
        ));
    }
}
