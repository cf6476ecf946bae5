//! A call of the API, put together from the words of a command line.

use clap::Args;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::remote::Remote;

/// What stays as it is in a segment of a path (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Which part of a list.
#[derive(Debug, Args)]
pub(super) struct Page {
    /// Rows at most.
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// The `next_cursor` of the page before.
    #[arg(long)]
    cursor: Option<String>,
}

/// Which host, and who gives it an order.
#[derive(Debug, Args)]
pub(super) struct Caller {
    /// Who does it; with a token it is the token's name.
    #[arg(long, env = "USER", default_value = "operator")]
    by: String,
    #[command(flatten)]
    pub(super) remote: Remote,
}

impl Caller {
    /// Who is to be recorded, unless a token says so; null otherwise.
    pub(super) fn by(&self) -> Value {
        json!(self.name())
    }

    /// As [`Caller::by`].
    pub(super) fn name(&self) -> Option<&str> {
        (!self.remote.has_token()).then_some(self.by.as_str())
    }
}

/// A request to the host.
pub(super) struct Call {
    method: &'static str,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<String>,
    key: Option<String>,
}

impl Call {
    pub(super) fn new(method: &'static str, segments: &[&str]) -> Self {
        let mut path = String::new();
        for segment in segments {
            path.push('/');
            path.extend(utf8_percent_encode(segment, SEGMENT));
        }
        Self {
            method,
            path,
            query: Vec::new(),
            body: None,
            key: None,
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query
            .extend(value.map(|value| (name, value.to_string())));
        self
    }

    pub(super) fn page(self, page: Page) -> Self {
        self.with("limit", Some(page.limit))
            .with("cursor", page.cursor)
    }

    /// `value`, the user's JSON text, is put in as it is: what is wrong with it the host says.
    pub(super) fn body(self, value: Option<&str>, rest: &[(&str, Value)]) -> Self {
        self.fields(value.map(|value| ("value", value)), rest)
    }

    /// A body of these fields, nulls left out, and of one that is JSON text already.
    pub(super) fn fields(mut self, text: Option<(&str, &str)>, rest: &[(&str, Value)]) -> Self {
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
    pub(super) fn once(mut self, key: Option<String>) -> Self {
        self.key = key;
        self
    }

    /// Sends it; what the host answers.
    pub(super) fn send(self, remote: &Remote) -> anyhow::Result<Value> {
        let query: Vec<String> = self
            .query
            .iter()
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, SEGMENT)))
            .collect();
        let mut path = self.path;
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        remote.send_once(self.method, &path, self.body, self.key.as_deref())
    }
}
