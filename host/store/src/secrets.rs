//! Encryption of values under `secret/`.
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) with a random 24-byte nonce. The associated data binds a ciphertext to its agent, key
//! and revision and to the id of the encryption key, so that it cannot be moved to another place. The plaintext is 16 random bytes and
//! the value; the history's digest of a secret is over both, so it neither reveals the value nor changes when the encryption key does.
//!
//! Invariant: the key and decrypted values leave this module only towards the agent they belong to.

use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ark_model::ids::Digest;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

/// The environment variable with the key: 64 hexadecimal digits.
const KEY_VARIABLE: &str = "ARK_SECRET_KEY";
/// The environment variable with the path of a file with the key.
const KEY_FILE_VARIABLE: &str = "ARK_SECRET_KEY_FILE";

/// The environment variable with the directory of a service's credentials.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// Digits of a key that differ from each other: a random one has nearly all 16.
const MIN_DISTINCT_DIGITS: usize = 8;
const NONCE_BYTES: usize = 24;
const SALT_BYTES: usize = 16;

/// Why there is no usable encryption key. No message contains the key itself.
#[derive(Debug, thiserror::Error)]
pub enum SecretKeyError {
    /// The text is not 64 hexadecimal digits.
    #[error("{origin} does not hold 64 hexadecimal digits; make a key with `openssl rand -hex 32`")]
    InvalidForm {
        /// The environment variable or the file the text is from.
        origin: String,
    },
    /// Both environment variables are set.
    #[error("both {KEY_VARIABLE} and {KEY_FILE_VARIABLE} are set; unset one of them")]
    BothSet,
    /// The file cannot be read.
    #[error("the key file {path}: {cause}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system reports.
        cause: std::io::Error,
    },
    /// The file's permissions let others read it, or let anybody change it.
    #[error("the key file {path} has mode {mode:04o}; make it 0400 (chmod 0400 {path})", path = path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// Why a secret cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretError {
    /// The host has no encryption key.
    NoKey {
        /// The key of the state.
        key: String,
    },
    /// The secret was encrypted with another key.
    OtherKey {
        /// The key of the state.
        key: String,
        /// The id of the encryption key it needs.
        needed: String,
        /// The id of the host's encryption key.
        given: String,
    },
    /// The secret's encryption key was lost, and the secret was given up by order.
    GivenUp {
        /// The key of the state.
        key: String,
        /// The id of the lost encryption key.
        lost: String,
    },
    /// The ciphertext does not decrypt.
    Broken {
        /// The key of the state.
        key: String,
    },
    /// The system gives no random bytes.
    NoRandomness,
}

impl SecretError {
    /// What happened, as a sentence.
    #[must_use]
    pub fn problem(&self) -> String {
        match self {
            Self::NoKey { key } => {
                format!("{key:?} is a secret and the host has no key to encrypt it with")
            }
            Self::OtherKey { key, needed, given } => {
                format!("{key:?} is encrypted with the key {needed}, the host has {given}")
            }
            Self::GivenUp { key, lost } => {
                format!("{key:?} was encrypted with the key {lost}, which was lost")
            }
            Self::Broken { key } => format!("{key:?} does not decrypt: it was changed or moved"),
            Self::NoRandomness => "the system gives no random bytes".to_owned(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::NoKey { .. } => format!(
                "start the host with {KEY_FILE_VARIABLE} naming a 0400 file of 64 hexadecimal digits"
            ),
            Self::OtherKey { needed, .. } => format!("start the host with the key {needed}"),
            Self::GivenUp { .. } => "the secret was given up and must be written anew".to_owned(),
            Self::Broken { .. } => "restore a snapshot".to_owned(),
            Self::NoRandomness => "try again; see the log of the kernel".to_owned(),
        }
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}; {}", self.problem(), self.remedy())
    }
}

impl std::error::Error for SecretError {}

/// The revision that a ciphertext is bound to.
#[derive(Clone, Copy)]
pub(crate) struct StateAddress<'a> {
    pub(crate) agent: &'a str,
    pub(crate) key: &'a str,
    pub(crate) revision: u64,
}

/// The address of a message on a channel. No agent has an empty name, so no state can be taken for a message.
const fn message_address(channel: &str) -> StateAddress<'_> {
    StateAddress {
        agent: "",
        key: channel,
        revision: 0,
    }
}

/// An encrypted value.
pub(crate) struct SealedValue {
    /// The nonce and the ciphertext, in hexadecimal digits.
    pub(crate) text: String,
    /// The digest that the history keeps of it.
    pub(crate) digest: Digest,
}

/// What stands before the id of a lost key at a secret that was given up. The SQL of this crate has it in literals.
const GIVEN_UP: &str = "given-up:";

/// Returns what stands in place of the id of its key at a secret that was given up.
pub(crate) fn mark_given_up(key_id: &str) -> String {
    format!("{GIVEN_UP}{key_id}")
}

/// Returns the id of the lost key of a secret that was given up; `None`: the secret was not.
pub(crate) fn find_lost_key(key_id: &str) -> Option<&str> {
    key_id.strip_prefix(GIVEN_UP)
}

/// The key that encrypts secrets.
#[derive(Clone)]
pub struct SecretKey {
    id: String,
    cipher: XChaCha20Poly1305,
    is_guessable: bool,
}

/// Whether systemd has put a file there for this service alone (`LoadCredential=`).
fn is_credential(path: &Path) -> bool {
    let directory = std::env::var_os(CREDENTIALS_VARIABLE).filter(|value| !value.is_empty());
    directory.is_some_and(|directory| path.parent() == Some(Path::new(&directory)))
}

/// Checks that only its owner can read a file with a key or a secret, and that nobody can write it; see [`SecretKey::from_file`].
///
/// # Errors
/// The file is not there, or its mode lets others read it or somebody write it.
pub fn check_key_file(path: &Path) -> Result<(), SecretKeyError> {
    let metadata = std::fs::metadata(path).map_err(|cause| SecretKeyError::Unreadable {
        path: path.to_owned(),
        cause,
    })?;
    let mode = metadata.mode() & 0o777;
    let rights = if is_credential(path) { 0o440 } else { 0o400 };
    if mode & !(rights | 0o100) != 0 {
        return Err(SecretKeyError::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// Returns whether a key or a password was typed and not drawn: few characters that differ, or a part that repeats.
#[must_use]
pub fn looks_typed(digits: &str) -> bool {
    let digits = digits.as_bytes();
    let distinct = digits.iter().collect::<BTreeSet<_>>().len();
    let repeats = |length: usize| {
        let later = digits.iter().skip(length);
        digits.iter().zip(later).all(|(one, other)| one == other)
    };
    distinct < MIN_DISTINCT_DIGITS || (1..=digits.len() / 2).any(repeats)
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretKey({})", self.id)
    }
}

impl SecretKey {
    /// Reads the key that the environment gives in `ARK_SECRET_KEY` or in the file of `ARK_SECRET_KEY_FILE`. `None` when neither variable
    /// is set, or both are empty.
    ///
    /// # Errors
    /// See [`SecretKeyError`].
    pub fn from_environment() -> Result<Option<Self>, SecretKeyError> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        match (set(KEY_VARIABLE), set(KEY_FILE_VARIABLE)) {
            (Some(_), Some(_)) => Err(SecretKeyError::BothSet),
            (None, None) => Ok(None),
            (Some(text), None) => {
                Self::parse(text.to_str().unwrap_or_default(), KEY_VARIABLE).map(Some)
            }
            (None, Some(path)) => Self::from_file(Path::new(&path)).map(Some),
        }
    }

    /// Reads the key from a file that only its owner can read and nobody can write. A credential of systemd is readable for its service alone,
    /// and shows that as a right of the group, where it is an entry of an access list.
    ///
    /// # Errors
    /// See [`SecretKeyError`].
    pub fn from_file(path: &Path) -> Result<Self, SecretKeyError> {
        check_key_file(path)?;
        let text = std::fs::read_to_string(path).map_err(|cause| SecretKeyError::Unreadable {
            path: path.to_owned(),
            cause,
        })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Parses 64 hexadecimal digits. `origin` names in an error where they are from.
    ///
    /// # Errors
    /// [`SecretKeyError::InvalidForm`] when the text is anything else.
    pub fn parse(text: &str, origin: &str) -> Result<Self, SecretKeyError> {
        // A digest has the same form: 32 bytes in hexadecimal.
        let key: Digest = text
            .trim()
            .parse()
            .map_err(|_| SecretKeyError::InvalidForm {
                origin: origin.to_owned(),
            })?;
        let id = Digest::hash_parts([b"ark secret key id".as_slice(), key.as_bytes()]).to_string();
        Ok(Self {
            id: id.chars().take(16).collect(),
            cipher: XChaCha20Poly1305::new(key.as_bytes().into()),
            is_guessable: looks_typed(&key.to_string()),
        })
    }

    /// Returns whether the key was typed or counted and not drawn, so that somebody could guess it.
    #[must_use]
    pub const fn is_guessable(&self) -> bool {
        self.is_guessable
    }

    /// The key's id: the first 16 digits of a digest of it. A stored secret names the key it needs by this id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Encrypts a message for holders of the same key. The message is bound to `channel` and decrypts on that channel only.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn seal_message(&self, channel: &str, text: &str) -> Result<String, SecretError> {
        self.seal_value(message_address(channel), text)
            .map(|sealed| sealed.text)
    }

    /// Decrypts a message. Success proves that a holder of the key encrypted it for this channel.
    ///
    /// # Errors
    /// The message was encrypted with another key or for another channel, or was changed.
    pub fn open_message(&self, channel: &str, text: &str) -> Result<String, SecretError> {
        self.open_value(message_address(channel), &self.id, text)
            .map(|(text, _)| text)
    }

    /// Encrypts a value and binds it to its address.
    pub(crate) fn seal_value(
        &self,
        address: StateAddress<'_>,
        value: &str,
    ) -> Result<SealedValue, SecretError> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|_| SecretError::NoRandomness)?;
        self.seal_salted(address, &[salt.as_slice(), value.as_bytes()].concat())
    }

    fn seal_salted(
        &self,
        address: StateAddress<'_>,
        salted: &[u8],
    ) -> Result<SealedValue, SecretError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| SecretError::NoRandomness)?;
        let payload = Payload {
            msg: salted,
            aad: &self.associated_data(address),
        };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| SecretError::NoRandomness)?;
        Ok(SealedValue {
            text: to_hex(&[nonce.as_slice(), &sealed].concat()),
            digest: Digest::hash_bytes(salted),
        })
    }

    /// Encrypts with `new` what this key has encrypted. The digest does not change.
    pub(crate) fn reseal_value(
        &self,
        new: &Self,
        address: StateAddress<'_>,
        key_id: &str,
        text: &str,
    ) -> Result<SealedValue, SecretError> {
        let salted = self.open_salted(address, key_id, text)?;
        new.seal_salted(address, &salted)
    }

    /// Decrypts the value of an address. Returns it with the digest that the history must have of it.
    pub(crate) fn open_value(
        &self,
        address: StateAddress<'_>,
        key_id: &str,
        text: &str,
    ) -> Result<(String, Digest), SecretError> {
        let salted = self.open_salted(address, key_id, text)?;
        let digest = Digest::hash_bytes(&salted);
        let value = salted
            .get(SALT_BYTES..)
            .map(<[u8]>::to_vec)
            .unwrap_or_default();
        let value = String::from_utf8(value).map_err(|_| SecretError::Broken {
            key: address.key.to_owned(),
        })?;
        Ok((value, digest))
    }

    fn open_salted(
        &self,
        address: StateAddress<'_>,
        key_id: &str,
        text: &str,
    ) -> Result<Vec<u8>, SecretError> {
        if key_id != self.id {
            return Err(SecretError::OtherKey {
                key: address.key.to_owned(),
                needed: key_id.to_owned(),
                given: self.id.clone(),
            });
        }
        let broken = || SecretError::Broken {
            key: address.key.to_owned(),
        };
        let bytes = from_hex(text).ok_or_else(broken)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES).ok_or_else(broken)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| broken())?;
        let payload = Payload {
            msg: sealed,
            aad: &self.associated_data(address),
        };
        self.cipher
            .decrypt(&XNonce::from(nonce), payload)
            .map_err(|_| broken())
    }

    /// Each text of the address preceded by its length, so that no two addresses give the same bytes.
    fn associated_data(&self, address: StateAddress<'_>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64 + address.agent.len() + address.key.len());
        for part in ["ark state secret 1", &self.id, address.agent, address.key] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.extend_from_slice(&address.revision.to_le_bytes());
        bytes
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            // Lower case only: a changed case is a changed byte.
            [high, low] if !high.is_ascii_uppercase() && !low.is_ascii_uppercase() => {
                let high = char::from(*high).to_digit(16)?;
                let low = char::from(*low).to_digit(16)?;
                u8::try_from(high << 4 | low).ok()
            }
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make_key(digit: char) -> SecretKey {
        SecretKey::parse(&digit.to_string().repeat(64), "a test").unwrap()
    }

    #[test]
    fn keys_that_were_typed_can_be_guessed() {
        let is_guessable = |text: &str| SecretKey::parse(text, "a test").unwrap().is_guessable();
        for typed in [
            "0".repeat(64),
            "0123456789ABCDEF".repeat(4),
            "deadbeef".repeat(8),
            "1234567".repeat(10).chars().take(64).collect(),
        ] {
            assert!(is_guessable(&typed), "{typed}");
        }
        for drawn in [
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\n",
        ] {
            assert!(!is_guessable(drawn), "{drawn}");
        }
    }

    #[test]
    fn a_secret_opens_at_its_own_address_only() {
        let address = StateAddress {
            agent: "kyle",
            key: "secret/a",
            revision: 3,
        };
        let sealed = make_key('1').seal_value(address, "\"hunter2\"").unwrap();
        assert!(!sealed.text.contains("hunter2"));
        let (value, digest) = make_key('1')
            .open_value(address, make_key('1').id(), &sealed.text)
            .unwrap();
        assert_eq!((value.as_str(), digest), ("\"hunter2\"", sealed.digest));
        let elsewhere = [
            StateAddress {
                agent: "joey",
                ..address
            },
            StateAddress {
                key: "secret/b",
                ..address
            },
            StateAddress {
                revision: 4,
                ..address
            },
        ];
        for other in elsewhere {
            assert!(
                make_key('1')
                    .open_value(other, make_key('1').id(), &sealed.text)
                    .is_err()
            );
        }
        assert!(matches!(
            make_key('2').open_value(address, make_key('1').id(), &sealed.text),
            Err(SecretError::OtherKey { .. })
        ));
        // Another key under the right id, and each single digit changed.
        assert!(
            make_key('2')
                .open_value(address, make_key('2').id(), &sealed.text)
                .is_err()
        );
        for index in 0..sealed.text.len() {
            let mut text = sealed.text.clone().into_bytes();
            text[index] = if text[index] == b'0' { b'1' } else { b'0' };
            let text = String::from_utf8(text).unwrap();
            assert!(
                make_key('1')
                    .open_value(address, make_key('1').id(), &text)
                    .is_err()
            );
        }
        let again = make_key('1')
            .reseal_value(&make_key('2'), address, make_key('1').id(), &sealed.text)
            .unwrap();
        assert_eq!(again.digest, sealed.digest);
        assert_eq!(
            make_key('2')
                .open_value(address, make_key('2').id(), &again.text)
                .unwrap()
                .0,
            "\"hunter2\""
        );
    }

    #[test]
    fn a_key_file_is_readable_by_its_owner_only_and_holds_a_key() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, format!("{}\n", "ab".repeat(32))).unwrap();
        for (mode, fits) in [
            (0o400, true),
            (0o600, false),
            (0o440, false),
            (0o404, false),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(SecretKey::from_file(&path).is_ok(), fits, "{mode:o}");
        }
        for bad in ["", "abc", &"g".repeat(64), &"a".repeat(63)] {
            let error = SecretKey::parse(bad, "here").unwrap_err().to_string();
            assert!(error.contains("openssl rand") && (bad.is_empty() || !error.contains(bad)));
        }
        assert!(!format!("{:?}", make_key('a')).contains("aaaa"));
    }
}
