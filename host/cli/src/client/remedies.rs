//! The host's problems in the words of the command line: where it names a call of the API, a person gets the command for it.

use ark_client::ClientError;

/// Calls of the API, each with the command that makes it; a call that begins like another stands before it.
const COMMANDS: [(&str, &str); 25] = [
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
    ("GET /v1/watchdog/alerts", "`ark watchdog status`"),
    ("GET /v1/watchdog", "`ark watchdog status`"),
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

fn replace_calls(text: String) -> String {
    COMMANDS
        .iter()
        .fold(text, |text, (call, command)| text.replace(call, command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_told_the_command() {
        let told = |text: &str| replace_calls(text.to_owned());
        assert_eq!(
            told("there is no agent stan; GET /v1/agents lists them"),
            "there is no agent stan; `ark agent list` lists them"
        );
        assert_eq!(
            told("roll out a version that GET /v1/agents/{name} lists"),
            "roll out a version that `ark agent show NAME` lists"
        );
        assert_eq!(told("stay within it"), "stay within it");
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
