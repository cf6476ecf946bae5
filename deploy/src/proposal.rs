//! Actions that are proposed to find out how a host judges, and how each must be judged.

use ark_client::members::{array_field, text_field};
use serde_json::{Value, json};

/// The size of a valid trade, as a fraction of capital.
const VALID_SIZE: f64 = 0.001;

/// A way to break a rule: what it is called, the rule that must fire, and how it changes a valid trade.
pub(crate) struct Violation {
    pub(crate) kind: &'static str,
    pub(crate) rule: &'static str,
    change: fn(&mut Value),
}

pub(crate) const OVERSIZED: Violation = Violation {
    kind: "oversized",
    rule: "max_position_size",
    change: |parameters| parameters["position_size_pct"] = json!(0.5),
};
pub(crate) const OVERLEVERAGED: Violation = Violation {
    kind: "overleveraged",
    rule: "max_leverage",
    change: |parameters| parameters["leverage"] = json!(10.0),
};
pub(crate) const UNPROTECTED: Violation = Violation {
    kind: "unprotected",
    rule: "require_stop_loss",
    change: |parameters| parameters["stop_loss"] = Value::Null,
};
pub(crate) const UNREWARDING: Violation = Violation {
    kind: "unrewarding",
    rule: "min_risk_reward",
    change: |parameters| parameters["risk_reward_ratio"] = json!(0.1),
};

/// An action to propose, and how it must be judged.
pub(crate) struct SyntheticProposal {
    /// What it is: `valid`, or how it breaks a rule.
    pub(crate) kind: &'static str,
    /// The rule that must fire; `None`: it must be approved.
    pub(crate) rule: Option<&'static str>,
    /// The request form.
    pub(crate) action: Value,
}

impl SyntheticProposal {
    /// A trade of an agent in an instrument; with a violation, it breaks that rule and no other.
    pub(crate) fn build_trade(
        agent: &str,
        symbol: &str,
        entry_price: f64,
        reasoning: &str,
        violation: Option<&Violation>,
    ) -> Self {
        let mut parameters = json!({
            "symbol": symbol,
            "position_size_pct": VALID_SIZE,
            "leverage": 1.0,
            "entry_price": entry_price,
            "stop_loss": entry_price * 0.95,
            "risk_reward_ratio": 2.5,
        });
        if let Some(violation) = violation {
            (violation.change)(&mut parameters);
        }
        if let Some(parameters) = parameters.as_object_mut() {
            parameters.retain(|_, value| !value.is_null());
        }
        Self {
            kind: violation.map_or("valid", |violation| violation.kind),
            rule: violation.map(|violation| violation.rule),
            action: json!({
                "agent": agent,
                "action_type": "trade",
                "parameters": parameters,
                "reasoning": reasoning,
            }),
        }
    }

    pub(crate) fn expected_outcome(&self) -> &'static str {
        if self.rule.is_some() {
            "denied"
        } else {
            "approved"
        }
    }

    /// Compares a decision with what it must be. Returns what is different.
    pub(crate) fn find_difference(&self, decision: &Value) -> Option<String> {
        let outcome = text_field(decision, "outcome");
        let reasons: Vec<&str> = array_field(decision, "reasons")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        if outcome != self.expected_outcome() {
            return Some(format!(
                "the proposal `{}` was {outcome}, not {}: {}",
                self.kind,
                self.expected_outcome(),
                reasons.join("; ")
            ));
        }
        let rule = self.rule?;
        let mut fired = array_field(decision, "policies")
            .iter()
            .flat_map(|policy| array_field(policy, "rules"))
            .filter(|one| text_field(one, "answer") == "violation");
        if fired.any(|one| text_field(one, "rule") == rule) {
            return None;
        }
        Some(format!(
            "the proposal `{}` was denied, but not by {rule}: {}",
            self.kind,
            reasons.join("; ")
        ))
    }
}
