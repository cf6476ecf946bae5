//! The table of calls: which role each of them needs. A call that is not in it is refused, even if a handler serves it.

use axum::http::Method;

use ark_model::principal::Role;

use Role::{Admin, Approver, Executor, Operator, Reader, Submitter};

/// A call and who may make it.
#[derive(Debug, Clone, Copy)]
pub struct ApiCall {
    /// The method; a `GET` stands for `HEAD` too.
    pub method: &'static str,
    /// The path as the router knows it.
    pub path: &'static str,
    /// The role it needs; `None`: no token is needed.
    pub role: Option<Role>,
}

const fn public_call(method: &'static str, path: &'static str) -> ApiCall {
    ApiCall {
        method,
        path,
        role: None,
    }
}

const fn role_call(method: &'static str, path: &'static str, role: Role) -> ApiCall {
    ApiCall {
        method,
        path,
        role: Some(role),
    }
}

/// Every call, one line each. A test compares the table with the calls that are served and described.
#[rustfmt::skip]
pub const TABLE: &[ApiCall] = &[
    public_call("GET", "/healthz"),
    public_call("GET", "/readyz"),
    public_call("GET", "/openapi.json"),
    public_call("GET", "/docs"),
    public_call("GET", "/"),
    role_call("POST", "/v1/actions", Submitter),
    role_call("POST", "/v1/actions/batch", Submitter),
    role_call("POST", "/v1/signals", Submitter),
    role_call("GET", "/v1/signals/failed", Reader),
    role_call("POST", "/v1/signals/redeliver", Operator),
    role_call("POST", "/v1/executions", Executor),
    role_call("GET", "/v1/events", Reader),
    role_call("POST", "/v1/events/tickets", Reader),
    role_call("GET", "/v1/decisions", Reader),
    role_call("GET", "/v1/decisions/export", Reader),
    role_call("GET", "/v1/decisions/{id}", Reader),
    role_call("GET", "/v1/traces/{id}", Reader),
    role_call("GET", "/v1/graveyard", Reader),
    role_call("GET", "/v1/graveyard/amendments", Reader),
    role_call("POST", "/v1/graveyard/amendments", Operator),
    role_call("GET", "/v1/deployments", Reader),
    role_call("POST", "/v1/deployments", Operator),
    role_call("GET", "/v1/webhooks", Reader),
    role_call("GET", "/v1/webhooks/{name}/dead-letters", Reader),
    role_call("POST", "/v1/webhooks/{name}/redeliver", Operator),
    role_call("POST", "/v1/webhooks/{name}/enable", Operator),
    role_call("GET", "/v1/policies", Reader),
    role_call("GET", "/v1/policies/{name}", Reader),
    role_call("PUT", "/v1/policies/{name}", Operator),
    role_call("PATCH", "/v1/policies/{name}", Operator),
    role_call("DELETE", "/v1/policies/{name}", Operator),
    role_call("POST", "/v1/policies/{name}/rollout", Operator),
    role_call("POST", "/v1/policies/{name}/rollback", Operator),
    role_call("GET", "/v1/policies/{name}/versions/{number}", Reader),
    role_call("GET", "/v1/policies/{name}/versions/{number}/component", Reader),
    role_call("GET", "/v1/agents", Reader),
    role_call("GET", "/v1/agents/{name}", Reader),
    role_call("PUT", "/v1/agents/{name}", Operator),
    role_call("DELETE", "/v1/agents/{name}", Operator),
    role_call("POST", "/v1/agents/{name}/rollout", Operator),
    role_call("POST", "/v1/agents/{name}/rollback", Operator),
    role_call("POST", "/v1/agents/{name}/canary", Operator),
    role_call("GET", "/v1/agents/{name}/versions/{number}/component", Reader),
    role_call("POST", "/v1/agents/{name}/quarantine", Operator),
    role_call("POST", "/v1/agents/{name}/restore", Operator),
    role_call("GET", "/v1/operations/{id}", Reader),
    role_call("GET", "/v1/watchdog", Reader),
    role_call("GET", "/v1/watchdog/alerts", Reader),
    role_call("POST", "/v1/halt", Operator),
    role_call("POST", "/v1/resume", Operator),
    role_call("GET", "/v1/approvals", Reader),
    role_call("GET", "/v1/approvals/{id}", Reader),
    role_call("POST", "/v1/approvals/{id}/approve", Approver),
    role_call("POST", "/v1/approvals/{id}/reject", Approver),
    role_call("GET", "/v1/lists/{list}", Reader),
    role_call("GET", "/v1/lists/{list}/history", Reader),
    role_call("GET", "/v1/lists/{list}/entries/{key}", Reader),
    role_call("PUT", "/v1/lists/{list}/entries/{key}", Operator),
    role_call("DELETE", "/v1/lists/{list}/entries/{key}", Operator),
    role_call("GET", "/v1/lists/{list}/entries/{key}/history", Reader),
    role_call("GET", "/v1/account", Reader),
    role_call("PUT", "/v1/account/capital", Operator),
    role_call("POST", "/v1/account/results", Operator),
    role_call("GET", "/v1/account/history", Reader),
    role_call("GET", "/v1/state", Reader),
    role_call("GET", "/v1/state/{agent}", Reader),
    role_call("GET", "/v1/state/{agent}/{key}", Reader),
    role_call("PUT", "/v1/state/{agent}/{key}", Operator),
    role_call("DELETE", "/v1/state/{agent}/{key}", Operator),
    role_call("GET", "/v1/state/{agent}/{key}/history", Reader),
    role_call("POST", "/v1/state/{agent}/{key}/rollback", Operator),
    role_call("GET", "/v1/memory/{agent}", Reader),
    role_call("POST", "/v1/memory/{agent}", Operator),
    role_call("DELETE", "/v1/memory/{agent}/{id}", Operator),
    role_call("GET", "/v1/config", Reader),
    role_call("GET", "/v1/config/{key}", Reader),
    role_call("PUT", "/v1/config/{key}", Operator),
    role_call("DELETE", "/v1/config/{key}", Operator),
    role_call("GET", "/v1/config/{key}/history", Reader),
    role_call("GET", "/v1/truth", Reader),
    role_call("GET", "/v1/truth/{key}", Reader),
    role_call("PUT", "/v1/truth/{key}", Operator),
    role_call("GET", "/v1/truth/{key}/history", Reader),
    role_call("GET", "/v1/session-log", Reader),
    role_call("GET", "/v1/tokens", Admin),
    role_call("POST", "/v1/tokens", Admin),
    role_call("DELETE", "/v1/tokens/{name}", Admin),
];

/// What the table says of a call.
pub(crate) enum Lookup {
    /// The call is in the table.
    Call(&'static ApiCall),
    /// The path takes other methods.
    OtherMethods {
        /// Those methods, for the header `Allow`.
        allow: String,
        /// Whether none of them needs a token.
        open: bool,
    },
    /// The path is not in the table.
    Unknown,
}

/// Looks a call up by its method and its path as the router knows it.
pub(crate) fn find_endpoint(method: &Method, path: &str) -> Lookup {
    let method = match method.as_str() {
        "HEAD" => "GET",
        other => other,
    };
    let mut others: Vec<&str> = Vec::new();
    let mut open = true;
    for row in TABLE.iter().filter(|row| row.path == path) {
        if row.method == method {
            return Lookup::Call(row);
        }
        open &= row.role.is_none();
        others.push(row.method);
        if row.method == "GET" {
            others.push("HEAD");
        }
    }
    if others.is_empty() {
        Lookup::Unknown
    } else {
        Lookup::OtherMethods {
            allow: others.join(", "),
            open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_outside_the_table_are_unknown() {
        assert!(matches!(
            find_endpoint(&Method::GET, "/v1/nothing"),
            Lookup::Unknown
        ));
        assert!(matches!(
            find_endpoint(&Method::HEAD, "/v1/state"),
            Lookup::Call(_)
        ));
        assert!(
            matches!(find_endpoint(&Method::PATCH, "/v1/truth/{key}"), Lookup::OtherMethods { allow, open: false } if allow == "GET, HEAD, PUT")
        );
        assert!(matches!(
            find_endpoint(&Method::PATCH, "/healthz"),
            Lookup::OtherMethods { open: true, .. }
        ));
    }
}
