//! The table of calls: which role each of them needs. What is not in it cannot be reached, whatever handler stands behind it.

use axum::http::Method;

use ark_model::principal::Role;

use Role::{Admin, Approver, Operator, Reader, Submitter};

/// A call and who may make it.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The method; a `GET` stands for `HEAD` too.
    pub method: &'static str,
    /// The path as the router knows it.
    pub path: &'static str,
    /// The role it needs; `None`: no token is needed.
    pub role: Option<Role>,
}

const fn open(method: &'static str, path: &'static str) -> Row {
    Row {
        method,
        path,
        role: None,
    }
}

const fn row(method: &'static str, path: &'static str, role: Role) -> Row {
    Row {
        method,
        path,
        role: Some(role),
    }
}

/// Every call. One line each; a test compares it with the calls that are served and described ([`super::openapi`]).
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    open("GET", "/healthz"),
    open("GET", "/readyz"),
    open("GET", "/openapi.json"),
    open("GET", "/docs"),
    row("POST", "/v1/actions", Submitter),
    row("POST", "/v1/actions/batch", Submitter),
    row("POST", "/v1/signals", Submitter),
    row("POST", "/v1/executions", Submitter),
    row("GET", "/v1/events", Reader),
    row("GET", "/v1/decisions", Reader),
    row("GET", "/v1/decisions/{id}", Reader),
    row("GET", "/v1/traces/{id}", Reader),
    row("GET", "/v1/graveyard", Reader),
    row("GET", "/v1/graveyard/amendments", Reader),
    row("POST", "/v1/graveyard/amendments", Operator),
    row("GET", "/v1/policies", Reader),
    row("GET", "/v1/policies/{name}", Reader),
    row("PUT", "/v1/policies/{name}", Operator),
    row("PATCH", "/v1/policies/{name}", Operator),
    row("DELETE", "/v1/policies/{name}", Operator),
    row("POST", "/v1/policies/{name}/rollout", Operator),
    row("POST", "/v1/policies/{name}/rollback", Operator),
    row("GET", "/v1/policies/{name}/versions/{number}", Reader),
    row("GET", "/v1/policies/{name}/versions/{number}/component", Reader),
    row("GET", "/v1/agents", Reader),
    row("GET", "/v1/agents/{name}", Reader),
    row("PUT", "/v1/agents/{name}", Operator),
    row("DELETE", "/v1/agents/{name}", Operator),
    row("POST", "/v1/agents/{name}/rollout", Operator),
    row("POST", "/v1/agents/{name}/rollback", Operator),
    row("POST", "/v1/agents/{name}/canary", Operator),
    row("GET", "/v1/agents/{name}/versions/{number}/component", Reader),
    row("POST", "/v1/agents/{name}/quarantine", Operator),
    row("POST", "/v1/agents/{name}/restore", Operator),
    row("GET", "/v1/watchdog", Reader),
    row("GET", "/v1/watchdog/alerts", Reader),
    row("POST", "/v1/halt", Operator),
    row("POST", "/v1/resume", Operator),
    row("GET", "/v1/approvals", Reader),
    row("GET", "/v1/approvals/{id}", Reader),
    row("POST", "/v1/approvals/{id}/approve", Approver),
    row("POST", "/v1/approvals/{id}/reject", Approver),
    row("GET", "/v1/lists/{list}", Reader),
    row("GET", "/v1/lists/{list}/history", Reader),
    row("GET", "/v1/lists/{list}/entries/{key}", Reader),
    row("PUT", "/v1/lists/{list}/entries/{key}", Operator),
    row("DELETE", "/v1/lists/{list}/entries/{key}", Operator),
    row("GET", "/v1/lists/{list}/entries/{key}/history", Reader),
    row("GET", "/v1/account", Reader),
    row("PUT", "/v1/account/capital", Operator),
    row("POST", "/v1/account/results", Operator),
    row("GET", "/v1/account/history", Reader),
    row("GET", "/v1/state", Reader),
    row("GET", "/v1/state/{agent}", Reader),
    row("GET", "/v1/state/{agent}/{key}", Reader),
    row("PUT", "/v1/state/{agent}/{key}", Operator),
    row("DELETE", "/v1/state/{agent}/{key}", Operator),
    row("GET", "/v1/state/{agent}/{key}/history", Reader),
    row("POST", "/v1/state/{agent}/{key}/rollback", Operator),
    row("GET", "/v1/memory/{agent}", Reader),
    row("POST", "/v1/memory/{agent}", Operator),
    row("DELETE", "/v1/memory/{agent}/{id}", Operator),
    row("GET", "/v1/config", Reader),
    row("GET", "/v1/config/{key}", Reader),
    row("PUT", "/v1/config/{key}", Operator),
    row("DELETE", "/v1/config/{key}", Operator),
    row("GET", "/v1/config/{key}/history", Reader),
    row("GET", "/v1/truth", Reader),
    row("GET", "/v1/truth/{key}", Reader),
    row("PUT", "/v1/truth/{key}", Operator),
    row("GET", "/v1/truth/{key}/history", Reader),
    row("GET", "/v1/session-log", Reader),
    row("GET", "/v1/tokens", Admin),
    row("POST", "/v1/tokens", Admin),
    row("DELETE", "/v1/tokens/{name}", Admin),
];

/// What the table says of a call.
pub(crate) enum Found {
    /// There is such a call.
    Call(&'static Row),
    /// The path takes other methods.
    OtherMethods {
        /// These.
        allow: String,
        /// None of them needs a token.
        open: bool,
    },
    /// The path is not in the table.
    Nothing,
}

/// Looks a call up. `path` is the path as the router knows it.
pub(crate) fn find(method: &Method, path: &str) -> Found {
    let method = match method.as_str() {
        "HEAD" => "GET",
        other => other,
    };
    let mut others: Vec<&str> = Vec::new();
    let mut open = true;
    for row in TABLE.iter().filter(|row| row.path == path) {
        if row.method == method {
            return Found::Call(row);
        }
        open &= row.role.is_none();
        others.push(row.method);
        if row.method == "GET" {
            others.push("HEAD");
        }
    }
    if others.is_empty() {
        Found::Nothing
    } else {
        Found::OtherMethods {
            allow: others.join(", "),
            open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_table_is_not_found() {
        assert!(matches!(find(&Method::GET, "/v1/nothing"), Found::Nothing));
        assert!(matches!(find(&Method::HEAD, "/v1/state"), Found::Call(_)));
        assert!(
            matches!(find(&Method::PATCH, "/v1/truth/{key}"), Found::OtherMethods { allow, open: false } if allow == "GET, HEAD, PUT")
        );
        assert!(matches!(
            find(&Method::PATCH, "/healthz"),
            Found::OtherMethods { open: true, .. }
        ));
    }
}
