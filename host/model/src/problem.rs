//! The kinds of problems that the API and the host's own clients both name.

/// A proposal names a requester that is neither a loaded agent nor a submitter.
pub const UNKNOWN_AGENT: &str = "urn:ark:problem:unknown-agent";
