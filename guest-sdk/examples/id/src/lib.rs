//! id keeps a profile of how each agent behaves: what it proposes, how it is judged, how bold it is, how long its streaks are.
//!
//! Boldness is the exponentially weighted mean of position sizes over the 10 % that one position may have. When it moves by more than a
//! quarter of that, or a streak of five denials or losses is reached, id writes a memory. It proposes nothing.
//!
//! An agent can invent action types; its profile must not grow with them. Past the first 32 they are counted as `other`.

use std::collections::BTreeMap;

use ark_guest::agent::{Action, Agent, Error, Host, Metadata, Signal};
use serde::{Deserialize, Serialize};

/// The weight of the newest observation.
const ALPHA: f64 = 0.2;
/// How far boldness must move to be remembered.
const NOTABLE: f64 = 0.25;
/// The streak of denials that is remembered.
const STREAK: u64 = 5;
/// How many action types are counted by name.
const NAMED: usize = 32;

/// What became of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It may be carried out.
    Approved,
    /// It waits for an approval.
    Held,
    /// It must not be carried out.
    Denied,
}

#[derive(Debug, Deserialize)]
struct Decided {
    agent: String,
    action_type: String,
    outcome: Outcome,
    compliance_score: f64,
    #[serde(default)]
    position_size_pct: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Executed {
    agent: String,
    #[serde(default)]
    realized_pnl_pct: Option<f64>,
}

/// An agent's profile.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// How often each action type had each outcome: `buy`, then `approved`.
    pub counts: BTreeMap<String, BTreeMap<Outcome, u64>>,
    /// The mean compliance score, newest weighted most.
    pub compliance: f64,
    /// The mean size over the most that one position may have.
    pub boldness: f64,
    /// The boldness that was last remembered.
    pub remembered_boldness: f64,
    /// Denials in a row, up to now.
    pub denials_in_a_row: u64,
    /// Losses in a row, up to now.
    pub losses_in_a_row: u64,
}

/// The agent.
pub struct Id;

impl Agent for Id {
    fn metadata() -> Metadata {
        Metadata {
            name: "id".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }

    fn handle(host: &dyn Host, signal: &Signal) -> Result<Vec<Action>, Error> {
        match signal.topic.as_str() {
            "ark.decision" => {
                let decided: Decided = signal.payload()?;
                decided.check_fields().map_err(Error::InvalidSignal)?;
                update_profile(host, &decided.agent, |profile| {
                    profile.record_decision(&decided)
                })?;
            }
            "ark.execution" => {
                let executed: Executed = signal.payload()?;
                update_profile(host, &executed.agent, |profile| {
                    profile.record_execution(&executed)
                })?;
            }
            other => {
                return Err(Error::InvalidSignal(format!(
                    "{other} is no topic of this agent"
                )));
            }
        }
        Ok(Vec::new())
    }
}

fn update_profile(
    host: &dyn Host,
    agent: &str,
    change: impl FnOnce(&mut Profile) -> Option<&'static str>,
) -> Result<(), Error> {
    let key = format!("profile/{agent}");
    let mut profile: Profile = host.state(&key)?.unwrap_or_default();
    let notable = change(&mut profile);
    host.set_state(&key, &profile)?;
    if let Some(what) = notable {
        host.remember("profile", &format!("{agent}: {what}"), &profile, None)?;
    }
    Ok(())
}

impl Decided {
    fn check_fields(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.compliance_score) {
            return Err(format!(
                "compliance_score is {}; it is 0 to 1",
                self.compliance_score
            ));
        }
        match self.position_size_pct {
            Some(size) if !(0.0..=1.0).contains(&size) => {
                Err(format!("position_size_pct is {size}; it is 0 to 1"))
            }
            _ => Ok(()),
        }
    }
}

impl Profile {
    fn record_decision(&mut self, decided: &Decided) -> Option<&'static str> {
        let first = self.counts.is_empty();
        let known = self.counts.contains_key(&decided.action_type) || self.counts.len() < NAMED;
        let action_type = if known {
            decided.action_type.as_str()
        } else {
            "other"
        };
        *self
            .counts
            .entry(action_type.to_owned())
            .or_default()
            .entry(decided.outcome)
            .or_default() += 1;
        let weight = if first { 1.0 } else { ALPHA };
        self.compliance += weight * (decided.compliance_score - self.compliance);
        self.denials_in_a_row = if decided.outcome == Outcome::Denied {
            self.denials_in_a_row + 1
        } else {
            0
        };
        if let Some(size) = decided.position_size_pct {
            self.boldness += weight * (size / 0.1 - self.boldness);
        }
        if self.denials_in_a_row == STREAK {
            return Some("five denials in a row");
        }
        if (self.boldness - self.remembered_boldness).abs() > NOTABLE {
            let bolder = self.boldness > self.remembered_boldness;
            self.remembered_boldness = self.boldness;
            return Some(if bolder {
                "bolder than before"
            } else {
                "more careful than before"
            });
        }
        None
    }

    fn record_execution(&mut self, executed: &Executed) -> Option<&'static str> {
        let result = executed.realized_pnl_pct?;
        self.losses_in_a_row = if result < 0.0 {
            self.losses_in_a_row + 1
        } else {
            0
        };
        (self.losses_in_a_row == STREAK).then_some("five losses in a row")
    }
}

ark_guest::export_agent!(Id);

#[cfg(test)]
mod tests {
    use ark_guest::agent::MockHost;
    use serde_json::json;

    use super::*;

    fn decide(host: &mut MockHost, outcome: &str, size: f64) {
        let payload = json!({"agent": "kenny", "action_type": "buy", "outcome": outcome, "compliance_score": 0.9,
            "position_size_pct": size});
        assert!(
            host.deliver::<Id>("ark.decision", &payload)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn boldness_follows_sizes_and_a_change_is_remembered_once() {
        let mut host = MockHost::new();
        decide(&mut host, "approved", 0.05);
        decide(&mut host, "approved", 0.05);
        let profile: Profile = host.state_of("profile/kenny").unwrap();
        assert_eq!(
            (profile.boldness, profile.counts["buy"][&Outcome::Approved]),
            (0.5, 2)
        );
        assert_eq!(host.memories().len(), 1);
        for _ in 0..10 {
            decide(&mut host, "approved", 0.0);
        }
        assert!(
            host.memories()
                .last()
                .unwrap()
                .content
                .contains("more careful")
        );
    }

    #[test]
    fn invented_action_types_do_not_make_the_profile_grow() {
        let mut host = MockHost::new();
        for n in 0..200 {
            let payload = json!({"agent": "forger", "action_type": format!("kind_{n}"), "outcome": "denied", "compliance_score": 0});
            host.deliver::<Id>("ark.decision", &payload).unwrap();
        }
        let profile: Profile = host.state_of("profile/forger").unwrap();
        assert_eq!(
            (
                profile.counts.len(),
                profile.counts["other"][&Outcome::Denied]
            ),
            (NAMED + 1, 200 - NAMED as u64)
        );
    }

    #[test]
    fn a_decision_that_makes_no_sense_is_refused() {
        let mut host = MockHost::new();
        for (field, value) in [
            ("outcome", json!("maybe")),
            ("compliance_score", json!(1.5)),
            ("position_size_pct", json!(-0.1)),
            ("agent", json!(7)),
        ] {
            let mut payload = json!({"agent": "kenny", "action_type": "buy", "outcome": "approved", "compliance_score": 1,
                "position_size_pct": 0.1});
            payload[field] = value;
            match host.deliver::<Id>("ark.decision", &payload) {
                Err(Error::InvalidSignal(problem)) if problem.contains(field) => {}
                other => panic!("{payload}: {other:?}"),
            }
        }
        assert!(matches!(
            host.deliver::<Id>("market.tick", &json!({})),
            Err(Error::InvalidSignal(_))
        ));
        assert_eq!(host.state_of::<Profile>("profile/kenny"), None);
    }

    #[test]
    fn streaks_are_counted_and_broken() {
        let mut host = MockHost::new();
        for _ in 0..5 {
            decide(&mut host, "denied", 0.0);
        }
        assert_eq!(
            host.memories().last().unwrap().content,
            "kenny: five denials in a row"
        );
        decide(&mut host, "approved", 0.0);
        for result in [-0.01, -0.01, 0.02] {
            host.deliver::<Id>(
                "ark.execution",
                &json!({"agent": "kenny", "realized_pnl_pct": result}),
            )
            .unwrap();
        }
        let profile: Profile = host.state_of("profile/kenny").unwrap();
        assert_eq!((profile.denials_in_a_row, profile.losses_in_a_row), (0, 0));
    }
}
