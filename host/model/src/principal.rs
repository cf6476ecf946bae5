//! Who is behind a request: the name and the role of a bearer token.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};
use strum::VariantArray;

use super::action::{Action, Family};
use super::check::check_action_type;
use super::ids::Name;

/// What stands before the name of a family in an [`ActionGrant`].
const FAMILY_PREFIX: &str = "family:";

/// Which actions a submitter's token may propose. A token has a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionGrant {
    /// `*`: every action.
    All,
    /// `family:trade`: every action with the parameters of this family, of built-in and declared types.
    Family(Family),
    /// `buy`: the actions of this type.
    Type(String),
}

/// A text that is not a grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("give *, an action type, or {FAMILY_PREFIX} and a family, e.g. family:trade")]
pub struct ParseGrantError;

impl ActionGrant {
    /// Returns whether the grant covers an action.
    #[must_use]
    pub fn covers(&self, action: &Action) -> bool {
        match self {
            Self::All => true,
            Self::Family(family) => action.parameters.family() == *family,
            Self::Type(action_type) => action.action_type == *action_type,
        }
    }
}

impl FromStr for ActionGrant {
    type Err = ParseGrantError;

    fn from_str(text: &str) -> Result<Self, ParseGrantError> {
        if text == "*" {
            return Ok(Self::All);
        }
        if let Some(name) = text.strip_prefix(FAMILY_PREFIX) {
            let family = Family::ALL.iter().find(|family| family.as_str() == name);
            return family.copied().map(Self::Family).ok_or(ParseGrantError);
        }
        check_action_type(text).map_err(|_| ParseGrantError)?;
        Ok(Self::Type(text.to_owned()))
    }
}

impl fmt::Display for ActionGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Family(family) => write!(f, "{FAMILY_PREFIX}{family}"),
            Self::Type(action_type) => f.write_str(action_type),
        }
    }
}

impl Serialize for ActionGrant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a token may do. Every role may read. Beyond that a role may do only what is said of it, except that `admin` may do everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// May make every call that only reads.
    Reader,
    /// Sends signals, and actions in the name of the agents that its token lists.
    Submitter,
    /// Reports the executions of approved actions. It proposes none, so that a proposer cannot report its own executions.
    Executor,
    /// Approves and rejects held actions.
    Approver,
    /// Operates the host: halts, quarantines, state, lists, agents, policies.
    Operator,
    /// Does everything.
    Admin,
}

impl Role {
    /// Every role, in the order of declaration.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Returns the name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the role with this name in JSON.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// The name and role behind a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The name that is recorded with what the caller does.
    pub name: String,
    /// What the caller may do.
    pub role: Role,
    /// The agents in whose names a submitter may propose; empty: none.
    pub agents: Vec<Name>,
    /// The actions that a submitter may propose; empty: none.
    pub actions: Vec<ActionGrant>,
    /// Whether a token proved the name. On a host without tokens everybody who reaches the loopback address is an unproved administrator, and
    /// may state a name.
    pub authenticated: bool,
}

impl Principal {
    /// Returns the principal of every caller of a host without tokens.
    #[must_use]
    pub fn local_caller() -> Self {
        Self {
            name: "operator".to_owned(),
            role: Role::Admin,
            agents: Vec::new(),
            actions: Vec::new(),
            authenticated: false,
        }
    }

    /// Returns whether the caller may do what needs this role.
    #[must_use]
    pub fn can_act_as(&self, needed: Role) -> bool {
        self.role == Role::Admin || self.role == needed || needed == Role::Reader
    }

    /// Returns why the caller may not propose an action; `None`: it may. In whose name it proposes makes no difference: the agent's manifest
    /// binds the agent, and the token binds its holder.
    #[must_use]
    pub fn find_refusal(&self, action: &Action) -> Option<String> {
        let granted =
            self.role == Role::Admin || self.actions.iter().any(|grant| grant.covers(action));
        (!granted).then(|| {
            format!(
                "the token {} does not grant the action type {}; an administrator can make a token that does",
                self.name, action.action_type
            )
        })
    }

    /// Returns whether the caller may propose in an agent's name.
    #[must_use]
    pub fn can_propose_for(&self, agent: &Name) -> bool {
        self.role == Role::Admin || self.agents.contains(agent)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::form::parse_action;

    fn make_action(action_type: &str) -> Action {
        let parameters = match Family::from_action_type(action_type) {
            Family::Custom => json!({}),
            _ => json!({"symbol": "X", "position_size_pct": 0.1}),
        };
        let document = json!({"agent": "a", "action_type": action_type, "parameters": parameters});
        parse_action(document).unwrap().action
    }

    #[test]
    fn a_grant_covers_a_type_a_family_or_everything() {
        let place_order = Action {
            action_type: "place_order".to_owned(),
            ..make_action("buy")
        };
        for (grants, action, covered) in [
            (&["*"][..], make_action("withdraw"), true),
            (&["buy"], make_action("buy"), true),
            (&["buy"], make_action("sell"), false),
            (&["trade"], make_action("buy"), false),
            (&["trade", "sell"], make_action("sell"), true),
            (&["family:trade"], make_action("sell"), true),
            (&["family:trade"], place_order.clone(), true),
            (&["place_order"], place_order.clone(), true),
            (&["buy"], place_order, false),
            (&["family:trade"], make_action("close_position"), false),
            (&["family:custom"], make_action("withdraw"), true),
            (&[], make_action("buy"), false),
        ] {
            let principal = Principal {
                name: "desk".to_owned(),
                role: Role::Submitter,
                agents: Vec::new(),
                actions: grants.iter().map(|grant| grant.parse().unwrap()).collect(),
                authenticated: true,
            };
            let refusal = principal.find_refusal(&action);
            assert_eq!(
                refusal.is_none(),
                covered,
                "{grants:?} {}: {refusal:?}",
                action.action_type
            );
            let admin = Principal {
                role: Role::Admin,
                ..principal
            };
            assert_eq!(admin.find_refusal(&action), None);
        }
    }

    #[test]
    fn a_grant_has_one_text() {
        for text in ["*", "family:close_position", "buy", "place_order", "a.b-c"] {
            assert_eq!(text.parse::<ActionGrant>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "**",
            "buy*",
            "Buy",
            "family:",
            "family:Trade",
            "family:trades",
            "family:trade ",
            "a b",
            &"x".repeat(65),
        ] {
            assert_eq!(
                text.parse::<ActionGrant>(),
                Err(ParseGrantError),
                "{text:?}"
            );
        }
    }
}
