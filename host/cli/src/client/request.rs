//! A request to the API, made from the arguments of a command.

use ark_client::{escape_query, join_path};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};
use ureq::http::Request;

use crate::output::print_json;

use super::connection::{Connection, Exchange};

/// Which page of a list.
#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    /// The number of rows at most.
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// The `next_cursor` of the page before.
    #[arg(long)]
    cursor: Option<String>,
}

/// Which host is called, and who calls.
#[derive(Debug, Args)]
pub(crate) struct CallerArgs {
    /// The name that the audit log records; with a token it is the token's name.
    #[arg(long, env = "USER", default_value = "operator")]
    by: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

impl CallerArgs {
    /// The name to record; `None` where a token gives it.
    pub(crate) fn actor(&self) -> Option<&str> {
        (!self.connection.has_token()).then_some(self.by.as_str())
    }
}

/// Which host is asked, and how its answer is shown.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    connection: Connection,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl ShowArgs {
    /// Sends a request and prints its answer: as JSON where that is asked for, otherwise by `print_answer`.
    ///
    /// # Errors
    /// See [`Connection::send`].
    pub(crate) fn show_answer(
        &self,
        request: ApiRequest,
        print_answer: impl FnOnce(&Value),
    ) -> anyhow::Result<()> {
        let answer = request.send(&self.connection)?;
        self.print(&answer, print_answer)
    }

    /// Reads a list to its end and prints it, as [`Self::show_answer`].
    ///
    /// # Errors
    /// See [`Connection::read_list`].
    pub(crate) fn show_list(
        &self,
        segments: &[&str],
        list: &str,
        print_answer: impl FnOnce(&Value),
    ) -> anyhow::Result<()> {
        let answer = self.connection.read_list(segments, list)?;
        self.print(&answer, print_answer)
    }

    fn print(&self, answer: &Value, print_answer: impl FnOnce(&Value)) -> anyhow::Result<()> {
        if self.json {
            print_json(answer)?;
        } else {
            print_answer(answer);
        }
        Ok(())
    }
}

/// Who changes something, and why.
#[derive(Debug, Args)]
pub(crate) struct ReasonArgs {
    /// The reason, which is recorded in the audit log.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    caller: CallerArgs,
}

/// Who changes something, and why if they say so.
#[derive(Debug, Args)]
pub(crate) struct OptionalReasonArgs {
    /// The reason, which is recorded in the audit log.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    caller: CallerArgs,
}

impl OptionalReasonArgs {
    /// The connection to the host that is changed.
    pub(crate) const fn connection(&self) -> &Connection {
        &self.caller.connection
    }
}

/// A request to the API.
pub(crate) struct ApiRequest {
    method: &'static str,
    path: String,
    query: Vec<(&'static str, String)>,
    fields: Option<Vec<String>>,
    idempotency_key: Option<String>,
    exchange: Exchange,
}

impl ApiRequest {
    /// A request to the path of these segments, which are escaped.
    pub(crate) fn new(method: &'static str, segments: &[&str]) -> Self {
        Self {
            method,
            path: join_path(segments),
            query: Vec::new(),
            fields: None,
            idempotency_key: None,
            exchange: Exchange::Answer,
        }
    }

    /// As [`ApiRequest::new`], to read.
    pub(crate) fn get(segments: &[&str]) -> Self {
        Self::new("GET", segments)
    }

    /// Adds a parameter of the query, if there is a value.
    pub(crate) fn with_query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query
            .extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// Asks for a page of a list.
    pub(crate) fn with_page(self, page: PageArgs) -> Self {
        self.with_query("limit", Some(page.limit))
            .with_query("cursor", page.cursor)
    }

    /// Adds fields of the body; nulls are left out.
    pub(crate) fn with_fields(mut self, fields: &[(&str, Value)]) -> Self {
        self.fields.get_or_insert_default().extend(
            fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| format!("\"{name}\":{value}")),
        );
        self
    }

    /// Adds a field of the body whose value is JSON text of the user, sent as it is: the host says what is wrong with it.
    pub(crate) fn with_raw_field(mut self, name: &str, json: &str) -> Self {
        self.fields
            .get_or_insert_default()
            .push(format!("\"{name}\":{json}"));
        self
    }

    /// Lets the host do the same request with the same key only once.
    pub(crate) fn with_idempotency_key(mut self, key: Option<String>) -> Self {
        self.idempotency_key = key;
        self
    }

    /// Adds a component, and waits until the host has compiled it.
    pub(crate) fn with_component(self, component: &[u8]) -> Self {
        Self {
            exchange: Exchange::Upload,
            ..self.with_fields(&[("component", json!(STANDARD.encode(component)))])
        }
    }

    /// Waits longer for the answer, since the host compiles a component before, and shows the progress.
    pub(crate) fn awaiting_compilation(mut self) -> Self {
        self.exchange = Exchange::Compilation;
        self
    }

    /// Sends the request with caller and reason in the body, or in the query of a DELETE.
    ///
    /// # Errors
    /// See [`Connection::send`].
    pub(crate) fn send_with_reason(self, args: &ReasonArgs) -> anyhow::Result<Value> {
        self.send_as(&args.caller, Some(&args.reason))
    }

    /// As [`ApiRequest::send_with_reason`].
    ///
    /// # Errors
    /// See [`Connection::send`].
    pub(crate) fn send_with_optional_reason(
        self,
        args: &OptionalReasonArgs,
    ) -> anyhow::Result<Value> {
        self.send_as(&args.caller, args.reason.as_deref())
    }

    fn send_as(self, caller: &CallerArgs, reason: Option<&str>) -> anyhow::Result<Value> {
        let request = if self.method == "DELETE" {
            self.with_query("reason", reason)
                .with_query("by", caller.actor())
        } else {
            self.with_fields(&[("reason", json!(reason)), ("by", json!(caller.actor()))])
        };
        request.send(&caller.connection)
    }

    /// Sends the request and returns the answer.
    ///
    /// # Errors
    /// See [`Connection::send`].
    pub(crate) fn send(self, connection: &Connection) -> anyhow::Result<Value> {
        let query: Vec<String> = self
            .query
            .iter()
            .map(|(name, value)| format!("{name}={}", escape_query(value)))
            .collect();
        let mut path = self.path;
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        let mut request = Request::builder().method(self.method);
        if let Some(key) = self.idempotency_key {
            request = request.header("Idempotency-Key", key);
        }
        let body = self
            .fields
            .map(|fields| format!("{{{}}}", fields.join(",")));
        connection.send(request, &path, body, self.exchange)
    }
}
