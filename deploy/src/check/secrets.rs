//! The key that encrypts secrets, and the tokens of the API.

use std::collections::BTreeSet;

use ark_model::ids::Millis;
use ark_model::principal::Role;
use ark_store::{SecretKey, TokenRow, check_directory};

use super::line::CheckLines;
use super::subject::Subject;

/// Digits of a random key that differ from each other: a random one has about 13 of 16 in each half.
const MIN_DISTINCT_DIGITS: usize = 8;
/// How long before its end a token should be replaced, in milliseconds.
const TOKEN_NOTICE_MS: u64 = 7 * 86_400_000;

/// The key is there, is a key, looks random, and is the one that the database's secrets need.
pub(super) fn check_secret_key(subject: &Subject, lines: &mut CheckLines) {
    let key = match SecretKey::from_environment() {
        Err(error) => {
            return lines.fail(
                error.to_string(),
                "ARK_SECRET_KEY_FILE names a file of mode 0400 with 64 hexadecimal digits (openssl rand -hex 32)",
            );
        }
        // Whether there is one is not known, which is reported by `env-file`.
        Ok(None) if matches!(subject.options.env_file, Some(Err(_))) => return,
        Ok(None) => {
            return lines.warn(
                "there is no key, so agents can keep no secrets",
                "make one (openssl rand -hex 32), keep a copy elsewhere, and name its file in ARK_SECRET_KEY_FILE",
            );
        }
        Ok(Some(key)) => key,
    };
    if is_weak(&read_key_text()) {
        lines.fail(
            "the key that encrypts secrets is no random one: it can be guessed",
            "make one with `openssl rand -hex 32`; `ark state rekey` encrypts what is kept with it",
        );
    } else {
        lines.ok(format!("the key {} encrypts secrets", key.id()));
    }
}

/// The digits of the key, from where [`SecretKey::from_environment`] reads it.
fn read_key_text() -> String {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    set("ARK_SECRET_KEY")
        .or_else(|| std::fs::read_to_string(set("ARK_SECRET_KEY_FILE")?).ok())
        .unwrap_or_default()
}

/// Whether a key was typed or counted and not drawn: few digits, a part that repeats, or digits in their order.
fn is_weak(text: &str) -> bool {
    let digits: Vec<u8> = text
        .trim()
        .bytes()
        .map(|digit| digit.to_ascii_lowercase())
        .collect();
    let distinct = digits.iter().collect::<BTreeSet<_>>().len();
    let repeats = |length: usize| {
        digits
            .iter()
            .zip(digits.iter().skip(length))
            .all(|(one, other)| one == other)
    };
    distinct < MIN_DISTINCT_DIGITS || (1..=digits.len() / 2).any(repeats)
}

/// A host that others can reach has a token, and somebody can still administer it.
pub(super) fn check_tokens(subject: &Subject, lines: &mut CheckLines) {
    let config = &subject.config;
    if check_directory(subject.data_dir()).is_err() {
        // Whether there are tokens is not known: reported by `database`.
        return;
    }
    let tokens = subject.open_database().map(|store| store.all_tokens());
    let tokens: Vec<TokenRow> = match tokens {
        None => Vec::new(),
        Some(Ok(tokens)) => tokens,
        Some(Err(error)) => {
            return lines.fail(
                format!("the tokens cannot be read: {error}"),
                "see the line `database`",
            );
        }
    };
    let make = format!(
        "ark token create --role admin --name NAME --data-dir {}",
        config.store.dir.display()
    );
    if tokens.is_empty() {
        if config.access.is_exposed(config.listen) {
            lines.fail("other machines could reach the API, and there is no token: `ark serve` refuses to start", make);
        } else {
            lines.warn(
                "there is no token: every user of this machine is an administrator",
                make,
            );
        }
        return;
    }
    let now = Millis::now();
    let live: Vec<&TokenRow> = tokens
        .iter()
        .filter(|token| token.status(now) == "live")
        .collect();
    if !live.iter().any(|token| token.role == Role::Admin) {
        lines.warn(
            "no administrator's token is live: nobody can make or revoke tokens over the API",
            make,
        );
    }
    for token in &live {
        let end = token.expires_at.map(|end| end.0.saturating_sub(now.0));
        if let Some(left) = end.filter(|left| *left < TOKEN_NOTICE_MS) {
            lines.warn(
                format!("the token {} expires in {} h", token.name, left / 3_600_000),
                "make another one under a new name and give it to whoever uses this one",
            );
        }
    }
    if lines.is_good() {
        lines.ok(format!(
            "{} of {} tokens are live",
            live.len(),
            tokens.len()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::is_weak;

    #[test]
    fn keys_that_were_typed_are_weak() {
        for key in [
            "0".repeat(64),
            "0123456789abcdef".repeat(4),
            "deadbeef".repeat(8),
            "1234567".repeat(10).chars().take(64).collect(),
        ] {
            assert!(is_weak(&key), "{key}");
        }
        for key in [
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\n",
        ] {
            assert!(!is_weak(key), "{key}");
        }
    }
}
