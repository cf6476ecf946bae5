//! The secrets that sign what is sent.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac::{HMAC_SHA256, Key, sign};

use ark_store::{SecretKeyError, check_key_file};

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// The fewest and the most bytes of a secret (Standard Webhooks, "Signature scheme").
const MIN_BYTES: usize = 24;
/// See [`MIN_BYTES`].
const MAX_BYTES: usize = 64;
/// How many different bytes a secret has at least: one that was drawn has more.
const MIN_DISTINCT_BYTES: usize = 10;
/// How many secrets sign at the same time: the new one and those that receivers may still have.
const MAX_SECRETS: usize = 4;
/// The longest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 4096;

/// The secrets of a webhook, the newest first. They are not shown.
pub struct WebhookSecrets(Vec<Key>);

/// Why secrets cannot be used. No message has a part of one.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file is not there, or others can read it.
    #[error("{0}")]
    Mode(#[from] SecretKeyError),
    /// The file cannot be read.
    #[error("{path}: {cause}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system reports.
        cause: std::io::Error,
    },
    /// The file holds no secret, too many, or something else.
    #[error(
        "{path} {problem}; give 1 to {MAX_SECRETS} secrets, one a line, each made with `echo whsec_$(openssl rand -base64 32)`",
        path = path.display()
    )]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, to be read after its name.
        problem: String,
    },
}

impl WebhookSecrets {
    /// Reads the secrets of a file that only its owner can read: one a line, each `whsec_` and 24 to 64 bytes in Base64.
    ///
    /// # Errors
    /// See [`SecretFileError`].
    pub fn read(path: &Path) -> Result<Self, SecretFileError> {
        check_key_file(path)?;
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text))
            .map_err(|cause| SecretFileError::Unreadable {
                path: path.to_owned(),
                cause,
            })?;
        parse_secrets(&text)
            .map(Self)
            .map_err(|problem| SecretFileError::Form {
                path: path.to_owned(),
                problem,
            })
    }

    /// Returns the value of `webhook-signature`: one signature for each secret, of id, time (seconds since 1970) and body.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
        let signed = format!("{id}.{timestamp}.{body}");
        let signatures = self.0.iter().map(|key| {
            let signature = STANDARD.encode(sign(key, signed.as_bytes()));
            format!("v1,{signature}")
        });
        signatures.collect::<Vec<_>>().join(" ")
    }

    /// Returns how many secrets sign.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

fn parse_secrets(text: &str) -> Result<Vec<Key>, String> {
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("has more than {MAX_FILE_BYTES} bytes"));
    }
    let lines = text.lines().map(str::trim).zip(1..);
    let lines: Vec<_> = lines.filter(|(line, _)| !line.is_empty()).collect();
    if lines.is_empty() || lines.len() > MAX_SECRETS {
        return Err(format!("holds {} secrets", lines.len()));
    }
    let secrets = lines.into_iter().map(|(line, number)| {
        parse_secret(line).map_err(|problem| format!("has in line {number} {problem}"))
    });
    secrets.collect()
}

fn parse_secret(line: &str) -> Result<Key, String> {
    let encoded = line
        .strip_prefix(PREFIX)
        .ok_or_else(|| format!("what does not begin with {PREFIX}"))?;
    let bytes = STANDARD
        .decode(encoded)
        .map_err(|_| format!("what is no Base64 after {PREFIX}"))?;
    if !(MIN_BYTES..=MAX_BYTES).contains(&bytes.len()) {
        let length = bytes.len();
        return Err(format!(
            "a secret of {length} bytes, not {MIN_BYTES} to {MAX_BYTES}"
        ));
    }
    if bytes.iter().collect::<BTreeSet<_>>().len() < MIN_DISTINCT_BYTES {
        return Err("a secret that was typed and not drawn: somebody could guess it".to_owned());
    }
    Ok(Key::new(HMAC_SHA256, &bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// The example of the specification (standard-webhooks, libraries/python/tests).
    const EXAMPLE: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_example_of_the_specification_is_signed_as_there() {
        let secrets = WebhookSecrets(parse_secrets(EXAMPLE).unwrap());
        let signed = secrets.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            "{\"test\": 2432232314}",
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn several_secrets_give_several_signatures() {
        let other = format!("{PREFIX}{}", STANDARD.encode((0..32).collect::<Vec<u8>>()));
        let both = WebhookSecrets(parse_secrets(&format!("{other}\n\n{EXAMPLE}\n")).unwrap());
        let one = WebhookSecrets(parse_secrets(EXAMPLE).unwrap());
        let signed = both.sign("a", 1, "b");
        let parts: Vec<&str> = signed.split(' ').collect();
        assert_eq!((both.count(), parts.len()), (2, 2));
        assert_eq!(parts[1], one.sign("a", 1, "b"));
        assert_ne!(parts[0], parts[1]);
    }

    #[test]
    fn malformed_secrets_are_refused_without_being_shown() {
        let short = format!("{PREFIX}{}", STANDARD.encode([7; 23]));
        let typed = format!("{PREFIX}{}", STANDARD.encode([7; 32]));
        let long = format!("{PREFIX}{}", STANDARD.encode((0..65).collect::<Vec<u8>>()));
        let many = format!("{EXAMPLE}\n").repeat(5);
        for (bad, problem) in [
            ("", "holds 0 secrets"),
            (many.as_str(), "holds 5 secrets"),
            (
                "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "does not begin with whsec_",
            ),
            ("whsec_not base64", "no Base64"),
            (short.as_str(), "23 bytes"),
            (long.as_str(), "65 bytes"),
            (typed.as_str(), "typed and not drawn"),
        ] {
            let error = parse_secrets(bad).unwrap_err();
            assert!(error.contains(problem), "{error}");
            assert!(bad.len() < 12 || !error.contains(&bad[6..12]), "{error}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, EXAMPLE).unwrap();
        for (mode, is_read) in [
            (0o400, true),
            (0o440, false),
            (0o600, false),
            (0o404, false),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let read = WebhookSecrets::read(&path);
            assert_eq!(read.is_ok(), is_read, "{mode:o}");
            if let Err(error) = read {
                assert!(error.to_string().contains("chmod 0400"), "{error}");
            }
        }
    }
}
