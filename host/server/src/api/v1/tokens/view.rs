//! What is shown of tokens.

use serde::Serialize;
use utoipa::ToSchema;

use ark_model::ids::{Millis, Name};
use ark_model::principal::{ActionGrant, Role};
use ark_store::TokenRow;

/// A token as it is shown: without its hash.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenShown {
    name: Name,
    role: Role,
    /// In whose names it may propose.
    agents: Vec<Name>,
    /// Which actions a submitter may propose: `*`, action types, and families as `family:trade`.
    #[schema(value_type = Vec<String>)]
    actions: Vec<ActionGrant>,
    /// `live`, `expired` or `revoked`.
    status: &'static str,
    created_by: String,
    created_at_ms: Millis,
    expires_at_ms: Option<Millis>,
    revoked_by: Option<String>,
    revoked_at_ms: Option<Millis>,
}

/// A page of tokens, by name.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenPage {
    pub(super) tokens: Vec<TokenShown>,
    /// The cursor of the next page, if there may be one.
    pub(super) next_cursor: Option<String>,
}

/// A token that was made.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenMade {
    pub(super) name: Name,
    pub(super) role: Role,
    pub(super) agents: Vec<Name>,
    #[schema(value_type = Vec<String>)]
    pub(super) actions: Vec<ActionGrant>,
    pub(super) expires_at_ms: Option<Millis>,
    /// The secret. It is shown this once.
    pub(super) token: String,
}

/// A token that is revoked.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenRevoked {
    pub(super) name: Name,
    pub(super) status: &'static str,
    /// The way back where no administrator's token is live any more; else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
}

/// A token as it is shown.
#[must_use]
pub fn token_view(row: &TokenRow, now: Millis) -> TokenShown {
    TokenShown {
        name: row.name.clone(),
        role: row.role,
        agents: row.agents.clone(),
        actions: row.actions.clone(),
        status: row.status(now),
        created_by: row.created_by.clone(),
        created_at_ms: row.created_at,
        expires_at_ms: row.expires_at,
        revoked_by: row.revoked_by.clone(),
        revoked_at_ms: row.revoked_at,
    }
}

/// What to do after the revocation of an administrator's token where none is live any more.
#[must_use]
pub fn advise_on_lockout(rows: &[TokenRow], revoked: &Name, now: Millis) -> Option<&'static str> {
    let is_admin = |row: &TokenRow| row.role == Role::Admin;
    let was_admin = rows.iter().any(|row| is_admin(row) && row.name == *revoked);
    let has_admin = rows
        .iter()
        .any(|row| is_admin(row) && row.status(now) == "live");
    (was_admin && !has_admin).then_some(
        "no administrator's token is live any more, so nobody can make or revoke tokens; the way back: stop the host, and run `ark token create --role admin --name NAME --data-dir DIR` with a name that no token had",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_store::TokenSecret;

    /// A token with its role and whether it is revoked or has expired.
    fn make_token(name: &str, role: Role, revoked: bool, expired: bool) -> TokenRow {
        TokenRow {
            name: name.parse().unwrap(),
            hash: TokenSecret::generate().unwrap().hash(),
            role,
            agents: Vec::new(),
            actions: Vec::new(),
            created_by: "ada".to_owned(),
            created_at: Millis(0),
            expires_at: expired.then_some(Millis(1)),
            revoked_by: revoked.then(|| "ada".to_owned()),
            revoked_at: revoked.then_some(Millis(1)),
        }
    }

    #[test]
    fn revoking_the_last_administrator_names_the_remedy() {
        let root = || make_token("root", Role::Admin, true, false);
        for (rows, revoked, expected) in [
            (vec![root()], "root", true),
            (
                vec![root(), make_token("bot", Role::Operator, false, false)],
                "root",
                true,
            ),
            (
                vec![root(), make_token("old", Role::Admin, false, true)],
                "root",
                true,
            ),
            (
                vec![root(), make_token("other", Role::Admin, false, false)],
                "root",
                false,
            ),
            (
                vec![root(), make_token("bot", Role::Operator, true, false)],
                "bot",
                false,
            ),
        ] {
            let revoked: Name = revoked.parse().unwrap();
            let hint = advise_on_lockout(&rows, &revoked, Millis(2));
            assert_eq!(hint.is_some(), expected, "{rows:?}");
        }
    }
}
