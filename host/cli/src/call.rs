//! A call of the API, put together from the words of a command line.

use clap::Args;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::remote::Remote;

/// What stays as it is in a segment of a path (RFC 3986, unreserved).
const PATH_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Which part of a list.
#[derive(Debug, Args)]
pub(super) struct PageArgs {
    /// Rows at most.
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// The `next_cursor` of the page before.
    #[arg(long)]
    cursor: Option<String>,
}

/// Which host, and who gives it an order.
#[derive(Debug, Args)]
pub(super) struct CallerArgs {
    /// Who does it; with a token it is the token's name.
    #[arg(long, env = "USER", default_value = "operator")]
    by: String,
    #[command(flatten)]
    pub(super) remote: Remote,
}

impl CallerArgs {
    /// Who is to be recorded, unless a token says so; null otherwise.
    pub(super) fn actor_json(&self) -> Value {
        json!(self.actor())
    }

    /// As [`Caller::by`].
    pub(super) fn actor(&self) -> Option<&str> {
        (!self.remote.has_token()).then_some(self.by.as_str())
    }
}

/// A request to the host.
pub(super) struct ApiRequest {
    method: &'static str,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<String>,
    key: Option<String>,
}

impl ApiRequest {
    pub(super) fn new(method: &'static str, segments: &[&str]) -> Self {
        let mut path = String::new();
        for segment in segments {
            path.push('/');
            path.extend(utf8_percent_encode(segment, PATH_SEGMENT));
        }
        Self {
            method,
            path,
            query: Vec::new(),
            body: None,
            key: None,
        }
    }

    pub(super) fn with_query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query
            .extend(value.map(|value| (name, value.to_string())));
        self
    }

    pub(super) fn with_page(self, page: PageArgs) -> Self {
        self.with_query("limit", Some(page.limit))
            .with_query("cursor", page.cursor)
    }

    /// `value`, the user's JSON text, is put in as it is: what is wrong with it the host says.
    pub(super) fn with_value(self, value: Option<&str>, rest: &[(&str, Value)]) -> Self {
        self.with_fields(value.map(|value| ("value", value)), rest)
    }

    /// A body of these fields, nulls left out, and of one that is JSON text already.
    pub(super) fn with_fields(
        mut self,
        text: Option<(&str, &str)>,
        rest: &[(&str, Value)],
    ) -> Self {
        let fields = text
            .map(|(name, text)| format!("\"{name}\":{text}"))
            .into_iter()
            .chain(
                rest.iter()
                    .filter(|(_, value)| !value.is_null())
                    .map(|(name, value)| format!("\"{name}\":{value}")),
            );
        self.body = Some(format!("{{{}}}", fields.collect::<Vec<_>>().join(",")));
        self
    }

    /// Given again with the same key, it is done once.
    pub(super) fn with_idempotency_key(mut self, key: Option<String>) -> Self {
        self.key = key;
        self
    }

    /// Sends it; what the host answers.
    pub(super) fn send(self, remote: &Remote) -> anyhow::Result<Value> {
        let query: Vec<String> = self
            .query
            .iter()
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, PATH_SEGMENT)))
            .collect();
        let mut path = self.path;
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        remote.send_with_key(self.method, &path, self.body, self.key.as_deref())
    }
}
