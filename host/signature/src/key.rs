//! Keys in PEM files: Ed25519, and ECDSA over P-256 with SHA-256, which is what `cosign generate-key-pair` makes.

use std::fmt;
use std::path::{Path, PathBuf};

use ark_model::ids::Digest;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
    UnparsedPublicKey,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ED25519};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

/// The largest file with a key that is read, in bytes.
const MAX_KEY_BYTES: u64 = 64 * 1024;
/// The line that begins a private key as cosign encrypts it.
const COSIGN_ENCRYPTED: &str = "-----BEGIN ENCRYPTED ";

/// Why a key cannot be used. A message names the file.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
    /// The file holds no key that can be used.
    #[error("{path}: {problem}", path = path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to give.
        problem: &'static str,
    },
    /// The key does not sign.
    #[error("the key cannot sign")]
    Signing,
}

/// What a public key verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    /// Ed25519 over the message.
    Ed25519,
    /// ECDSA over P-256, of the SHA-256 of the message; signatures are ASN.1.
    EcdsaP256,
}

/// A public key.
#[derive(Debug, Clone)]
pub struct VerifyKey {
    algorithm: Algorithm,
    public: Vec<u8>,
    id: Digest,
}

impl VerifyKey {
    /// Reads a public key from a PEM file (`PUBLIC KEY`), as `cosign generate-key-pair` and `openssl pkey -pubout` write it.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn read_file(path: &Path) -> Result<Self, KeyError> {
        let pem = read_key_file(path)?;
        Self::from_pem(&pem).map_err(|problem| KeyError::Unusable {
            path: path.to_owned(),
            problem,
        })
    }

    fn from_pem(pem: &[u8]) -> Result<Self, &'static str> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem)
            .map_err(|_| "holds no public key; give a PEM file that begins with `-----BEGIN PUBLIC KEY-----`")?;
        let (_, info) = SubjectPublicKeyInfo::from_der(&der).map_err(
            |_| "the public key in it cannot be read; write it again with `openssl pkey -pubout`",
        )?;
        let curve = info
            .algorithm
            .parameters
            .as_ref()
            .and_then(|parameters| parameters.as_oid().ok());
        let algorithm = if info.algorithm.algorithm == OID_SIG_ED25519 {
            Algorithm::Ed25519
        } else if info.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
            && curve.is_some_and(|curve| curve == OID_EC_P256)
        {
            Algorithm::EcdsaP256
        } else {
            return Err(
                "holds a key of another kind; give an Ed25519 key, or an ECDSA key over P-256 as cosign makes it",
            );
        };
        Ok(Self {
            algorithm,
            public: info.subject_public_key.data.into_owned(),
            id: Digest::hash_bytes(&der),
        })
    }

    /// Returns whether the signature of a message is this key's.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self.algorithm {
            Algorithm::Ed25519 => {
                UnparsedPublicKey::new(&ED25519, &self.public).verify(message, signature)
            }
            Algorithm::EcdsaP256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.public)
                .verify(message, signature),
        };
        verified.is_ok()
    }
}

impl fmt::Display for VerifyKey {
    /// Prints the first half of the SHA-256 of the key as it stands in its file, without the armour.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id.to_string();
        formatter.write_str(id.get(..16).unwrap_or(&id))
    }
}

/// The public keys of which any may have signed.
#[derive(Debug, Clone, Default)]
pub struct VerifyKeys(Vec<VerifyKey>);

impl VerifyKeys {
    /// Reads public keys, one a file. See [`VerifyKey::read_file`].
    ///
    /// # Errors
    /// The first file that holds no public key.
    pub fn read_files(paths: &[PathBuf]) -> Result<Self, KeyError> {
        let keys = paths.iter().map(|path| VerifyKey::read_file(path));
        Ok(Self(keys.collect::<Result<_, _>>()?))
    }

    /// Returns whether there is no key, so that no signature is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the key that signed a message; `None`: none of these did.
    #[must_use]
    pub fn find_signer(&self, message: &[u8], signature: &[u8]) -> Option<&VerifyKey> {
        self.0.iter().find(|key| key.verifies(message, signature))
    }
}

/// A private key. What it holds is never printed.
pub struct SigningKey(KeyPair);

enum KeyPair {
    Ed25519(Ed25519KeyPair),
    EcdsaP256(Box<EcdsaKeyPair>),
}

impl SigningKey {
    /// Reads a private key from a PEM file (`PRIVATE KEY`, PKCS #8), as `openssl genpkey` writes it.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn read_file(path: &Path) -> Result<Self, KeyError> {
        let pem = read_key_file(path)?;
        Self::from_pem(&pem).map_err(|problem| KeyError::Unusable {
            path: path.to_owned(),
            problem,
        })
    }

    fn from_pem(pem: &[u8]) -> Result<Self, &'static str> {
        if String::from_utf8_lossy(pem).contains(COSIGN_ENCRYPTED) {
            return Err(
                "the private key in it is encrypted; sign with `cosign sign` instead, or give a key as `openssl genpkey -algorithm ed25519` writes it",
            );
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem)
            .map_err(|_| "holds no private key; give a PEM file that begins with `-----BEGIN PRIVATE KEY-----` (PKCS #8)")?;
        let der = der.secret_pkcs8_der();
        // OpenSSL leaves out the public key, so that there is nothing to check it against.
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(Self(KeyPair::Ed25519(pair)));
        }
        let random = SystemRandom::new();
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &random)
            .map(|pair| Self(KeyPair::EcdsaP256(Box::new(pair))))
            .map_err(
                |_| "holds a key of another kind; give an Ed25519 key, or an ECDSA key over P-256",
            )
    }

    /// Signs a message.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.0 {
            KeyPair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            KeyPair::EcdsaP256(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| KeyError::Signing),
        }
    }
}

fn read_key_file(path: &Path) -> Result<Vec<u8>, KeyError> {
    let unreadable = |source| KeyError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_KEY_BYTES {
        return Err(KeyError::Unusable {
            path: path.to_owned(),
            problem: "is too large for a key; give a PEM file with one key",
        });
    }
    std::fs::read(path).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::{SigningKey, VerifyKey};

    /// Made with `openssl genpkey -algorithm ed25519`.
    const ED25519: &str = include_str!("../tests/ed25519.key");
    const ED25519_PUBLIC: &str = include_str!("../tests/ed25519.pub");
    /// Made with `openssl genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-256`.
    const P256: &str = include_str!("../tests/p256.key");
    const P256_PUBLIC: &str = include_str!("../tests/p256.pub");
    const P384_PUBLIC: &str = include_str!("../tests/p384.pub");
    /// By `openssl dgst -sha256 -sign p256.key`, over the bytes of "a message".
    const P256_SIGNATURE: &[u8] = include_bytes!("../tests/p256.signature");
    /// By `openssl pkeyutl -sign -rawin -inkey ed25519.key`, over the same bytes.
    const ED25519_SIGNATURE: &[u8] = include_bytes!("../tests/ed25519.signature");

    fn public(pem: &str) -> VerifyKey {
        VerifyKey::from_pem(pem.as_bytes()).expect("a public key")
    }

    #[test]
    fn a_key_verifies_its_own_signature_of_the_same_message_alone() {
        for (private, own, other) in [
            (ED25519, ED25519_PUBLIC, P256_PUBLIC),
            (P256, P256_PUBLIC, ED25519_PUBLIC),
        ] {
            let key = SigningKey::from_pem(private.as_bytes()).expect("a private key");
            let signature = key.sign(b"a message").expect("a signature");
            assert!(public(own).verifies(b"a message", &signature));
            assert!(!public(own).verifies(b"another message", &signature));
            assert!(!public(other).verifies(b"a message", &signature));
            for at in [0, signature.len() / 2, signature.len() - 1] {
                let mut broken = signature.clone();
                broken[at] ^= 1;
                assert!(!public(own).verifies(b"a message", &broken), "byte {at}");
            }
            assert!(!public(own).verifies(b"a message", &[]));
        }
    }

    #[test]
    fn signatures_of_openssl_are_verified() {
        assert!(public(P256_PUBLIC).verifies(b"a message", P256_SIGNATURE));
        assert!(public(ED25519_PUBLIC).verifies(b"a message", ED25519_SIGNATURE));
    }

    #[test]
    fn invalid_keys_are_refused_with_the_remedy() {
        let cosign = "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nZGF0YQ==\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n";
        for (pem, named) in [
            (cosign, "encrypted"),
            ("", "BEGIN PRIVATE KEY"),
            (ED25519_PUBLIC, "BEGIN PRIVATE KEY"),
        ] {
            let problem = SigningKey::from_pem(pem.as_bytes()).err().unwrap_or("");
            assert!(problem.contains(named), "{pem}: {problem}");
        }
        for (pem, named) in [
            (P384_PUBLIC, "P-256"),
            (ED25519, "BEGIN PUBLIC KEY"),
            ("text", "BEGIN PUBLIC KEY"),
        ] {
            let problem = VerifyKey::from_pem(pem.as_bytes()).err().unwrap_or("");
            assert!(problem.contains(named), "{pem}: {problem}");
        }
    }
}
