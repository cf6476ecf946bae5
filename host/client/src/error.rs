//! Why a request brought no answer, or not the one that was asked for.

use ark_authorities::AuthorityError;

/// Why a request failed. A message says what is known and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The token would leave this machine unencrypted.
    #[error(
        "{url} is on another machine and not under TLS, so the token would travel unencrypted; give a URL with https://"
    )]
    Unencrypted {
        /// The address.
        url: String,
    },
    /// The file with the certificate authority cannot be used.
    #[error(
        "--ca {0}; give a PEM file with the certificate of the authority (--ca, ARK_CA), or leave it out"
    )]
    Authority(#[from] AuthorityError),
    /// The address is none of a Prometheus.
    #[error(
        "{url:?} is no address of a Prometheus; give one like http://127.0.0.1:9090 (--prometheus, ARK_PROMETHEUS)"
    )]
    PrometheusAddress {
        /// What was given.
        url: String,
    },
    /// There is no request of this address, token and path.
    #[error("the request cannot be made; check --url, --token and the names given: {0}")]
    Request(#[source] ureq::http::Error),
    /// No answer came.
    #[error("{failure}: {source}")]
    NoAnswer {
        /// What is known of the request, and what to do next.
        failure: String,
        /// Whether the request never left this machine, so that it was certainly not carried out.
        unsent: bool,
        /// What the transport reports.
        source: ureq::Error,
    },
    /// The connection ended in the middle of the answer.
    #[error("the answer was cut off: {0}")]
    CutOff(#[source] ureq::Error),
    /// The answer is not JSON.
    #[error("the answer of {url} is not JSON; is it {wanted}? {source}")]
    NotJson {
        /// Which server was asked.
        wanted: &'static str,
        /// The address.
        url: String,
        /// What the reader of JSON reports.
        source: serde_json::Error,
    },
    /// The host answers with a problem.
    #[error("{} ({status})", describe_problem(detail, remedy))]
    Problem {
        /// The HTTP status.
        status: u16,
        /// The kind of the problem, as the API documents it.
        kind: String,
        /// What happened.
        detail: String,
        /// What to do about it.
        remedy: String,
    },
}

fn describe_problem(detail: &str, remedy: &str) -> String {
    if detail.is_empty() && remedy.is_empty() {
        "the answer is an error that does not say what is wrong".to_owned()
    } else if remedy.is_empty() {
        detail.to_owned()
    } else {
        format!("{detail}; {remedy}")
    }
}
