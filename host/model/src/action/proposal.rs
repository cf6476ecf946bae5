//! The proposal as a whole, and how its canonical form is read.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wasmtime::component::{ComponentType, Lift, Lower};

use super::family::Family;
use super::parameters::Parameters;

/// How much damage a mistake would do, as the proposer states it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[derive(ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[derive(strum::VariantArray)]
pub enum Criticality {
    /// A mistake has no consequences.
    #[component(name = "low")]
    Low,
    /// Ordinary business. The default.
    #[default]
    #[component(name = "normal")]
    Normal,
    /// A mistake does damage.
    #[component(name = "high")]
    High,
    /// A mistake does damage that cannot be accepted: a person must approve the action (rule 26).
    #[component(name = "critical")]
    Critical,
}

/// What somebody wants done. The requester is not part of it: that is a fact, attested by the host.
#[derive(Debug, Clone, PartialEq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Action {
    /// The action type, e.g. `buy`. The host refuses an action whose parameters are not of this type's family.
    #[component(name = "action-type")]
    pub action_type: String,
    /// The parameters.
    pub parameters: Parameters,
    /// The proposer's reasoning (rule 24).
    pub reasoning: Option<String>,
    /// The names of the data sources that the proposal is based on (rule 21).
    pub sources: Vec<String>,
    /// Whether the action can be undone; `true` when the request does not say.
    pub reversible: bool,
    /// How the action would be undone (rule 25).
    #[component(name = "rollback-plan")]
    pub rollback_plan: Option<String>,
    /// Whether the action has an effect outside the host; absent: decided by its family (trades, code, file changes, data sent to a named
    /// destination and custom action types are external).
    pub external: Option<bool>,
    /// How much damage a mistake would do.
    pub criticality: Criticality,
}

impl Action {
    /// Returns whether the action can only reduce risk: closing a position or cancelling an order. When the queue of proposals is full, such
    /// actions are judged first.
    #[must_use]
    pub fn reduces_risk(&self) -> bool {
        match &self.parameters {
            Parameters::ClosePosition(_) => true,
            Parameters::Custom(custom) => {
                matches!(custom.kind.as_str(), "cancel" | "cancel_order")
            }
            _ => false,
        }
    }

    /// Returns the instrument that the action concerns, if it concerns one.
    #[must_use]
    pub fn symbol(&self) -> Option<&str> {
        match &self.parameters {
            Parameters::Trade(trade) => Some(&trade.symbol),
            Parameters::ClosePosition(close) => Some(&close.symbol),
            Parameters::Message(message) => message.symbol.as_deref(),
            _ => None,
        }
    }
}

/// The canonical form of an action, in the order of its fields.
#[derive(Serialize)]
struct CanonicalForm<'a> {
    action_type: &'a str,
    /// The family of the parameters, where the action type alone does not say it: a declared action type with typed parameters. So a recorded
    /// action is read without the declarations that were in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<Family>,
    parameters: &'a Parameters,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    sources: &'a [String],
    reversible: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollback_plan: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external: Option<bool>,
    criticality: Criticality,
}

impl Serialize for Action {
    /// Writes the canonical form, which the audit log holds.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let family = self.parameters.family();
        CanonicalForm {
            action_type: &self.action_type,
            family: (family != Family::from_action_type(&self.action_type)).then_some(family),
            parameters: &self.parameters,
            reasoning: self.reasoning.as_deref(),
            sources: &self.sources,
            reversible: self.reversible,
            rollback_plan: self.rollback_plan.as_deref(),
            external: self.external,
            criticality: self.criticality,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Action {
    /// Reads what `Serialize` writes: the canonical form of the audit log. The request form is read by [`crate::form`]. Test vectors may omit
    /// every field that has a default.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Canonical {
            action_type: String,
            #[serde(default)]
            family: Option<Family>,
            parameters: serde_json::Value,
            #[serde(default)]
            reasoning: Option<String>,
            #[serde(default)]
            sources: Vec<String>,
            #[serde(default = "default_reversible")]
            reversible: bool,
            #[serde(default)]
            rollback_plan: Option<String>,
            #[serde(default)]
            external: Option<bool>,
            #[serde(default)]
            criticality: Criticality,
        }
        let canonical = Canonical::deserialize(deserializer)?;
        let family = canonical
            .family
            .unwrap_or_else(|| Family::from_action_type(&canonical.action_type));
        let parameters = Parameters::from_canonical(family, canonical.parameters)
            .map_err(serde::de::Error::custom)?;
        Ok(Self {
            action_type: canonical.action_type,
            parameters,
            reasoning: canonical.reasoning,
            sources: canonical.sources,
            reversible: canonical.reversible,
            rollback_plan: canonical.rollback_plan,
            external: canonical.external,
            criticality: canonical.criticality,
        })
    }
}

const fn default_reversible() -> bool {
    true
}
