//! Errors of pulling and pushing.

use ark_authorities::AuthorityError;
use ark_model::ids::Digest;

/// Why a request to a registry failed, or why its answer is refused. A message says what to do next where something can be done.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The file with the certificate authority cannot be used.
    #[error("--registry-ca {0}")]
    Authority(#[from] AuthorityError),
    /// The credentials of docker or podman cannot be used.
    #[error("the credentials for {registry} cannot be used: {problem}")]
    Credentials {
        /// The registry.
        registry: String,
        /// What is wrong with them, and what to give.
        problem: String,
    },
    /// No answer came, or not the whole one.
    #[error("{url} does not answer as a registry: {source}")]
    NoAnswer {
        /// The address that was asked.
        url: String,
        /// What the transport reports.
        source: ureq::Error,
    },
    /// The registry refuses the request.
    #[error("{registry} refuses to {action} ({status}{code}){remedy}")]
    Refused {
        /// The registry.
        registry: String,
        /// What was asked for.
        action: String,
        /// The HTTP status.
        status: u16,
        /// The registry's own words, after a colon; empty: it says none.
        code: String,
        /// What to do next; empty: nothing that is known.
        remedy: &'static str,
    },
    /// There is nothing of this name.
    #[error("{reference} is not in the registry")]
    NotFound {
        /// What was asked for.
        reference: String,
    },
    /// The registry redirects to where no request is sent.
    #[error("{from} leads to {to}, where no request is sent: {problem}")]
    Redirect {
        /// The address that was asked.
        from: String,
        /// Where it leads.
        to: String,
        /// Why nothing is sent there.
        problem: &'static str,
    },
    /// More bytes came than are read.
    #[error("{what} has more than {limit} bytes, which is the most that is read")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The most bytes.
        limit: u64,
    },
    /// The received bytes have another size than stated.
    #[error(
        "{what} has {found} bytes, and {stated} are stated; the registry or its storage is damaged"
    )]
    OtherSize {
        /// What was read.
        what: String,
        /// The size that the manifest states.
        stated: u64,
        /// The size that was found.
        found: u64,
    },
    /// The received bytes have another digest than asked for.
    #[error(
        "{what} has the digest sha256:{found}, and sha256:{stated} was asked for; the registry or its storage is damaged, or somebody has changed it"
    )]
    OtherDigest {
        /// What was read.
        what: String,
        /// The digest that was asked for.
        stated: Digest,
        /// The digest of what the registry sent.
        found: Digest,
    },
    /// The manifest is not that of a WebAssembly component, or has no form that is read.
    #[error("{reference} is no WebAssembly component: {problem}")]
    NotWasm {
        /// What was asked for.
        reference: String,
        /// Why it is none.
        problem: String,
    },
    /// The artifact with the signatures has no form that is read.
    #[error("the signatures of {reference} cannot be read: {problem}")]
    Signatures {
        /// What is signed.
        reference: String,
        /// What is wrong.
        problem: String,
    },
    /// What the registry answers has no form that is understood.
    #[error("{registry} answers otherwise than a registry does: {problem}")]
    Unexpected {
        /// The registry.
        registry: String,
        /// What is wrong.
        problem: String,
    },
    /// A text for an annotation is too long.
    #[error("the manifest has {bytes} bytes; at most {limit} can be pushed")]
    LongAnnotation {
        /// The length.
        bytes: usize,
        /// The most bytes.
        limit: usize,
    },
    /// Nothing can be pushed to a digest.
    #[error("{reference} names a digest; give a tag to push to, e.g. :1.0.0")]
    NoTag {
        /// What was named.
        reference: String,
    },
    /// A manifest cannot be written as JSON.
    #[error("the manifest cannot be written: {0}")]
    Unwritable(#[from] serde_json::Error),
}
