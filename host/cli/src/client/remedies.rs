//! The host's problems in the words of the command line: where it names a call of the API, a person gets the command for it.

use ark_client::ClientError;

/// Calls of the API and their parameters, each with the command or the flag for it; a call that begins like another stands before it.
const COMMANDS: [(&str, &str); 30] = [
    (
        "PATCH /v1/policies/{name} with {\"mode\": \"shadow\"} and nothing else",
        "run `ark policy shadow NAME`",
    ),
    ("PUT /v1/policies/{name}", "`ark policy upload`"),
    ("GET /v1/policies/{name}", "`ark policy show NAME`"),
    ("GET /v1/policies", "`ark policy list`"),
    (
        "POST /v1/agents/{name}/restore",
        "`ark watchdog restore NAME`",
    ),
    ("GET /v1/agents/{name}", "`ark agent show NAME`"),
    ("GET /v1/agents", "`ark agent list`"),
    ("PUT /v1/account/capital", "`ark account capital`"),
    ("POST /v1/account/results", "`ark account result`"),
    ("GET /v1/approvals/{id}", "`ark approvals show ID`"),
    ("GET /v1/approvals", "`ark approvals list`"),
    ("GET /v1/signals/failed", "`ark signals failed`"),
    ("GET /v1/watchdog/alerts", "`ark watchdog alerts`"),
    ("GET /v1/watchdog", "`ark watchdog status`"),
    (
        "GET /v1/webhooks/{name}/dead-letters",
        "`ark webhooks dead-letters NAME`",
    ),
    (
        "POST /v1/webhooks/{name}/enable",
        "`ark webhooks enable NAME`",
    ),
    ("GET /v1/webhooks", "`ark webhooks list`"),
    ("GET /v1/graveyard", "`ark graveyard show`"),
    ("GET /v1/tokens", "`ark token list`"),
    ("GET /v1/decisions/{id}", "`ark explain ID`"),
    ("GET /v1/lists/{list}", "`ark lists show LIST`"),
    ("GET /v1/state/{agent}", "`ark state list AGENT`"),
    ("GET /v1/state", "`ark state list`"),
    ("GET /v1/memory/{agent}", "`ark state memory list AGENT`"),
    ("GET /v1/config", "`ark state config list`"),
    ("GET /v1/truth", "`ark state truth list`"),
    ("GET /readyz", "`ark watchdog status`"),
    (
        "send Authorization: Bearer ark_…",
        "give it with --token-file or ARK_TOKEN",
    ),
    ("give force=true", "give --force"),
    (
        "let manifest and component agree",
        "let manifest and component state the same, then run `ark agent build`",
    ),
];

/// Puts commands in the place of calls in what a host says is wrong and what to do.
pub(super) fn name_commands(error: ClientError) -> ClientError {
    match error {
        ClientError::Problem {
            status,
            kind,
            detail,
            remedy,
        } => ClientError::Problem {
            status,
            kind,
            detail: replace_calls(detail),
            remedy: replace_calls(remedy),
        },
        other => other,
    }
}

/// Puts commands in the place of calls in a text of a host.
pub(super) fn replace_calls(text: String) -> String {
    COMMANDS
        .iter()
        .fold(text, |text, (call, command)| text.replace(call, command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_name_cli_commands() {
        let told = |text: &str| replace_calls(text.to_owned());
        assert_eq!(
            told("there is no agent stan; GET /v1/agents lists them"),
            "there is no agent stan; `ark agent list` lists them"
        );
        for (text, command) in [
            (
                "roll out a version that GET /v1/agents/{name} lists",
                "roll out a version that `ark agent show NAME` lists",
            ),
            (
                "wait until they are handled, or give force=true",
                "wait until they are handled, or give --force",
            ),
            (
                "GET /v1/webhooks lists the webhooks of the configuration",
                "`ark webhooks list` lists the webhooks of the configuration",
            ),
            (
                "GET /v1/webhooks/{name}/dead-letters lists the dead letters",
                "`ark webhooks dead-letters NAME` lists the dead letters",
            ),
            (
                "POST /v1/webhooks/{name}/enable lets it send again",
                "`ark webhooks enable NAME` lets it send again",
            ),
            ("stay within it", "stay within it"),
        ] {
            assert_eq!(told(text), command);
        }
    }

    #[test]
    fn no_call_hides_a_longer_one() {
        for (index, (call, _)) in COMMANDS.iter().enumerate() {
            let hidden = COMMANDS[index + 1..]
                .iter()
                .find(|(later, _)| later.starts_with(call));
            assert_eq!(hidden, None, "{call}");
        }
    }
}
